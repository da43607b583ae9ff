/** The lines of drbd-overview against outputs of drbd-utils 8.4 that people have published; the program itself is gone since 9.6. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { human, type Mount, overviewText } from '../../src/cli/drbd-overview.js';
import { Conns, Disks, INITIAL_STATE, Roles, type State } from '../../src/drbd/state.js';
import type { NodeStatus, SyncProgress, VolumeStatus } from '../../src/drbd/status.js';

function volume(resource: string, minor: number, state: Partial<State>): VolumeStatus {
  return {
    resource,
    volume: 0,
    minor,
    device: `/dev/drbd${minor}`,
    lowerDisk: '/dev/sdb1',
    state: { ...INITIAL_STATE, ...state },
    sizeSectors: 8112,
    protocol: state.conn === Conns.StandAlone ? null : 'C',
    alSuspended: false,
    writeOrdering: 'f',
    congested: false,
    counters: {
      sendSectors: 0,
      receiveSectors: 0,
      writeSectors: 0,
      readSectors: 0,
      alTransactions: 0,
      bitmapWrites: 0,
      localPending: 0,
      peerPending: 0,
      unacked: 0,
      applicationPending: 0,
      epochs: 1,
      outOfSyncBits: 0,
    },
    progress: null,
    uuids: ['0', '0', '0', '0'],
  };
}

const PRIMARY = { role: Roles.Primary, disk: Disks.UpToDate } as const;
const CONNECTED: Partial<State> = {
  ...PRIMARY,
  peer: Roles.Secondary,
  conn: Conns.Connected,
  pdsk: Disks.UpToDate,
};

function node(...volumes: readonly VolumeStatus[]): NodeStatus {
  const resources = volumes.map((v) => ({ name: v.resource, connection: null, volumes: [v] }));
  return { version: '0', nowMs: 10_000, resources };
}

const GIB = 2 ** 30;
const MOUNT: Mount = {
  path: '/srv/data',
  type: 'ext4',
  bytes: { size: 11 * 1024 * GIB, used: 563 * GIB, free: 9.7 * 1024 * GIB },
};

// Published: "0:ovirt_storage/0  Connected Primary/Secondary UpToDate/UpToDate C r----- /srv/ovirt_storage ext4 11T 563G 9.7T 6%"
test('a mounted device', (t) => {
  t.is(
    overviewText(node(volume('r0', 0, CONNECTED)), [], () => MOUNT),
    '  0:r0/0  Connected Primary/Secondary UpToDate/UpToDate C r----- /srv/data ext4 11T 563G 9.7T 6%\n',
  );
});

// Published: "0:devops/0  Unconfigured . ." and "3:just StandAlone Primary/Unknown UpToDate/DUnknown r-----"
test('what drbd.conf has and does not run; a device alone; names one below the other', (t) => {
  const alone = volume('just', 12, { ...PRIMARY, conn: Conns.StandAlone });
  const conf = [
    { resource: 'web-data', volume: 3, minor: 4 },
    { resource: 'just', volume: 0, minor: 12 },
  ];
  t.is(
    overviewText(node(alone), conf, () => null),
    '  4:web-data/3  Unconfigured . .\n' +
      ' 12:just/0      StandAlone Primary/Unknown UpToDate/DUnknown r-----\n',
  );
  t.is(
    overviewText(node(), [], () => null),
    '',
  );
});

// Published: "0:mysql/0  SyncSource Primary/Secondary UpToDate/Inconsistent C r-----" and "\t[=>..................] sync'ed: 11.8% (929188/1048508)K"
test('a resync has its bar below', (t) => {
  const marks = Array.from({ length: 8 }, () => ({ timeMs: 0, leftBits: 232_297 }));
  const progress: SyncProgress = {
    totalBits: 262_127,
    leftBits: 232_297,
    failedBits: 0,
    startMs: 0,
    pausedMs: 0,
    marks,
    lastMark: 0,
    wantKiBps: 0,
  };
  const v = volume('mysql', 0, { ...CONNECTED, conn: Conns.SyncSource, pdsk: Disks.Inconsistent });
  const counters = { ...v.counters, outOfSyncBits: 232_297 };
  t.is(
    overviewText(node({ ...v, counters, progress }), [], () => null),
    '  0:mysql/0  SyncSource Primary/Secondary UpToDate/Inconsistent C r-----\n' +
      "\t[=>..................] sync'ed: 11.8% (929188/1048508)K\n",
  );
});

test('sizes as df -h has them: rounded up', (t) => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0'],
    [1023, '1023'],
    [1024, '1.0K'],
    [1025, '1.1K'],
    [10 * 1024, '10K'],
    [9.96 * 1024, '10K'],
    [112 * 2 ** 20 - 1, '112M'],
    [5 * GIB, '5.0G'],
    [9.7 * 1024 * GIB, '9.7T'],
  ];
  for (const [bytes, text] of cases) t.is(human(bytes), text, `${bytes}`);
});

// No command line but help: the original had none either.
test('the launcher is installed', (t) => {
  t.regex(readFileSync('Makefile', 'utf8'), /^PROGRAMS := .*\bdrbd-overview\b/m);
});
