/**
 * What kind of cluster a run of the profile `cluster` has: two nodes with heartbeat and resource groups, without drbd. The texts of its
 * files, which the real parsers read.
 */
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import { DEFAULT_CONFIG, type NodeName } from './config.js';
import { type HeartbeatTexts, heartbeatTexts } from './heartbeat-config.js';

export interface ClusterGroup {
  readonly home: NodeName;
  /** Null: it has a service alone. */
  readonly address: string | null;
  readonly service: string;
}

export interface ClusterSetup {
  readonly keepaliveMs: number;
  readonly deadtimeMs: number;
  readonly initdeadMs: number;
  readonly autoFailback: 'on' | 'off' | 'legacy';
  readonly failbackDelayS: number;
  readonly movesPerHour: number;
  readonly networks: readonly ('eth0' | 'eth1')[];
  readonly groups: readonly ClusterGroup[];
  /** With any, ipfail runs. */
  readonly pings: readonly string[];
  /** A device that resets the other node; null: none. */
  readonly fence: { readonly delayS: number; readonly timeoutS: number } | null;
  readonly witness: { readonly leaseS: number; readonly stopLimitS: number } | null;
  readonly watchdog: boolean;
  readonly health: TwinbeatIni['health'];
  readonly scriptTimeoutS: number;
  /** Whether an angel starts a killed daemon again, and after which pause. */
  readonly respawnMs: number | null;
  readonly scriptMs: readonly [number, number];
  readonly startMs: number; // of a service
  readonly driftPpm: Readonly<Record<NodeName, number>>;
}

/** Somebody is asked, or something done, before what a lost node ran is started: so it never runs twice. */
export function isProtected(setup: ClusterSetup): boolean {
  return setup.fence !== null || setup.witness !== null;
}

export function resourcesOf({ address, service }: ClusterGroup): readonly string[] {
  return address === null ? [service] : [`IPaddr::${address}`, service];
}

/** Keys of authkeys while they are changed: a node takes any of its keys, and signs with the first. */
export const KEY_STEPS = {
  old: 'auth 1\n1 crc\n',
  both: 'auth 1\n1 crc\n2 md5 simulated\n',
  turned: 'auth 2\n1 crc\n2 md5 simulated\n',
  new: 'auth 2\n2 md5 simulated\n',
} as const;
export type KeyStep = keyof typeof KEY_STEPS;

/** `edits`: so often ha.cf was edited, each time well. */
export function clusterTexts(setup: ClusterSetup, keys: KeyStep, edits: number): HeartbeatTexts {
  const { keepaliveMs, deadtimeMs, initdeadMs, autoFailback, networks, pings, fence, witness } =
    setup;
  const haresources = setup.groups
    .map((group) => `${group.home} ${resourcesOf(group).join(' ')}\n`)
    .join('');
  const timing = { keepaliveMs, deadtimeMs, initdeadMs, warntimeMs: Math.round(deadtimeMs / 2) };
  const cluster = {
    ...DEFAULT_CONFIG,
    heartbeat: timing,
    autoFailback,
    heartbeatNetworks: networks,
  };
  const texts = heartbeatTexts(cluster, haresources);
  const lines = [
    ...pings.map((name) => `ping ${name}`),
    ...(pings.length > 0 ? ['respawn hacluster /usr/lib/heartbeat/ipfail'] : []),
    ...(setup.watchdog ? ['watchdog /dev/watchdog'] : []),
    // By turns what needs a new life and what is taken in place.
    ...(edits > 0 ? [`rtprio ${1 + (Math.ceil(edits / 2) % 50)}`, `debug ${edits}`] : []),
  ];
  return {
    ...texts,
    haCf: texts.haCf + lines.map((line) => `${line}\n`).join(''),
    authkeys: KEY_STEPS[keys],
    scriptTimeoutS: setup.scriptTimeoutS,
    failbackDelayS: setup.failbackDelayS,
    movesPerHour: setup.movesPerHour,
    health: setup.health,
    ...(fence ? { fence: { ...texts.fence, agent: 'fence_sim', ...fence } } : {}),
    ...(witness
      ? { witness: { ...texts.witness, address: '192.0.2.1:1', cluster: 'c', ...witness } }
      : {}),
  };
}
