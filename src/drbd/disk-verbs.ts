/**
 * What an operator asks of a copy: to let it go, to call it old, to copy it whole; pauses; a new generation. Each request is judged here,
 * negotiated with the peer where both must agree, and answered once with DRBD's code. Source: docs/STATES.md, administrative operations.
 */
import { MDF } from '../md/superblock.js';
import { UUID_FLAGS } from '../wire/params.js';
import { change, force, markAll, setUuids, wouldChange } from './changes.js';
import { letGo } from './disk-failure.js';
import { maskUuid, newCurrentByCommand, randomUuid, UUID_JUST_CREATED } from './generation.js';
import { giveUpSoon } from './hung-disk.js';
import { clusterChange, type Done, failed, OK, type Outcome, refused } from './outcome.js';
import { sendUuids } from './params.js';
import { Err, Ss } from './return-codes.js';
import { Conns, Disks, Roles } from './state.js';
import type { Volume } from './volume.js';

export function detach(v: Volume, forceIt: boolean, done: Done): void {
  if (v.state.disk === Disks.Diskless) {
    done(OK);
    return;
  }
  const finish = (): void => v.resource.whenDiskless(v, () => done(OK));
  v.untold?.tell(); // it has failed already, and its handler hangs: an operator need not wait for that
  if (forceIt) {
    giveUpSoon(v);
    if (v.diskUsable()) letGo(v);
    else force(v, { disk: Disks.Failed });
    finish();
    return;
  }
  if (v.state.disk === Disks.Attaching) {
    // One after the other, as the original's commands.
    v.resource.when(
      () => v.state.disk !== Disks.Attaching,
      () => detach(v, false, done),
    );
    return;
  }
  // Judged as if the disk were gone already: a Primary must keep access to UpToDate data.
  const isRefused = (): boolean => {
    const judged = wouldChange(v, { ...v.state, disk: Disks.Diskless });
    if (judged.code < Ss.SUCCESS) done(refused(judged.code, `rule: ${judged.rule}`));
    return judged.code < Ss.SUCCESS;
  };
  if (isRefused()) return;
  onPeersDiskToo(v, (isThere, goOn) => {
    if (isLetGo(v)) {
      goOn();
      finish(); // another one was faster
    } else if (isRefused()) goOn();
    else if (!isThere) {
      goOn();
      const seconds = v.resource.netOptions.timeoutDs / 10;
      const what = `what was answered has not reached the peer's disk within ${seconds} s (timeout)`;
      done(refused(Ss.IN_TRANSIENT_STATE, `${what}; try again, or lose it with detach --force`));
    } else {
      clusterChange(v, { disk: Disks.Failed }, (code, rule) => {
        goOn();
        if (code < Ss.SUCCESS) done(refused(code, `rule: ${rule}`));
        else finish();
      });
    }
  });
}

/** By somebody else, or by force meanwhile. */
const isLetGo = ({ state }: Volume): boolean =>
  state.disk === Disks.Diskless || state.disk === Disks.Failed;

/**
 * Under A and B a write is answered on the strength of this disk, and may be on its way to the peer's. Before this one is let go by
 * choice it has to be there, or a crash of this node would lose it. Users' writes wait until `goOn`, and no longer than `timeout`.
 */
function onPeersDiskToo(v: Volume, then: (isThere: boolean, goOn: () => void) => void): void {
  const { link, app, resource } = v;
  if (v.state.role !== Roles.Primary || !link || app.promises.inForce(link.protocol) === 'C') {
    then(true, () => {});
    return;
  }
  const onItsWay = (): boolean =>
    v.link === link && link.transferLog.touches(app, 0, v.sizeSectors);
  let isLate = false;
  resource.after(resource.netOptions.timeoutDs * 100, () => {
    isLate = true;
  });
  app.admission.holdWrites();
  link.transferLog.close(); // an open epoch is acknowledged never
  resource.when(
    () => !onItsWay() || isLetGo(v) || isLate,
    () => then(!onItsWay() || isLetGo(v), () => app.admission.releaseWrites()),
  );
}

