/**
 * The receiving half of a stream for engines whose bytes arrive as chunks (fallback, simulator): puts them into the
 * peek region or straight into the target of a `receive`, and decides what the owner is told.
 *
 *     chunks -> [ target of an unfinished receive ] -> [ peek region: start..end ] -> streamData(start, end)
 *
 * The peek region is compacted only right before streamData, so offsets that an owner remembers from the last
 * streamData stay good until the next one. Nothing is told from inside `receive` or `consume`: the engine calls
 * `deliver` between turns.
 */
import { assert } from '../base/assert.js';
import { ERRNO } from './errno.js';
import { NO_TAG, type StreamOwner } from './io.js';

/** Completes operations of the engine in its next batch. */
export type Complete = (tag: number, result: number) => void;

export class StreamReceiver {
  readonly #stream: number;
  readonly #pool: Uint8Array;
  readonly #base: number;
  readonly #capacityBytes: number;
  readonly #complete: Complete;
  readonly #chunks: Uint8Array[] = [];
  #chunkOffset = 0; // bytes of chunks[0] already used
  #chunkBytes = 0; // bytes in chunks not used
  #start: number;
  #end: number;
  #owner: StreamOwner | null = null;
  // The one unfinished receive; #wantBytes 0 when there is none.
  #targetAt = 0;
  #gotBytes = 0;
  #wantBytes = 0;
  #targetTag = NO_TAG;
  #endError = -1; // the stream is over: 0 or errno; -1 while it is not
  #endTold = false;

  constructor(
    stream: number,
    pool: Uint8Array,
    base: number,
    capacityBytes: number,
    complete: Complete,
  ) {
    this.#stream = stream;
    this.#pool = pool;
    this.#base = base;
    this.#capacityBytes = capacityBytes;
    this.#complete = complete;
    this.#start = base;
    this.#end = base;
  }

  attach(owner: StreamOwner): void {
    assert(this.#owner === null, 'a stream is attached once');
    this.#owner = owner;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#chunkBytes += chunk.length;
  }

  /** No more chunks will come. */
  end(error: number): void {
    if (this.#endError < 0) this.#endError = error;
  }

  get ended(): boolean {
    return this.#endError >= 0;
  }

  /** Bytes that were pushed and found no room: the source should pause while there are many. */
  get waitingBytes(): number {
    return this.#chunkBytes;
  }

  consume(count: number): void {
    assert(count >= 0 && count <= this.#end - this.#start, 'only peeked bytes are consumed');
    this.#start += count;
  }

  receive(skip: number, at: number, lengthBytes: number, tag: number): void {
    assert(this.#wantBytes === 0, 'one unfinished receive per stream');
    this.consume(skip);
    const peeked = Math.min(lengthBytes, this.#end - this.#start);
    this.#pool.copyWithin(at, this.#start, this.#start + peeked);
    this.#start += peeked;
    if (peeked === lengthBytes) {
      this.#complete(tag, lengthBytes);
      return;
    }
    this.#targetAt = at;
    this.#gotBytes = peeked;
    this.#wantBytes = lengthBytes;
    this.#targetTag = tag;
  }

  /** Moves what arrived and tells the owner; true when there may be more to deliver in the next batch. */
  deliver(): boolean {
    if (!this.#owner) return false;
    if (this.#wantBytes > 0) {
      this.#fillTarget();
      if (this.#wantBytes > 0 && !this.ended) return false;
      if (this.#wantBytes > 0) this.fail(this.#endError === 0 ? ERRNO.ECONNRESET : this.#endError);
      return true; // the completion comes first, what follows in a later batch
    }
    if (this.#chunkBytes > 0 && this.#fillPeek()) {
      this.#owner.streamData(this.#stream, this.#start, this.#end);
      return this.#chunkBytes > 0 || this.ended;
    }
    if (this.ended && this.#chunkBytes === 0 && !this.#endTold) {
      this.#endTold = true;
      this.#owner.streamEnd(this.#stream, this.#endError);
    }
    return false;
  }

  /** Completes an unfinished receive with an error: the stream failed or is being closed. */
  fail(errno: number): void {
    if (this.#wantBytes === 0) return;
    this.#wantBytes = 0;
    this.#complete(this.#targetTag, -errno);
  }

  #fillTarget(): void {
    const count = this.#take(this.#targetAt + this.#gotBytes, this.#wantBytes - this.#gotBytes);
    this.#gotBytes += count;
    if (this.#gotBytes < this.#wantBytes) return;
    const lengthBytes = this.#wantBytes;
    this.#wantBytes = 0;
    this.#complete(this.#targetTag, lengthBytes);
  }

  #fillPeek(): boolean {
    const peeked = this.#end - this.#start;
    if (peeked === this.#capacityBytes) return false; // full: the owner has to consume first
    if (this.#start > this.#base) {
      this.#pool.copyWithin(this.#base, this.#start, this.#end);
      this.#start = this.#base;
      this.#end = this.#base + peeked;
    }
    this.#end += this.#take(this.#end, this.#base + this.#capacityBytes - this.#end);
    return true;
  }

  /** Moves up to `count` waiting bytes to pool[at ...]. */
  #take(at: number, count: number): number {
    let moved = 0;
    while (moved < count) {
      const chunk = this.#chunks[0];
      if (!chunk) break;
      const n = Math.min(count - moved, chunk.length - this.#chunkOffset);
      this.#pool.set(chunk.subarray(this.#chunkOffset, this.#chunkOffset + n), at + moved);
      moved += n;
      this.#chunkOffset += n;
      if (this.#chunkOffset === chunk.length) {
        this.#chunks.shift();
        this.#chunkOffset = 0;
      }
    }
    this.#chunkBytes -= moved;
    return moved;
  }
}
