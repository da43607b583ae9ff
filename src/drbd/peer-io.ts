/**
 * The peer's requests to one volume: writes to apply in order, resync blocks to store, reads to answer.
 *
 *     received -> interval and epoch (order) -> disk -> acknowledged as the packet's flags ask -> bits, epoch settled
 *
 * A write that this disk cannot take is answered P_NEG_ACK under every protocol, so that the Primary knows that this
 * copy differs. Facts: docs/PROTOCOL.md, receiving a write.
 */
import { assert } from '../base/assert.js';
import { COMMANDS, DP, ID_SYNCER_HI, ID_SYNCER_LO } from '../wire/constants.js';
import { beginWaiting } from './changes.js';
import { type Core, KIND_PEER_DISK } from './core.js';
import type { Link } from './link.js';
import { MakeWay } from './make-way.js';
import {
  PEER_DISCARD,
  PEER_READ,
  PEER_RESYNC_READ,
  PEER_RESYNC_WRITE,
  PEER_WRITE,
  PEER_ZEROES,
  PeerRequest,
} from './peer-request.js';
import { Conns, Disks, Roles } from './state.js';
import { isDeallocated, sendDeallocated, storeZeroes } from './thin-resync.js';
import type { Volume } from './volume.js';

export class PeerIo {
  readonly #core: Core;
  readonly #volume: Volume;
  #holds = 0;
  readonly #held: PeerRequest[] = [];
  readonly makeWay: MakeWay;
  /** Requests on the local disk: part of `lo`. */
  local = 0;
  /** Received and not yet answered: `ua`. */
  unacked = 0;
  /** Blocks of a resync between receipt and the end of the disk write. */
  resyncWrites = 0;
  /** Requests of the peer's resync that are not answered. */
  resyncReads = 0;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
    this.makeWay = new MakeWay(core, volume);
  }

  /** A request from `link`; null when all slots are out (the link then stops reading). */
  take(link: Link, kind: number, sector: number, lengthBytes: number): PeerRequest | null {
    const p = this.#core.peer.take();
    if (!p) return null;
    p.begin(this, kind, sector, lengthBytes);
    p.link = link;
    p.attaches = this.#volume.attaches;
    this.unacked++;
    return p;
  }

  // ---- writes

  /** Everything but perhaps the payload is there: take the place in the order. */
  beginWrite(p: PeerRequest): void {
    // As the peer said on the same socket: when the disk is done, the connection and what it said may be gone.
    p.alone = p.kind !== PEER_RESYNC_WRITE && this.#volume.state.pdsk < Disks.Inconsistent;
    // At once: when a disk is attached there, our bitmap may go out before this is on ours.
    if (p.alone) {
      this.#onlyHere(p);
      beginWaiting(this.#volume);
    }
    if (p.kind !== PEER_RESYNC_WRITE && this.#volume.diskUsable()) this.#volume.unheard = null;
    p.run = this.#volume.resync.run;
    if (!p.receiving) this.#acknowledgeReceipt(p);
    if (p.kind === PEER_RESYNC_WRITE) this.resyncWrites++;
    else (p.link as Link).epochs.add(p);
    if (this.#volume.intervals.enter(p)) this.tryWrite(p);
  }

  /** P_OUT_OF_SYNC: what came before it and is not stored yet is not what the peer has there. */
  outOfSync(sector: number, endSector: number): void {
    this.#volume.setOutOfSync(sector, endSector);
    if (this.unacked === 0) return;
    this.#core.peer.each((p) => {
      if (p.owner === this && p.sector < endSector && sector < p.endSector) p.overtaken = true;
    });
  }

  /** The payload has arrived. */
  received(p: PeerRequest, result: number): void {
    p.receiving = false;
    if (result < 0) {
      this.#writeOver(p, false); // the link broke in the middle: nothing of it is written
      return;
    }
    if (!(p.link as Link).digestRight(p)) {
      this.#writeOver(p, false);
      return;
    }
    this.#acknowledgeReceipt(p);
    this.tryWrite(p);
  }

  /** Protocol B: the whole of it is here. Not before: what is missing dies with the Primary, and that counts on this copy. */
  #acknowledgeReceipt(p: PeerRequest): void {
    const link = p.link as Link;
    if (p.kind === PEER_RESYNC_WRITE || !link.wantsReceiveAck(p.flags)) return;
    link.out.ack(COMMANDS.P_RECV_ACK, this.#volume, p.sector, p.idHi, p.idLo, p.lengthBytes);
  }

  intervalReady(p: PeerRequest): void {
    if (p.kind === PEER_RESYNC_READ || p.kind === PEER_READ) this.#submitRead(p);
    else this.tryWrite(p);
  }

  /** Writes wait: this disk is about to become a resync target, and says so on disk before anything is written. */
  hold(): void {
    this.#holds++;
  }

  /**
   * `go`: on with them. Else the disk does not become a target, and it takes only what the connection of now has brought, and only
   * while it is good; what is refused the peer counts as lost.
   */
  release(go: boolean): void {
    assert(this.#holds > 0, 'held writes are released once');
    this.#holds--;
    if (this.#holds > 0) return;
    const { link, state } = this.#volume;
    const takes = go || state.disk === Disks.UpToDate;
    for (const p of this.#held.splice(0)) {
      if (takes && p.link === link) this.tryWrite(p);
      else this.#writeOver(p, false);
    }
  }

  /** Start the disk write once nothing holds it back. */
  tryWrite(p: PeerRequest): void {
    if (p.receiving || !p.active || !p.epochOpen || p.onDisk) return;
    if (this.#holds > 0) {
      if (!this.#held.includes(p)) this.#held.push(p);
      return;
    }
    p.onDisk = true;
    const v = this.#volume;
    // While the peer has no disk this copy is the only one: what is written here must be known after a crash.
    if (p.alone || (v.state.pdsk < Disks.Inconsistent && p.kind !== PEER_RESYNC_WRITE)) {
      if (!v.log.enter(p)) return;
    }
    this.logReady(p);
  }

  logReady(p: PeerRequest): void {
    const v = this.#volume;
    if (!v.takesWrites() || this.#isLeftBehind(p)) {
      this.#writeOver(p, false);
      return;
    }
    this.local++;
    p.diskSinceMs = 0;
    v.writeSectors += p.endSector - p.sector;
    if (p.kind === PEER_RESYNC_WRITE) v.resyncSectors += p.endSector - p.sector;
    const { port } = this.#core;
    const tag = this.#core.tag(KIND_PEER_DISK, p.index);
    const offset = p.sector * 512;
    if (p.kind === PEER_DISCARD) v.eraseDisk(offset, p.lengthBytes, true, tag);
    else if (p.kind === PEER_ZEROES) {
      v.eraseDisk(offset, p.lengthBytes, (p.flags & DP.DISCARD) !== 0, tag);
    } else if ((p.flags & DP.FLUSH) !== 0) {
      const flushed = this.#core.cold((result) => {
        if (result < 0) this.#flushFailed(p, result);
        else port.writeDisk(v.dataDisk, offset, p.at, p.lengthBytes, (p.flags & DP.FUA) !== 0, tag);
      });
      port.flushDisk(v.dataDisk, flushed);
    } else {
      // The bitmap of a Primary is written at any time, by its activity log: what a bit stands for is durable at once.
      const fua =
        (p.flags & DP.FUA) !== 0 ||
        (p.kind === PEER_RESYNC_WRITE && (v.state.role === Roles.Primary || v.resync.unsaved.some));
      if (p.thin) storeZeroes(this.#core, v, p, fua);
      else port.writeDisk(v.dataDisk, offset, p.at, p.lengthBytes, fua, tag);
    }
  }

  /**
   * Its connection is over, and its disk was let go meanwhile: what came before it may have been refused, as there was no disk, and it
   * must not be stored without that. (It waited for another volume, whose epoch was not on disk.) A peer that is there is told what is
   * refused, and meets the disk that is attached.
   */
  #isLeftBehind(p: PeerRequest): boolean {
    const v = this.#volume;
    return p.attaches !== v.attaches && p.link !== v.link;
  }

  /** It is not written behind what may be gone: that is refused like the cache at the end of an epoch (peer-epochs.ts). */
  #flushFailed(p: PeerRequest, result: number): void {
    const v = this.#volume;
    v.flushFailed(-result);
    (p.link as Link).epochs.diskLost(v.number);
    this.diskDone(p, result);
  }

  /** The disk is done. */
  diskDone(p: PeerRequest, result: number): void {
    const v = this.#volume;
    this.local--;
    p.diskSinceMs = -1;
    if (p.kind === PEER_READ || p.kind === PEER_RESYNC_READ) {
      this.#readDone(p, result);
      return;
    }
    if (result < 0 && v.diskUsable()) v.diskFailed('write', -result, p.sector);
    this.#writeOver(p, result >= 0 && v.diskUsable()); // nobody flushes a disk that is let go
  }

  /** The end of a write, well or not: answer, mark, let those behind it go. */
  #writeOver(p: PeerRequest, ok: boolean): void {
    const v = this.#volume;
    const link = p.link as Link;
    if (p.kind === PEER_RESYNC_WRITE) {
      // Of one that was broken off: what was written at its source since then is marked, and not what is stored here.
      const late = p.run !== v.resync.run;
      if (ok && !late) {
        if (!p.overtaken) v.setInSync(p.sector, p.endSector);
      } else if (!late) v.resync.blockFailed(p.sector, p.endSector);
      // The source has pulled ahead: it may have written there since, and a kernel would clear the bit of that.
      const counts = ok && !(late && v.state.conn === Conns.Behind);
      link.out.ack(
        counts ? COMMANDS.P_RS_WRITE_ACK : COMMANDS.P_NEG_ACK,
        v,
        p.sector,
        ID_SYNCER_HI,
        ID_SYNCER_LO,
        p.lengthBytes,
      );
    } else {
      this.#answerWrite(p, ok, link);
    }
    v.log.leave(p);
    if (p.at >= 0) this.#core.port.free(p.at);
    p.at = -1;
    link.windowFreed(p.lengthBytes);
    const epoch = p.epoch !== null;
    v.intervals.leave(p);
    if (epoch) link.epochs.done(p, ok, v.number);
    const resync = p.kind === PEER_RESYNC_WRITE;
    if (resync) this.resyncWrites--;
    this.#release(p);
    if (resync) v.resync.blockStored();
    link.maybeDrained();
  }

  #answerWrite(p: PeerRequest, ok: boolean, link: Link): void {
    const v = this.#volume;
    if (!ok) {
      v.refusedWrite(p.sector, p.endSector);
      link.out.ack(COMMANDS.P_NEG_ACK, v, p.sector, p.idHi, p.idLo, p.lengthBytes);
      return;
    }
    if (p.alone || v.state.pdsk < Disks.Inconsistent) this.#onlyHere(p);
    const inRun = p.run !== 0 && p.run === v.resync.run;
    // Where no answer says so (protocols A and B of old peers) the source keeps its bit: the block is fetched.
    const told = link.wantsWriteAck(p.flags);
    const inSync = inRun && told && !p.overtaken && (p.flags & DP.MAY_SET_IN_SYNC) !== 0;
    if (inSync) v.setInSync(p.sector, p.endSector);
    if (told) {
      link.out.ack(
        inSync ? COMMANDS.P_RS_WRITE_ACK : COMMANDS.P_WRITE_ACK,
        v,
        p.sector,
        p.idHi,
        p.idLo,
        p.lengthBytes,
      );
    }
  }

  /** The Primary has no disk for it: one that it gets lacks this. */
  #onlyHere(p: PeerRequest): void {
    this.#volume.setOutOfSync(p.sector, p.endSector);
  }

  // ---- reads

  /** P_DATA_REQUEST, P_RS_DATA_REQUEST, P_RS_THIN_REQ or P_CSUM_RS_REQUEST, with its buffer or without one as yet. */
  beginRead(p: PeerRequest): void {
    if (p.kind === PEER_RESYNC_READ) {
      p.run = this.#volume.resync.run;
      this.resyncReads++;
      this.#volume.generationShared = true; // from now on the resync may end any time
      this.#volume.resync.source.peerAsked();
      this.#volume.congestion.peerAsked();
      this.#volume.resync.requests.counts.asked(p.sector);
    }
    if (p.at >= 0) this.bufferThere(p);
  }

  /** It has its buffer. */
  bufferThere(p: PeerRequest): void {
    if (p.kind === PEER_RESYNC_READ) {
      const serve = (): void => this.#serve(p);
      const drop = (): void => this.#readOver(p, false);
      if (this.makeWay.delays({ link: p.link as Link, serve, drop })) return;
    }
    this.#serve(p);
  }

  #serve(p: PeerRequest): void {
    // A resync's: no write to these sectors may overtake the answer on the data socket. A reader's: under protocol B a write
    // is answered when it is received, and may still wait here for its turn; who reads after that answer sees it.
    if (this.#volume.intervals.enter(p)) this.#submitRead(p);
  }

  /** It had no buffer, and nobody waits for it any more. */
  dropRead(p: PeerRequest): void {
    this.#readOver(p, false);
  }

  /**
   * The link is over, nobody waits for its reads. Those that wait for writes of our users would wait for ever where these are
   * frozen until there is a connection again.
   */
  dropReads(link: Link): void {
    this.makeWay.drop(link);
    for (const waiting of this.#volume.intervals.waiting()) {
      const p = waiting instanceof PeerRequest && waiting.link === link ? waiting : null;
      if (p && !p.active && !isWrite(p.kind)) this.#readOver(p, false);
    }
  }

  #submitRead(p: PeerRequest): void {
    const v = this.#volume;
    if (v.state.disk !== Disks.UpToDate || !v.diskUsable()) {
      this.#readOver(p, false);
      return;
    }
    this.local++;
    p.diskSinceMs = 0;
    v.readSectors += p.endSector - p.sector;
    if (p.kind === PEER_RESYNC_READ) v.resyncSectors += p.endSector - p.sector;
    const tag = this.#core.tag(KIND_PEER_DISK, p.index);
    this.#core.port.readDisk(v.dataDisk, p.sector * 512, p.at, p.lengthBytes, tag);
  }

  #readDone(p: PeerRequest, result: number): void {
    if (result < 0) this.#volume.diskFailed('read', -result, p.sector);
    this.#readOver(p, result >= 0);
  }

  #readOver(p: PeerRequest, ok: boolean): void {
    const v = this.#volume;
    const link = p.link as Link;
    const resync = p.kind === PEER_RESYNC_READ;
    const cancelled = resync && v.state.conn === Conns.Ahead;
    if (resync) this.resyncReads--;
    if (ok && !cancelled && p.digestBytes > 0 && v.resync.checksums.tellsEqual(p)) {
      v.intervals.leave(p);
      this.replySent(p, 0);
      return;
    }
    const thin = ok && !cancelled && isDeallocated(this.#core, link, p);
    if (thin) sendDeallocated(this.#core.port, link, v, p);
    const sent = ok && !cancelled && !thin && link.out.reply(v, p);
    if (resync && (sent || thin)) {
      v.congestion.replied();
      if (p.run === v.resync.run) v.resync.replies.sent(p.sector, p.endSector);
    }
    if (cancelled || !ok) {
      link.out.ack(refusalOf(p.kind, cancelled), v, p.sector, p.idHi, p.idLo, p.lengthBytes);
    }
    if (p.entered) v.intervals.leave(p);
    if (!sent) this.replySent(p, 0);
  }

  /** The socket has taken the answer. */
  replySent(p: PeerRequest, _result: number): void {
    const link = p.link as Link;
    if (p.at >= 0) this.#core.port.free(p.at);
    p.at = -1;
    this.#release(p);
    link.maybeDrained();
  }

  #release(p: PeerRequest): void {
    assert(!p.entered, 'a request leaves the order before its slot is free');
    this.unacked--;
    p.link = null;
    p.epoch = null;
    this.#core.peer.release(p.index);
  }
}

/** Of a read. `cancelled`: the resync that wants it is broken off (congestion.ts). */
export function refusalOf(kind: number, cancelled: boolean): number {
  if (cancelled) return COMMANDS.P_RS_CANCEL;
  return kind === PEER_RESYNC_READ ? COMMANDS.P_NEG_RS_DREPLY : COMMANDS.P_NEG_DREPLY;
}

/** Kinds that carry data to the disk. */
export function isWrite(kind: number): boolean {
  return (
    kind === PEER_WRITE ||
    kind === PEER_DISCARD ||
    kind === PEER_ZEROES ||
    kind === PEER_RESYNC_WRITE
  );
}
