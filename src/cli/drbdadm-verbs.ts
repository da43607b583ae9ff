/**
 * The verbs of drbdadm: per resource or per volume, what they run, and what an exit code leads to.
 *
 *     up = phase 1: new-resource, new-minor...   phase 2: apply-al and attach each   phase 3: connect
 *
 * Phases run over all named resources before the next begins (`deferred`), and a failed phase ends the command. Before
 * it connects, and when it creates the resource, drbdadm also hands drbdd the handlers: the kernel calls its helper for
 * them, drbdd calls them itself. Source: drbdadm 9.22 (user/v84) observed; docs/CONFIGURATION.md.
 */
import { randomBytes } from 'node:crypto';
import type { ConfVolume } from '../config/drbd-conf-model.js';
import { hostNames } from '../config/drbd-conf-model.js';
import type { LocalConf, LocalHost, LocalResource } from '../config/drbd-conf-resolve.js';
import type { AdmArgs } from './drbdadm-args.js';
import * as cmd from './drbdadm-commands.js';
import { EXIT_EXEC_ERROR, type Runner } from './drbdadm-run.js';
import { sendHandlers } from './drbdsetup-client.js';
import type { World } from './world.js';

/** In this order; `disk` holds attach, disk options and resize. */
export const PHASES = ['create', 'resource', 'minor', 'disk', 'net-end', 'net'] as const;
export type Phase = (typeof PHASES)[number];

export interface Deferred {
  readonly phase: Phase;
  readonly resource: LocalResource;
  readonly verb: string;
  run(): Promise<number>;
}

export interface Adm {
  readonly args: AdmArgs;
  readonly conf: LocalConf;
  readonly host: LocalHost;
  readonly runner: Runner;
  readonly world: World;
  readonly deferred: Deferred[];
}

export interface VerbCall {
  readonly adm: Adm;
  readonly verb: string;
  readonly r: LocalResource;
  readonly volume: ConfVolume | null;
}

export interface Verb {
  readonly level: 0 | 1 | 2 | 3 | 4; // in which list of the help it stands
  readonly perVolume: boolean;
  readonly verifyIps: boolean;
  readonly needsPeer: boolean;
  readonly needsVolume: boolean; // res/vol, minor-N or an implicit volume
  run(call: VerbCall): Promise<number>;
}

function extra({ adm }: VerbCall): readonly string[] {
  return adm.args.setupOptions;
}
function volumeOf({ volume, r, verb }: VerbCall): ConfVolume {
  if (!volume) throw new Error(`${verb} without a volume of ${r.conf.name}`);
  return volume;
}

function generic(patience: 'short' | 'medium') {
  return (c: VerbCall) =>
    c.adm.runner.run(cmd.generic(c.verb, c.r, c.volume, extra(c)), c.r.conf.name, patience);
}

function meta(c: VerbCall, verb = c.verb): Promise<number> {
  return c.adm.runner.run(cmd.drbdmeta(volumeOf(c), verb, extra(c)), c.r.conf.name, 'long');
}

/**
 * drbdsetup, and where the device is not configured, drbdmeta. 11 and 17 are refusals, not reasons to go on (the original drops
 * the words of one of `outdate`). 5 is one of `outdate`, of a disk that is inconsistent anyway; it may be diskless.
 */
async function setupThenMeta(c: VerbCall): Promise<number> {
  const command = cmd.generic(c.verb, c.r, c.volume, extra(c));
  // Answered when the resync has begun: behind its before-resync handlers.
  const patience = c.verb === 'invalidate' ? 'medium' : 'short';
  const { status, stderr } = await c.adm.runner.runKept(command, c.r.conf.name, patience, 'keep');
  if (status === 11 || status === 17) {
    c.adm.world.err(stderr);
    return status;
  }
  if (status === 5) return (await meta(c)) === 0 ? 0 : 5;
  return status !== 0 || c.adm.args.dryRun ? meta(c) : 0;
}

