/** The part of the suite about disks. */
import test from 'ava';
import { ERRNO } from '../../src/host/errno.js';
import { explainDisk } from '../../src/host/io-error.js';
import { differs, fill, type Probe, type Rig, take, type WithRig } from './io-conformance.js';

const MIB = 1 << 20;

async function opened(rig: Rig, probe: Probe, sizeBytes: number, write = true): Promise<number> {
  const tag = probe.op();
  rig.io.openDisk(rig.disk(sizeBytes), { write, exclusive: false }, tag);
  const disk = await probe.result(tag);
  if (disk < 0) throw new Error(`openDisk: ${disk}`);
  return disk;
}

async function isZero(
  rig: Rig,
  probe: Probe,
  disk: number,
  offsetBytes: number,
  lengthBytes: number,
) {
  const at = take(rig, MIB);
  let zero = true;
  for (let from = 0; from < lengthBytes; from += MIB) {
    const n = Math.min(MIB, lengthBytes - from);
    const tag = probe.op();
    rig.io.pool.fill(0xee, at, at + n);
    rig.io.readDisk(disk, offsetBytes + from, at, n, tag);
    if ((await probe.result(tag)) !== n) throw new Error('read');
    for (let i = 0; i < n; i++) if (rig.io.pool[at + i] !== 0) zero = false;
  }
  rig.io.free(at);
  return zero;
}

