/**
 * Disks of the fallback engine: Node's `fs`, through the page cache (a Node buffer is not aligned, so O_DIRECT is out
 * of reach). Node has no fallocate, so there is no discard and zeroes are written. Sizes of block devices come from
 * /sys/dev/block, in units of 512 bytes whatever the disk's own block is.
 */
import { close, constants, fdatasync, fstatSync, open, read, readFileSync, write } from 'node:fs';
import { ERRNO, errnoOf } from '../host/errno.js';
import type { DiskInfo, DiskOpen } from '../host/io.js';
import { IoError } from '../host/io-error.js';

const ZEROES = new Uint8Array(1 << 20);

export type Done = (result: number) => void;

function sysNumber(path: string): number | null {
  try {
    return Number(readFileSync(path, 'utf8').trim());
  } catch {
    return null;
  }
}

/** What /sys says of block device major:minor. */
export function blockDeviceInfo(rdev: number): DiskInfo {
  const major = ((rdev >>> 8) & 0xfff) | (Math.floor(rdev / 2 ** 32) & ~0xfff);
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  const dir = `/sys/dev/block/${major}:${minor}`;
  // A partition has no queue of its own: its parent's is one up (the link is resolved by the kernel).
  const queue = (name: string) =>
    sysNumber(`${dir}/queue/${name}`) ?? sysNumber(`${dir}/../queue/${name}`);
  return {
    sizeBytes: (sysNumber(`${dir}/size`) ?? 0) * 512,
    logicalBlockBytes: queue('logical_block_size') ?? 512,
    physicalBlockBytes: queue('physical_block_size') ?? 512,
    isBlockDevice: true,
    canDiscard: false,
    discardZeroes: false,
  };
}

export class FallbackDisk {
  readonly logicalBlockBytes: number;
  readonly #fd: number;
  #inFlight = 0;
  #closing = false;

  private constructor(fd: number) {
    this.#fd = fd;
    this.logicalBlockBytes = this.info().logicalBlockBytes;
  }

  static open(
    path: string,
    how: DiskOpen,
    done: (disk: FallbackDisk | null, error: number) => void,
  ) {
    const flags =
      (how.write ? constants.O_RDWR : constants.O_RDONLY) | (how.exclusive ? constants.O_EXCL : 0);
    open(path, flags, (error, fd) => {
      if (error) return done(null, errnoOf(error));
      const stat = fstatSync(fd);
      if (stat.isFile() || stat.isBlockDevice()) return done(new FallbackDisk(fd), 0);
      close(fd, () => done(null, ERRNO.EINVAL));
    });
  }

  info(): DiskInfo {
    try {
      const stat = fstatSync(this.#fd);
      if (stat.isBlockDevice()) return blockDeviceInfo(stat.rdev);
      return {
        sizeBytes: stat.size,
        logicalBlockBytes: 512,
        physicalBlockBytes: 4096,
        isBlockDevice: false,
        canDiscard: false,
        discardZeroes: false,
      };
    } catch (error) {
      throw new IoError('DEVICE_GONE', 'the disk cannot be examined', errnoOf(error), error);
    }
  }

  /** Reads until all is there; the end of the disk before that is -EIO. */
  read(bytes: Uint8Array, offsetBytes: number, done: Done): void {
    this.#transfer(bytes.length, done, (from, next) =>
      read(this.#fd, bytes, from, bytes.length - from, offsetBytes + from, next),
    );
  }

  write(bytes: Uint8Array, offsetBytes: number, fua: boolean, done: Done): void {
    // One operation from begin to end: closed in between, the flush would go to whoever has the descriptor then, and
    // the descriptor would be closed twice.
    this.#begin();
    const over: Done = (result) => {
      this.#finish();
      done(result);
    };
    const finish: Done = (result) => {
      if (result < 0 || !fua) return over(result);
      this.flush((flushed) => over(flushed < 0 ? flushed : result));
    };
    this.#transfer(bytes.length, finish, (from, next) =>
      write(this.#fd, bytes, from, bytes.length - from, offsetBytes + from, next),
    );
  }

  flush(done: Done): void {
    this.#begin();
    fdatasync(this.#fd, (error) => {
      this.#finish();
      done(error ? -errnoOf(error) : 0);
    });
  }

  zero(offsetBytes: number, lengthBytes: number, done: Done): void {
    this.#begin(); // held open over all its writes
    const step = (from: number): void => {
      const n = Math.min(ZEROES.length, lengthBytes - from);
      this.write(ZEROES.subarray(0, n), offsetBytes + from, false, (result) => {
        if (result >= 0 && from + n < lengthBytes) return step(from + n);
        this.#finish();
        done(Math.min(result, 0));
      });
    };
    step(0);
  }

  /** The descriptor is closed when nothing is in flight any more. */
  close(): void {
    this.#closing = true;
    if (this.#inFlight === 0) close(this.#fd, () => {});
  }

  #begin(): void {
    this.#inFlight++;
  }

  #finish(): void {
    this.#inFlight--;
    if (this.#closing && this.#inFlight === 0) close(this.#fd, () => {});
  }

  #transfer(
    lengthBytes: number,
    done: Done,
    move: (from: number, next: (error: unknown, count: number) => void) => void,
  ): void {
    this.#begin();
    const step = (from: number): void =>
      move(from, (error, count) => {
        const over = error || count === 0 || from + count === lengthBytes;
        if (!over) return step(from + count);
        this.#finish();
        if (error) done(-errnoOf(error));
        else done(from + count === lengthBytes ? lengthBytes : -ERRNO.EIO);
      });
    step(0);
  }
}
