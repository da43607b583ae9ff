/**
 * The words and options of a drbdsetup call. Errors are drbdsetup's: exit 20 and a line that says what was expected.
 * Source: drbdsetup 8.4 observed; docs/CONFIGURATION.md.
 */
import { type Option, type Scale, scaledNumber } from '../config/drbd-option-table.js';
import type { WrittenOption } from '../config/drbd-options-convert.js';
import type { Address, MetaIndex } from '../host/control.js';
import { UsageError } from './world.js';

export const EXIT_USAGE = 20;
const MAX_MINOR = (1 << 20) - 1;
const DEFAULT_PORT = 7788;

export interface SetupArgs {
  readonly verb: string;
  readonly words: readonly string[];
  readonly options: readonly WrittenOption[]; // flags without a value are 'yes'
}

export function usageError(text: string): never {
  throw new UsageError(text, EXIT_USAGE);
}

const SHORT: Readonly<Record<string, string>> = {
  '-o': '--overwrite-data-of-peer',
  '-f': '--force',
};

/** `valued`: options that take the next word when they have no `=`. */
export function parseSetupArgs(
  argv: readonly string[],
  valued: ReadonlySet<string>,
): SetupArgs | null {
  const words: string[] = [];
  const options: WrittenOption[] = [];
  const rest = [...argv];
  while (rest.length > 0) {
    const word = rest.shift() ?? '';
    const arg = SHORT[word] ?? word;
    if (!arg.startsWith('--') || arg === '--') {
      if (arg !== '--') words.push(arg);
      continue;
    }
    const at = arg.indexOf('=');
    const name = at < 0 ? arg.slice(2) : arg.slice(2, at);
    let value = at < 0 ? null : arg.slice(at + 1);
    if (value === null && valued.has(name)) {
      value = rest.shift() ?? usageError(`drbdsetup: option '--${name}' requires an argument`);
    }
    options.push({ name, value: value ?? 'yes' });
  }
  const [verb, ...others] = words;
  return verb === undefined ? null : { verb, words: others, options };
}

/** Names of the options of a table that need a value. */
export function valuedOptions(table: Readonly<Record<string, Option>>): string[] {
  return Object.values(table)
    .filter(({ kind }) => kind !== 'flag')
    .map(({ name }) => name);
}

export class Words {
  readonly #verb: string;
  readonly #words: string[];
  readonly options: readonly WrittenOption[];
  readonly #taken = new Set<string>();

  constructor({ verb, words, options }: SetupArgs) {
    this.#verb = verb;
    this.#words = [...words];
    this.options = options;
  }

  word(what: string): string {
    return (
      this.#words.shift() ?? usageError(`drbdsetup ${this.#verb}: expected ${what}, got nothing`)
    );
  }
  optional(): string | null {
    return this.#words.shift() ?? null;
  }

  /** A minor number: 0, minor-0 or /dev/drbd0. */
  minor(): number {
    const word = this.word('a minor number');
    const digits = /^(?:minor-|\/dev\/drbd)?(\d{1,7})$/.exec(word)?.[1];
    const minor = digits === undefined ? -1 : Number(digits);
    if (minor >= 0 && minor <= MAX_MINOR) return minor;
    return usageError(`Cannot determine minor device number of device '${word}'`);
  }

  integer(what: string): number {
    const word = this.word(what);
    if (/^\d{1,9}$/.test(word)) return Number(word);
    return usageError(`drbdsetup ${this.#verb}: expected ${what}, got '${word}'`);
  }

  address(what: string): Address {
    const word = this.word(what);
    return (
      parseAddress(word) ?? usageError(`drbdsetup ${this.#verb}: expected ${what}, got '${word}'`)
    );
  }

  metaIndex(): MetaIndex {
    const word = this.word('internal, flexible or a number');
    if (word === 'internal' || word === 'flexible') return word;
    if (/^\d{1,6}$/.test(word)) return Number(word);
    return usageError(
      `drbdsetup ${this.#verb}: expected internal, flexible or a number, got '${word}'`,
    );
  }

  flag(...names: readonly string[]): boolean {
    const given = this.options.filter(({ name }) => names.includes(name));
    for (const name of names) this.#taken.add(name);
    return given.at(-1)?.value === 'yes';
  }

  /** Null when it was not given. */
  number(name: string, scale: Scale, max: number): number | null {
    this.#taken.add(name);
    const given = this.options.filter((option) => option.name === name).at(-1);
    if (!given) return null;
    const n = scaledNumber(given.value, scale);
    if (n !== null && n >= 0 && n <= max) return n;
    return usageError(`${name} ${given.value} => out of range [0..${max}]`);
  }

  /** The options that `flag` and `number` did not take; they must not be left over by a verb that has none. */
  get others(): readonly WrittenOption[] {
    return this.options.filter(({ name }) => !this.#taken.has(name));
  }

  /** Nothing may be left. */
  end(): void {
    const [word] = this.#words;
    if (word !== undefined) usageError(`Ignoring excess arguments: '${word}'`);
    const [option] = this.others;
    if (option) usageError(`drbdsetup ${this.#verb}: unrecognized option '--${option.name}'`);
  }

  noWords(): void {
    const [word] = this.#words;
    if (word !== undefined) usageError(`drbdsetup ${this.#verb}: unexpected argument '${word}'`);
  }
}

/** `ipv4:10.0.0.1:7788`, `ipv6:[fd00::1]:7788`; the family and the port may be left out. */
export function parseAddress(text: string): Address | null {
  const v6 = /^(?:ipv6:)?\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\](?::(\d{1,5}))?$/.exec(text);
  const v4 = /^(?:ipv4:)?(\d{1,3}(?:\.\d{1,3}){3})(?::(\d{1,5}))?$/.exec(text);
  const match = v6 ?? v4;
  if (!match) return null;
  const port = match[2] === undefined ? DEFAULT_PORT : Number(match[2]);
  if (port < 1 || port > 65535) return null;
  return { family: v6 ? 'ipv6' : 'ipv4', host: match[1] ?? '', port };
}
