/** The disk part of the suite on a real block device: discard and zeroes take other ways in the kernel than on a file. */
import { execFileSync } from 'node:child_process';
import { truncateSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { NativeIo } from '../../src/real/native-io.js';
import { Probe, type WithRig } from '../host/io-conformance.js';
import { diskConformance } from '../host/io-conformance-disk.js';
import { have, need } from '../support/need.js';
import { realRig } from './real-rig.js';

async function loopRig(t: ExecutionContext, io: NativeIo) {
  const files = await realRig(t, io);
  const backing = new Map<string, string>();
  return {
    ...files,
    disk: (sizeBytes: number) => {
      const file = files.disk(sizeBytes);
      const args = ['--find', '--show', '--direct-io=on', file];
      const device = execFileSync('losetup', args, { encoding: 'utf8' }).trim();
      backing.set(device, file);
      t.teardown(() => execFileSync('losetup', ['-d', device]));
      return device;
    },
    growDisk: (device: string, sizeBytes: number) => {
      const file = backing.get(device);
      if (file === undefined) throw new Error('a device of this rig');
      truncateSync(file, sizeBytes);
      execFileSync('losetup', ['-c', device]);
    },
  };
}

const withRig: WithRig = (run) => async (t) => {
  const rig = await loopRig(t, new NativeIo({ pool: SMALL_POOL, streams: 2 }));
  try {
    await run(t, rig, new Probe(rig));
  } finally {
    await rig.close();
  }
};

if (['root', 'loop', 'losetup', 'io_uring'].every(have)) {
  diskConformance('native on a loop device', withRig);
  test('a loop device says that it discards to zeroes, and is opened O_DIRECT', async (t) => {
    const io = new NativeIo({ pool: SMALL_POOL, streams: 2 });
    const rig = await loopRig(t, io);
    const probe = new Probe(rig);
    const tag = probe.op();
    io.openDisk(rig.disk(1 << 20), { write: true, exclusive: true }, tag);
    const disk = await probe.result(tag);
    const { isBlockDevice, canDiscard, discardZeroes, logicalBlockBytes } = io.diskInfo(disk);
    t.deepEqual(
      { isBlockDevice, canDiscard, discardZeroes, logicalBlockBytes },
      { isBlockDevice: true, canDiscard: true, discardZeroes: true, logicalBlockBytes: 512 },
    );
    t.true(io.isDirect(disk));
    await rig.close();
  });
} else {
  test('the disk part of the suite on a loop device', (t) => {
    need(t, 'root', 'loop', 'losetup', 'io_uring');
  });
}
