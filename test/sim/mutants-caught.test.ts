/**
 * The checkers are proved: each planted bug is noticed, in a run that is clean without it.
 *
 * Every mutant runs where it was noticed when that was measured (src/sim/mutants-caught.ts). A change of the machines may move
 * that to another seed: then the next ones are tried, and only a mutant that all of them miss is a failure.
 */
import test from 'ava';
import { MutantTrials, TrialWithoutEnd } from '../../src/cli/sim-mutant-trials.js';
import { caughtBy, MUTANTS, type Trial, trialText } from '../../src/sim/mutants.js';
import { note } from '../support/note.js';

/** After the recorded one. */
const MORE_SEEDS = 40;

/** Whatever else is planted, these are. */
const REQUIRED = [
  'ack-before-peer',
  'log-skipped',
  'bit-cleared-when-sent',
  'no-new-generation',
  'thaw-after-failed-fence',
  'late-keepalive-is-alive',
  'start-without-waiting',
  'barrier-forgotten',
];

test('every mutant was measured, and there are enough of them', (t) => {
  const missing = MUTANTS.filter(({ name }) => caughtBy(name) === null).map(({ name }) => name);
  t.deepEqual(missing, [], 'node build/bench/mutants.js --write NAME');
  t.true(MUTANTS.length >= 50);
  for (const name of REQUIRED) t.truthy(caughtBy(name), name);
});

function* trialsFrom(recorded: Trial): Iterable<Trial> {
  yield recorded;
  if ('scenario' in recorded) return;
  const { seed } = recorded;
  for (let i = 1; i <= MORE_SEEDS; i++) yield { ...recorded, seed: seed + i };
}

test('every mutant is noticed, where the machines as they are show nothing', async (t) => {
  t.timeout(1_200_000);
  const plain = new MutantTrials(null);
  const known = new Map<string, boolean>();
  const isClean = async (trial: Trial): Promise<boolean> => {
    const key = JSON.stringify(trial);
    const clean = known.get(key) ?? (await plain.run(trial)).invariant === null;
    known.set(key, clean);
    return clean;
  };
  const moved: string[] = [];
  const unnoticed: string[] = [];
  for (const { name } of MUTANTS) {
    const recorded = caughtBy(name);
    if (recorded === null) continue;
    const mutant = new MutantTrials(name);
    let noticed: string | null = null;
    try {
      for (const trial of trialsFrom(recorded)) {
        const { invariant, checker } = await mutant.run(trial);
        if (invariant === null || !(await isClean(trial))) continue;
        const isRecorded = trial === recorded && checker === recorded.checker;
        noticed = `${invariant} ${checker}, ${trialText(trial)}`;
        if (!isRecorded) moved.push(`${name}: ${noticed}`);
        break;
      }
    } catch (e) {
      if (!(e instanceof TrialWithoutEnd)) throw e;
      t.log(`${name}: ${e.message}`);
    } finally {
      mutant.end();
    }
    const by = `${recorded.invariant} ${recorded.checker}, ${trialText(recorded)}`;
    if (noticed === null) unnoticed.push(`${name}; it was: ${by}`);
  }
  plain.end();
  if (moved.length > 0)
    note(t, `mutants noticed elsewhere than measured:\n  ${moved.join('\n  ')}`);
  t.deepEqual(unnoticed, [], 'not noticed any more');
});
