/** A BlockVolume without replication: one open disk of an I/O engine. For tests of the front ends. */
import { assert } from '../../src/base/assert.js';
import type { BlockVolume, FrontEnd } from '../../src/host/block.js';
import { ERRNO } from '../../src/host/errno.js';
import type { Io, IoOwner } from '../../src/host/io.js';

const SLOTS = 512;

export class PlainVolume implements BlockVolume, IoOwner {
  readonly minor: number;
  readonly logicalBlockBytes = 512;
  sizeSectors: number;
  role: 'Primary' | 'Secondary' = 'Primary';
  /** Requests are taken and never answered: as if the disk below hung. */
  stuck = false;
  readers = 0;
  writers = 0;
  /** What the front ends asked for, by kind. */
  readonly asked = { read: 0, write: 0, fua: 0, flush: 0, discard: 0, zero: 0, unmap: 0 };
  readonly #io: Io;
  readonly #disk: number;
  readonly #tag: number;
  readonly #fronts: (FrontEnd | null)[] = new Array<FrontEnd | null>(SLOTS).fill(null);
  readonly #tags = new Int32Array(SLOTS);
  readonly #frees = new Int32Array(SLOTS);
  readonly #free = Array.from({ length: SLOTS }, (_, i) => i);

  constructor(io: Io, disk: number, minor: number) {
    this.#io = io;
    this.#disk = disk;
    this.minor = minor;
    this.sizeSectors = Math.floor(io.diskInfo(disk).sizeBytes / 512);
    this.#tag = io.register(this);
  }

  read(front: FrontEnd, tag: number, sector: number, at: number, lengthBytes: number): void {
    this.asked.read++;
    if (this.stuck) return;
    this.#io.readDisk(this.#disk, sector * 512, at, lengthBytes, this.#take(front, tag, -1));
  }

  write(
    front: FrontEnd,
    tag: number,
    sector: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
  ): void {
    this.asked.write++;
    if (fua) this.asked.fua++;
    const mine = this.#take(front, tag, at);
    this.#io.writeDisk(this.#disk, sector * 512, at, lengthBytes, fua, mine);
  }

  flush(front: FrontEnd, tag: number): void {
    this.asked.flush++;
    this.#io.flushDisk(this.#disk, this.#take(front, tag, -1));
  }

  discard(front: FrontEnd, tag: number, sector: number, lengthSectors: number): void {
    this.asked.discard++;
    this.#zero(front, tag, sector, lengthSectors, true);
  }

  writeZeroes(
    front: FrontEnd,
    tag: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    this.asked.zero++;
    if (mayUnmap) this.asked.unmap++;
    this.#zero(front, tag, sector, lengthSectors, mayUnmap);
  }

  /** As DRBD's: a Secondary is not even read. */
  open(write: boolean): number {
    if (this.role === 'Secondary') return write ? ERRNO.EROFS : ERRNO.EMEDIUMTYPE;
    if (write) this.writers++;
    else this.readers++;
    return 0;
  }

  release(write: boolean): void {
    if (write) this.writers--;
    else this.readers--;
    assert(this.readers >= 0 && this.writers >= 0, 'a release belongs to an open');
  }

  ioDone(index: number, result: number): void {
    const front = this.#fronts[index];
    assert(front, 'a request in work');
    this.#fronts[index] = null;
    this.#free.push(index);
    const at = this.#frees[index] as number;
    if (at >= 0) this.#io.free(at);
    front.blockDone(this.#tags[index] as number, result < 0 ? -result : 0);
  }

  #zero(
    front: FrontEnd,
    tag: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    const mine = this.#take(front, tag, -1);
    this.#io.zeroDisk(this.#disk, sector * 512, lengthSectors * 512, mayUnmap, mine);
  }

  #take(front: FrontEnd, tag: number, freeAt: number): number {
    const index = this.#free.pop();
    assert(index !== undefined, 'a free slot');
    this.#fronts[index] = front;
    this.#tags[index] = tag;
    this.#frees[index] = freeAt;
    return this.#tag + index;
  }
}
