/**
 * What version 7 of the swarm draws beside version 6, from dice of its own: in about half of the clusters a second volume of the same
 * resource, beside the first on the same connection, with resync-after between the two, and what can happen to one of them alone
 * while the other is resynchronised. All others are those of version 6.
 */
import type { Prng } from '../base/prng.js';
import { FULL_DIALECT } from '../drbd/connect.js';
import type { Step } from './actions.js';
import { NODES, RESYNC_ORDERS } from './config.js';
import { dice, logBetween } from './dice.js';
import type { Plan } from './swarm.js';

const FIRST_FAULT_MS = 2500;
/** Peers below it know one volume for each resource. */
const FIRST_PROTOCOL_WITH_VOLUMES = 100;

export function withVolumes(seed: number, plan: Plan): Plan {
  const r = dice(seed, 'swarm volumes');
  const { config } = plan;
  const { protocolMax } = config.dialect ?? FULL_DIALECT;
  if (r.chance(0.25) || protocolMax < FIRST_PROTOCOL_WITH_VOLUMES) return plan;
  const second = {
    sizeBytes: r.pick([1, 2, 2, 4]) << 20,
    resyncAfter: r.pick(RESYNC_ORDERS),
  };
  // What is said of one volume often arrives before what is said of the next.
  const apart = r.chance(0.7) ? { tcpCutOneIn: r.pick([1, 2, 4]) } : {};
  const steps = [...plan.steps, ...drawSteps(r, plan.faultsMs)];
  return {
    ...plan,
    config: { ...config, second, ...apart },
    steps: steps.sort((a, b) => a.atMs - b.atMs),
  };
}

/** One occurrence: [delay after its begin, text]. */
type Occurrence = readonly (readonly [number, string])[];

const anyVolume = (r: Prng): string => r.pick(['0', '1', '1']);
const ms = (r: Prng, min: number, max: number): number => Math.round(logBetween(r, min, max));

/** Begins a whole resync of one volume. */
function copied(r: Prng, volume: string): string {
  const verb = r.pick(['invalidate', 'invalidate', 'invalidate-remote']);
  return `drbdadm ${verb} volume ${volume} on ${r.pick(NODES)}`;
}

const other = (volume: string): string => (volume === '0' ? '1' : '0');

/** The connection, from that time on. */
function lost(r: Prng, atMs: number): Occurrence {
  if (r.chance(0.4)) return [[atMs, 'reset replication']];
  return [
    [atMs, 'cut replication'],
    [atMs + ms(r, 100, 12_000), 'heal replication'],
  ];
}

/** One copy is let go and comes back, maybe while the other volume is copied, or behind the end of the connection. */
function letGo(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const volume = anyVolume(r);
  const force = r.chance(0.3) ? ' --force' : '';
  const before = r.chance(0.6) ? ([[0, copied(r, other(volume))]] as const) : [];
  const at = 50 + r.below(1000);
  const awayMs = ms(r, 50, 8000);
  return [
    ...before,
    [at, `drbdadm detach${force} volume ${volume} on ${node}`],
    ...(r.chance(0.4) ? lost(r, at + r.below(awayMs)) : []),
    [at + awayMs, `drbdadm attach volume ${volume} on ${node}`],
  ];
}

/** Trouble with one disk alone. */
function broken(r: Prng): Occurrence {
  const disk = `disk ${r.pick(NODES)} volume 1`;
  const what = r.pick(['reads', 'writes', 'flushes']);
  const trouble = r.pick([
    `${what} fail ${r.pick([1, 5, 30, 100])}%`,
    `${what} fail ${r.pick([1, 5, 30, 100])}%`,
    'stuck',
    `slow ${ms(r, 5, 300)}ms`,
  ]);
  const before = r.chance(0.4) ? ([[0, copied(r, anyVolume(r))]] as const) : [];
  const at = r.below(800);
  const worksMs = at + ms(r, 50, 8000);
  const node = disk.split(' ')[1];
  return [
    ...before,
    [at, `${disk} ${trouble}`],
    [worksMs, `${disk} works`],
    [worksMs + ms(r, 50, 4000), `drbdadm attach volume 1 on ${node}`],
  ];
}

