/** `drbdsetup status`, role, cstate, dstate: real output of drbd-utils 9.22 with a kernel's DRBD 8.4.11. */
import test from 'ava';
import { Conns } from '../../src/drbd/state.js';
import type { Counters } from '../../src/drbd/status.js';
import {
  cstateText,
  dstateText,
  roleText,
  statusJson,
  statusText,
} from '../../src/drbd/status-text.js';
import { node, resource, stateOf, volume } from './volume-status.js';

const counters = (change: Partial<Counters>): Counters => ({ ...volume().counters, ...change });

const FRESH = node(
  0,
  resource(
    'r0',
    volume({
      state: stateOf('WFConnection Secondary/Unknown Inconsistent/DUnknown'),
      alSuspended: true,
      counters: counters({ outOfSyncBits: 16374 }),
    }),
  ),
);
const SOURCE = node(
  0,
  resource(
    'r0',
    volume({
      state: stateOf('SyncSource Primary/Secondary UpToDate/Inconsistent'),
      counters: counters({ readSectors: 31312, sendSectors: 31312, outOfSyncBits: 12460 }),
    }),
  ),
);

test('waiting for the peer', (t) => {
  t.is(
    statusText(FRESH),
    'r0 role:Secondary\n  disk:Inconsistent\n  peer connection:Connecting\n\n',
  );
  t.is(
    statusText(FRESH, 'r0', { verbose: true, statistics: true }),
    `r0 role:Secondary suspended:no
    write-ordering:flush
  volume:0 minor:0 disk:Inconsistent
      size:65496 read:0 written:0 al-writes:8 bm-writes:0 upper-pending:0
      lower-pending:0 al-suspended:yes blocked:no
  peer connection:Connecting role:Unknown congested:no
    volume:0 replication:Off peer-disk:DUnknown resync-suspended:no
        received:0 sent:0 out-of-sync:65496 pending:0 unacked:0

`,
  );
});

test('resync, with the line that wraps', (t) => {
  t.is(
    statusText(SOURCE),
    `r0 role:Primary
  disk:UpToDate
  peer role:Secondary
    replication:SyncSource peer-disk:Inconsistent done:23.90

`,
  );
  t.is(
    statusText(SOURCE, null, { verbose: true, statistics: true }),
    `r0 role:Primary suspended:no
    write-ordering:flush
  volume:0 minor:0 disk:UpToDate
      size:65496 read:15656 written:0 al-writes:8 bm-writes:0 upper-pending:0
      lower-pending:0 al-suspended:no blocked:no
  peer connection:Connected role:Secondary congested:no
    volume:0 replication:SyncSource peer-disk:Inconsistent done:23.90
        resync-suspended:no
        received:0 sent:15656 out-of-sync:49840 pending:0 unacked:0

`,
  );
});

test('without a connection there is no peer line', (t) => {
  const alone = stateOf('StandAlone Secondary/Unknown Outdated/DUnknown');
  t.is(
    statusText(node(0, resource('r0', volume({ state: alone, protocol: null })))),
    'r0 role:Secondary\n  disk:Outdated\n\n',
  );
});

test('several volumes are named; suspended I/O and pauses are told', (t) => {
  const a = volume({
    state: stateOf('PausedSyncT Primary/Secondary Inconsistent/UpToDate', {
      userIsp: 1,
      peerIsp: 1,
    }),
    counters: counters({ outOfSyncBits: 16374 }),
  });
  const b = volume({
    volume: 1,
    minor: 1,
    state: stateOf('Connected Primary/Secondary UpToDate/UpToDate', { susp: 1, suspFen: 1 }),
  });
  t.is(
    statusText(node(0, resource('r0', b, a))),
    `r0 role:Primary suspended:user,fencing
  volume:0 disk:Inconsistent
  volume:1 disk:UpToDate blocked:upper
  peer role:Secondary
    volume:0 replication:PausedSyncT peer-disk:UpToDate done:0.00
        resync-suspended:user,peer
    volume:1 replication:Established peer-disk:UpToDate

`,
  );
});

test('one resource of several; none of that name', (t) => {
  const both = node(0, resource('b', volume({ minor: 1 })), resource('a', volume({})));
  t.regex(statusText(both), /^a role:Secondary[\s\S]*\nb role:Secondary/);
  t.regex(statusText(both, 'b'), /^b role/);
  t.is(statusText(both, 'r9'), '');
});

test('role, cstate, dstate', (t) => {
  const s = stateOf('SyncTarget Secondary/Primary Inconsistent/UpToDate');
  t.deepEqual(
    [roleText(s), cstateText(s), dstateText(s)],
    ['Secondary/Primary', 'SyncTarget', 'Inconsistent/UpToDate'],
  );
  const none = stateOf('StandAlone Secondary/Unknown Diskless/DUnknown');
  t.deepEqual(
    [roleText(none), cstateText(none), dstateText(none)],
    ['Unconfigured', 'Unconfigured', 'Unconfigured'],
  );
});

test('JSON in the shape that exporters of DRBD 9 read', (t) => {
  const progress = {
    totalBits: 16374,
    leftBits: 12460,
    failedBits: 0,
    startMs: 0,
    pausedMs: 0,
    marks: Array.from({ length: 8 }, () => ({ timeMs: 0, leftBits: 16374 })),
    lastMark: 0,
    wantKiBps: 4096,
  };
  const [source] = SOURCE.resources[0]?.volumes ?? [];
  const status = node(2000, resource('r0', volume({ ...source, progress })));
  const [r] = JSON.parse(JSON.stringify(statusJson(status))) as [Record<string, unknown>];
  t.like(r, {
    name: 'r0',
    role: 'Primary',
    suspended: false,
    'write-ordering': 'flush',
    devices: [
      { volume: 0, minor: 0, 'disk-state': 'UpToDate', size: 65496, read: 15656, written: 0 },
    ],
    connections: [
      {
        'connection-state': 'Connected',
        'peer-role': 'Secondary',
        peer_devices: [
          {
            volume: 0,
            'replication-state': 'SyncSource',
            'peer-disk-state': 'Inconsistent',
            'out-of-sync': 49840,
            'percent-in-sync': 23.9,
            'has-sync-details': true,
            'rs-total': 130992,
            'rs-db1-sectors': 31312,
            'estimated-seconds-to-finish': 6,
            'percent-resync-done': 23.9,
          },
        ],
      },
    ],
  });
  const [alone] = statusJson(node(0, resource('r0', volume({ protocol: null })))) as [
    { connections: unknown[] },
  ];
  t.deepEqual(alone.connections, []);
  const [gone] = statusJson(
    node(0, { ...resource('r0', volume({})), connection: Conns.NetworkFailure }),
  ) as [{ connections: { 'connection-state': string }[] }];
  t.is(gone.connections[0]?.['connection-state'], 'NetworkFailure');
});
