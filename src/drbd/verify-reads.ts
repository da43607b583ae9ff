/**
 * Blocks of an online verify that are read here (verify-block.ts): each waits for its place in the order of everything that touches
 * its sectors, and one that the peer has asked for also for earlier writes that may not be on the peer's disk.
 *
 *     taken -> entered -> (earlier writes) -> (P_BARRIER_ACK) -> read -> compared, or its digest sent
 */
import type { Core } from './core.js';
import type { Link } from './link.js';
import { RESYNC_TURN_MS } from './rate.js';
import { Conns, Roles } from './state.js';
import type { VerifyBlock, VerifyBlockOwner } from './verify-block.js';
import type { Volume } from './volume.js';

/** Blocks that are read at once: the application needs buffers, too. The data socket waits. */
const MOST_READS = 128;

/** What becomes of them: Verify. */
export interface VerifyReader {
  /** It is in its buffer, or could not be read. Its place in the order is kept until `leave`. */
  wasRead(block: VerifyBlock, ok: boolean): void;
  /** There is no disk any more to read it from. It has left. */
  unreadable(block: VerifyBlock): void;
  /** One less is under way. */
  readOver(): void;
}

export class VerifyReads implements VerifyBlockOwner {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #reader: VerifyReader;
  readonly #blocks = new Set<VerifyBlock>(); // from the packet on until the end of the read
  readonly #unsent = new Set<VerifyBlock>(); // wait for writes that are answered and not known to be at the peer
  #retryMs = 0; // when they are looked at again

  constructor(core: Core, volume: Volume, reader: VerifyReader) {
    this.#core = core;
    this.#volume = volume;
    this.#reader = reader;
  }

  /** Blocks that have a buffer. */
  get count(): number {
    return this.#blocks.size;
  }

  /** No further one may take a buffer now. */
  get isFull(): boolean {
    return this.#blocks.size >= MOST_READS;
  }

  /** It was taken, and is not over. */
  has(b: VerifyBlock): boolean {
    return this.#blocks.has(b);
  }

  /** What the local disk has of it. */
  eachReading(look: (block: VerifyBlock) => void): void {
    for (const b of this.#blocks) if (b.reading) look(b);
  }

  /** The first sector of those that the peer has asked for; +Infinity: there are none. */
  get firstAnswer(): number {
    let sector = Number.POSITIVE_INFINITY;
    for (const b of this.#blocks) if (b.kind === 'answer') sector = Math.min(sector, b.sector);
    return sector;
  }

  /** The connection is over: nobody answers, or waits for an answer. */
  forget(): void {
    this.#unsent.clear();
    for (const b of this.#blocks) {
      this.leave(b);
      if (!b.reading) this.#drop(b); // else its buffer is the disk's as yet
    }
  }

  /** When those are looked at again that wait for the peer to have earlier writes. */
  get deadlineMs(): number {
    return this.#unsent.size > 0 ? this.#retryMs : Number.POSITIVE_INFINITY;
  }

  /** Time passed. */
  tick(nowMs: number): void {
    if (nowMs < this.deadlineMs) return;
    for (const b of [...this.#unsent]) this.blockReady(b);
  }

  /** It has its buffer, and is to be read some time. */
  take(b: VerifyBlock): void {
    this.#blocks.add(b);
  }

  /** It is to be read behind what was asked before. */
  enter(b: VerifyBlock): void {
    this.take(b);
    if (this.#volume.intervals.enter(b)) this.blockReady(b);
  }

  /** What is asked later may go. */
  leave(b: VerifyBlock): void {
    if (b.entered) this.#volume.intervals.leave(b);
  }

  #drop(b: VerifyBlock): void {
    if (b.at >= 0) this.#core.port.free(b.at);
    b.at = -1;
    this.#blocks.delete(b);
    this.#unsent.delete(b);
  }

  /** Nothing earlier touches its sectors any more. */
  blockReady(b: VerifyBlock): void {
    const v = this.#volume;
    if (b.kind === 'answer' && isOnItsWay(v, b.link, b.sector, b.endSector)) {
      this.#unsent.add(b);
      this.#retryMs = this.#core.port.nowMs() + RESYNC_TURN_MS;
      return;
    }
    this.#unsent.delete(b);
    if (!v.diskUsable()) {
      this.leave(b);
      this.#drop(b);
      this.#reader.unreadable(b);
      return;
    }
    b.reading = true;
    v.peerIo.local++;
    v.readSectors += b.endSector - b.sector;
    v.resyncSectors += b.endSector - b.sector;
    const tag = this.#core.cold((result) => this.#read(b, result));
    this.#core.port.readDisk(v.dataDisk, b.sector * 512, b.at, b.bytes, tag);
  }

  #read(b: VerifyBlock, result: number): void {
    const v = this.#volume;
    v.peerIo.local--;
    if (result < 0) {
      v.setOutOfSync(b.sector, b.endSector);
      v.diskFailed('read', -result, b.sector);
    }
    const over = !b.link.alive || v.state.conn < Conns.Connected;
    if (over) this.leave(b);
    else this.#reader.wasRead(b, result >= 0);
    this.#drop(b);
    if (!over) this.#reader.readOver();
  }
}

/**
 * Writes of our users to these sectors that have left the order may not be on the peer's disk. Under protocol C they are there; under
 * A and B one may be answered and still on its way, until its epoch is.
 */
export function isOnItsWay(v: Volume, link: Link, sector: number, endSector: number): boolean {
  if (v.state.role !== Roles.Primary) return false;
  if (v.app.promises.inForce(link.protocol) === 'C') return false;
  if (!link.transferLog.touches(v.app, sector, endSector)) return false;
  link.transferLog.close(); // an open epoch is acknowledged never
  return true;
}
