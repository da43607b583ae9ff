/**
 * A simulated disk with a volatile write cache.
 *
 *     write -> seen by reads, volatile --flush, FUA--> stable --power cut--> any version since, per sector
 *
 * A completed write is seen by reads at once, but after a power cut each sector has, by the seed, its stable content or
 * any of the versions written since: so order is lost and a request of several sectors is torn, as on real disks. That
 * holds for discards and zeroes, too. Flush makes stable what was completed before it was asked for.
 *
 * A disk outlives the processes that use it. What a dead one had begun still happens (`abandon`): at once, or when a disk that
 * was stuck goes on; until then nobody else gets the disk for itself.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';
import type { DiskInfo } from '../host/io.js';
import { DiskContent, type DiskImage, SECTOR_BYTES } from './disk-content.js';
import { DiskJournal, ENTRY_BYTES } from './disk-journal.js';

export interface SimDiskOptions {
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly canDiscard: boolean;
  readonly discardZeroes: boolean;
  readonly discardGranularityBytes?: number;
  readonly maxDiscardBytes?: number;
  /** A request takes a random time in [minMs, maxMs). */
  readonly latencyMs: readonly [number, number];
  readonly flushLatencyMs: readonly [number, number];
}

export const DEFAULT_SIM_DISK: SimDiskOptions = {
  sizeBytes: 64 << 20,
  logicalBlockBytes: 512,
  canDiscard: true,
  discardZeroes: true,
  latencyMs: [0.05, 0.5],
  flushLatencyMs: [0.2, 3],
};

/** Chances of -EIO, changed by the scenario while it runs. */
export interface DiskFaults {
  readChance: number;
  writeChance: number;
  flushChance: number;
}

/** A write that was begun and is not complete. */
export interface UnfinishedWrite {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

export class SimDisk {
  readonly options: SimDiskOptions;
  readonly faults: DiskFaults = { readChance: 0, writeChance: 0, flushChance: 0 };
  /** Sectors that cannot be read, as a bad spot; writing mends them. */
  readonly badSectors = new Set<number>();
  /** Sectors that hold something that nobody wrote, until they are written. */
  readonly corrupted = new Set<number>();
  /** Every request takes so much longer. */
  slowMs = 0;
  /** Nothing can be written here: a thin pool below that is full. */
  full: { readonly fromBytes: number; readonly toBytes: number } | null = null;
  readonly #random: Prng;
  readonly #content = new DiskContent();
  readonly #journal = new DiskJournal();
  #order = 0; // of the last completed write
  #sizeBytes: number;
  /** Of the device when nothing is wrong with it. */
  nominalBytes: number;
  #stuck = false;
  #waiting: (() => void)[] = []; // for a disk that is stuck
  #abandoned: UnfinishedWrite[] = [];
  /** So many have been completed. */
  writes = 0;

