/**
 * drbdsetup: one request to drbdd per call, in the words of drbdsetup 8.4. role, cstate, dstate, status, show and
 * sh-status are rendered here from data. Exit codes: drbdsetup-client.ts. Source: drbdsetup 8.4 observed,
 * docs/CONFIGURATION.md.
 */
import { DISK_TABLE, NET_TABLE, RESOURCE_TABLE } from '../config/drbd-option-table.js';
import { DEFAULT_DISK_OPTIONS } from '../config/drbd-options.js';
import {
  type Converted,
  diskOptions,
  netOptions,
  resourceOptions,
} from '../config/drbd-options-convert.js';
import type { NodeStatus, ResourceStatus, VolumeStatus } from '../drbd/status.js';
import { cstateText, dstateText, roleText, statusJson, statusText } from '../drbd/status-text.js';
import type { Address, ControlRequest, RunningGeneration } from '../host/control.js';
import { giTable } from './drbdmeta-commands.js';
import { EXIT_USAGE, parseSetupArgs, usageError, valuedOptions, Words } from './drbdsetup-args.js';
import { checkResize } from './drbdsetup-check-resize.js';
import { ask, EXIT_FAILURE, runningResources, unknownMinor } from './drbdsetup-client.js';
import { events, events2 } from './drbdsetup-events.js';
import { helpText } from './drbdsetup-help.js';
import { showText, shStatusText } from './drbdsetup-show.js';
import { wait } from './drbdsetup-wait.js';
import { UsageError, type World } from './world.js';

const MAX_SECTORS = 2 ** 41;

const VALUED: ReadonlySet<string> = new Set([
  ...valuedOptions(DISK_TABLE),
  ...valuedOptions(NET_TABLE),
  ...valuedOptions(RESOURCE_TABLE),
  ...'start stop al-stripes al-stripe-size-kB wfc-timeout degr-wfc-timeout'.split(' '),
  'outdated-wfc-timeout',
]);

type Verb = (words: Words, world: World, verb: string) => Promise<number>;

export async function main(argv: readonly string[], world: World): Promise<number> {
  try {
    const args = parseSetupArgs(argv, VALUED);
    const verb = args && VERBS.get(args.verb);
    if (args?.verb === 'help' && args.words.length > 0) return help(args.words, world);
    if (!args || args.verb === 'help') {
      world.out(`\nUSAGE: drbdsetup COMMAND {ARGUMENTS} [OPTIONS]\n\nCommands:\n`);
      for (const name of VERBS.keys()) world.out(`    ${name}\n`);
      return args ? 0 : EXIT_USAGE;
    }
    if (!verb) {
      world.err(`drbdsetup: '${args.verb}' is not a command\n`);
      return EXIT_USAGE;
    }
    return await verb(new Words(args), world, args.verb);
  } catch (e) {
    if (!(e instanceof UsageError)) throw e;
    world.err(`${e.message}\n`);
    return e.status;
  }
}

/** `help COMMAND`, as the original: of the first one only. */
function help([command = '']: readonly string[], world: World): number {
  const text = helpText(command);
  if (text !== null) world.out(text);
  else world.err(`drbdsetup: '${command}' is not a command\n`);
  return text === null ? EXIT_USAGE : 0;
}

async function send(world: World, request: ControlRequest, object: string): Promise<number> {
  const answer = await ask(world, request, object);
  return answer.ok ? 0 : answer.status;
}

function converted<T>({ options, errors }: Converted<T>): T {
  return options ?? usageError(errors.join('\n'));
}

// Reading

async function nodeStatus(world: World, object: string): Promise<NodeStatus | number> {
  const answer = await ask(world, { verb: 'status' }, object);
  return answer.ok ? (answer.value as NodeStatus) : answer.status;
}

function volumes(status: NodeStatus): VolumeStatus[] {
  return status.resources.flatMap((r) => r.volumes);
}

