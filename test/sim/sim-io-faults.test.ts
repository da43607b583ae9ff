/** What happens to requests of a simulated engine when disks misbehave, and when the process dies at any moment. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { ERRNO } from '../../src/host/errno.js';
import { NodeClock } from '../../src/sim/node-clock.js';
import { SimClock } from '../../src/sim/sim-clock.js';
import { DEFAULT_SIM_DISK, SimDisk } from '../../src/sim/sim-disk.js';
import { SimIo } from '../../src/sim/sim-io.js';
import { SimNet } from '../../src/sim/sim-net.js';

const BLOCK = 4096;

function world(seed: number) {
  const world = new SimClock();
  const node = new NodeClock(world, 20);
  const net = new SimNet(world, new Prng(seed));
  net.addHost('a', { lan: '10.0.0.1' });
  const disk = new SimDisk({ ...DEFAULT_SIM_DISK, sizeBytes: 1 << 20 }, new Prng(seed));
  const disks = new Map([['/dev/disk', disk]]);
  return { world, node, net, disk, disks };
}

/** A process on the node with the disk open. */
function life(w: ReturnType<typeof world>, beforeOperation: () => void = () => {}) {
  const done: string[] = [];
  const clock = w.node.process();
  const io = new SimIo({
    name: 'a',
    clock,
    net: w.net,
    disks: w.disks,
    pool: SMALL_POOL,
    streams: 2,
    beforeOperation: () => beforeOperation(),
  });
  const first = io.register({ ioDone: (index, result) => done.push(`${index} ${result}`) });
  const open = (exclusive = true, path = '/dev/disk'): number => {
    io.openDisk(path, { write: true, exclusive }, first);
    io.submit();
    w.world.runUntil(w.world.nowMs + 50);
    return Number(done.pop()?.slice(2));
  };
  /** A block filled with `byte`, written to block `index`; told as `index`. */
  const write = (handle: number, index: number, byte: number, fua = false): void => {
    const at = io.alloc(BLOCK);
    io.pool.fill(byte, at, at + BLOCK);
    io.writeDisk(handle, index * BLOCK, at, BLOCK, fua, first + index);
  };
  const die = (power: boolean): void => {
    clock.end();
    io.crash(power);
  };
  return { io, clock, first, done, open, write, die };
}

test('a missing disk is ENOENT', (t) => {
  t.is(life(world(1)).open(true, '/dev/missing'), -ERRNO.ENOENT);
});

test('requests complete in the order of their latency, not of their submission', (t) => {
  const orders = new Set<string>();
  for (let seed = 1; seed <= 10; seed++) {
    const w = world(seed);
    const p = life(w);
    const handle = p.open();
    for (const index of [1, 2, 3]) p.write(handle, index, index);
    p.io.submit();
    w.world.runUntilIdle(100);
    t.is(p.done.length, 3);
    orders.add(p.done.join());
  }
  t.true(orders.size > 2);
});

test('a slow disk takes longer; a stuck one does nothing until it goes on', (t) => {
  const w = world(2);
  const p = life(w);
  const handle = p.open();
  w.disk.slowMs = 500;
  p.write(handle, 1, 1);
  p.io.submit();
  w.world.runUntil(w.world.nowMs + 499);
  t.deepEqual(p.done, []);
  w.world.runUntil(w.world.nowMs + 2);
  t.deepEqual(p.done.splice(0), ['1 4096']);
  w.disk.slowMs = 0;

  w.disk.stuck = true;
  for (const index of [2, 3]) p.write(handle, index, index);
  p.io.readDisk(handle, BLOCK, p.io.alloc(BLOCK), BLOCK, p.first + 4);
  p.io.flushDisk(handle, p.first + 5);
  p.io.zeroDisk(handle, 0, BLOCK, true, p.first + 6);
  p.io.submit();
  w.world.runUntil(w.world.nowMs + 60_000);
  t.deepEqual(p.done, []);
  t.is(w.disk.content(2 * BLOCK, 1)[0], 0);
  w.disk.stuck = false;
  t.deepEqual(p.done, []); // in a batch of its own
  w.world.runUntil(w.world.nowMs + 10);
  t.deepEqual(p.done.sort(), ['2 4096', '3 4096', '4 4096', '5 0', '6 0']);
  t.is(w.disk.content(2 * BLOCK, 1)[0], 2);
});

