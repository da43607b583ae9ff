/**
 * From a seed to a kind of cluster and a schedule of steps. The seed first draws which faults exist at all and how often,
 * then when: so runs differ in kind, and most faults are absent from most runs (swarm testing, Groce et al. 2012).
 */
import type { Prng } from '../base/prng.js';
import type { Step } from './actions.js';
import { type ClusterConfig, DEFAULT_CONFIG, NODES } from './config.js';
import { dice, logBetween } from './dice.js';
import { CLUSTER_VERSION } from './swarm-cluster.js';
import { withCongestion } from './swarm-congestion.js';
import { withGrowth } from './swarm-growth.js';
import { withGrowthBeside } from './swarm-growth-beside.js';
import { withParity } from './swarm-parity.js';
import { withResources } from './swarm-resources.js';
import { withThinResync } from './swarm-thin.js';
import { withVolumes } from './swarm-volumes.js';

/**
 * Which drawing is the newest. A seed means the same schedule only while nothing here or in config.ts that is drawn changes
 * (test/sim/swarm-version.test.ts notices): what is drawn beside it gets a number and dice of its own (3: swarm-parity.ts, 4: swarm-growth.ts,
 * 5: swarm-congestion.ts, 6: swarm-thin.ts, 7: swarm-volumes.ts, 8: swarm-growth-beside.ts and
 * swarm-resources.ts), and the seeds of the versions before mean what they did.
 */
export const SWARM_VERSION = 8;
/** Without what the versions since have added. */
export const FIRST_VERSION = 2;

/** A run of the swarm. */
export interface Draw {
  readonly seed: number;
  readonly version: number;
  /** Of this profile; without it, of the one that was asked for. */
  readonly profile?: AnyProfile;
}

/** What `--fault` chooses between. `large`: the swarm on disks that the activity log does not cover. */
export const PROFILES = [
  'swarm',
  'none',
  'network',
  'crash',
  'disk',
  'operator',
  'heartbeat',
  'large',
] as const;
export type Profile = (typeof PROFILES)[number];
/** `cluster`: another world, without drbd, drawn by swarm-cluster.ts with versions of its own. */
export const ALL_PROFILES = [...PROFILES, 'cluster'] as const;
export type AnyProfile = (typeof ALL_PROFILES)[number];

/** The drawings of a profile whose seeds mean what they did when they were found. */
export function versionsOf(profile: AnyProfile): {
  readonly first: number;
  readonly newest: number;
} {
  return profile === 'cluster'
    ? { first: 1, newest: CLUSTER_VERSION }
    : { first: FIRST_VERSION, newest: SWARM_VERSION };
}

export interface Plan {
  readonly config: ClusterConfig;
  readonly steps: readonly Step[];
  /** Faults end here. */
  readonly faultsMs: number;
}

interface Fault {
  readonly kind: Exclude<Profile, 'swarm' | 'large' | 'none'>;
  /** How often of ten runs it exists at all. */
  readonly in10: number;
  /** Draws the steps of one occurrence: [delay after its begin, text]. */
  readonly draw: (r: Prng) => readonly (readonly [number, string])[];
}

const anyNode = (r: Prng): string => r.pick(NODES);
const seconds = (r: Prng, min: number, max: number): number =>
  Math.round(logBetween(r, min, max) * 1000);
const text = (ms: number): string => `${ms}ms`;

