/**
 * The options of a simulated cluster: those of drbd.conf and ha.cf by their names there, and what kind of machines, disks
 * and networks it is made of. One row each: how its value is read, and how it is written, so that a cluster that the swarm
 * has drawn can be written down as `set` lines.
 */
import {
  DISK_TABLE,
  type Option as DrbdOption,
  NET_TABLE,
  RESOURCE_TABLE,
  scaledNumber,
  valueError,
} from '../config/drbd-option-table.js';
import { type Dialect, FULL_DIALECT } from '../drbd/connect.js';
import { FEATURES_ALL, PROTOCOL_MAX, PROTOCOL_MIN } from '../wire/constants.js';
import {
  type ClusterConfig,
  DEFAULT_CONFIG,
  type FenceHandler,
  type HeartbeatTiming,
  NETWORKS,
  type OtherResource,
  RESOURCE_ORDERS,
  RESYNC_ORDERS,
  type SecondVolume,
} from './config.js';
import { CUT_ONE_IN } from './sim-tcp.js';
import { timeMs } from './words.js';

export interface Option {
  readonly name: string;
  readonly expects: string;
  /** Null: not a value of this option. */
  readonly set: (c: ClusterConfig, value: string) => ClusterConfig | null;
  /** Null: the cluster has no such thing. */
  readonly get: (c: ClusterConfig) => string | null;
}

/** How one value is read and written. Null: not one. */
interface Kind<T> {
  readonly expects: string;
  readonly read: (value: string) => T | null;
  readonly write: (value: T) => string;
}

/** Any option of drbd.conf, as its table reads it; a text that is empty is written `none`. */
function drbd<S extends 'net' | 'disk' | 'resource'>(
  section: S,
  key: keyof ClusterConfig[S],
  row: DrbdOption,
): Option {
  const put = (c: ClusterConfig, value: unknown): ClusterConfig => ({
    ...c,
    [section]: { ...c[section], [key]: value },
  });
  return {
    name: row.name,
    expects: expectedBy(row),
    set: (c, text) => {
      const bare = row.kind === 'text' && text === 'none' ? '' : text;
      if (valueError(row, bare) !== null) return null;
      if (row.kind === 'number') return put(c, scaledNumber(bare, row.scale));
      return put(c, row.kind === 'flag' ? bare === 'yes' : bare);
    },
    get: (c) => {
      const value = c[section][key];
      if (typeof value === 'boolean') return value ? 'yes' : 'no';
      return value === '' ? 'none' : String(value);
    },
  };
}

function expectedBy(row: DrbdOption): string {
  switch (row.kind) {
    case 'number':
      return `a number from ${row.min} to ${row.max}`;
    case 'word':
      return row.words.join(', ');
    case 'flag':
      return 'yes or no';
    case 'text':
      return 'a name, or none';
  }
}

function section<S extends 'net' | 'disk' | 'resource'>(
  name: S,
  table: Readonly<Record<keyof ClusterConfig[S], DrbdOption>>,
): Option[] {
  return (Object.keys(table) as (keyof ClusterConfig[S])[])
    .filter((key) => !NOT_OF_A_SCENARIO.has(table[key].name))
    .map((key) => drbd(name, key, table[key]));
}

/** `size` is the lower disk's here. */
const NOT_OF_A_SCENARIO: ReadonlySet<string> = new Set([
  'size',
  'resync-after',
  'cpu-mask',
  'allow-two-primaries',
]);

