/**
 * Who is Primary: the role that an operator asks for, negotiated with the peer where both must agree, and answered once with DRBD's
 * code. Source: docs/STATES.md, administrative operations.
 */
import { beginGeneration, callPriOnInconDegr, change, force, setUuids } from './changes.js';
import { fencePeer, mayGoOn } from './fencing.js';
import { promotionBeginsGeneration, withRole } from './generation.js';
import { clusterChange, type Done, OK, type Outcome, refused } from './outcome.js';
import { sendState, sendUuids } from './params.js';
import { Ss } from './return-codes.js';
import { Conns, Disks, diskName, isSuspended, Roles } from './state.js';
import type { MaskField } from './state-mask.js';
import type { Volume } from './volume.js';

/** Retries while another change is under way or the peer's answer was lost. */
const MAX_TRIES = 4;

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
      link.watch.ping(() => {
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
    if (this.#fields.disk !== undefined && this.#hasGotWorse) {
      if (this.#v.state.role === Roles.Primary) {
        this.#done(this.#wasBetter(Ss.NO_UP_TO_DATE_DISK));
        return;
      }
      // It was another disk that was declared good; with its peer this one may do without.
      const { disk: _, ...others } = this.#fields;
      this.#fields = others;
      this.#forced = false;
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
        if (this.#hasGotWorse) {
          this.#done(this.#wasBetter(code));
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
          const isOld = fenced.includes(v) && v.state.pdsk <= Disks.Outdated;
          if (!isOld || v.state.disk !== Disks.Consistent) {
            const why = 'fence-peer did not prove that the peer has no newer data of this volume';
            this.#done(refused(code, why));
            return;
          }
          this.#fields = { ...this.#fields, disk: Disks.UpToDate };
          this.#try();
        });
        return;
      }
      if (code === Ss.PRIMARY_NOP) {
        fencePeer(v.resource, (fenced) => {
          if (fenced.includes(v)) this.#try();
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

  /** It met its peer while that was fenced, and may be half copied now: nobody has asked for that. */
  get #hasGotWorse(): boolean {
    return this.#v.state.disk < this.#askedOf;
  }

  #wasBetter(code: number): Outcome {
    const since = `the disk was ${diskName(this.#askedOf)} when that was asked for`;
    return refused(code, since, 'with --force once more it is taken as it is now');
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
    if (mayGoOn(v, fenced) || !waits) force(v, { suspFen: 0 });
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
