/** Memory of engines goes from run to run, and nothing of one run into another. */
import test from 'ava';
import { releaseMemory } from '../../src/sim/engine-memory.js';
import { SimPair } from '../support/sim-pair.js';

function trouble(pair: SimPair): string {
  pair.upToDate();
  for (let i = 0; i < 8; i++)
    pair.alpha.write(i * 256, new Uint8Array(4096 << (i % 6)).fill(i + 1));
  pair.beta.crash(false);
  pair.beta.attach();
  pair.beta.connect();
  pair.settled();
  return [...pair.alpha.log, ...pair.beta.log, pair.world.nowMs].join('\n');
}

test('memory of a run that is over is used again, and the run is the same as with fresh memory', (t) => {
  const first = new SimPair(5);
  const fresh = trouble(first);
  const { pool } = first.alpha.io;
  pool.fill(0x77); // whatever was left there
  const meanwhile = new SimPair(5);
  t.not(meanwhile.alpha.io.pool, pool); // it is in use
  releaseMemory(first.net);
  const second = new SimPair(5);
  const third = new SimPair(5);
  const pools = [second, third].flatMap((p) => [p.alpha.io.pool, p.beta.io.pool]);
  t.true(pools.includes(pool));
  t.is(new Set(pools).size, 4);
  t.is(trouble(second), fresh);
  t.is(trouble(third), fresh);
});

test('within a run no engine gets the memory of another, not even of a dead one', (t) => {
  const pair = new SimPair(6);
  const before = pair.beta.io.pool;
  pair.beta.crash(false);
  t.not(pair.beta.io.pool, before);
  t.not(pair.beta.io.pool, pair.alpha.io.pool);
});

test('a buffer holds noise when it is given out, and again when it was freed', (t) => {
  const { io } = new SimPair(7).alpha;
  for (const bytes of [0, 4096, 65536, 1 << 20]) {
    const at = io.alloc(bytes);
    t.true(io.pool.subarray(at - 4096, at + bytes).every((byte) => byte === 0xdb));
    io.pool.fill(1, at - 4096, at + bytes);
    io.free(at);
    const end = at + Math.min(bytes, 4096);
    t.true(io.pool.subarray(at - 128, end).every((byte) => byte === 0xdb));
  }
});
