/** The options of a simulated cluster by their names in drbd.conf and ha.cf. */
import type { ClusterConfig, FenceHandler } from './config.js';
import { timeMs } from './words.js';

type Setter = (c: ClusterConfig, value: string) => ClusterConfig | null;

const number = (value: string): number | null => (/^\d+$/.test(value) ? Number(value) : null);
const net =
  (set: (value: string) => Partial<ClusterConfig['net']> | null): Setter =>
  (c, value) => {
    const part = set(value);
    return part && { ...c, net: { ...c.net, ...part } };
  };
const disk =
  (set: (value: string) => Partial<ClusterConfig['disk']> | null): Setter =>
  (c, value) => {
    const part = set(value);
    return part && { ...c, disk: { ...c.disk, ...part } };
  };
const oneOf = <T extends string>(value: string, ...words: readonly T[]): T | null =>
  words.find((w) => w === value) ?? null;
const time =
  (field: 'keepaliveMs' | 'warntimeMs' | 'deadtimeMs' | 'initdeadMs'): Setter =>
  (c, value) => {
    const ms = timeMs(value);
    return ms === null || c.heartbeat === null
      ? null
      : { ...c, heartbeat: { ...c.heartbeat, [field]: ms } };
  };

export const OPTIONS: Readonly<Record<string, Setter>> = {
  protocol: net((v) => {
    const protocol = oneOf(v, 'A', 'B', 'C');
    return protocol && { protocol };
  }),
  'after-sb-0pri': net((v) => ({ afterSb0pri: v })),
  'after-sb-1pri': net((v) => ({ afterSb1pri: v })),
  'after-sb-2pri': net((v) => ({ afterSb2pri: v })),
  'rr-conflict': net((v) => ({ rrConflict: v })),
  timeout: net((v) => numberAs(v, (timeoutDs) => ({ timeoutDs }))),
  'ping-int': net((v) => numberAs(v, (pingIntS) => ({ pingIntS }))),
  'ping-timeout': net((v) => numberAs(v, (pingTimeoutDs) => ({ pingTimeoutDs }))),
  'connect-int': net((v) => numberAs(v, (connectIntS) => ({ connectIntS }))),
  'ko-count': net((v) => numberAs(v, (koCount) => ({ koCount }))),
  'max-epoch-size': net((v) => numberAs(v, (maxEpochSize) => ({ maxEpochSize }))),
  'max-buffers': net((v) => numberAs(v, (maxBuffers) => ({ maxBuffers }))),
  'cram-hmac-alg': net((v) => ({ cramHmacAlg: v, sharedSecret: 'simulated' })),
  'data-integrity-alg': net((v) => ({ dataIntegrityAlg: v })),
  fencing: disk((v) => {
    const fencing = oneOf(v, 'dont-care', 'resource-only', 'resource-and-stonith');
    return fencing && { fencing };
  }),
  'on-io-error': disk((v) => {
    const onIoError = oneOf(v, 'detach', 'pass_on', 'call-local-io-error');
    return onIoError && { onIoError };
  }),
  'al-extents': disk((v) => numberAs(v, (alExtents) => ({ alExtents }))),
  'resync-rate': disk((v) => numberAs(v, (resyncRateKiBps) => ({ resyncRateKiBps }))),
  'c-plan-ahead': disk((v) => numberAs(v, (cPlanAheadDs) => ({ cPlanAheadDs }))),
  'on-no-data-accessible': (c, v) => {
    const onNoDataAccessible = oneOf(v, 'io-error', 'suspend-io');
    return onNoDataAccessible && { ...c, resource: { ...c.resource, onNoDataAccessible } };
  },
  /** dopd, ssh, none, or the exit status that it always has. */
  'fence-peer': (c, v) => {
    const exit = number(v);
    const handler: FenceHandler | null = exit !== null ? { exit } : oneOf(v, 'dopd', 'ssh', 'none');
    return handler && { ...c, fenceHandler: handler };
  },
  'auto-failback': (c, v) => {
    const autoFailback = oneOf(v, 'on', 'off', 'legacy');
    return autoFailback && { ...c, autoFailback };
  },
  heartbeat: (c, v) => (v === 'none' ? { ...c, heartbeat: null } : null),
  keepalive: time('keepaliveMs'),
  warntime: time('warntimeMs'),
  deadtime: time('deadtimeMs'),
  initdead: time('initdeadMs'),
  'heartbeat-networks': (c, v) => {
    const names = v.split(',').map((n) => oneOf(n, 'eth0', 'eth1', 'replication'));
    return names.some((n) => n === null)
      ? null
      : { ...c, heartbeatNetworks: names.filter((n) => n !== null) };
  },
  size: (c, v) => {
    const m = /^(\d+)MiB$/.exec(v);
    return m ? { ...c, sizeBytes: Number(m[1]) << 20 } : null;
  },
  depth: (c, v) => {
    const depth = number(v);
    return depth === null ? null : { ...c, depth };
  },
  think: (c, v) => {
    const thinkMs = timeMs(v);
    return thinkMs === null ? null : { ...c, thinkMs };
  },
};

function numberAs<T>(value: string, make: (n: number) => T): T | null {
  const n = number(value);
  return n === null ? null : make(n);
}

/** The configuration with one option changed; an Error names what was expected. */
export function setOption(c: ClusterConfig, option: string, value: string): ClusterConfig {
  const setter = OPTIONS[option];
  if (!setter) {
    throw new Error(
      `"${option}" is not an option of the simulator: ${Object.keys(OPTIONS).join(', ')}`,
    );
  }
  const next = setter(c, value);
  if (!next) throw new Error(`${option}: "${value}" is not a value that it takes`);
  return next;
}