/** drbd.conf says another order. With two of them on their way the nodes may not have the same. */
function ordered(r: Prng): Occurrence {
  const adjust = (): string => `drbdadm adjust on ${r.pick(NODES)}`;
  const at = r.below(1500);
  return [
    [0, `set resync-after ${r.pick(RESYNC_ORDERS)}`],
    [r.below(1000), adjust()],
    [at, 'set resync-after none'],
    [at, adjust()],
    [at + 1, `set resync-after ${r.pick(RESYNC_ORDERS)}`],
    [at + 1 + r.below(1000), adjust()],
    [at + 1 + r.below(1000), adjust()],
  ];
}

function paused(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const volume = anyVolume(r);
  const before = r.chance(0.7) ? ([[0, copied(r, anyVolume(r))]] as const) : [];
  const at = r.below(500);
  return [
    ...before,
    [at, `drbdadm pause-sync volume ${volume} on ${node}`],
    [at + ms(r, 100, 6000), `drbdadm resume-sync volume ${volume} on ${node}`],
  ];
}

/** Both are copied, maybe in opposite directions, and something ends it. */
function both(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const first = anyVolume(r);
  const begun: Occurrence = [
    [0, copied(r, first)],
    [r.below(300), copied(r, other(first))],
  ];
  const at = 300 + r.below(1500);
  switch (r.below(5)) {
    case 0:
    case 1:
      return [...begun, ...lost(r, at)];
    case 2:
      return [...begun, [at, `kill ${node}`], [at + ms(r, 300, 10_000), `boot ${node}`]];
    case 3:
      return [...begun, [at, `crash drbdd on ${node}`]];
    default:
      return begun;
  }
}

/** An operator who means one volume of the resource: maybe Primary where the other one is not. */
function roles(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const volume = anyVolume(r);
  const force = r.chance(0.15) ? ' --force' : '';
  const at = r.below(1000);
  return [
    ...(r.chance(0.4) ? ([[0, 'cut replication']] as const) : []),
    [at, `drbdadm primary${force} volume ${volume} on ${node}`],
    [at + ms(r, 50, 8000), `drbdadm secondary volume ${volume} on ${node}`],
    [at + ms(r, 50, 8000), 'heal replication'],
  ];
}

/** What stops one volume, or makes it old. */
function stopped(r: Prng): Occurrence {
  const node = r.pick(NODES);
  const volume = anyVolume(r);
  const at = ms(r, 50, 5000);
  switch (r.below(4)) {
    case 0:
      return [[0, `drbdadm outdate volume ${volume} on ${node}`]];
    case 1:
      return [
        [0, `drbdadm suspend-io volume ${volume} on ${node}`],
        [at, `drbdadm resume-io volume ${volume} on ${node}`],
      ];
    case 2:
      return [
        [0, `disk ${node} volume 1 full above ${r.below(100)}%`],
        [at, `disk ${node} volume 1 works`],
        [at + 500, `drbdadm attach volume 1 on ${node}`],
      ];
    default:
      return [
        [0, `drbdadm disconnect on ${node}`],
        [r.below(1000), `drbdadm new-current-uuid volume ${volume} on ${node}`],
        [1000 + at, `drbdadm connect on ${node}`],
      ];
  }
}

/** Another disk below one volume. */
function replaced(r: Prng): Occurrence {
  const node = r.pick(NODES);
  return [
    [0, `kill ${node}`],
    [r.below(1000), `disk ${node} volume 1 blank`],
    [1000 + r.below(8000), `boot ${node}`],
  ];
}

const KINDS = [
  { of10: 6, draw: letGo },
  { of10: 6, draw: broken },
  { of10: 5, draw: ordered },
  { of10: 5, draw: paused },
  { of10: 7, draw: both },
  { of10: 3, draw: roles },
  { of10: 3, draw: stopped },
  { of10: 1, draw: replaced },
  { of10: 1, draw: (r: Prng): Occurrence => [[0, `drbdadm verify volume 1 on ${r.pick(NODES)}`]] },
] as const;

function drawSteps(r: Prng, faultsMs: number): Step[] {
  const kinds = KINDS.filter(({ of10 }) => r.below(10) < of10);
  const steps: Step[] = [];
  const meanMs = logBetween(r, 1500, 8000);
  if (kinds.length === 0) return steps;
  for (let at = FIRST_FAULT_MS + r.below(2000); at < faultsMs; at += 1 + r.below(2 * meanMs)) {
    for (const [delayMs, text] of r.pick(kinds).draw(r)) {
      steps.push({ atMs: Math.min(faultsMs, at + delayMs), text });
    }
  }
  return steps;
}
