/** What the samples of `make bench-heartbeat-idle` come to. */
import test from 'ava';
import {
  idleOf,
  idleRatios,
  idleTable,
  type Sample,
  slope,
} from '../../bench/heartbeat-idle-table.js';

const MINUTE_MS = 60_000;

/** Minute by minute: 6 ms of processor, 120 wake-ups, 60 bytes of log; memory as given. */
function samples(memoryKiB: readonly number[]): Sample[] {
  return memoryKiB.map((kiB, n) => ({
    atMs: 5_000 + n * MINUTE_MS,
    processes: 2,
    memoryKiB: n === 1 ? 9 : 300,
    residentKiB: kiB,
    ownKiB: kiB / 2,
    cpuMs: 700 + 6 * n,
    wakeUps: 1000 + 120 * n,
    preempted: 3 * n,
    files: n < 3 ? 20 : 21,
    logBytes: 400 + 60 * n,
    stateBytes: 9000,
  }));
}

test('rates are of the whole time, growth is of the time after it has settled', (t) => {
  const idle = idleOf(samples([1000, 5000, 4000, 4001, 4002, 4003, 4004]), 2 * MINUTE_MS);
  t.is(idle.seconds, 360);
  t.is(idle.processes, 2);
  t.is(idle.cpuPercent, 0.01);
  t.is(idle.wakeUps, 2);
  t.is(idle.preempted, 0.05);
  t.deepEqual([idle.earlyKiB, idle.lateKiB, idle.sharedOutKiB], [4000, 4004, 300]);
  t.is(Math.round(idle.growthKiB), 60, 'a KiB a minute');
  t.is(Math.round(idle.ownGrowthKiB), 30);
  t.deepEqual([idle.files, idle.filesGrown], [21, 1]);
  t.is(Math.round(idle.logBytes), 3600);
  t.is(idle.stateBytes, 0);
});

test('one sample says nothing about a rate', (t) => {
  t.throws(() => idleOf(samples([1000]), 0), { message: /two samples/ });
  t.throws(() => idleOf([], 0), { message: /two samples/ });
});

test('memory that goes up and down in turn does not grow', (t) => {
  t.is(idleOf(samples([50, 90, 50, 90, 50]), 0).growthKiB, 0);
  t.is(slope([]), 0);
  t.is(slope([[1, 7]]), 0);
  t.is(
    slope([
      [0, 3],
      [2, 7],
    ]),
    2,
  );
});

test('a row of the table, and the ratios of both nodes together', (t) => {
  const one = idleOf(samples([2048, 2048, 2048]), 0);
  const row = idleTable([['ours, active', one]]).split('\n')[2];
  t.is(row, '| ours, active | 2 | 0.01 | 2.0 | 2.0 | 2.0 | 0 | 0 | 0.3 | 20 (+0) | 3600 | 0 |');
  const half = { ...one, cpuPercent: 0.005, lateKiB: 1024, sharedOutKiB: 100, wakeUps: 4 };
  const ratios = 'CPU 2.00, wake-ups 0.50, resident memory 2.00, shared out 3.00';
  t.is(idleRatios([one, one], [half, half]), ratios);
});
