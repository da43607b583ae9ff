/** Errors as the real system makes them, one per code that the shared suite cannot cause. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { ERRNO } from '../../src/host/errno.js';
import { explainDisk, IoError } from '../../src/host/io-error.js';
import { haveIoUring, mountFuse, openDescriptor } from '../../src/real/native-addon.js';
import { openIo } from '../../src/real/open-io.js';
import { Probe, take } from '../host/io-conformance.js';
import { need } from '../support/need.js';
import { realRig } from './real-rig.js';

const run = promisify(execFile);

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-errors-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** An open disk of the engine that this host gives. */
async function opened(t: ExecutionContext, path: string) {
  const { io } = openIo({ engine: 'auto', pool: SMALL_POOL, streams: 4 });
  const rig = await realRig(t, io);
  t.teardown(() => rig.close());
  const probe = new Probe(rig);
  const tag = probe.op();
  io.openDisk(path, { write: true, exclusive: false }, tag);
  const disk = await probe.result(tag);
  if (disk < 0) throw new Error(`open ${path}: ${disk}`);
  return { io, rig, probe, disk };
}

// The kernel refuses a ring to a process without free descriptors: as real a refusal as seccomp's.
const WITHOUT_RING = `
import { openSync } from 'node:fs';
import { openIo } from '${new URL('../../src/real/open-io.js', import.meta.url).href}';
import { haveIoUring } from '${new URL('../../src/real/native-addon.js', import.meta.url).href}';
haveIoUring(); // loads the addon while that still works
const pool = { head: 4, small: 4, medium: 1, large: 1 };
try { for (;;) openSync('/dev/null'); } catch {}
try {
  openIo({ engine: 'native', pool, streams: 0 });
} catch (e) {
  console.log(e.name, e.code, e.message);
}
const opened = openIo({ engine: 'auto', pool, streams: 0 });
console.log(opened.engine, opened.remarks.join());
process.exit(0);
`;

test('NO_IO_URING: native refuses, auto falls back and says why', async (t) => {
  if (!haveIoUring().ok) {
    // Here it is so without any trick.
    const opened = openIo({ engine: 'auto', pool: SMALL_POOL, streams: 0 });
    t.is(opened.engine, 'fallback');
    t.not(opened.remarks.length, 0);
    return;
  }
  const dir = directory(t);
  writeFileSync(join(dir, 'main.mjs'), WITHOUT_RING);
  const script = `ulimit -n 64; exec "$0" "$1"`;
  const { stdout } = await run('bash', ['-c', script, process.execPath, join(dir, 'main.mjs')]);
  t.regex(stdout, /^IoError NO_IO_URING no io_uring here: io_uring_setup: EMFILE\n/);
  t.regex(
    stdout,
    /\nfallback slow I\/O engine over fs and net: no io_uring here: io_uring_setup: EMFILE\n$/,
  );
});

test('ENOSPC: the file system below is full', async (t) => {
  if (!need(t, 'root', 'mount')) return;
  const dir = directory(t);
  const mount = join(dir, 'full');
  mkdirSync(mount);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
  t.teardown(() => execFileSync('umount', ['-l', mount]));
  writeFileSync(join(mount, 'disk'), '');
  truncateSync(join(mount, 'disk'), 4 << 20);
  const { io, rig, probe, disk } = await opened(t, join(mount, 'disk'));
  const at = take(rig, 1 << 20);
  io.pool.fill(1, at, at + (1 << 20));
  for (let i = 0; i < 2; i++) io.writeDisk(disk, i << 20, at, 1 << 20, true, probe.op());
  const results = (await probe.all()).slice(1);
  const failed = results.find((r) => r < 0) ?? 0;
  t.is(failed, -ERRNO.ENOSPC);
  t.is(explainDisk(failed, 1 << 20, 1 << 20, io.diskInfo(disk)).code, 'ENOSPC');
  await rig.close();
});

test('EIO: the kernel says so', async (t) => {
  // Page 0 of a process is not mapped: reading it through /proc is an input/output error.
  const { io, rig, probe, disk } = await opened(t, '/proc/self/mem');
  const tag = probe.op();
  io.readDisk(disk, 0, take(rig, 4096), 4096, tag);
  const result = await probe.result(tag);
  t.is(result, -ERRNO.EIO);
  t.is(explainDisk(result, 0, 4096, null).code, 'EIO');
});

test('DEVICE_GONE: a loop device without its file', async (t) => {
  if (!need(t, 'root', 'loop', 'losetup')) return;
  const dir = directory(t);
  const file = join(dir, 'backing');
  writeFileSync(file, '');
  truncateSync(file, 1 << 20);
  const device = execFileSync('losetup', ['--find', '--show', file], { encoding: 'utf8' }).trim();
  t.teardown(() => execFileSync('losetup', ['-d', device]));
  const { io, rig, probe, disk } = await opened(t, device);
  t.true(io.diskInfo(disk).isBlockDevice);
  t.is(io.diskInfo(disk).sizeBytes, 1 << 20);
  const at = take(rig, 4096);
  const whole = probe.op();
  io.writeDisk(disk, 0, at, 4096, true, whole);
  t.is(await probe.result(whole), 4096);
  truncateSync(file, 0);
  execFileSync('losetup', ['-c', device]);
  for (const kind of ['read', 'write'] as const) {
    const tag = probe.op();
    if (kind === 'read') io.readDisk(disk, 0, at, 4096, tag);
    else io.writeDisk(disk, 0, at, 4096, false, tag);
    const result = await probe.result(tag);
    t.true(result < 0, `${kind}: ${result}`);
    t.is(explainDisk(result, 0, 4096, io.diskInfo(disk)).code, 'DEVICE_GONE');
  }
  await rig.close();
});

test('calls of the system fail with the errno name', (t) => {
  if (!need(t, 'io_uring')) return;
  const error = t.throws(() => openDescriptor('/nowhere/at/all', 0), { instanceOf: IoError });
  t.is(error?.message, 'open /nowhere/at/all: ENOENT');
  t.is(error?.errno, ERRNO.ENOENT);
  t.throws(() => mountFuse(-1, '/nowhere/at/all', 'x'), {
    message: /^mount of FUSE on .*: E[A-Z]+$/,
  });
  // Arguments are checked before anything is called.
  t.throws(() => openDescriptor('nul\0byte', 0), { name: 'TypeError' });
});