export function diskConformance(name: string, withRig: WithRig): void {
  test(
    `${name}: what is written is read, in every size, at every offset`,
    withRig(async (t, rig, probe) => {
      const disk = await opened(rig, probe, 8 * MIB);
      const cases: readonly (readonly [number, number])[] = [
        [0, 512],
        [512, 512],
        [4096, 4096],
        [12288, 65536],
        [MIB, MIB],
        [8 * MIB - 4096, 4096],
      ];
      for (const [i, [offset, length]] of cases.entries()) {
        const at = take(rig, length);
        fill(rig, at, length, i);
        const tag = probe.op();
        rig.io.writeDisk(disk, offset, at, length, i % 2 === 0, tag);
        t.is(await probe.result(tag), length);
        rig.io.free(at);
      }
      for (const [i, [offset, length]] of cases.entries()) {
        const at = take(rig, length);
        rig.io.pool.fill(0, at, at + length);
        const tag = probe.op();
        rig.io.readDisk(disk, offset, at, length, tag);
        t.is(await probe.result(tag), length);
        t.is(differs(rig, at, length, i), -1, `${length} at ${offset}`);
        rig.io.free(at);
      }
    }),
  );

  test(
    `${name}: many requests at once are each done once and do not mix`,
    withRig(async (t, rig, probe) => {
      const disk = await opened(rig, probe, 4 * MIB);
      const buffers = Array.from({ length: 128 }, () => take(rig, 4096));
      const position = (i: number) => ((i * 37) % 128) * 4096;
      for (const [i, at] of buffers.entries()) {
        fill(rig, at, 4096, i);
        rig.io.writeDisk(disk, position(i), at, 4096, i % 3 === 0, probe.op());
      }
      t.true((await probe.all()).slice(1).every((r) => r === 4096));
      for (const [i, at] of buffers.entries()) {
        rig.io.pool.fill(0, at, at + 4096);
        rig.io.readDisk(disk, position(i), at, 4096, probe.op());
      }
      t.true((await probe.all()).slice(1).every((r) => r === 4096));
      t.true(buffers.every((at, i) => differs(rig, at, 4096, i) === -1));
    }),
  );

  test(
    `${name}: flush completes with 0`,
    withRig(async (t, rig, probe) => {
      const disk = await opened(rig, probe, MIB);
      const tag = probe.op();
      rig.io.flushDisk(disk, tag);
      t.is(await probe.result(tag), 0);
    }),
  );

  // Code MISALIGNED.
  test(
    `${name}: a misaligned request is refused with EINVAL and changes nothing`,
    withRig(async (t, rig, probe) => {
      const disk = await opened(rig, probe, MIB);
      const at = take(rig, 4096);
      rig.io.pool.fill(1, at, at + 4096);
      const block = rig.io.diskInfo(disk).logicalBlockBytes;
      const wrong: readonly (readonly [number, number])[] = [
        [1, block],
        [block / 2, block],
        [0, block - 1],
        [0, 0],
      ];
      for (const [offset, length] of wrong) {
        const tag = probe.op();
        rig.io.writeDisk(disk, offset, at, length, false, tag);
        const result = await probe.result(tag);
        t.is(result, -ERRNO.EINVAL, `${length} at ${offset}`);
        if (length > 0) {
          t.is(explainDisk(result, offset, length, rig.io.diskInfo(disk)).code, 'MISALIGNED');
        }
      }
      t.true(await isZero(rig, probe, disk, 0, 65536));
    }),
  );

  // Code SHORT_DEVICE.
  test(
    `${name}: a read over the end is an error, not a short result`,
    withRig(async (t, rig, probe) => {
      const disk = await opened(rig, probe, 65536);
      const at = take(rig, 65536);
      for (const offset of [4096, 61440, 65536, 1 << 20]) {
        const tag = probe.op();
        rig.io.readDisk(disk, offset, at, 65536, tag);
        const result = await probe.result(tag);
        t.is(result, -ERRNO.EIO, `at ${offset}`);
        t.is(explainDisk(result, offset, 65536, rig.io.diskInfo(disk)).code, 'SHORT_DEVICE');
      }
    }),
  );

  test(
    `${name}: a disk opened for reading refuses writes`,
    withRig(async (t, rig, probe) => {
      const disk = await opened(rig, probe, 65536, false);
      const tag = probe.op();
      rig.io.writeDisk(disk, 0, take(rig, 4096), 4096, false, tag);
      t.is(await probe.result(tag), -ERRNO.EBADF);
    }),
  );

  test(
    `${name}: what is not there, or no disk, cannot be opened`,
    withRig(async (t, rig, probe) => {
      const tag = probe.op();
      rig.io.openDisk(`${rig.disk(4096)}-missing`, { write: true, exclusive: false }, tag);
      t.is(await probe.result(tag), -ERRNO.ENOENT);
    }),
  );

  test(
    `${name}: the size is read anew at each call`,
    withRig(async (t, rig, probe) => {
      const path = rig.disk(65536);
      const tag = probe.op();
      rig.io.openDisk(path, { write: true, exclusive: false }, tag);
      const disk = await probe.result(tag);
      t.is(rig.io.diskInfo(disk).sizeBytes, 65536);
      rig.growDisk(path, 131072);
      t.is(rig.io.diskInfo(disk).sizeBytes, 131072);
    }),
  );

  for (const how of ['discard', 'zero', 'zero and unmap'] as const) {
    test(
      `${name}: ${how}: the range reads back as zeroes, its neighbours are untouched`,
      withRig(async (t, rig, probe) => {
        const disk = await opened(rig, probe, 4 * MIB);
        const info = rig.io.diskInfo(disk);
        const at = take(rig, MIB);
        fill(rig, at, MIB, 5);
        for (let i = 0; i < 4; i++) {
          rig.io.writeDisk(disk, i * MIB, at, MIB, false, probe.op());
        }
        await probe.all();
        // Neither end on a border of 4 KiB; longer than any single request.
        const from = MIB - 1024;
        const length = 2 * MIB + 512;
        const tag = probe.op();
        if (how === 'discard') rig.io.discardDisk(disk, from, length, tag);
        else rig.io.zeroDisk(disk, from, length, how === 'zero and unmap', tag);
        const result = await probe.result(tag);
        if (how === 'discard' && !info.canDiscard) {
          t.is(result, -ERRNO.EOPNOTSUPP);
          return;
        }
        t.is(result, 0);
        if (how !== 'discard' || info.discardZeroes) {
          t.true(await isZero(rig, probe, disk, from, length));
        }
        const read = async (offset: number, lengthBytes: number): Promise<number> => {
          const tag = probe.op();
          rig.io.readDisk(disk, offset, at, lengthBytes, tag);
          t.is(await probe.result(tag), lengthBytes);
          return differs(rig, at, lengthBytes, 5, offset % MIB);
        };
        t.is(await read(0, from), -1);
        t.is(await read(from + length, 512), -1);
        t.is(await read(3 * MIB, MIB), -1);
      }),
    );
  }

  test(
    `${name}: a disk closed with requests in flight completes all of them`,
    withRig(async (t, rig, probe) => {
      const disk = await opened(rig, probe, 4 * MIB);
      const buffers = Array.from({ length: 64 }, () => take(rig, 4096));
      for (const [i, at] of buffers.entries()) {
        fill(rig, at, 4096, i);
        rig.io.writeDisk(disk, i * 4096, at, 4096, true, probe.op());
      }
      rig.io.flushDisk(disk, probe.op());
      rig.io.close(disk);
      const results = (await probe.all()).slice(1);
      t.is(results.length, 65);
      t.true(
        results.every((r) => r === 4096 || r === 0 || r === -ERRNO.ECANCELED),
        `${results}`,
      );
    }),
  );
}
