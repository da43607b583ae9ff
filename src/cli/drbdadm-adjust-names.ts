/**
 * `drbdadm adjust`: which running resource is the one of the file, and what would stop it half-way.
 *
 *     runs under its name                                          -> that one
 *     one that is not in the file has its minors, and their disks  -> that one, renamed
 *
 * In the way is what would be refused only when other things have been changed already: a minor or an address that somebody keeps, a
 * minor that has to go while its device is in use. Nothing of the resource is changed then, and nothing of one that needs it to go.
 *
 * The original recognises no other name, since it asks for the one of the file: it makes the resource and fails at its first minor
 * (161); and it takes a Primary's disk away before it learns that the minor has to stay. Source: drbdadm-84 9.22 observed with a
 * drbdsetup that shows other names and minors. rename-resource is that of drbd-utils 9 (kernels of 9).
 */
import type { ConfVolume } from '../config/drbd-conf-model.js';
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import type { Address, RunningResource, RunningVolume } from '../host/control.js';

export interface AdjustFacts {
  /** Of this host, all of the file. */
  readonly file: readonly LocalResource[];
  /** Names of the file, also of what is not for this host. */
  readonly names: ReadonlySet<string>;
  /** Those that are adjusted by this command. */
  readonly adjusted: ReadonlySet<string>;
  readonly running: readonly RunningResource[];
  /** Minors that are Primary. */
  readonly primaries: ReadonlySet<number>;
}

/** What runs of the resource, under whatever name; null: nothing. */
export function runningOf(facts: AdjustFacts, r: LocalResource): RunningResource | null {
  const name = r.conf.name;
  const own = facts.running.find((other) => other.name === name);
  if (own) return own;
  const meant = candidates(facts, r);
  const [only] = meant;
  if (!only || meant.length > 1) return null;
  const others = facts.file.filter((f) => f !== r && candidates(facts, f).includes(only));
  return others.length === 0 ? only : null;
}

function candidates({ names, running }: AdjustFacts, r: LocalResource): RunningResource[] {
  if (running.some((other) => other.name === r.conf.name)) return [];
  return running.filter((other) => !names.has(other.name) && isSame(r, other));
}

/** The same devices: every minor that both have is the same disk's, as far as there is one. */
function isSame(r: LocalResource, other: RunningResource): boolean {
  let known = other.net !== null && sameEndpoints(r, other.net.local, other.net.remote);
  const volumes = r.me?.volumes ?? [];
  let shared = 0;
  for (const old of other.volumes) {
    const volume = volumes.find((v) => v.minor === old.minor);
    if (!volume) continue;
    shared++;
    if (!old.disk) continue;
    if (!sameDisk(volume, old.disk)) return false;
    known = true;
  }
  return known && (shared > 0 || other.volumes.length === 0);
}

export function sameDisk(volume: ConfVolume, disk: NonNullable<RunningVolume['disk']>): boolean {
  const isInternal = volume.metaDisk === 'internal';
  if (volume.disk !== disk.disk || isInternal !== (disk.metaIndex === 'internal')) return false;
  return (
    isInternal || (volume.metaDisk === disk.metaDisk && volume.metaIndex === `${disk.metaIndex}`)
  );
}

type ConfEnd = { family: string; host: string; port: string } | null | undefined;

function sameEnd(conf: ConfEnd, a: Address): boolean {
  return (
    conf?.family === a.family &&
    conf.host.toLowerCase() === a.host.toLowerCase() &&
    Number(conf.port) === a.port
  );
}

export function sameEndpoints(r: LocalResource, local: Address, remote: Address): boolean {
  return sameEnd(r.me?.address, local) && sameEnd(r.peer?.address, remote);
}

/** Its volumes with another minor than in the file, or not in the file any more. */
export function goingVolumes(r: LocalResource, now: RunningResource | null): RunningVolume[] {
  const volumes = r.me?.volumes ?? [];
  return (now?.volumes ?? []).filter(
    (old) => !volumes.some((v) => v.vnr === old.volume && v.minor === old.minor),
  );
}

