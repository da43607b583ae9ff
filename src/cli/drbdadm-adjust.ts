/**
 * `drbdadm adjust`: make what runs like the file says, with the fewest and gentlest commands.
 *
 *     not running          -> as `up`; running under another name -> rename-resource, then the rest (drbdadm-adjust-names.ts)
 *     volume: other device -> detach, attach; other minor -> detach, del-minor, new-minor, attach
 *             other options -> disk-options; other size -> resize; no longer in the file -> detach, del-minor
 *     connection: other addresses, or none -> disconnect, connect; other options -> net-options
 *
 * Ordered so that disconnect < detach < new-minor < attach < options < connect. A minor goes from here without its connection only:
 * that is ended before, and made again at the end. Source: drbdadm 9.22 observed.
 */
import type { ConfVolume } from '../config/drbd-conf-model.js';
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import {
  diskOptions as convertDisk,
  netOptions as convertNet,
  resourceOptions as convertResource,
} from '../config/drbd-options-convert.js';
import type { Address, RunningResource, RunningVolume } from '../host/control.js';
import {
  type AdjustFacts,
  goingVolumes,
  obstacles,
  runningOf,
  sameDisk,
  sameEndpoints,
} from './drbdadm-adjust-names.js';
import * as cmd from './drbdadm-commands.js';
import {
  attach,
  connect,
  defer,
  newMinor,
  newResource,
  setHandlers,
  type VerbCall,
} from './drbdadm-verbs.js';
import { EXIT_FAILURE, primaryMinors, runningResources } from './drbdsetup-client.js';

export async function adjust(call: VerbCall): Promise<number> {
  const { adm, r } = call;
  const name = r.conf.name;
  const facts = await lookAround(call);
  if (facts === null) return 20;
  const now = runningOf(facts, r);
  const inTheWay = obstacles(facts).get(name);
  if (inTheWay) {
    adm.world.err(`${name}: can not be adjusted as a whole, nothing of it was changed\n`);
    for (const line of inTheWay) adm.world.err(`  ${line}\n`);
    return EXIT_FAILURE;
  }

  if (!now) defer(adm, 'create', r, 'new-resource', () => newResource(call));
  else {
    if (now.name !== name) {
      const rename = [cmd.DRBDSETUP, 'rename-resource', now.name, name];
      defer(adm, 'create', r, 'rename-resource', () => adm.runner.run(rename, name));
    }
    defer(adm, 'resource', r, 'handlers', () => setHandlers(call));
    if (!same(convertResource(r.conf.options).options, now.options)) {
      defer(adm, 'resource', r, 'resource-options', () =>
        adm.runner.run(cmd.resourceOptions(r, true, []), name),
      );
    }
  }
  const net = now?.net ?? null;
  const isApart = net !== null && goingVolumes(r, now).length > 0;
  if (isApart) defer(adm, 'create', r, 'disconnect', () => disconnect(call, net)); // a minor goes only then
  for (const old of now?.volumes ?? []) removed(call, old);
  for (const volume of r.me?.volumes ?? []) {
    const old = now?.volumes.find((v) => v.volume === volume.vnr) ?? null;
    adjustVolume(call, volume, old);
  }
  adjustNet(call, net, isApart);
  return 0;
}

/** What runs, and who is Primary where that matters. Null when it cannot be known (said on standard error). */
async function lookAround({ adm, r }: VerbCall): Promise<AdjustFacts | null> {
  const { args, conf, world } = adm;
  const running = await runningResources(world, args.dryRun);
  if (running === null) return null;
  const file = conf.resources.filter(({ me }) => me !== null);
  const isAll = args.resources.length === 0 || args.resources[0] === 'all';
  const isNamed = ({ conf: { name }, me }: LocalResource): boolean =>
    isAll ||
    args.resources.some((word) => word === name || word.startsWith(`${name}/`)) ||
    (me?.volumes ?? []).some(({ minor }) => args.resources.includes(`minor-${minor}`));
  const facts: AdjustFacts = {
    file,
    names: new Set(conf.resources.map((other) => other.conf.name)),
    adjusted: new Set([r, ...file.filter(isNamed)].map((other) => other.conf.name)),
    running,
    primaries: new Set(),
  };
  const mayGo = file.some((f) => goingVolumes(f, runningOf(facts, f)).length > 0);
  if (!mayGo) return facts;
  const primaries = await primaryMinors(world);
  return primaries && { ...facts, primaries };
}

