/**
 * What an operator asks of a volume: its role, its disk, its resync. Each request is judged here, negotiated with the peer
 * where both must agree, and answered once with DRBD's code. Source: docs/STATES.md, administrative operations.
 */

import { MDF } from '../md/superblock.js';
import { UUID_FLAGS } from '../wire/params.js';
import {
  beginGeneration,
  callPriOnInconDegr,
  change,
  force,
  markAll,
  setUuids,
  wouldChange,
} from './changes.js';
import { letGo } from './disk-failure.js';
import { fencePeer } from './fencing.js';
import {
  maskUuid,
  newCurrentByCommand,
  promotionBeginsGeneration,
  randomUuid,
  UUID_JUST_CREATED,
  withRole,
} from './generation.js';
import { giveUpSoon } from './hung-disk.js';
import { sendState, sendUuids } from './params.js';
import { Err, Ss } from './return-codes.js';
import { Conns, Disks, diskName, isSuspended, Roles, type State } from './state.js';
import { type MaskField, stateMask } from './state-mask.js';
import type { Volume } from './volume.js';

/** The outcome of a request. `state`: a code of a state change; `failure`: one of drbdsetup's other codes. */
export interface Outcome {
  readonly kind: 'ok' | 'state' | 'failure';
  readonly code: number;
  readonly info: readonly string[];
}

export const OK: Outcome = { kind: 'ok', code: Ss.SUCCESS, info: [] };
export type Done = (outcome: Outcome) => void;

const refused = (code: number, ...info: string[]): Outcome => ({ kind: 'state', code, info });
const failed = (code: number, ...info: string[]): Outcome => ({ kind: 'failure', code, info });

/** Retries while another change is under way or the peer's answer was lost. */
const MAX_TRIES = 4;

/**
 * A change that both nodes must agree to: judged here, asked of the peer where there is one, then committed.
 */
export function clusterChange(
  v: Volume,
  fields: Readonly<Partial<Record<MaskField, number>>>,
  done: (code: number, rule: string) => void,
): void {
  const wanted = (): State => ({ ...v.state, ...fields });
  const { link } = v;
  const connected = link !== null && v.state.conn >= Conns.Connected;
  if (!connected) {
    const result = change(v, wanted());
    done(result.code, result.rule);
    return;
  }
  const local = wouldChange(v, wanted(), 'cluster-wide');
  if (local.code < Ss.SUCCESS) {
    done(local.code, local.rule);
    return;
  }
  const { mask, val } = stateMask(fields);
  const asked = v.resource.askPeer(v, mask, val, (code) => {
    if (code < Ss.SUCCESS) {
      // 0: the connection went away before the answer came.
      done(
        code === 0
          ? Ss.IN_TRANSIENT_STATE
          : code === Ss.TWO_PRIMARIES
            ? code
            : Ss.CW_FAILED_BY_PEER,
        'peer',
      );
      return;
    }
    const result = change(v, wanted());
    done(result.code, result.rule);
  });
  if (!asked) done(Ss.IN_TRANSIENT_STATE, 'another change is under way');
}

// ---- roles

/** The connection is over, and its end is not yet. */
const isEnding = (conn: number): boolean =>
  conn >= Conns.Disconnecting && conn < Conns.WFConnection && conn !== Conns.Unconnected;

export function setPrimary(v: Volume, forceIt: boolean, done: Done): void {
  new Promotion(v, forceIt, done).begin();
}

class Promotion {
  readonly #v: Volume;
  readonly #force: boolean;
  readonly #done: Done;
  #tries = 0;
  #forced = false; // the disk had to be declared UpToDate
  readonly #askedOf: number; // what the disk was then
  #fields: Partial<Record<MaskField, number>> = { role: Roles.Primary };

  constructor(v: Volume, forceIt: boolean, done: Done) {
    this.#v = v;
    this.#force = forceIt;
    this.#done = done;
    this.#askedOf = v.state.disk;
  }

