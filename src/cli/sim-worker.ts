/**
 * A worker thread of `twinbeat sim`: told a draw of the swarm, it runs it and answers with the result. The loader hook of a mutant, where
 * there is one, came with the process's arguments.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { nodeDigests } from '../real/node-ports.js';
import { type RunResult, run } from '../sim/run.js';
import { type Draw, type Profile, plan } from '../sim/swarm.js';

export interface WorkerTask {
  readonly profile: Profile;
}

/** One seed of the swarm, from its plan to its result. */
export function runSeed({ seed, version }: Draw, profile: Profile): RunResult {
  return run({ seed, ...plan(seed, profile, version) }, nodeDigests, null);
}

if (parentPort) {
  const port = parentPort;
  const { profile } = workerData as WorkerTask; // sim-pool.ts
  port.on('message', (draw: Draw) => port.postMessage(runSeed(draw, profile)));
}
