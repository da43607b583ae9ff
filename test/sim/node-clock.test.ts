/** The time of a node and of its processes: drift, pauses, wall clock, the end of a process. */
import test from 'ava';
import type { Timers } from '../../src/host/timers.js';
import { NodeClock } from '../../src/sim/node-clock.js';
import { SimClock } from '../../src/sim/sim-clock.js';

test('a node without drift lives in true time; a fast one is early, a slow one late', (t) => {
  const world = new SimClock();
  const seen: string[] = [];
  for (const [name, ppm] of [
    ['true', 0],
    ['fast', 1000],
    ['slow', -1000],
  ] as const) {
    new NodeClock(world, ppm).after(10_000, () => seen.push(`${name} ${world.nowMs.toFixed(1)}`));
  }
  world.runUntilIdle(10);
  t.deepEqual(seen, ['fast 9990.0', 'true 10000.0', 'slow 10010.0']);
});

test('when a timer runs its time has come, and time never goes back', (t) => {
  const world = new SimClock();
  for (const ppm of [-333, 0, 7, 91, 12_345]) {
    const clock = new NodeClock(world, ppm).process();
    let lastMs = clock.nowMs;
    for (let i = 1; i <= 2000; i++) {
      const wantedMs = lastMs + i / 7;
      let ran = false;
      clock.at(wantedMs, () => {
        ran = true;
        t.true(clock.nowMs >= wantedMs, `${ppm}: ${clock.nowMs} < ${wantedMs}`);
        t.true(clock.nowMs >= lastMs, `${ppm}: backwards`);
        lastMs = clock.nowMs;
      });
      world.step();
      t.true(ran, `${ppm}: not run`);
    }
  }
});

test('while a node is paused nothing of it runs; then what is overdue runs in order, late', (t) => {
  const world = new SimClock();
  const node = new NodeClock(world, 0);
  const process = node.process();
  const seen: string[] = [];
  const log = (name: string) => () => seen.push(`${name} ${process.nowMs}`);
  process.at(30, log('c'));
  process.at(10, log('a'));
  node.at(20, log('b'));
  const cancelled = process.at(25, log('never'));
  process.at(200, log('d'));
  world.runUntil(5);
  node.pause();
  t.true(node.paused);
  world.runUntil(100);
  t.deepEqual(seen, []);
  t.is(process.nowMs, 100); // time went on
  process.cancel(cancelled); // overdue and held
  node.resume();
  t.deepEqual(seen, []); // not inside the call
  world.runUntilIdle(10);
  t.deepEqual(seen, ['a 100', 'b 100', 'c 100', 'd 200']);
});

test('a node that is paused again before the overdue ran keeps their order', (t) => {
  const world = new SimClock();
  const node = new NodeClock(world, 50);
  const seen: number[] = [];
  for (const i of [1, 2, 3]) node.at(i, () => seen.push(i));
  node.pause();
  world.runUntil(10);
  node.resume();
  node.pause();
  node.at(11, () => seen.push(11));
  world.runUntil(20);
  t.deepEqual(seen, []);
  node.resume();
  world.runUntilIdle(10);
  t.deepEqual(seen, [1, 2, 3, 11]);
});

test('a stopped process stands still alone', (t) => {
  const world = new SimClock();
  const node = new NodeClock(world, 0);
  const [stopped, other] = [node.process(), node.process()];
  const seen: string[] = [];
  stopped.at(10, () => seen.push(`stopped ${stopped.nowMs}`));
  other.at(10, () => seen.push(`other ${other.nowMs}`));
  stopped.pause();
  world.runUntil(50);
  stopped.resume();
  world.runUntilIdle(10);
  t.deepEqual(seen, ['other 10', 'stopped 50']);
});

test('nothing of a dead process runs: neither armed before, nor held, nor armed afterwards', (t) => {
  const world = new SimClock();
  const node = new NodeClock(world, 0);
  const [dead, alive] = [node.process(), node.process()];
  const seen: string[] = [];
  dead.at(10, () => seen.push('held'));
  dead.at(60, () => seen.push('later'));
  alive.at(60, () => seen.push('alive'));
  node.pause();
  world.runUntil(20);
  dead.end();
  dead.cancel(dead.after(1, () => seen.push('after the end')));
  dead.after(1, () => seen.push('after the end'));
  node.resume();
  world.runUntilIdle(10);
  t.true(dead.ended);
  t.deepEqual(seen, ['alive']);
});

test('the wall clock jumps, timers do not', (t) => {
  const world = new SimClock();
  const node = new NodeClock(world, 0);
  const startMs = node.wallMs;
  let ranMs = -1;
  node.after(1000, () => {
    ranMs = world.nowMs;
  });
  world.runUntil(500);
  t.is(node.wallMs - startMs, 500);
  node.jumpWall(-86_400_000);
  t.is(node.wallMs - startMs, 500 - 86_400_000);
  t.is(node.nowMs, 500);
  world.runUntilIdle(10);
  t.is(ranMs, 1000);
  t.is(node.process().wallMs, node.wallMs);
});

test('the host takes the time of a process as its timers', (t) => {
  const world = new SimClock();
  const timers: Timers = new NodeClock(world, 0).process();
  const seen: string[] = [];
  timers.cancel(timers.after(1, () => seen.push('cancelled')));
  timers.after(2, () => seen.push('run'));
  world.runUntilIdle(10);
  t.deepEqual(seen, ['run']);
});

test('runUntil stops at its time, also behind a cancelled timer', (t) => {
  const world = new SimClock();
  let ran = 0;
  world.cancel(world.at(10, () => ran++));
  world.at(1000, () => ran++);
  world.runUntil(20);
  t.is(world.nowMs, 20);
  t.is(ran, 0);
});
