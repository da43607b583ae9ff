/**
 * The disks that a simulated engine has open. A request takes its disk's time, so requests complete in another order than
 * they were made in; a disk that is stuck holds all of them back.
 */

import { assert } from '../base/assert.js';
import { DiskRequests, type Holder } from '../host/disk-requests.js';
import { ERRNO } from '../host/errno.js';
import type { DiskInfo, DiskOpen } from '../host/io.js';
import { checkRequest } from '../host/io-check.js';
import { decodeSuperblock, MAGIC_UNCLEAN, MAGIC_V08, SUPERBLOCK_BYTES } from '../md/superblock.js';
import { sameBytes } from './disk-content.js';
import type { SimDisk } from './sim-disk.js';
import type { SimIoTurns } from './sim-io-turns.js';

/** open(2) of a block device takes so long. */
const OPEN_MS = 0.1;

interface OpenDisk {
  readonly disk: SimDisk;
  readonly path: string;
  readonly write: boolean;
  readonly exclusive: boolean;
  readonly requests: DiskRequests;
  closed: boolean; // and not closed for the disk, which has requests of it
}

interface Asked {
  readonly tag: number;
  readonly handle: number;
  readonly at: number; // the memory that is moved, or -1
  readonly wrong: number; // < 0: the result at once
}

/** A write, or (without bytes) a discard or zeroing, that was begun and is not done. */
interface Change {
  readonly disk: SimDisk;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  bytes: Uint8Array | null;
}

export class SimIoDisks {
  readonly #turns: SimIoTurns;
  readonly #pool: Uint8Array;
  readonly #holder: Holder;
  readonly #open = new Map<number, OpenDisk>();
  readonly #changing = new Set<Change>();

  constructor(turns: SimIoTurns, pool: Uint8Array, holder: Holder) {
    this.#turns = turns;
    this.#pool = pool;
    this.#holder = holder;
  }

  get handles(): Iterable<number> {
    return [...this.#open].flatMap(([handle, o]) => (o.closed ? [] : [handle]));
  }

  /** What was begun happens without this process; when the power goes, by the dice of the disks. */
  crash(power: boolean): void {
    for (const disk of new Set(this.#turns.host.disks.values())) {
      const unfinished = [...this.#changing]
        .filter((c) => c.disk === disk && c.offsetBytes + c.lengthBytes <= disk.sizeBytes)
        .map((c) => ({
          offsetBytes: c.offsetBytes,
          bytes: c.bytes ?? new Uint8Array(c.lengthBytes),
        }));
      if (power) disk.powerCut(unfinished);
      else disk.abandon(unfinished);
    }
    this.#changing.clear();
  }

  open(path: string, how: DiskOpen, tag: number): void {
    const { host } = this.#turns;
    this.#turns.begin(tag, (done) =>
      host.clock.after(OPEN_MS, () => {
        const disk = host.disks.get(path);
        if (!disk) return done(-ERRNO.ENOENT);
        if (how.exclusive && (this.claims(path) || disk.isClaimed)) return done(-ERRNO.EBUSY);
        const handle = this.#turns.newHandle();
        const requests = new DiskRequests(this.#holder);
        this.#open.set(handle, { disk, path, ...how, requests, closed: false });
        done(handle);
      }),
    );
  }

  /** Opened exclusively, and maybe closed since: the kernel closes it when all that it was asked is done. */
  claims(path: string): boolean {
    return [...this.#open.values()].some((o) => o.path === path && o.exclusive);
  }

  /** False when it is no disk of ours. */
  close(handle: number): boolean {
    const open = this.#open.get(handle);
    if (!open) return false;
    open.closed = true;
    if (!open.requests.busy) this.#open.delete(handle);
    return true;
  }

  abandon(handle: number, tag: number): void {
    const open = this.#get(handle);
    this.#turns.begin(tag, (done) =>
      open.requests.abandon(() => {
        if (open.closed) this.#open.delete(handle);
        done(0);
      }),
    );
  }

  info(handle: number): DiskInfo {
    return this.#get(handle).disk.info;
  }

  read(handle: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void {
    const { disk } = this.#get(handle);
    const wrong = checkRequest(disk.options.logicalBlockBytes, offsetBytes, at, lengthBytes);
    this.#request({ tag, handle, at, wrong }, disk.options.latencyMs, null, () => {
      if (offsetBytes + lengthBytes > disk.sizeBytes) return -ERRNO.EIO;
      if (disk.chance(disk.faults.readChance)) return -ERRNO.EIO;
      const out = this.#pool.subarray(at, at + lengthBytes);
      return disk.read(offsetBytes, out) ? lengthBytes : -ERRNO.EIO;
    });
  }

  write(
    handle: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void {
    const { disk, path, requests } = this.#get(handle);
    const wrong = this.#wrongChange(handle, offsetBytes, at, lengthBytes);
    const change: Change = { disk, offsetBytes, lengthBytes, bytes: null };
    const begin = (): void => {
      change.bytes = this.#pool.slice(at, at + lengthBytes);
      this.#changing.add(change);
    };
    this.#request({ tag, handle, at, wrong }, disk.options.latencyMs, begin, () => {
      const bytes = change.bytes as Uint8Array;
      this.#changing.delete(change);
      assert(
        sameBytes(this.#pool.subarray(at, at + lengthBytes), bytes),
        'a range of the pool does not change while the disk has it',
      );
      if (offsetBytes + lengthBytes > disk.sizeBytes) return -ERRNO.ENOSPC;
      if (disk.isFull(offsetBytes, lengthBytes)) return -ERRNO.ENOSPC;
      if (disk.chance(disk.faults.writeChance)) {
        disk.failWrite(offsetBytes, bytes);
        return -ERRNO.EIO;
      }
      disk.write(offsetBytes, bytes, fua);
      if (requests.abandoned && isSuperblock(bytes)) this.#turns.host.metaStoredLate?.(path);
      return lengthBytes;
    });
  }

  flush(handle: number, tag: number): void {
    const { disk } = this.#get(handle);
    let order = 0;
    const begin = (): void => {
      order = disk.flushBegin();
    };
    this.#request({ tag, handle, at: -1, wrong: 0 }, disk.options.flushLatencyMs, begin, () => {
      if (disk.chance(disk.faults.flushChance)) return -ERRNO.EIO;
      disk.flushEnd(order);
      return 0;
    });
  }

