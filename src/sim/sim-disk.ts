/**
 * A simulated disk with a volatile write cache.
 *
 *     write -> versions of a sector (volatile) --flush, FUA--> stable --power cut--> any version since, per sector
 *
 * A completed write is seen by reads at once, but after a power cut each sector has, by the seed, its stable content or
 * any of the versions written since: so order is lost and a request of several sectors is torn, as on real disks.
 * Flush makes stable what was completed before it was asked for.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';
import type { DiskInfo } from '../host/io.js';

export const SECTOR_BYTES = 512;
const BLOCK_BYTES = 4096;

export interface SimDiskOptions {
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly canDiscard: boolean;
  readonly discardZeroes: boolean;
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

interface Version {
  readonly order: number;
  readonly bytes: Uint8Array;
}

export class SimDisk {
  readonly options: SimDiskOptions;
  readonly faults: DiskFaults = { readChance: 0, writeChance: 0, flushChance: 0 };
  /** Sector ranges [from, to) that cannot be read, as a bad spot; writing mends them. */
  readonly badSectors = new Set<number>();
  readonly #random: Prng;
  readonly #stable = new Map<number, Uint8Array>(); // block -> 4 KiB; absent is zeroes
  readonly #versions = new Map<number, Version[]>(); // sector -> not yet stable, oldest first
  #order = 0; // of the last completed write
  #sizeBytes: number;

  constructor(options: SimDiskOptions, random: Prng) {
    this.options = options;
    this.#random = random;
    this.#sizeBytes = options.sizeBytes;
  }

  get info(): DiskInfo {
    return {
      sizeBytes: this.#sizeBytes,
      logicalBlockBytes: this.options.logicalBlockBytes,
      physicalBlockBytes: 4096,
      isBlockDevice: true,
      canDiscard: this.options.canDiscard,
      discardZeroes: this.options.canDiscard && this.options.discardZeroes,
    };
  }

  /** A grown (or, for a scenario of disaster, shrunk) device. */
  resize(sizeBytes: number): void {
    assert(sizeBytes % SECTOR_BYTES === 0, 'whole sectors');
    this.#sizeBytes = sizeBytes;
  }

  latency(range: readonly [number, number]): number {
    return range[0] + (this.#random.u32() / 0x100000000) * (range[1] - range[0]);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.#random.chance(probability);
  }

  /** What a read sees now. False when a bad sector is in the range. */
  read(offsetBytes: number, out: Uint8Array): boolean {
    for (let i = 0; i < out.length; i += SECTOR_BYTES) {
      const sector = (offsetBytes + i) / SECTOR_BYTES;
      if (this.badSectors.has(sector)) return false;
      out.set(this.#current(sector), i);
    }
    return true;
  }

  /** The write is complete. `stable`: FUA. */
  write(offsetBytes: number, bytes: Uint8Array, stable: boolean): void {
    this.#order++;
    for (let i = 0; i < bytes.length; i += SECTOR_BYTES) {
      const sector = (offsetBytes + i) / SECTOR_BYTES;
      const copy = bytes.slice(i, i + SECTOR_BYTES);
      this.badSectors.delete(sector);
      if (stable) this.#settle(sector, copy);
      else this.#version(sector, copy);
    }
  }

  /** Asked for: what it will make stable. */
  flushBegin(): number {
    return this.#order;
  }

  /** The flush is complete: all versions up to `order` are stable. */
  flushEnd(order: number): void {
    for (const [sector, versions] of this.#versions) {
      let last = -1;
      for (let i = 0; i < versions.length; i++)
        if ((versions[i] as Version).order <= order) last = i;
      if (last < 0) continue;
      this.#store(sector, (versions[last] as Version).bytes);
      versions.splice(0, last + 1);
      if (versions.length === 0) this.#versions.delete(sector);
    }
  }

  zero(offsetBytes: number, lengthBytes: number): void {
    this.#order++;
    for (let i = 0; i < lengthBytes; i += SECTOR_BYTES) {
      this.#version((offsetBytes + i) / SECTOR_BYTES, new Uint8Array(SECTOR_BYTES));
    }
  }

  /** Contents become zeroes, or noise where the disk does not promise zeroes. */
  discard(offsetBytes: number, lengthBytes: number): void {
    if (this.options.discardZeroes) {
      this.zero(offsetBytes, lengthBytes);
      return;
    }
    this.#order++;
    for (let i = 0; i < lengthBytes; i += SECTOR_BYTES) {
      const noise = new Uint8Array(SECTOR_BYTES).fill(this.#random.below(256));
      this.#version((offsetBytes + i) / SECTOR_BYTES, noise);
    }
  }

  /**
   * The power goes. `inFlight` are writes that were begun and not completed: any of their sectors may have made it.
   * Nothing is volatile afterwards.
   */
  powerCut(
    inFlight: readonly { readonly offsetBytes: number; readonly bytes: Uint8Array }[],
  ): void {
    for (const { offsetBytes, bytes } of inFlight) this.write(offsetBytes, bytes, false);
    for (const [sector, versions] of this.#versions) {
      const kept = this.#random.below(versions.length + 1);
      if (kept > 0) this.#store(sector, (versions[kept - 1] as Version).bytes);
    }
    this.#versions.clear();
  }

  /** The whole content as reads see it, for checkers: a copy. */
  snapshot(offsetBytes: number, lengthBytes: number): Uint8Array {
    const out = new Uint8Array(lengthBytes);
    for (let i = 0; i < lengthBytes; i += SECTOR_BYTES) {
      out.set(this.#current((offsetBytes + i) / SECTOR_BYTES), i);
    }
    return out;
  }

  /** Sectors that a power cut could still change. */
  get volatileSectors(): number {
    return this.#versions.size;
  }

  #current(sector: number): Uint8Array {
    const version = this.#versions.get(sector)?.at(-1);
    if (version) return version.bytes;
    const block = this.#stable.get(Math.floor((sector * SECTOR_BYTES) / BLOCK_BYTES));
    if (!block) return ZERO_SECTOR;
    const within = (sector * SECTOR_BYTES) % BLOCK_BYTES;
    return block.subarray(within, within + SECTOR_BYTES);
  }

  #version(sector: number, bytes: Uint8Array): void {
    const versions = this.#versions.get(sector);
    if (versions) versions.push({ order: this.#order, bytes });
    else this.#versions.set(sector, [{ order: this.#order, bytes }]);
  }

  #settle(sector: number, bytes: Uint8Array): void {
    this.#versions.delete(sector);
    this.#store(sector, bytes);
  }

  #store(sector: number, bytes: Uint8Array): void {
    const index = Math.floor((sector * SECTOR_BYTES) / BLOCK_BYTES);
    let block = this.#stable.get(index);
    if (!block) {
      block = new Uint8Array(BLOCK_BYTES);
      this.#stable.set(index, block);
    }
    block.set(bytes, (sector * SECTOR_BYTES) % BLOCK_BYTES);
  }
}

const ZERO_SECTOR = new Uint8Array(SECTOR_BYTES);
