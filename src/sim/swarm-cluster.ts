/**
 * The drawing of the profile `cluster`: from a seed to a cluster without drbd and a schedule of its own faults. With dice of its own, so that
 * what the seeds of the other profiles draw does not change; and with versions of its own.
 */
import type { Prng } from '../base/prng.js';
import type { Step } from './actions.js';
import type { ClusterGroup, ClusterSetup } from './cluster-setup.js';
import { NODES } from './config.js';
import { dice, logBetween } from './dice.js';

/** Which drawing of this profile is the newest, and the only one so far. What is drawn anew gets the next number. */
export const CLUSTER_VERSION = 1;

export interface ClusterPlan {
  readonly setup: ClusterSetup;
  readonly steps: readonly Step[];
  /** Faults end here. */
  readonly faultsMs: number;
}

interface Fault {
  /** How often of ten runs it exists at all. */
  readonly in10: number;
  /** Clusters that it can happen to. */
  readonly fits?: (setup: ClusterSetup) => boolean;
  /** Draws the steps of one occurrence: [delay after its begin, text]. */
  readonly draw: (r: Prng, setup: ClusterSetup) => readonly (readonly [number, string])[];
}

const anyNode = (r: Prng): string => r.pick(NODES);
const seconds = (r: Prng, min: number, max: number): number =>
  Math.round(logBetween(r, min, max) * 1000);
const text = (ms: number): string => `${ms}ms`;
const anyService = (r: Prng, { groups }: ClusterSetup): string => r.pick(groups).service;
const hasWitness = ({ witness }: ClusterSetup): boolean => witness !== null;
const hasFence = ({ fence }: ClusterSetup): boolean => fence !== null;
const hasHealth = ({ health }: ClusterSetup): boolean => health.intervalS > 0;

