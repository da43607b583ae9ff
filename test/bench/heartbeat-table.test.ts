/** The tables of `make bench-heartbeat`. */
import test from 'ava';
import {
  type Cut,
  failoverTable,
  median,
  partsTable,
  quantile,
  verdicts,
  verdictTable,
} from '../../bench/heartbeat-table.js';

const cut = (detectionMs: number, serviceMs: number, addressMs: number): Cut => ({
  detectionMs,
  scriptMs: null,
  serviceMs,
  addressMs,
});

test('medians', (t) => {
  t.is(median([3]), 3);
  t.is(median([30, 10, 200]), 30, 'by number, not by text');
  t.is(median([4, 1, 2, 3]), 2.5);
});

test('nine of ten are not later than p90', (t) => {
  t.is(quantile([3], 0.9), 3);
  t.is(quantile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 0.9), 9);
  t.is(
    quantile(
      Array.from({ length: 30 }, (_, n) => n + 1),
      0.9,
    ),
    27,
  );
  t.is(quantile([1, 200, 30], 0.9), 200);
});

test('a row: median, p90 and worst of each step', (t) => {
  const cuts = [cut(2000, 2100, 2200), cut(2900, 3500, 3000), cut(2500, 2600, 2700)];
  const [, , one, two] = failoverTable([
    { name: 'ours', cuts },
    { name: 'theirs', cuts: cuts.slice(0, 1) },
  ]).split('\n');
  t.is(one, '| ours | 3 | 2.50 | 2.90 | 2.90 | 2.60 | 3.50 | 3.50 | 2.70 | 3.00 | 3.00 |');
  t.is(two, '| theirs | 1 | 2.00 | 2.00 | 2.00 | 2.10 | 2.10 | 2.10 | 2.20 | 2.20 | 2.20 |');
});

test('where the time goes between detection and the address', (t) => {
  const ours = [
    { ...cut(2000, 2500, 2400), scriptMs: 2040 },
    { ...cut(1800, 2200, 2300), scriptMs: 1820 },
  ];
  const [, , one, two] = partsTable([
    { name: 'ours', cuts: ours },
    { name: 'theirs', cuts: [cut(1700, 1702, 1710)] },
  ]).split('\n');
  t.is(one, '| ours | 0.03 | 0.42 | 0.45 |');
  t.is(two, '| theirs | - | - | 0.01 |');
});

test('ours is compared with the faster one, at each step anew', (t) => {
  const ours = { name: 'ours', cuts: [cut(2100, 2700, 2400)] };
  const one = { name: 'one', cuts: [cut(2000, 2300, 2600)] };
  const two = { name: 'two', cuts: [cut(2200, 2199, 2400)] };
  const found = verdicts(ours, [one, two], 500);
  const worst = found.filter(({ statistic }) => statistic === 'worst');
  t.deepEqual(
    worst.map(({ step, laterMs, met }) => [step, laterMs, met]),
    [
      ['detection', 100, true],
      ['service', 501, false],
      ['address', 0, true],
    ],
  );
  t.is(worst[0]?.ratio, 1.05);
  t.is(found.length, 9);
  t.true(verdictTable(found).includes('| service, worst | 1.23 | 0.50 | no |\n'));
  t.true(verdictTable(found).includes('| detection, median | 1.05 | 0.10 | yes |\n'));
});