const FAULTS: readonly Fault[] = [
  {
    kind: 'network',
    in10: 6,
    draw: (r) => {
      const from = r.chance(0.3) ? ` from ${anyNode(r)}` : '';
      return [
        [0, `cut replication${from}`],
        [seconds(r, 0.05, 20), 'heal replication'],
      ];
    },
  },
  {
    kind: 'network',
    in10: 3,
    draw: (r) => {
      const net = r.pick(['eth0', 'eth1']);
      const from = r.chance(0.3) ? ` from ${anyNode(r)}` : '';
      return [
        [0, `cut ${net}${from}`],
        [seconds(r, 0.2, 20), `heal ${net}`],
      ];
    },
  },
  {
    kind: 'network',
    in10: 2,
    draw: (r) => {
      const ms = seconds(r, 0.5, 20); // everything between the nodes
      return [
        [0, 'cut replication'],
        [0, 'cut eth0'],
        [0, 'cut eth1'],
        [ms, 'heal replication'],
        [ms + r.below(1500), 'heal eth0'],
        [ms + r.below(1500), 'heal eth1'],
      ];
    },
  },
  { kind: 'network', in10: 4, draw: () => [[0, 'reset replication']] },
  { kind: 'network', in10: 3, draw: (r) => [[0, `half-open replication at ${anyNode(r)}`]] },
  {
    kind: 'network',
    in10: 2,
    draw: (r) => [
      [0, `delay replication ${text(seconds(r, 0.005, 0.4))}`],
      [seconds(r, 0.5, 8), 'heal replication'],
    ],
  },
  {
    kind: 'network',
    in10: 3,
    draw: (r) => [
      [0, `lose ${r.pick(['eth0', 'eth1'])} ${5 + r.below(60)}%`],
      [seconds(r, 1, 15), 'heal eth0'],
      [seconds(r, 1, 15), 'heal eth1'],
    ],
  },
  {
    kind: 'crash',
    in10: 5,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `kill ${node}`],
        [seconds(r, 0.5, 25), `boot ${node}`],
      ];
    },
  },
  {
    kind: 'crash',
    in10: 2,
    draw: (r) => {
      const [first, second] = r.chance(0.5) ? NODES : [NODES[1], NODES[0]];
      const gap = r.chance(0.5) ? 0 : r.below(4000);
      return [
        [0, `kill ${first}`],
        [gap, `kill ${second}`],
        [gap + seconds(r, 0.5, 8), `boot ${r.chance(0.5) ? first : second}`],
        [gap + seconds(r, 2, 20), `boot ${first}`],
        [gap + seconds(r, 2, 20), `boot ${second}`],
      ];
    },
  },
  { kind: 'crash', in10: 5, draw: (r) => [[0, `crash drbdd on ${anyNode(r)}`]] },
  {
    kind: 'crash',
    in10: 3,
    draw: (r) => [[0, `pause ${anyNode(r)} for ${text(seconds(r, 0.2, 15))}`]],
  },
  {
    kind: 'crash',
    in10: 2,
    draw: (r) => [[0, `jump clock of ${anyNode(r)} by ${r.below(20_000) - 10_000}`]],
  },
  {
    kind: 'disk',
    in10: 2,
    draw: (r) => {
      const node = anyNode(r);
      const what = r.pick(['reads', 'writes', 'flushes']);
      return [
        [0, `disk ${node} ${what} fail ${r.pick([1, 5, 30, 100])}%`],
        [seconds(r, 0.05, 4), `disk ${node} works`],
        [seconds(r, 4, 12), `drbdadm attach on ${node}`],
      ];
    },
  },
  {
    kind: 'disk',
    in10: 2,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `disk ${node} stuck`],
        [seconds(r, 0.05, 12), `disk ${node} works`],
      ];
    },
  },
  {
    kind: 'disk',
    in10: 2,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `disk ${node} slow ${text(seconds(r, 0.005, 0.3))}`],
        [seconds(r, 0.5, 10), `disk ${node} works`],
      ];
    },
  },
  {
    kind: 'disk',
    in10: 1,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `kill ${node}`],
        [r.below(1000), `disk ${node} blank`],
        [1000 + r.below(8000), `boot ${node}`],
      ];
    },
  },
  {
    kind: 'operator',
    in10: 4,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `drbdadm disconnect on ${node}`],
        [seconds(r, 0.1, 8), `drbdadm connect on ${node}`],
        [seconds(r, 8, 12), 'drbdadm adjust on alpha'],
        [seconds(r, 8, 12), 'drbdadm adjust on beta'],
      ];
    },
  },
  {
    kind: 'operator',
    in10: 3,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `drbdadm detach${r.chance(0.3) ? ' --force' : ''} on ${node}`],
        [seconds(r, 0.1, 6), `drbdadm attach on ${node}`],
      ];
    },
  },
  { kind: 'operator', in10: 2, draw: (r) => [[0, `drbdadm invalidate on ${anyNode(r)}`]] },
  { kind: 'operator', in10: 1, draw: (r) => [[0, `drbdadm invalidate-remote on ${anyNode(r)}`]] },
  { kind: 'operator', in10: 2, draw: (r) => [[0, `drbdadm outdate on ${anyNode(r)}`]] },
  {
    kind: 'operator',
    in10: 2,
    draw: (r) => {
      const node = anyNode(r);
      const verb = r.pick(['pause-sync', 'suspend-io']);
      return [
        [0, `drbdadm ${verb} on ${node}`],
        [seconds(r, 0.1, 6), `drbdadm ${verb.replace(/pause|suspend/, 'resume')} on ${node}`],
      ];
    },
  },
  { kind: 'operator', in10: 1, draw: (r) => [[0, `drbdadm primary --force on ${anyNode(r)}`]] },
  {
    kind: 'operator',
    in10: 2,
    draw: (r) => [[0, `drbdadm ${r.pick(['primary', 'secondary'])} on ${anyNode(r)}`]],
  },
  {
    kind: 'operator',
    in10: 1,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `drbdadm disconnect on ${node}`],
        [r.below(3000), `drbdadm connect --discard-my-data on ${node}`],
        [3000 + r.below(3000), 'drbdadm adjust on alpha'],
        [3000 + r.below(3000), 'drbdadm adjust on beta'],
      ];
    },
  },
  {
    kind: 'operator',
    in10: 2,
    draw: (r) => [
      [0, `set protocol ${r.pick(['A', 'B', 'C'])}`],
      [r.below(2000), 'drbdadm adjust on alpha'],
      [r.below(2000), 'drbdadm adjust on beta'],
    ],
  },
  {
    kind: 'operator',
    in10: 2,
    draw: (r) => [
      [0, `set resync-rate ${r.pick([100, 1000, 50_000])}`],
      [r.below(500), 'drbdadm adjust on alpha'],
      [r.below(500), 'drbdadm adjust on beta'],
    ],
  },
  { kind: 'operator', in10: 5, draw: (r) => [[0, `switch to ${anyNode(r)}`]] },
  {
    kind: 'operator',
    in10: 1,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `drbdadm down on ${node}`],
        [seconds(r, 0.2, 8), `drbdadm up on ${node}`],
      ];
    },
  },
];

