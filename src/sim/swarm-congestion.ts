/**
 * What version 5 of the swarm draws beside version 4, from dice of its own: on-congestion, in half of the clusters, with peers that do
 * not keep up. It needs protocol A, which such a cluster keeps. All others are those of version 4.
 */
import type { Prng } from '../base/prng.js';
import type { Step } from './actions.js';
import { NODES } from './config.js';
import { dice, logBetween } from './dice.js';
import type { Plan } from './swarm.js';

/** Faults begin when the first sync is over, or not. */
const FIRST_FAULT_MS = 2500;

export function withCongestion(seed: number, plan: Plan): Plan {
  const r = dice(seed, 'swarm congestion');
  const { config } = plan;
  // Protocol A is refused with stonith.
  if (config.disk.fencing === 'resource-and-stonith' || r.chance(0.5)) return plan;
  const net = {
    ...config.net,
    protocol: 'A',
    onCongestion: r.chance(0.8) ? 'pull-ahead' : 'disconnect',
    congestionFillSectors: r.pick([1, 16, 64, 256]),
  } as const;
  // Another protocol is refused with on-congestion.
  const kept = plan.steps.filter((step) => !step.text.startsWith('set protocol'));
  const steps = [...kept, ...drawSteps(r, plan.faultsMs)];
  return { ...plan, config: { ...config, net }, steps: steps.sort((a, b) => a.atMs - b.atMs) };
}

/** One occurrence: [delay after its begin, text]. */
type Occurrence = readonly (readonly [number, string])[];

function slow(r: Prng): Occurrence {
  const node = r.pick(NODES);
  return [
    [0, `disk ${node} slow ${Math.round(logBetween(r, 20, 1500))}ms`],
    [200 + r.below(6000), `disk ${node} works`],
  ];
}

function far(r: Prng): Occurrence {
  return [
    [0, `delay replication ${Math.round(logBetween(r, 20, 1500))}ms`],
    [200 + r.below(6000), 'heal replication'],
  ];
}

function changed(r: Prng): Occurrence {
  const what = r.chance(0.5)
    ? `set congestion-fill ${r.pick([0, 1, 16, 256])}`
    : `set on-congestion ${r.pick(['block', 'pull-ahead', 'pull-ahead', 'disconnect'])}`;
  return [
    [0, what],
    [r.below(1000), 'drbdadm adjust on alpha'],
    [r.below(1000), 'drbdadm adjust on beta'],
  ];
}

function drawSteps(r: Prng, faultsMs: number): Step[] {
  const steps: Step[] = [];
  const meanMs = logBetween(r, 800, 8000);
  for (let at = FIRST_FAULT_MS + r.below(2000); at < faultsMs; at += 1 + r.below(2 * meanMs)) {
    const kind = r.below(10);
    const occurrence = kind < 5 ? slow(r) : kind < 9 ? far(r) : changed(r);
    for (const [delayMs, text] of occurrence) {
      steps.push({ atMs: Math.min(faultsMs, at + delayMs), text });
    }
  }
  return steps;
}
