/**
 * What version 3 of the swarm draws beside version 2, from dice of its own: what came with parity to the originals, and faults
 * that version 2 leaves out. So a seed is the same cluster with the same faults in both, and some more in this one.
 */
import type { Prng } from '../base/prng.js';
import { FULL_DIALECT } from '../drbd/connect.js';
import { FEATURES_ALL } from '../wire/constants.js';
import type { Step } from './actions.js';
import { type ClusterConfig, NODES } from './config.js';
import { dice, logBetween } from './dice.js';
import type { Plan } from './swarm.js';

interface Fault {
  /** How often of ten runs it exists at all. */
  readonly in10: number;
  /** Draws the steps of one occurrence: [delay after its begin, text]. */
  readonly draw: (r: Prng) => readonly (readonly [number, string])[];
}

const FAULTS: readonly Fault[] = [
  {
    in10: 2,
    draw: (r) => [
      [0, `break replication after ${1 + r.below(2 << 20)} bytes`],
      [500 + r.below(8000), 'heal replication'],
    ],
  },
  {
    in10: 1,
    draw: (r) => {
      const node = r.pick(NODES);
      return [
        [0, `disk ${node} stuck`],
        [500 + r.below(4000), `drbdadm detach --force on ${node}`],
        [5000 + r.below(4000), `drbdadm attach on ${node}`],
        [9000 + r.below(4000), `disk ${node} works`],
        [13_000 + r.below(2000), `drbdadm attach on ${node}`],
      ];
    },
  },
  {
    in10: 1,
    draw: (r) => {
      const node = r.pick(NODES);
      return [
        [0, `disk ${node} full above ${r.below(100)}%`],
        [500 + r.below(8000), `disk ${node} works`],
        [9000 + r.below(4000), `drbdadm attach on ${node}`],
      ];
    },
  },
  // The steps of an operator.
  { in10: 2, draw: (r) => [[0, `drbdadm verify on ${r.pick(NODES)}`]] },
  {
    in10: 2,
    draw: (r) => [
      [0, `set data-integrity-alg ${r.pick(['none', 'md5', 'crc32c'])}`],
      [r.below(2000), 'drbdadm adjust on alpha'],
      [r.below(2000), 'drbdadm adjust on beta'],
    ],
  },
  {
    in10: 1,
    draw: (r) => [
      [0, `set al-extents ${r.pick([7, 67, 1237])}`],
      [r.below(500), 'drbdadm adjust on alpha'],
      [r.below(500), 'drbdadm adjust on beta'],
    ],
  },
];
/** Faults begin when the first sync is over, or not. */
const FIRST_FAULT_MS = 3000;

export function withParity(seed: number, plan: Plan): Plan {
  const r = dice(seed, 'swarm parity');
  const config = drawOptions(r, plan.config);
  const steps = [...plan.steps, ...drawSteps(r, plan.faultsMs)];
  return { ...plan, config, steps: steps.sort((a, b) => a.atMs - b.atMs) };
}

function drawSteps(r: Prng, faultsMs: number): Step[] {
  const steps: Step[] = [];
  const kinds = FAULTS.filter((f) => r.below(10) < f.in10);
  const meanMs = logBetween(r, 1000, 10_000);
  for (let at = FIRST_FAULT_MS + r.below(2000); at < faultsMs; at += 1 + r.below(2 * meanMs)) {
    if (kinds.length === 0) break;
    for (const [delayMs, text] of r.pick(kinds).draw(r)) {
      steps.push({ atMs: Math.min(faultsMs, at + delayMs), text });
    }
  }
  return steps;
}

/** Each step of the protocol is tried as often as the others: at each of them something does not exist in the one before. */
const OLDER = [86, 88, 89, 93, 94, 95, 96, 97, 99, 100] as const;

function drawOptions(r: Prng, config: ClusterConfig): ClusterConfig {
  const protocolMax = r.chance(0.3) ? r.pick(OLDER) : FULL_DIALECT.protocolMax;
  const features = r.chance(0.2) ? r.below(FEATURES_ALL + 1) : FULL_DIALECT.features;
  const full = protocolMax === FULL_DIALECT.protocolMax && features === FULL_DIALECT.features;
  const diskTimeoutDs = r.chance(0.3) ? r.pick([10, 20, 50]) : 0;
  const cMinRateKiBps = r.chance(0.3) ? 4096 : config.disk.cMinRateKiBps;
  const next = {
    ...config,
    disk: { ...config.disk, diskTimeoutDs, cMinRateKiBps },
    net: { ...config.net, verifyAlg: r.chance(0.6) ? 'crc32c' : '' },
  };
  return full ? next : { ...next, dialect: { protocolMax, features } };
}
