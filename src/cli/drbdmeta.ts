/**
 * drbdmeta: looks at and changes DRBD's meta-data while the device is not attached.
 *
 *     drbdmeta [--force] [--ignore-sanity-checks] [-v] MINOR|- v08 META_DEV internal|flex-external|N COMMAND [args]
 *
 * Words, prompts and exit codes are those of drbd-utils 9.22; docs/METADATA.md sections 6 to 9.
 */
import { Command, CommanderError } from 'commander';
import type { MetaIndex, Striping } from '../md/layout.js';
import { isAttached } from './drbdmeta-attached.js';
import {
  applyAlCommand,
  dstate,
  getGi,
  invalidate,
  outdate,
  readDevUuid,
  setGi,
  showGi,
  writeDevUuid,
} from './drbdmeta-commands.js';
import { createMd, wipeMd } from './drbdmeta-create.js';
import { type Call, Exit, type Options } from './drbdmeta-device.js';
import { dumpMd, restoreMd, verifyDump } from './drbdmeta-dump.js';
import { checkResize } from './drbdmeta-resize.js';
import type { World } from './world.js';

interface Verb {
  readonly run: (call: Call) => Promise<number>;
  readonly modifies: boolean;
  readonly args: string; // for the usage
  readonly listed: boolean;
  readonly maxArgs: number;
}

function verb(
  run: Verb['run'],
  modifies: boolean,
  args = '',
  maxArgs = args === '' ? 0 : 1,
  listed = true,
): Verb {
  return { run, modifies, args, listed, maxArgs };
}

export const VERBS: Readonly<Record<string, Verb>> = {
  'get-gi': verb(getGi, false),
  'show-gi': verb(showGi, false),
  'dump-md': verb(dumpMd, false),
  'restore-md': verb(restoreMd, true, 'file'),
  'verify-dump': verb(verifyDump, false, 'file'),
  'apply-al': verb(applyAlCommand, true),
  'wipe-md': verb(wipeMd, true),
  outdate: verb(outdate, true),
  invalidate: verb(invalidate, true),
  dstate: verb(dstate, false),
  'read-dev-uuid': verb(readDevUuid, false, '', 0, false),
  'write-dev-uuid': verb(writeDevUuid, true, 'VAL', 1, false),
  'set-gi': verb(setGi, true, ':::VAL:VAL:...', 1, false),
  'check-resize': verb(checkResize, true),
  'create-md': verb(
    createMd,
    true,
    '[--peer-max-bio-size {val}] [--al-stripes {val}] [--al-stripe-size-kB {val}]',
    0,
  ),
};

export async function main(argv: readonly string[], world: World): Promise<number> {
  try {
    return await drbdmeta(argv, world);
  } catch (e) {
    if (e instanceof Exit) return e.status;
    throw e;
  }
}

async function drbdmeta(argv: readonly string[], world: World): Promise<number> {
  if (argv.length < 3) return usage(world);
  const parser = new Command('drbdmeta')
    .option('-f, --force')
    .option('--ignore-sanity-checks')
    .option('-v, --verbose', '', (_: string, n: number) => n + 1, 0)
    .option('-p, --peer-max-bio-size <bytes>')
    .option('-i, --node-id <n>') // of DRBD 9; there is one peer
    .option('-s, --al-stripes <n>')
    .option('-z, --al-stripe-size-kB <kB>')
    .argument('[words...]')
    .helpOption(false)
    .exitOverride()
    .configureOutput({ writeErr: (text) => world.err(text), writeOut: (text) => world.out(text) });
  try {
    parser.parse([...argv], { from: 'user' });
  } catch (e) {
    if (e instanceof CommanderError) return usage(world);
    throw e;
  }
  const given = parser.opts<Readonly<Record<string, unknown>>>();
  const [device = '', format, metaDevice, indexText, command, ...args] = parser.args;

  if (format !== 'v08') {
    return fail(
      world,
      20,
      format === undefined ? 'Format identifier missing' : `Unknown format '${format}'.`,
    );
  }
  if (metaDevice === undefined || indexText === undefined) {
    return fail(world, 20, 'Too few arguments for format');
  }
  const index = parseIndex(indexText);
  if (index === null) return fail(world, 20, `'${indexText}' is not a valid index number.`);
  if (command === undefined) return fail(world, 20, 'command missing');
  const verb = Object.hasOwn(VERBS, command) ? VERBS[command] : undefined;
  if (!verb) return fail(world, 20, `Unknown command '${command}'.`);

  const minor = device === '-' ? -1 : minorOf(device);
  if (minor === null) {
    return fail(world, 20, `Cannot determine minor device number of drbd device '${device}'`);
  }
  const attached = minor < 0 ? { state: 'no' as const } : await isAttached(minor, world);
  if (verb.modifies && attached.state === 'yes') {
    return fail(world, 20, `Device '${device}' is configured!`);
  }
  if (verb.modifies && attached.state === 'unknown') {
    return fail(world, 20, `Device '${device}' may be configured: ${attached.why}`);
  }

  const options = parseOptions(given, command, world);
  if (args.length > verb.maxArgs) world.err('Ignoring additional arguments\n');
  const status = await verb.run({
    world,
    options,
    minor,
    device: metaDevice,
    index,
    command,
    args,
    commandLine: ['drbdmeta', ...argv].join(' '),
  });
  if (attached.state !== 'no') {
    world.err(`# Output might be stale, since minor ${minor} is attached\n`);
  }
  return status;
}

