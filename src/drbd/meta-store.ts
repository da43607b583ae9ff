/**
 * Meta-data of one attached volume on its disk: reading at attach, then superblock, bitmap pages and activity log while
 * attached. Layout and codecs are in md/; what goes into them is decided by the volume.
 *
 * Buffers are taken at attach, so that meta-data can be written when no buffer is left for anything else. Writes of one
 * kind are done one at a time; a superblock asked for while one is under way is written once more for all who asked.
 *
 * A bit that is clear on disk says that its block is there after a power cut too. So what cleared bits stand for is made
 * durable before the bitmap that has them clear:
 *
 *     pages copied in memory -> data disk flushed, if bits were cleared since it was last -> the copies written, durably
 *
 * In this order: a bit that is cleared during the flush is not in the copy, and its page is dirty again.
 */
import { AL_BLOCK_BYTES } from '../md/activity-log.js';
import { encodeRing } from '../md/apply-al.js';
import type { Bitmap } from '../md/bitmap.js';
import { type MetaLayout, superblockSector } from '../md/layout.js';
import {
  decodeSuperblock,
  encodeSuperblock,
  SUPERBLOCK_BYTES,
  type Superblock,
} from '../md/superblock.js';
import type { Core } from './core.js';

/** Bitmap is moved in runs of this many bytes. */
const RUN_BYTES = 65536;
const PAGE_BYTES = 4096;
/** And copied out of memory by so many pages, with a flush of the data in front of each part that needs one. */
const PART_PAGES = 256;
const ERASE_SECTORS = 32768; // 16 MiB at a time

type Done = (result: number) => void;

interface BitmapJob {
  readonly bitmap: Bitmap;
  readonly pages: readonly number[] | null; // null: all dirty ones
  readonly flush: boolean; // the data, whatever the bits say
  readonly done: Done;
}

export class MetaStore {
  readonly #core: Core;
  readonly #disk: number; // handle of the meta-data device
  readonly #make: () => Superblock; // what the superblock says now
  readonly #block: number; // buffers, for the time of attachment
  readonly #logBlock: number;
  readonly #run: number;
  #closed = false;
  /** The disk was given up, and may still have its buffers: nothing is composed in them any more. */
  dead = false;
  #asked = 0; // of the meta-data device
  /** Seen waiting, since the disk last ended something (hung-disk.ts); 0: not yet. */
  sinceMs = 0;
  #isAlone = false;
  readonly #wantAlone: ((over: () => void) => void)[] = [];
  #failed: (errno: number) => void = () => {};
  layout: MetaLayout | null = null;

  #superblockWriting = false;
  #superblockWaiters: Done[] = [];
  #superblockWanted = false;

  #bitmapWriting = false;
  readonly #bitmapQueue: BitmapJob[] = [];
  #dataDisk = -1;
  /** Bits were cleared since the data were last flushed. */
  #dataUnflushed = false;
  #part = new Uint8Array(0); // the copied pages

