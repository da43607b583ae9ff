/** docs/STATES.md, attach: what the flags of the meta-data lead to; sizes; the timeouts of wait-connect. */
import test from 'ava';
import {
  type AttachDecision,
  type AttachInput,
  adjustTimeouts,
  attachDecision,
  negotiatedStates,
  sizeRefusal,
  suspendsAlUpdates,
  waitConnect,
  waitTimeoutS,
  waitTimeoutType,
} from '../../src/drbd/attach-decision.js';
import {
  beginsGeneration,
  CREATED_UUIDS,
  clearsCrashedPrimary,
  exposesCurrent,
  losesPeerData,
  metaFlags,
  promotionBeginsGeneration,
  randomUuid,
} from '../../src/drbd/generation.js';
import { Err, failureText } from '../../src/drbd/return-codes.js';
import { Conns, Disks } from '../../src/drbd/state.js';
import { MDF } from '../../src/md/superblock.js';
import { stateOf } from './volume-status.js';

const ALONE = stateOf('StandAlone Secondary/Unknown Attaching/DUnknown');
const GOOD = MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;

function decide(change: Partial<AttachInput>): AttachDecision {
  const decision = attachDecision({
    state: ALONE,
    flags: GOOD,
    uuids: { ...CREATED_UUIDS, current: 0x51n },
    resuming: false,
    hasExposed: true,
    fencing: 'dont-care',
    alUpdates: true,
    outdated: false,
    ...change,
  });
  if (typeof decision === 'number') throw new Error(failureText(decision));
  return decision;
}

test('the disk state that the flags lead to', (t) => {
  const rows: readonly [number, AttachInput['fencing'], number, number][] = [
    [0, 'dont-care', Disks.Inconsistent, Disks.DUnknown],
    [MDF.WAS_UP_TO_DATE, 'dont-care', Disks.Inconsistent, Disks.DUnknown],
    [MDF.CONSISTENT, 'dont-care', Disks.Outdated, Disks.DUnknown],
    [GOOD, 'dont-care', Disks.UpToDate, Disks.DUnknown],
    [GOOD, 'resource-only', Disks.Consistent, Disks.DUnknown],
    [GOOD, 'resource-and-stonith', Disks.Consistent, Disks.DUnknown],
    [GOOD | MDF.PEER_OUT_DATED, 'resource-only', Disks.UpToDate, Disks.Outdated],
    [MDF.CONSISTENT | MDF.PEER_OUT_DATED, 'dont-care', Disks.Outdated, Disks.Outdated],
  ];
  for (const [flags, fencing, disk, pdsk] of rows) {
    t.like(decide({ flags, fencing }).wanted, { disk, pdsk }, `${flags.toString(16)} ${fencing}`);
  }
});

test('while connected the decision waits for the handshake', (t) => {
  const state = stateOf('Connected Secondary/Secondary Attaching/UpToDate');
  const d = decide({ state, flags: MDF.CONSISTENT });
  t.is(d.wanted.disk, Disks.Negotiating);
  t.deepEqual(d.negotiated, { disk: Disks.Outdated, pdsk: Disks.UpToDate });
  t.deepEqual(negotiatedStates(d.negotiated, 0x50n, d.uuids), d.negotiated);
  t.is(negotiatedStates(d.negotiated, 0x60n, d.uuids), null);
});

// flags as a kernel left them: crashed connected Primary 0x17, crashed alone 0x13, clean 0x11
test('crashed Primary, degraded, full sync', (t) => {
  t.like(decide({ flags: 0x17 }), { crashedPrimary: true, degraded: false, fullSync: false });
  t.like(decide({ flags: 0x13 }), { crashedPrimary: true, degraded: true, fullSync: false });
  t.like(decide({ flags: 0x11 }), { crashedPrimary: false, degraded: false, fullSync: false });
  t.true(decide({ flags: 0x51 }).crashedPrimary);
  t.true(decide({ flags: 0x19 }).fullSync);
  t.true(decide({ flags: 0x17 | MDF.AL_DISABLED }).fullSync, 'nobody knows where it wrote');
  t.false(decide({ flags: 0x11 | MDF.AL_DISABLED }).fullSync);
  const primary = stateOf('Connected Primary/Secondary Attaching/UpToDate');
  t.true(decide({ state: primary, flags: 0x17 }).crashedPrimary);
  t.false(decide({ state: primary, flags: 0x17 }).degraded);
  t.false(decide({ state: { ...primary, suspNod: 1 }, flags: 0x17 }).crashedPrimary);
});

