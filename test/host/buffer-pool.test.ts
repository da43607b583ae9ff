import test from 'ava';
import fc from 'fast-check';
import type { BufferUse } from '../../src/base/buffer-use.js';
import { CLASS_PAYLOAD_BYTES } from '../../src/base/buffer-use.js';
import { BufferPool, DEFAULT_POOL } from '../../src/host/buffer-pool.js';
import { HEAD_BYTES } from '../../src/host/io.js';
import { holds } from '../support/property.js';

const COUNTS = { head: 3, small: 4, medium: 2, large: 2 };

test('payloads are page aligned, slots do not overlap, and a class does not eat another', (t) => {
  const pool = new BufferPool(COUNTS);
  const ranges: { from: number; to: number }[] = [];
  for (const bytes of CLASS_PAYLOAD_BYTES) {
    for (;;) {
      const at = pool.alloc(bytes);
      if (at < 0) break;
      t.is(at % 4096, 0);
      t.is(pool.capacity(at), bytes);
      ranges.push({ from: at - HEAD_BYTES, to: at + bytes });
    }
  }
  t.is(ranges.length, 11);
  t.is(pool.inUse, 11);
  ranges.sort((a, b) => a.from - b.from);
  let end = 0;
  for (const r of ranges) {
    t.is(r.from, end);
    end = r.to;
  }
  t.is(end, pool.sizeBytes);
});

test('a buffer freed twice, in its middle or outside of the pool is a bug', (t) => {
  const pool = new BufferPool(COUNTS);
  const at = pool.alloc(4096);
  pool.free(at);
  t.throws(() => pool.free(at), { name: 'InvariantError' });
  const other = pool.alloc(65536);
  t.throws(() => pool.free(other + 4096), { name: 'InvariantError' });
  t.throws(() => pool.free(0), { name: 'InvariantError' });
  t.throws(() => pool.free(pool.sizeBytes + HEAD_BYTES), { name: 'InvariantError' });
});

test('the last one freed is the next one given: it is warm', (t) => {
  const pool = new BufferPool(COUNTS);
  const a = pool.alloc(1);
  const b = pool.alloc(4096);
  pool.free(a);
  t.is(pool.alloc(100), a);
  pool.free(b);
  t.is(pool.alloc(4096), b);
});

test('a sixteenth of a class is kept for each use, and spare ones are filled up again before the others get more', (t) => {
  const pool = new BufferPool({ head: 1, small: 32, medium: 16, large: 16 });
  const taken: number[] = [];
  const take = (use: BufferUse, bytes: number): number => {
    let count = 0;
    for (let at = pool.alloc(bytes, use); at >= 0; at = pool.alloc(bytes, use)) {
      taken.push(at);
      count++;
    }
    return count;
  };
  const uses = ['user', 'answer', 'arrival', 'spare'] as const;
  t.deepEqual(
    uses.map((use) => take(use, 4096)),
    [26, 2, 2, 2],
  );
  t.deepEqual(
    uses.map((use) => take(use, 65536)),
    [13, 1, 1, 1],
  );
  t.deepEqual(
    uses.map((use) => take(use, 1 << 20)),
    [14, 1, 1, 0],
  );
  for (let i = 0; i < 6; i++) pool.free(taken[i] as number);
  t.is(pool.available(4096), 6);
  t.deepEqual(
    uses.map((use) => take(use, 4096)),
    [4, 0, 0, 2],
    'two are to be spare again, the others have theirs',
  );
});

test('whoever takes all that he gets, each use has its own', (t) => {
  for (const greedy of ['user', 'answer', 'arrival'] as const) {
    const pool = new BufferPool({ head: 1, small: 32, medium: 16, large: 16 });
    const taken: number[] = [];
    for (let at = pool.alloc(4096, greedy); at >= 0; at = pool.alloc(4096, greedy)) taken.push(at);
    // What is freed and taken again at once changes nothing.
    for (let i = 0; i < 5; i++) {
      pool.free(taken[i] as number);
      taken[i] = pool.alloc(4096, greedy);
      t.true((taken[i] as number) >= 0);
    }
    for (const use of ['answer', 'arrival', 'spare'] as const) {
      if (use !== greedy)
        for (const _ of [1, 2]) t.true(pool.alloc(4096, use) >= 0, `${greedy} ${use}`);
    }
  }
});

test('the default pool takes about 100 MiB', (t) => {
  const mib = new BufferPool(DEFAULT_POOL).sizeBytes / (1 << 20);
  t.true(mib > 90 && mib < 105, `${mib} MiB`);
});

test('property: handed out buffers are distinct and large enough', (t) => {
  holds(
    t,
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(1 << 20))), (steps) => {
      const pool = new BufferPool(COUNTS);
      const held: number[] = [];
      for (const [take, bytes] of steps) {
        if (take) {
          const at = pool.alloc(bytes);
          if (at < 0) continue;
          if (held.includes(at) || pool.capacity(at) < bytes) return false;
          held.push(at);
        } else {
          const at = held.splice(bytes % (held.length || 1), 1)[0];
          if (at !== undefined) pool.free(at);
        }
      }
      return pool.inUse === held.length;
    }),
  );
});