  begin(): void {
    this.#takeAsItIs();
    if (this.#v.state.role === Roles.Primary && !this.#forced) {
      this.#done(OK); // a new generation is not begun for it: I/O may be frozen, and the peer be the one that goes on
      return;
    }
    const { link } = this.#v;
    if (link && this.#v.state.conn >= Conns.Connected) {
      let answered = false;
      link.ping(() => {
        answered = true;
        this.#try();
      });
      // A peer that does not answer ends the link within ping-timeout; then this node decides alone.
      this.#v.resource.whenLinkEnds(link, () => {
        if (!answered) this.#try();
      });
    } else {
      this.#try();
    }
  }

  /** `primary --force` on a Primary that was left alone with a bad disk: its copy is declared good, as on a Secondary. */
  #takeAsItIs(): void {
    const { role, disk, conn, pdsk } = this.#v.state;
    if (!this.#force || role !== Roles.Primary || !this.#mayForce(disk)) return;
    if (conn >= Conns.Connected && pdsk === Disks.UpToDate) return; // the peer's is the one in use
    this.#v.core.host.log('warn', this.#v.name, 'Forced to consider local data as UpToDate!');
    this.#forced = true;
    this.#fields = { ...this.#fields, disk: Disks.UpToDate };
  }

  #try(): void {
    if (isEnding(this.#v.state.conn)) {
      // What the peer sent last is still being written: a reader would see a block before and after it.
      this.#v.resource.retryLater(() => this.#try());
      return;
    }
    this.#tries++;
    clusterChange(this.#v, this.#fields, (code, rule) => {
      if (code >= Ss.SUCCESS) this.#promoted();
      else this.#refused(code, rule);
    });
  }

  #refused(code: number, rule: string): void {
    const v = this.#v;
    const { disk } = v.state;
    if (this.#tries < MAX_TRIES) {
      if (
        code === Ss.CW_FAILED_BY_PEER &&
        this.#force &&
        !this.#forced &&
        disk === Disks.UpToDate
      ) {
        // A node without its disk knows of newer data than ours: that these are wanted is said with the state of the disk.
        this.#forced = true;
        this.#fields = { ...this.#fields, disk: Disks.UpToDate };
        this.#try();
        return;
      }
      if (code === Ss.NO_UP_TO_DATE_DISK && this.#force && this.#mayForce(disk)) {
        if (disk < this.#askedOf) {
          // It met its peer while that was fenced, and may be half copied now: nobody has asked for that.
          const since = `the disk was ${diskName(this.#askedOf)} when that was asked for`;
          this.#done(refused(code, since, `with --force once more it is taken as it is now`));
          return;
        }
        v.core.host.log('warn', v.name, 'Forced to consider local data as UpToDate!');
        this.#forced = true;
        this.#fields = { ...this.#fields, disk: Disks.UpToDate };
        this.#try();
        return;
      }
      const alone = v.state.conn < Conns.Connected; // else the peer has not vouched for it, and fencing proves nothing
      if (code === Ss.NO_UP_TO_DATE_DISK && disk === Disks.Consistent && alone) {
        fencePeer(v.resource, (fenced) => {
          if (v.state.conn >= Conns.Connected) {
            this.#try(); // it has come back meanwhile: what it is without a disk says nothing of its data
            return;
          }
          if (!fenced || v.state.pdsk > Disks.Outdated || v.state.disk !== Disks.Consistent) {
            this.#done(refused(code, 'the peer could not be fenced'));
            return;
          }
          this.#fields = { ...this.#fields, disk: Disks.UpToDate };
          this.#try();
        });
        return;
      }
      if (code === Ss.PRIMARY_NOP) {
        fencePeer(v.resource, (fenced) => {
          if (fenced) this.#try();
          else if (this.#force) {
            v.core.host.log('warn', v.name, 'Forced into split brain situation!');
            this.#fields = { ...this.#fields, pdsk: Disks.Outdated };
            this.#try();
          } else this.#done(refused(code, 'fence-peer did not succeed'));
        });
        return;
      }
      if (code === Ss.IN_TRANSIENT_STATE) {
        v.resource.retryLater(() => this.#try());
        return;
      }
      if (code === Ss.TWO_PRIMARIES && this.#tries === 1) {
        // The peer may just be on its way to Secondary.
        const waitMs = v.resource.netOptions.pingTimeoutDs * 100 + 100;
        v.resource.after(waitMs, () => this.#try());
        return;
      }
    }
    this.#done(refused(code, ...(rule === '' ? [] : [`rule: ${rule}`])));
  }

  #mayForce(disk: number): boolean {
    return !this.#forced && disk >= Disks.Inconsistent && disk < Disks.UpToDate;
  }

  #promoted(): void {
    const v = this.#v;
    v.discardMyData = false;
    v.outdateAtAttach = false;
    if (this.#forced) v.givesWay = false; // an operator wants this copy all the same
    let begun = false;
    const tell = (): void => {
      if (v.link && v.state.conn >= Conns.WFReportParams) {
        // A peer without a disk, too: it refuses data of a generation that it has not heard of.
        if (this.#forced || begun) sendUuids(v.link, v);
        sendState(v.link, v);
      }
      this.#done(OK);
    };
    if (v.state.disk < Disks.Inconsistent) {
      tell(); // diskless: the peer's generation is the one in use
      return;
    }
    if (promotionBeginsGeneration(v.state, v.uuids, this.#forced, v.generationShared)) {
      // The old generation becomes the bitmap's as it stood, bit 0 included; the new one carries our role.
      begun = true;
      beginGeneration(v, false, tell, this.#forced);
    } else {
      setUuids(v, withRole(v.uuids, true), tell);
    }
  }
}

/** How long a restarted engine's users wait for the peer before it counts as lost and is fenced. */
const RESUME_GRACE_MS = 3000;

/**
 * The engine was restarted under its users: the node was Primary and still is for them. No rule is asked. Without current
 * data they wait until the peer's are there. Where fencing is configured they wait for the peer, too: it may be alive and
 * UpToDate, and what is written here alone before it is fenced would be missing there.
 */
export function resumeRole(v: Volume, done: Done): void {
  if (v.state.conn === Conns.WFReportParams) {
    v.resource.retryLater(() => resumeRole(v, done)); // the peer compares with what it was told
    return;
  }
  if (v.state.disk === Disks.Consistent) force(v, { disk: Disks.UpToDate });
  if (v.state.disk < Disks.UpToDate) {
    force(v, { suspNod: 1 });
    // With a disk that can not be had any more, the peer was not the only one, and does not know what its cache lost.
    v.app.doubt.unknown(v.state.disk === Disks.Diskless && !v.attachAsked);
  }
  const { fencing } = v.diskOptions;
  const lost = v.state.conn < Conns.Connected && v.state.pdsk > Disks.Outdated;
  if (fencing !== 'dont-care' && lost) {
    force(v, { suspFen: 1 });
    v.resource.after(RESUME_GRACE_MS, () => fenceAfterResume(v));
  }
  force(v, { role: Roles.Primary });
  v.resuming = false;
  v.resource.after(RESUME_GRACE_MS, () => callPriOnInconDegr(v));
  v.resumedWithDisk = v.state.disk === Disks.UpToDate;
  const { state, uuids } = v;
  if (state.disk < Disks.Inconsistent) {
    done(OK);
    return;
  }
  // What is written from now on only this node has: as after any loss of the peer, or nobody would see that the copies parted.
  const parts =
    state.disk === Disks.UpToDate &&
    promotionBeginsGeneration(state, uuids, false, v.generationShared);
  if (parts && !isSuspended(state)) {
    beginGeneration(v, true, () => done(OK));
    return;
  }
  if (parts) v.generationDue = true;
  setUuids(v, withRole(uuids, true), () => done(OK));
}

/** The peer did not come: as if it had been lost just now. */
function fenceAfterResume(v: Volume): void {
  if (v.state.suspFen === 0 || v.state.conn >= Conns.Connected) return;
  fencePeer(v.resource, (fenced) => {
    if (v.state.suspFen === 0 || v.state.conn >= Conns.WFReportParams) return;
    const waits = v.diskOptions.fencing === 'resource-and-stonith';
    if (fenced || !waits) force(v, { suspFen: 0 });
  });
}

export function setSecondary(v: Volume, done: Done): void {
  if (v.state.role === Roles.Secondary) {
    done(OK);
    return;
  }
  if (v.openers > 0) {
    done(refused(Ss.DEVICE_IN_USE));
    return;
  }
  // What was asked before is finished first, so that nothing of it is left when the role is given away.
  v.link?.transferLog.close();
  v.resource.whenQuiet(v, () => {
    // Durable here, too: without the mark of a Primary in the meta-data nobody would look for what a power cut takes.
    v.resource.flushVolumes(() => {
      if (v.openers > 0)
        done(refused(Ss.DEVICE_IN_USE)); // opened meanwhile
      else demoteQuiet(v, done);
    });
  });
}

/**
 * Without the mark of a Primary nobody applies the activity log: what the peer lacks is in the bitmap on disk before that goes.
 * (The originals write both at once.)
 */
function demoteQuiet(v: Volume, done: Done): void {
  if ((v.bitmap?.count ?? 0) === 0) {
    demoteNow(v, done);
    return;
  }
  v.writeBitmap((written) => {
    if (written < 0) v.metaFailed(-written);
    if (v.openers > 0)
      done(refused(Ss.DEVICE_IN_USE)); // opened meanwhile
    else demoteNow(v, done);
  });
}

function demoteNow(v: Volume, done: Done): void {
  const result = change(v, { ...v.state, role: Roles.Secondary });
  if (result.code < Ss.SUCCESS) {
    done(refused(result.code, `rule: ${result.rule}`));
    return;
  }
  const tell = (): void => {
    if (v.link && v.state.conn >= Conns.WFReportParams) sendState(v.link, v);
    done(OK);
  };
  v.writeBitmap();
  setUuids(v, withRole(v.uuids, false), tell);
}

// ---- disk

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
  app.holdWrites();
  link.transferLog.close(); // an open epoch is acknowledged never
  resource.when(
    () => !onItsWay() || isLetGo(v) || isLate,
    () => then(!onItsWay() || isLetGo(v), () => app.releaseWrites()),
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
  const began = v.uuids.bitmap !== 0n && !v.resync.endMayBeMissed; // a generation that the peer does not have
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
