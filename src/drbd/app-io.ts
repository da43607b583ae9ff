/**
 * Application I/O of one volume: where a request goes once it is taken in, and what follows from each of its legs.
 *
 *     taken in (intake.ts) -> held while the state forbids I/O (admission.ts)
 *           -> a read: app-reads.ts; a flush: app-flushes.ts
 *           -> a write: interval (overlaps wait) -> activity log on disk -> local disk and, if the peer takes part, the network
 *           -> answered (answer.ts) -> bits, log and buffer settled
 *
 * Rules (docs/PROTOCOL.md, writes): a write is answered when it is on the local disk and protocol A: handed to the
 * socket, B: received, C: written by the peer. A write that does not reach the peer is marked out-of-sync before it is
 * answered. A flush is answered when both disks have flushed (protocol C) or the local one has (A, B).
 */
import { assert } from '../base/assert.js';
import { Admission, refusalOf } from './admission.js';
import { isDone, isDoneHere, peerAllowsAnswer, waitsForThaw } from './answer.js';
import { AppFlushes } from './app-flushes.js';
import { AppReads } from './app-reads.js';
import {
  type AppRequest,
  EIO,
  LEG_DONE,
  LEG_FAILED,
  LEG_NONE,
  LEG_OK,
  LEG_PENDING,
  OP_DISCARD,
  OP_FLUSH,
  OP_READ,
  OP_WRITE,
} from './app-request.js';
import { type Core, type FrontEnd, KIND_APP_LOCAL } from './core.js';
import { hidesFailure } from './disk-failure.js';
import { countsHere, countsThere, holdsData, peerParts, peerSpeaksOfItsDisk } from './enough.js';
import { FlushDoubt } from './flush-doubt.js';
import { Promises, STRONGEST } from './promises.js';
import { RefusedWrites } from './refused-writes.js';
import { Conns, Disks } from './state.js';
import type { Volume } from './volume.js';

const ETIMEDOUT = 110;
const EOPNOTSUPP = 95;

/** Of a write that is lost with the connection: its answer did not wait for the peer's disk, or that of a flush since did not. */
const isWeak = (r: AppRequest): boolean => r.promise >= 0 && r.promise < STRONGEST;

export class AppIo {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly admission: Admission;
  readonly reads: AppReads;
  readonly flushes: AppFlushes;
  readonly #refused: RefusedWrites;
  readonly #unanswered: AppRequest[] = []; // over, but must not be answered while I/O is frozen
  readonly #gated: AppRequest[] = []; // may go, once the generation they belong to is on disk and nothing is frozen
  readonly promises = new Promises();
  readonly doubt: FlushDoubt;
  /** Requests not answered: `ap` of /proc/drbd. */
  pending = 0;
  /** Requests on the local disk: part of `lo`. */
  local = 0;
  /** Requests sent and not acknowledged: part of `pe`. */
  remote = 0;
  /** Writes on the transfer log. */
  logged = 0;
  /** And their sectors. */
  inFlightSectors = 0;
  /** Writes between disk and answer, for waiting until a volume is quiet. */
  writesActive = 0;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
    this.admission = new Admission(core, volume, (r) => this.#start(r));
    this.reads = new AppReads(core, volume);
    this.flushes = new AppFlushes(core, volume);
    this.#refused = new RefusedWrites(volume);
    this.doubt = new FlushDoubt(() => volume.tellExposed());
  }

