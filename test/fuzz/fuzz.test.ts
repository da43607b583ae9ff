/** A moment of `make fuzz`: about a hundred thousand inputs, the same ones at every run. */
import test from 'ava';
import { allTargets, fuzz } from './targets.js';

/** As many as take a few seconds. */
const INPUTS: Readonly<Record<string, number>> = {
  packets: 35_000,
  bitmaps: 20_000,
  handshake: 4_000,
  peer: 1_500,
  superblock: 30_000,
  'activity log': 1_000,
  dump: 4_000,
  'drbd.conf': 1_500,
  'drbdsetup show': 3_000,
  control: 500,
  'ha.cf': 20_000,
  haresources: 20_000,
  authkeys: 20_000,
};
const SEED = 1;

for (const target of allTargets()) {
  test(`${target.name}: whatever comes is answered or refused`, (t) => {
    const { inputs, failures } = fuzz(target, SEED, INPUTS[target.name] ?? 0);
    const [first] = failures;
    if (first) t.log(`seed ${first.seed}`, first.error);
    t.is(failures.length, 0);
    t.true(inputs >= 500);
  });
}

test('a target that throws is found, with the seed of the input', (t) => {
  const target = {
    name: 'broken',
    input: (rng: { below(n: number): number }) => {
      if (rng.below(10) === 3) throw new Error('found');
      return 1;
    },
  };
  const { failures } = fuzz(target, 1, 200);
  t.true(failures.length > 5 && failures.length <= 20);
  const [first] = failures;
  t.deepEqual(fuzz(target, first?.seed ?? 0, 1).failures[0]?.seed, first?.seed);
});
