/**
 * The second part of what version 8 of the swarm draws beside version 7, from dice of its own: in about a quarter of the clusters a second
 * resource, r1, with a volume, a port and a connection of its own on the same nodes, below the same service. One drbdd has both: what
 * happens to one of them, and how they are ordered (resync-after between resources), must not stop the other one.
 */
import type { Prng } from '../base/prng.js';
import type { Step } from './actions.js';
import {
  type ClusterConfig,
  NODES,
  RESOURCE_ORDERS,
  RESOURCES,
  type ResourceName,
} from './config.js';
import { dice, logBetween } from './dice.js';
import type { Plan } from './swarm.js';

const FIRST_FAULT_MS = 2500;

export function withResources(seed: number, plan: Plan): Plan {
  const r = dice(seed, 'swarm resources');
  if (!r.chance(0.25)) return plan;
  const other = { sizeBytes: r.pick([1, 2, 2, 4]) << 20, order: r.pick(RESOURCE_ORDERS) };
  const config = { ...plan.config, other };
  const steps = [...plan.steps, ...drawSteps(r, config, plan.faultsMs)];
  return { ...plan, config, steps: steps.sort((a, b) => a.atMs - b.atMs) };
}

/** One occurrence: [delay after its begin, text]. */
type Occurrence = readonly (readonly [number, string])[];
type Draw = (r: Prng, config: ClusterConfig) => Occurrence;

/** r1 more often: what version 7 draws is of r0, or of both. */
const anyResource = (r: Prng): ResourceName => r.pick(['r0', 'r1', 'r1']);
const firstVolume = (resource: ResourceName): string => (resource === 'r0' ? '0' : 'r1/0');
const otherOf = (resource: ResourceName): ResourceName => (resource === 'r0' ? 'r1' : 'r0');
const ms = (r: Prng, min: number, max: number): number => Math.round(logBetween(r, min, max));

/** Begins a whole resync of a resource, or of its first volume. */
function copied(r: Prng, resource: ResourceName): string {
  const verb = r.pick(['invalidate', 'invalidate', 'invalidate-remote']);
  const what = r.chance(0.5) ? `resource ${resource}` : `volume ${firstVolume(resource)}`;
  return `drbdadm ${verb} ${what} on ${r.pick(NODES)}`;
}

/** The connections of both, from that time on. */
function lost(r: Prng, atMs: number): Occurrence {
  if (r.chance(0.4)) return [[atMs, 'reset replication']];
  return [
    [atMs, 'cut replication'],
    [atMs + ms(r, 100, 12_000), 'heal replication'],
  ];
}

/** One of them is disconnected, or goes down, while the other one works. */
function without(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const resource = anyResource(r);
  const back = ms(r, 100, 8000);
  const before: Occurrence = r.chance(0.4) ? [[0, copied(r, otherOf(resource))]] : [];
  const at = r.below(600);
  const up = r.pick([`up resource ${resource}`, 'adjust', `adjust resource ${resource}`]);
  const pairs = [
    [`disconnect resource ${resource}`, `connect resource ${resource}`],
    [`disconnect resource ${resource}`, 'adjust'],
    [`down resource ${resource}`, up],
    [`down resource ${resource}`, up],
  ] as const;
  const [away, again] = r.pick(pairs);
  return [
    ...before,
    [at, `drbdadm ${away} on ${node}`],
    ...(r.chance(0.3) ? ([[at + r.below(back), `crash drbdd on ${node}`]] as const) : []),
    [at + back, `drbdadm ${again} on ${node}`],
    [at + back + 4000, 'drbdadm adjust on alpha'],
    [at + back + 4000, 'drbdadm adjust on beta'],
  ];
}

