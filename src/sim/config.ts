/**
 * What kind of cluster is simulated: sizes, options and timings of one run. The swarm draws it from the seed; a scenario
 * states what differs from the default. Fixed names: the nodes are alpha and beta, the resource is r0 (minor 0, and maybe volume 1
 * of it, minor 1), the networks are `replication`, `eth0` and `eth1` (heartbeat).
 */
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type DiskOptions,
  type NetOptions,
  type ResourceOptions,
} from '../config/drbd-options.js';
import { type Dialect, FULL_DIALECT } from '../drbd/connect.js';

export const NODES = ['alpha', 'beta'] as const;
export type NodeName = (typeof NODES)[number];

export function peerOf(node: NodeName): NodeName {
  return node === 'alpha' ? 'beta' : 'alpha';
}

export const NETWORKS = ['replication', 'eth0', 'eth1'] as const;
export type NetworkName = (typeof NETWORKS)[number];

/** What runs for `fence-peer`: dopd over heartbeat's links, `drbdadm outdate` by ssh, nothing, or a handler that always exits so. */
export type FenceHandler = 'none' | 'dopd' | 'ssh' | { readonly exit: number };

/** Between the two volumes, in drbd.conf: which is resynchronised first. */
export const RESYNC_ORDERS = ['none', '1-after-0', '0-after-1'] as const;
export type ResyncOrder = (typeof RESYNC_ORDERS)[number];

/** Volume 1 of the resource: beside volume 0, on disks of its own. */
export interface SecondVolume {
  readonly sizeBytes: number;
  readonly resyncAfter: ResyncOrder;
}

export interface HeartbeatTiming {
  readonly keepaliveMs: number;
  readonly warntimeMs: number;
  readonly deadtimeMs: number;
  readonly initdeadMs: number;
}

export interface ClusterConfig {
  readonly sizeBytes: number; // of each lower disk, meta-data included
  readonly net: NetOptions;
  readonly disk: DiskOptions;
  readonly resource: ResourceOptions;
  readonly fenceHandler: FenceHandler;
  /** Null: no heartbeat; roles are the operator's. */
  readonly heartbeat: HeartbeatTiming | null;
  readonly autoFailback: 'on' | 'off' | 'legacy';
  readonly heartbeatNetworks: readonly NetworkName[];
  /** Requests under way at one time, and the pause between one's answer and the next, of the service's client. */
  readonly depth: number;
  readonly thinkMs: number;
  /** One way, in ms. */
  readonly networkDelayMs: readonly [number, number];
  readonly diskLatencyMs: readonly [number, number];
  readonly flushLatencyMs: readonly [number, number];
  readonly diskDiscards: boolean;
  /** What is discarded reads as zeroes. Absent: it does (a value would be another plan of a seed). */
  readonly diskDiscardZeroes?: boolean;
  /** Clock drift of each node in parts per million. */
  readonly driftPpm: Readonly<Record<NodeName, number>>;
  /** What beta offers to speak, an older peer; alpha knows everything. Absent: so does beta (`null` would be another plan of a seed). */
  readonly dialect?: Dialect;
  /** One piece in so many of what is sent over TCP is cut anywhere. Absent: one in 24 (a value would be another plan of a seed). */
  readonly tcpCutOneIn?: number;
  /** Absent: the resource has one volume (a value would be another plan of a seed). */
  readonly second?: SecondVolume;
}

/** Volume numbers are minors. */
export function minorsOf(c: ClusterConfig): readonly number[] {
  return c.second ? [0, 1] : [0];
}

export function sizeBytesOf(c: ClusterConfig, minor: number): number {
  return minor === 0 ? c.sizeBytes : (c.second?.sizeBytes ?? 0);
}

/** All of them but `resync-after` are the same for both volumes. */
export function diskOptionsOf(c: ClusterConfig, minor: number): DiskOptions {
  if (!c.second) return c.disk;
  const after = { none: -1, '1-after-0': minor === 1 ? 0 : -1, '0-after-1': minor === 0 ? 1 : -1 };
  return { ...c.disk, resyncAfterMinor: after[c.second.resyncAfter] };
}

/** What peers in the field offer (docs/PROTOCOL.md, features). The swarm is to draw from these: `dialect: r.pick(DIALECTS)`. */
export const DIALECTS: readonly Dialect[] = [
  FULL_DIALECT,
  { protocolMax: 101, features: 7 }, // 8.4.7
  { protocolMax: 101, features: 1 }, // 8.4.5
  { protocolMax: 101, features: 0 }, // 8.4.2
  { protocolMax: 100, features: 0 }, // 8.4.0
  { protocolMax: 99, features: 0 },
  { protocolMax: 96, features: 0 }, // 8.3.10
  { protocolMax: 95, features: 0 },
  { protocolMax: 94, features: 0 }, // 8.3.8
  { protocolMax: 91, features: 0 },
  { protocolMax: 89, features: 0 }, // 8.3.0
  { protocolMax: 88, features: 0 },
  { protocolMax: 86, features: 0 }, // 8.0
  { protocolMax: 86, features: 0xf }, // 8.4.11, held to the oldest version (test/golden/wire/tap-protocol-86)
];

export const DEFAULT_CONFIG: ClusterConfig = {
  sizeBytes: 4 << 20,
  net: { ...DEFAULT_NET_OPTIONS, connectIntS: 3 },
  // A resync that makes way for the client all the time would outlast most runs: who wants that says so (c-min-rate).
  disk: { ...DEFAULT_DISK_OPTIONS, cMinRateKiBps: 0 },
  resource: DEFAULT_RESOURCE_OPTIONS,
  fenceHandler: 'none',
  heartbeat: { keepaliveMs: 1000, warntimeMs: 2000, deadtimeMs: 5000, initdeadMs: 20_000 },
  autoFailback: 'off',
  heartbeatNetworks: ['eth0'],
  depth: 4,
  thinkMs: 20,
  networkDelayMs: [0.05, 0.3],
  diskLatencyMs: [0.05, 0.5],
  flushLatencyMs: [0.2, 3],
  diskDiscards: true,
  driftPpm: { alpha: 0, beta: 0 },
};
