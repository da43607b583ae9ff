/** The texts of `drbdadm help`, `--version` and `hidden-commands`. Source: drbdadm 9.22 observed. */
import { hasValue, ownOptions, setupOptionsOf } from './drbdadm-args.js';
import type { Verb } from './drbdadm-verbs.js';

type Table = ReadonlyMap<string, Verb>;

/** What scripts compare: the command line of drbd-utils 9.22 with a kernel of 8.4.11 is what this one speaks. */
export function versionText(): string {
  return [
    'DRBDADM_BUILDTAG=twinbeat',
    'DRBDADM_API_VERSION=1',
    'DRBD_KERNEL_VERSION_CODE=0x08040b',
    'DRBDADM_VERSION_CODE=0x091600',
    'DRBDADM_VERSION=9.22.0',
    '',
  ].join('\n');
}

function columns(names: readonly string[]): string {
  let text = '';
  for (const [index, name] of names.entries()) {
    text += index % 2 === 0 ? ` ${name.padEnd(35)}` : `${name.padEnd(35)}\n`;
  }
  return names.length % 2 === 0 ? text : `${text}\n`;
}

function ofLevel(table: Table, level: number): string[] {
  return [...table].filter(([, verb]) => verb.level === level).map(([name]) => name);
}

/** The original's order, with the verbs that are not in the table. */
function inOrder(names: readonly string[]): string[] {
  const adjust = ['adjust', 'adjust-with-progress'];
  const after: Readonly<Record<string, readonly string[]>> = {
    'resume-sync': adjust,
    'wait-connect': ['wait-con-int'],
    dstate: ['dump', 'dump-xml'],
  };
  const others = names.filter((name) => !adjust.includes(name));
  return [...others.flatMap((name) => [name, ...(after[name] ?? [])]), 'hidden-commands'];
}

export function usageText(verb: string | null, table: Table, info: string | null): string {
  let text = `\nUSAGE: drbdadm ${verb ?? 'COMMAND'} [OPTION...] {all|RESOURCE...}\n\nGENERAL OPTIONS:\n`;
  for (const { name, letter } of ownOptions()) {
    text += hasValue(letter) ? `  --${name}=..., -${letter} ...\n` : `  --${name}, -${letter}\n`;
  }
  const options = verb === null ? [] : setupOptionsOf(verb);
  if (options.length > 0) {
    text += `\nOPTIONS FOR ${verb}:\n${options.map((name) => `  --${name}=...\n`).join('')}`;
  }
  if (verb === null) {
    text += `\nCOMMANDS:\n${columns(inOrder(ofLevel(table, 1)))}`;
  }
  text += '\nVersion: 9.22.0 (api:1)\ntwinbeat\n';
  return info === null ? text : `${text}\n${info}\n`;
}

export function hiddenCommands(table: Table, withoutResource: ReadonlySet<string>): string {
  const shell = [...withoutResource].filter((name) => name.startsWith('sh-'));
  return (
    '\nThese additional commands might be useful for writing\nnifty shell scripts around drbdadm:\n\n' +
    columns([...shell, ...ofLevel(table, 2)]) +
    '\nThese commands are used by the kernel part of DRBD to\ninvoke user mode helper programs:\n\n' +
    columns(ofLevel(table, 3)) +
    '\nThese commands ought to be used by experts and developers:\n\n' +
    columns(ofLevel(table, 4)) +
    '\n'
  );
}
