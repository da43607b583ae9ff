/** The FUSE file and the loop device on it, used by real programs. */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { command, succeed } from '../support/command.js';
import { mountNamespace } from '../support/mount-namespace.js';
import { need } from '../support/need.js';
import { PlainNode } from '../support/plain-node.js';

const SIZE = 96 << 20;

for (const engine of ['auto', 'fallback'] as const) {
  test(`ext4 on the device, fio verifies, the checker is content (engine ${engine})`, async (t) => {
    if (!need(t, 'root', 'fuse', 'loop', 'netns', 'mkfs.ext4', 'fio')) return;
    const node = await PlainNode.start(t, { sizeBytes: SIZE, angel: false, engine });
    const mount = join(node.dir, 'mnt');
    mkdirSync(mount);
    const inside = await mountNamespace(t);
    await succeed('mkfs.ext4', '-q', node.device);
    await succeed(...inside, 'mount', node.device, mount);
    for (const direct of ['0', '1']) {
      await succeed(
        ...inside,
        'fio',
        ...[
          '--name=v',
          '--verify_state_save=0',
          `--filename=${mount}/f${direct}`,
          '--size=24m',
          '--rw=randwrite',
        ],
        ...['--bsrange=4k-1m', '--ioengine=libaio', '--iodepth=16', `--direct=${direct}`],
        ...['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--fsync=32'],
      );
    }
    await succeed(...inside, 'fstrim', mount);
    await succeed(...inside, 'umount', mount);
    await succeed('e2fsck', '-fn', node.device);
    t.deepEqual(await node.ask('deactivate'), { answer: 'deactivate', ok: true });
    // What the disk below holds is the file system, without the device.
    await succeed('e2fsck', '-fn', node.disk);
    const stats = await node.ask('stats');
    t.true(Number(stats['flush']) > 0);
    t.is(stats['writers'], 0, 'the loop device gave its open back before deactivate answered');
    await node.ask('shutdown');
  });
}

test('punched holes read as zeroes: the loop driver uses them to write zeroes', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop', 'fallocate', 'blkdiscard')) return;
  const node = await PlainNode.start(t, { sizeBytes: 8 << 20, angel: false, engine: 'auto' });
  await succeed('dd', 'if=/dev/urandom', `of=${node.device}`, 'bs=1M', 'count=8', 'oflag=direct');
  await succeed('fallocate', '-p', '-o', '0', '-l', `${1 << 20}`, node.loop);
  await succeed('blkdiscard', '-z', '-o', `${1 << 20}`, '-l', `${1 << 20}`, node.loop);
  await succeed('blkdiscard', '-o', `${2 << 20}`, '-l', `${1 << 20}`, node.loop);
  const stats = await node.ask('stats');
  t.is(stats['discard'], 0, 'none may leave undefined contents');
  t.is(stats['zero'], 3);
  t.is(stats['unmap'], 2, 'blkdiscard -z asks to keep the blocks');
  const disk = readFileSync(node.disk);
  t.true(disk.subarray(0, 3 << 20).every((byte) => byte === 0));
  t.false(disk.subarray(3 << 20, (3 << 20) + 4096).every((byte) => byte === 0));
});

test('a Secondary refuses opens with the errors of DRBD', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, { sizeBytes: 8 << 20, angel: false, engine: 'auto' });
  await node.ask('deactivate');
  await node.ask('secondary');
  await t.throwsAsync(open(node.device, 'r'), { message: /EMEDIUMTYPE|124|wrong medium type/i });
  await t.throwsAsync(open(node.device, 'r+'), { code: 'EROFS' });
  await node.ask('primary');
  t.regex(String((await node.ask('activate'))['loop']), /^\/dev\/loop\d+$/);
  const handle = await open(node.device, 'r+');
  await handle.close();
});

test('the file itself: end of the device, alignment, truncation', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, { sizeBytes: 1 << 20, angel: false, engine: 'auto' });
  // Another process serves, so waiting here is no deadlock.
  const fd = openSync(node.file, constants.O_RDWR);
  t.teardown(() => closeSync(fd));
  const block = Buffer.alloc(4096, 7);
  t.is(writeSync(fd, block, 0, 4096, (1 << 20) - 4096), 4096);
  t.is(readSync(fd, Buffer.alloc(8192), 0, 8192, (1 << 20) - 4096), 4096, 'clipped at the end');
  t.is(readSync(fd, block, 0, 4096, 1 << 20), 0, 'the end');
  t.throws(() => writeSync(fd, block, 0, 4096, (1 << 20) - 512), { code: 'ENOSPC' });
  t.throws(() => writeSync(fd, block, 0, 100, 0), { code: 'EINVAL' });
  t.throws(() => readSync(fd, block, 0, 512, 100), { code: 'EINVAL' });
  t.throws(() => writeFileSync(node.file, ''), { code: 'EPERM' }, "the size is not the user's");
  const sync = openSync(node.file, constants.O_RDWR | constants.O_DSYNC);
  writeSync(sync, block, 0, 4096, 0);
  closeSync(sync);
  t.true(Number((await node.ask('stats'))['fua']) > 0, 'O_DSYNC is durable before the answer');
});

test('the device grows with the volume', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop', 'blockdev')) return;
  const node = await PlainNode.start(t, { sizeBytes: 16 << 20, angel: false, engine: 'auto' });
  await node.ask(`resize ${8 << 20}`);
  t.is(Number(await succeed('blockdev', '--getsize64', node.device)), 8 << 20);
  await node.ask(`resize ${16 << 20}`);
  t.is(Number(await succeed('blockdev', '--getsize64', node.device)), 16 << 20);
});

test('the status file is rendered at each read and cannot be written', async (t) => {
  if (!need(t, 'root', 'fuse', 'loop')) return;
  const node = await PlainNode.start(t, { sizeBytes: 1 << 20, angel: false, engine: 'auto' });
  t.is(await succeed('cat', node.statusFile), 'minor 0 Primary\n');
  const handle = await open(node.statusFile, 'r');
  t.teardown(() => handle.close());
  await node.ask('deactivate');
  await node.ask('secondary');
  t.is(await succeed('cat', node.statusFile), 'minor 0 Secondary\n');
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(100), 0, 100, 0);
  t.is(buffer.toString('utf8', 0, bytesRead), 'minor 0 Secondary\n', 'an old open sees the new');
  t.not((await command('sh', '-c', `echo x > ${node.statusFile}`)).code, 0);
});