test('the role bit and AL_DISABLED follow what is now', (t) => {
  t.is(decide({}).uuids.current, 0x50n);
  const state = stateOf('Connected Primary/Secondary Attaching/UpToDate');
  t.is(decide({ state }).uuids.current, 0x51n);
  t.is(decide({ alUpdates: false }).flags, GOOD | MDF.AL_DISABLED);
  t.is(decide({ flags: GOOD | MDF.AL_DISABLED }).flags, GOOD);
});

test('a device in use shows no other data than before', (t) => {
  const attach = (state: string, hasExposed: boolean, resuming = false, flags = GOOD) =>
    attachDecision({
      state: stateOf(state),
      flags,
      uuids: { ...CREATED_UUIDS, current: 0x51n },
      resuming,
      hasExposed,
      fencing: 'dont-care',
      alUpdates: true,
      outdated: false,
    });
  t.is(attach('WFConnection Primary/Unknown Attaching/DUnknown', false), Err.DATA_NOT_CURRENT);
  t.is(attach('Connected Secondary/Primary Attaching/Inconsistent', false), Err.DATA_NOT_CURRENT);
  t.not(attach('WFConnection Primary/Unknown Attaching/DUnknown', true), Err.DATA_NOT_CURRENT);
  t.not(attach('Connected Primary/Secondary Attaching/UpToDate', false), Err.DATA_NOT_CURRENT);
  const alone = 'StandAlone Secondary/Unknown Attaching/DUnknown';
  t.not(attach(alone, false), Err.DATA_NOT_CURRENT);
  // A restarted engine whose users are still there, and a disk that its predecessor had let go.
  t.is(attach(alone, false, true), Err.DATA_NOT_CURRENT);
  t.not(attach(alone, true, true), Err.DATA_NOT_CURRENT);
  t.not(
    attach(alone, false, true, MDF.WAS_UP_TO_DATE),
    Err.DATA_NOT_CURRENT,
    'read through its source',
  );
});

test('sizes', (t) => {
  const fits = {
    maxSectors: 1000,
    requestedSectors: 0,
    newSectors: 1000,
    deviceSectors: 0,
    lastAgreedSectors: 1000,
    metaSectors: 4096,
    metaNeededSectors: 2048,
    consistent: true,
  };
  t.is(sizeRefusal(fits), null);
  t.is(sizeRefusal({ ...fits, requestedSectors: 1001 }), Err.DISK_TOO_SMALL);
  t.is(sizeRefusal({ ...fits, metaSectors: 2000 }), Err.MD_DISK_TOO_SMALL);
  t.is(sizeRefusal({ ...fits, deviceSectors: 1001 }), Err.DISK_TOO_SMALL);
  t.is(sizeRefusal({ ...fits, lastAgreedSectors: 1001 }), Err.IMPLICIT_SHRINK);
  t.is(sizeRefusal({ ...fits, lastAgreedSectors: 1001, consistent: false }), null);
  t.is(
    sizeRefusal({ ...fits, lastAgreedSectors: 1001, requestedSectors: 900, newSectors: 900 }),
    null,
  );
  t.true(suspendsAlUpdates(ALONE, 1014, 1014));
  t.false(suspendsAlUpdates(ALONE, 1013, 1014));
  t.false(suspendsAlUpdates({ ...ALONE, conn: Conns.Connected }, 1014, 1014));
});

test('wait-connect: which timeout, and when it is over', (t) => {
  t.is(
    waitTimeoutType(stateOf('WFConnection Secondary/Unknown UpToDate/Outdated'), true),
    'outdated-wfc-timeout',
  );
  t.is(waitTimeoutType(ALONE, true), 'degr-wfc-timeout');
  t.is(waitTimeoutType(ALONE, false), 'wfc-timeout');
  const { timeouts, messages } = adjustTimeouts({
    wfcTimeoutS: 60,
    degrWfcTimeoutS: 120,
    outdatedWfcTimeoutS: 90,
  });
  t.deepEqual(timeouts, { wfcTimeoutS: 60, degrWfcTimeoutS: 60, outdatedWfcTimeoutS: 60 });
  t.is(messages.length, 4);
  t.is(waitTimeoutS(timeouts, 'degr-wfc-timeout'), 60);
  const unchanged = { wfcTimeoutS: 0, degrWfcTimeoutS: 120, outdatedWfcTimeoutS: 20 };
  t.deepEqual(adjustTimeouts(unchanged), { timeouts: unchanged, messages: [] });
  t.is(waitConnect(Conns.SyncTarget, false), 'connected');
  t.is(waitConnect(Conns.StandAlone, false), 'given-up');
  t.is(waitConnect(Conns.StandAlone, true), 'wait');
  t.is(waitConnect(Conns.WFConnection, false), 'wait');
});