/** role, cstate, dstate: one line of one volume. */
function line(text: (v: VolumeStatus) => string): Verb {
  return async (words, world) => {
    const minor = words.minor();
    words.end();
    const status = await nodeStatus(world, `${minor}`);
    if (typeof status === 'number') return status;
    const volume = volumes(status).find((v) => v.minor === minor);
    if (!volume) return unknownMinor(world, minor);
    world.out(`${text(volume)}\n`);
    return 0;
  };
}

/** The resources an argument selects: all, a name or a minor. Null when there is none of that name. */
function select(status: NodeStatus, object: string | null): readonly ResourceStatus[] | null {
  if (object === null || object === 'all') return status.resources;
  const found = status.resources.filter((r) => r.name === object);
  return found.length > 0 ? found : null;
}

async function statusVerb(words: Words, world: World): Promise<number> {
  const object = words.optional();
  const verbose = words.flag('verbose');
  const statistics = words.flag('statistics');
  const json = words.flag('json');
  words.flag('color');
  words.end();
  const status = await nodeStatus(world, object ?? 'all');
  if (typeof status === 'number') return status;
  const selected = select(status, object);
  if (!selected) {
    world.err(`${object}: No such resource\n`);
    return EXIT_FAILURE;
  }
  const name = object === null || object === 'all' ? null : object;
  if (json) world.out(`${JSON.stringify(statusJson(status, name), null, 2)}\n`);
  else if (selected.length === 0) world.out('# No currently configured DRBD found.\n');
  else world.out(statusText(status, name, { verbose, statistics }));
  return 0;
}

async function shStatus(words: Words, world: World): Promise<number> {
  const object = words.optional();
  words.end();
  const status = await nodeStatus(world, object ?? 'all');
  if (typeof status === 'number') return status;
  const minor = object !== null && /^\d+$/.test(object) ? Number(object) : null;
  if (minor !== null) {
    world.out(shStatusText(minor, volumes(status).find((v) => v.minor === minor) ?? null));
    return 0;
  }
  for (const v of (select(status, object) ?? []).flatMap((r) => r.volumes)) {
    world.out(shStatusText(v.minor, v));
  }
  return 0;
}

async function show(words: Words, world: World): Promise<number> {
  const object = words.optional();
  const defaults = words.flag('show-defaults');
  words.end();
  const running = await runningResources(world, false);
  if (!running) return EXIT_USAGE;
  const minor = /^(?:minor-|\/dev\/drbd)?(\d{1,7})$/.exec(object ?? '')?.[1];
  const selected = running.filter(
    (r) =>
      object === null ||
      object === 'all' ||
      r.name === object ||
      r.volumes.some((v) => `${v.minor}` === minor),
  );
  if (selected.length === 0 && object !== null && object !== 'all') {
    world.err(`${object}: No such resource\n`);
    return EXIT_FAILURE;
  }
  for (const resource of selected) world.out(showText(resource, defaults));
  return 0;
}

async function generation(words: Words, world: World, verb: string): Promise<number> {
  const minor = words.minor();
  words.end();
  const answer = await ask(world, { verb: 'get-gi', minor }, `${minor}`);
  if (!answer.ok) return answer.status;
  const { uuids, flags } = answer.value as RunningGeneration;
  const [current, bitmap, history1, history2] = uuids.map((uuid) => BigInt(`0x${uuid}`));
  if (
    current === undefined ||
    bitmap === undefined ||
    history1 === undefined ||
    history2 === undefined
  ) {
    throw new Error('a get-gi reply without its four UUIDs');
  }
  const table = giTable({ current, bitmap, history1, history2, flags });
  // The line of get-gi is the one of the table that the legend points to.
  const shown =
    verb === 'show-gi' ? table : `${table.split('\n').find((l) => /^[0-9A-F]{16}:/.test(l))}\n`;
  world.out(shown);
  return 0;
}

// Configuring

function onMinor(make: (minor: number, words: Words) => ControlRequest): Verb {
  return async (words, world) => {
    const minor = words.minor();
    const request = make(minor, words);
    words.end();
    return send(world, request, `${minor}`);
  };
}

