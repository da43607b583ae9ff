/**
 * `make fuzz`: every target for as many inputs as asked. One line for each; failures with the seed that repeats them.
 *
 *     node build/test/fuzz/run.js [--inputs N] [--seed N] [--only NAME]
 *
 * Ends with 1 on a failure, an input that took longer than a bound, or memory that grew without one.
 */
import { parseArgs } from 'node:util';
import { allTargets, fuzz } from './targets.js';

const MOST_MS = 20_000; // of one input: a peer's run is the longest
const MOST_GROWTH_MIB = 512;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: `${Math.floor(Date.now() / 1000)}` },
    only: { type: 'string' },
  },
});
const [inputs, seed] = [Number(values.inputs), Number(values.seed)];

let isBad = false;
for (const target of allTargets().filter(
  (t) => values.only === undefined || t.name === values.only,
)) {
  const before = process.memoryUsage().rss;
  const begunMs = performance.now();
  const result = fuzz(target, seed, inputs);
  const seconds = (performance.now() - begunMs) / 1000;
  const growthMib = (process.memoryUsage().rss - before) / 2 ** 20;
  console.log(
    `${target.name.padEnd(16)} ${result.inputs} inputs from seed ${seed}, ${result.failures.length} failures, ` +
      `${seconds.toFixed(0)} s, slowest ${result.slowestMs.toFixed(0)} ms, ${growthMib.toFixed(0)} MiB more`,
  );
  for (const failure of result.failures) {
    console.log(`  --only '${target.name}' --seed ${failure.seed} --inputs 1:`, failure.error);
  }
  if (result.failures.length > 0 || result.slowestMs > MOST_MS || growthMib > MOST_GROWTH_MIB)
    isBad = true;
}
process.exitCode = isBad ? 1 : 0;
