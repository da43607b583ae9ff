/**
 * The bitmap of blocks that are out of sync, in memory in its on-disk form: bit i is bit (i mod 8) of byte (i div 8),
 * and 1 means that the 4 KiB block i may differ from the peer's. Source: docs/METADATA.md section 4.
 *
 * Invariants: bits at and past `bits` are 0; `count` is the number of ones. Every change marks its 4 KiB page of the
 * bitmap dirty; who writes a page calls `markPageClean` *before* copying it out, so that a change during the write
 * marks it again, and `markPageDirty` when the write fails.
 *
 * Rounding always errs towards "out of sync": setting covers every block touched, clearing only blocks covered whole.
 * No call allocates, except `resize` and the constructor.
 */
import { assert } from '../base/assert.js';
import { BLOCK_SECTORS, bitmapBytes, PAGE_BYTES } from './units.js';

const POPCOUNT = Uint8Array.from({ length: 256 }, (_, byte) => {
  let n = 0;
  for (let b = byte; b > 0; b >>= 1) n += b & 1;
  return n;
});

/** Ones of a 32-bit word. The byte order of the machine does not matter for it. */
function ones32(word: number): number {
  let w = word - ((word >>> 1) & 0x55555555);
  w = (w & 0x33333333) + ((w >>> 2) & 0x33333333);
  return Math.imul((w + (w >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

export class Bitmap {
  #bits: number;
  #bytes: Uint8Array;
  #words: Uint32Array; // the same memory, for counting
  #dirty: Uint8Array; // one per page
  #dirtyPages = 0;
  #count = 0;

  constructor(bits: number) {
    assert(Number.isSafeInteger(bits) && bits >= 0, 'a bitmap has a whole number of bits');
    this.#bits = bits;
    this.#bytes = new Uint8Array(bitmapBytes(bits));
    this.#words = new Uint32Array(this.#bytes.buffer);
    this.#dirty = new Uint8Array(this.#bytes.length / PAGE_BYTES);
  }

  get bits(): number {
    return this.#bits;
  }
  /** The on-disk form, whole 4 KiB pages. To be written through this class, or followed by `loaded`. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }
  get pages(): number {
    return this.#dirty.length;
  }
  /** Ones: blocks out of sync. */
  get count(): number {
    return this.#count;
  }

  /** `bytes` was filled from disk: bits past the end are cleared, the rest is counted; all pages are clean. */
  loaded(): void {
    this.#clearPastEnd();
    this.#count = this.countRange(0, this.#bits - 1);
    this.#dirty.fill(0);
    this.#dirtyPages = 0;
  }

  isSet(bit: number): boolean {
    const at = Math.floor(bit / 8);
    return (((this.#bytes[at] ?? 0) >>> (bit - at * 8)) & 1) !== 0;
  }

  /** Sets firstBit...lastBit, both included; how many were 0. */
  setRange(firstBit: number, lastBit: number): number {
    return this.#fillRange(firstBit, lastBit, 0xff);
  }

  /** Clears firstBit...lastBit, both included; how many were 1. */
  clearRange(firstBit: number, lastBit: number): number {
    return this.#fillRange(firstBit, lastBit, 0);
  }

  setAll(): number {
    return this.setRange(0, this.#bits - 1);
  }

  clearAll(): number {
    return this.clearRange(0, this.#bits - 1);
  }

  /** Every block that [sector, sector + sectors) touches becomes out of sync; how many were in sync. */
  setSectors(sector: number, sectors: number): number {
    if (sectors <= 0) return 0;
    const last = Math.floor((sector + sectors - 1) / BLOCK_SECTORS);
    return this.setRange(Math.floor(sector / BLOCK_SECTORS), last);
  }

  /**
   * The blocks that [sector, sector + sectors) covers whole become in sync; how many were not. The last block of a
   * device that does not end on a block border is whole when it is covered up to `deviceSectors`.
   */
  clearSectors(sector: number, sectors: number, deviceSectors: number): number {
    if (sectors <= 0) return 0;
    const end = sector + sectors;
    const first = Math.ceil(sector / BLOCK_SECTORS);
    const last =
      end >= deviceSectors
        ? Math.ceil(deviceSectors / BLOCK_SECTORS) - 1
        : Math.floor(end / BLOCK_SECTORS) - 1;
    return last < first ? 0 : this.clearRange(first, last);
  }

  /** Some block that the range touches is out of sync. */
  anySectors(sector: number, sectors: number): boolean {
    if (sectors <= 0) return false;
    const found = this.nextSet(Math.floor(sector / BLOCK_SECTORS));
    return found >= 0 && found * BLOCK_SECTORS < sector + sectors;
  }

  /** The first one at or after `fromBit`; -1 when there is none. */
  nextSet(fromBit: number): number {
    if (fromBit >= this.#bits || this.#count === 0) return -1;
    const bytes = this.#bytes;
    const length = bytes.length;
    let at = Math.floor(fromBit / 8);
    let byte = (bytes[at] as number) & (0xff << (fromBit - at * 8)) & 0xff;
    while (byte === 0) {
      at++;
      if ((at & 3) === 0) {
        const words = this.#words;
        let w = at / 4;
        while (w < words.length && words[w] === 0) w++;
        at = w * 4;
      }
      if (at >= length) return -1;
      byte = bytes[at] as number;
    }
    return at * 8 + (31 - Math.clz32(byte & -byte));
  }

  /** The first zero at or after `fromBit`, `bits` when there is none. */
  nextClear(fromBit: number): number {
    const bytes = this.#bytes;
    let at = Math.floor(fromBit / 8);
    if (fromBit >= this.#bits) return this.#bits;
    let byte = ~(bytes[at] as number) & (0xff << (fromBit - at * 8)) & 0xff;
    while (byte === 0) {
      at++;
      if ((at & 3) === 0) {
        const words = this.#words;
        let w = at / 4;
        while (w < words.length && words[w] === 0xffffffff) w++;
        at = w * 4;
      }
      if (at >= bytes.length) return this.#bits;
      byte = ~(bytes[at] as number) & 0xff;
    }
    return Math.min(this.#bits, at * 8 + (31 - Math.clz32(byte & -byte)));
  }

  /** Ones in firstBit...lastBit, both included; bits past the end count as 0. */
  countRange(firstBit: number, lastBit: number): number {
    const last = Math.min(lastBit, this.#bits - 1);
    if (last < firstBit) return 0;
    const firstByte = Math.floor(firstBit / 8);
    const lastByte = Math.floor(last / 8);
    const head = (0xff << (firstBit - firstByte * 8)) & 0xff;
    const tail = 0xff >>> (7 - (last - lastByte * 8));
    const bytes = this.#bytes;
    if (firstByte === lastByte) return POPCOUNT[(bytes[firstByte] as number) & head & tail] ?? 0;
    return (
      (POPCOUNT[(bytes[firstByte] as number) & head] ?? 0) +
      this.#countBytes(firstByte + 1, lastByte) +
      (POPCOUNT[(bytes[lastByte] as number) & tail] ?? 0)
    );
  }

  /** A new size. Bits that are added are all set (`setNew`) or all clear; those cut off are forgotten. */
  resize(bits: number, setNew: boolean): void {
    assert(Number.isSafeInteger(bits) && bits >= 0, 'a bitmap has a whole number of bits');
    const old = this.#bits;
    const length = bitmapBytes(bits);
    if (length !== this.#bytes.length) {
      const bytes = new Uint8Array(length);
      bytes.set(this.#bytes.subarray(0, Math.min(length, this.#bytes.length)));
      const dirty = new Uint8Array(length / PAGE_BYTES);
      dirty.set(this.#dirty.subarray(0, Math.min(dirty.length, this.#dirty.length)));
      this.#bytes = bytes;
      this.#words = new Uint32Array(bytes.buffer);
      this.#dirty = dirty;
    }
    this.#bits = bits;
    this.#clearPastEnd();
    this.#count = this.countRange(0, bits - 1);
    if (setNew && bits > old) this.setRange(old, bits - 1);
    this.#dirty.fill(1); // the whole bitmap is written after a change of size
    this.#dirtyPages = this.#dirty.length;
  }

  get dirtyPages(): number {
    return this.#dirtyPages;
  }
  isPageDirty(page: number): boolean {
    return this.#dirty[page] === 1;
  }
  markPageClean(page: number): void {
    if (this.#dirty[page] !== 1) return;
    this.#dirty[page] = 0;
    this.#dirtyPages--;
  }
  markPageDirty(page: number): void {
    if (this.#dirty[page] !== 0) return; // undefined: past the end
    this.#dirty[page] = 1;
    this.#dirtyPages++;
  }
  markAllPagesDirty(): void {
    this.#dirty.fill(1);
    this.#dirtyPages = this.#dirty.length;
  }
  /** The first dirty page at or after `fromPage`; -1 when there is none. */
  nextDirtyPage(fromPage: number): number {
    return this.#dirtyPages === 0 ? -1 : this.#dirty.indexOf(1, fromPage);
  }
  /** Appends the numbers of all dirty pages to `out` and marks them clean; how many. */
  takeDirtyPages(out: number[]): number {
    let taken = 0;
    for (let page = this.nextDirtyPage(0); page >= 0; page = this.nextDirtyPage(page + 1)) {
      this.markPageClean(page);
      out.push(page);
      taken++;
    }
    return taken;
  }

  #fillRange(firstBit: number, lastBit: number, value: 0 | 0xff): number {
    assert(firstBit >= 0 && lastBit < this.#bits, 'bits lie within the bitmap');
    if (lastBit < firstBit) return 0;
    const bytes = this.#bytes;
    const firstByte = Math.floor(firstBit / 8);
    const lastByte = Math.floor(lastBit / 8);
    const head = (0xff << (firstBit - firstByte * 8)) & 0xff;
    const tail = 0xff >>> (7 - (lastBit - lastByte * 8));
    let changed: number;
    if (firstByte === lastByte) {
      changed = this.#fillByte(firstByte, head & tail, value);
    } else {
      changed = this.#fillByte(firstByte, head, value) + this.#fillByte(lastByte, tail, value);
      // Whole bytes between, one page at a time, so that pages without a change stay clean.
      let at = firstByte + 1;
      while (at < lastByte) {
        const stop = Math.min(lastByte, at - (at % PAGE_BYTES) + PAGE_BYTES);
        const ones = this.#countBytes(at, stop);
        const differ = value === 0 ? ones : (stop - at) * 8 - ones;
        if (differ > 0) {
          bytes.fill(value, at, stop);
          this.markPageDirty(Math.floor(at / PAGE_BYTES));
          changed += differ;
        }
        at = stop;
      }
    }
    this.#count += value === 0 ? -changed : changed;
    return changed;
  }

  #fillByte(at: number, mask: number, value: 0 | 0xff): number {
    const old = this.#bytes[at] as number;
    const now = value === 0 ? old & ~mask : old | mask;
    if (now === old) return 0;
    this.#bytes[at] = now;
    this.markPageDirty(Math.floor(at / PAGE_BYTES));
    return POPCOUNT[old ^ now] ?? 0;
  }

  /** Ones of the bytes [start, end). */
  #countBytes(start: number, end: number): number {
    const bytes = this.#bytes;
    let n = 0;
    let at = start;
    for (; at < end && (at & 3) !== 0; at++) n += POPCOUNT[bytes[at] as number] as number;
    const words = this.#words;
    const stop = Math.floor(end / 4);
    for (let w = Math.floor(at / 4); w < stop; w++, at += 4) n += ones32(words[w] as number);
    for (; at < end; at++) n += POPCOUNT[bytes[at] as number] as number;
    return n;
  }

  #clearPastEnd(): void {
    const at = Math.floor(this.#bits / 8);
    if (at >= this.#bytes.length) return;
    this.#bytes[at] = (this.#bytes[at] as number) & (0xff >>> (8 - (this.#bits - at * 8)));
    this.#bytes.fill(0, at + 1);
  }
}