/**
 * Why this copy does not count as old because the peer wants it, or null. The peer would fence the newer copy, and become Primary with
 * the older one. The same of a Primary: without a disk, too, it has users who must not find their data on another node.
 */
function neverOutdated(v: Volume): string | null {
  const { role, disk, conn, pdsk } = v.state;
  if (role === Roles.Primary) return 'this node is Primary';
  const letGo = disk < Disks.Inconsistent;
  const began = v.uuids.bitmap !== 0n && !v.resync.source.endMayBeMissed; // a generation that the peer does not have
  const behind = (v.flags & MDF.PEER_OUT_DATED) !== 0 || (letGo && began);
  if (!behind || !(letGo || disk === Disks.UpToDate)) return null;
  // Connected, the peer's disk speaks for itself. Where it has none either, that connection may be dead, and the peer another one by now.
  if (conn >= Conns.Connected && !(letGo && pdsk < Disks.Inconsistent)) return null;
  return "the peer's copy is older than this one";
}

/** Answered when the meta-data say so: whoever fences by it relies on it after a power cut, too. */
export function outdate(v: Volume, done: Done): void {
  // Exit 17, which dopd tells the peer as 6. It asks for one volume after the other, and is fenced or not as a whole.
  for (const o of v.resource.volumes) {
    const why = neverOutdated(o);
    if (why === null) continue;
    done(refused(Ss.NO_UP_TO_DATE_DISK, o === v ? why : `${o.name}: ${why}`));
    return;
  }
  // Exit 5, which a fence-peer handler tells as 3: the peer goes on alone. A disk that comes back must not count as good.
  if (v.state.disk < Disks.Inconsistent) v.outdateAtAttach = true;
  const result = change(v, { ...v.state, disk: Disks.Outdated });
  if (result.code < Ss.SUCCESS) {
    done(refused(result.code, `rule: ${result.rule}`));
    return;
  }
  if (!v.store) {
    done(OK);
    return;
  }
  v.store.writeSuperblock((written) => {
    if (written < 0) v.metaFailed(-written);
    done(written < 0 ? failed(Err.IO_MD_DISK, 'the disk does not know that it is Outdated') : OK);
  });
}

const markedAll = (result: number): Outcome =>
  result < 0
    ? failed(Err.IO_MD_DISK, 'the disk does not know that everything is to be copied')
    : OK;

/** invalidate: this disk is thrown away and copied from the peer. */
export function invalidate(v: Volume, done: Done): void {
  const { bitmap, store } = v;
  if (!bitmap || !store) {
    done(failed(Err.NO_DISK));
    return;
  }
  if (v.state.conn >= Conns.Connected) {
    startSync(v, Conns.StartingSyncT, done);
    return;
  }
  if (v.state.conn !== Conns.StandAlone || v.state.role === Roles.Primary) {
    done(refused(v.state.role === Roles.Primary ? Ss.NO_UP_TO_DATE_DISK : Ss.NEED_CONNECTION));
    return;
  }
  force(v, { disk: Disks.Inconsistent });
  markAll(v, (result) => done(markedAll(result)));
}

/** invalidate-remote: the peer's disk is thrown away and copied from here. */
export function invalidateRemote(v: Volume, done: Done): void {
  const { bitmap, store } = v;
  if (!bitmap || !store) {
    done(failed(Err.NO_DISK));
    return;
  }
  if (v.state.conn >= Conns.Connected) {
    startSync(v, Conns.StartingSyncS, done);
    return;
  }
  if (v.state.conn !== Conns.StandAlone || v.state.role !== Roles.Primary) {
    done(refused(Ss.NEED_CONNECTION));
    return;
  }
  force(v, { pdsk: Disks.Inconsistent });
  markAll(v, (result) => done(markedAll(result)));
}

/** On the way to a resync of everything. */
const isStarting = (conn: number): boolean =>
  conn === Conns.StartingSyncS || conn === Conns.StartingSyncT || conn === Conns.WFSyncUUID;

/**
 * Answered when it has begun, and the disk says so. Before that nothing in the generations tells the copies apart: two nodes that
 * lose their connection, or their power, would take each other for equal when they meet again.
 */
