/**
 * Our drbdmeta and that of drbd-utils side by side: disks on loop devices, what both say, and meta-data as a running node
 * leaves it when the power fails.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { main } from '../../src/cli/drbdmeta.js';
import { ActivityLog } from '../../src/drbd/activity-log.js';
import { encodeRing } from '../../src/md/apply-al.js';
import { isRefused, layoutOfDevice, type MetaIndex, type MetaLayout } from '../../src/md/layout.js';
import { encodeSuperblock, freshSuperblock, MAGIC_UNCLEAN } from '../../src/md/superblock.js';
import { bitmapBytes, bitsOfSectors } from '../../src/md/units.js';
import { command, succeed } from './command.js';
import { MIB, sparseFile } from './drbdmeta-node.js';
import { memoryWorld } from './memory-world.js';

export const ORACLE_NEEDS = ['root', 'loop', 'drbdmeta', 'losetup'] as const;
export const GIB = 2 ** 30;

export interface Said {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** A directory of disks, each a sparse file on a loop device. */
export class Bench {
  readonly #t: ExecutionContext;
  readonly dir: string;
  readonly #minor: number;

  constructor(t: ExecutionContext, minor: number, parent = tmpdir()) {
    this.#t = t;
    this.dir = mkdtempSync(join(parent, 'tbo-'));
    this.#minor = minor;
    t.teardown(() => {
      rmSync(this.dir, { recursive: true, force: true });
      rmSync(`/var/lib/drbd/drbd-minor-${minor}.lkbd`, { force: true });
      rmSync(`/var/lock/drbd-147-${minor}`, { force: true });
    });
  }

  file(name: string, bytes: number): string {
    return sparseFile(join(this.dir, name), bytes);
  }

  async loop(file: string): Promise<string> {
    const device = (await succeed('losetup', '--find', '--show', file)).trim();
    this.#t.teardown(() => {
      execFileSync('losetup', ['--detach', device]);
    });
    return device;
  }

  theirs(device: string, index: string, ...args: string[]): Promise<Said> {
    return this.original(['--force'], device, index, ...args);
  }

  ours(device: string, index: string, ...args: string[]): Promise<Said> {
    return this.own(['--force'], device, index, ...args);
  }

  async original(
    flags: readonly string[],
    device: string,
    index: string,
    ...args: readonly string[]
  ): Promise<Said> {
    const call = [...flags, String(this.#minor), 'v08', device, index, ...args];
    const r = await command('drbdmeta', ...call);
    return { status: r.code, out: r.stdout, err: r.stderr };
  }

  async own(
    flags: readonly string[],
    device: string,
    index: string,
    ...args: readonly string[]
  ): Promise<Said> {
    const world = memoryWorld({ root: this.dir });
    const call = [...flags, String(this.#minor), 'v08', device, index, ...args];
    return { status: await main(call, world), out: world.stdout(), err: world.stderr() };
  }
}

export function word(index: MetaIndex): string {
  return index === 'flexible' ? 'flex-external' : String(index);
}

export function area(file: string, layout: MetaLayout): Buffer {
  const start = Math.min(layout.superblockSector, layout.bitmapSector) * 512;
  return bytesAt(file, start, Math.min(layout.mdSizeSectors * 512, 64 * MIB));
}

export function bytesAt(file: string, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(file, 'r');
  let done = 0;
  while (done < length) {
    const n = readSync(fd, bytes, done, length - done, at + done);
    if (n === 0) break;
    done += n;
  }
  closeSync(fd);
  return bytes.subarray(0, done);
}

/** Without date and call, name of the device and the flags. */
export function plain(text: string, device: string): string {
  return text
    .replaceAll(device, 'DEVICE')
    .replace(/^# .*\n# .*> .*drbdmeta .*\n/m, '')
    .replace(/flags 0x[0-9A-F]{8}/, 'flags -');
}

export interface Crashed {
  readonly index: MetaIndex;
  readonly bytes: number; // of the meta-data device
  readonly laSizeSectors: number;
  readonly seed: number;
  readonly flags: number;
  readonly striping: readonly [number, number];
  readonly alExtents: number;
  readonly transactions: number;
  readonly tear: boolean; // the newest transaction is half written
}

/** Meta-data as a running node leaves it when the power fails: a random bitmap and a log in use. */
export function crash(file: string, c: Crashed): MetaLayout {
  const random = new Prng(c.seed);
  const [stripes, stripeSize4k] = c.striping;
  const layout = layoutOfDevice(c.index, Math.floor(c.bytes / 512), { stripes, stripeSize4k });
  if (isRefused(layout)) throw new Error(layout.text);
  const fd = openSync(file, 'r+');
  const sb = {
    ...freshSuperblock(layout),
    laSizeSectors: c.laSizeSectors,
    flags: c.flags,
    magic: MAGIC_UNCLEAN,
    alExtents: c.alExtents,
    current: 0x1122334455667788n,
  };
  const block = new Uint8Array(4096);
  encodeSuperblock(sb, block);
  writeSync(fd, block, 0, 4096, layout.superblockSector * 512);
  const bits = bitsOfSectors(c.laSizeSectors);
  const room = Math.min(layout.bitmapSectors * 512, 64 * MIB);
  const bitmap = new Uint8Array(Math.min(bitmapBytes(bits), room));
  const used = Math.min(Math.ceil(bits / 8), bitmap.length);
  for (let i = 0; i < 200; i++) {
    const at = random.below(used);
    const value = random.pick([0, 0xff, random.below(256)]);
    bitmap.fill(value, at, Math.min(used, at + random.below(300)));
  }
  writeSync(fd, bitmap, 0, bitmap.length, layout.bitmapSector * 512);
  const ring = encodeRing(layout.alBlocks);
  writeSync(fd, ring, 0, ring.length, layout.alSector * 512);
  const log = new ActivityLog(c.alExtents, stripes, stripeSize4k);
  const extents = Math.ceil(c.laSizeSectors / 8192);
  for (let n = 0; n < c.transactions; n++) {
    for (let i = random.below(70); i >= 0; i--) {
      const extent = random.below(extents);
      if (log.enter(extent) !== 'full') log.leave(extent);
    }
    const tr = log.prepare(block, 0);
    if (!tr) continue;
    const torn = c.tear && n === c.transactions - 1;
    writeSync(fd, block, 0, torn ? 1536 : 4096, layout.alSector * 512 + tr.ringBlock * 4096);
    log.commit();
  }
  closeSync(fd);
  return layout;
}