function fail(world: World, status: number, message: string): number {
  world.err(`${message}\n`);
  return status;
}

function usage(world: World): number {
  const commands = Object.entries(VERBS)
    .filter(([, v]) => v.listed)
    .map(([name, v]) => `  ${name} ${v.args}\n`);
  world.out(
    '\nUSAGE: drbdmeta [--force] DEVICE FORMAT [FORMAT ARGS...] COMMAND [CMD ARGS...]\n' +
      '\nFORMATS:\n  v08 meta_device_name index\n' +
      `\nCOMMANDS:\n${commands.join('')}`,
  );
  return 20;
}

function parseIndex(text: string): MetaIndex | null {
  if (text === 'internal' || text === 'flex-internal') return 'internal';
  if (text === 'flex-external') return 'flexible';
  if (!/^(0x[0-9A-Fa-f]+|[0-9]+)$/.test(text)) return null;
  const n = Number(text);
  return n <= 255 ? n : null;
}

/** `0` or `/dev/drbd0`; other names may contain digits that mean something else. */
function minorOf(device: string): number | null {
  const match = /^(?:\/dev\/drbd)?([0-9]{1,7})$/.exec(device);
  return match ? Number(match[1]) : null;
}

/** A number with k, M, G (powers of 1024) or s (sectors); in units of 2^shift bytes, rounded up. */
function parseSize(text: string, shift: number, world: World): number {
  const match = /^([0-9]{1,15})([kKmMgGs]?)$/.exec(text);
  if (!match) {
    world.err(`${text} is not a valid number\n`);
    throw new Exit(20);
  }
  const [, digits = '', unit = ''] = match;
  const n = Number(digits);
  if (unit === '') return n;
  const unitShift = { k: 10, m: 20, g: 30, s: 9 }[unit.toLowerCase()] ?? 0;
  return Math.ceil(n * 2 ** (unitShift - shift));
}

const MAX_RING_BLOCKS = 8192; // 32 MiB: what drbd-utils handles

function parseOptions(
  given: Readonly<Record<string, unknown>>,
  command: string,
  world: World,
): Options {
  const size = (name: string, shift: number): number | null => {
    const text = given[name];
    return typeof text === 'string' ? parseSize(text, shift, world) : null;
  };
  const exit10 = (message: string): never => {
    world.err(`${message}\n`);
    throw new Exit(10);
  };
  const peerMaxBioBytes = size('peerMaxBioSize', 0) ?? 0;
  if (peerMaxBioBytes > 1 << 20) exit10('peer-max-bio-size out of range (0...1M)');
  if (peerMaxBioBytes > 0 && command !== 'create-md') {
    exit10('The --peer-max-bio-size option is only allowed with create-md');
  }
  const stripes = size('alStripes', 0);
  const stripeSizeKb = size('alStripeSizeKB', 10);
  let striping: Striping | null = null;
  if (stripes !== null || stripeSizeKb !== null) {
    if (command !== 'create-md' && command !== 'restore-md') {
      exit10('The --al-stripe* options are only allowed with create-md and restore-md');
    }
    striping = { stripes: stripes ?? 1, stripeSize4k: Math.floor((stripeSizeKb ?? 32) / 4) };
    const blocks = striping.stripes * striping.stripeSize4k;
    if (blocks > MAX_RING_BLOCKS) exit10('invalid (too large) al-stripe* settings');
    if (blocks < 8) exit10('invalid (too small) al-stripe* settings');
  }
  return {
    force: given['force'] === true,
    ignoreSanityChecks: given['ignoreSanityChecks'] === true,
    verbose: typeof given['verbose'] === 'number' ? given['verbose'] : 0,
    peerMaxBioBytes,
    striping,
  };
}