function startSync(v: Volume, conn: number, done: Done): void {
  clusterChange(v, { conn }, (code, rule) => {
    if (code < Ss.SUCCESS) {
      done(refused(code, `rule: ${rule}`));
      return;
    }
    if (v.state.conn !== conn) {
      done(refused(Ss.IN_TRANSIENT_STATE)); // the other end changed while it was asked
      return;
    }
    const before = v.resync.runs;
    v.resync.beginning.startFull(conn);
    v.resource.when(
      () => !isStarting(v.state.conn),
      () => {
        const { store } = v;
        const begun = v.resync.runs !== before;
        if (begun && store) store.writeSuperblock((result) => done(markedAll(result)));
        else done(refused(Ss.IN_TRANSIENT_STATE, 'the resync could not begin'));
      },
    );
  });
}

/** No pause of ours is to be lifted; the resync may be paused by others. */
function whyPaused({ state }: Volume): number {
  if (state.conn !== Conns.PausedSyncS && state.conn !== Conns.PausedSyncT)
    return Err.PAUSE_IS_CLEAR;
  if (state.aftrIsp !== 0) return Err.PIC_AFTER_DEP;
  return state.peerIsp !== 0 ? Err.PIC_PEER_DEP : Err.PAUSE_IS_CLEAR;
}

export function pauseSync(v: Volume, pause: boolean, done: Done): void {
  if ((v.state.userIsp === 1) === pause) {
    done(failed(pause ? Err.PAUSE_IS_SET : whyPaused(v)));
    return;
  }
  const result = change(v, { ...v.state, userIsp: pause ? 1 : 0 });
  done(result.code < Ss.SUCCESS ? refused(result.code, `rule: ${result.rule}`) : OK);
}

export function suspendIo(v: Volume, suspend: boolean, done: Done): void {
  if (!suspend && v.generationDue && v.state.conn === Conns.WFReportParams) {
    // The peer has been told of the old generation: what is written from now on would belong to none that it knows.
    v.resource.retryLater(() => suspendIo(v, suspend, done));
    return;
  }
  if (suspend) force(v, { susp: 1 });
  else force(v, { susp: 0, suspNod: 0, suspFen: 0 });
  done(OK);
}

/** new-current-uuid [--clear-bitmap]: on a fresh pair, skip the initial sync. */
export function newCurrentUuid(v: Volume, clearBitmap: boolean, done: Done): void {
  const { bitmap, store } = v;
  if (!bitmap || !store) {
    done(failed(Err.NO_DISK));
    return;
  }
  const fresh = (uuid: bigint): boolean => maskUuid(uuid) === UUID_JUST_CREATED;
  const skip =
    v.state.conn === Conns.Connected &&
    (v.link?.apv ?? 0) >= 90 && // older peers do not know the flag
    clearBitmap &&
    fresh(v.uuids.current) &&
    v.peerUuids !== null &&
    fresh(v.peerUuids.current);
  if (!skip && v.state.conn !== Conns.StandAlone) {
    done(failed(Err.CONNECTED));
    return;
  }
  const primary = v.state.role === Roles.Primary;
  const set = newCurrentByCommand(v.uuids, randomUuid(v.core.host.random), primary);
  const finish = (): void =>
    setUuids(v, set, () => {
      if (skip && v.link) {
        v.core.host.log('info', v.name, 'Preparing to skip initial sync');
        sendUuids(v.link, v, UUID_FLAGS.SKIP_INITIAL_SYNC);
        setUuids(v, { ...v.uuids, bitmap: 0n });
        if (v.peerUuids) v.peerUuids = { ...v.peerUuids, ...v.uuids };
        force(v, { disk: Disks.UpToDate, pdsk: Disks.UpToDate });
      }
      done(OK);
    });
  if (!clearBitmap) {
    finish();
    return;
  }
  v.alSuspended = false; // from now on the log says something that the bitmap does not
  bitmap.clearAll();
  store.writeBitmap(bitmap, null, (result) => {
    if (result < 0) v.metaFailed(-result);
    else finish();
  });
}
