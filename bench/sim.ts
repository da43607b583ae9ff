/**
 * `make bench-sim`: how much the simulator does on one core, as one comparable line. The seeds are always the same; CPU time is
 * what counts (the machine may be busy with other things), wall time is for comparison.
 */
import { runSeed } from '../src/cli/sim-seed.js';
import { addCoverage, type CoverageReport } from '../src/sim/coverage.js';
import { ofClass, total } from '../src/sim/fault-kinds.js';
import { SWARM_VERSION } from '../src/sim/swarm.js';

const WARM_UP = 10;
const SEEDS = Number(process.env['SEEDS'] ?? 100);

for (let seed = 1; seed <= WARM_UP; seed++) runSeed({ seed, version: SWARM_VERSION }, 'swarm');

let virtualMs = 0;
let coverage: CoverageReport | null = null;
let slowestMs = 0;
const cpu = process.cpuUsage();
const startMs = performance.now();
for (let seed = 1; seed <= SEEDS; seed++) {
  const beganMs = performance.now();
  const result = runSeed({ seed, version: SWARM_VERSION }, 'swarm');
  slowestMs = Math.max(slowestMs, performance.now() - beganMs);
  virtualMs += result.virtualMs;
  coverage = addCoverage(coverage, result.coverage);
}
const wallS = (performance.now() - startMs) / 1000;
const used = process.cpuUsage(cpu);
const cpuS = (used.user + used.system) / 1e6;
const faults = coverage ? total(ofClass(coverage.step, 'fault')) : 0;
const rssMiB = process.memoryUsage().rss / (1 << 20);

console.log(
  `sim: ${(virtualMs / 1000 / cpuS).toFixed(0)} virtual s and ${(faults / cpuS).toFixed(0)} faults per CPU second, ` +
    `${(virtualMs / 1000 / wallS).toFixed(0)} and ${(faults / wallS).toFixed(0)} per wall second; ` +
    `${(cpuS / SEEDS).toFixed(2)} CPU s a seed, slowest ${(slowestMs / 1000).toFixed(1)} s, ${rssMiB.toFixed(0)} MiB ` +
    `(${SEEDS} seeds, swarm ${SWARM_VERSION})`,
);