/** Verbs with a minor and nothing else. */
type PlainVerb =
  | 'invalidate'
  | 'invalidate-remote'
  | 'outdate'
  | 'pause-sync'
  | 'resume-sync'
  | 'suspend-io'
  | 'resume-io'
  | 'del-minor';
function plain(verb: PlainVerb): Verb {
  return onMinor((minor) => ({ verb, minor }));
}

async function newResource(words: Words, world: World): Promise<number> {
  const resource = words.word('a resource name');
  words.noWords();
  const options = converted(resourceOptions(words.others));
  return send(world, { verb: 'new-resource', resource, options }, resource);
}

async function newMinor(words: Words, world: World): Promise<number> {
  const resource = words.word('a resource name');
  const minor = words.minor();
  const volume = words.integer('a volume number');
  words.end();
  const device = `/dev/drbd${minor}`;
  return send(world, { verb: 'new-minor', resource, minor, volume, device }, `${minor}`);
}

async function attach(words: Words, world: World): Promise<number> {
  const minor = words.minor();
  const disk = words.word('a lower device');
  const metaDisk = words.word('a metadata device');
  const metaIndex = words.metaIndex();
  words.noWords();
  const options = converted(diskOptions(words.others));
  return send(world, { verb: 'attach', minor, disk, metaDisk, metaIndex, options }, `${minor}`);
}

async function connect(words: Words, world: World): Promise<number> {
  const resource = words.word('a resource name');
  const local = words.address('a local address');
  const remote = words.address('a remote address');
  words.noWords();
  const discardMyData = words.flag('discard-my-data');
  const tentative = words.flag('tentative');
  const options = converted(netOptions(words.others));
  const request: ControlRequest = {
    verb: 'connect',
    resource,
    local,
    remote,
    options,
    discardMyData,
    tentative,
  };
  return send(world, request, resource);
}

/** Connection verbs name their object by its addresses. */
async function connectionOf(words: Words, world: World) {
  const local = words.address('a local address');
  const remote = words.address('a remote address');
  words.noWords();
  const running = await runningResources(world, false);
  if (!running) return EXIT_USAGE;
  const same = (a: Address, b: Address) =>
    a.family === b.family && a.host.toLowerCase() === b.host.toLowerCase() && a.port === b.port;
  for (const { name, net } of running) {
    if (net && same(net.local, local) && same(net.remote, remote)) return { name, net };
  }
  world.err(
    '??: Failure: (162) Invalid configuration request\nadditional info from kernel:\nunknown connection\n',
  );
  return EXIT_FAILURE;
}

async function disconnect(words: Words, world: World): Promise<number> {
  const force = words.flag('force');
  const found = await connectionOf(words, world);
  if (typeof found === 'number') return found;
  words.end();
  return send(world, { verb: 'disconnect', resource: found.name, force }, '??');
}

async function changeNet(words: Words, world: World): Promise<number> {
  const defaults = words.flag('set-defaults');
  const found = await connectionOf(words, world);
  if (typeof found === 'number') return found;
  const options = converted(netOptions(words.others, defaults ? undefined : found.net.options));
  return send(world, { verb: 'net-options', resource: found.name, options }, '??');
}

async function changeDisk(words: Words, world: World): Promise<number> {
  const minor = words.minor();
  words.noWords();
  const defaults = words.flag('set-defaults');
  const running = await runningResources(world, false);
  if (!running) return EXIT_USAGE;
  const volume = running.flatMap((r) => r.volumes).find((v) => v.minor === minor);
  if (!volume) return unknownMinor(world, minor);
  if (!volume.disk) {
    world.err(`${minor}: Failure: (138) Device does not have a disk-config\n`);
    return EXIT_FAILURE;
  }
  const now = volume.disk.options;
  const { sizeSectors, maxBioBvecs } = now; // only an attach or a resize changes these
  const base = defaults ? { ...DEFAULT_DISK_OPTIONS, sizeSectors, maxBioBvecs } : now;
  const options = converted(diskOptions(words.others, base));
  return send(world, { verb: 'disk-options', minor, options }, `${minor}`);
}

