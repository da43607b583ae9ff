/** FUSE through the engines: a file of 4 MiB in memory, served to another process. Rules: spec of the device. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { ERRNO } from '../../src/host/errno.js';
import type { FuseOwner, Io } from '../../src/host/io.js';
import { FallbackIo } from '../../src/real/fallback-io.js';
import { mountFuse, openDescriptor, setCloseOnExec, unmount } from '../../src/real/native-addon.js';
import { NativeIo } from '../../src/real/native-io.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const SIZE = 4 << 20;
const O_RDWR = 2;

/** Serves one file from memory, counting which buffers the engine chose. */
class MemoryFile implements FuseOwner {
  readonly data = new Uint8Array(SIZE);
  readonly capacities = new Set<string>();
  endError = -1;
  readonly #io: Io;

  constructor(io: Io) {
    this.#io = io;
  }

  fuseRequest(fuse: number, at: number, lengthBytes: number): void {
    const { pool, poolView: v } = this.#io;
    const h = at - 80;
    const opcode = v.getUint32(h + 4, true);
    const unique = v.getBigUint64(h + 8, true);
    const offset = Number(v.getBigUint64(h + 48, true));
    const size = v.getUint32(h + 56, true);
    if (v.getUint32(h, true) !== lengthBytes) throw new Error('length of a message');
    let body = 0; // bytes after the out-header
    let error = 0;
    const out = this.#io.alloc(1 << 20);
    const b = out; // the body begins at the payload, the out-header right before it
    pool.fill(0, out - 16, out + 200);
    if (opcode === 26) {
      v.setUint32(b, 7, true);
      v.setUint32(b + 4, v.getUint32(h + 44, true), true);
      v.setUint32(b + 12, (1 << 0) | (1 << 5) | (1 << 15) | (1 << 22), true);
      v.setUint16(b + 16, 128, true);
      v.setUint16(b + 18, 96, true);
      v.setUint32(b + 20, 1 << 20, true);
      v.setUint32(b + 24, 1, true);
      v.setUint16(b + 28, 256, true);
      body = 64;
    } else if (opcode === 3) {
      v.setBigUint64(b + 16, 1n, true);
      v.setBigUint64(b + 24, BigInt(SIZE), true);
      v.setUint32(b + 76, 0o100600, true);
      v.setUint32(b + 80, 1, true);
      body = 104;
    } else if (opcode === 14) {
      v.setUint32(b + 8, 1 | 64, true);
      body = 16;
    } else if (opcode === 15) {
      pool.set(this.data.subarray(offset, offset + size), b);
      body = size;
    } else if (opcode === 16) {
      this.data.set(pool.subarray(at, at + size), offset);
      this.capacities.add(`${size}:${this.#io.capacity(at)}`);
      v.setUint32(b, size, true);
      body = 8;
    } else if (opcode !== 20 && opcode !== 25 && opcode !== 18) {
      error = -ERRNO.ENOSYS;
    }
    v.setUint32(out - 16, 16 + body, true);
    v.setInt32(out - 12, error, true);
    v.setBigUint64(out - 8, unique, true);
    if (opcode !== 2 && opcode !== 36 && opcode !== 42) {
      this.#io.fuseReply(fuse, out - 16, 16 + body);
    }
    this.#io.free(out);
    this.#io.fuseFeed(fuse, at);
  }

  fuseEnd(_fuse: number, error: number): void {
    this.endError = error;
  }
}

const CLIENT = `
const fs = require('fs');
const path = process.argv[1];
const fd = fs.openSync(path, 'r+');
for (const [offset, size] of [[0, 4096], [8192, 65536], [1 << 20, 1 << 20], [3 << 20, 12288]]) {
  const data = Buffer.alloc(size);
  for (let i = 0; i < size; i++) data[i] = (i * 7 + offset / 512) & 255;
  if (fs.writeSync(fd, data, 0, size, offset) !== size) throw new Error('short write');
  fs.fsyncSync(fd);
  const back = Buffer.alloc(size);
  if (fs.readSync(fd, back, 0, size, offset) !== size) throw new Error('short read');
  if (!back.equals(data)) throw new Error('differs at ' + offset);
}
fs.closeSync(fd);
`;

async function serve(t: ExecutionContext, io: Io): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-fuse-'));
  const path = join(dir, 'file');
  writeFileSync(path, '');
  const fd = openDescriptor('/dev/fuse', O_RDWR);
  setCloseOnExec(fd);
  mountFuse(fd, path, 'twinbeat-test');
  let mounted = true;
  let destroyed: Promise<void> | null = null;
  t.teardown(async () => {
    if (mounted) unmount(path, { lazy: true });
    rmSync(dir, { recursive: true, force: true });
    destroyed ??= io.destroy();
    await destroyed;
  });
  const file = new MemoryFile(io);
  const fuse = io.attachFuse(fd, file);
  io.onBatchEnd(() => io.submit());
  // Nothing may be read before a buffer is fed; one of each class and a second large one then suffice.
  const fed = [0, 4096, 65536, 1 << 20, 1 << 20].map((bytes) => io.alloc(bytes));
  for (const at of fed) io.fuseFeed(fuse, at);
  io.submit();
  const failed = await new Promise<Error | null>((resolve) => {
    execFile(process.execPath, ['-e', CLIENT, path], { timeout: 20_000 }, (error) =>
      resolve(error),
    );
  });
  t.is(failed, null);
  t.is(file.data[8192 + 5], (5 * 7 + 16) & 255);
  // The client's buffer is not page aligned, so the kernel cuts 1 MiB in two.
  const writes = [...file.capacities].map((c) => c.split(':').map(Number) as [number, number]);
  for (const [size, capacity] of writes) {
    t.is(capacity, [0, 4096, 65536].find((bytes) => bytes >= size) ?? 1 << 20, `${size}`);
  }
  t.true(writes.some(([size]) => size > 1_000_000));
  unmount(path, { lazy: false });
  mounted = false;
  await until(() => file.endError >= 0, 'the end');
  t.is(file.endError, ERRNO.ENODEV);
  io.close(fuse);
  io.submit();
  destroyed = io.destroy();
  await destroyed;
  // Close gave back what was fed.
  const again = Array.from({ length: SMALL_POOL.large }, () => io.alloc(1 << 20));
  t.true(again.every((at) => at >= 0));
}

test.serial('native: a FUSE file; the smallest fed buffer that fits is used', async (t) => {
  if (!need(t, 'root', 'fuse', 'io_uring')) return;
  await serve(t, new NativeIo({ pool: SMALL_POOL, streams: 8 }));
});

test.serial('fallback: a FUSE file; the smallest fed buffer that fits is used', async (t) => {
  if (!need(t, 'root', 'fuse')) return;
  await serve(t, new FallbackIo({ pool: SMALL_POOL, streams: 8 }));
});
