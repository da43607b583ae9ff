/**
 * Application I/O of one volume: what is accepted when, where it goes, and when it is answered.
 *
 *     asked -> held while the state forbids I/O -> interval (overlaps wait) -> activity log on disk
 *           -> local disk and, if the peer takes part, the network -> answered -> bits, log and buffer settled
 *
 * Rules (docs/PROTOCOL.md, writes): a write is answered when it is on the local disk and protocol A: handed to the
 * socket, B: received, C: written by the peer. A write that does not reach the peer is marked out-of-sync before it is
 * answered. A flush is answered when both disks have flushed (protocol C) or the local one has (A, B).
 *
 * What is longer than one packet to this peer may be is done in pieces (in-pieces.ts).
 */
import { assert } from '../base/assert.js';
import {
  type AppRequest,
  LEG_DONE,
  LEG_FAILED,
  LEG_NONE,
  LEG_OK,
  LEG_PENDING,
  OP_DISCARD,
  OP_FLUSH,
  OP_READ,
  OP_WRITE,
  OP_ZEROES,
} from './app-request.js';
import { type Core, type FrontEnd, KIND_APP_LOCAL } from './core.js';
import { hidesFailure } from './disk-failure.js';
import {
  countsHere,
  countsThere,
  holdsData,
  peerCannotBeTold,
  peerParts,
  peerSpeaksOfItsDisk,
} from './enough.js';
import { FlushDoubt } from './flush-doubt.js';
import { InPieces } from './in-pieces.js';
import { Promises, STRONGEST } from './promises.js';
import { ReadBalancing } from './read-balancing.js';
import { Conns, Disks, isSuspended, Roles } from './state.js';
import type { Volume } from './volume.js';

export const EIO = 5;
const ETIMEDOUT = 110;
export const EROFS = 30;
export const EOPNOTSUPP = 95;
export const EMEDIUMTYPE = 124;

/** A discard is done in pieces, so that it never needs more activity-log extents than there are. */
const DISCARD_PIECE_SECTORS = 65536; // 32 MiB, 8 extents
const DISCARD_PIECE_OLD_SECTORS = 8192; // 4 MiB: peers without large discards
const MAX_REQUEST_BYTES = 1 << 20;
/** Requests of all volumes above which writes wait: half of the slots, so that what was accepted has room. */
const MANY_REQUESTS = 32768;
/** The P_STATE that goes with a P_NEG_ACK is on its way; a peer that has none to send is not waited for longer. */
const REFUSED_MS = 1000;

/** Of a write that is lost with the connection: its answer did not wait for the peer's disk, or that of a flush since did not. */
const isWeak = (r: AppRequest): boolean => r.promise >= 0 && r.promise < STRONGEST;

