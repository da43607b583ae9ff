/**
 * What the native engine keeps per stream: where its unconsumed bytes are and which receive is in the ring. All in
 * typed arrays by the slot of the handle, since this runs for every packet.
 *
 *     peek region, mapped twice:  [base ........ base + PEEK_BYTES)[same bytes again)
 *                                        start ----------- end            end <= start + PEEK_BYTES
 */
import { assert } from '../base/assert.js';
import { ERRNO } from '../host/errno.js';
import { NO_TAG, type StreamOwner } from '../host/io.js';
import { HANDLE_SLOT_MASK } from './native-addon.js';

/** More than STREAM_PEEK_BYTES: a full header can be peeked while the next bytes already arrive. */
export const PEEK_BYTES = 131072;

const SLOTS = HANDLE_SLOT_MASK + 1;

const IDLE = 0; // no receive in the ring
const TO_PEEK = 1;
const TO_TARGET = 2; // and the peek region behind it

export interface StreamCommands {
  /** Ask for bytes: into the target first, then into the peek region. */
  receive(stream: number, at: number, lengthBytes: number, at2: number, length2: number): void;
  /** Complete `tag` in the next batch. */
  complete(tag: number, result: number): void;
  /** Complete `tag` now: called from a batch. */
  done(tag: number, result: number): void;
  /** Tell the end of a stream in the next batch. */
  endLater(stream: number, owner: StreamOwner, error: number): void;
}

export class StreamTable {
  readonly #pool: Uint8Array;
  readonly #commands: StreamCommands;
  readonly #freePeeks: number[] = [];
  readonly #owners: (StreamOwner | undefined)[] = [];
  readonly #handle = new Int32Array(SLOTS);
  readonly #base = new Int32Array(SLOTS);
  readonly #start = new Int32Array(SLOTS);
  readonly #end = new Int32Array(SLOTS);
  readonly #inRing = new Uint8Array(SLOTS);
  readonly #over = new Uint8Array(SLOTS); // ended or closing: nothing is asked for any more
  readonly #closing = new Uint8Array(SLOTS);
  readonly #dirty = new Uint8Array(SLOTS);
  // The one unfinished receive; want 0 when there is none.
  readonly #targetAt = new Int32Array(SLOTS);
  readonly #got = new Int32Array(SLOTS);
  readonly #want = new Int32Array(SLOTS);
  readonly #tag = new Int32Array(SLOTS);
  readonly #armList: number[] = [];

  constructor(pool: Uint8Array, firstPeek: number, count: number, commands: StreamCommands) {
    this.#pool = pool;
    this.#commands = commands;
    for (let i = count - 1; i >= 0; i--) this.#freePeeks.push(firstPeek + i * 2 * PEEK_BYTES);
  }

