/**
 * `drbdadm adjust`: make what runs like the file says, with the fewest and gentlest commands.
 *
 *     not running          -> as `up`
 *     volume: other device -> detach, attach; other minor -> detach, del-minor, new-minor, attach
 *             other options -> disk-options; other size -> resize; no longer in the file -> detach, del-minor
 *     connection: other addresses, or none -> disconnect, connect; other options -> net-options
 *
 * Ordered so that disconnect < detach < new-minor < attach < options < connect. Source: drbdadm 9.22 observed.
 */
import type { ConfVolume } from '../config/drbd-conf-model.js';
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import {
  diskOptions as convertDisk,
  netOptions as convertNet,
  resourceOptions as convertResource,
} from '../config/drbd-options-convert.js';
import type { Address, RunningResource, RunningVolume } from '../host/control.js';
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
import { runningResources } from './drbdsetup-client.js';

export async function adjust(call: VerbCall): Promise<number> {
  const { adm, r } = call;
  const name = r.conf.name;
  const running = await runningResources(adm.world, adm.args.dryRun);
  if (running === null) return 20;
  const now = running.find((resource) => resource.name === name) ?? null;

  if (!now) defer(adm, 'create', r, 'new-resource', () => newResource(call));
  else {
    defer(adm, 'resource', r, 'handlers', () => setHandlers(call));
    if (!same(convertResource(r.conf.options).options, now.options)) {
      defer(adm, 'resource', r, 'resource-options', () =>
        adm.runner.run(cmd.resourceOptions(r, true, []), name),
      );
    }
  }
  for (const old of now?.volumes ?? []) removed(call, old);
  for (const volume of r.me?.volumes ?? []) {
    const old = now?.volumes.find((v) => v.volume === volume.vnr) ?? null;
    adjustVolume(call, volume, old);
  }
  adjustNet(call, now);
  return 0;
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

function sameDisk(volume: ConfVolume, disk: NonNullable<RunningVolume['disk']>): boolean {
  const isInternal = volume.metaDisk === 'internal';
  if (volume.disk !== disk.disk || isInternal !== (disk.metaIndex === 'internal')) return false;
  return (
    isInternal || (volume.metaDisk === disk.metaDisk && volume.metaIndex === `${disk.metaIndex}`)
  );
}

function adjustNet(call: VerbCall, now: RunningResource | null): void {
  const { adm, r } = call;
  const net = now?.net ?? null;
  if (net && sameEndpoints(r, net.local, net.remote)) {
    if (same(convertNet(r.conf.net).options, net.options)) return;
    defer(adm, 'net', r, 'net-options', () =>
      adm.runner.run(cmd.netOptions(r, true, []), r.conf.name),
    );
    return;
  }
  if (net) {
    const ends = [net.local, net.remote].map(endpointArg);
    defer(adm, 'net-end', r, 'disconnect', () =>
      adm.runner.run([cmd.DRBDSETUP, 'disconnect', ...ends], r.conf.name),
    );
  }
  defer(adm, 'net', r, 'connect', () => connect(call));
}

function endpointArg({ family, host, port }: Address): string {
  return cmd.addressArg({
    family,
    host,
    port: `${port}`,
    place: { file: '', line: 0, column: 0 },
  });
}

function sameEndpoints(r: LocalResource, local: Address, remote: Address): boolean {
  const equal = (
    conf: { family: string; host: string; port: string } | null | undefined,
    a: Address,
  ) =>
    conf?.family === a.family &&
    conf.host.toLowerCase() === a.host.toLowerCase() &&
    Number(conf.port) === a.port;
  return equal(r.me?.address, local) && equal(r.peer?.address, remote);
}

/** Options of one shape, all of them plain values. */
function same<T extends object>(a: T | null, b: T): boolean {
  if (a === null) return false;
  const other: ReadonlyMap<string, unknown> = new Map(Object.entries(b));
  return Object.entries(a).every(([key, value]) => other.get(key) === value);
}
