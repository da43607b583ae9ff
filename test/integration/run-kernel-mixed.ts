/** One mixed run by hand: node build/test/integration/run-kernel-mixed.js SEED [STEPS] */
import { mixedRun } from './kernel-mixed-run.js';

const [seed = '1', steps = '200'] = process.argv.slice(2);
const startMs = Date.now();
const result = await mixedRun(Number(seed), Number(steps), console.log);
console.log(result.failure ?? `${result.steps} steps in ${Date.now() - startMs} ms`);
console.log([...result.counts].map(([name, count]) => `${name} ${count}`).join(', '));
process.exit(result.failure === null ? 0 : 1);
