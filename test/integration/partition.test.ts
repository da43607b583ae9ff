/**
 * Pairs of real daemons in namespaces whose nets are cut, and whose nodes die, as seeds say (partition-plan.ts): seen from outside there are
 * never two active nodes with a fencing device, a witness or etcd, and what is mended runs exactly once, whatever protects it. Without
 * any of them two nodes may be active while they are cut off from each other; that is said.
 *
 * Thirty seeds of each: docs/PARTITIONS.md.
 */
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { note } from '../support/note.js';
import { drawPlan, MODES, type Mode, planText } from './partition-plan.js';
import { PartitionRun } from './partition-run.js';
import { resultLine } from './partition-table.js';

/** A daemon that stands still and a cut, healed; everything but the service net, for good; a node cut off from all while the other one dies. */
const SEEDS: readonly number[] = [7, 8, 9];

const NEEDS: Readonly<Record<Mode, readonly string[]>> = {
  none: [],
  stonith: ['/usr/sbin/stonith', 'socat'],
  witness: [],
  etcd: ['etcd'],
};
const ALL_NEED = ['root', 'netns', 'nsenter', 'ip', 'nft', 'perl', 'arping'];

async function play(t: ExecutionContext, mode: Mode, seed: number): Promise<void> {
  if (!need(t, ...ALL_NEED, ...NEEDS[mode])) return;
  t.timeout(10 * 60_000, 'longer than any machine should need');
  const plan = drawPlan(seed);
  const result = await PartitionRun.play(plan, mode);
  const isRight = result.failure === null && (mode === 'none' || result.overlapMs === 0);
  if (!isRight) t.log(`${planText(plan)}\n${result.story.join('\n')}`);
  t.is(result.failure, null);
  if (mode !== 'none') t.is(result.overlapMs, 0, 'two active nodes');
  // Nobody is left: the log of a node that works says why.
  const nobody = result.stayed.length === 0 && result.works;
  if (nobody && plan.mending.type !== 'after') t.true(result.reasons.length > 0);
  note(t, `partition ${resultLine(result)}`);
}

// Side by side: a run waits nearly all the time.
for (const seed of SEEDS)
  for (const mode of MODES) test(`${mode}, seed ${seed}`, (t) => play(t, mode, seed));