  attach(stream: number, owner: StreamOwner): void {
    const s = stream & HANDLE_SLOT_MASK;
    assert(this.#owners[s] === undefined, 'a stream is attached once');
    const base = this.#freePeeks.pop();
    if (base === undefined) {
      this.#commands.endLater(stream, owner, ERRNO.ENOBUFS);
      return;
    }
    this.#owners[s] = owner;
    this.#handle[s] = stream;
    this.#base[s] = base;
    this.#start[s] = base;
    this.#end[s] = base;
    this.#inRing[s] = IDLE;
    this.#over[s] = 0;
    this.#closing[s] = 0;
    this.#want[s] = 0;
    this.#touch(s);
  }

  consume(stream: number, count: number): void {
    const s = this.#slot(stream);
    const start = (this.#start[s] as number) + count;
    assert(count >= 0 && start <= (this.#end[s] as number), 'only peeked bytes are consumed');
    this.#start[s] = start;
    this.#touch(s);
  }

  receive(stream: number, skip: number, at: number, lengthBytes: number, tag: number): void {
    const s = this.#slot(stream);
    assert(this.#want[s] === 0, 'one unfinished receive per stream');
    this.consume(stream, skip);
    this.#targetAt[s] = at;
    this.#got[s] = 0;
    this.#want[s] = lengthBytes;
    this.#tag[s] = tag;
    this.#fromPeek(s);
    if (this.#got[s] !== lengthBytes) return;
    this.#want[s] = 0;
    this.#commands.complete(tag, lengthBytes);
  }

  /** `close` was called: an unfinished receive is cancelled, at once unless the ring still writes to its target. */
  closing(stream: number): void {
    const s = stream & HANDLE_SLOT_MASK;
    if (this.#owners[s] === undefined || this.#handle[s] !== stream) return;
    this.#over[s] = 1;
    this.#closing[s] = 1;
    if ((this.#want[s] as number) > 0 && this.#inRing[s] !== TO_TARGET) {
      this.#want[s] = 0;
      this.#commands.complete(this.#tag[s] as number, -ERRNO.ECANCELED);
    }
  }

  /** The addon has closed the handle: nothing of it is in the ring any more. */
  closed(stream: number): void {
    const s = stream & HANDLE_SLOT_MASK;
    if (this.#owners[s] === undefined || this.#handle[s] !== stream) return;
    this.#owners[s] = undefined;
    this.#freePeeks.push(this.#base[s] as number);
  }

  /** Asks for more bytes wherever something changed. Called once at the end of each turn. */
  arm(): void {
    for (const s of this.#armList) {
      this.#dirty[s] = 0;
      if (this.#inRing[s] !== IDLE || this.#over[s] === 1) continue;
      if (this.#owners[s] === undefined) continue;
      this.#ask(s);
    }
    this.#armList.length = 0;
  }

  /** A receive came back: bytes, 0 at the end of the stream, or -errno. */
  received(stream: number, result: number): void {
    const s = stream & HANDLE_SLOT_MASK;
    assert(this.#handle[s] === stream, 'a receive of an attached stream');
    const into = this.#inRing[s];
    this.#inRing[s] = IDLE;
    if (this.#closing[s] === 1) {
      this.#finish(s, -ERRNO.ECANCELED);
      return;
    }
    if (result <= 0) {
      this.#over[s] = 1;
      this.#finish(s, result < 0 ? result : -ERRNO.ECONNRESET);
      if (this.#closing[s] === 0) this.#owners[s]?.streamEnd(stream, result === 0 ? 0 : -result);
      return;
    }
    this.#touch(s);
    if (into === TO_TARGET) {
      const toTarget = Math.min(result, (this.#want[s] as number) - (this.#got[s] as number));
      this.#got[s] = (this.#got[s] as number) + toTarget;
      this.#end[s] = (this.#end[s] as number) + result - toTarget;
    } else {
      this.#end[s] = (this.#end[s] as number) + result;
      this.#fromPeek(s);
    }
    const want = this.#want[s] as number;
    if (want > 0) {
      if (this.#got[s] !== want) return;
      this.#finish(s, want);
    }
    // The owner may have closed the stream or begun another receive when it was told.
    if (this.#closing[s] === 1 || this.#start[s] === this.#end[s]) return;
    this.#owners[s]?.streamData(stream, this.#start[s] as number, this.#end[s] as number);
  }

  #ask(s: number): void {
    const stream = this.#handle[s] as number;
    const base = this.#base[s] as number;
    if (this.#start[s] === this.#end[s]) {
      this.#start[s] = base; // the same lines of the cache again
      this.#end[s] = base;
    } else if ((this.#start[s] as number) >= base + PEEK_BYTES) {
      this.#start[s] = (this.#start[s] as number) - PEEK_BYTES; // the same bytes, seen in the first mapping
      this.#end[s] = (this.#end[s] as number) - PEEK_BYTES;
    }
    const end = this.#end[s] as number;
    const want = this.#want[s] as number;
    if (want > 0) {
      const got = this.#got[s] as number;
      this.#inRing[s] = TO_TARGET;
      const at = (this.#targetAt[s] as number) + got;
      this.#commands.receive(stream, at, want - got, end, PEEK_BYTES);
      return;
    }
    const room = PEEK_BYTES - (end - (this.#start[s] as number));
    if (room === 0) return; // the owner has to consume first
    this.#inRing[s] = TO_PEEK;
    this.#commands.receive(stream, 0, 0, end, room);
  }

  /** Moves peeked bytes to the target of the unfinished receive. */
  #fromPeek(s: number): void {
    const start = this.#start[s] as number;
    const got = this.#got[s] as number;
    const count = Math.min((this.#want[s] as number) - got, (this.#end[s] as number) - start);
    if (count <= 0) return;
    this.#pool.copyWithin((this.#targetAt[s] as number) + got, start, start + count);
    this.#start[s] = start + count;
    this.#got[s] = got + count;
  }

  /** Completes the unfinished receive, if there is one. */
  #finish(s: number, result: number): void {
    if (this.#want[s] === 0) return;
    this.#want[s] = 0;
    const tag = this.#tag[s] as number;
    if (tag >>> 0 !== NO_TAG) this.#commands.done(tag, result);
  }

  #touch(s: number): void {
    if (this.#dirty[s] === 1) return;
    this.#dirty[s] = 1;
    this.#armList.push(s);
  }

  #slot(stream: number): number {
    const s = stream & HANDLE_SLOT_MASK;
    assert(this.#owners[s] !== undefined && this.#handle[s] === stream, 'an attached stream');
    return s;
  }
}