const FAULTS: readonly Fault[] = [
  // ---- networks
  {
    in10: 6, // everything between the nodes, both ways or one
    draw: (r, { networks }) => {
      const from = r.chance(0.35) ? ` from ${anyNode(r)}` : '';
      const ms = seconds(r, 1, 60);
      return networks.flatMap((net) => [
        [0, `cut ${net}${from}`] as const,
        [ms + r.below(1500), `heal ${net}`] as const,
      ]);
    },
  },
  {
    in10: 4, // one link
    draw: (r, { networks }) => {
      const net = r.pick(networks);
      const from = r.chance(0.4) ? ` from ${anyNode(r)}` : '';
      return [
        [0, `cut ${net}${from}`],
        [seconds(r, 0.5, 30), `heal ${net}`],
      ];
    },
  },
  {
    in10: 2,
    draw: (r, { networks }) => {
      const net = r.pick(networks);
      return [
        [
          0,
          r.chance(0.5)
            ? `lose ${net} ${5 + r.below(50)}%`
            : `delay ${net} ${text(seconds(r, 0.05, 2))}`,
        ],
        [seconds(r, 2, 20), `heal ${net}`],
      ];
    },
  },
  // ---- machines and daemons
  {
    in10: 5,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `kill ${node}`],
        [seconds(r, 0.5, 60), `boot ${node}`],
      ];
    },
  },
  { in10: 3, draw: (r) => [[0, `pause ${anyNode(r)} for ${text(seconds(r, 0.3, 30))}`]] },
  { in10: 1, draw: (r) => [[0, `jump clock of ${anyNode(r)} by ${r.below(20_000) - 10_000}`]] },
  {
    in10: 4,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `crash heartbeat on ${node}`],
        [seconds(r, 0.2, 30), `start heartbeat on ${node}`], // where no angel does
      ];
    },
  },
  {
    in10: 3,
    draw: (r) => [[0, `pause heartbeat on ${anyNode(r)} for ${text(seconds(r, 0.3, 30))}`]],
  },
  // ---- services
  {
    in10: 5,
    fits: hasHealth,
    draw: (r, setup) => {
      const what = `service ${anyService(r, setup)} on ${anyNode(r)}`;
      return [
        [0, `${what} ${r.pick(['ends', 'ends', 'hangs', 'fails', 'degraded'])}`],
        [seconds(r, 5, 60), `${what} works`],
      ];
    },
  },
  {
    in10: 2,
    draw: (r, setup) => {
      const what = `service ${anyService(r, setup)} on ${anyNode(r)}`;
      return [
        [0, `${what} stubborn`],
        [seconds(r, 5, 60), `${what} works`],
      ];
    },
  },
  {
    in10: 3,
    draw: (r, setup) => {
      const name = r.chance(0.3) ? 'IPaddr' : anyService(r, setup);
      const what = `script ${name} on ${anyNode(r)} ${r.pick(['start', 'stop'])}`;
      return [
        [0, `${what} ${r.pick(['fails', 'hangs', `takes ${text(seconds(r, 0.2, 8))}`])}`],
        [seconds(r, 2, 40), `${what} works`],
      ];
    },
  },
  // ---- what is asked
  {
    in10: 6,
    fits: ({ pings }) => pings.length > 0,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `ping nodes of ${node} silent`],
        [seconds(r, 3, 60), `ping nodes of ${node} answer`],
      ];
    },
  },
  {
    in10: 5,
    fits: hasFence,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `fence of ${node} ${r.pick(['fails', 'fails', 'hangs', 'late', 'late', 'stutters'])}`],
        [0, `fence of ${node} takes ${text(seconds(r, 0.1, 15))}`],
        [seconds(r, 10, 90), `fence of ${node} works`],
      ];
    },
  },
  {
    in10: 1,
    fits: hasFence,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `fence of ${node} lies`],
        [seconds(r, 10, 60), `fence of ${node} works`],
      ];
    },
  },
  { in10: 4, fits: hasWitness, draw: () => [[0, 'witness restarts']] },
  {
    in10: 3,
    fits: hasWitness,
    draw: (r) => [
      [0, 'witness stops'],
      [seconds(r, 2, 60), 'witness restarts'],
    ],
  },
  {
    in10: 6,
    fits: hasWitness,
    draw: (r) => [
      [0, `witness ${r.pick(['deaf to', 'unheard by'])} ${anyNode(r)}`],
      [seconds(r, 2, 60), 'witness hears all'],
    ],
  },
  {
    in10: 4,
    fits: hasWitness,
    draw: (r) => [
      [0, `witness slow ${text(seconds(r, 0.1, 4))}`],
      [0, `witness loses ${r.pick([0, 10, 30])}%`],
      [seconds(r, 10, 90), 'witness slow 5ms'],
      [seconds(r, 10, 90), 'witness loses 0%'],
    ],
  },
  // ---- operators
  {
    in10: 4,
    draw: (r) => [[0, `hb_standby ${r.pick(['all', 'all', 'local', 'foreign'])} on ${anyNode(r)}`]],
  },
  {
    in10: 3,
    draw: (r) => [[0, `hb_takeover ${r.pick(['all', 'local', 'failback'])} on ${anyNode(r)}`]],
  },
  {
    in10: 3,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `stop heartbeat on ${node}`],
        [seconds(r, 1, 60), `start heartbeat on ${node}`],
      ];
    },
  },
  {
    in10: 5,
    fits: hasHealth,
    draw: (r) => [
      [
        0,
        r.pick([
          'recover alpha',
          'recover beta',
          'recover alpha --force',
          'recover beta --force',
          `recover peer of ${anyNode(r)}`,
        ]),
      ],
    ],
  },
  { in10: 3, draw: (r) => [[0, `reload on ${anyNode(r)}`]] },
  { in10: 2, draw: (r) => [[0, `reload nonsense on ${anyNode(r)}`]] },
  {
    in10: 2, // as it is to be done, one node after the other
    draw: (r) => {
      let at = 0;
      return (['both', 'turned', 'new'] as const).flatMap((keys) =>
        NODES.map((node) => {
          at += 500 + r.below(8000);
          return [at, `keys ${keys} on ${node}`] as const;
        }),
      );
    },
  },
  { in10: 1, draw: (r) => [[0, `keys ${r.pick(['old', 'new'])} on ${anyNode(r)}`]] }, // as not
];

