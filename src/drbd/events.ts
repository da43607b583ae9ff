/**
 * What `drbdsetup events2` reports: the objects of a resource (itself, its connection, devices, and devices at the peer), and what
 * became of them from one look to the next. In the shape of DRBD 9 with 8.4's one peer, as drbd-utils 9 shows an 8.4 kernel.
 *
 *     exists  at the beginning       create, destroy  an object         change  its state (statistics alone are none)
 *
 * Pure. An event carries all of an object; who prints it leaves out what has not changed. Source: `drbdsetup events2` observed with
 * kernel DRBD 8.4.11; test/drbd/events.test.ts has its lines.
 */
import { diskName, Roles, roleName } from './state.js';
import type { ResourceStatus, VolumeStatus } from './status.js';
import {
  connectionText,
  kib,
  peerRole,
  replicationText,
  resourceRole,
  resyncSuspendedText,
  suspendedText,
  upperBlocked,
  WRITE_ORDERING,
  yesNo,
} from './status-text.js';

export type ObjectKind = 'resource' | 'connection' | 'device' | 'peer-device';
/** Names and values in the order in which they are printed. */
export type Fields = readonly (readonly [name: string, value: string])[];

export interface StatusObject {
  readonly kind: ObjectKind;
  readonly key: Fields;
  readonly state: Fields;
  readonly statistics: Fields;
}

export type StatusEvent =
  | ({ readonly action: 'exists' | 'create' | 'change' | 'destroy' } & StatusObject)
  | HelperEvent;

/** A handler was called, or has ended. */
export interface HelperEvent {
  readonly action: 'call' | 'response';
  readonly kind: 'helper';
  readonly key: Fields; // with `helper`, the event's name
  readonly status: number | null; // its exit code, of a response
}

const PEER: Fields = [
  ['peer-node-id', '0'],
  ['conn-name', 'peer'],
];

/** Of one resource, in the order of the first report. */
export function statusObjects(r: ResourceStatus): StatusObject[] {
  const volumes = r.volumes.toSorted((a, b) => a.volume - b.volume);
  const connected = r.connection !== null;
  return [
    resourceObject(r),
    ...(connected ? [connectionObject(r, r.connection)] : []),
    ...volumes.map((v) => deviceObject(r, v)),
    ...(connected ? volumes.map((v) => peerDeviceObject(r, v)) : []),
  ];
}

function resourceObject(r: ResourceStatus): StatusObject {
  const [first] = r.volumes;
  return {
    kind: 'resource',
    key: [['name', r.name]],
    state: [
      ['role', roleName(resourceRole(r))],
      ['suspended', suspendedText(r)],
    ],
    statistics: first ? [['write-ordering', WRITE_ORDERING[first.writeOrdering]]] : [],
  };
}

function connectionObject(r: ResourceStatus, conn: number): StatusObject {
  return {
    kind: 'connection',
    key: [['name', r.name], ...PEER],
    state: [
      ['connection', connectionText(conn)],
      ['role', r.volumes.length === 0 ? roleName(Roles.Unknown) : roleName(peerRole(r))],
    ],
    statistics: [['congested', yesNo(r.volumes.some((v) => v.congested))]],
  };
}

function deviceObject(r: ResourceStatus, v: VolumeStatus): StatusObject {
  const c = v.counters;
  const counts: readonly (readonly [string, number])[] = [
    ['size', kib(v.sizeSectors)],
    ['read', kib(c.readSectors)],
    ['written', kib(c.writeSectors)],
    ['al-writes', c.alTransactions],
    ['bm-writes', c.bitmapWrites],
    ['upper-pending', c.applicationPending],
    ['lower-pending', c.localPending],
  ];
  return {
    kind: 'device',
    key: [
      ['name', r.name],
      ['volume', `${v.volume}`],
      ['minor', `${v.minor}`],
    ],
    state: [['disk', diskName(v.state.disk)]],
    statistics: [
      ...counts.map(([name, n]) => [name, `${n}`] as const),
      ['al-suspended', yesNo(v.alSuspended)],
      ['blocked', upperBlocked(v) ? 'upper' : 'no'],
    ],
  };
}

function peerDeviceObject(r: ResourceStatus, v: VolumeStatus): StatusObject {
  const c = v.counters;
  return {
    kind: 'peer-device',
    key: [['name', r.name], ...PEER, ['volume', `${v.volume}`]],
    state: [
      ['replication', replicationText(v.state)],
      ['peer-disk', diskName(v.state.pdsk)],
      ['resync-suspended', resyncSuspendedText(v.state)],
    ],
    statistics: [
      ['received', `${kib(c.receiveSectors)}`],
      ['sent', `${kib(c.sendSectors)}`],
      ['out-of-sync', `${c.outOfSyncBits * 4}`],
      ['pending', `${c.peerPending}`],
      ['unacked', `${c.unacked}`],
    ],
  };
}

const idOf = (o: StatusObject): string => `${o.kind} ${o.key.map((f) => f.join(':')).join(' ')}`;
const sameFields = (a: Fields, b: Fields): boolean =>
  a.length === b.length && a.every(([name, value], i) => b[i]?.[0] === name && b[i]?.[1] === value);

/** What became of a resource; null: it is not there. Nothing when only statistics differ. */
export function statusEvents(
  old: ResourceStatus | null,
  now: ResourceStatus | null,
): StatusEvent[] {
  const before = new Map((old ? statusObjects(old) : []).map((o) => [idOf(o), o]));
  const after = now ? statusObjects(now) : [];
  const there = new Set(after.map(idOf));
  // Parts go before what they are a part of.
  const gone = [...before.values()].reverse().filter((o) => !there.has(idOf(o)));
  const events: StatusEvent[] = gone.map((o) => ({ action: 'destroy', ...o }));
  for (const o of after) {
    const was = before.get(idOf(o));
    if (!was) events.push({ action: 'create', ...o });
    else if (!sameFields(was.state, o.state)) events.push({ action: 'change', ...o });
  }
  return events;
}

/** `minor` null: an event of the whole resource. */
export function helperEvent(
  what: { readonly event: string; readonly resource: string },
  volume: { readonly volume: number; readonly minor: number } | null,
  status: number | null,
): HelperEvent {
  const of: Fields = volume
    ? [
        ['volume', `${volume.volume}`],
        ['minor', `${volume.minor}`],
      ]
    : [];
  return {
    action: status === null ? 'call' : 'response',
    kind: 'helper',
    key: [['name', what.resource], ...PEER, ...of, ['helper', what.event]],
    status,
  };
}