/** By the name of the resource: why nothing of it is changed, a line each. Those that can be adjusted have no entry. */
export function obstacles(facts: AdjustFacts): ReadonlyMap<string, readonly string[]> {
  const blocked = new Map<string, readonly string[]>();
  // What cannot be adjusted keeps what it has: that may stop others.
  for (let before = -1; before !== blocked.size; ) {
    before = blocked.size;
    for (const r of facts.file) {
      const { name } = r.conf;
      if (!facts.adjusted.has(name) || blocked.has(name)) continue;
      const lines = [...inUse(facts, r), ...held(facts, r, blocked), ...spoken(facts, r, blocked)];
      if (lines.length > 0) blocked.set(name, lines);
    }
  }
  return blocked;
}

type Blocked = ReadonlyMap<string, readonly string[]>;

/** The resource of the file that `other` is, if it is adjusted now; null: it stays as it is. */
function changing(facts: AdjustFacts, other: RunningResource, blocked: Blocked) {
  const { file, adjusted } = facts;
  return (
    file.find(
      (f) =>
        adjusted.has(f.conf.name) && !blocked.has(f.conf.name) && runningOf(facts, f) === other,
    ) ?? null
  );
}

function inUse(facts: AdjustFacts, r: LocalResource): string[] {
  const now = runningOf(facts, r);
  const going = goingVolumes(r, now);
  const { primaries } = facts;
  const lines = going
    .filter(({ minor }) => primaries.has(minor))
    .map(
      ({ minor }) =>
        `minor ${minor} would have to go, and is Primary here: end its users, 'drbdsetup secondary ${minor}', then adjust`,
    );
  if (lines.length > 0 || going.length === 0 || !now?.net) return lines;
  const served = now.volumes.filter(({ minor }) => primaries.has(minor));
  return served.map(
    ({ minor }) =>
      `minor ${going[0]?.minor} goes only without a connection, and minor ${minor}, which is Primary here, has the same one: ` +
      `'drbdadm disconnect ${now.name}' first`,
  );
}

function held(facts: AdjustFacts, r: LocalResource, blocked: Blocked): string[] {
  const now = runningOf(facts, r);
  const lines: string[] = [];
  for (const { minor, vnr } of r.me?.volumes ?? []) {
    const holder = facts.running.find((other) => other.volumes.some((v) => v.minor === minor));
    const volume = holder?.volumes.find((v) => v.minor === minor);
    if (!holder || !volume || (holder === now && volume.volume === vnr)) continue;
    const f = changing(facts, holder, blocked);
    if (f && goingVolumes(f, holder).includes(volume)) continue;
    if (f === r || holder === now) continue; // its own, which goes first
    lines.push(`minor ${minor} belongs to ${holder.name}/${volume.volume}: ${way(facts, holder)}`);
  }
  return lines;
}

function spoken(facts: AdjustFacts, r: LocalResource, blocked: Blocked): string[] {
  const now = runningOf(facts, r);
  if (now?.net && sameEndpoints(r, now.net.local, now.net.remote)) return [];
  const lines: string[] = [];
  for (const other of facts.running) {
    if (other === now || !other.net) continue;
    const { local, remote } = other.net;
    const used = sameEnd(r.me?.address, local) || sameEnd(r.peer?.address, remote);
    if (!used) continue;
    const f = changing(facts, other, blocked);
    if (f && !sameEndpoints(f, local, remote)) continue;
    lines.push(
      `its address is used by ${other.name} (${local.host}:${local.port} to ${remote.host}:${remote.port}): ${way(facts, other)}`,
    );
  }
  return lines;
}

function way({ names, adjusted }: AdjustFacts, holder: RunningResource): string {
  const { name } = holder;
  if (!names.has(name)) return `it is not in the file; 'drbdsetup down ${name}', then adjust`;
  return adjusted.has(name)
    ? 'it keeps that'
    : `'drbdadm adjust all' adjusts both, or adjust ${name} first`;
}