  private constructor(
    core: Core,
    disk: number,
    make: () => Superblock,
    buffers: readonly number[],
  ) {
    this.#core = core;
    this.#disk = disk;
    this.#make = make;
    [this.#block, this.#logBlock, this.#run] = buffers as [number, number, number];
  }

  /** Null when no buffers are left, spare ones included. */
  static create(core: Core, disk: number, make: () => Superblock): MetaStore | null {
    const { port } = core;
    const buffers = [PAGE_BYTES, PAGE_BYTES, RUN_BYTES].map((bytes) => port.alloc(bytes, 'spare'));
    if (buffers.every((at) => at >= 0)) return new MetaStore(core, disk, make, buffers);
    for (const at of buffers) if (at >= 0) port.free(at);
    return null;
  }

  /** Give the buffers back. Nothing may be under way. */
  close(): void {
    this.#closed = true;
    for (const at of [this.#block, this.#logBlock, this.#run]) this.#core.port.free(at);
  }

  /** The disk does not answer and was given up: what is asked from now on fails. */
  abandon(): void {
    this.dead = true;
  }

  /** The disk has something of it. */
  get asked(): boolean {
    return this.#asked > 0;
  }

  #asks(done: Done): number {
    this.#asked++;
    if (this.#asked === 1) this.sinceMs = 0;
    return this.#core.cold((result) => {
      this.#asked--;
      this.sinceMs = 0;
      done(result);
    });
  }

  /** From one of the buffers, unless the disk may have that still. */
  #write(offsetBytes: number, at: number, lengthBytes: number, fua: boolean, done: Done): void {
    const { port } = this.#core;
    const tag = this.#asks(done);
    if (this.dead) port.flushDisk(this.#disk, tag);
    else port.writeDisk(this.#disk, offsetBytes, at, lengthBytes, fua, tag);
  }

  /** Nothing is being written or waiting for it. */
  get idle(): boolean {
    if (this.#isAlone || this.#wantAlone.length > 0) return false;
    return !this.#superblockWriting && !this.#bitmapWriting && this.#bitmapQueue.length === 0;
  }

  // ---- the whole of it to another place (lower-size.ts)

  /**
   * `work` once nothing is being written; until it calls its argument no superblock and no page is, whoever asks. (The log's
   * blocks are held back by LogGate.)
   */
  alone(work: (over: () => void) => void): void {
    this.#wantAlone.push(work);
    this.#goOn();
  }

  #goOn(): void {
    if (this.#isAlone || this.#closed) return;
    const isQuiet = !this.#superblockWriting && !this.#bitmapWriting;
    if (this.#wantAlone.length > 0) {
      if (!isQuiet) return;
      const work = this.#wantAlone.shift();
      this.#isAlone = true;
      work?.(() => {
        this.#isAlone = false;
        this.#goOn();
      });
      return;
    }
    if (this.#superblockWanted && !this.#superblockWriting) this.#startSuperblock();
    if (!this.#bitmapWriting) this.#nextBitmapJob();
  }

  /** The superblock as it is now, in the layout of now, durably. Alone. */
  putSuperblock(done: Done): void {
    const layout = this.layout as MetaLayout;
    if (!this.dead) encodeSuperblock(this.#make(), this.#core.port.pool, this.#block);
    this.#write(layout.superblockSector * 512, this.#block, SUPERBLOCK_BYTES, true, (result) =>
      done(Math.min(result, 0)),
    );
  }

  /** Meta-data that count no more, and their superblock with them. Not durable before `flushMeta`. Alone. */
  eraseArea(sector: number, endSector: number, done: Done): void {
    const sectors = Math.min(endSector - sector, ERASE_SECTORS);
    const tag = this.#asks((result) => {
      if (result < 0 || sector + sectors === endSector) done(Math.min(result, 0));
      else this.eraseArea(sector + sectors, endSector, done);
    });
    this.#core.port.zeroDisk(this.#disk, sector * 512, sectors * 512, false, tag);
  }

  /** The transaction at `logBlockAt`, to a layout that is to be. Not durable before `flushMeta`. */
  putLogBlock(to: MetaLayout, ringBlock: number, done: Done): void {
    const offset = to.alSector * 512 + ringBlock * AL_BLOCK_BYTES;
    this.#write(offset, this.#logBlock, AL_BLOCK_BYTES, false, done);
  }

  /** All of the bitmap, to a layout that is to be; the data that its clear bits stand for are durable before. Alone. */
  putBitmap(bitmap: Bitmap, to: MetaLayout, done: Done): void {
    const copy = bitmap.bytes.slice();
    for (let page = 0; page < bitmap.pages; page++) bitmap.markPageClean(page);
    const finish = (result: number): void => {
      if (result < 0) bitmap.markAllPagesDirty();
      done(Math.min(result, 0));
    };
    this.#flushData(true, (flushed) => {
      if (flushed < 0) finish(flushed);
      else this.#writeFrom(to.bitmapSector, copy, finish, false);
    });
  }

  flushMeta(done: Done): void {
    this.#core.port.flushDisk(this.#disk, this.#asks(done));
  }

  // ---- reading, at attach

  /** The superblock where a device of that kind has it; null: I/O error, or no place for one. */
  readSuperblock(
    index: MetaLayout['index'],
    capacitySectors: number,
    done: (sb: Superblock | null) => void,
  ): void {
    const sector = superblockSector(index, capacitySectors);
    if (sector < 0) {
      done(null);
      return;
    }
    const { port } = this.#core;
    const tag = this.#asks((result) => {
      done(result === SUPERBLOCK_BYTES ? decodeSuperblock(port.pool, this.#block) : null);
    });
    port.readDisk(this.#disk, sector * 512, this.#block, SUPERBLOCK_BYTES, tag);
  }

  /** A stretch of the meta-data device, in runs, into memory. */
  readInto(sector: number, into: Uint8Array, done: Done): void {
    const { port } = this.#core;
    let at = 0;
    const next = (result: number): void => {
      if (result < 0 || at >= into.length) {
        done(Math.min(result, 0));
        return;
      }
      const bytes = Math.min(RUN_BYTES, into.length - at);
      const tag = this.#asks((n) => {
        if (n >= 0) into.set(port.pool.subarray(this.#run, this.#run + bytes), at);
        at += bytes;
        next(n);
      });
      port.readDisk(this.#disk, sector * 512 + at, this.#run, bytes, tag);
    };
    next(0);
  }

  /** Since it is in use: told of every write that failed, whoever asked for it. What is on disk is not known then. */
  onFailure(failed: (errno: number) => void): void {
    this.#failed = failed;
  }

  // ---- superblock

  /** Write the superblock as it is now, durably. */
  writeSuperblock(done: Done = () => {}): void {
    this.#superblockWaiters.push(done);
    this.#superblockWanted = true;
    this.#goOn();
  }

  #startSuperblock(): void {
    const { port } = this.#core;
    const layout = this.layout as MetaLayout;
    const waiters = this.#superblockWaiters.splice(0);
    this.#superblockWanted = false;
    this.#superblockWriting = true;
    if (!this.dead) encodeSuperblock(this.#make(), port.pool, this.#block);
    const offset = layout.superblockSector * 512;
    this.#write(offset, this.#block, SUPERBLOCK_BYTES, true, (result) => {
      this.#superblockWriting = false;
      this.#goOn();
      if (result < 0) this.#failed(-result);
      for (const done of waiters) done(Math.min(result, 0));
    });
  }

  // ---- activity log

  /** The transaction block's buffer, to be filled before `writeLogBlock`. */
  get logBlockAt(): number {
    return this.#logBlock;
  }

  /** Write the transaction at `logBlockAt` to a block of the ring, durably. */
  writeLogBlock(ringBlock: number, done: Done): void {
    const offset = (this.layout as MetaLayout).alSector * 512 + ringBlock * AL_BLOCK_BYTES;
    this.#write(offset, this.#logBlock, AL_BLOCK_BYTES, true, done);
  }

  /** A ring without history, as apply-al leaves it. From the buffer of the bitmap: one after the other. */
  initializeRing(done: Done): void {
    const layout = this.layout as MetaLayout;
    this.alone((over) => {
      this.#writeFrom(layout.alSector, encodeRing(layout.alBlocks), (result) => {
        over();
        done(result);
      });
    });
  }

  // ---- bitmap

  /** Where the blocks are that the bitmap is about: known once the disk is offered. */
  setDataDisk(handle: number): void {
    this.#dataDisk = handle;
  }

  /** Bits were cleared, or data written that must be durable when the bitmap is the next time. */
  dataWritten(): void {
    this.#dataUnflushed = true;
  }

  /**
   * Write the pages given, or all dirty ones (null), durably; the data that clear bits stand for before. `flush`: the
   * data in any case. Pages changed meanwhile are dirty again.
   */
  writeBitmap(
    bitmap: Bitmap,
    pages: readonly number[] | null,
    done: Done = () => {},
    flush = false,
  ): void {
    this.#bitmapQueue.push({ bitmap, pages, done, flush });
    this.#goOn();
  }

  #nextBitmapJob(): void {
    const job = this.#bitmapQueue.shift();
    if (!job) return;
    const { bitmap, done } = job;
    const list = pagesOf(job);
    this.#bitmapWriting = true;
    let from = 0; // the part at hand
    const finish = (result: number): void => {
      if (result < 0) for (const page of list.slice(from)) bitmap.markPageDirty(page);
      this.#bitmapWriting = false;
      if (result < 0) this.#failed(-result);
      done(Math.min(result, 0));
      this.#goOn();
    };
    const part = (result: number): void => {
      const pages = list.slice(from, from + PART_PAGES);
      if (result < 0 || (pages.length === 0 && from > 0)) {
        finish(result);
        return;
      }
      this.#copyPages(bitmap, pages);
      this.#flushData(job.flush && from === 0, (flushed) => {
        if (flushed < 0) finish(flushed);
        else if (pages.length === 0) finish(0);
        else {
          this.#writePages(pages, (written) => {
            if (written >= 0) from += PART_PAGES;
            part(written);
          });
        }
      });
    };
    part(0);
  }

  #copyPages(bitmap: Bitmap, pages: readonly number[]): void {
    const bytes = pages.length * PAGE_BYTES;
    if (this.#part.length < bytes) this.#part = new Uint8Array(bytes);
    for (const [i, page] of pages.entries()) {
      // Changed since the list was made: this is newer. And a bitmap that shrank has no such page any more.
      bitmap.markPageClean(page);
      const start = page * PAGE_BYTES;
      this.#part.set(bitmap.bytes.subarray(start, start + PAGE_BYTES), i * PAGE_BYTES);
    }
  }

  #flushData(always: boolean, done: Done): void {
    if (this.#dataDisk < 0 || !(this.#dataUnflushed || always)) {
      done(0);
      return;
    }
    this.#dataUnflushed = false;
    const tag = this.#asks((result) => {
      if (result < 0) this.#dataUnflushed = true;
      done(result);
    });
    this.#core.port.flushDisk(this.#dataDisk, tag);
  }

  /** The copied pages to disk, in runs. */
  #writePages(pages: readonly number[], done: Done): void {
    const { port } = this.#core;
    const fua = pages.length <= 16; // few: each durable by itself; many: one flush at the end
    let i = 0;
    const next = (result: number): void => {
      if (result < 0 || (i >= pages.length && fua)) {
        done(Math.min(result, 0));
        return;
      }
      if (i >= pages.length) {
        port.flushDisk(this.#disk, this.#asks(done));
        return;
      }
      const first = pages[i] as number;
      let count = 1;
      while (pages[i + count] === first + count && (count + 1) * PAGE_BYTES <= RUN_BYTES) count++;
      const at = i * PAGE_BYTES;
      const bytes = count * PAGE_BYTES;
      i += count;
      if (!this.dead) port.pool.set(this.#part.subarray(at, at + bytes), this.#run);
      const offset = (this.layout as MetaLayout).bitmapSector * 512 + first * PAGE_BYTES;
      this.#write(offset, this.#run, bytes, fua, next);
    };
    next(0);
  }

  #writeFrom(sector: number, from: Uint8Array, done: Done, fua = true): void {
    const { port } = this.#core;
    let at = 0;
    const next = (result: number): void => {
      if (result < 0 || at >= from.length) {
        done(Math.min(result, 0));
        return;
      }
      const bytes = Math.min(RUN_BYTES, from.length - at);
      if (!this.dead) port.pool.set(from.subarray(at, at + bytes), this.#run);
      const offset = sector * 512 + at;
      at += bytes;
      this.#write(offset, this.#run, bytes, fua, next);
    };
    next(0);
  }
}

/** What a job writes, ascending; those pages are clean from now on. */
function pagesOf({ bitmap, pages }: BitmapJob): number[] {
  const list: number[] = [];
  if (pages === null) bitmap.takeDirtyPages(list);
  else {
    for (const page of pages) {
      if (!bitmap.isPageDirty(page)) continue;
      bitmap.markPageClean(page);
      list.push(page);
    }
    list.sort((a, b) => a - b);
  }
  return list;
}
