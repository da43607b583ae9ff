/** The events of drbdsetup events2 and events, against lines of drbdsetup-84 with kernel DRBD 8.4.11. */
import test from 'ava';
import { OldPrinter, Printer, timestamp } from '../../src/cli/drbdsetup-events.js';
import {
  helperEvent,
  type StatusEvent,
  statusEvents,
  statusObjects,
} from '../../src/drbd/events.js';
import { ProgressWatch, statesEvent } from '../../src/drbd/old-events.js';
import { Conns, Disks, INITIAL_STATE, Roles, type State } from '../../src/drbd/state.js';
import type { ResourceStatus, SyncProgress } from '../../src/drbd/status.js';
import type { ControlEvent } from '../../src/host/control.js';
import { EventFeed, type Listener } from '../../src/host/event-feed.js';
import { volume as plainVolume } from './volume-status.js';

const SOURCE: Partial<State> = {
  role: Roles.Primary,
  peer: Roles.Secondary,
  conn: Conns.SyncSource,
  disk: Disks.UpToDate,
  pdsk: Disks.Inconsistent,
};

function resource(
  state: Partial<State>,
  connection: number | null = Conns.WFReportParams,
): ResourceStatus {
  const base = plainVolume();
  const counters = {
    ...base.counters,
    sendSectors: 2 * 17716,
    receiveSectors: 0,
    readSectors: 2 * 17716,
    writeSectors: 0,
    alTransactions: 8,
    bitmapWrites: 0,
    localPending: 0,
    applicationPending: 0,
    outOfSyncBits: 48088 / 4,
    peerPending: 1,
    unacked: 0,
  };
  const volume = { ...base, resource: 'r0', volume: 0, minor: 0, sizeSectors: 2 * 65496 };
  return {
    name: 'r0',
    connection,
    volumes: [{ ...volume, counters, state: { ...INITIAL_STATE, ...state } }],
  };
}

const OPTIONS = { statistics: false, timestamps: false };
const NOW = new Date(0);

function text(
  events: readonly StatusEvent[],
  options = OPTIONS,
  printer = new Printer(options),
): string[] {
  return events.map((event) => printer.lines(event, NOW).trimEnd());
}

const exists = (r: ResourceStatus): StatusEvent[] =>
  statusObjects(r).map((o) => ({ action: 'exists', ...o }));

test('the first report, as recorded', (t) => {
  t.deepEqual(text(exists(resource(SOURCE))), [
    'exists resource name:r0 role:Primary suspended:no',
    'exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Secondary',
    'exists device name:r0 volume:0 minor:0 disk:UpToDate',
    'exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:SyncSource peer-disk:Inconsistent resync-suspended:no',
  ]);
});

test('and with statistics', (t) => {
  t.deepEqual(text(exists(resource(SOURCE)), { ...OPTIONS, statistics: true }), [
    'exists resource name:r0 role:Primary suspended:no write-ordering:flush',
    'exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Secondary congested:no',
    'exists device name:r0 volume:0 minor:0 disk:UpToDate size:65496 read:17716 written:0 al-writes:8 bm-writes:0 upper-pending:0 lower-pending:0 al-suspended:no blocked:no',
    'exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:SyncSource peer-disk:Inconsistent resync-suspended:no received:0 sent:17716 out-of-sync:48088 pending:1 unacked:0',
  ]);
});

test('a change says what changed, and statistics alone are none', (t) => {
  const printer = new Printer(OPTIONS);
  const before = resource(SOURCE);
  text(exists(before), OPTIONS, printer);
  const after = resource({
    ...SOURCE,
    role: Roles.Secondary,
    conn: Conns.Connected,
    pdsk: Disks.UpToDate,
  });
  t.deepEqual(text(statusEvents(before, after), OPTIONS, printer), [
    'change resource name:r0 role:Secondary',
    'change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate',
  ]);
  const [volume] = after.volumes;
  if (!volume) return t.fail();
  const busy = {
    ...after,
    volumes: [{ ...volume, counters: { ...volume.counters, sendSectors: 99 } }],
  };
  t.deepEqual(statusEvents(after, busy), []);
});

