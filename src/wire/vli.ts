/**
 * The variable-length code of run lengths in P_COMPRESSED_BITMAP, and the bit streams it is written to and read from.
 *
 * Ten levels; each begins where the one before ends. A code word is (run - first of its level) << prefix bits | prefix,
 * least significant bit first. The prefixes are read as a tree: n ones and a zero for levels 1 to 6, six ones and two
 * more bits for 7 to 10. Source: docs/PROTOCOL.md#compressed-bitmap.
 */
import { assert } from '../base/assert.js';

interface Level {
  readonly prefixBits: number;
  readonly prefix: number; // least significant bit is sent first
  readonly dataBits: number;
  readonly first: number; // shortest run of this level
}

export const LEVELS: readonly Level[] = [
  { prefixBits: 1, prefix: 0x00, dataBits: 1, first: 1 },
  { prefixBits: 2, prefix: 0x01, dataBits: 1, first: 3 },
  { prefixBits: 3, prefix: 0x03, dataBits: 2, first: 5 },
  { prefixBits: 4, prefix: 0x07, dataBits: 3, first: 9 },
  { prefixBits: 5, prefix: 0x0f, dataBits: 5, first: 17 },
  { prefixBits: 6, prefix: 0x1f, dataBits: 8, first: 49 },
  { prefixBits: 8, prefix: 0x3f, dataBits: 13, first: 305 },
  { prefixBits: 8, prefix: 0x7f, dataBits: 21, first: 8497 },
  { prefixBits: 8, prefix: 0xbf, dataBits: 34, first: 2105649 },
  // 56 bits of data: runs above 2^53 - 1 are refused, no bitmap has so many bits.
  { prefixBits: 8, prefix: 0xff, dataBits: 56, first: 17181974833 },
];

function levelOfRun(run: number): Level {
  let found: Level | undefined;
  for (const level of LEVELS) {
    if (run < level.first) break;
    found = level;
  }
  assert(found !== undefined && Number.isSafeInteger(run), 'a run length is at least 1');
  return found;
}

/** Writes bits into bytes[start, end), least significant bit of each byte first. */
export class BitWriter {
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #endBit: number;
  #bit: number; // next bit, counted from the start of `bytes`

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes.fill(0, start, end);
    this.#start = start;
    this.#endBit = end * 8;
    this.#bit = start * 8;
  }

  /** Bytes begun. */
  get length(): number {
    return Math.ceil(this.#bit / 8) - this.#start;
  }
  /** Bits of the last byte that were not used. */
  get padBits(): number {
    return -this.#bit & 7;
  }

  /** Appends the code word of a run, or returns false, with nothing written, when it does not fit. */
  putRun(run: number): boolean {
    const level = levelOfRun(run);
    if (this.#bit + level.prefixBits + level.dataBits > this.#endBit) return false;
    this.#put(level.prefix, level.prefixBits);
    this.#put(run - level.first, level.dataBits);
    return true;
  }

  #put(value: number, bits: number): void {
    let rest = value; // may be longer than 32 bits: divided, not shifted
    for (let i = 0; i < bits; ) {
      const at = this.#bit >>> 3;
      const shift = this.#bit & 7;
      const take = Math.min(8 - shift, bits - i);
      const part = rest % (1 << take);
      this.#bytes[at] = (this.#bytes[at] ?? 0) | (part << shift);
      rest = (rest - part) / (1 << take);
      this.#bit += take;
      i += take;
    }
  }
}

/** Reads bits from bytes[start, end), of which the last `padBits` bits are not used. */
export class BitReader {
  readonly #bytes: Uint8Array;
  readonly #endBit: number;
  #bit: number;

  constructor(bytes: Uint8Array, start: number, end: number, padBits: number) {
    this.#bytes = bytes;
    this.#endBit = end * 8 - padBits;
    this.#bit = start * 8;
  }

  get atEnd(): boolean {
    return this.#bit >= this.#endBit;
  }

  /** The next run length, or 0 when the bits are no code word, are cut off, or name a run above 2^53. */
  getRun(): number {
    const level = this.#level();
    if (level === null || this.#bit + level.dataBits > this.#endBit) return 0;
    const run = this.#get(level.dataBits) + level.first;
    return Number.isSafeInteger(run) ? run : 0;
  }

  #level(): Level | null {
    for (let ones = 0; ones < 6; ones++) {
      if (this.#bit >= this.#endBit) return null;
      if (this.#get(1) === 0) return LEVELS[ones] ?? null;
    }
    // Six ones: the next two bits tell levels 7 to 10 apart (0x3f, 0x7f, 0xbf, 0xff).
    return this.#bit + 2 > this.#endBit ? null : (LEVELS[6 + this.#get(2)] ?? null);
  }

  #get(bits: number): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < bits; ) {
      const shift = this.#bit & 7;
      const take = Math.min(8 - shift, bits - i);
      const part = ((this.#bytes[this.#bit >>> 3] ?? 0) >>> shift) & ((1 << take) - 1);
      value += part * scale;
      scale *= 1 << take;
      this.#bit += take;
      i += take;
    }
    return value;
  }
}