  /** The state or a counter changed: let those in that may. */
  resume(): void {
    this.flushes.stateChanged();
    this.#refused.stateChanged();
    if (this.#unanswered.length > 0 && !this.admission.isFrozen && !peerParts(this.#volume)) {
      for (const r of this.#unanswered.splice(0)) this.#thaw(r);
    }
    if (this.#gated.length > 0 && !this.admission.isGated) {
      for (const r of this.#gated.splice(0)) this.#afresh(r);
    }
    this.admission.letIn();
  }

  /** I/O was frozen while a write or flush was under way: what reached nothing that counts is done again. */
  #thaw(r: AppRequest): void {
    const old = this.#volume.state.disk === Disks.Outdated; // given way: it fails
    const here = r.local === LEG_OK && (old || countsHere(this.#volume, r));
    const refused = r.inLog || r.sending; // by the peer that is there: it would be on the transfer log twice
    if (r.op === OP_FLUSH || here || refused || countsThere(this.#volume, r)) {
      this.advance(r);
      return;
    }
    r.local = LEG_NONE;
    r.net = LEG_NONE;
    r.goodPeer = -1;
    r.equalWhenHere = false;
    this.#afresh(r);
  }

  /** Through the activity log again: the disk may be another one by now. */
  #afresh(r: AppRequest): void {
    this.#volume.log.leave(r);
    this.intervalReady(r);
  }

  // ---- started

  #start(r: AppRequest): void {
    const v = this.#volume;
    const s = v.state;
    if (r.op === OP_FLUSH) {
      this.flushes.begin(r);
      return;
    }
    const wrong = refusalOf(v, r);
    if (wrong !== 0) {
      this.fail(r, wrong);
      return;
    }
    if (r.op === OP_READ) {
      this.reads.begin(r);
      return;
    }
    if (s.disk < Disks.UpToDate && s.pdsk < Disks.UpToDate) {
      this.fail(r, EIO);
      return;
    }
    if (this.admission.waitsForBlocks(r)) return;
    this.writesActive++;
    if (v.intervals.enter(r)) this.intervalReady(r);
  }

  /** Nothing earlier touches its sectors any more. */
  intervalReady(r: AppRequest): void {
    if (this.#volume.log.enter(r)) this.logReady(r);
  }

  /** Its extents are in the activity log on disk: both legs may start, unless the peer was lost while it waited for that. */
  logReady(r: AppRequest): void {
    if (!this.admission.isGated) this.#volume.congestion.look();
    if (this.admission.isGated) {
      this.#gated.push(r);
      return;
    }
    const v = this.#volume;
    const s = v.state;
    const link = v.link;
    if (link && v.replicates()) {
      const most = link.mostSectors(v, r.op);
      if (most === 0) {
        this.#drop(r, EOPNOTSUPP);
        return;
      }
      if (r.endSector - r.sector > most) {
        v.intake.doInPieces(r);
        return;
      }
    }
    r.startMs = this.#core.port.nowMs();
    const here = v.diskUsable();
    r.goodDisk = here && s.disk === Disks.UpToDate ? v.store : null;
    if (here) {
      r.local = LEG_PENDING;
      this.local++;
      r.diskSinceMs = 0;
      this.#submitLocal(r);
    }
    if (link && v.replicates()) {
      r.net = LEG_PENDING;
      this.remote++;
      this.logged++;
      this.inFlightSectors += r.endSector - r.sector;
      link.sendWrite(v, r);
    } else {
      // Marked before it is answered: what only this node has is known to differ.
      const isNew = v.setOutOfSync(r.sector, r.endSector);
      const announced = s.conn === Conns.Ahead && v.congestion.tells(isNew);
      if (link && (s.conn === Conns.WFBitMapS || announced)) {
        link.out.outOfSync(v, r.sector, r.lengthBytes);
      }
    }
    if (r.local === LEG_NONE && r.net === LEG_NONE) r.local = LEG_FAILED;
    if (r.local !== LEG_PENDING && r.net !== LEG_PENDING) this.advance(r);
  }

  #submitLocal(r: AppRequest): void {
    const v = this.#volume;
    const port = this.#core.port;
    const tag = this.#core.tag(KIND_APP_LOCAL, r.index);
    const offset = r.sector * 512;
    v.writeSectors += r.endSector - r.sector;
    if (r.op === OP_WRITE) port.writeDisk(v.dataDisk, offset, r.at, r.lengthBytes, r.fua, tag);
    else v.eraseDisk(offset, r.lengthBytes, r.op === OP_DISCARD || r.mayUnmap, tag);
  }

  // ---- what comes back

  /** The local disk is done with a request. */
  localDone(r: AppRequest, result: number): void {
    const v = this.#volume;
    this.local--;
    if (result >= 0) {
      r.local = LEG_OK;
      if (r.equalWhenHere && r.run === v.resync.run) v.setInSync(r.sector, r.endSector);
    } else {
      r.local = LEG_FAILED;
      r.lent = result === -ETIMEDOUT;
      // The source of a resync stays the one whose data count: what it cannot read, the target must not ask for (pass_on).
      const differs = r.op !== OP_FLUSH && !(r.op === OP_READ && hidesFailure(v));
      if (differs) v.setOutOfSync(r.sector, r.endSector);
      if (r.op === OP_FLUSH) v.flushFailed(-result);
      else v.diskFailed(r.op === OP_READ ? 'read' : 'write', -result, r.sector);
      if (r.op !== OP_FLUSH && r.op !== OP_READ && r.net !== LEG_NONE && holdsData(this.#volume)) {
        // The disk stays the one that counts (the source of a resync, pass_on): the peer must fetch this from it. It may hear
        // of it too late, then it does so in a resync of its own (resync-source.ts).
        v.link?.out.outOfSync(v, r.sector, r.lengthBytes);
        v.resync.source.failedHere();
      }
      if (r.op === OP_READ) {
        this.reads.failedHere(r);
        return;
      }
    }
    this.advance(r);
  }

  /** The socket has taken a write: protocol A may answer, the buffer is free for the next. */
  sent(r: AppRequest, _result: number): void {
    r.sending = false;
    this.advance(r);
  }

  /** P_WRITE_ACK, P_RS_WRITE_ACK, or P_RECV_ACK under protocol B. */
  acked(r: AppRequest): void {
    // Between the failure here and now a block of the resync, read before, may have been found equal.
    if (r.local === LEG_FAILED) this.#volume.setOutOfSync(r.sector, r.endSector);
    if (r.net !== LEG_PENDING) return;
    r.net = LEG_OK;
    if (r.local === LEG_NONE) this.#volume.peerHasBegun();
    if (this.#volume.state.pdsk === Disks.UpToDate) r.goodPeer = this.#volume.partings;
    this.remote--;
    this.advance(r);
  }

  /** P_NEG_ACK: the peer could not write it. */
  refusedByPeer(r: AppRequest): void {
    if (r.refused) return; // it has said so before
    if (r.completed) this.flushes.peerRefused();
    this.#notAtPeer(r);
    if (!r.completed && peerSpeaksOfItsDisk(this.#volume)) this.#refused.wait(r);
    else this.advance(r);
  }

  /** Its blocks may differ. */
  #notAtPeer(r: AppRequest): void {
    const v = this.#volume;
    v.setOutOfSync(r.sector, r.endSector);
    if (!v.bitmap) v.lostUnmarked = true;
    if (r.net === LEG_PENDING) this.remote--;
    r.net = LEG_FAILED;
    if (!r.completed) return;
    // Under A and B the local disk is the one that was good enough for the answer, and for that of a flush.
    const promisedHere = r.local === LEG_OK && r.goodDisk !== null;
    if (promisedHere && isWeak(r)) v.ahead = true;
    // Answered on the strength of the peer alone, which had not flushed it: it may come back without it.
    else if (!(r.local === LEG_OK && holdsData(this.#volume))) {
      if (!r.whole?.pieceLost()) this.doubt.breaks();
    } else this.doubt.lackedByPeer();
  }

  /** Its epoch is on the peer's disk (P_BARRIER_ACK). */
  covered(r: AppRequest): void {
    this.#unlogged(r);
    if (r.net === LEG_PENDING) this.remote--;
    if (r.net !== LEG_FAILED) {
      r.net = LEG_DONE;
      this.flushes.peerFlushed();
    }
    if (this.#volume.state.pdsk === Disks.UpToDate) r.goodPeer = this.#volume.partings;
    this.advance(r);
  }

  /** The connection is gone: a write on the transfer log. Its blocks may differ from now on. */
  lost(r: AppRequest): void {
    if (r.op === OP_FLUSH) {
      r.net = LEG_FAILED;
      this.advance(r);
      return;
    }
    this.#unlogged(r);
    this.#notAtPeer(r);
    this.advance(r);
  }

  /** It has left the transfer log. */
  #unlogged(r: AppRequest): void {
    this.logged--;
    this.inFlightSectors -= r.endSector - r.sector;
  }

  // ---- answered

  /** Something has become of one of its legs: it is answered, or settled, where that was the last that it waited for. */
  advance(r: AppRequest): void {
    if (!r.completed) {
      if (r.local === LEG_PENDING || !peerAllowsAnswer(this.#volume, r)) return;
      if (r.sending && r.whole) return; // the buffer is that of the next piece, too
      if (waitsForThaw(this.#volume, r, this.admission.isFrozen)) {
        if (!this.#unanswered.includes(r)) this.#unanswered.push(r);
        return;
      }
      const i = this.#unanswered.length > 0 ? this.#unanswered.indexOf(r) : -1;
      if (i >= 0) this.#unanswered.splice(i, 1);
      this.#complete(r);
    }
    // Nobody sends or writes it again: the data need not wait for the end of the epoch as the request does.
    if (r.ownsBuffer && !r.sending && r.local !== LEG_PENDING) {
      this.#core.port.free(r.bufferAt);
      r.ownsBuffer = false;
    }
    if (r.local !== LEG_PENDING && r.net !== LEG_PENDING && !r.inLog && !r.sending) this.#settle(r);
  }

  #complete(r: AppRequest): void {
    const v = this.#volume;
    const here = isDoneHere(v, r);
    let error = isDone(v, r) ? 0 : EIO;
    if (r.op === OP_FLUSH && this.doubt.said()) error = EIO;
    // Answered before the peer has written it: what its user writes there next must not be in one epoch with it, in which a
    // kernel writes in any order.
    if (r.inLog && r.asked !== 'C') v.link?.transferLog.closeIfOpen(r.epoch);
    if (r.entered) {
      v.intervals.leave(r);
      this.writesActive--;
    }
    r.whole?.pieceOver(r);
    if (r.fua && r.inLog && !r.goesOn) v.link?.transferLog.closeIfOpen(r.epoch);
    const onlyThere = error === 0 && !here && v.state.disk < Disks.Inconsistent;
    if (onlyThere && r.op !== OP_READ && r.op !== OP_FLUSH) v.elsewhere = true;
    r.completed = true;
    this.pending--;
    this.#core.answer(r.front as FrontEnd, r.tag, error);
    if (this.admission.someWait) this.resume();
  }

  /** It was not begun, and is not to be. */
  #drop(r: AppRequest, error: number): void {
    this.#volume.intervals.leave(r);
    this.writesActive--;
    this.fail(r, error);
  }

  /** It is over, and was not done. */
  fail(r: AppRequest, error: number): void {
    r.completed = true;
    this.pending--;
    this.#core.answer(r.front as FrontEnd, r.tag, error);
    this.#settle(r);
  }

  /** Both legs are over and the answer is given. */
  #settle(r: AppRequest): void {
    const v = this.#volume;
    assert(r.front !== null, 'a request settles once');
    // Bits were set where a leg failed, when it failed: now the block may have been resynchronised already.
    if (r.op !== OP_READ && r.op !== OP_FLUSH) v.log.leave(r);
    this.promises.end(r);
    if (r.ownsBuffer) this.#core.port.free(r.bufferAt);
    r.front = null;
    this.#core.app.release(r.index);
    if (this.admission.someWait) this.resume();
  }
}