test('objects come and go, parts behind and before what they are a part of', (t) => {
  const alone = { name: 'r0', connection: null, volumes: [] };
  t.deepEqual(text(statusEvents(null, alone)), [
    'create resource name:r0 role:Secondary suspended:no',
  ]);
  const whole = resource({}, Conns.WFConnection);
  t.deepEqual(text(statusEvents(alone, whole)), [
    'create connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting role:Unknown',
    'create device name:r0 volume:0 minor:0 disk:Diskless',
    'create peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown resync-suspended:no',
  ]);
  t.deepEqual(text(statusEvents(whole, null)), [
    'destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:0',
    'destroy device name:r0 volume:0 minor:0',
    'destroy connection name:r0 peer-node-id:0 conn-name:peer',
    'destroy resource name:r0',
  ]);
});

test('handlers: called, and what they ended with', (t) => {
  const fence = { event: 'fence-peer', resource: 'r0' };
  t.deepEqual(text([helperEvent(fence, null, null), helperEvent(fence, null, 7)]), [
    'call helper name:r0 peer-node-id:0 conn-name:peer helper:fence-peer',
    'response helper name:r0 peer-node-id:0 conn-name:peer helper:fence-peer status:7',
  ]);
  const before = { event: 'before-resync-target', resource: 'r0' };
  t.deepEqual(text([helperEvent(before, { volume: 1, minor: 4 }, 0)]), [
    'response helper name:r0 peer-node-id:0 conn-name:peer volume:1 minor:4 helper:before-resync-target status:0',
  ]);
});

test('timestamps in the form of the original', (t) => {
  t.regex(
    timestamp(new Date(1_700_000_000_123)),
    /^2023-11-1[45]T\d\d:\d\d:\d\d\.123000[+-]\d\d:\d\d$/,
  );
  const [line = ''] = text(exists(resource(SOURCE)), { ...OPTIONS, timestamps: true });
  t.regex(line, /^\d{4}-\S+ exists resource name:r0 /);
});

// As drbdsetup-84 printed them beside a kernel that was resynchronised, its R lines left out.
test('events of 8.3: numbered lines of volumes', (t) => {
  const old = new OldPrinter(null);
  const say = (events: readonly ControlEvent[]): string[] =>
    events
      .map((e) => old.lines(e))
      .join('')
      .split('\n')
      .slice(0, -1);
  const states = (r: ResourceStatus | null) => statesEvent('r0', r);
  const source = 'cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent r--- }';
  const connected = 'cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate';
  t.deepEqual(say([states(resource(SOURCE)), { action: 'initial' }]), [`0 ST 0,r0[0] { ${source}`]);
  const of = { action: 'progress', name: 'r0', volume: 0, minor: 0 } as const;
  t.deepEqual(say([{ ...of, permille: 313 }]), ['1 SP 0,r0[0] 31.3']);
  const handler = { event: 'after-resync-target', resource: 'r0' };
  t.deepEqual(
    say([
      helperEvent(handler, { volume: 0, minor: 0 }, null),
      helperEvent(handler, { volume: 0, minor: 0 }, 1),
    ]),
    ['2 UH 0,r0[0] after-resync-target', '3 UH-post 0,r0[0] after-resync-target 0x0100'],
  );
  const after = { ...SOURCE, conn: Conns.Connected, pdsk: Disks.UpToDate };
  t.deepEqual(say([states(resource(after))]), [
    '4 SP 0,r0[0] 100.0',
    `5 ST-prev 0,r0[0] { ${source}`,
    `5 ST-new 0,r0[0] { ${connected} r--- }`,
    `5 ST 0,r0[0] { ${connected} r--- }`,
  ]);
  t.deepEqual(say([states(resource(after))]), [], 'nothing has changed');
  t.deepEqual(say([states(resource({ ...after, suspFen: 1 }))]).slice(1), [
    `6 ST-new 0,r0[0] { ${connected} s--- }`,
    `6 ST 0,r0[0] { ${connected} s--- }`,
  ]);
  t.deepEqual(say([states(null), { ...of, permille: 5 }]), [], 'gone');
  t.deepEqual(say([helperEvent({ event: 'fence-peer', resource: 'r0' }, null, null)]), []);
  t.is(new OldPrinter(7).lines(states(resource(SOURCE))), '', 'another minor was asked for');
});

