/** A disk that is not waited for any more, in the counts of the engines that are not native. */
import test from 'ava';
import { BufferPool, SMALL_POOL } from '../../src/host/buffer-pool.js';
import { DiskRequests } from '../../src/host/disk-requests.js';
import { ERRNO } from '../../src/host/errno.js';

test('given up: told once, as failed; the buffer is free when it is freed and back, whichever is first', (t) => {
  const pool = new BufferPool(SMALL_POOL);
  const freed = pool.alloc(4096);
  const kept = pool.alloc(65536);
  const disk = new DiskRequests(pool);
  const told: string[] = [];
  const over = [
    disk.begin(freed, (r) => told.push(`first ${r}`)),
    disk.begin(kept + 8192, (r) => told.push(`second ${r}`)),
    disk.begin(-1, (r) => told.push(`flush ${r}`)),
  ];
  let back = 0;
  disk.abandon(() => back++);
  const late = -ERRNO.ETIMEDOUT;
  t.deepEqual(told, [`first ${late}`, `second ${late}`, `flush ${late}`]);
  t.true(disk.abandoned);

  const free = pool.available(4096);
  t.false(pool.free(freed), 'the disk has it');
  t.throws(() => pool.free(freed));
  t.is(pool.available(4096), free);
  over[0]?.(4096);
  t.is(pool.available(4096), free + 1);

  over[1]?.(65536);
  t.true(pool.free(kept), 'back already');
  t.is(back, 0);
  over[2]?.(0);
  t.is(back, 1);
  t.false(disk.busy);
  t.is(told.length, 3);
  t.is(pool.inUse, 0);
});

test('a buffer that two requests have', (t) => {
  const pool = new BufferPool(SMALL_POOL);
  const at = pool.alloc(1 << 20);
  const disk = new DiskRequests(pool);
  const over = [disk.begin(at, () => {}), disk.begin(at + 4096, () => {})];
  disk.abandon(() => {});
  pool.free(at);
  over[0]?.(0);
  t.is(pool.inUse, 1);
  over[1]?.(0);
  t.is(pool.inUse, 0);
});

test('given up with nothing under way', (t) => {
  const disk = new DiskRequests(new BufferPool(SMALL_POOL));
  let back = 0;
  disk.abandon(() => back++);
  t.is(back, 1);
});