const SCRIPTS = ['drbddisk', 'Filesystem', 'IPaddr', 'service'] as const;

/** Exist in clusters with heartbeat only. */
const HEARTBEAT_FAULTS: readonly Fault[] = [
  {
    kind: 'heartbeat',
    in10: 5,
    draw: (r) => [[0, `hb_standby ${r.pick(['all', 'all', 'local', 'foreign'])} on ${anyNode(r)}`]],
  },
  {
    kind: 'heartbeat',
    in10: 3,
    draw: (r) => [[0, `hb_takeover ${r.pick(['all', 'local', 'failback'])} on ${anyNode(r)}`]],
  },
  { kind: 'heartbeat', in10: 4, draw: (r) => [[0, `crash heartbeat on ${anyNode(r)}`]] },
  {
    kind: 'heartbeat',
    in10: 3,
    draw: (r) => {
      const node = anyNode(r);
      return [
        [0, `stop heartbeat on ${node}`],
        [seconds(r, 1, 25), `start heartbeat on ${node}`],
      ];
    },
  },
  {
    kind: 'heartbeat',
    in10: 3,
    draw: (r) => [[0, `pause heartbeat on ${anyNode(r)} for ${text(seconds(r, 0.2, 20))}`]],
  },
  {
    kind: 'heartbeat',
    in10: 3,
    draw: (r) => {
      const what = `script ${r.pick(SCRIPTS)} on ${anyNode(r)} ${r.pick(['start', 'stop', 'status'])}`;
      const how = r.pick(['fails', 'hangs', 'lies', `takes ${text(seconds(r, 0.2, 12))}`]);
      return [
        [0, `${what} ${how}`],
        [seconds(r, 1, 20), `${what} works`],
      ];
    },
  },
];