test('progress: when blocks have been done since the last look, of a resync that runs', (t) => {
  const watch = new ProgressWatch();
  const look = (state: Partial<State>, leftBits: number | null): number[] => {
    const [volume] = resource(state).volumes;
    if (!volume) throw new Error('a volume');
    const progress: SyncProgress | null =
      leftBits === null
        ? null
        : {
            totalBits: 16_374,
            leftBits,
            failedBits: 0,
            startMs: 0,
            pausedMs: 0,
            marks: [],
            lastMark: 0,
            wantKiBps: 0,
          };
    const resources = [{ name: 'r0', connection: null, volumes: [{ ...volume, progress }] }];
    return watch.look({ version: '', nowMs: 0, resources }).map((e) => e.permille);
  };
  t.deepEqual(look(SOURCE, 16_374), [], 'none yet');
  t.deepEqual(look(SOURCE, 11_000), [375]);
  t.deepEqual(look(SOURCE, 11_000), [], 'it stands still');
  t.deepEqual(look({ ...SOURCE, conn: Conns.PausedSyncS }, 10_000), []);
  t.deepEqual(look({ ...SOURCE, conn: Conns.SyncTarget }, 9_000), [500]);
  t.deepEqual(look({ ...SOURCE, conn: Conns.VerifyS }, 8_000), [], 'a verify clears nothing');
  t.deepEqual(look(SOURCE, null), []);
  t.deepEqual(look(SOURCE, 16_000), [63], 'the next one begins at its start');
});

class Reader implements Listener {
  readonly resource = null;
  readonly form = 'objects';
  readonly printer = new Printer(OPTIONS);
  readonly lines: string[] = [];
  full = false;

  send(event: ControlEvent): void {
    this.lines.push(this.printer.lines(event, NOW).trimEnd());
  }
  isFull(): boolean {
    return this.full;
  }
}

test('a reader that does not read: nothing is kept for it, and it gets where it all led', (t) => {
  const feed = new EventFeed();
  const slow = new Reader();
  const quick = new Reader();
  const start = resource({ disk: Disks.UpToDate }, Conns.WFConnection);
  feed.add(slow, { version: 'v', nowMs: 0, resources: [start] });
  feed.add(quick, { version: 'v', nowMs: 0, resources: [start] });
  for (const reader of [slow, quick]) {
    t.is(reader.lines.at(-1), 'exists -');
    reader.lines.length = 0;
  }
  slow.full = true;
  for (let i = 0; i < 10_000; i++) {
    const conn = i % 2 === 0 ? Conns.Connected : Conns.WFConnection;
    feed.status(
      'r0',
      resource({ disk: Disks.UpToDate, conn }, Math.min(conn, Conns.WFReportParams)),
    );
  }
  feed.status('r0', resource(SOURCE));
  feed.helper({ event: 'fence-peer', resource: 'r0', minor: null }, null);
  t.deepEqual(slow.lines, []);
  t.true(quick.lines.length > 10_000);
  feed.read(slow);
  t.deepEqual(slow.lines, [], 'not yet');
  slow.full = false;
  feed.read(slow);
  t.deepEqual(slow.lines, [
    '- skipped 10002',
    'change resource name:r0 role:Primary',
    'change connection name:r0 peer-node-id:0 conn-name:peer connection:Connected role:Secondary',
    'change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:SyncSource peer-disk:Inconsistent',
  ]);
  feed.remove(slow);
  t.false(feed.isEmpty);
});

test('of one resource only', (t) => {
  const feed = new EventFeed();
  const lines: ControlEvent[] = [];
  feed.add(
    { resource: 'r1', form: 'objects', send: (event) => lines.push(event), isFull: () => false },
    { version: 'v', nowMs: 0, resources: [resource(SOURCE)] },
  );
  feed.status('r0', resource({}));
  feed.helper({ event: 'fence-peer', resource: 'r0', minor: null }, 7);
  t.deepEqual(lines, [{ action: 'initial' }]);
  feed.status('r1', { name: 'r1', connection: null, volumes: [] });
  t.is(lines.length, 2);
});