export class AppIo {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #held: AppRequest[] = []; // asked while the state forbade I/O
  readonly #afterResync: AppRequest[] = []; // writes into blocks that are being fetched from the peer, or compared
  readonly #remoteReads = new Set<AppRequest>();
  readonly #unanswered: AppRequest[] = []; // over, but must not be answered while I/O is frozen
  readonly #gated: AppRequest[] = []; // may go, once the generation they belong to is on disk and nothing is frozen
  readonly #refused: AppRequest[] = []; // by the peer, and not answered yet
  #peerUnflushed = false; // what the peer had answered it could not flush, and has flushed nothing since
  #writesHeld = 0; // > 0: a new generation is being written to disk
  readonly promises = new Promises();
  readonly #balancing: ReadBalancing;
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
    this.#balancing = new ReadBalancing(volume);
    this.doubt = new FlushDoubt(() => volume.tellExposed());
  }

  // ---- asked by a front end

  read(front: FrontEnd, tag: number, sector: number, at: number, lengthBytes: number): void {
    const r = this.#take(front, tag, OP_READ, sector, lengthBytes);
    r.at = at;
    r.bufferAt = at;
    this.#admit(r);
  }

  write(
    front: FrontEnd,
    tag: number,
    sector: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
  ): void {
    const r = this.#take(front, tag, OP_WRITE, sector, lengthBytes);
    r.at = at;
    r.bufferAt = at;
    r.ownsBuffer = true;
    r.fua = fua;
    this.#begin(r);
  }

  flush(front: FrontEnd, tag: number): void {
    this.#admit(this.#take(front, tag, OP_FLUSH, 0, 0));
  }

  discard(front: FrontEnd, tag: number, sector: number, lengthSectors: number): void {
    this.#erase(front, tag, OP_DISCARD, sector, lengthSectors, true);
  }

  writeZeroes(
    front: FrontEnd,
    tag: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    this.#erase(front, tag, OP_ZEROES, sector, lengthSectors, mayUnmap);
  }

  #erase(
    front: FrontEnd,
    tag: number,
    op: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    const r = this.#take(front, tag, op, sector, lengthSectors * 512);
    r.mayUnmap = mayUnmap;
    this.#begin(r);
  }

  #begin(r: AppRequest): void {
    if (r.endSector - r.sector > this.mostSectors(r.op)) this.#inPieces(r);
    else this.#admit(r);
  }

  #take(front: FrontEnd, tag: number, op: number, sector: number, lengthBytes: number): AppRequest {
    const r = this.#core.app.take();
    assert(r !== null, 'front ends and max-epoch-size bound the requests');
    r.begin(this, front, tag, op);
    r.sector = sector;
    r.endSector = sector + lengthBytes / 512;
    r.lengthBytes = lengthBytes;
    this.pending++;
    return r;
  }

  // ---- in pieces

  /** Sectors that one request may have now: a packet's, or of an erase the activity log's. */
  mostSectors(op: number): number {
    const v = this.#volume;
    const { link } = v;
    const packet = link !== null && v.replicates() ? link.mostSectors(v, op) : 0;
    if (op === OP_WRITE || op === OP_READ) return packet || Number.POSITIVE_INFINITY;
    const most = link && !link.largeDiscards ? DISCARD_PIECE_OLD_SECTORS : DISCARD_PIECE_SECTORS;
    return packet > 0 ? Math.min(packet, most) : most;
  }

  beginPiece(whole: InPieces, sector: number, endSector: number): void {
    const r = this.#take(whole, 0, whole.op, sector, (endSector - sector) * 512);
    r.whole = whole;
    r.fua = whole.fua;
    r.mayUnmap = whole.mayUnmap;
    if (whole.bufferAt >= 0) {
      r.bufferAt = whole.bufferAt;
      r.at = whole.bufferAt + (sector - whole.sector) * 512;
    }
    this.#admit(r);
  }

  wholeOver(): void {
    this.pending--;
  }

  /** It is too long as it is. */
  #inPieces(r: AppRequest): void {
    const v = this.#volume;
    if (r.entered) {
      v.log.leave(r);
      v.intervals.leave(r);
      this.writesActive--;
    }
    const whole = r.whole ?? new InPieces(this.#core, this, r);
    if (r.whole) {
      whole.backTo(r);
      this.pending--;
    }
    this.promises.end(r);
    r.front = null;
    this.#core.app.release(r.index);
    whole.go();
  }

  /** The whole goes on behind this piece. */
  #goesOn(r: AppRequest): boolean {
    return r.whole !== null && !r.whole.endsHere;
  }

  // ---- accepted or held

  /** Why application I/O has to wait now, or null. */
  blocked(): string | null {
    const s = this.#volume.state;
    if (isSuspended(s)) return 'suspended';
    if (s.conn === Conns.WFBitMapT || s.conn === Conns.WFSyncUUID) return 'bitmap exchange';
    if (s.conn === Conns.Behind) return 'resync to come'; // promoted meanwhile: which blocks it lacks is not known yet
    if (peerCannotBeTold(this.#volume)) return 'bitmap exchange';
    if (s.disk === Disks.Attaching || s.disk === Disks.Negotiating) return 'attaching';
    // Without a disk the first write says to the peer that its data are taken (beginWaiting): for all volumes, or for none.
    if (s.disk < Disks.Inconsistent && s.conn >= Conns.Connected && this.#volume.resource.meeting) {
      return 'connecting';
    }
    return null;
  }

  #admit(r: AppRequest): void {
    if (this.#held.length > 0 || this.#mustHold(r)) this.#held.push(r);
    else this.#start(r);
  }

  #mustHold(r: AppRequest): boolean {
    if (this.blocked() !== null) return true;
    if (r.op === OP_READ) return false;
    if (this.#writesHeld > 0 || this.#core.app.used >= MANY_REQUESTS) return true;
    // Under protocol A what was sent is answered; the socket's own buffer is the bound there.
    if (this.#volume.link?.answersWhenSent) return false;
    return this.remote >= this.#volume.resource.netOptions.maxBuffers;
  }

  /** The state or a counter changed: let those in that may. */
  resume(): void {
    if (this.#volume.state.pdsk !== Disks.UpToDate) this.#peerUnflushed = false; // that disk was let go
    if (this.#refused.length > 0 && !peerSpeaksOfItsDisk(this.#volume)) {
      for (const r of [...this.#refused]) this.#heard(r);
    }
    if (this.#unanswered.length > 0 && !this.#mustNotAnswer() && !peerParts(this.#volume)) {
      for (const r of this.#unanswered.splice(0)) this.#thaw(r);
    }
    if (this.#gated.length > 0 && !this.#mustNotBegin) {
      for (const r of this.#gated.splice(0)) this.#afresh(r);
    }
    // Out of the list before it is started: what is over at once resumes again from within.
    for (let r = this.#held[0]; r && !this.#mustHold(r); r = this.#held[0]) {
      this.#held.shift();
      this.#start(r);
    }
  }

  /** I/O was frozen while a write or flush was under way: what reached nothing that counts is done again. */
  #thaw(r: AppRequest): void {
    const old = this.#volume.state.disk === Disks.Outdated; // given way: it fails
    const here = r.local === LEG_OK && (old || countsHere(this.#volume, r));
    const refused = r.inLog || r.sending; // by the peer that is there: it would be on the transfer log twice
    if (r.op === OP_FLUSH || here || refused || countsThere(this.#volume, r)) {
      this.#advance(r);
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

  /** A new generation is being written: writes wait, and those that only this node has are not answered. */
  holdWrites(): void {
    this.#writesHeld++;
  }

  releaseWrites(): void {
    assert(this.#writesHeld > 0, 'held writes are released once');
    this.#writesHeld--;
    if (this.#writesHeld === 0) this.resume();
  }

  // ---- started

  #start(r: AppRequest): void {
    const v = this.#volume;
    const s = v.state;
    if (r.op === OP_FLUSH) {
      this.#submitFlush(r);
      return;
    }
    const wrong = this.#refusal(r);
    if (wrong !== 0) {
      this.#fail(r, wrong);
      return;
    }
    if (r.op === OP_READ) {
      this.#submitRead(r);
      return;
    }
    if (s.disk < Disks.UpToDate && s.pdsk < Disks.UpToDate) {
      this.#fail(r, EIO);
      return;
    }
    if (v.resync.fetching(r.sector, r.endSector)) {
      this.#afterResync.push(r);
      return;
    }
    if (v.verify.holds(r.sector, r.endSector)) {
      this.#afterResync.push(r);
      return;
    }
    this.writesActive++;
    if (v.intervals.enter(r)) this.intervalReady(r);
  }

  #refusal(r: AppRequest): number {
    const v = this.#volume;
    if (v.state.role !== Roles.Primary) return r.op === OP_READ ? EMEDIUMTYPE : EROFS;
    const { sector, endSector } = r.whole ?? r; // nothing of what does not fit
    const fits =
      sector >= 0 &&
      endSector <= v.sizeSectors &&
      sector < endSector &&
      Number.isInteger(endSector) &&
      (r.op === OP_DISCARD ||
        r.op === OP_ZEROES ||
        (endSector - sector) * 512 <= MAX_REQUEST_BYTES);
    return fits ? 0 : EIO;
  }

  /** Blocks that were being fetched, or compared, are not any more. */
  resyncAdvanced(): void {
    if (this.#afterResync.length === 0) return;
    for (const r of this.#afterResync.splice(0)) this.#admit(r);
  }

  /** Nothing earlier touches its sectors any more. */
  intervalReady(r: AppRequest): void {
    if (this.#volume.log.enter(r)) this.logReady(r);
  }

  /** Its extents are in the activity log on disk: both legs may start, unless the peer was lost while it waited for that. */
  logReady(r: AppRequest): void {
    if (!this.#mustNotBegin) this.#volume.congestion.look();
    if (this.#mustNotBegin) {
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
        this.#inPieces(r);
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
        link.sendOutOfSync(v, r.sector, r.lengthBytes);
      }
    }
    if (r.local === LEG_NONE && r.net === LEG_NONE) r.local = LEG_FAILED;
    if (r.local !== LEG_PENDING && r.net !== LEG_PENDING) this.#advance(r);
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

  #submitRead(r: AppRequest): void {
    if (!this.#volume.readableHere(r.sector, r.endSector)) this.#readFromPeer(r);
    else if (this.#balancing.asksPeer(r)) this.#readFromPeer(r, true);
    else this.#readHere(r);
  }

  #readHere(r: AppRequest): void {
    const v = this.#volume;
    r.local = LEG_PENDING;
    this.local++;
    r.diskSinceMs = 0;
    v.readSectors += r.endSector - r.sector;
    const tag = this.#core.tag(KIND_APP_LOCAL, r.index);
    this.#core.port.readDisk(v.dataDisk, r.sector * 512, r.at, r.lengthBytes, tag);
  }

  /** The disk was given up (hung-disk.ts): what it still brings must not overwrite what the peer sends. */
  #moveBuffer(r: AppRequest): boolean {
    const { port } = this.#core;
    const to = port.alloc(port.capacity(r.bufferAt), 'spare');
    if (to < 0) return false;
    port.pool.copyWithin(to, r.bufferAt, r.at); // pieces that are here already
    (r.front as FrontEnd).bufferMoved(r.tag, to);
    port.free(r.bufferAt);
    r.at += to - r.bufferAt;
    r.bufferAt = to;
    return true;
  }

  /** `keepsOut`: writes to it wait meanwhile. Done by one disk only, they would be seen there, and then not on the other. */
  #readFromPeer(r: AppRequest, keepsOut = false): void {
    const v = this.#volume;
    if (!v.link || v.state.pdsk !== Disks.UpToDate || v.state.conn < Conns.Connected) {
      if (this.blocked() === null) this.#fail(r, EIO);
      else this.#held.push(r);
      return;
    }
    if (r.endSector - r.sector > v.link.mostSectors(v, r.op)) {
      this.#inPieces(r);
      return;
    }
    r.net = LEG_PENDING;
    r.startMs = this.#core.port.nowMs();
    this.remote++;
    this.#remoteReads.add(r);
    if (keepsOut) v.intervals.enter(r);
    v.link.sendReadRequest(v, r);
  }

  #submitFlush(r: AppRequest): void {
    const v = this.#volume;
    const link = v.link;
    const here = v.diskUsable();
    r.goodDisk = here && v.state.disk === Disks.UpToDate ? v.store : null;
    // Without good data here (no disk, or the target of a resync) the peer's disk is the one that makes it durable.
    const there = link !== null && (link.flushesPeer || r.goodDisk === null) && v.replicates();
    // Protocols A and B do not wait for the peer, but its disk must keep the order as well.
    if (link !== null && !there) link.transferLog.close();
    if (link !== null) this.promises.begin(r, link.protocol);
    if (there && link.transferLog.flush(r)) r.net = LEG_PENDING;
    else if (there && this.#peerUnflushed) {
      r.net = LEG_FAILED;
    } else if (there && v.state.pdsk === Disks.UpToDate) {
      r.net = LEG_DONE; // everything is durable there
      r.goodPeer = v.partings;
    }
    if (here) {
      r.local = LEG_PENDING;
      this.local++;
      r.diskSinceMs = 0;
      this.#core.port.flushDisk(v.dataDisk, this.#core.tag(KIND_APP_LOCAL, r.index));
    }
    if (r.local === LEG_NONE && r.net === LEG_NONE) r.local = LEG_FAILED; // nobody can vouch for it
    if (r.local !== LEG_PENDING && r.net !== LEG_PENDING) this.#advance(r);
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
        // of it too late, then it does so in a resync of its own (Resync, the end at the source).
        v.link?.sendOutOfSync(v, r.sector, r.lengthBytes);
        v.resync.failedHere();
      }
      if (r.op === OP_READ) {
        r.local = LEG_NONE;
        r.failedHere = true;
        if (result === -ETIMEDOUT && !this.#moveBuffer(r)) this.#fail(r, EIO);
        else this.#readFromPeer(r); // transparently, where the peer has it
        return;
      }
    }
    this.#advance(r);
  }

  /** Of the oldest read that the peer is to serve; +Infinity: none. */
  get oldestRemoteReadMs(): number {
    for (const r of this.#remoteReads) return r.startMs; // in the order of time
    return Number.POSITIVE_INFINITY;
  }

  /** The socket has taken a write: protocol A may answer, the buffer is free for the next. */
  sent(r: AppRequest, _result: number): void {
    r.sending = false;
    this.#advance(r);
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
    this.#advance(r);
  }

  /**
   * P_NEG_ACK: the peer could not write it, and says on the other socket what has become of its disk. Until that is known here,
   * a new generation has not begun, and nobody but the peer could tell later that its copy lacks an answered write.
   */
  refusedByPeer(r: AppRequest): void {
    if (r.refused) return; // it has said so before
    if (r.completed && this.#volume.state.pdsk === Disks.UpToDate) this.#peerUnflushed = true;
    this.#notAtPeer(r);
    if (!r.completed && peerSpeaksOfItsDisk(this.#volume)) {
      r.refused = true;
      this.#refused.push(r);
      const nth = ++r.refusals; // the record may be that of another request by then
      this.#volume.resource.after(REFUSED_MS, () => {
        if (r.refusals === nth) this.#heard(r);
      });
      return;
    }
    this.#advance(r);
  }

  #heard(r: AppRequest): void {
    const i = this.#refused.indexOf(r);
    if (i < 0) return;
    this.#refused.splice(i, 1);
    r.refused = false;
    this.#advance(r);
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
      this.#peerUnflushed = false;
    }
    if (this.#volume.state.pdsk === Disks.UpToDate) r.goodPeer = this.#volume.partings;
    this.#advance(r);
  }

  flushCovered(r: AppRequest): void {
    r.net = LEG_DONE;
    if (this.#volume.state.pdsk === Disks.UpToDate) r.goodPeer = this.#volume.partings;
    this.#advance(r);
  }

  /** Data of a read that the peer served, now at r.at; or its refusal. */
  remoteReadDone(r: AppRequest, ok: boolean): void {
    if (!this.#remoteReads.delete(r)) return;
    this.remote--;
    if (r.entered) this.#volume.intervals.leave(r);
    // The disk here could have served it (read-balancing).
    if (!ok && !r.failedHere && this.#volume.readableHere(r.sector, r.endSector)) {
      r.net = LEG_NONE;
      this.#readHere(r);
      return;
    }
    if (!ok && isSuspended(this.#volume.state)) {
      r.net = LEG_NONE; // frozen, not failed: it is read when data can be reached again
      this.#held.push(r);
      return;
    }
    r.net = ok ? LEG_OK : LEG_FAILED;
    this.#advance(r);
  }

  /** A read request that this volume really has in flight with the peer. */
  isRemoteRead(r: AppRequest): boolean {
    return this.#remoteReads.has(r);
  }

  /** The connection is gone: a write on the transfer log. Its blocks may differ from now on. */
  lost(r: AppRequest): void {
    if (r.op === OP_FLUSH) {
      r.net = LEG_FAILED;
      this.#advance(r);
      return;
    }
    this.#unlogged(r);
    this.#notAtPeer(r);
    this.#advance(r);
  }

  /** It has left the transfer log. */
  #unlogged(r: AppRequest): void {
    this.logged--;
    this.inFlightSectors -= r.endSector - r.sector;
  }

  /**
   * The connection is gone: reads that the peer was to serve. One whose data are arriving ends with its `receive`: until
   * then its buffer is the port's.
   */
  lostReads(): void {
    for (const r of [...this.#remoteReads]) if (!r.receiving) this.remoteReadDone(r, false);
  }

  // ---- answered

  #mustNotAnswer(): boolean {
    return this.#writesHeld > 0 || isSuspended(this.#volume.state);
  }

  get #mustNotBegin(): boolean {
    return this.#mustNotAnswer() || peerCannotBeTold(this.#volume);
  }

  #advance(r: AppRequest): void {
    if (!r.completed) {
      if (r.local === LEG_PENDING || !this.#netAllowsAnswer(r)) return;
      if (r.sending && r.whole) return; // the buffer is that of the next piece, too
      // Begun for this disk only, it is no more on the peer than one that was lost on its way.
      const unfenced = this.#volume.state.suspFen !== 0;
      const alone = r.net === LEG_NONE && unfenced;
      const here = r.local === LEG_OK && countsHere(this.#volume, r);
      const nowhere = !here && !countsThere(this.#volume, r);
      const onlyThere = !here && this.#volume.untold !== null; // and the peer does not know that it is the only one
      // Of a flush: the peer's disk failed meanwhile. What is durable here alone belongs to a generation that has to be on disk first.
      const notThere = r.op === OP_FLUSH && r.net !== LEG_NONE && !countsThere(this.#volume, r);
      const lost = alone || nowhere || onlyThere || notThere || r.net === LEG_FAILED;
      const early = peerParts(this.#volume) && !here && r.net !== LEG_FAILED;
      if (r.op !== OP_READ && (early || (lost && this.#mustNotAnswer()))) {
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

  #netAllowsAnswer(r: AppRequest): boolean {
    const link = this.#volume.link;
    const onlyThere = r.local !== LEG_OK || !countsHere(this.#volume, r);
    if (r.net === LEG_OK && r.fua && r.inLog && link) {
      // Received is not durable, and no disk here is. (The originals answer.) Nor is written, where the packet cannot ask for it.
      const received = r.asked === 'B' && onlyThere;
      if (received || (r.asked === 'C' && !link.sendsFua && !this.#goesOn(r))) {
        link.transferLog.closeIfOpen(r.epoch);
        return false;
      }
    }
    if (r.refused) return false;
    if (r.net !== LEG_PENDING) return true;
    if (r.op === OP_READ || r.op === OP_FLUSH || r.sending) return false;
    if (link === null || r.asked !== 'A') return false;
    if (countsHere(this.#volume, r)) return true;
    // Only the end of its epoch tells that it is there, and who waits for that need not wait for a pause of all writes first.
    if (r.inLog && !link.acknowledgesAnyLetter(r)) link.transferLog.closeIfOpen(r.epoch);
    return false;
  }

  #complete(r: AppRequest): void {
    const v = this.#volume;
    const here = r.local === LEG_OK && countsHere(this.#volume, r);
    // A local failure that the state cannot tell (pass_on at the source of a resync): later reads would not see the write.
    const hidden = r.local === LEG_FAILED && holdsData(this.#volume);
    const reached = here || (!hidden && countsThere(this.#volume, r));
    let error = reached ? 0 : EIO;
    if (r.op === OP_FLUSH && this.doubt.said()) error = EIO;
    // Answered before the peer has written it: what its user writes there next must not be in one epoch with it, in which a
    // kernel writes in any order.
    if (r.inLog && r.asked !== 'C') v.link?.transferLog.closeIfOpen(r.epoch);
    if (r.entered) {
      v.intervals.leave(r);
      this.writesActive--;
    }
    r.whole?.pieceOver(r);
    if (r.fua && r.inLog && !this.#goesOn(r)) v.link?.transferLog.closeIfOpen(r.epoch);
    const onlyThere = error === 0 && !here && v.state.disk < Disks.Inconsistent;
    if (onlyThere && r.op !== OP_READ && r.op !== OP_FLUSH) v.elsewhere = true;
    r.completed = true;
    this.pending--;
    this.#core.answer(r.front as FrontEnd, r.tag, error);
    if (this.#held.length > 0) this.resume();
  }

  /** It was not begun, and is not to be. */
  #drop(r: AppRequest, error: number): void {
    this.#volume.intervals.leave(r);
    this.writesActive--;
    this.#fail(r, error);
  }

  #fail(r: AppRequest, error: number): void {
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
    if (this.#held.length > 0) this.resume();
  }
}
