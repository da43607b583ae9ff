/**
 * What kind of cluster is simulated: sizes, options and timings of one run. The swarm draws it from the seed; a scenario
 * states what differs from the default. Fixed names: the nodes are alpha and beta, the resource is r0 (minor 0, and maybe volume 1
 * of it, minor 1), and maybe r1 (one volume, the next minor), the networks are `replication`, `eth0` and `eth1` (heartbeat).
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

/** r1 has a connection of its own, beside that of r0. */
export const RESOURCES = ['r0', 'r1'] as const;
export type ResourceName = (typeof RESOURCES)[number];

/** Between volume 0 of r0 and r1, in drbd.conf. */
export const RESOURCE_ORDERS = ['none', 'r1-after-r0', 'r0-after-r1'] as const;
export type ResourceOrder = (typeof RESOURCE_ORDERS)[number];

/** r1: one volume, on disks of its own. The service uses it as it uses r0. */
export interface OtherResource {
  readonly sizeBytes: number;
  readonly order: ResourceOrder;
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
  /** Absent: r0 is the only resource (a value would be another plan of a seed). */
  readonly other?: OtherResource;
}

export function resourcesOf(c: ClusterConfig): readonly ResourceName[] {
  return c.other ? RESOURCES : ['r0'];
}

/** Those of r0 are its volume numbers; r1 has the next one. `resource`: of that one alone. */
export function minorsOf(
  c: ClusterConfig,
  resource: ResourceName | null = null,
): readonly number[] {
  const first = c.second ? [0, 1] : [0];
  const all = c.other ? [...first, first.length] : first;
  return resource === null ? all : all.filter((minor) => resourceOf(c, minor) === resource);
}

export function resourceOf(c: ClusterConfig, minor: number): ResourceName {
  return c.other && minor === minorOfOther(c) ? 'r1' : 'r0';
}

export function volumeOf(c: ClusterConfig, minor: number): number {
  return resourceOf(c, minor) === 'r1' ? 0 : minor;
}

function minorOfOther(c: ClusterConfig): number {
  return c.second ? 2 : 1;
}

/** `0` and `1` are volumes of r0. Null: there is none in this cluster. */
export function minorOfWord(c: ClusterConfig, word: string): number | null {
  const minor = word === 'r1/0' ? minorOfOther(c) : Number(word);
  const isThere = minorsOf(c, word === 'r1/0' ? 'r1' : 'r0').includes(minor);
  return isThere ? minor : null;
}

export function sizeBytesOf(c: ClusterConfig, minor: number): number {
  if (resourceOf(c, minor) === 'r1') return c.other?.sizeBytes ?? 0;
  return minor === 0 ? c.sizeBytes : (c.second?.sizeBytes ?? 0);
}

/** All of them but `resync-after` are the same everywhere. */
export function diskOptionsOf(c: ClusterConfig, minor: number): DiskOptions {
  if (!c.second && !c.other) return c.disk;
  return { ...c.disk, resyncAfterMinor: resyncAfterOf(c, minor) };
}

/** Minor 0 can come after one only: where the other volume and r1 are both to be first, r1 is. */
function resyncAfterOf(c: ClusterConfig, minor: number): number {
  const order = c.other?.order ?? 'none';
  if (resourceOf(c, minor) === 'r1') return order === 'r1-after-r0' ? 0 : -1;
  if (minor === 0 && order === 'r0-after-r1') return minorOfOther(c);
  const after = { none: -1, '1-after-0': minor === 1 ? 0 : -1, '0-after-1': minor === 0 ? 1 : -1 };
  return after[c.second?.resyncAfter ?? 'none'];
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
