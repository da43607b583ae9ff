/**
 * The command line of drbdadm: options and the verb in any order, then resources. What belongs to drbdsetup is passed on:
 * an option that the verb's drbdsetup call has, everything of `-W`, and in the 8.3 way all after `--` in front of the verb
 * (`drbdadm -- --overwrite-data-of-peer primary r0`). Source: drbdadm(8), drbdadm 9.22 observed.
 */
import { DISK_TABLE, NET_TABLE, RESOURCE_TABLE } from '../config/drbd-option-table.js';
import { UsageError } from './world.js';

export interface AdmArgs {
  readonly verb: string | null;
  readonly resources: readonly string[];
  readonly setupOptions: readonly string[];
  readonly dryRun: boolean;
  readonly verbose: boolean;
  readonly help: boolean;
  readonly version: boolean;
  readonly stacked: boolean;
  readonly configFile: string | null;
  readonly configToTest: string | null;
  readonly peer: string | null;
  readonly shVarname: string | null;
  readonly drbdsetup: string | null; // -s, printed by -d
  readonly drbdmeta: string | null;
}

export interface AdmUsage {
  readonly verbs: ReadonlySet<string>;
}

const names = (table: Readonly<Record<string, { readonly name: string }>>): string[] =>
  Object.values(table).map((option) => option.name);
const flags = new Set(
  [DISK_TABLE, NET_TABLE].flatMap((table) =>
    Object.values(table)
      .filter((option) => option.kind === 'flag')
      .map((option) => option.name),
  ),
);
const DISK = names(DISK_TABLE);

/** Verb -> the drbdsetup options that may be given with it. */
const SETUP_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  attach: DISK,
  'disk-options': DISK.filter((name) => name !== 'size' && name !== 'max-bio-bvecs'),
  detach: ['force'],
  connect: ['tentative', 'discard-my-data', ...names(NET_TABLE)],
  'net-options': names(NET_TABLE),
  disconnect: ['force'],
  'resource-options': names(RESOURCE_TABLE),
  primary: ['force', 'overwrite-data-of-peer'],
  'new-current-uuid': ['clear-bitmap'],
  verify: ['start', 'stop'],
  resize: ['size', 'assume-peer-has-space', 'assume-clean', 'al-stripes', 'al-stripe-size-kB'],
};
const FLAGS: ReadonlySet<string> = new Set([
  ...flags,
  'force',
  'overwrite-data-of-peer',
  'tentative',
  'discard-my-data',
  'clear-bitmap',
  'assume-peer-has-space',
  'assume-clean',
]);
const ALL_SETUP = new Set(Object.values(SETUP_OPTIONS).flat());

/** Our own options: long name -> letter; those with a value are in VALUED. */
const OWN: Readonly<Record<string, string>> = {
  stacked: 'S',
  'dry-run': 'd',
  verbose: 'v',
  'config-file': 'c',
  'config-to-test': 't',
  drbdsetup: 's',
  drbdmeta: 'm',
  'drbd-proxy-ctl': 'p',
  'sh-varname': 'n',
  peer: 'P',
  version: 'V',
  'setup-option': 'W',
  help: 'h',
};
const VALUED = 'ctsmpnPW';
const LETTERS = Object.values(OWN).join('');

export function ownOptions(): readonly { readonly name: string; readonly letter: string }[] {
  return Object.entries(OWN).map(([name, letter]) => ({ name, letter }));
}
export function hasValue(letter: string): boolean {
  return VALUED.includes(letter);
}
export function setupOptionsOf(verb: string): readonly string[] {
  return SETUP_OPTIONS[verb] ?? [];
}

export function parseAdmArgs(argv: readonly string[], usage: AdmUsage): AdmArgs {
  const own = new Map<string, string>();
  const words: string[] = [];
  const passed: { readonly option: string; readonly explicit: boolean }[] = [];
  const rest = [...argv];
  const value = (option: string): string => {
    const next = rest.shift();
    if (next === undefined) fail(`option '${option}' requires an argument`);
    return next;
  };
  const take = (letter: string, text: string): void => {
    if (letter === 'W') passed.push({ option: text, explicit: true });
    else own.set(letter, text);
  };
  while (rest.length > 0) {
    const arg = rest.shift() ?? '';
    if (arg === '--') {
      words.push(...rest.splice(0));
    } else if (arg.startsWith('--')) {
      const at = arg.indexOf('=');
      const name = at < 0 ? arg.slice(2) : arg.slice(2, at);
      const given = at < 0 ? null : arg.slice(at + 1);
      const letter = new Map(Object.entries(OWN)).get(name);
      if (letter !== undefined) {
        if (given !== null && !hasValue(letter))
          fail(`option '--${name}' doesn't allow an argument`);
        take(letter, hasValue(letter) ? (given ?? value(`--${name}`)) : '');
      } else if (ALL_SETUP.has(name)) {
        const text = given ?? (FLAGS.has(name) ? null : value(`--${name}`));
        passed.push({ option: `--${name}${text === null ? '' : `=${text}`}`, explicit: false });
      } else {
        fail(`unrecognized option '--${name}'`);
      }
    } else if (arg.startsWith('-') && arg.length > 1) {
      for (let i = 1; i < arg.length; i++) {
        const letter = arg[i] ?? '';
        if (!LETTERS.includes(letter)) fail(`invalid option -- '${letter}'`);
        if (!hasValue(letter)) {
          take(letter, '');
          continue;
        }
        take(letter, i + 1 < arg.length ? arg.slice(i + 1) : value(`-${letter}`));
        break;
      }
    } else {
      words.push(arg);
    }
  }

  let verb: string | null = null;
  let help = own.has('h');
  const resources: string[] = [];
  for (const word of words) {
    if (verb !== null) resources.push(word);
    else if (word === 'help') help = true;
    else if (usage.verbs.has(word)) verb = word;
    else passed.push({ option: word, explicit: true });
  }
  if (verb === null && !help && !own.has('V') && words.length > 0) {
    throw new UsageError(`drbdadm: Unknown command '${words[0]}'`, 1);
  }
  if (verb !== null && verb !== 'create-md') {
    const known = setupOptionsOf(verb);
    for (const { option, explicit } of passed) {
      const name = option.split('=', 1)[0] ?? '';
      if (!explicit && !known.includes(name.slice(2))) fail(`unrecognized option '${name}'`);
    }
  }
  return {
    verb,
    resources,
    setupOptions: passed.map(({ option }) => option),
    dryRun: own.has('d'),
    verbose: own.has('v'),
    help,
    version: own.has('V'),
    stacked: own.has('S'),
    configFile: own.get('c') ?? null,
    configToTest: own.get('t') ?? null,
    peer: own.get('P') ?? null,
    shVarname: own.get('n') ?? null,
    drbdsetup: own.get('s') ?? null,
    drbdmeta: own.get('m') ?? null,
  };
}

function fail(what: string): never {
  throw new UsageError(`drbdadm: ${what}\ntry 'drbdadm help'`, 1);
}
