/**
 * The first part of what version 8 of the swarm draws beside version 7, from dice of its own: in about a third of the clusters with a
 * second volume the disks of that one grow, too, and `drbdadm resize` says so: beside a growth of the first volume, beside a resync of it,
 * with meta-data that move while the first volume is written, and with an end of the connection or of a node in the middle of it.
 * All others are those of version 7.
 */
import type { Prng } from '../base/prng.js';
import type { Step } from './actions.js';
import { NODES, type NodeName } from './config.js';
import { dice, logBetween } from './dice.js';
import type { Plan } from './swarm.js';

const FIRST_GROWTH_MS = 3000;
/** Growths of the second volume in one run. */
const MOST_GROWTHS = 3;
/** By a little: the areas of the meta-data overlap. */
const GROWN_BY_KIB = [4, 12, 64, 1024, 2048] as const;

/** One occurrence: [delay after its begin, text]. */
type Occurrence = readonly (readonly [number, string])[];

export function withGrowthBeside(seed: number, plan: Plan): Plan {
  const r = dice(seed, 'swarm growth beside');
  const { second } = plan.config;
  if (!r.chance(0.35) || !second) return plan;
  const kinds = KINDS.filter(({ of10 }) => r.below(10) < of10).map(({ draw }) => draw);
  const draws = kinds.length > 0 ? kinds : [alone];
  const growths = 1 + r.below(MOST_GROWTHS);
  const sizes: Sizes = [plan.config.sizeBytes / 1024, second.sizeBytes / 1024];
  const added: Step[] = [];
  let at = FIRST_GROWTH_MS;
  for (let i = 0; i < growths; i++) {
    at += r.below(10_000);
    // What version 4 draws makes the first volume larger, too: less than that would be nothing.
    sizes[0] = Math.max(sizes[0], grownBefore(plan, at));
    const occurrence = r.pick(draws)(r, sizes);
    for (const [delayMs, text] of occurrence) {
      added.push({ atMs: Math.min(plan.faultsMs, at + delayMs), text });
    }
    at += Math.max(...occurrence.map(([delayMs]) => delayMs));
  }
  const steps = [...plan.steps, ...added];
  return { ...plan, steps: steps.sort((a, b) => a.atMs - b.atMs) };
}

/** Of the lower disks of each volume, in KiB. */
type Sizes = [number, number];

function grownBefore(plan: Plan, atMs: number): number {
  let kib = 0;
  for (const step of plan.steps) {
    const grown = /^grow disk of \w+ to (\d+)KiB$/.exec(step.text);
    if (grown && step.atMs <= atMs) kib = Math.max(kib, Number(grown[1]));
  }
  return kib;
}

const either = (r: Prng): readonly [NodeName, NodeName] =>
  r.chance(0.5) ? NODES : [NODES[1], NODES[0]];
const ms = (r: Prng, min: number, max: number): number => Math.round(logBetween(r, min, max));

/** Both disks of a volume, in any order, maybe apart. */
function disksGrow(r: Prng, volume: number, sizes: Sizes): Occurrence {
  sizes[volume === 0 ? 0 : 1] += r.pick(GROWN_BY_KIB);
  const kib = sizes[volume === 0 ? 0 : 1];
  const [first, second] = either(r);
  const apartMs = r.chance(0.6) ? 0 : r.below(2000);
  return [
    [0, `grow disk of ${first} volume ${volume} to ${kib}KiB`],
    [apartMs, `grow disk of ${second} volume ${volume} to ${kib}KiB`],
  ];
}

/** Of that volume, or of all: maybe too early. */
function resize(r: Prng, volume: number): string {
  const only = r.chance(0.7) ? ` volume ${volume}` : '';
  return `drbdadm resize${only} on ${r.pick(NODES)}`;
}

const lastOf = (o: Occurrence): number => Math.max(...o.map(([delayMs]) => delayMs));

/** Somebody says resize, and once more when all is well again. */
function alone(r: Prng, sizes: Sizes): Occurrence {
  const disks = disksGrow(r, 1, sizes);
  const at = lastOf(disks);
  return [...disks, [r.below(1000 + at), resize(r, 1)], [at + 1000 + r.below(5000), resize(r, 1)]];
}

/** Both volumes at one time, on one node or on both: two resyncs of new storage on one connection. */
function together(r: Prng, sizes: Sizes): Occurrence {
  const disks = [...disksGrow(r, 0, sizes), ...disksGrow(r, 1, sizes)];
  const at = lastOf(disks);
  const gapMs = r.chance(0.5) ? 0 : r.below(300);
  const one = r.pick(NODES);
  const asked: Occurrence = r.chance(0.4)
    ? [[at + 10, `drbdadm resize on ${one}`]]
    : [
        [at + 10, `drbdadm resize volume 0 on ${one}`],
        [at + 10 + gapMs, `drbdadm resize volume 1 on ${r.pick(NODES)}`],
      ];
  return [
    ...disks,
    ...asked,
    ...(r.chance(0.5) ? ended(r, at + 10 + r.below(400)) : []),
    [at + 3000 + r.below(5000), `drbdadm resize on ${r.pick(NODES)}`],
  ];
}