const number: Kind<number> = {
  expects: 'a whole number',
  read: (v) => (/^-?\d+$/.test(v) ? Number(v) : null),
  write: String,
};
const aboveZero: Kind<number> = {
  expects: 'a whole number above 0',
  read: (v) => (/^[1-9]\d*$/.test(v) ? Number(v) : null),
  write: String,
};
const yesNo: Kind<boolean> = {
  expects: 'yes or no',
  read: (v) => (v === 'yes' ? true : v === 'no' ? false : null),
  write: (v) => (v ? 'yes' : 'no'),
};
const time: Kind<number> = {
  expects: 'a time like 500ms',
  read: timeMs,
  write: (ms) => `${ms}ms`,
};
/** The time of one request: random between the two. */
const span: Kind<readonly [number, number]> = {
  expects: 'two times like 0.3ms..2ms',
  read: (v) => {
    const [min, max, more] = v.split('..').map(timeMs);
    return min === null || min === undefined || max === null || max === undefined || min > max
      ? null
      : more === undefined
        ? [min, max]
        : null;
  },
  write: ([min, max]) => `${min}ms..${max}ms`,
};
const mebibytes: Kind<number> = {
  expects: 'a size like 4MiB',
  read: (v) => {
    const m = /^([1-9]\d*)MiB$/.exec(v);
    return m ? Number(m[1]) << 20 : null;
  },
  write: (bytes) => `${bytes / (1 << 20)}MiB`,
};
function words<T extends string>(...list: readonly T[]): Kind<T> {
  return {
    expects: list.join(', '),
    read: (v) => list.find((w) => w === v) ?? null,
    write: (v) => v,
  };
}
function top<K extends keyof ClusterConfig>(
  name: string,
  key: K,
  kind: Kind<ClusterConfig[K]>,
): Option {
  return option(
    name,
    kind,
    (c, v) => ({ ...c, [key]: v }),
    (c) => c[key],
  );
}
function timing(name: string, key: keyof HeartbeatTiming): Option {
  return {
    name,
    expects: time.expects,
    set: (c, value) => {
      const ms = time.read(value);
      if (ms === null || c.heartbeat === null) return null;
      return { ...c, heartbeat: { ...c.heartbeat, [key]: ms } };
    },
    get: (c) => (c.heartbeat === null ? null : time.write(c.heartbeat[key])),
  };
}
function drift(node: 'alpha' | 'beta'): Option {
  return option(
    `drift-${node}`,
    { ...number, expects: 'parts per million' },
    (c, ppm) => ({ ...c, driftPpm: { ...c.driftPpm, [node]: ppm } }),
    (c) => c.driftPpm[node],
  );
}
/** What beta offers to its peer. */
function dialect(name: string, key: keyof Dialect, min: number, max: number): Option {
  return {
    name,
    expects: `a number from ${min} to ${max}`,
    set: (c, text) => {
      const n = number.read(text);
      if (n === null || n < min || n > max) return null;
      const { dialect: old = FULL_DIALECT, ...rest } = c;
      const next = { ...old, [key]: n };
      const full =
        next.protocolMax === FULL_DIALECT.protocolMax && next.features === FULL_DIALECT.features;
      return full ? rest : { ...rest, dialect: next };
    },
    get: (c) => number.write((c.dialect ?? FULL_DIALECT)[key]),
  };
}
/** Of volume 1. `set`: null is no value of it, undefined no second volume. */
function second(
  name: string,
  expects: string,
  set: (two: SecondVolume | undefined, value: string) => SecondVolume | undefined | null,
  get: (two: SecondVolume | undefined) => string | null,
): Option {
  return {
    name,
    expects,
    set: ({ second: old, ...rest }, value) => {
      const next = set(old, value);
      if (next === null) return null;
      return next ? { ...rest, second: next } : rest;
    },
    get: (c) => get(c.second),
  };
}
function secondSized(
  two: SecondVolume | undefined,
  value: string,
): SecondVolume | undefined | null {
  if (value === 'none') return undefined;
  const sizeBytes = mebibytes.read(value);
  return sizeBytes === null ? null : { resyncAfter: 'none', ...two, sizeBytes };
}
function secondOrdered(
  two: SecondVolume | undefined,
  value: string,
): SecondVolume | undefined | null {
  const resyncAfter = RESYNC_ORDERS.find((order) => order === value);
  if (!two && resyncAfter === 'none') return undefined;
  return two && resyncAfter ? { ...two, resyncAfter } : null;
}
/** Of r1. `set`: null is no value of it, undefined no second resource. */
function other(
  name: string,
  expects: string,
  set: (one: OtherResource | undefined, value: string) => OtherResource | undefined | null,
  get: (one: OtherResource | undefined) => string,
): Option {
  return {
    name,
    expects,
    set: ({ other: old, ...rest }, value) => {
      const next = set(old, value);
      if (next === null) return null;
      return next ? { ...rest, other: next } : rest;
    },
    get: (c) => get(c.other),
  };
}
function otherSized(
  one: OtherResource | undefined,
  value: string,
): OtherResource | undefined | null {
  if (value === 'none') return undefined;
  const sizeBytes = mebibytes.read(value);
  return sizeBytes === null ? null : { order: 'none', ...one, sizeBytes };
}
function otherOrdered(
  one: OtherResource | undefined,
  value: string,
): OtherResource | undefined | null {
  const order = RESOURCE_ORDERS.find((known) => known === value);
  if (!one && order === 'none') return undefined;
  return one && order ? { ...one, order } : null;
}
function option<T>(
  name: string,
  kind: Kind<T>,
  put: (c: ClusterConfig, value: T) => ClusterConfig,
  take: (c: ClusterConfig) => T,
): Option {
  return {
    name,
    expects: kind.expects,
    set: (c, text) => {
      const value = kind.read(text);
      return value === null ? null : put(c, value);
    },
    get: (c) => kind.write(take(c)),
  };
}

