/**
 * The blocks that a resync could not read or write. Any that is left at its end leaves the target Inconsistent. One that the application
 * has written since is none any more: its bit says so.
 */
import type { Bitmap } from '../md/bitmap.js';

/** Bits that are remembered (64 MiB of data); of what fails beyond, only the number. */
const MAX_BITS = 16384;

export class FailedBlocks {
  readonly #bits = new Set<number>();
  #beyond = 0;
  /** So many have failed; some may have been written since. */
  count = 0;

  clear(): void {
    this.#bits.clear();
    this.#beyond = 0;
    this.count = 0;
  }

  add(sector: number, endSector: number): void {
    const end = Math.ceil(endSector / 8);
    for (let bit = Math.floor(sector / 8); bit < end; bit++) {
      if (this.#bits.size < MAX_BITS) this.#bits.add(bit);
      else if (!this.#bits.has(bit)) this.#beyond++;
    }
    this.count = this.#bits.size + this.#beyond;
  }

  /** Forgets those that are in sync by now; `count` is what is left. */
  recount(bitmap: Bitmap): number {
    for (const bit of this.#bits) if (!bitmap.isSet(bit)) this.#bits.delete(bit);
    this.count = this.#bits.size + this.#beyond;
    return this.count;
  }
}
