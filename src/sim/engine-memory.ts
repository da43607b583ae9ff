/**
 * The memory of simulated engines, used again from run to run: a run starts a dozen engines, and making and collecting
 * some 25 MiB for each took more than half of its time.
 *
 * What a former run left there is never seen: an engine gives out buffers filled with noise (sim-io.ts). Within a run
 * nothing is used again, since the code of a dead process may still scribble over its own.
 */
import type { SimNet } from './sim-net.js';

const MAX_SPARE = 64;
const spare: Uint8Array[] = [];
const ofRun = new WeakMap<SimNet, Uint8Array[]>();

/** Memory for an engine of the run that has this network. Its content is undefined. */
export function takeMemory(run: SimNet, sizeBytes: number): Uint8Array {
  const index = spare.findIndex((memory) => memory.length === sizeBytes);
  const [memory = new Uint8Array(sizeBytes)] = index < 0 ? [] : spare.splice(index, 1);
  const taken = ofRun.get(run);
  if (taken) taken.push(memory);
  else ofRun.set(run, [memory]);
  return memory;
}

/** The run is over: none of its engines is used any more. */
export function releaseMemory(run: SimNet): void {
  for (const memory of ofRun.get(run) ?? []) if (spare.length < MAX_SPARE) spare.push(memory);
  ofRun.delete(run);
}
