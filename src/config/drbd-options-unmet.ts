/**
 * Options that are taken, on which waiting times or the safety of a service depend, and which nothing acts upon yet. They
 * are not refused: the file is the one of both nodes, and the other may be a kernel that needs them. `drbdadm up` and
 * `adjust` say each once, with its place. A row goes when the option is built; test/docs/compatibility.test.ts holds these
 * rows, docs/COMPATIBILITY.md and what the engine reads together.
 */
import {
  type ConfOption,
  type ConfResource,
  type ConfVolume,
  placeText,
} from './drbd-conf-model.js';
import { SECTION_OPTIONS } from './drbd-option-table.js';
import { convertValue } from './drbd-options-convert.js';

type UnmetSection = 'net' | 'disk' | 'handlers';

export interface UnmetOption {
  readonly section: UnmetSection;
  readonly name: string;
  readonly met: string | number | null; // the one value, in the engine's unit, that is what happens anyway
  readonly instead: string; // what happens
}

export const UNMET_OPTIONS: readonly UnmetOption[] = [
  {
    section: 'net',
    name: 'on-congestion',
    met: 'block',
    instead: 'writes wait for a congested link, as with block',
  },
];

/** One line for each option of the resource, or of these volumes of it, that has no effect yet. */
export function unmetWarnings(r: ConfResource, volumes: readonly ConfVolume[]): string[] {
  const lists: readonly (readonly [UnmetSection, readonly ConfOption[]])[] = [
    ['net', r.net],
    ...volumes.map((v) => ['disk', v.diskOptions] as const),
    ['handlers', r.handlers],
  ];
  const warnings = lists.flatMap(([section, options]) =>
    UNMET_OPTIONS.filter((unmet) => unmet.section === section).flatMap((unmet) => {
      const written = options.filter(({ name }) => name === unmet.name).at(-1); // the last one wins
      return written && !isMet(unmet, written.value) ? [warning(unmet, written)] : [];
    }),
  );
  return [...new Set(warnings)]; // an option of the resource is one of each volume
}

function isMet({ section, name, met }: UnmetOption, value: string): boolean {
  const option = SECTION_OPTIONS.get(section)?.get(name);
  return option !== undefined && convertValue(option, value) === met;
}

function warning({ name, instead }: UnmetOption, { place }: ConfOption): string {
  return `${placeText(place)}: WARN: ${name} has no effect yet: ${instead}`;
}
