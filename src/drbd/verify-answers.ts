/**
 * VerifyT: what the peer asks for.
 *
 *     P_OV_REQUEST -> waits for a buffer, and for the socket -> read (verify-reads.ts) -> P_OV_REPLY -> held until P_OV_RESULT
 *
 * The connection is read on while blocks wait (base/buffer-use.ts).
 */
import { COMMANDS, ID_SYNCER_HI, ID_SYNCER_LO } from '../wire/constants.js';
import { BLOCK_REQ_BYTES, putBlockReq } from '../wire/hot.js';
import type { Core } from './core.js';
import { BACKLOG_BYTES, type VerifyBlock } from './verify-block.js';
import type { VerifyReads } from './verify-reads.js';
import type { Volume } from './volume.js';

/** Questions that wait, for buffers or for the socket: more than any peer asks at once. */
const MOST_WAITING = 65536;
/** Answered blocks that the peer has not compared: more than any peer asks for at once (half of max-buffers). */
const MOST_REPLIED = 65536;

export class VerifyAnswers {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #reads: VerifyReads;
  readonly #waiting = new Set<VerifyBlock>(); // from the packet on until there is a buffer
  readonly #replied = new Map<number, VerifyBlock>(); // by sector, until the result

  constructor(core: Core, volume: Volume, reads: VerifyReads) {
    this.#core = core;
    this.#volume = volume;
    this.#reads = reads;
  }

  /** No further question can be taken now. */
  get isFull(): boolean {
    return this.#waiting.size >= MOST_WAITING;
  }

  /** Without a buffer. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Answered, and not compared by the peer. */
  get replied(): number {
    return this.#replied.size;
  }

  /** The first sector that is not compared yet, but for those that are being read; +Infinity: there is none. */
  get firstOpen(): number {
    let sector = Number.POSITIVE_INFINITY;
    for (const b of this.#waiting) sector = Math.min(sector, b.sector);
    for (const at of this.#replied.keys()) sector = Math.min(sector, at);
    return sector;
  }

  /** Since when the oldest answer waits for its result; +Infinity: none does. */
  get oldestMs(): number {
    for (const b of this.#replied.values()) return b.sinceMs; // in the order of time
    return Number.POSITIVE_INFINITY;
  }

  /** The connection is over: nobody waits for an answer. */
  forget(): void {
    this.#core.answers.leaves(this);
    this.#waiting.clear();
    for (const b of this.#replied.values()) this.#reads.leave(b);
    this.#replied.clear();
  }

  /** P_OV_REQUEST. */
  asked(b: VerifyBlock): void {
    this.#waiting.add(b);
    this.serveWaiting();
  }

  /**
   * Something may have been freed, or sent. Their answers have to wait for the socket as well: what is read for is bounded by what is
   * taken.
   */
  serveWaiting(): void {
    for (const b of this.#waiting) {
      const { link } = b;
      const many = this.#reads.isFull || this.#replied.size >= MOST_REPLIED;
      if (many || !link.alive || link.out.backlogBytes > BACKLOG_BYTES) {
        this.#core.answers.leaves(this);
        return;
      }
      b.at = this.#core.answers.take(this, b.bytes);
      if (b.at < 0) return;
      this.#waiting.delete(b);
      this.#reads.take(b);
      const serve = (): void => {
        if (this.#reads.has(b)) this.#reads.enter(b);
      };
      const { makeWay } = this.#volume.peerIo;
      if (!makeWay.delays({ link, serve, drop: () => {} })) this.#reads.enter(b);
    }
  }

  /** P_OV_REPLY. Zeroes where it could not be read: different. The block stays as it is until the peer has compared. */
  reply(b: VerifyBlock, ok: boolean, algorithm: string): void {
    const { digests } = this.#core.host;
    const { pool, poolView } = this.#core.port;
    const digestBytes = digests.digestBytes(algorithm);
    const bytes = BLOCK_REQ_BYTES + digestBytes;
    const to = b.link.out.packetAt('data', COMMANDS.P_OV_REPLY, this.#volume, bytes);
    if (to < 0) {
      this.#reads.leave(b);
      return;
    }
    putBlockReq(poolView, to, b.sector, ID_SYNCER_HI, ID_SYNCER_LO, b.bytes);
    const digestAt = to + BLOCK_REQ_BYTES;
    if (ok) digests.digest(algorithm, pool, b.at, b.at + b.bytes, pool, digestAt);
    else pool.fill(0, digestAt, digestAt + digestBytes);
    b.sinceMs = this.#core.port.nowMs();
    this.#replied.set(b.sector, b);
  }

  /** P_OV_RESULT: the block that it is of, which may be written again; null: none was answered so. */
  compared(sector: number, bytes: number): VerifyBlock | null {
    const b = this.#replied.get(sector);
    if (b?.bytes !== bytes) return null;
    this.#replied.delete(sector);
    this.#reads.leave(b);
    return b;
  }
}
