/** One seed of any profile, from its plan to its result. */
import { nodeDigests } from '../real/node-ports.js';
import { runCluster } from '../sim/cluster-run.js';
import { type RunResult, run } from '../sim/run.js';
import type { SimNet } from '../sim/sim-net.js';
import { type AnyProfile, type Draw, plan } from '../sim/swarm.js';
import { clusterPlan } from '../sim/swarm-cluster.js';

/** `asked`: the profile of draws that do not name theirs. `sink` gets the trace, `prepare` the networks before anything happens. */
export function runSeed(
  draw: Draw,
  asked: AnyProfile,
  sink: ((line: string) => void) | null = null,
  prepare: (world: { readonly net: SimNet }) => void = () => {},
): RunResult {
  const { seed, version, profile = asked } = draw;
  if (profile === 'cluster') {
    return runCluster({ seed, ...clusterPlan(seed) }, nodeDigests, sink, prepare);
  }
  return run({ seed, ...plan(seed, profile, version) }, nodeDigests, sink, prepare);
}
