/**
 * Fencing: make sure that the peer's data count as old before this node goes on alone. The handler `fence-peer` says by
 * its exit code what became of the peer. It is called once for the resource; what its answer proves is judged for each volume
 * (docs/STATES.md, fencing).
 */
import { force } from './changes.js';
import type { Resource } from './resource.js';
import { Conns, Disks, Roles } from './state.js';
import type { Volume } from './volume.js';

/** Fence the peer of a resource; `done` gets the volumes of which its data are known to be old now. */
export function fencePeer(r: Resource, done: (fenced: readonly Volume[]) => void): void {
  const { host } = r.core;
  if (!r.volumes.some((v) => v.state.disk >= Disks.Consistent)) {
    host.log('warn', r.name, "Not fencing peer, I'm not even Consistent myself.");
    done([]);
    return;
  }
  const { incarnation } = r;
  const isMet = (): boolean => r.volumes.some((v) => v.state.conn >= Conns.WFReportParams);
  const met = isMet(); // it is being met just now
  host.handler('fence-peer', r.name, null, (exit) => {
    if (isMet()) {
      done(r.volumes); // the connection came back meanwhile: its handshake decides
      return;
    }
    if (met || r.incarnation !== incarnation) {
      // It came and went: what was true of the peer then need not be so now. Who lost it again has asked again.
      host.log('info', r.name, 'Ignoring fence-peer exit code');
      done([]);
      return;
    }
    const pdsk = verdict(r, exit);
    const fenced = pdsk === null ? [] : r.volumes.filter((v) => believes(v, exit));
    for (const v of fenced) {
      if (pdsk === null || v.state.pdsk <= pdsk) continue;
      if (pdsk === Disks.Outdated && exit !== 5 && isOnlyUnsure(v)) {
        force(v, { pdsk, disk: Disks.UpToDate });
      } else force(v, { pdsk });
    }
    done(fenced);
  });
}

/**
 * A Primary that was left alone has its disk back, with the data that its users saw last; whether the peer has gone on without it, nobody
 * could say. Now it has not. (The originals leave it Consistent: its users get errors until the peer is back.)
 */
function isOnlyUnsure(v: Volume): boolean {
  const { role, disk } = v.state;
  return role === Roles.Primary && disk === Disks.Consistent && v.hasSeenOfOwn(v.uuids.current);
}

/** The peer's disk state that an exit code proves, or null. */
function verdict(r: Resource, exit: number): number | null {
  const { host } = r.core;
  switch (exit) {
    case 3:
      return Disks.Inconsistent;
    case 4:
    case 5:
    case 7:
      return Disks.Outdated;
    case 6:
      if (r.volumes.some((v) => v.keepsPeersData)) {
        host.log('warn', r.name, 'Peer is primary without a disk: its data are on this one.');
      } else host.log('warn', r.name, 'Peer is primary, outdating myself.');
      outdateMyself(r);
      return null;
    default:
      host.log('error', r.name, `fence-peer helper broken, returned ${exit}`);
      return null;
  }
}

/**
 * "Not reachable" (5) and "without a disk" (3) prove nothing to a copy that is not UpToDate: the peer may have gone on without it, and
 * have newer data, or have had them. (The originals go on after 3, and after 5 if any other volume is UpToDate.)
 */
function believes(v: Volume, exit: number): boolean {
  if ((exit !== 3 && exit !== 5) || v.state.disk === Disks.UpToDate) return true;
  const peer = exit === 3 ? 'peer has no data' : 'peer is unreachable';
  v.core.host.log('warn', v.name, `fence-peer: ${peer}, and our own disk is not UpToDate`);
  return false;
}

/**
 * May a frozen volume go on? One that has no whole copy may, when the peer is fenced at all: alone it answers nothing but errors, or waits
 * for data (on-no-data-accessible).
 */
export function mayGoOn(v: Volume, fenced: readonly Volume[]): boolean {
  return fenced.includes(v) || (fenced.length > 0 && v.state.disk < Disks.Consistent);
}

/**
 * The peer is Primary: this copy is old. A Primary that was frozen when it lost the peer gives way as well, if it has answered
 * nothing since (its generation is still due): its disk is Outdated and the frozen requests fail, whatever
 * on-no-data-accessible says, since the data that will be there again are not those that they belong to. So the service ends
 * here. The rest is as if the node had crashed: its generation stays where it was, and what the requests left on the disk counts only
 * if no new one has begun on the peer (a handler that was wrong). The original's change is refused by its own rules.
 *
 * A Primary that has answered something alone, or has told a peer of a generation of its own, cannot give way by itself: it
 * stays frozen.
 */
function outdateMyself(r: Resource): void {
  const givesWay = (v: Volume): boolean =>
    v.state.suspFen !== 0 &&
    v.generationDue &&
    v.uuids.bitmap === 0n && // or an engine before this one may have answered something
    v.state.disk > Disks.Outdated;
  const primaries = r.volumes.filter((v) => v.state.role === Roles.Primary);
  if (primaries.every(givesWay)) {
    for (const v of primaries) {
      v.generationDue = false;
      v.crashedPrimary = true;
      v.givesWay = true;
    }
    if (primaries.length > 0) r.connectLater();
    for (const v of primaries) force(v, { disk: Disks.Outdated });
    for (const v of primaries) force(v, { suspFen: 0, suspNod: 0 });
  }
  for (const v of r.volumes) {
    // A Primary without a disk works on this one: when the peer is gone, an older one of its own must not count as newer.
    const isOld = v.state.role !== Roles.Primary && !v.keepsPeersData;
    if (isOld && v.state.disk > Disks.Outdated) force(v, { disk: Disks.Outdated });
  }
}

/** A Primary has lost its peer: fence it if that may have good data of one of the volumes, and thaw I/O when that has worked. */
export function fenceAfterLoss(r: Resource): void {
  const mustFence = (v: Volume): boolean => {
    const { role, pdsk, conn } = v.state;
    if (v.diskOptions.fencing === 'dont-care' || role !== Roles.Primary) return false;
    return conn < Conns.Connected && pdsk >= Disks.DUnknown;
  };
  if (!r.volumes.some(mustFence)) return;
  fencePeer(r, (fenced) => {
    // The connection is being made again: its handshake decides, and thaws (Resource.established).
    if (r.volumes.some((v) => v.state.conn >= Conns.WFReportParams)) return;
    for (const v of r.volumes) {
      if (!mayGoOn(v, fenced)) continue; // with stonith, I/O stays frozen until the peer returns or resume-io
      if (v.state.suspFen !== 0) force(v, { suspFen: 0 });
    }
  });
}