/** New metadata keep the random number that names the device, or get one. */
async function createMd(c: VerbCall): Promise<number> {
  const { runner, args } = c.adm;
  const volume = volumeOf(c);
  const old = (await runner.capture(cmd.drbdmeta(volume, 'read-dev-uuid'))).trim();
  const status = await meta(c);
  if (status !== 0 || args.dryRun) return status;
  const isNew = !/^[0-9A-Fa-f]{16}$/.test(old) || /^0+$/.test(old);
  const uuid = isNew ? randomBytes(8).toString('hex').toUpperCase() : old;
  await runner.run(cmd.drbdmeta(volume, 'write-dev-uuid', [uuid]), c.r.conf.name, 'long');
  return 0;
}

export async function attach(c: VerbCall): Promise<number> {
  const status = await meta(c, 'apply-al');
  if (status !== 0) return status;
  return c.adm.runner.run(cmd.attach(volumeOf(c), extra(c)), c.r.conf.name, 'medium');
}

export async function newResource(c: VerbCall): Promise<number> {
  const status = await c.adm.runner.run(cmd.newResource(c.r, extra(c)), c.r.conf.name);
  return status === 0 ? setHandlers(c) : status;
}

export async function connect(c: VerbCall): Promise<number> {
  if (!c.r.peer && !c.adm.args.dryRun) {
    c.adm.world.err(
      `resource ${c.r.conf.name}: cannot configure network without knowing my peer.\n`,
    );
    return EXIT_EXEC_ERROR;
  }
  const status = await setHandlers(c);
  if (status !== 0) return status;
  return c.adm.runner.run(cmd.connect(c.r, extra(c)), c.r.conf.name);
}

/** The handlers of the resource and their environment, for drbdd to call. Nothing with -d: the original has no such call. */
export async function setHandlers({ adm, r }: VerbCall): Promise<number> {
  if (adm.args.dryRun) return 0;
  return sendHandlers(adm.world, {
    verb: 'set-handlers',
    resource: r.conf.name,
    handlers: Object.fromEntries(r.conf.handlers.map(({ name, value }) => [name, value])),
    environment: peerEnvironment(adm, r),
    lowerDisks: Object.fromEntries(
      (r.me?.volumes ?? []).map(({ minor, disk }) => [`${minor}`, disk ?? '']),
    ),
  });
}

function peerEnvironment({ conf }: Adm, { peer }: LocalResource): Record<string, string> {
  const environment: Record<string, string> = { DRBD_CONF: conf.conf.file };
  if (peer?.address) {
    environment['DRBD_PEER_AF'] = peer.address.family;
    environment['DRBD_PEER_ADDRESS'] = peer.address.host;
    environment['DRBD_PEER'] = peer.names[0] ?? '';
    environment['DRBD_PEERS'] = hostNames(peer);
  }
  return environment;
}

/** drbdadm VERB as DRBD's usermode helper: runs the handler of that name, 0 when there is none. */
async function handler({ adm, verb, r, volume }: VerbCall): Promise<number> {
  const { env } = adm.world;
  const byAddress = r.conf.hosts.find(
    ({ address }) =>
      address !== null &&
      address.family === env['DRBD_PEER_AF'] &&
      address.host === env['DRBD_PEER_ADDRESS'],
  );
  const environment = peerEnvironment(adm, { ...r, peer: r.peer ?? byAddress ?? null });
  environment['DRBD_RESOURCE'] = r.conf.name;
  if (volume) {
    environment['DRBD_VOLUME'] = `${volume.vnr}`;
    environment['DRBD_LL_DISK'] = volume.disk ?? '';
  }
  const volumes = volume ? [volume] : (r.me?.volumes ?? []);
  environment['DRBD_MINOR'] = volumes.map(({ minor }) => minor).join(' ');
  const line = r.conf.handlers.find(({ name }) => name === verb)?.value;
  return line === undefined ? 0 : adm.runner.shell(line, r.conf.name, environment);
}

