/** What the partition tests draw, expect and work out, without a network. */
import test from 'ava';
import { ACCIDENTS, CUTS, drawPlan, planText } from './partition-plan.js';
import { Seen, sumMs } from './partition-seen.js';
import { World } from './partition-world.js';

const SEEDS = Array.from({ length: 30 }, (_, i) => i + 1);

test('the same seed draws the same plan, another one another', (t) => {
  for (const seed of SEEDS) t.deepEqual(drawPlan(seed), drawPlan(seed));
  t.is(new Set(SEEDS.map((seed) => planText(drawPlan(seed)))).size, SEEDS.length);
});

test('thirty seeds have every cut and every accident, ends of all kinds, and something happens in each', (t) => {
  const plans = SEEDS.map(drawPlan);
  t.true(CUTS.every((each) => plans.some(({ cut }) => cut === each)));
  t.true(ACCIDENTS.every((each) => plans.some(({ accident }) => accident === each)));
  t.is(new Set(plans.map(({ mending }) => mending.type)).size, 3);
  t.is(new Set(plans.map(({ home }) => home)).size, 2);
  for (const { steps } of plans) t.true(steps.length > 0);
});

test('a plan can be read', (t) => {
  const lines = planText(drawPlan(9)).split('\n');
  t.regex(lines[0] ?? '', /^seed 9: [a-z ,]+; [a-z ,]+$/);
  t.regex(lines[1] ?? '', /^ {2}node-[ab] has the group, auto_failback (on|off), /);
  for (const line of lines.slice(2, -1)) t.regex(line, /^ {2}\+\d+ ms [a-z]/);
  t.regex(lines.at(-1) ?? '', /^ {2}mended (never|at rest|after \d+ ms)$/);
});

test('what must be active follows from what is cut', (t) => {
  const world = new World();
  for (const mode of ['none', 'stonith', 'witness', 'etcd'] as const)
    t.deepEqual(world.wanted(mode, 'ssh'), { least: 1, most: 1 });
  for (const net of ['link1', 'link2'] as const)
    world.act({ type: 'cut', net, host: 'node-a', way: 'from' });
  t.true(world.hears('node-a'));
  t.false(world.hears('node-b'));
  t.deepEqual(world.wanted('none', 'ssh'), { least: 1, most: 2 });
  t.deepEqual(world.wanted('stonith', 'ssh'), { least: 1, most: 1 });
  t.deepEqual(world.wanted('witness', 'ssh'), { least: 1, most: 1 });
  // ssh needs both, a switch only who resets.
  world.act({ type: 'cut', net: 'third', host: 'node-a', way: 'both' });
  t.deepEqual(world.wanted('stonith', 'ssh'), { least: 0, most: 1 });
  t.deepEqual(world.wanted('stonith', 'switch'), { least: 1, most: 1 });
  t.deepEqual(world.wanted('etcd', 'ssh'), { least: 1, most: 1 });
  world.act({ type: 'power', host: 'node-b', on: false });
  t.deepEqual(world.wanted('etcd', 'ssh'), { least: 0, most: 0 });
  t.deepEqual(world.wanted('none', 'ssh'), { least: 1, most: 2 });
  world.act({ type: 'daemon', host: 'node-a', how: 'killed' });
  t.is(world.wanted('none', 'ssh'), null);
  world.act({ type: 'daemon', host: 'node-a', how: 'started' });
  world.act({ type: 'power', host: 'node-b', on: true });
  world.act({ type: 'join', net: 'link1', host: 'node-a' });
  t.deepEqual(world.wanted('witness', 'ssh'), { least: 1, most: 1 });
});

test('two lives that overlap are two active nodes, one after the other is an outage', (t) => {
  const seen = new Seen();
  const answers = (host: string, life: string, fromMs: number, toMs: number) => {
    for (let ms = fromMs; ms <= toMs; ms += 20) seen.line(`${host} ${host} ${life} ${ms}.000`);
  };
  answers('node-a', 'one', 1000, 3000);
  answers('node-b', 'two', 3500, 5000);
  t.deepEqual(seen.overlaps(), []);
  t.deepEqual(seen.gaps(5000), [{ fromMs: 3000, toMs: 3500 }]);
  answers('node-a', 'three', 4800, 6000);
  t.deepEqual(seen.overlaps(), [{ fromMs: 4800, toMs: 5000 }]);
  t.is(sumMs(seen.gaps(8000)), 2500);
  t.deepEqual(seen.active(5200), ['node-a', 'node-b']);
  t.deepEqual(seen.active(6100), ['node-a']);
  t.deepEqual(seen.active(6600), []);
  seen.line('address node-a three 6000.5');
  t.is(seen.atAddress(6100), 'node-a');
  t.is(seen.atAddress(7000), null);
  t.notThrows(() => seen.line('node-a who'));
});
