/**
 * What a volatile write cache could still lose: for each write that is not stable yet, what its sectors held before.
 *
 *     oldest                                       newest
 *     [ write 5: before | write 6: before | FUA 7 | write 8: before ]   + the content of now
 *       `-- dropped when a flush has made 5 stable
 *
 * A sector's possible contents after a power cut are the befores of all writes over it since it was stable, and its
 * content of now. So a write costs one copy, a read nothing, and a flush only forgets the front of the list.
 *
 * The cache has a size: what is older is on the platter, as in a disk that is never flushed.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';
import { type DiskContent, SECTOR_BYTES } from './disk-content.js';

const CACHE_BYTES = 8 << 20; // when it is full, the older half is written
const MAX_ENTRIES = 16_384; // FUA writes take no room
/** Longer writes are entered in parts. */
export const ENTRY_BYTES = 1 << 20;

interface Entry {
  readonly order: number; // of the write
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Where the before begins, counted from the first byte ever entered; -1 for a FUA write, which has none. */
  readonly at: number;
}

export class DiskJournal {
  #entries: Entry[] = [];
  #first = 0; // of the entries that count
  #arena = new Uint8Array(65536);
  #base = 0; // `at` of the arena's first byte
  #end = 0; // `at` of the next before

  get isEmpty(): boolean {
    return this.#first === this.#entries.length;
  }

  /** The range is about to be written. */
  enter(order: number, offsetBytes: number, lengthBytes: number, content: DiskContent): void {
    assert(lengthBytes <= ENTRY_BYTES, 'a long write is entered in parts');
    this.#bound();
    this.#reserve(lengthBytes);
    const from = this.#end - this.#base;
    content.read(offsetBytes, this.#arena.subarray(from, from + lengthBytes));
    this.#entries.push({ order, offsetBytes, lengthBytes, at: this.#end });
    this.#end += lengthBytes;
  }

  /** The range was written and is stable (FUA): nothing before can come back. */
  enterStable(order: number, offsetBytes: number, lengthBytes: number): void {
    if (this.isEmpty) return;
    this.#bound();
    this.#entries.push({ order, offsetBytes, lengthBytes, at: -1 });
  }

  /** Everything up to `order` is stable. */
  settle(order: number): void {
    while (!this.isEmpty && (this.#entries[this.#first] as Entry).order <= order) this.#first++;
    if (this.isEmpty) this.clear();
    else if (this.#first > 512 && this.#first * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
  }

  clear(): void {
    this.#entries.length = 0;
    this.#first = 0;
    this.#base = this.#end;
  }

  /** Sectors that a power cut could change. */
  get volatileSectors(): number {
    return this.#versions().size;
  }

  /** What sectors of the range would hold if nothing since they were stable had been written, sector by sector. */
  beforeIn(fromSector: number, endSector: number): Map<number, Uint8Array> {
    const before = new Map<number, Uint8Array>();
    for (let i = this.#first; i < this.#entries.length; i++) {
      const entry = this.#entries[i] as Entry;
      const from = entry.offsetBytes / SECTOR_BYTES;
      const end = Math.min(endSector, from + entry.lengthBytes / SECTOR_BYTES);
      for (let sector = Math.max(fromSector, from); sector < end; sector++) {
        if (entry.at < 0) before.delete(sector);
        else if (!before.has(sector)) before.set(sector, this.#before(entry, sector));
      }
    }
    return before;
  }

  /**
   * The power goes: each sector of `content` becomes one of its versions. Which cache it was is drawn, too: one that
   * had written nothing or everything, one that wrote in order, or (half of the time) one that wrote as it liked.
   */
  powerCut(content: DiskContent, random: Prng): void {
    const kind = ['lost', 'kept', 'in order', 'any', 'any', 'any'][random.below(6)];
    const first = this.isEmpty ? 0 : (this.#entries[this.#first] as Entry).order;
    const last = this.isEmpty ? 0 : (this.#entries.at(-1) as Entry).order;
    const kept = first - 1 + random.below(last - first + 2); // writes up to this one, when in order
    for (const [sector, versions] of this.#versions()) {
      let version = versions.length; // that of now
      if (kind === 'lost') version = 0;
      else if (kind === 'any') version = random.below(versions.length + 1);
      else if (kind === 'in order') {
        const lost = versions.findIndex((entry) => entry.order > kept);
        if (lost >= 0) version = lost;
      }
      const entry = versions[version];
      if (entry) content.write(sector * SECTOR_BYTES, this.#before(entry, sector));
    }
    this.clear();
  }

  /** Flips bits of one byte in everything that could come back. */
  flip(offsetBytes: number, mask: number): void {
    for (let i = this.#first; i < this.#entries.length; i++) {
      const { offsetBytes: from, lengthBytes, at } = this.#entries[i] as Entry;
      if (at < 0 || offsetBytes < from || offsetBytes >= from + lengthBytes) continue;
      const index = at - this.#base + offsetBytes - from;
      this.#arena[index] = (this.#arena[index] as number) ^ mask;
    }
  }

  // ---- inside

  /** Per sector the writes since it was stable, oldest first. */
  #versions(): Map<number, Entry[]> {
    const bySector = new Map<number, Entry[]>();
    for (let i = this.#first; i < this.#entries.length; i++) {
      const entry = this.#entries[i] as Entry;
      const from = entry.offsetBytes / SECTOR_BYTES;
      for (let sector = from; sector < from + entry.lengthBytes / SECTOR_BYTES; sector++) {
        const versions = bySector.get(sector);
        if (entry.at < 0) bySector.delete(sector);
        else if (versions) versions.push(entry);
        else bySector.set(sector, [entry]);
      }
    }
    return bySector;
  }

  #before(entry: Entry, sector: number): Uint8Array {
    const index = entry.at - this.#base + sector * SECTOR_BYTES - entry.offsetBytes;
    return this.#arena.subarray(index, index + SECTOR_BYTES);
  }

  #bound(): void {
    if (this.#entries.length - this.#first >= MAX_ENTRIES) this.#settleOldest();
  }

  #settleOldest(): void {
    this.settle((this.#entries[this.#first] as Entry).order);
  }

  #reserve(lengthBytes: number): void {
    for (;;) {
      const used = this.#end - this.#base;
      if (used + lengthBytes <= this.#arena.length) return;
      const start = this.#liveStart();
      const live = this.#end - start;
      if (live + lengthBytes <= this.#arena.length / 2) {
        this.#arena.copyWithin(0, start - this.#base, used);
      } else if (this.#arena.length < CACHE_BYTES) {
        const larger = new Uint8Array(this.#arena.length * 2);
        larger.set(this.#arena.subarray(start - this.#base, used));
        this.#arena = larger;
      } else {
        this.#settleOldest();
        continue;
      }
      this.#base = start;
    }
  }

  #liveStart(): number {
    for (let i = this.#first; i < this.#entries.length; i++) {
      const { at } = this.#entries[i] as Entry;
      if (at >= 0) return at;
    }
    return this.#end;
  }
}
