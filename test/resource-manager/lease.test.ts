/** The arithmetic of the lease: never both, whatever clocks, lines, witness and nodes do; and each mistake is seen. */
import test from 'ava';
import type { ArbiterAnswer } from '../../src/resource-manager/answers.js';
import { counted, Lease, waited } from '../../src/resource-manager/lease.js';
import { type Mistake, run, TIMES } from './lease-world.js';

const GRANTED: ArbiterAnswer = { verdict: 'granted', released: 0 };
const SEEDS = Number(process.env['TWINBEAT_SEEDS'] ?? 150);
const MISTAKE_SEEDS = 3000;
const ALL_TIMES = Object.keys(TIMES) as (keyof typeof TIMES)[];

test('what we count on is over before what another clock measures, what we wait for after it', (t) => {
  for (const ms of [1, 7, 100, 999, 2000, 30_000, 3_600_000]) {
    for (const ours of [0.99, 1, 1.01]) {
      for (const theirs of [0.99, 1, 1.01]) {
        t.true(counted(ms) / ours <= ms / theirs + 1e-9, `${ms} ${ours} ${theirs}`);
        t.true(waited(ms) / ours >= ms / theirs - 1e-9, `${ms} ${ours} ${theirs}`);
      }
    }
  }
});

test('a lease counts from when its request was sent, the latest request that was granted', (t) => {
  const lease = new Lease({ deadtimeMs: 10_000, leaseMs: 30_000, stopLimitMs: 5000 }, 0);
  t.is(lease.serveUntilMs, counted(10_000));
  const first = lease.asked(6000);
  const second = lease.asked(7000);
  t.is(lease.answered(second, GRANTED, 9000), 7000);
  t.is(lease.answered(first, GRANTED, 9500), 6000);
  t.is(lease.serveUntilMs, 7000 + counted(30_000), 'the older one does not shorten it');
  t.is(lease.answered(first, GRANTED, 9600), null, 'twice');
  t.is(lease.answered(99, GRANTED, 9600), null, 'never asked');
  const late = lease.asked(10_000);
  t.is(lease.answered(late, GRANTED, 10_000 + counted(30_000)), null, 'over when it came');
  const refused = lease.asked(11_000);
  t.is(lease.answered(refused, { verdict: 'refused', holder: 'b' }, 11_001), null);
  t.is(lease.holder, 'b');
  t.is(lease.serveUntilMs, 7000 + counted(30_000), 'what was granted stays granted');
  t.is(lease.goneByMs, lease.serveUntilMs + 5000);
});

test('a proof that is older than the one before changes nothing', (t) => {
  const lease = new Lease({ deadtimeMs: 10_000, leaseMs: 30_000, stopLimitMs: 5000 }, 500);
  lease.proved(400);
  t.is(lease.provedMs, 500);
  lease.proved(600);
  t.is(lease.provedMs, 600);
});

// Slow WAN: RTT 2 s and 20 % loss each way must not lose a lease of 30 s.
test('the requests are so many that a bad line does not lose the lease', (t) => {
  const lease = new Lease({ deadtimeMs: 10_000, leaseMs: 30_000, stopLimitMs: 5000 }, 0);
  const inTime = Math.floor((counted(30_000) - 2000) / lease.everyMs);
  t.true((1 - 0.8 * 0.8) ** inTime < 1e-9);
});

test('never both, with drift, delays, loss, cuts in all ways, restarts of the witness, pauses, crashes', (t) => {
  let [takeOvers, letGo, onLease] = [0, 0, 0];
  for (let seed = 1; seed <= SEEDS; seed++) {
    const times = ALL_TIMES[seed % ALL_TIMES.length] ?? 'ordinary';
    const course = run({ seed, mistake: 'none', times });
    t.is(course.bothMs, null, `seed ${seed}`);
    takeOvers += course.takeOvers;
    letGo += course.letGo;
    onLease += course.onLease;
  }
  t.log({ takeOvers, letGo, onLease });
  t.true(
    takeOvers > SEEDS / 10 && letGo > SEEDS / 10 && onLease > 0,
    'it is not for want of trouble',
  );
});

/** Each with the first seed that shows it, so that the search is short; it goes on from there. */
const MISTAKES: Readonly<
  Record<Exclude<Mistake, 'none'>, readonly [keyof typeof TIMES, seed: number]>
> = {
  'lease counted from the answer': ['lease', 1239],
  'proof counted from its arrival': ['ordinary', 15],
  'no allowance for drift': ['slow', 1065],
  'begins at once': ['ordinary', 21],
  'asked before the peer was held for dead': ['ordinary', 15],
  'lease not looked at when it begins': ['stop-limit', 1134],
  'witness is not silent after its start': ['ordinary', 1231],
  'release of an older life is believed': ['ordinary', 155],
  'no watchdog': ['ordinary', 1],
  'stop-limit is not kept': ['ordinary', 56],
};

for (const [mistake, [times, first]] of Object.entries(MISTAKES)) {
  test(`the property sees a mistake: ${mistake}`, (t) => {
    for (let seed = first; seed < first + MISTAKE_SEEDS; seed++) {
      const { bothMs } = run({ seed, mistake: mistake as Mistake, times });
      if (bothMs === null) continue;
      t.log(`seed ${seed}: both at ${bothMs} ms`);
      t.is(
        run({ seed, mistake: 'none', times }).bothMs,
        null,
        'without it the same weather is harmless',
      );
      return;
    }
    t.fail('not seen');
  });
}