const LARGE_BYTES = 40 << 20;
/** Faults begin when the first sync is over, or not. */
const FIRST_FAULT_MS = 3000;

export function plan(seed: number, profile: Profile, version = SWARM_VERSION): Plan {
  const first = firstPlan(seed, profile);
  if (version === FIRST_VERSION || profile === 'none') return first;
  const third = withParity(seed, first);
  if (version === 3) return third;
  const fourth = withGrowth(seed, third);
  if (version === 4) return fourth;
  const fifth = withCongestion(seed, fourth);
  if (version === 5) return fifth;
  const sixth = withThinResync(seed, fifth);
  if (version === 6) return sixth;
  const seventh = withVolumes(seed, sixth);
  return version === 7 ? seventh : withResources(seed, withGrowthBeside(seed, seventh));
}

function firstPlan(seed: number, profile: Profile): Plan {
  const r = dice(seed, 'swarm');
  const drawn = drawHeartbeat(dice(seed, 'swarm heartbeat'), drawConfig(r), profile);
  const config = profile === 'large' ? enlarged(drawn) : drawn;
  const steps = firstSteps(r);
  const faultsMs = 10_000 + r.below(50_000);
  const all = config.heartbeat === null ? FAULTS : [...FAULTS, ...HEARTBEAT_FAULTS];
  const kinds = all.filter((f) => {
    const exists = r.below(10) < f.in10;
    if (profile === 'swarm' || profile === 'large') return exists;
    return f.kind === profile && r.chance(0.7);
  });
  const meanMs = logBetween(r, 300, 6000);
  if (kinds.length > 0) {
    for (let at = FIRST_FAULT_MS + r.below(2000); at < faultsMs; at += 1 + r.below(2 * meanMs)) {
      for (const [delayMs, what] of r.pick(kinds).draw(r)) {
        // Refused with stonith, by configuration: not what is tried here.
        if (what === 'set protocol A' && config.disk.fencing === 'resource-and-stonith') continue;
        steps.push({ atMs: Math.min(faultsMs, at + delayMs), text: what });
      }
    }
  }
  for (let at = 2000; at < faultsMs; at += 1500 + r.below(3000)) {
    steps.push({ atMs: at, text: 'look after the service' });
  }
  return { config, steps: steps.sort((a, b) => a.atMs - b.atMs), faultsMs };
}

/** Two fresh disks: a full sync from a forced Primary, or the administrator knows that both are empty. */
function firstSteps(r: Prng): Step[] {
  const steps: Step[] = [
    { atMs: 0, text: 'boot alpha' },
    { atMs: r.below(300), text: 'boot beta' },
  ];
  if (r.chance(0.75)) {
    steps.push({ atMs: 1500, text: 'drbdadm new-current-uuid --clear-bitmap on alpha' });
    steps.push({ atMs: 1900, text: 'serve on alpha' });
  } else {
    steps.push({ atMs: 1500, text: 'drbdadm primary --force on alpha' });
    steps.push({ atMs: 1900, text: 'serve on alpha' });
  }
  return steps;
}

/**
 * More extents of 4 MiB than an activity log of 7 has: extents leave it while writes go on, and after a crash not everything
 * is marked. Fast enough to be synchronised within the time that a run has to settle.
 */
function enlarged(config: ClusterConfig): ClusterConfig {
  const { disk } = config;
  const resyncRateKiBps = Math.max(4000, disk.resyncRateKiBps);
  return { ...config, sizeBytes: LARGE_BYTES, disk: { ...disk, alExtents: 7, resyncRateKiBps } };
}