/** A volume that runs but is no longer in the file. */
function removed(call: VerbCall, old: RunningVolume): void {
  if (call.r.me?.volumes.some((v) => v.vnr === old.volume)) return;
  removeMinor(call, old);
}

function removeMinor(call: VerbCall, old: RunningVolume): void {
  if (old.disk) onMinor(call, 'detach', old.minor);
  onMinor(call, 'del-minor', old.minor);
}

function onMinor({ adm, r }: VerbCall, verb: string, minor: number): void {
  defer(adm, 'create', r, verb, () =>
    adm.runner.run([cmd.DRBDSETUP, verb, `${minor}`], r.conf.name),
  );
}

function adjustVolume(call: VerbCall, volume: ConfVolume, old: RunningVolume | null): void {
  const { adm, r } = call;
  const one = { ...call, volume };
  const isNew = !old || old.minor !== volume.minor;
  if (old && isNew) removeMinor(call, old);
  if (isNew) defer(adm, 'minor', r, 'new-minor', () => newMinor(one));
  const wanted = convertDisk(volume.diskOptions).options;
  const disk = isNew ? null : (old?.disk ?? null);
  const isOther =
    disk !== null && (!sameDisk(volume, disk) || wanted?.maxBioBvecs !== disk.options.maxBioBvecs);
  if (isOther && old) onMinor(call, 'detach', old.minor);
  if (!disk || isOther) {
    defer(adm, 'disk', r, 'attach', () => attach(one));
    return;
  }
  const { sizeSectors } = disk.options;
  if (!same(wanted && { ...wanted, sizeSectors }, disk.options)) {
    defer(adm, 'disk', r, 'disk-options', () =>
      adm.runner.run(cmd.diskOptions(volume, true, []), r.conf.name),
    );
  }
  if (wanted && wanted.sizeSectors !== sizeSectors) {
    const [resize] = cmd.resize(r, volume, []);
    defer(adm, 'disk', r, 'resize', () => adm.runner.run(resize, r.conf.name));
  }
}

function adjustNet(call: VerbCall, net: RunningResource['net'], isApart: boolean): void {
  const { adm, r } = call;
  if (net && !isApart && sameEndpoints(r, net.local, net.remote)) {
    if (same(convertNet(r.conf.net).options, net.options)) return;
    defer(adm, 'net', r, 'net-options', () =>
      adm.runner.run(cmd.netOptions(r, true, []), r.conf.name),
    );
    return;
  }
  if (net && !isApart) defer(adm, 'net-end', r, 'disconnect', () => disconnect(call, net));
  defer(adm, 'net', r, 'connect', () => connect(call));
}

function disconnect({ adm, r }: VerbCall, net: NonNullable<RunningResource['net']>) {
  const ends = [net.local, net.remote].map(endpointArg);
  return adm.runner.run([cmd.DRBDSETUP, 'disconnect', ...ends], r.conf.name);
}

function endpointArg({ family, host, port }: Address): string {
  return cmd.addressArg({
    family,
    host,
    port: `${port}`,
    place: { file: '', line: 0, column: 0 },
  });
}

/** Options of one shape, all of them plain values. */
function same<T extends object>(a: T | null, b: T): boolean {
  if (a === null) return false;
  const other: ReadonlyMap<string, unknown> = new Map(Object.entries(b));
  return Object.entries(a).every(([key, value]) => other.get(key) === value);
}
