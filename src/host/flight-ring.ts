/**
 * Writes records into one ring of a recording (flight-format.ts). The memory is given: a file mapped by the addon, shared
 * memory, or plain memory in tests. Nothing here waits, allocates or fails.
 */
import {
  AT,
  BLOCK_BYTES,
  BLOCK_HEAD_BYTES,
  BLOCK_MAGIC,
  PIECE_BYTES,
  SUM_FROM,
} from './flight-format.js';

export type Checksum = (bytes: Uint8Array) => number;

const encoder = new TextEncoder();
// V8 reads an imported constant anew at each use (a cell, a check that it is set); one of this module is part of the code. For what is
// in the way of each write.
const USED_AT = AT.used;

/** LEB128 of `value` at m[at ...]; where it ends. */
function put(m: Uint8Array, at: number, value: number): number {
  if (value < 128) {
    m[at] = value;
    return at + 1;
  }
  if (value < 16384) {
    m[at] = (value & 127) | 128;
    m[at + 1] = value >>> 7;
    return at + 2;
  }
  return putLong(m, at, value);
}

function putLong(m: Uint8Array, at: number, value: number): number {
  let to = at;
  let x = value;
  while (x >= 0x80000000) {
    m[to++] = (x % 128) | 128;
    x = Math.floor(x / 128);
  }
  while (x > 127) {
    m[to++] = (x & 127) | 128;
    x >>>= 7;
  }
  m[to++] = x;
  return to;
}

/** Most bytes of a record of `put2` or `put5`: a kind and numbers. */
export const SMALL_RECORD_BYTES = 48;

export class FlightRing {
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #first: number; // offset of the ring in the memory
  readonly #blocks: number;
  readonly #checksum: Checksum;
  #number = -1; // of the block that is written
  #base = 0; // its offset
  #limit = 0; // and its end
  #at = 0; // the next byte

  constructor(memory: Uint8Array, first: number, blocks: number, checksum: Checksum) {
    this.#memory = memory;
    this.#view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.#first = first;
    this.#blocks = blocks;
    this.#checksum = checksum;
  }

  /** Blocks begun in this life: more than the ring holds means that it has wrapped. */
  get begun(): number {
    return this.#number + 1;
  }

  /** Makes sure that a record of up to `bytes` fits; true when a new block was begun (`begin` is to be called). */
  full(bytes: number): boolean {
    return this.#at + bytes > this.#limit;
  }

