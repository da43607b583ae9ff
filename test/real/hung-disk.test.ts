/**
 * A real disk that does not answer: a loop device on a file system that is frozen (fsfreeze). Its writes hang in the kernel until
 * the file system is thawed; both engines let it go meanwhile.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { ERRNO } from '../../src/host/errno.js';
import type { Io } from '../../src/host/io.js';
import { FallbackIo } from '../../src/real/fallback-io.js';
import { NativeIo } from '../../src/real/native-io.js';
import { Probe } from '../host/io-conformance.js';
import { need } from '../support/need.js';
import { realRig } from './real-rig.js';

const MIB = 1 << 20;

function out(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8' }).trim();
}

/** A block device that hangs between `freeze` and `thaw`. */
function freezable(t: ExecutionContext) {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-hung-'));
  const image = join(dir, 'image');
  const below = join(dir, 'below');
  let frozen = false;
  let mounted = false;
  let device = '';
  const thaw = (): void => {
    if (frozen) out('fsfreeze', '--unfreeze', below);
    frozen = false;
  };
  t.teardown(() => {
    thaw();
    if (device !== '') out('losetup', '-d', device);
    if (mounted) out('umount', below);
    rmSync(dir, { recursive: true, force: true });
  });
  writeFileSync(image, '');
  truncateSync(image, 32 * MIB);
  out('mkfs.ext4', '-q', image);
  out('mkdir', below);
  out('mount', '-o', 'loop', image, below);
  mounted = true;
  writeFileSync(join(below, 'disk'), new Uint8Array(4 * MIB));
  device = out('losetup', '--find', '--show', join(below, 'disk'));
  const freeze = (): void => {
    out('fsfreeze', '--freeze', below);
    frozen = true;
  };
  return { device, freeze, thaw };
}

const ENGINES: readonly (readonly [string, () => Io])[] = [
  ['native', () => new NativeIo({ pool: SMALL_POOL, streams: 2 })],
  ['fallback', () => new FallbackIo({ pool: SMALL_POOL, streams: 2 })],
];

for (const [name, engine] of ENGINES) {
  test.serial(
    `${name}: a disk that hangs is given up; it keeps its memory and its claim until it has ended`,
    async (t) => {
      const wanted = ['root', 'loop', 'losetup', 'mkfs.ext4', 'fsfreeze'];
      if (!need(t, ...wanted, ...(name === 'native' ? ['io_uring'] : []))) return;
      const hung = freezable(t);
      const io = engine();
      const rig = await realRig(t, io);
      const probe = new Probe(rig);
      const open = async (): Promise<number> => {
        const tag = probe.op();
        io.openDisk(hung.device, { write: true, exclusive: true }, tag);
        return probe.result(tag);
      };
      const disk = await open();
      t.true(disk > 0);
      const at = io.alloc(4096);
      io.pool.fill(1, at, at + 4096);
      const first = probe.op();
      io.writeDisk(disk, 0, at, 4096, true, first);
      t.is(await probe.result(first), 4096);

      hung.freeze();
      io.pool.fill(2, at, at + 4096);
      const [write, back] = [probe.op(), probe.op()];
      io.writeDisk(disk, 4096, at, 4096, true, write);
      const free = io.alloc(4096); // what the next one of this size is
      io.free(free);
      io.abandonDisk(disk, back);
      t.is(await probe.result(write), -ERRNO.ETIMEDOUT);
      io.free(at);
      const next = io.alloc(4096);
      t.not(next, at, 'nothing else is put there');
      const later = probe.op();
      io.flushDisk(disk, later);
      t.is(await probe.result(later), -ERRNO.ETIMEDOUT);
      io.close(disk);
      t.is(await open(), -ERRNO.EBUSY, 'nobody else gets it');

      hung.thaw();
      t.is(await probe.result(back), 0);
      io.free(next);
      let again = await open();
      while (again === -ERRNO.EBUSY) again = await open(); // until the descriptor is closed
      t.true(again > 0);
      t.is(io.alloc(4096), next);
      await rig.close();
    },
  );
}
