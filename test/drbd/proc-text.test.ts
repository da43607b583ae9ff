/** The text of /proc/drbd, byte for byte as kernels printed it (test/golden/drbd/proc-drbd.txt), and the 8.0 format. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { type ProcDetails, procText } from '../../src/drbd/proc-text.js';
import { Conns } from '../../src/drbd/state.js';
import type { SyncProgress } from '../../src/drbd/status.js';
import { NOW_MS, node, readProc, resource, stateOf, volume } from './volume-status.js';

const KERNEL_TAG = 'srcversion: F73C670A7EC572DB9CF3E5B ';
const SAMPLES = readFileSync('test/golden/drbd/proc-drbd.txt', 'utf8')
  .replace(/^#.*\n/, '')
  .trimEnd()
  .split('\n\n');

test('every sample of a kernel is printed byte for byte', (t) => {
  const states = new Set<string>();
  for (const sample of SAMPLES) {
    const volumes = readProc(sample);
    for (const [, state = ''] of sample.matchAll(/cs:(\w+)/g)) states.add(state);
    const text = procText(node(NOW_MS, resource('r0', ...volumes)), { buildTag: KERNEL_TAG });
    t.is(text, `${sample}\n`);
  }
  t.true(SAMPLES.length >= 30);
  for (const state of ['WFConnection', 'SyncTarget', 'PausedSyncS', 'VerifyS', 'StandAlone']) {
    t.true(states.has(state), state);
  }
});

test('our own second line stands in the columns of a checksum', (t) => {
  t.is(
    procText(node(0)),
    'version: 8.4.11 (api:1/proto:86-101)\nsrcversion: TWINBEAT-0.1.0          \n',
  );
});

test('minors ascend, an empty line marks a gap, an unconfigured one has one line', (t) => {
  const up = stateOf('Connected Primary/Secondary UpToDate/UpToDate');
  const two = resource('b', volume({ minor: 101, state: up }), volume({ minor: 3 }));
  const lines = procText(node(0, two, resource('a', volume({ minor: 4, state: up })))).split('\n');
  t.deepEqual(
    lines.filter((l) => !l.startsWith('    ')),
    [
      'version: 8.4.11 (api:1/proto:86-101)',
      'srcversion: TWINBEAT-0.1.0          ',
      '',
      ' 3: cs:Unconfigured',
      ' 4: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----',
      '',
      '101: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----',
      '',
    ],
  );
});

function progress(change: Partial<SyncProgress>): SyncProgress {
  const totalBits = change.totalBits ?? 262144;
  return {
    totalBits,
    leftBits: totalBits,
    failedBits: 0,
    startMs: 0,
    pausedMs: 0,
    marks: Array.from({ length: 8 }, () => ({ timeMs: 0, leftBits: totalBits })),
    lastMark: 0,
    wantKiBps: 0,
    ...change,
  };
}

function progressLines(
  change: Partial<SyncProgress>,
  nowMs: number,
  details: ProcDetails = 0,
): string[] {
  const state = stateOf('SyncSource Primary/Secondary UpToDate/Inconsistent');
  const text = procText(
    node(nowMs, resource('r0', volume({ state, progress: progress(change) }))),
    {
      details,
    },
  );
  return text.split('\n').filter((l) => l.startsWith('\t'));
}

// docs/STATES.md: samples of the progress bar
test('the progress bar at the start, half way, on big devices, stalled', (t) => {
  t.is(progressLines({}, 0)[0], "\t[>....................] sync'ed:  0.4% (1048576/1048576)K");
  t.is(
    progressLines({ leftBits: 131072 }, 0)[0],
    "\t[=========>..........] sync'ed: 50.2% (524288/1048576)K",
  );
  t.is(
    progressLines({ totalBits: 1 << 20, leftBits: 5 << 18 }, 0)[0],
    "\t[>....................] sync'ed:  0.0% (4194304/4194304)K",
    'more left than there was',
  );
  t.regex(progressLines({ totalBits: (1 << 20) + 1 }, 0)[0] ?? '', /\(4096\/4096\)M$/);
  t.is(
    progressLines({ leftBits: 262000 }, 181_000)[1],
    '\tfinish: 65:51:50 speed: 0 (0) K/sec (stalled)',
  );
  t.is(
    progressLines({ leftBits: 12144 }, 1_000, 1)[1],
    '\tfinish: 0:00:00 speed: 1,000,000 (1,000,000 -- 1,000,000) K/sec',
  );
});

// Of a kernel with proc_details=2 (Linux 6.1); every line is one that it printed, with these counts.
test('proc_details: position, extents, and who waits for the log', (t) => {
  const idle = { used: 0, total: 61, hits: 0, misses: 0, starving: 0, locked: 0, changed: 0 };
  const details = {
    resync: { ...idle, hits: 127, misses: 1, changed: 1 },
    actLog: { ...idle, total: 1237, hits: 3295, misses: 15, changed: 5 },
    blockedOnLog: 0,
    positionBits: 10_752 / 8,
    totalBits: 130_992 / 8,
    stopSector: 0,
  };
  const state = stateOf('SyncSource Primary/Secondary UpToDate/Inconsistent');
  const running = volume({ state, details, progress: progress({ totalBits: 16_374 }) });
  const shown = (details: ProcDetails, v = running) =>
    procText(node(0, resource('r0', v)), { details })
      .split('\n')
      .slice(4, -1);
  const extents = [
    '\tresync: used:0/61 hits:127 misses:1 starving:0 locked:0 changed:1',
    '\tact_log: used:0/1237 hits:3295 misses:15 starving:0 locked:0 changed:5',
  ];
  const position = '\t  8% sector pos: 10752/130992';
  const blocked = '\tblocked on activity log: 0';
  t.is(shown(0).length, 2);
  t.deepEqual(shown(1).slice(2), [position, ...extents]);
  t.deepEqual(shown(2).slice(2), [position, ...extents, blocked]);
  const up = stateOf('Connected Primary/Secondary UpToDate/UpToDate');
  t.deepEqual(shown(2, volume({ state: up, details })), [...extents, blocked]);
  t.deepEqual(shown(2, volume({ state: up, details: null })), [], 'without a disk');
  const verify = { ...running, state: { ...state, conn: Conns.VerifyS } };
  const limited = { ...details, stopSector: 65_536 };
  t.is(shown(1, { ...verify, details: limited })[2], `${position} stop sector: 65536`);
  const old = procText(node(0, resource('r0', running)), { details: 2, format: '8.0' });
  t.notRegex(old, /sector pos|act_log/);
});

// The MySQL manual's sample, DRBD 8.0
test('8.0: the sample of its manual', (t) => {
  const state = stateOf('SyncSource Primary/Secondary UpToDate/Inconsistent');
  const p = progress({
    totalBits: 524288,
    leftBits: 461272,
    startMs: NOW_MS - 55_000,
    marks: Array.from({ length: 8 }, () => ({
      timeMs: NOW_MS - 5_000,
      leftBits: 461272 + 1243 * 5,
    })),
  });
  const counters = {
    ...volume().counters,
    sendSectors: 252284 * 2,
    readSectors: 257280 * 2,
    alTransactions: 0,
    bitmapWrites: 15,
    peerPending: 7,
    unacked: 157,
  };
  const text = procText(node(NOW_MS, resource('r0', volume({ state, counters, progress: p }))), {
    format: '8.0',
    buildTag: 'SVN Revision: 2947 build by root@drbd-one, 2007-07-30 16:43:05',
  });
  t.is(
    text,
    `version: 8.0.16 (api:86/proto:86)
SVN Revision: 2947 build by root@drbd-one, 2007-07-30 16:43:05
 0: cs:SyncSource st:Primary/Secondary ds:UpToDate/Inconsistent C r---
    ns:252284 nr:0 dw:0 dr:257280 al:0 bm:15 lo:0 pe:7 ua:157 ap:0
\t[==>.................] sync'ed: 12.3% (1845088/2097152)K
\tfinish: 0:06:06 speed: 4,972 (4,580) K/sec
`,
  );
});

test('8.0: a stalled resync, and no comma at exactly 1000', (t) => {
  const state = stateOf('SyncTarget Secondary/Primary Inconsistent/UpToDate');
  const line = (p: SyncProgress, nowMs: number) =>
    procText(node(nowMs, resource('r0', volume({ state, progress: p }))), { format: '8.0' })
      .trimEnd()
      .split('\n')
      .at(-1);
  t.is(line(progress({}), 20_001), '\tstalled');
  t.regex(line(progress({ leftBits: 262144 - 250 }), 1000) ?? '', /speed: 1000 \(1000\) K/);
});