  discard(handle: number, offsetBytes: number, lengthBytes: number, tag: number): void {
    const { disk } = this.#get(handle);
    const wrong = this.#wrongChange(handle, offsetBytes, 0, lengthBytes);
    const change: Change = { disk, offsetBytes, lengthBytes, bytes: null };
    const unable = disk.options.canDiscard ? wrong : -ERRNO.EOPNOTSUPP;
    this.#request(
      { tag, handle, at: -1, wrong: unable },
      disk.options.latencyMs,
      this.#begins(change),
      () => {
        this.#changing.delete(change);
        if (offsetBytes + lengthBytes > disk.sizeBytes) return -ERRNO.EIO;
        if (disk.chance(disk.faults.writeChance)) return -ERRNO.EIO;
        disk.discard(offsetBytes, lengthBytes);
        return 0;
      },
    );
  }

  zero(handle: number, offsetBytes: number, lengthBytes: number, tag: number): void {
    const { disk } = this.#get(handle);
    const wrong = this.#wrongChange(handle, offsetBytes, 0, lengthBytes);
    const change: Change = { disk, offsetBytes, lengthBytes, bytes: null };
    this.#request(
      { tag, handle, at: -1, wrong },
      disk.options.latencyMs,
      this.#begins(change),
      () => {
        this.#changing.delete(change);
        if (offsetBytes + lengthBytes > disk.sizeBytes) return -ERRNO.ENOSPC;
        if (disk.isFull(offsetBytes, lengthBytes)) return -ERRNO.ENOSPC;
        if (disk.chance(disk.faults.writeChance)) return -ERRNO.EIO;
        disk.zero(offsetBytes, lengthBytes);
        return 0;
      },
    );
  }

  // ---- inside

  #begins(change: Change): () => void {
    return () => this.#changing.add(change);
  }

  #wrongChange(handle: number, offsetBytes: number, at: number, lengthBytes: number): number {
    const { disk, write } = this.#get(handle);
    if (!write) return -ERRNO.EBADF;
    return checkRequest(disk.options.logicalBlockBytes, offsetBytes, at, lengthBytes);
  }

  /** `finish` says the result when the disk has taken its time. */
  #request(
    { tag, handle, at, wrong }: Asked,
    latencyMs: readonly [number, number],
    begin: (() => void) | null,
    finish: () => number,
  ): void {
    const { disk, requests } = this.#get(handle);
    this.#turns.begin(tag, (done) => {
      if (wrong !== 0) return done(wrong);
      if (requests.abandoned) return done(-ERRNO.ETIMEDOUT);
      begin?.();
      const over = requests.begin(at, done);
      this.#turns.host.clock.after(disk.latency(latencyMs), () => {
        disk.whenAnswering(() => {
          if (!this.#turns.crashed) over(finish());
        });
      });
    });
  }

  #get(handle: number): OpenDisk {
    const disk = this.#open.get(handle);
    assert(disk, 'an open disk');
    return disk;
  }
}

function isSuperblock(bytes: Uint8Array): boolean {
  if (bytes.length !== SUPERBLOCK_BYTES) return false;
  const { magic } = decodeSuperblock(bytes);
  return magic === MAGIC_V08 || magic === MAGIC_UNCLEAN;
}