async function resize(c: VerbCall): Promise<number> {
  const [first, check] = cmd.resize(c.r, volumeOf(c), extra(c));
  const stderr = c.verb === 'check-resize' ? 'drop' : 'show';
  const status = await c.adm.runner.run(first, c.r.conf.name, 'short', stderr);
  if (status === 0) await c.adm.runner.run(check, c.r.conf.name, 'short', stderr);
  return status;
}

async function checkResize(c: VerbCall): Promise<number> {
  return (await resize(c)) === 0 ? 0 : meta(c);
}

/** Queued; `up` comes once per volume, its resource once. */
async function up(c: VerbCall): Promise<number> {
  const { adm, r } = c;
  const once = { ...c, volume: null };
  if (!adm.deferred.some((d) => d.resource === r)) {
    defer(adm, 'create', r, 'new-resource', () => newResource(once));
    defer(adm, 'net', r, 'connect', () => connect(once));
  }
  defer(adm, 'create', r, 'new-minor', () => newMinor(c));
  defer(adm, 'disk', r, 'attach', () => attach(c));
  return 0;
}

export function newMinor(c: VerbCall): Promise<number> {
  return c.adm.runner.run(cmd.newMinor(c.r, volumeOf(c)), c.r.conf.name);
}

export function defer(
  adm: Adm,
  phase: Phase,
  resource: LocalResource,
  verb: string,
  run: () => Promise<number>,
): void {
  adm.deferred.push({ phase, resource, verb, run });
}

/**
 * Runs what was queued; 1 when a phase failed, and the later phases are left out. Where not even the first command could
 * be executed (no drbdd), 20.
 */
export async function runDeferred({ deferred, world }: Adm): Promise<number> {
  const given = new Set<LocalResource>();
  for (const phase of PHASES) {
    let failed = 0;
    for (const { resource, verb, run } of deferred.filter((d) => d.phase === phase)) {
      if (given.has(resource)) {
        world.err(`drbdadm: ${verb} ${resource.conf.name}: skipped due to earlier error\n`);
        continue;
      }
      const status = await run();
      if (status === 0) continue;
      failed = phase === 'create' && status === EXIT_EXEC_ERROR ? status : Math.max(failed, 1);
      if (phase === 'create' || phase === 'minor') given.add(resource);
    }
    if (failed !== 0) return failed;
  }
  return 0;
}

