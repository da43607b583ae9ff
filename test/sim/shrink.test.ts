/** A schedule becomes smaller while it violates the same. */
import test from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import type { Schedule } from '../../src/sim/run.js';
import { differences, fewest, sameViolation, shrink, withFields } from '../../src/sim/shrink.js';
import { plan } from '../../src/sim/swarm.js';
import type { World } from '../../src/sim/world.js';

test('fewest finds the items that matter, wherever they are', (t) => {
  for (const wanted of [[], [0], [99], [3, 50], [10, 11, 12], [1, 33, 66, 98]]) {
    let asked = 0;
    const left = fewest(
      Array.from({ length: 100 }, (_, i) => i),
      (some) => {
        asked++;
        return wanted.every((n) => some.includes(n));
      },
    );
    t.deepEqual(left, wanted);
    t.true(asked < 150, `${asked}`);
  }
});

test('fewest ends when there is nothing to spend, with what it has', (t) => {
  let asked = 0;
  const left = fewest([1, 2, 3, 4, 5, 6, 7, 8], (some) => (++asked > 2 ? null : some.includes(8)));
  t.deepEqual(left, [5, 6, 7, 8]);
});

test('violations are the same by invariant and checker, assertions by their words', (t) => {
  const v = { invariant: 'I1', checker: 'reads', timeMs: 1, text: 'a\nb' };
  t.true(sameViolation(v, { ...v, timeMs: 2, text: 'c' }));
  t.false(sameViolation(v, { ...v, checker: 'promotion' }));
  t.false(sameViolation(v, { ...v, invariant: 'I3' }));
  const a = { ...v, invariant: 'assert' };
  t.true(sameViolation(a, { ...a, text: 'a\nother place' }));
  t.false(sameViolation(a, { ...a, text: 'b' }));
});

test('options that differ from the default ones, and each put back', (t) => {
  const { config } = plan(7, 'swarm');
  const all = differences(config);
  t.true(all.length > 5);
  t.deepEqual(withFields(config, all), config);
  t.deepEqual(withFields(config, []), DEFAULT_CONFIG);
  const other = { ...DEFAULT_CONFIG, depth: 77, net: { ...DEFAULT_CONFIG.net, koCount: 3 } };
  t.deepEqual(differences(other), ['depth', 'net.koCount']);
  t.deepEqual(withFields(other, ['net.koCount']), {
    ...DEFAULT_CONFIG,
    net: other.net,
  });
});

/** A rule that one step of the schedule breaks, if another one came before it. */
function tooManyCuts(world: World): void {
  let cuts = 0;
  const { net } = world;
  const cut = net.cut.bind(net);
  net.cut = (...args) => {
    cut(...args);
    if (args[0] === 'eth1') cuts++;
    if (args[0] === 'replication' && cuts > 0) world.violate('test', 'cuts', 'broken');
  };
}

test('a whole schedule: what is left are the steps that break the rule, early and with default options', (t) => {
  const { config } = plan(3, 'swarm');
  const filler = Array.from({ length: 40 }, (_, i) => ({
    atMs: 100 + 500 * i,
    text: i % 2 === 0 ? 'heal eth0' : 'lose eth0 20%',
  }));
  const steps = [
    ...filler,
    { atMs: 4017, text: 'cut eth1 from alpha' },
    { atMs: 11_333, text: 'cut eth0' },
    { atMs: 15_031, text: 'cut replication' },
  ].sort((a, b) => a.atMs - b.atMs);
  const schedule: Schedule = { seed: 3, config, steps, faultsMs: 30_000 };
  const seen: number[] = [];
  const options = {
    mostRuns: 100,
    prepare: tooManyCuts,
    progress: (runs: number) => seen.push(runs),
  };
  const shrunk = shrink(schedule, nodeDigests, options);
  t.deepEqual(
    shrunk?.schedule.steps.map((s) => s.text),
    ['cut eth1 from alpha', 'cut replication'],
  );
  t.true((shrunk?.schedule.faultsMs ?? 1e9) <= 1000, `${shrunk?.schedule.faultsMs}`);
  t.deepEqual(differences(shrunk?.schedule.config ?? config), []);
  t.is(shrunk?.result.violation?.checker, 'cuts');
  t.is(shrunk?.runs, seen.at(-1));
  t.true((shrunk?.runs ?? 1e9) <= 100);

  const few = shrink(schedule, nodeDigests, { ...options, mostRuns: 3 });
  t.is(few?.runs, 3);
  t.is(few?.result.violation?.checker, 'cuts');
});

test('a schedule that violates nothing is not shrunk', (t) => {
  const schedule: Schedule = { seed: 1, config: DEFAULT_CONFIG, steps: [], faultsMs: 100 };
  const one: Schedule = {
    ...schedule,
    ...plan(1, 'none'),
    steps: plan(1, 'none').steps,
    faultsMs: 4000,
  };
  t.is(shrink(one, nodeDigests, { mostRuns: 5, prepare: () => {}, progress: () => {} }), null);
});
