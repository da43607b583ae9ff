/**
 * Partition runs by hand: node build/test/integration/run-partition.js [--mode none|stonith|witness|etcd]
 * [--seed N] [--first N] [--seeds N] [--at-once N] [--stories FILE]
 *
 * With a seed: one run, with its story. With seeds: that many of each mode (or of the one), so many at once, and the table of docs/PARTITIONS.md;
 * the stories of all of them go to a file.
 */
import { appendFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { drawPlan, MODES, planText } from './partition-plan.js';
import { PartitionRun, type Result } from './partition-run.js';
import { partitionTable, resultLine } from './partition-table.js';

const { values } = parseArgs({
  options: {
    mode: { type: 'string' },
    seed: { type: 'string' },
    seeds: { type: 'string', default: '30' },
    first: { type: 'string', default: '1' },
    'at-once': { type: 'string', default: '4' },
    stories: { type: 'string' },
  },
});
const modes = MODES.filter((mode) => values.mode === undefined || values.mode === mode);
if (modes.length === 0) throw new Error(`--mode ${values.mode}: expected ${MODES.join(', ')}`);
const results: Result[] = [];

async function play(seed: number, mode: (typeof MODES)[number]): Promise<void> {
  const plan = drawPlan(seed);
  const lines: string[] = [];
  const result = await PartitionRun.play(plan, mode, (line) => lines.push(line));
  results.push(result);
  const story = `${mode} ${planText(plan)}\n${lines.join('\n')}`;
  if (values.stories !== undefined)
    appendFileSync(values.stories, `${story}\n${resultLine(result)}\n\n`);
  if (values.seed !== undefined || !isGood(result)) console.log(story);
  console.log(resultLine(result));
}

function isGood({ failure, mode, overlapMs }: Result): boolean {
  return failure === null && (mode === 'none' || overlapMs === 0);
}

if (values.seed !== undefined) {
  for (const mode of modes) await play(Number(values.seed), mode);
} else {
  const first = Number(values.first);
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => first + i);
  const jobs = seeds.flatMap((seed) => modes.map((mode) => ({ seed, mode })));
  const worker = async (): Promise<void> => {
    for (let job = jobs.shift(); job; job = jobs.shift()) await play(job.seed, job.mode);
  };
  await Promise.all(Array.from({ length: Number(values['at-once']) }, worker));
  console.log(partitionTable(results));
}
process.exit(results.every(isGood) ? 0 : 1);