/** Both are there, and have taken their groups. */
const FIRST_FAULT_MS = 16_000;

export function clusterPlan(seed: number): ClusterPlan {
  const r = dice(seed, 'swarm cluster');
  const setup = drawSetup(r);
  const steps: Step[] = [
    { atMs: 0, text: 'boot alpha' },
    { atMs: r.chance(0.1) ? 1000 + r.below(60_000) : r.below(900), text: 'boot beta' },
  ];
  const faultsMs = 60_000 + r.below(180_000);
  const kinds = FAULTS.filter(({ in10, fits = () => true }) => r.below(10) < in10 && fits(setup));
  const meanMs = logBetween(r, 1500, 15_000);
  const first = r.chance(0.15) ? 0 : FIRST_FAULT_MS; // also into the start
  for (
    let at = first + r.below(2000);
    at < faultsMs && kinds.length > 0;
    at += 1 + r.below(2 * meanMs)
  ) {
    for (const [delayMs, what] of r.pick(kinds).draw(r, setup)) {
      steps.push({ atMs: Math.min(faultsMs, at + delayMs), text: what });
    }
  }
  return { setup, steps: steps.sort((a, b) => a.atMs - b.atMs), faultsMs };
}

function drawSetup(r: Prng): ClusterSetup {
  const keepaliveMs = r.pick([250, 500, 1000]);
  const deadtimeMs = r.pick([3000, 5000, 8000]);
  const kind = r.pick(['none', 'fence', 'fence', 'witness', 'witness', 'witness', 'both'] as const);
  const hasLease = kind === 'witness' || kind === 'both';
  const stopLimitS = r.pick([10, 15, 25]);
  const drift = [0, 40, -60, 4000, -4000];
  return {
    keepaliveMs,
    deadtimeMs,
    initdeadMs: 2 * deadtimeMs + r.pick([0, 4000]),
    autoFailback: r.pick(['on', 'on', 'on', 'off', 'off', 'off', 'legacy'] as const),
    failbackDelayS: r.pick([0, 0, 5, 20]),
    movesPerHour: r.pick([0, 1, 2, 4]),
    networks: r.chance(0.5) ? ['eth0'] : ['eth0', 'eth1'],
    groups: drawGroups(r),
    pings: r.chance(0.3) ? ['10.0.0.253', '10.0.0.254'].slice(0, 1 + r.below(2)) : [],
    fence:
      kind === 'fence' || kind === 'both'
        ? { delayS: r.pick([0, 0, 3]), timeoutS: r.pick([10, 20]) }
        : null,
    witness: hasLease ? { leaseS: r.pick([6, 10, 20]), stopLimitS } : null,
    watchdog: hasLease || r.chance(0.4), // without it a lease does not stop a daemon that stands still
    health: {
      intervalS: r.pick([0, 2, 3, 5]),
      steps: r.pick([3, 4, 5]),
      timeoutS: r.pick([2, 3, 5]), // longer than any of its scripts takes
      restartsPerHour: r.pick([0, 1, 3]),
    },
    scriptTimeoutS: r.pick([3, 6]),
    respawnMs: r.chance(0.6) ? 500 : null,
    scriptMs: r.pick([
      [5, 40],
      [5, 300],
      [20, 1200],
    ] as const),
    startMs: r.pick([20, 100, 1500]),
    driftPpm: { alpha: r.pick(drift), beta: r.pick(drift) },
  };
}

/** Two or three, not all at home on one node. */
function drawGroups(r: Prng): readonly ClusterGroup[] {
  const groups: ClusterGroup[] = [
    { home: 'alpha', address: '10.9.0.1', service: 'one' },
    { home: 'beta', address: r.chance(0.5) ? '10.9.0.2' : null, service: 'two' },
  ];
  if (r.chance(0.5)) {
    groups.push({
      home: r.pick(NODES),
      address: r.chance(0.5) ? '10.9.0.3' : null,
      service: 'three',
    });
  }
  return groups;
}