const FENCE_PEER: Kind<FenceHandler> = {
  expects: 'dopd, ssh, none, or the exit status that the handler always has',
  read: (v) => {
    const exit = /^\d+$/.test(v) ? Number(v) : null;
    return exit !== null ? { exit } : words('dopd', 'ssh', 'none').read(v);
  },
  write: (v) => (typeof v === 'object' ? String(v.exit) : v),
};
const NETWORK_NAMES: Kind<ClusterConfig['heartbeatNetworks']> = {
  expects: `networks, separated by commas, of ${NETWORKS.join(', ')}`,
  read: (v) => {
    const names = v.split(',').map((n) => NETWORKS.find((w) => w === n) ?? null);
    return names.some((n) => n === null) ? null : names.filter((n) => n !== null);
  },
  write: (v) => v.join(','),
};

export const OPTIONS: readonly Option[] = [
  ...section('net', NET_TABLE),
  ...section('disk', DISK_TABLE),
  ...section('resource', RESOURCE_TABLE),
  top('fence-peer', 'fenceHandler', FENCE_PEER),
  // ---- ha.cf
  option(
    'heartbeat',
    words('on', 'none'),
    (c, v) => ({
      ...c,
      heartbeat: v === 'none' ? null : (c.heartbeat ?? DEFAULT_CONFIG.heartbeat),
    }),
    (c) => (c.heartbeat === null ? 'none' : 'on'),
  ),
  timing('keepalive', 'keepaliveMs'),
  timing('warntime', 'warntimeMs'),
  timing('deadtime', 'deadtimeMs'),
  timing('initdead', 'initdeadMs'),
  top('auto-failback', 'autoFailback', words('on', 'off', 'legacy')),
  top('heartbeat-networks', 'heartbeatNetworks', NETWORK_NAMES),
  // ---- the machines, and the service's client
  top('size', 'sizeBytes', mebibytes),
  top('depth', 'depth', number),
  top('think', 'thinkMs', time),
  top('network-delay', 'networkDelayMs', span),
  top('disk-latency', 'diskLatencyMs', span),
  top('flush-latency', 'flushLatencyMs', span),
  top('disk-discards', 'diskDiscards', yesNo),
  option(
    'disk-discard-zeroes',
    yesNo,
    ({ diskDiscardZeroes: _, ...rest }, zeroes) =>
      zeroes ? rest : { ...rest, diskDiscardZeroes: false },
    (c) => c.diskDiscardZeroes ?? true,
  ),
  option(
    'tcp-cut-one-in',
    aboveZero,
    ({ tcpCutOneIn: _, ...rest }, n) => (n === CUT_ONE_IN ? rest : { ...rest, tcpCutOneIn: n }),
    (c) => c.tcpCutOneIn ?? CUT_ONE_IN,
  ),
  second('second-volume', 'none, or a size like 2MiB', secondSized, (two) =>
    two ? mebibytes.write(two.sizeBytes) : 'none',
  ),
  second('resync-after', RESYNC_ORDERS.join(', '), secondOrdered, (two) =>
    two ? two.resyncAfter : 'none',
  ),
  other('second-resource', 'none, or a size like 2MiB', otherSized, (one) =>
    one ? mebibytes.write(one.sizeBytes) : 'none',
  ),
  other('resource-order', RESOURCE_ORDERS.join(', '), otherOrdered, (one) => one?.order ?? 'none'),
  drift('alpha'),
  drift('beta'),
  dialect('protocol-max', 'protocolMax', PROTOCOL_MIN, PROTOCOL_MAX),
  dialect('features', 'features', 0, FEATURES_ALL),
];

const BY_NAME = new Map(OPTIONS.map((o) => [o.name, o]));

/** The configuration with one option changed; an Error names what was expected. */
export function setOption(c: ClusterConfig, name: string, value: string): ClusterConfig {
  const found = BY_NAME.get(name);
  if (!found) {
    const names = OPTIONS.map((o) => o.name).join(', ');
    throw new Error(`"${name}" is not an option of the simulator: expected one of ${names}`);
  }
  const next = found.set(c, value);
  if (!next) throw new Error(`${name}: expected ${found.expects}, found "${value}"`);
  return next;
}

/** What makes `c` out of the default configuration: names and values for `setOption`, in the order in which they are set. */
export function optionsOf(c: ClusterConfig): readonly (readonly [name: string, value: string])[] {
  const out: (readonly [string, string])[] = [];
  let now: ClusterConfig = DEFAULT_CONFIG;
  for (const o of OPTIONS) {
    const value = o.get(c);
    if (value === null || value === o.get(now)) continue;
    out.push([o.name, value]);
    now = setOption(now, o.name, value);
  }
  return out;
}