test('the flags that a state writes', (t) => {
  const flags = (text: string, crashed = false, before = 0, diverged = false) =>
    metaFlags(before, stateOf(text), crashed, diverged);
  t.is(flags('Connected Primary/Secondary UpToDate/UpToDate'), 0x17);
  t.is(flags('WFConnection Primary/Unknown UpToDate/DUnknown'), 0x13);
  t.is(flags('StandAlone Secondary/Unknown UpToDate/DUnknown'), 0x11);
  t.is(flags('Connected Secondary/Primary UpToDate/Diskless'), 0x17, 'the peer writes here');
  t.is(flags('SyncTarget Secondary/Primary Inconsistent/UpToDate'), 0x04);
  t.is(flags('WFConnection Secondary/Unknown Outdated/DUnknown'), 0x01);
  t.is(flags('WFConnection Primary/Unknown UpToDate/Outdated'), 0x33);
  t.is(flags('StandAlone Secondary/Unknown UpToDate/DUnknown', true), 0x51);
  t.is(
    flags('StandAlone Secondary/Unknown UpToDate/DUnknown', false, 0x188),
    0x119,
    'AL_CLEAN goes',
  );
  // A Primary lost its disk, and this copy went on: the other one is old, also when it is not heard of any more.
  t.is(flags('Connected Secondary/Primary UpToDate/Diskless', false, 0, true), 0x37);
  t.is(flags('WFConnection Secondary/Unknown UpToDate/DUnknown', false, 0x37, true), 0x31);
  t.is(flags('WFConnection Secondary/Unknown UpToDate/DUnknown', false, 0x17, true), 0x11);
  t.is(flags('Connected Secondary/Primary UpToDate/UpToDate', false, 0x37, true), 0x15);
});

test('when a generation begins', (t) => {
  const none = { ...CREATED_UUIDS, current: 0x51n };
  const open = { ...none, bitmap: 0x40n };
  const connected = stateOf('Connected Primary/Secondary UpToDate/UpToDate');
  const lost = stateOf('NetworkFailure Primary/Unknown UpToDate/DUnknown');
  t.is(beginsGeneration(connected, lost, none), 'now');
  t.is(beginsGeneration(connected, lost, open), 'no', 'it has begun already');
  t.is(beginsGeneration(connected, { ...lost, suspFen: 1 }, none), 'later');
  const secondary = stateOf('Connected Secondary/Secondary UpToDate/UpToDate');
  t.is(beginsGeneration(secondary, { ...lost, role: 2 }, none), 'no');
  const outdated = { ...lost, pdsk: Disks.Outdated };
  t.is(beginsGeneration(lost, outdated, none), 'now');
  const diskless = stateOf('Connected Secondary/Secondary UpToDate/Diskless');
  t.is(beginsGeneration(diskless, { ...diskless, peer: 1 }, none), 'now');
  t.true(losesPeerData(Disks.UpToDate, Disks.Failed));
  t.false(losesPeerData(Disks.Outdated, Disks.DUnknown));
  t.true(promotionBeginsGeneration(lost, none, false));
  t.false(promotionBeginsGeneration(connected, none, false));
  t.true(promotionBeginsGeneration(connected, open, true));
  t.true(clearsCrashedPrimary(lost, connected));
  t.false(clearsCrashedPrimary(connected, { ...connected, role: 2 }));
  t.true(exposesCurrent({ ...lost, disk: Disks.Inconsistent }, lost));
});

test('a random generation never has a value with a meaning', (t) => {
  const words = [0, 0, 0, 1, 0, 4, 0, 5, 7, 9];
  const random = { u32: () => words.shift() ?? 1, bytes: () => new Uint8Array() };
  t.is(randomUuid(random), (7n << 32n) | 9n);
});

test('a node that was told to be outdated while it had no disk gets one: it is old, whatever it says', (t) => {
  for (const flags of [GOOD, GOOD | MDF.PEER_OUT_DATED, GOOD | MDF.PRIMARY_IND]) {
    for (const fencing of ['dont-care', 'resource-only'] as const) {
      const { disk } = decide({ flags, fencing, outdated: true }).wanted;
      t.is(disk, Disks.Outdated);
    }
  }
  t.is(decide({ flags: 0, outdated: true }).wanted.disk, Disks.Inconsistent);
});