/** Half of the clusters have heartbeat; then the fence handler may be dopd. */
function drawHeartbeat(r: Prng, config: ClusterConfig, profile: Profile): ClusterConfig {
  if (profile !== 'heartbeat' && r.chance(0.5)) return config;
  const keepaliveMs = r.pick([200, 500, 1000]);
  const deadtimeMs = r.pick([3000, 5000, 8000]);
  return {
    ...config,
    heartbeat: {
      keepaliveMs,
      warntimeMs: Math.round(deadtimeMs / 2),
      deadtimeMs,
      initdeadMs: 2 * deadtimeMs + r.pick([0, 4000]),
    },
    autoFailback: r.pick(['on', 'off', 'off', 'legacy']),
    heartbeatNetworks: r.pick([
      ['eth0'],
      ['eth0', 'eth1'],
      ['eth0', 'replication'],
      ['eth0', 'eth1', 'replication'],
    ] as const),
    fenceHandler:
      config.fenceHandler === 'ssh' ? r.pick(['dopd', 'dopd', 'ssh']) : config.fenceHandler,
  };
}

function drawConfig(r: Prng): ClusterConfig {
  const d = DEFAULT_CONFIG;
  const slowDisk = r.chance(0.2);
  const depth = r.pick([1, 2, 4, 8, 32]);
  const fencing = r.pick(['dont-care', 'resource-only', 'resource-and-stonith'] as const);
  const protocol = r.pick(['C', 'C', 'C', 'C', 'C', 'A', 'B'] as const);
  return {
    ...d,
    sizeBytes: r.pick([1, 2, 4, 4, 8, 16]) << 20,
    net: {
      ...d.net,
      protocol: fencing === 'resource-and-stonith' ? 'C' : protocol,
      timeoutDs: r.pick([10, 30, 60]),
      pingTimeoutDs: r.pick([3, 5, 10]),
      pingIntS: r.pick([1, 3, 10]),
      connectIntS: r.pick([1, 3, 10]),
      koCount: r.pick([0, 1, 3, 7]),
      maxEpochSize: r.pick([16, 64, 2048]),
      maxBuffers: r.pick([64, 2048, 8000]),
      useRle: r.chance(0.7),
      dataIntegrityAlg: r.chance(0.15) ? 'md5' : '',
      cramHmacAlg: r.chance(0.3) ? 'sha1' : '',
      sharedSecret: 'simulated',
      afterSb0pri: r.pick([
        'disconnect',
        'discard-younger-primary',
        'discard-older-primary',
        'discard-zero-changes',
        'discard-least-changes',
      ]),
      afterSb1pri: r.pick([
        'disconnect',
        'consensus',
        'discard-secondary',
        'call-pri-lost-after-sb',
      ]),
      afterSb2pri: r.pick(['disconnect', 'disconnect', 'call-pri-lost-after-sb']),
      alwaysAsbp: r.chance(0.1),
      rrConflict: r.pick(['disconnect', 'disconnect', 'call-pri-lost']),
    },
    disk: {
      ...d.disk,
      fencing,
      onIoError: r.pick(['detach', 'detach', 'pass_on', 'call-local-io-error']),
      alExtents: r.pick([7, 67, 1237]),
      resyncRateKiBps: r.pick([250, 4000, 100_000]),
      cPlanAheadDs: r.pick([0, 20]),
      diskFlushes: true,
      mdFlushes: true,
    },
    resource: { ...d.resource, onNoDataAccessible: r.pick(['io-error', 'suspend-io']) },
    fenceHandler: r.pick(['ssh', 'ssh', 'ssh', 'none', { exit: r.pick([1, 5, 127]) }]),
    heartbeat: null,
    depth,
    thinkMs: Math.round((depth * 1000) / r.pick([10, 40, 100, 250])),
    networkDelayMs: r.pick([
      [0.03, 0.2],
      [0.3, 3],
      [5, 30],
    ] as const),
    diskLatencyMs: slowDisk ? [2, 20] : [0.05, 0.5],
    flushLatencyMs: slowDisk ? [5, 40] : [0.2, 3],
    diskDiscards: r.chance(0.7),
    driftPpm: { alpha: r.below(400) - 200, beta: r.below(400) - 200 },
  };
}