  /** The next block. Times: of its beginning. */
  begin(us: number, wallMs: number): void {
    this.seal();
    this.#number++;
    this.#base = this.#first + (this.#number % this.#blocks) * BLOCK_BYTES;
    const view = this.#view;
    // Not a block for anybody who looks meanwhile.
    view.setUint32(this.#base + AT.magic, 0, true);
    view.setUint32(this.#base + AT.number, this.#number, true);
    view.setUint32(this.#base + AT.used, BLOCK_HEAD_BYTES, true);
    view.setUint32(this.#base + AT.sealed, 0, true);
    view.setFloat64(this.#base + AT.us, us, true);
    view.setFloat64(this.#base + AT.wall, wallMs, true);
    view.setUint32(this.#base + AT.magic, BLOCK_MAGIC, true);
    this.#at = this.#base + BLOCK_HEAD_BYTES;
    this.#limit = this.#base + BLOCK_BYTES;
  }

  /** The record that was written is whole. */
  commit(): void {
    this.#view.setUint32(this.#base + USED_AT, this.#at - this.#base, true);
  }

  /** Checksum over all whole records of the block. */
  seal(): void {
    if (this.#number < 0) return;
    const used = this.#view.getUint32(this.#base + AT.used, true);
    const sum = this.#checksum(this.#memory.subarray(this.#base + SUM_FROM, this.#base + used));
    this.#view.setUint32(this.#base + AT.sum, sum >>> 0, true);
    this.#view.setUint32(this.#base + AT.sealed, used, true);
  }

  // ---- parts of a record

  byte(value: number): void {
    this.#memory[this.#at++] = value;
  }

  /** Any whole number from 0 to 2^53. */
  number(value: number): void {
    this.#at = put(this.#memory, this.#at, value);
  }

  /**
   * A whole record of the kind and two numbers, with room for it: those of the data path are made in one call. Numbers below
   * 2^14 take two bytes even where one would do, so that the common record is two stores without a branch.
   */
  put2(kind: number, a: number, b: number): void {
    const at = this.#at;
    if (a < 16384 && b < 16384) {
      const view = this.#view;
      const first = kind | ((a & 127) << 8) | 0x8000 | ((a >>> 7) << 16) | ((b & 127) << 24);
      view.setUint32(at, first | 0x80000000, true);
      view.setUint8(at + 4, b >>> 7);
      this.#at = at + 5;
    } else {
      const m = this.#memory;
      m[at] = kind;
      this.#at = put(m, put(m, at + 1, a), b);
    }
    this.commit();
  }

  /** A whole record of two numbers, then a count and a few bytes. */
  putBytes(kind: number, a: number, b: number, from: DataView, start: number, end: number): void {
    const at = this.#at;
    const count = end - start;
    if (a < 128 && b < 16384 && count < 128) {
      const view = this.#view;
      const first = kind | (a << 8) | ((b & 127) << 16) | 0x800000 | ((b >>> 7) << 24);
      view.setUint32(at, first, true);
      view.setUint8(at + 4, count);
      this.#at = at + 5;
    } else {
      const m = this.#memory;
      m[at] = kind;
      this.#at = put(m, put(m, put(m, at + 1, a), b), count);
    }
    this.words(from, start, end);
    this.commit();
  }

  put1(kind: number, a: number): void {
    const m = this.#memory;
    const at = this.#at;
    m[at] = kind;
    this.#at = put(m, at + 1, a);
    this.commit();
  }

  /** Of five numbers: what a front end asks. Sectors below 2^28 take four bytes, lengths below 2^14 two. */
  put5(kind: number, a: number, b: number, c: number, d: number, e: number): void {
    const at = this.#at;
    if (a < 128 && b < 128 && c < 128 && d < 0x10000000 && e < 16384) {
      const view = this.#view;
      view.setUint32(at, kind | (a << 8) | (b << 16) | (c << 24), true);
      const low = (d & 127) | ((d & 0x3f80) << 1) | ((d & 0x1fc000) << 2) | ((d & 0xfe00000) << 3);
      view.setUint32(at + 4, low | 0x808080, true);
      view.setUint16(at + 8, (e & 127) | 128 | ((e >>> 7) << 8), true);
      this.#at = at + 10;
    } else {
      const m = this.#memory;
      m[at] = kind;
      this.#at = put(m, put(m, put(m, put(m, put(m, at + 1, a), b), c), d), e);
    }
    this.commit();
  }

  signed(value: number): void {
    this.number(value < 0 ? -2 * value - 1 : 2 * value);
  }

  u32(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  f64(value: number): void {
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  /** At most PIECE_BYTES. */
  bytes(from: Uint8Array, start: number, end: number): void {
    this.#memory.set(from.subarray(start, end), this.#at);
    this.#at += end - start;
  }

  /** As `bytes`, a few of them: no array is made on the way. */
  words(from: DataView, start: number, end: number): void {
    const view = this.#view;
    let at = this.#at;
    let i = start;
    for (; i + 16 <= end; i += 16) {
      view.setUint32(at, from.getUint32(i, true), true);
      view.setUint32(at + 4, from.getUint32(i + 4, true), true);
      view.setUint32(at + 8, from.getUint32(i + 8, true), true);
      view.setUint32(at + 12, from.getUint32(i + 12, true), true);
      at += 16;
    }
    for (; i + 4 <= end; i += 4) {
      view.setUint32(at, from.getUint32(i, true), true);
      at += 4;
    }
    for (; i < end; i++) view.setUint8(at++, from.getUint8(i));
    this.#at = at;
  }

  /** Length and bytes; what is longer than PIECE_BYTES is cut. */
  text(value: string): void {
    const encoded = encoder.encode(value);
    const count = Math.min(encoded.length, PIECE_BYTES);
    this.number(count);
    this.bytes(encoded, 0, count);
  }
}

/** Most bytes that `runs` makes of PIECE_BYTES. */
export const RUNS_BYTES = PIECE_BYTES + 3 * (PIECE_BYTES / 4) + 16;

/**
 * Bytes by runs, into `out`: [count of bytes as they are, the bytes, count of repetitions, the repeated byte] ... A bitmap or
 * an activity log is mostly runs. The result is the end in `out`.
 */
export function encodeRuns(from: Uint8Array, start: number, end: number, out: Uint8Array): number {
  let at = 0;
  const number = (x: number): void => {
    let left = x;
    for (; left > 127; left >>>= 7) out[at++] = (left & 127) | 128;
    out[at++] = left;
  };
  let i = start;
  while (i < end) {
    let plain = i;
    let run = 0;
    while (plain < end) {
      run = 1;
      while (plain + run < end && from[plain + run] === from[plain]) run++;
      if (run >= 8) break;
      plain += run;
      run = 0;
    }
    number(plain - i);
    for (; i < plain; i++) out[at++] = from[i] as number;
    number(run);
    if (run > 0) out[at++] = from[i] as number;
    i += run;
  }
  return at;
}

/** The inverse; null when it is not such an encoding of exactly `count` bytes. */
export function decodeRuns(from: Uint8Array, count: number): Uint8Array | null {
  const out = new Uint8Array(count);
  let at = 0;
  let i = 0;
  const number = (): number => {
    let x = 0;
    for (let shift = 0; i < from.length && shift < 28; shift += 7) {
      const b = from[i++] as number;
      x |= (b & 127) << shift;
      if (b < 128) return x;
    }
    return -1;
  };
  while (i < from.length) {
    const plain = number();
    if (plain < 0 || at + plain > count || i + plain > from.length) return null;
    out.set(from.subarray(i, i + plain), at);
    at += plain;
    i += plain;
    const run = number();
    if (run < 0 || at + run > count || (run > 0 && i >= from.length)) return null;
    if (run > 0) out.fill(from[i++] as number, at, at + run);
    at += run;
  }
  return at === count ? out : null;
}
