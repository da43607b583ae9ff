/**
 * Online verify of one volume: are both copies the same? Nothing is written but bits of the bitmap, on both nodes, where they
 * are not; `disconnect` and `connect` then copy these blocks from the node that is (or was last) Primary.
 *
 *     VerifyS (asked for here)            VerifyT
 *     P_OV_REQUEST, 4 KiB each    ->      reads, P_OV_REPLY with the digest (zeroes: its read failed)
 *     reads, compares, P_OV_RESULT ->     notes a difference, too
 *     nothing left: Connected, P_STATE -> Connected (or by its own count, where that comes first)
 *
 * Nothing that is being written counts as a difference. The Primary, whichever end it is, has its earlier writes to a block on both
 * disks before it asks, or answers, for it, and holds back later ones until it is compared. A block that is read takes its place in
 * the order of the peer's writes (verify-block.ts). No block is held longer than the peer may be silent (ko-count).
 *
 * Source: docs/PROTOCOL.md, online verify; the requests of a turn are those of a resync (rate.ts).
 */
import {
  COMMANDS,
  ID_IN_SYNC,
  ID_OUT_OF_SYNC,
  ID_SYNCER_HI,
  ID_SYNCER_LO,
} from '../wire/constants.js';
import { BLOCK_REQ_BYTES, putBlockReq } from '../wire/hot.js';
import { hasExpected, keepExpected } from './block-digest.js';
import { force } from './changes.js';
import type { Core } from './core.js';
import type { Link } from './link.js';
import { SyncMeter } from './progress.js';
import { RESYNC_TURN_MS, ResyncController } from './rate.js';
import { Conns, Roles, type State } from './state.js';
import type { SyncProgress } from './status.js';
import { VerifyBlock, type VerifyBlockOwner } from './verify-block.js';
import { VerifyFound } from './verify-found.js';
import type { Volume } from './volume.js';

const BLOCK_SECTORS = 8;
/** Blocks under way, whatever max-buffers allows: their answers must fit into what an outbox holds (512 KiB). */
const MOST_BLOCKS = 4096;
/** Small packets wait for the socket up to this many bytes: well below what an outbox holds. */
const BACKLOG_BYTES = 320 << 10;
/** Bits that were set go to disk at most so often while a verify runs. */
const SAVE_MS = 1000;

/** Blocks that are read at once: the application needs buffers, too. The data socket waits. */
const MOST_READS = 128;
/** Questions that wait, for buffers or for the socket: more than any peer asks at once. */
const MOST_WAITING = 65536;
/** Answered blocks that the peer has not compared: more than any peer asks for at once (half of max-buffers). */
const MOST_REPLIED = 65536;

const isVerifying = (conn: number): boolean => conn === Conns.VerifyS || conn === Conns.VerifyT;

interface Asked {
  readonly bytes: number;
  readonly sinceMs: number;
  compares: boolean; // the answer is here
}

export class Verify implements VerifyBlockOwner {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #found: VerifyFound;
  readonly #meter = new SyncMeter();

  // the run under way
  #run = 0; // 0: none
  #runs = 0;
  #algorithm = '';
  #leftBits = 0;
  #endSector = 0; // of the device as it began: what is new of one that grows meanwhile is copied, and the peer does not count it
  #startKnown = false; // VerifyT: by the first request
  #unsaved = false; // bits that are not in the bitmap on disk
  #saving = false;
  #saveMs = 0;
  /** Where the next one goes on that is not told where to begin: 0, or what an earlier one has reached. */
  resumeSector = 0;

  // VerifyS
  readonly #rate = new ResyncController();
  #planStart = 0; // set before the state changes
  #position = 0; // sectors before it have been asked for
  #stop = Number.POSITIVE_INFINITY;
  #nextTurnMs = Number.POSITIVE_INFINITY;
  readonly #asked = new Map<number, Asked>(); // by sector, until compared
  readonly #late = new Map<number, number>(); // of a run that was broken off: sector -> bytes
  // What could not be asked for because of writes on their way to it: further ones wait. Sectors; empty if equal.
  #wantedFrom = 0;
  #wantedTo = 0;