  constructor(options: SimDiskOptions, random: Prng) {
    this.options = options;
    this.#random = random;
    this.#sizeBytes = options.sizeBytes;
    this.nominalBytes = options.sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get info(): DiskInfo {
    return {
      sizeBytes: this.#sizeBytes,
      logicalBlockBytes: this.options.logicalBlockBytes,
      physicalBlockBytes: 4096,
      isBlockDevice: true,
      canDiscard: this.options.canDiscard,
      discardZeroes: this.options.canDiscard && this.options.discardZeroes,
      discardGranularityBytes: this.options.discardGranularityBytes ?? 0,
      maxDiscardBytes: this.options.maxDiscardBytes ?? 0,
    };
  }

  /** An administrator has made the device larger. Whatever was there before it was added consists of that byte. */
  grow(sizeBytes: number, leftover = 0): void {
    const endBytes = this.nominalBytes;
    this.nominalBytes = sizeBytes;
    this.resize(sizeBytes);
    this.#content.fill(endBytes, sizeBytes - endBytes, leftover);
  }

  /** A grown (or, for a scenario of disaster, shrunk) device. */
  resize(sizeBytes: number): void {
    assert(sizeBytes % SECTOR_BYTES === 0, 'whole sectors');
    this.#sizeBytes = sizeBytes;
  }

  /** How long a request takes. */
  latency(range: readonly [number, number]): number {
    return range[0] + (this.#random.u32() / 0x100000000) * (range[1] - range[0]) + this.slowMs;
  }

  chance(probability: number): boolean {
    return probability > 0 && this.#random.chance(probability);
  }

  // ---- a disk that does not answer

  get stuck(): boolean {
    return this.#stuck;
  }

  /** While it is stuck nothing that was asked gets done; afterwards everything is, in its order. */
  set stuck(stuck: boolean) {
    this.#stuck = stuck;
    if (stuck) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) run();
  }

  /** Runs `run` now, or when the disk answers again. */
  whenAnswering(run: () => void): void {
    if (this.#stuck) this.#waiting.push(run);
    else run();
  }

  /** A process died: its unfinished writes happen without it, in any order. */
  abandon(writes: readonly UnfinishedWrite[]): void {
    const left = [...writes];
    while (left.length > 0) {
      const [write] = left.splice(this.#random.below(left.length), 1);
      if (write) this.#abandoned.push(write);
    }
    if (this.#abandoned.length > 0) {
      this.whenAnswering(() => {
        for (const { offsetBytes, bytes } of this.#abandoned) this.write(offsetBytes, bytes, false);
        this.#abandoned = [];
      });
    }
  }

  /** Somebody dead still has requests here: the kernel has not closed the disk for it. */
  get isClaimed(): boolean {
    return this.#abandoned.length > 0;
  }

  isFull(offsetBytes: number, lengthBytes: number): boolean {
    const { full } = this;
    return (
      full !== null && offsetBytes < full.toBytes && offsetBytes + lengthBytes > full.fromBytes
    );
  }

  // ---- requests, at the moment when they are done

  /** What a read sees now. False when a bad sector is in the range. */
  read(offsetBytes: number, out: Uint8Array): boolean {
    if (this.badSectors.size > 0) {
      for (let i = 0; i < out.length; i += SECTOR_BYTES) {
        if (this.badSectors.has((offsetBytes + i) / SECTOR_BYTES)) return false;
      }
    }
    this.#content.read(offsetBytes, out);
    return true;
  }

  /** The write is complete. `stable`: FUA. */
  write(offsetBytes: number, bytes: Uint8Array, stable: boolean): void {
    this.writes++;
    this.#begin(offsetBytes, bytes.length, stable);
    this.#content.write(offsetBytes, bytes);
  }

  /** The write failed: nothing of it is there, or any of its sectors. */
  failWrite(offsetBytes: number, bytes: Uint8Array): void {
    if (this.#random.chance(0.5)) return;
    for (let i = 0; i < bytes.length; i += SECTOR_BYTES) {
      if (this.#random.chance(0.5)) continue;
      this.write(offsetBytes + i, bytes.subarray(i, i + SECTOR_BYTES), false);
    }
  }

  /** Asked for: what it will make stable. */
  flushBegin(): number {
    return this.#order;
  }

  /** The flush is complete: all versions up to `order` are stable. */
  flushEnd(order: number): void {
    this.#journal.settle(order);
  }

  zero(offsetBytes: number, lengthBytes: number): void {
    this.#begin(offsetBytes, lengthBytes, false);
    this.#content.fill(offsetBytes, lengthBytes, 0);
  }

  /** Contents become zeroes, or noise where the disk does not promise zeroes. */
  discard(offsetBytes: number, lengthBytes: number): void {
    if (this.options.discardZeroes) {
      this.zero(offsetBytes, lengthBytes);
      return;
    }
    this.#begin(offsetBytes, lengthBytes, false);
    for (let i = 0; i < lengthBytes; i += SECTOR_BYTES) {
      this.#content.fill(offsetBytes + i, SECTOR_BYTES, this.#random.below(256));
    }
  }

  // ---- what happens to disks

  /**
   * The power goes. `inFlight` are writes that were begun and not completed: any of their sectors may have made it.
   * Nothing is volatile afterwards.
   */
  powerCut(inFlight: readonly UnfinishedWrite[]): void {
    const unfinished = [...this.#abandoned, ...inFlight];
    this.#abandoned = [];
    for (const { offsetBytes, bytes } of unfinished) this.write(offsetBytes, bytes, false);
    this.#journal.powerCut(this.#content, this.#random);
  }

  /** What it holds now, for `restore`. */
  snapshot(): DiskImage {
    return this.#content.image(this.#sizeBytes);
  }

  /** Somebody puts an older state back (a snapshot of the storage below, a backup, the wrong disk). */
  restore(image: DiskImage): void {
    this.#journal.clear();
    this.badSectors.clear();
    this.corrupted.clear();
    this.#content.restore(image);
    this.#sizeBytes = image.sizeBytes;
  }

  /** A new disk in its place. */
  blank(): void {
    this.#journal.clear();
    this.badSectors.clear();
    this.corrupted.clear();
    this.#content.clear();
  }

  /** Bits of the sector differ from now on, and nobody is told. */
  corrupt(sector: number): void {
    this.corrupted.add(sector);
    const first = this.#random.below(SECTOR_BYTES);
    for (let i = this.#random.below(8); i >= 0; i--) {
      // 61 and 512 have no common divisor: no byte is flipped back.
      const offsetBytes = sector * SECTOR_BYTES + ((first + 61 * i) % SECTOR_BYTES);
      const mask = 1 + this.#random.below(255);
      this.#content.flip(offsetBytes, mask);
      this.#journal.flip(offsetBytes, mask);
    }
  }

  // ---- for checkers

  /** A copy of what reads would see. */
  content(offsetBytes: number, lengthBytes: number): Uint8Array {
    const out = new Uint8Array(lengthBytes);
    this.#content.read(offsetBytes, out);
    return out;
  }

  /** The first sector of [fromSector, fromSector + sectors) that the two disks do not have in common, or -1. */
  equals(other: SimDisk, fromSector: number, sectors: number): number {
    return this.#content.firstDifference(other.#content, fromSector, sectors);
  }

  /** Sectors of [fromSector, endSector) that a power cut could still change, and the oldest that they could hold then. */
  volatileIn(fromSector: number, endSector: number): Map<number, Uint8Array> {
    return this.#journal.beforeIn(fromSector, endSector);
  }

  /** Sectors that a power cut could still change. */
  get volatileSectors(): number {
    return this.#journal.volatileSectors;
  }

  /** The range is about to change: what it held may come back, unless the change is stable. */
  #begin(offsetBytes: number, lengthBytes: number, stable: boolean): void {
    this.#order++;
    if (this.badSectors.size + this.corrupted.size > 0) {
      for (let i = 0; i < lengthBytes; i += SECTOR_BYTES) {
        this.badSectors.delete((offsetBytes + i) / SECTOR_BYTES);
        this.corrupted.delete((offsetBytes + i) / SECTOR_BYTES);
      }
    }
    if (stable) {
      this.#journal.enterStable(this.#order, offsetBytes, lengthBytes);
      return;
    }
    for (let done = 0; done < lengthBytes; done += ENTRY_BYTES) {
      const n = Math.min(ENTRY_BYTES, lengthBytes - done);
      this.#journal.enter(this.#order, offsetBytes + done, n, this.#content);
    }
  }
}