async function changeResource(words: Words, world: World): Promise<number> {
  const resource = words.word('a resource name');
  words.noWords();
  const defaults = words.flag('set-defaults');
  const running = await runningResources(world, false);
  if (!running) return EXIT_USAGE;
  const now = running.find((r) => r.name === resource)?.options;
  const options = converted(resourceOptions(words.others, defaults ? undefined : now));
  return send(world, { verb: 'resource-options', resource, options }, resource);
}

/** `down` of what is not there is done. */
async function down(words: Words, world: World): Promise<number> {
  const resource = words.word('a resource name');
  words.end();
  const running = await runningResources(world, false);
  if (!running) return EXIT_USAGE;
  if (!running.some((r) => r.name === resource)) return 0;
  return send(world, { verb: 'down', resource }, resource);
}

async function delResource(words: Words, world: World): Promise<number> {
  const resource = words.word('a resource name');
  words.end();
  return send(world, { verb: 'del-resource', resource }, resource);
}

async function renameResource(words: Words, world: World): Promise<number> {
  const resource = words.word('a resource name');
  const name = words.word('its new name');
  words.end();
  return send(world, { verb: 'rename-resource', resource, name }, resource);
}

const VERBS: ReadonlyMap<string, Verb> = new Map<string, Verb>([
  ['new-resource', newResource],
  ['new-minor', newMinor],
  ['del-minor', plain('del-minor')],
  ['del-resource', delResource],
  ['rename-resource', renameResource],
  ['attach', attach],
  ['detach', onMinor((minor, w) => ({ verb: 'detach', minor, force: w.flag('force') }))],
  ['connect', connect],
  ['disconnect', disconnect],
  [
    'primary',
    onMinor((minor, w) => ({
      verb: 'primary',
      minor,
      force: w.flag('force', 'overwrite-data-of-peer'),
    })),
  ],
  ['secondary', onMinor((minor) => ({ verb: 'secondary', minor }))],
  ['invalidate', plain('invalidate')],
  ['invalidate-remote', plain('invalidate-remote')],
  ['outdate', plain('outdate')],
  ['pause-sync', plain('pause-sync')],
  ['resume-sync', plain('resume-sync')],
  ['suspend-io', plain('suspend-io')],
  ['resume-io', plain('resume-io')],
  [
    'verify',
    onMinor((minor, w) => ({
      verb: 'verify',
      minor,
      startSector: w.number('start', 's', MAX_SECTORS),
      stopSector: w.number('stop', 's', MAX_SECTORS),
    })),
  ],
  [
    'resize',
    onMinor((minor, w) => ({
      verb: 'resize',
      minor,
      sizeSectors: w.number('size', 's', MAX_SECTORS) ?? 0,
      assumePeerHasSpace: w.flag('assume-peer-has-space'),
      assumeClean: w.flag('assume-clean'),
      alStripes: w.number('al-stripes', '1', MAX_SECTORS),
      alStripeSizeKib: w.number('al-stripe-size-kB', 'k', MAX_SECTORS),
    })),
  ],
  ['check-resize', checkResize],
  [
    'new-current-uuid',
    onMinor((minor, w) => ({
      verb: 'new-current-uuid',
      minor,
      clearBitmap: w.flag('clear-bitmap'),
    })),
  ],
  ['disk-options', changeDisk],
  ['net-options', changeNet],
  ['resource-options', changeResource],
  ['down', down],
  ['role', line((v) => roleText(v.state))],
  ['state', line((v) => roleText(v.state))],
  ['cstate', line((v) => cstateText(v.state))],
  ['dstate', line((v) => dstateText(v.state))],
  ['show-gi', generation],
  ['get-gi', generation],
  ['show', show],
  ['status', statusVerb],
  ['sh-status', shStatus],
  ['events', events],
  ['events2', events2],
  ['wait-connect', wait],
  ['wait-sync', wait],
]);
