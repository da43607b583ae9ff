/**
 * What version 6 of the swarm draws beside version 5, from dice of its own: thin resync, in half of the clusters, on disks that give back
 * zeroes where they have discarded, or anything. Whole resyncs come more often there. All others are those of version 5.
 */
import type { Prng } from '../base/prng.js';
import type { Step } from './actions.js';
import { NODES } from './config.js';
import { dice, logBetween } from './dice.js';
import type { Plan } from './swarm.js';

const FIRST_FAULT_MS = 2500;
const GRANULARITIES = [4096, 16_384, 65_536, 1 << 20] as const;

export function withThinResync(seed: number, plan: Plan): Plan {
  const r = dice(seed, 'swarm thin');
  if (r.chance(0.5)) return plan;
  const { config } = plan;
  const disk = {
    ...config.disk,
    rsDiscardGranularityBytes: r.pick(GRANULARITIES),
    discardZeroesIfAligned: r.chance(0.8),
  };
  const anything = r.chance(0.4) ? { diskDiscardZeroes: false } : {};
  // Checksums come before it.
  const csumsAlg = r.chance(0.8) ? '' : config.net.csumsAlg;
  const kept = plan.steps.filter(
    (step) => csumsAlg !== '' || !step.text.startsWith('set csums-alg'),
  );
  const steps = [...kept, ...drawSteps(r, plan.faultsMs)];
  return {
    ...plan,
    config: { ...config, ...anything, disk, net: { ...config.net, csumsAlg } },
    steps: steps.sort((a, b) => a.atMs - b.atMs),
  };
}

/** One occurrence: [delay after its begin, text]. */
type Occurrence = readonly (readonly [number, string])[];

function whole(r: Prng): Occurrence {
  const what = r.pick(['invalidate', 'invalidate', 'invalidate-remote']);
  return [[0, `drbdadm ${what} on ${r.pick(NODES)}`]];
}

function changed(r: Prng): Occurrence {
  return [
    [0, `set rs-discard-granularity ${r.pick([0, ...GRANULARITIES])}`],
    [r.below(1000), 'drbdadm adjust on alpha'],
    [r.below(1000), 'drbdadm adjust on beta'],
  ];
}

function broken(r: Prng): Occurrence {
  return [
    ...whole(r),
    [100 + r.below(2000), r.pick(['reset replication', `kill ${r.pick(NODES)}`])],
    [2500 + r.below(5000), `boot ${NODES[0]}`],
    [2500 + r.below(5000), `boot ${NODES[1]}`],
  ];
}

function drawSteps(r: Prng, faultsMs: number): Step[] {
  const steps: Step[] = [];
  const meanMs = logBetween(r, 1500, 10_000);
  for (let at = FIRST_FAULT_MS + r.below(2000); at < faultsMs; at += 1 + r.below(2 * meanMs)) {
    const kind = r.below(10);
    const occurrence = kind < 5 ? whole(r) : kind < 7 ? changed(r) : broken(r);
    for (const [delayMs, text] of occurrence) {
      steps.push({ atMs: Math.min(faultsMs, at + delayMs), text });
    }
  }
  return steps;
}