async function becomePrimary(c: VerbCall): Promise<number> {
  const wanted = c.r.conf.becomePrimaryOn ?? [];
  if (!wanted.includes(c.adm.host.name) && !wanted.includes('both')) return 0;
  let status = 0;
  for (let tries = 0; tries < 5; tries++) {
    status = await generic('short')({ ...c, verb: 'primary' });
    if (status === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  return status;
}

function print(text: (c: VerbCall) => string): Verb['run'] {
  return async (c) => {
    c.adm.world.out(`${text(c)}\n`);
    return 0;
  };
}

function udev(c: VerbCall): string {
  const volume = volumeOf(c);
  const plain = volume.implicit && !c.adm.conf.conf.global.udevAlwaysUseVnr;
  const device = volume.device?.startsWith('/dev/drbd')
    ? volume.device.slice('/dev/'.length)
    : `drbd${volume.minor}`;
  return [
    `RESOURCE=${c.r.conf.name}${plain ? '' : `/${volume.vnr}`}`,
    `DEVICE=${device}`,
    `DISK=${(volume.disk ?? '').replace(/^\/dev\//, '')}`,
  ].join('\n');
}

// The table

type Run = Verb['run'];
const BASE: Omit<Verb, 'run'> = {
  level: 1,
  perVolume: false,
  verifyIps: false,
  needsPeer: false,
  needsVolume: false,
};
const volume = (run: Run): Verb => ({ ...BASE, perVolume: true, run });
const resource = (run: Run): Verb => ({ ...BASE, run });
const net = (run: Run): Verb => ({ ...BASE, perVolume: true, verifyIps: true, run });
const connection = (run: Run): Verb => ({ ...BASE, verifyIps: true, needsPeer: true, run });
const shell = (run: Run): Verb => ({ ...BASE, level: 2, perVolume: true, run });
const helper = (run: Run): Verb => ({ ...BASE, level: 3, needsVolume: true, run });
const expert = (run: Run): Verb => ({ ...BASE, level: 4, perVolume: true, run });

/** Verbs that work on named resources, in the order of the help. dump and the like are in drbdadm.ts. */
export const VERBS: Readonly<Record<string, Verb>> = {
  attach: volume(attach),
  status: resource(generic('short')),
  'disk-options': volume((c) =>
    c.adm.runner.run(cmd.diskOptions(volumeOf(c), false, extra(c)), c.r.conf.name, 'medium'),
  ),
  detach: volume(generic('medium')),
  connect: connection(connect),
  'net-options': connection((c) =>
    c.adm.runner.run(cmd.netOptions(c.r, false, extra(c)), c.r.conf.name),
  ),
  disconnect: resource((c) => c.adm.runner.run(cmd.disconnect(c.r, extra(c)), c.r.conf.name)),
  up: { ...net(up), needsPeer: true },
  'resource-options': resource((c) =>
    c.adm.runner.run(cmd.resourceOptions(c.r, false, extra(c)), c.r.conf.name),
  ),
  down: resource(generic('medium')),
  primary: volume(generic('medium')),
  secondary: volume(generic('medium')),
  invalidate: volume(setupThenMeta),
  'invalidate-remote': net(generic('medium')),
  outdate: volume(setupThenMeta),
  resize: net(resize),
  verify: net(generic('short')),
  'pause-sync': net(generic('short')),
  'resume-sync': net(generic('short')),
  'wait-connect': net((c) =>
    c.adm.runner.run(cmd.waitConnect(c.r, volumeOf(c)), c.r.conf.name, 'forever'),
  ),
  role: volume(generic('short')),
  cstate: volume(generic('short')),
  dstate: volume(setupThenMeta),
  'create-md': volume(createMd),
  'show-gi': volume(setupThenMeta),
  'get-gi': volume(setupThenMeta),
  'dump-md': volume(meta),
  'wipe-md': volume(meta),
  'apply-al': volume(meta),
  'sh-resource': { ...resource(print((c) => c.r.conf.name)), level: 2 },
  'sh-dev': shell(print((c) => volumeOf(c).device ?? '')),
  'sh-udev': { ...BASE, level: 2, needsVolume: true, run: print(udev) },
  'sh-minor': shell(print((c) => `${volumeOf(c).minor}`)),
  'sh-ll-dev': shell(print((c) => volumeOf(c).disk ?? '')),
  'sh-md-dev': shell(
    print((c) => {
      const { metaDisk, disk } = volumeOf(c);
      return (metaDisk === 'internal' ? disk : metaDisk) ?? '';
    }),
  ),
  'sh-md-idx': shell(print((c) => volumeOf(c).metaIndex ?? '')),
  'sh-ip': shell(print((c) => c.r.me?.address?.host ?? '')),
  'sh-lr-of': shell(async (c) => {
    c.adm.world.err('sh-lower-resource only available in stacked mode\n');
    return 1;
  }),
  'sh-b-pri': shell(becomePrimary),
  'new-resource': { ...resource(newResource), level: 2 },
  'sh-new-minor': expert(newMinor),
  'new-minor': expert(newMinor),
  'before-resync-target': helper(handler),
  'after-resync-target': helper(handler),
  'before-resync-source': helper(handler),
  'pri-on-incon-degr': helper(handler),
  'pri-lost-after-sb': helper(handler),
  'fence-peer': { ...BASE, level: 3, run: handler },
  'unfence-peer': { ...BASE, level: 3, run: handler },
  'local-io-error': helper(handler),
  'pri-lost': helper(handler),
  'initial-split-brain': helper(handler),
  'split-brain': helper(handler),
  'out-of-sync': helper(handler),
  'suspend-io': expert(generic('short')),
  'resume-io': expert(generic('short')),
  'set-gi': { ...expert(meta), needsVolume: true },
  'new-current-uuid': { ...expert(generic('short')), needsVolume: true },
  'check-resize': expert(checkResize),
};
