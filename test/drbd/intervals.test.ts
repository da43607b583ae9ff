import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { type Interval, IntervalSet } from '../../src/drbd/intervals.js';

interface Probe extends Interval {
  name: number;
}

function probe(name: number, sector: number, sectors: number, log: number[]): Probe {
  return {
    name,
    sector,
    endSector: sector + sectors,
    order: 0,
    active: false,
    entered: false,
    started: () => log.push(name),
  };
}

test('an overlapping write waits for the earlier one, and is told', (t) => {
  const set = new IntervalSet();
  const log: number[] = [];
  const a = probe(1, 100, 8, log);
  const b = probe(2, 104, 8, log);
  const c = probe(3, 112, 8, log);
  t.true(set.enter(a));
  t.false(set.enter(b));
  t.true(set.enter(c));
  set.leave(a);
  t.deepEqual(log, [2]);
});

test('a later write does not pass a waiting one', (t) => {
  const set = new IntervalSet();
  const log: number[] = [];
  const a = probe(1, 0, 8, log);
  const b = probe(2, 0, 16, log);
  const c = probe(3, 8, 8, log); // does not touch a, but b stands before it
  set.enter(a);
  t.false(set.enter(b));
  t.false(set.enter(c));
  set.leave(a);
  t.deepEqual(log, [2]);
  set.leave(b);
  t.deepEqual(log, [2, 3]);
});

test('agrees with a list of everything, for requests and for long discards', (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const prng = new Prng(seed);
    const set = new IntervalSet();
    const log: number[] = [];
    const inside: Probe[] = [];
    for (let step = 0; step < 200; step++) {
      if (inside.length > 0 && prng.chance(0.5)) {
        const gone = inside.filter((p) => p.active);
        const p = prng.pick(gone); // the oldest is always active, so there is one
        inside.splice(inside.indexOf(p), 1);
        set.leave(p);
      } else {
        const sectors = prng.chance(0.1) ? 1 + prng.below(200_000) : 1 + prng.below(2048);
        const p = probe(step, prng.below(300_000), sectors, log);
        set.enter(p);
        inside.push(p);
      }
      for (const [i, p] of inside.entries()) {
        const blocked = inside
          .slice(0, i)
          .some((q) => q.sector < p.endSector && p.sector < q.endSector);
        t.is(p.active, !blocked, `seed ${seed} step ${step}`);
      }
    }
  }
});