  // both ends
  readonly #blocks = new Set<VerifyBlock>(); // from the packet on until the end of the read
  // VerifyT
  readonly #waiting = new Set<VerifyBlock>(); // from the packet on until there is a buffer
  readonly #replied = new Map<number, VerifyBlock>(); // by sector, until the result
  readonly #unsent = new Set<VerifyBlock>(); // wait for writes that are answered and not known to be at the peer
  #retryMs = 0; // when they are looked at again
  #peerDone = false;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
    this.#found = new VerifyFound((text) => core.host.log('error', volume.name, text));
  }

  // ---- the run

  /** VerifyS is about to begin: from where, up to where (exclusive). */
  plan(startSector: number, stopSector: number): void {
    this.#planStart = startSector;
    this.#stop = stopSector;
  }

  /** Of the one that runs: it may end earlier, or later. */
  stopAt(sector: number): void {
    this.#stop = sector;
  }

  stateChanged(old: State, next: State): void {
    if (isVerifying(next.conn) && !isVerifying(old.conn)) this.#begin(next.conn);
    else if (isVerifying(old.conn) && !isVerifying(next.conn) && this.#run !== 0) this.#breakOff();
    if (next.conn < Conns.Connected) this.#forget();
  }

  #begin(conn: number): void {
    const v = this.#volume;
    const bits = v.bitmap?.bits ?? 0;
    this.#runs++;
    this.#run = this.#runs;
    this.#algorithm = v.resource.netOptions.verifyAlg;
    this.#found.begin();
    this.#peerDone = false;
    this.#leftBits = bits;
    this.#endSector = v.sizeSectors;
    this.#startKnown = true;
    this.#saveMs = 0;
    if (conn === Conns.VerifyS) {
      const from = v.link && v.link.apv < 90 ? 0 : this.#planStart;
      this.#position = Math.min(
        from - (from % BLOCK_SECTORS),
        Math.max(0, bits - 1) * BLOCK_SECTORS,
      );
      this.#leftBits = bits - this.#position / BLOCK_SECTORS;
      this.#rate.reset();
      this.#nextTurnMs = this.#core.port.nowMs();
      this.#log('info', `Starting Online Verify from sector ${this.#position}`);
    } else {
      this.#startKnown = (v.link?.apv ?? 0) < 90; // an older peer begins at the beginning
    }
    this.#meter.start(this.#leftBits, this.#core.port.nowMs());
  }

  /** It ends before everything was compared: the disk or the connection is lost. */
  #breakOff(): void {
    const v = this.#volume;
    this.resumeSector = this.#reached;
    this.#log('info', `Online Verify reached sector ${this.resumeSector}`);
    this.#end();
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
    });
  }

  #end(): void {
    this.#found.tell();
    this.#run = 0;
    this.#nextTurnMs = Number.POSITIVE_INFINITY;
    this.#unsaved = false;
    this.#wantNothing();
    for (const [sector, { bytes }] of this.#asked) this.#late.set(sector, bytes);
    this.#asked.clear();
    this.#volume.app.admission.resyncAdvanced();
  }

  /** Every sector before it is compared. */
  get #reached(): number {
    let sector = Math.max(0, (this.#volume.bitmap?.bits ?? 0) - this.#leftBits) * BLOCK_SECTORS;
    if (this.#leftBits === 0) return 0;
    for (const at of this.#asked.keys()) sector = Math.min(sector, at);
    for (const b of this.#blocks) if (b.kind === 'answer') sector = Math.min(sector, b.sector);
    for (const b of this.#waiting) sector = Math.min(sector, b.sector);
    for (const at of this.#replied.keys()) sector = Math.min(sector, at);
    return sector;
  }

  /** The connection is over: nobody answers, or waits for an answer. */
  #forget(): void {
    this.#late.clear();
    this.#unsent.clear();
    this.#waiting.clear();
    for (const b of this.#replied.values()) this.#leave(b);
    this.#replied.clear();
    for (const b of this.#blocks) {
      this.#leave(b);
      if (!b.reading) this.#drop(b); // else its buffer is the disk's as yet
    }
  }

  /** The disk that pass_on goes on with is no copy to compare: said before the disk says so, or the peer goes on comparing. */
  diskIsBad(): void {
    this.#abort();
  }

  /** The peer begins to copy a part of the device that is new. What it has found until then is told all the same. */
  peerCopies(): void {
    this.#abort();
  }

  #abort(): void {
    if (!isVerifying(this.#volume.state.conn)) return;
    this.#log('warn', 'Online-verify aborted.');
    force(this.#volume, { conn: Conns.Connected });
  }

  /** 0: to the end of the device. */
  get stopSector(): number {
    return Number.isFinite(this.#stop) ? this.#stop : 0;
  }

  get progress(): SyncProgress | null {
    if (this.#run === 0) return null;
    return this.#meter.snapshot(this.#leftBits, 0, this.#rate.rateKiBps);
  }

  /** Asked for, or answered, and not compared yet: part of `pe`. */
  get pending(): number {
    return this.#asked.size + this.#late.size + this.#replied.size;
  }

  /** Of the peer's, and not answered yet: part of `ua`. */
  get unacked(): number {
    return this.#blocks.size + this.#waiting.size;
  }

  /** What the local disk has of it. */
  eachReading(look: (block: VerifyBlock) => void): void {
    for (const b of this.#blocks) if (b.reading) look(b);
  }

  // ---- VerifyS: asking

  get deadlineMs(): number {
    let at = this.#nextTurnMs;
    if (this.#unsaved && !this.#saving) at = Math.min(at, this.#saveMs);
    if (this.#unsent.size > 0) at = Math.min(at, this.#retryMs);
    return Math.min(at, this.#giveUpMs);
  }

  tick(nowMs: number): void {
    const { link, state } = this.#volume;
    if (!link) return;
    if (nowMs >= this.#giveUpMs) {
      const what = state.conn === Conns.VerifyS ? 'answer' : 'compare';
      link.fail(
        'Timeout',
        `Remote failed to ${what} a block of an online verify within ko-count * timeout`,
      );
      return;
    }
    if (this.#unsaved && nowMs >= this.#saveMs) this.#save(nowMs);
    if (this.#unsent.size > 0 && nowMs >= this.#retryMs) {
      for (const b of [...this.#unsent]) this.blockReady(b);
    }
    if (nowMs < this.#nextTurnMs) return;
    this.#nextTurnMs = nowMs + RESYNC_TURN_MS;
    this.#turn(link, nowMs);
  }

  /** Where our users wait for the peer: not longer than for its acknowledgement of a write. */
  get #giveUpMs(): number {
    const { state, resource } = this.#volume;
    const { koCount, timeoutDs } = resource.netOptions;
    if (koCount === 0 || state.role !== Roles.Primary) return Number.POSITIVE_INFINITY;
    let oldest = Number.POSITIVE_INFINITY; // both are in the order of time
    for (const a of this.#asked.values()) {
      if (a.compares) continue;
      oldest = a.sinceMs;
      break;
    }
    for (const b of this.#replied.values()) {
      oldest = Math.min(oldest, b.sinceMs);
      break;
    }
    return oldest + koCount * timeoutDs * 100;
  }

  #turn(link: Link, nowMs: number): void {
    const v = this.#volume;
    const { maxBuffers } = v.resource.netOptions;
    const wanted = this.#wantedTo > 0;
    const most = this.#rate.turn(v.diskOptions, maxBuffers);
    const number = v.peerIo.makeWay.slowsDown() ? 0 : most;
    this.#wantNothing();
    let blocks = 0;
    const limit = Math.min(v.sizeSectors, this.#endSector);
    // As the originals, it asks for one block at least: the peer knows by it that an end is that of this verify.
    const first = this.#asked.size === 0 && this.#leftBits === this.#meter.totalBits;
    while (blocks < number && this.#asked.size < MOST_BLOCKS) {
      const sector = this.#position;
      if (sector >= limit || (sector >= this.#stop && !(first && blocks === 0))) break;
      const end = Math.min(limit, sector + BLOCK_SECTORS);
      if (link.out.backlogBytes > BACKLOG_BYTES || !this.#mayAsk(link, sector, end)) break;
      const bytes = (end - sector) * 512;
      this.#asked.set(sector, { bytes, sinceMs: nowMs, compares: false });
      const at = link.out.packetAt('data', COMMANDS.P_OV_REQUEST, v, BLOCK_REQ_BYTES);
      if (at < 0) break;
      putBlockReq(this.#core.port.poolView, at, sector, ID_SYNCER_HI, ID_SYNCER_LO, bytes);
      this.#position = sector + BLOCK_SECTORS;
      blocks++;
    }
    this.#rate.requested(blocks);
    if (wanted) v.app.admission.resyncAdvanced(); // those that still have to wait wait again
    this.#maybeFinish();
  }

  /** No write of our users is on its way to the block, and no earlier question. Where there is one, new writes have to wait. */
  #mayAsk(link: Link, sector: number, endSector: number): boolean {
    if (this.#late.has(sector)) return false;
    if (this.#isWritten(link, sector, endSector, true)) {
      this.#wantedFrom = sector;
      this.#wantedTo = endSector;
      return false;
    }
    return true;
  }

  /**
   * Writes of our users that may not be on the peer's disk. Under protocol C one that has left the order is there; under A and B it
   * may be answered and still on its way, until its epoch is.
   */
  #isWritten(link: Link, sector: number, endSector: number, inOrder: boolean): boolean {
    const v = this.#volume;
    if (v.state.role !== Roles.Primary) return false;
    if (inOrder && v.intervals.overlaps(sector, endSector)) return true;
    if (v.app.promises.inForce(link.protocol) === 'C') return false;
    if (!link.transferLog.touches(v.app, sector, endSector)) return false;
    link.transferLog.close(); // an open epoch is acknowledged never
    return true;
  }

  #wantNothing(): void {
    this.#wantedFrom = 0;
    this.#wantedTo = 0;
  }

  /** An application write to these sectors must wait: they are being compared, or about to be. */
  holds(sector: number, endSector: number): boolean {
    if (this.#run === 0) return false;
    if (sector < this.#wantedTo && this.#wantedFrom < endSector) return true;
    if (this.#asked.size === 0) return false;
    if (endSector - sector > this.#asked.size * BLOCK_SECTORS) {
      for (const at of this.#asked.keys()) {
        if (at < endSector && sector < at + BLOCK_SECTORS) return true;
      }
      return false;
    }
    for (let at = sector - (sector % BLOCK_SECTORS); at < endSector; at += BLOCK_SECTORS) {
      if (this.#asked.has(at)) return true;
    }
    return false;
  }

  // ---- packets

  /** P_OV_REQUEST. 'stalled': too many wait; else null, or what is wrong with it. */
  request(link: Link, sector: number, bytes: number): string | null | 'stalled' {
    const v = this.#volume;
    // A peer that does not know yet that this node has broken it off is answered all the same.
    if (this.#run === 0) this.#algorithm = v.resource.netOptions.verifyAlg;
    const known = this.#core.host.digests.digestBytes(this.#algorithm) > 0;
    if (v.state.conn < Conns.Connected || !v.diskUsable() || !known) {
      link.out.ack(COMMANDS.P_NEG_RS_DREPLY, v, sector, ID_SYNCER_HI, ID_SYNCER_LO, bytes);
      return null;
    }
    if (this.#waiting.size >= MOST_WAITING) return 'stalled';
    if (v.state.conn === Conns.VerifyT && !this.#startKnown) this.#startAt(sector);
    this.#waiting.add(new VerifyBlock(this, 'answer', link, sector, bytes, -1, this.#run));
    this.serveWaiting();
    return null;
  }

  /**
   * Something may have been freed, or sent. Their answers have to wait for the socket as well: what is read for is bounded by what is
   * taken. The connection is read on meanwhile (base/buffer-use.ts).
   */
  serveWaiting(): void {
    for (const b of this.#waiting) {
      const { link } = b;
      const many = this.#blocks.size >= MOST_READS || this.#replied.size >= MOST_REPLIED;
      if (many || !link.alive || link.out.backlogBytes > BACKLOG_BYTES) return;
      b.at = this.#core.port.alloc(b.bytes, 'answer');
      if (b.at < 0) return;
      this.#waiting.delete(b);
      this.#blocks.add(b);
      const serve = (): void => {
        if (this.#blocks.has(b)) this.#enter(b);
      };
      const { makeWay } = this.#volume.peerIo;
      if (!makeWay.delays({ link, serve, drop: () => {} })) this.#enter(b);
    }
  }

  #startAt(sector: number): void {
    const bits = this.#volume.bitmap?.bits ?? 0;
    this.#startKnown = true;
    this.#leftBits = Math.max(0, bits - Math.floor(sector / BLOCK_SECTORS));
    this.#meter.start(this.#leftBits, this.#core.port.nowMs());
    this.#log('info', `Online Verify start sector: ${sector}`);
  }

  /** P_OV_REPLY; the digest is pool[digestAt, digestAt + digestBytes). As for `request`. */
  reply(
    link: Link,
    sector: number,
    bytes: number,
    digestAt: number,
    digestBytes: number,
  ): string | null | 'stalled' {
    const v = this.#volume;
    if (v.state.conn < Conns.Connected) return null; // the connection is being ended
    const asked = this.#asked.get(sector);
    if (!asked || asked.bytes !== bytes || asked.compares) {
      if (this.#late.get(sector) !== bytes) return `sector ${sector} was not asked for`;
      this.#late.delete(sector);
      this.#result(link, sector, bytes, false); // the peer holds the block until it hears of it
      return null;
    }
    const expected = this.#core.host.digests.digestBytes(this.#algorithm);
    if (digestBytes !== expected) return `a digest of ${digestBytes} bytes, expected ${expected}`;
    const { port } = this.#core;
    const at = this.#blocks.size < MOST_READS ? port.alloc(bytes, 'arrival') : -1;
    if (at < 0) return 'stalled';
    keepExpected(this.#core, at, digestAt, digestBytes);
    asked.compares = true;
    this.#rate.arrived(bytes / 512);
    this.#enter(new VerifyBlock(this, 'compare', link, sector, bytes, at, this.#run));
    return null;
  }

  /** P_OV_RESULT: null, or what is wrong with it. */
  result(sector: number, bytes: number, differs: boolean): string | null {
    const v = this.#volume;
    const b = this.#replied.get(sector);
    if (b?.bytes === bytes) {
      this.#replied.delete(sector);
      this.#leave(b);
    } else if (v.state.conn >= Conns.Connected) {
      return `sector ${sector} was not answered`;
    }
    const end = sector + bytes / 512;
    if (differs) this.#differs(sector, end);
    else this.#found.tell();
    if (b?.run === this.#run) this.#counted(end - sector);
    return null;
  }

  /** P_NEG_RS_DREPLY: false if it is no answer to a question of a verify. */
  refused(sector: number, bytes: number): boolean {
    if (this.#late.get(sector) === bytes) {
      this.#late.delete(sector);
      return true;
    }
    const asked = this.#asked.get(sector);
    if (asked?.bytes !== bytes || asked.compares) return false;
    // The peer's disk is going, and its state says so in a moment: nothing is left to compare with.
    this.diskIsBad();
    this.#late.delete(sector);
    return true;
  }

  /** P_STATE: the peer is Connected. It has compared what it wanted; its last results may still be on their way. */
  peerFinished(): void {
    if (!this.#startKnown) return; // a word from before the first question
    this.#peerDone = true;
    this.#maybeFinish();
  }

  // ---- blocks

  #enter(b: VerifyBlock): void {
    this.#blocks.add(b);
    if (this.#volume.intervals.enter(b)) this.blockReady(b);
  }

  #leave(b: VerifyBlock): void {
    if (b.entered) this.#volume.intervals.leave(b);
  }

  /** It is over without an answer. */
  #drop(b: VerifyBlock): void {
    if (b.at >= 0) this.#core.port.free(b.at);
    b.at = -1;
    this.#blocks.delete(b);
    this.#unsent.delete(b);
  }

  /** Nothing earlier touches its sectors any more. */
  blockReady(b: VerifyBlock): void {
    const v = this.#volume;
    if (b.kind === 'answer' && this.#isWritten(b.link, b.sector, b.endSector, false)) {
      this.#unsent.add(b);
      this.#retryMs = this.#core.port.nowMs() + RESYNC_TURN_MS;
      return;
    }
    this.#unsent.delete(b);
    if (!v.diskUsable()) {
      this.#unreadable(b);
      return;
    }
    b.reading = true;
    v.peerIo.local++;
    v.readSectors += b.endSector - b.sector;
    v.resyncSectors += b.endSector - b.sector;
    const tag = this.#core.cold((result) => this.#read(b, result));
    this.#core.port.readDisk(v.dataDisk, b.sector * 512, b.at, b.bytes, tag);
  }

  /** The disk was let go, and the verify with it. */
  #unreadable(b: VerifyBlock): void {
    const { link, sector, bytes } = b;
    this.#leave(b);
    this.#drop(b);
    this.diskIsBad();
    if (b.kind === 'compare') this.#compared(b, 'not-read');
    else
      link.out.ack(
        COMMANDS.P_NEG_RS_DREPLY,
        this.#volume,
        sector,
        ID_SYNCER_HI,
        ID_SYNCER_LO,
        bytes,
      );
  }

  #read(b: VerifyBlock, result: number): void {
    const v = this.#volume;
    v.peerIo.local--;
    if (result < 0) {
      v.setOutOfSync(b.sector, b.endSector);
      v.diskFailed('read', -result, b.sector);
    }
    const over = !b.link.alive || v.state.conn < Conns.Connected;
    if (over) this.#leave(b);
    else if (b.kind === 'answer') this.#answer(b, result >= 0);
    else this.#compare(b, result >= 0);
    this.#drop(b);
    if (!over) this.#maybeFinish();
  }

  /** Zeroes where it could not be read: different. The block stays as it is until the peer has compared. */
  #answer(b: VerifyBlock, ok: boolean): void {
    const v = this.#volume;
    const { digests } = this.#core.host;
    const { pool, poolView } = this.#core.port;
    const algorithm = this.#algorithm;
    const digestBytes = digests.digestBytes(algorithm);
    const to = b.link.out.packetAt('data', COMMANDS.P_OV_REPLY, v, BLOCK_REQ_BYTES + digestBytes);
    if (to < 0) {
      this.#leave(b);
      return;
    }
    putBlockReq(poolView, to, b.sector, ID_SYNCER_HI, ID_SYNCER_LO, b.bytes);
    const digestAt = to + BLOCK_REQ_BYTES;
    if (ok) digests.digest(algorithm, pool, b.at, b.at + b.bytes, pool, digestAt);
    else pool.fill(0, digestAt, digestAt + digestBytes);
    b.sinceMs = this.#core.port.nowMs();
    this.#replied.set(b.sector, b);
  }

  #compare(b: VerifyBlock, ok: boolean): void {
    this.#leave(b);
    const equal = ok && hasExpected(this.#core, this.#algorithm, b.at, b.bytes);
    this.#compared(b, equal ? 'equal' : ok ? 'different' : 'not-readable');
  }

  /** Of a run that was broken off nothing is believed: writes to the block were not held back any more. */
  #compared(b: VerifyBlock, how: 'equal' | 'different' | 'not-readable' | 'not-read'): void {
    const { link, sector, endSector, bytes } = b;
    const current = b.run !== 0 && b.run === this.#run && this.#asked.delete(sector);
    if (!current) this.#late.delete(sector);
    const differs = how === 'not-readable' || (current && how === 'different');
    if (differs) this.#differs(sector, endSector);
    else this.#found.tell();
    this.#result(link, sector, bytes, differs);
    this.#volume.app.admission.resyncAdvanced();
    if (current) this.#counted(endSector - sector);
  }

  #result(link: Link, sector: number, bytes: number, differs: boolean): void {
    const id = differs ? ID_OUT_OF_SYNC : ID_IN_SYNC;
    link.out.ack(COMMANDS.P_OV_RESULT, this.#volume, sector, 0, id, bytes);
  }

  #differs(sector: number, endSector: number): void {
    this.#volume.setOutOfSync(sector, endSector);
    this.#found.differs(sector, endSector);
    if (this.#run === 0) {
      this.#found.tell();
      return;
    }
    if (!this.#unsaved) this.#saveMs = Math.max(this.#saveMs, this.#core.port.nowMs());
    this.#unsaved = true;
  }

  #counted(sectors: number): void {
    if (this.#run === 0) return;
    this.#leftBits = Math.max(0, this.#leftBits - Math.ceil(sectors / BLOCK_SECTORS));
    this.#meter.advance(this.#leftBits, this.#core.port.nowMs());
    this.#maybeFinish();
  }

  /** A node that crashes finds in its bitmap what was found until then. */
  #save(nowMs: number): void {
    if (this.#saving || this.#run === 0) return;
    this.#saving = true;
    this.#unsaved = false;
    this.#saveMs = nowMs + SAVE_MS;
    const v = this.#volume;
    v.writeBitmap((result) => {
      this.#saving = false;
      if (result < 0) v.metaFailed(-result);
    });
  }

  // ---- the end

  #maybeFinish(): void {
    const v = this.#volume;
    if (this.#run === 0) return;
    if (v.state.conn === Conns.VerifyS) {
      const end = Math.min(this.#stop, v.sizeSectors, this.#endSector);
      const begun = this.#leftBits < this.#meter.totalBits;
      if (begun && this.#position >= end && this.#asked.size === 0) this.#finish();
      return;
    }
    const nothingLeft = this.#replied.size === 0 && this.unacked === 0;
    if (this.#startKnown && nothingLeft && (this.#leftBits === 0 || this.#peerDone)) this.#finish();
  }

  #finish(): void {
    const v = this.#volume;
    const { host, port } = this.#core;
    this.resumeSector = this.#reached;
    const { totalS, pausedS, kiBps } = this.#meter.summary(port.nowMs(), this.#leftBits);
    this.#end();
    this.#log(
      'info',
      `Online verify done (total ${totalS} sec; paused ${pausedS} sec; ${kiBps} K/sec)`,
    );
    const bits = v.bitmap?.count ?? 0;
    if (bits > 0) this.#log('error', `Online verify found ${bits} 4k block out of sync!`);
    force(v, { conn: Conns.Connected });
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
    });
    if (bits > 0) host.handler('out-of-sync', v.resource.name, v.minor, () => {});
  }

  #log(level: 'info' | 'warn' | 'error', text: string): void {
    this.#core.host.log(level, this.#volume.name, text);
  }
}