/** The other volume, or this one, is copied as it is resized; or as soon as it was. */
function copied(r: Prng, sizes: Sizes): Occurrence {
  const disks = disksGrow(r, 1, sizes);
  const at = lastOf(disks) + 10;
  const volume = r.pick([0, 0, 0, 1]);
  const verb = r.pick(['invalidate', 'invalidate', 'invalidate-remote']);
  return [
    ...disks,
    [at + r.below(600), resize(r, 1)],
    [at + r.below(600), `drbdadm ${verb} volume ${volume} on ${r.pick(NODES)}`],
    ...(r.chance(0.4) ? ended(r, at + 600 + r.below(600)) : []),
    [at + 3000 + r.below(6000), resize(r, 1)],
  ];
}

/** One copy is let go, its disk grows, and its meta-data are moved before it is attached: the other volume is written all the time. */
function moved(r: Prng, sizes: Sizes): Occurrence {
  const volume = r.pick([1, 1, 1, 0]);
  const at = volume === 0 ? 0 : 1;
  sizes[at] += r.pick(GROWN_BY_KIB);
  const kib = sizes[at];
  const [first, second] = either(r);
  const awayMs = ms(r, 50, 3000);
  const backMs = 50 + awayMs;
  const later: Occurrence = r.chance(0.5)
    ? [[backMs + r.below(1500), `grow disk of ${second} volume ${volume} to ${kib}KiB`]]
    : [
        [backMs + 500, `drbdadm detach volume ${volume} on ${second}`],
        [backMs + 600, `grow disk of ${second} volume ${volume} to ${kib}KiB`],
        [backMs + 600 + awayMs, `drbdadm attach volume ${volume} on ${second}`],
      ];
  return [
    [0, `drbdadm detach volume ${volume} on ${first}`],
    [r.below(awayMs), `grow disk of ${first} volume ${volume} to ${kib}KiB`],
    [backMs, `drbdadm attach volume ${volume} on ${first}`],
    ...(r.chance(0.4) ? ([[backMs + r.below(500), resize(r, 1)]] as const) : []),
    ...later,
    [lastOf(later) + r.below(1500), resize(r, volume)],
    [lastOf(later) + 2000 + r.below(4000), `drbdadm resize on ${r.pick(NODES)}`],
  ];
}

/** While the nodes do not see each other; or one of them is off, and finds its meta-data where they were. */
function apart(r: Prng, sizes: Sizes): Occurrence {
  const node = r.pick(NODES);
  const awayMs = ms(r, 300, 8000);
  const [begin, end] = r.chance(0.5)
    ? ['cut replication', 'heal replication']
    : [`kill ${node}`, `boot ${node}`];
  const disks = disksGrow(r, 1, sizes).map(([delayMs, text]) => [100 + delayMs, text] as const);
  return [
    [0, begin],
    ...disks,
    ...(r.chance(0.5) ? disksGrow(r, 0, sizes) : []),
    [100 + r.below(awayMs), resize(r, 1)],
    [awayMs, end],
    [awayMs + r.below(1500), resize(r, 1)],
    [awayMs + 2000 + r.below(5000), `drbdadm resize on ${r.pick(NODES)}`],
  ];
}

/** One disk of the second volume is in trouble as it is resized. */
function broken(r: Prng, sizes: Sizes): Occurrence {
  const disks = disksGrow(r, 1, sizes);
  const at = lastOf(disks) + 10;
  const node = r.pick(NODES);
  const volume = r.pick([0, 1, 1]);
  const what = r.pick([
    `writes fail ${r.pick([5, 30, 100])}%`,
    `reads fail ${r.pick([5, 30, 100])}%`,
    'stuck',
    `slow ${ms(r, 5, 300)}ms`,
  ]);
  const worksMs = at + ms(r, 100, 5000);
  return [
    ...disks,
    [at + r.below(200), `disk ${node} volume ${volume} ${what}`],
    [at + r.below(200), resize(r, 1)],
    [worksMs, `disk ${node} volume ${volume} works`],
    [worksMs + 500 + r.below(2000), `drbdadm attach volume ${volume} on ${node}`],
    [worksMs + 3000 + r.below(3000), resize(r, 1)],
  ];
}

/** What ends a resync of new storage. */
function ended(r: Prng, atMs: number): Occurrence {
  const node = r.pick(NODES);
  switch (r.below(5)) {
    case 0:
      return [[atMs, 'reset replication']];
    case 1:
      return [
        [atMs, 'cut replication'],
        [atMs + ms(r, 100, 8000), 'heal replication'],
      ];
    case 2:
      return [
        [atMs, `kill ${node}`],
        [atMs + ms(r, 300, 8000), `boot ${node}`],
      ];
    case 3:
      return [[atMs, `crash drbdd on ${node}`]];
    default:
      return [
        [atMs, `drbdadm detach volume 1 on ${node}`],
        [atMs + ms(r, 50, 3000), `drbdadm attach volume 1 on ${node}`],
      ];
  }
}

const KINDS = [
  { of10: 5, draw: alone },
  { of10: 7, draw: together },
  { of10: 6, draw: copied },
  { of10: 5, draw: moved },
  { of10: 4, draw: apart },
  { of10: 4, draw: broken },
] as const;