test('while its node stands still a process hears of nothing', (t) => {
  const w = world(3);
  const p = life(w);
  const handle = p.open();
  p.write(handle, 1, 1);
  p.io.submit();
  w.node.pause();
  w.world.runUntil(10_000);
  t.deepEqual(p.done, []);
  w.node.resume();
  w.world.runUntilIdle(100);
  t.deepEqual(p.done, ['1 4096']);
  t.true(p.io.nowMs() >= 10_000);
});

test('killed between any two operations: those before happen, those behind do not, nothing is told', (t) => {
  for (let fatal = 0; fatal <= 6; fatal++) {
    const w = world(4);
    let operations = -1; // the opening
    const p = life(w, () => {
      if (operations++ === fatal) p.die(false);
    });
    const handle = p.open();
    for (const index of [0, 1, 2, 3, 4, 5]) p.write(handle, index, index + 1);
    p.io.submit();
    w.world.runUntilIdle(100);
    t.is(p.io.crashed, fatal < 6);
    for (const index of [0, 1, 2, 3, 4, 5]) {
      t.is(w.disk.content(index * BLOCK, 1)[0], index < fatal ? index + 1 : 0);
    }
    t.is(p.done.length, fatal < 6 ? 0 : 6);
  }
});

test('a process that dies in the middle of a batch is told nothing more of it', (t) => {
  const w = world(5);
  const p = life(w);
  const handle = p.open();
  w.disk.stuck = true;
  for (const index of [1, 2, 3]) p.write(handle, index, index);
  p.io.submit();
  w.world.runUntil(w.world.nowMs + 100);
  let told = 0;
  const other = p.io.register({
    ioDone: () => {
      told++;
      p.die(false);
      // The rest of its turn goes nowhere.
      p.write(handle, 7, 7);
      p.io.submit();
      const at = { family: 'ipv4', host: '10.0.0.1', port: 1 } as const;
      const options = { sendBufferBytes: 0, receiveBufferBytes: 0 };
      t.true(p.io.listen(at, options, { accepted: () => {} }) < 0);
      t.is(
        w.net.tcp.listen('a', '10.0.0.1:1', () => {}),
        0,
      );
    },
  });
  for (const index of [0, 1]) {
    p.io.readDisk(handle, 0, p.io.alloc(BLOCK), BLOCK, other + index);
  }
  p.io.submit();
  w.world.runUntil(w.world.nowMs + 100);
  w.disk.stuck = false;
  w.world.runUntilIdle(100);
  t.is(told, 1);
  t.is(w.disk.content(7 * BLOCK, 1)[0], 0);
});

test('a successor gets a stuck disk for itself only when the writes of the dead are done', (t) => {
  const w = world(6);
  const old = life(w);
  const handle = old.open();
  w.disk.stuck = true;
  old.write(handle, 1, 1);
  old.io.submit();
  w.world.runUntil(w.world.nowMs + 10);
  old.die(false);
  const next = life(w);
  t.is(next.open(), -ERRNO.EBUSY);
  w.disk.stuck = false;
  t.is(w.disk.content(BLOCK, 1)[0], 1);
  t.true(next.open() > 0);
});

test('a power cut in the middle of zeroing leaves any sectors of it, and of what was before', (t) => {
  const kinds = new Set<number>();
  for (let seed = 1; seed <= 40; seed++) {
    const w = world(seed);
    const p = life(w);
    const handle = p.open();
    p.write(handle, 0, 9, true);
    p.io.submit();
    w.world.runUntilIdle(100);
    p.io.discardDisk(handle, 0, BLOCK, p.first + 1);
    p.io.submit();
    p.die(true);
    const sectors = Array.from({ length: 8 }, (_, i) => w.disk.content(i * 512, 1)[0]);
    t.true(sectors.every((byte) => byte === 9 || byte === 0));
    kinds.add(sectors.filter((byte) => byte === 0).length);
  }
  t.true(kinds.has(0) && kinds.has(8) && kinds.size > 4);
});

test('a freed buffer holds noise', (t) => {
  const p = life(world(7));
  const at = p.io.alloc(BLOCK);
  p.io.pool.fill(1, at, at + BLOCK);
  p.io.free(at);
  t.true(p.io.pool.subarray(at, at + BLOCK).every((byte) => byte === 0xdb));
});