/** Trouble with the disk of one, and its users. */
function broken(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const disk = `disk ${node} volume ${firstVolume(anyResource(r))}`;
  const what = r.pick(['reads', 'writes', 'flushes']);
  const trouble = r.pick([
    `${what} fail ${r.pick([1, 5, 30, 100])}%`,
    `${what} fail ${r.pick([1, 5, 30, 100])}%`,
    'stuck',
    'stuck',
    `slow ${ms(r, 5, 500)}ms`,
    `full above ${r.below(100)}%`,
  ]);
  const before: Occurrence = r.chance(0.4) ? [[0, copied(r, anyResource(r))]] : [];
  const at = r.below(800);
  const worksMs = at + ms(r, 50, 8000);
  return [
    ...before,
    [at, `${disk} ${trouble}`],
    ...(r.chance(0.2) ? lost(r, at + r.below(2000)) : []),
    [worksMs, `${disk} works`],
    [worksMs + ms(r, 50, 4000), `drbdadm attach ${disk.split(' ').slice(2).join(' ')} on ${node}`],
  ];
}

function letGo(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const resource = anyResource(r);
  const force = r.chance(0.3) ? ' --force' : '';
  const before: Occurrence = r.chance(0.5) ? [[0, copied(r, otherOf(resource))]] : [];
  const at = 50 + r.below(1000);
  const awayMs = ms(r, 50, 8000);
  return [
    ...before,
    [at, `drbdadm detach${force} resource ${resource} on ${node}`],
    ...(r.chance(0.3) ? lost(r, at + r.below(awayMs)) : []),
    [at + awayMs, `drbdadm attach resource ${resource} on ${node}`],
  ];
}

/** Both are copied, maybe in opposite directions, and something ends it. */
function both(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const first = anyResource(r);
  const begun: Occurrence = [
    [0, copied(r, first)],
    [r.below(300), copied(r, otherOf(first))],
  ];
  const at = 300 + r.below(1500);
  switch (r.below(6)) {
    case 0:
      return [...begun, ...lost(r, at)];
    case 1:
      return [...begun, [at, `kill ${node}`], [at + ms(r, 300, 10_000), `boot ${node}`]];
    case 2:
      return [...begun, [at, `crash drbdd on ${node}`]];
    case 3:
      return [
        ...begun,
        [at, `drbdadm disconnect resource ${first} on ${node}`],
        [at + ms(r, 50, 5000), `drbdadm connect resource ${first} on ${node}`],
      ];
    case 4:
      return [
        ...begun,
        [at, `drbdadm pause-sync resource ${first} on ${node}`],
        [at + ms(r, 100, 5000), `drbdadm resume-sync resource ${first} on ${node}`],
      ];
    default:
      return begun;
  }
}

/** drbd.conf says another order between them. With two of them on their way the nodes may not have the same. */
function ordered(r: Prng): Occurrence {
  const adjust = (): string => `drbdadm adjust on ${r.pick(NODES)}`;
  const at = r.below(1500);
  return [
    [0, `set resource-order ${r.pick(RESOURCE_ORDERS)}`],
    [r.below(1000), adjust()],
    ...(r.chance(0.5) ? ([[r.below(1000), copied(r, anyResource(r))]] as const) : []),
    [at, 'set resource-order none'],
    [at, adjust()],
    [at + 1, `set resource-order ${r.pick(RESOURCE_ORDERS)}`],
    [at + 1 + r.below(1000), adjust()],
    [at + 1 + r.below(1000), adjust()],
  ];
}

/** An operator who means one of them: Primary where the other one is not, or frozen alone, or old. */
function roles(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const resource = anyResource(r);
  const force = r.chance(0.15) ? ' --force' : '';
  const at = r.below(1000);
  const later = at + ms(r, 50, 8000);
  switch (r.below(4)) {
    case 0:
      return [
        ...(r.chance(0.4) ? ([[0, 'cut replication']] as const) : []),
        [at, `drbdadm primary${force} resource ${resource} on ${node}`],
        [later, `drbdadm secondary resource ${resource} on ${node}`],
        [later, 'heal replication'],
      ];
    case 1:
      return [
        [at, `drbdadm suspend-io resource ${resource} on ${node}`],
        [later, `drbdadm resume-io resource ${resource} on ${node}`],
      ];
    case 2:
      return [[at, `drbdadm outdate resource ${resource} on ${node}`]];
    default:
      return [
        [0, `drbdadm disconnect resource ${resource} on ${node}`],
        [r.below(2000), `drbdadm connect --discard-my-data resource ${resource} on ${node}`],
        [2500, 'drbdadm adjust on alpha'],
        [2500, 'drbdadm adjust on beta'],
      ];
  }
}

