/**
 * What version 4 of the swarm draws beside version 3, from dice of its own: lower disks that grow and `drbdadm resize`
 * (docs/STATES.md, sizes), checksum-based resync, reads that go to the peer, and handlers of drbd.conf that do not do what they are
 * there for. The cluster and the faults of a seed are those of version 3, but for csums-alg and read-balancing.
 */
import type { Prng } from '../base/prng.js';
import type { Step } from './actions.js';
import { type ClusterConfig, NODES } from './config.js';
import { dice } from './dice.js';
import { HANDLER_EVENTS } from './handler-faults.js';
import type { Plan } from './swarm.js';

/** Disks grow at most so often in one run. */
const MOST_GROWTHS = 3;
/** A growth begins when the first sync is over, or not. */
const FIRST_GROWTH_MS = 3000;

export function withGrowth(seed: number, plan: Plan): Plan {
  const r = dice(seed, 'swarm growth');
  const config = drawBalancing(r, drawChecksums(r, plan.config));
  const steps = [
    ...plan.steps,
    ...drawGrowths(r, plan),
    ...drawChanges(r, plan),
    ...drawHandlers(r, plan),
  ];
  return { ...plan, config, steps: steps.sort((a, b) => a.atMs - b.atMs) };
}

function drawChecksums(r: Prng, config: ClusterConfig): ClusterConfig {
  const csumsAlg = r.chance(0.5) ? r.pick(['crc32c', 'md5', 'sha1']) : '';
  const csumsAfterCrashOnly = r.chance(0.3);
  return { ...config, net: { ...config.net, csumsAlg, csumsAfterCrashOnly } };
}

const BALANCING = [
  'prefer-remote',
  'round-robin',
  'least-pending',
  'when-congested-remote',
  '32K-striping',
] as const;

function drawBalancing(r: Prng, config: ClusterConfig): ClusterConfig {
  if (!r.chance(0.4)) return config;
  return { ...config, disk: { ...config.disk, readBalancing: r.pick(BALANCING) } };
}

/** Half of the runs: one disk and after a while the other one, in any order; somebody says resize, maybe too early, and once more. */
function drawGrowths(r: Prng, plan: Plan): Step[] {
  const steps: Step[] = [];
  const add = (atMs: number, text: string) =>
    steps.push({ atMs: Math.min(plan.faultsMs, atMs), text });
  const growths = r.chance(0.5) ? 1 + r.below(MOST_GROWTHS) : 0;
  let kib = plan.config.sizeBytes / 1024;
  let at = FIRST_GROWTH_MS;
  for (let i = 0; i < growths; i++) {
    at += r.below(10_000);
    kib += r.pick([4, 12, 64, 1024, 2048]); // by a little: the areas of the meta-data overlap
    const [first, second] = r.chance(0.5) ? NODES : [NODES[1], NODES[0]];
    const apartMs = r.chance(0.5) ? 0 : r.below(3000);
    add(at, `grow disk of ${first} to ${kib}KiB`);
    add(at + apartMs, `grow disk of ${second} to ${kib}KiB`);
    add(at + r.below(1000 + apartMs), `drbdadm resize on ${r.pick(NODES)}`);
    at += apartMs + 1000 + r.below(5000);
    add(at, `drbdadm resize on ${r.pick(NODES)}`);
  }
  return steps;
}

/** csums-alg of connections that stand. */
function drawChanges(r: Prng, plan: Plan): Step[] {
  if (!r.chance(0.2)) return [];
  const at = FIRST_GROWTH_MS + r.below(Math.max(1, plan.faultsMs - FIRST_GROWTH_MS));
  const step = (atMs: number, text: string): Step => ({
    atMs: Math.min(plan.faultsMs, atMs),
    text,
  });
  return [
    step(at, `set csums-alg ${r.pick(['none', 'crc32c', 'sha1'])}`),
    step(at + r.below(2000), 'drbdadm adjust on alpha'),
    step(at + r.below(2000), 'drbdadm adjust on beta'),
  ];
}

/** A quarter of the runs: handlers that hang, fail, die or are late, on one node, for a while. */
function drawHandlers(r: Prng, plan: Plan): Step[] {
  if (!r.chance(0.25)) return [];
  const steps: Step[] = [];
  const add = (atMs: number, text: string) =>
    steps.push({ atMs: Math.min(plan.faultsMs, atMs), text });
  const faults = 1 + r.below(4);
  for (let i = 0; i < faults; i++) {
    const on = `${r.pick(HANDLER_EVENTS)} on ${r.pick(NODES)}`;
    const at = r.below(Math.max(1, plan.faultsMs - 1000));
    const does = ['hangs', 'dies', `exits ${r.below(9)}`, `takes ${1 + r.below(20_000)}ms`];
    add(at, `handler ${on} ${r.pick(does)}`);
    if (r.chance(0.5)) add(at + r.below(20_000), `handler ${on} works`);
  }
  return steps;
}
