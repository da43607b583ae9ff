/**
 * A worker thread of `twinbeat sim`: told a draw of the swarm, it runs it and answers with the result. The loader hook of a mutant, where
 * there is one, came with the process's arguments.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { AnyProfile, Draw } from '../sim/swarm.js';
import { runSeed } from './sim-seed.js';

export interface WorkerTask {
  readonly profile: AnyProfile;
}

if (parentPort) {
  const port = parentPort;
  const { profile } = workerData as WorkerTask; // sim-pool.ts
  port.on('message', (draw: Draw) => port.postMessage(runSeed(draw, profile)));
}
