/** The table of `make bench-heartbeat`. */
import test from 'ava';
import { heartbeatTable, median } from '../../bench/heartbeat-table.js';

test('medians', (t) => {
  t.is(median([3]), 3);
  t.is(median([30, 10, 200]), 30, 'by number, not by text');
  t.is(median([4, 1, 2, 3]), 2.5);
});

test('a row: median and worst of the crashes; memory, processor and wake-ups of one node', (t) => {
  const crashes = [
    { detectionMs: 2000, failoverMs: 2100 },
    { detectionMs: 2900, failoverMs: 3500 },
    { detectionMs: 2500, failoverMs: 2600 },
  ];
  const idle = { seconds: 120, memoryKiB: 40 * 1024, cpuMs: 400, wakeUps: 2400 };
  const [, , one, two] = heartbeatTable([
    { name: 'ours', crashes, idle },
    { name: 'theirs', crashes: crashes.slice(0, 1), idle: null },
  ]).split('\n');
  t.is(one, '| ours | 3 | 2.50 | 2.90 | 2.60 | 3.50 | 20.0 | 100 | 10.0 |');
  t.is(two, '| theirs | 1 | 2.00 | 2.00 | 2.10 | 2.10 | - | - | - |');
});