/** Its peer is lost for both at once: two handlers, and one of them hangs or is late. */
function fenced(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const cutMs = ms(r, 500, 15_000);
  const does = r.pick(['hangs', 'dies', `takes ${1 + r.below(10_000)}ms`, 'works']);
  return [
    [0, `handler fence-peer on ${node} ${does}`],
    [r.below(500), 'cut replication'],
    [500 + r.below(cutMs), `handler fence-peer on ${node} works`],
    ...(r.chance(0.3) ? ([[500 + r.below(cutMs), `crash drbdd on ${node}`]] as const) : []),
    [500 + cutMs, 'heal replication'],
  ];
}

/** The disks of r1 grow, beside a resync of r0 or not. */
function grown(r: Prng, config: ClusterConfig): Occurrence {
  const kib = (config.other?.sizeBytes ?? 0) / 1024 + r.pick([4, 12, 64, 1024, 2048, 3000]);
  const [first, second] = r.chance(0.5) ? NODES : [NODES[1], NODES[0]];
  const apartMs = r.chance(0.6) ? 0 : r.below(2000);
  const what = r.chance(0.5) ? 'resource r1 ' : '';
  return [
    [0, `grow disk of ${first} volume r1/0 to ${kib}KiB`],
    [apartMs, `grow disk of ${second} volume r1/0 to ${kib}KiB`],
    ...(r.chance(0.4) ? ([[apartMs + r.below(500), copied(r, 'r0')]] as const) : []),
    [apartMs + r.below(500), `drbdadm resize ${what}on ${r.pick(NODES)}`],
    ...(r.chance(0.3) ? lost(r, apartMs + r.below(1000)) : []),
    [apartMs + 2000 + r.below(4000), `drbdadm resize resource r1 on ${r.pick(NODES)}`],
  ];
}

/** Another disk below one of them. */
function replaced(r: Prng): Occurrence {
  const node = r.pick(NODES);
  return [
    [0, `kill ${node}`],
    [r.below(1000), `disk ${node} volume r1/0 blank`],
    [1000 + r.below(8000), `boot ${node}`],
  ];
}

const KINDS: readonly { readonly of10: number; readonly draw: Draw }[] = [
  { of10: 7, draw: without },
  { of10: 6, draw: broken },
  { of10: 5, draw: letGo },
  { of10: 6, draw: both },
  { of10: 5, draw: ordered },
  { of10: 4, draw: roles },
  { of10: 3, draw: fenced },
  { of10: 3, draw: grown },
  { of10: 1, draw: replaced },
  {
    of10: 1,
    draw: (r) => [[0, `drbdadm verify resource ${r.pick(RESOURCES)} on ${r.pick(NODES)}`]],
  },
];

function drawSteps(r: Prng, config: ClusterConfig, faultsMs: number): Step[] {
  const kinds = KINDS.filter(({ of10 }) => r.below(10) < of10);
  const steps: Step[] = [];
  const meanMs = logBetween(r, 1500, 8000);
  if (kinds.length === 0) return steps;
  for (let at = FIRST_FAULT_MS + r.below(2000); at < faultsMs; at += 1 + r.below(2 * meanMs)) {
    for (const [delayMs, text] of r.pick(kinds).draw(r, config)) {
      steps.push({ atMs: Math.min(faultsMs, at + delayMs), text });
    }
  }
  return steps;
}
