/** docs/STATES.md: from the comparison to the action, the after-sb policies, when a handshake runs, the resulting state. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import { AFTER_SB_0PRI, AFTER_SB_1PRI, AFTER_SB_2PRI } from '../../src/drbd/after-split-brain.js';
import type { UuidSet } from '../../src/drbd/generation.js';
import { Conns, Disks, INITIAL_STATE, Roles, type State } from '../../src/drbd/state.js';
import {
  type HandshakeInput,
  handshakeState,
  marksConsiderResync,
  realPeerDisk,
  refusal,
  startsHandshake,
  syncDecision,
  UUID_FLAG,
} from '../../src/drbd/sync-decision.js';
import { mirrored } from './mirrored.js';

const { Primary, Secondary } = Roles;
const set = (current: bigint, bitmap = 0n, history1 = 0n, history2 = 0n): UuidSet => ({
  current,
  bitmap,
  history1,
  history2,
});

/** Split brain (rule 90): both went on from generation 0x50. */
const SPLIT: HandshakeInput = {
  self: set(0x10n, 0x50n),
  peer: set(0x20n, 0x50n),
  apv: 101,
  role: Secondary,
  peerRole: Secondary,
  crashedPrimary: false,
  peerCrashedPrimary: false,
  resolveConflicts: false,
  featureWsame: true,
  disk: Disks.UpToDate,
  negotiatedDisk: Disks.UpToDate,
  peerDisk: Disks.UpToDate,
  peerAttaching: false,
  selfBits: 10,
  peerBits: 10,
  bitsNow: 10,
  peerFlags: 0,
  discardMyData: false,
  openers: 0,
  dryRun: false,
  policies: DEFAULT_NET_OPTIONS,
};
/** Split brain with a common ancestor only (rule 100, ambiguous). */
const AMBIGUOUS = {
  ...SPLIT,
  self: set(0x10n, 0x11n, 0x50n, 0x60n),
  peer: set(0x20n, 0x21n, 0x50n, 0x70n),
};

/** What the peer computes from the same facts. */
function mirror(i: HandshakeInput): HandshakeInput {
  const remote: Readonly<Record<string, string>> = {
    'discard-local': 'discard-remote',
    'discard-remote': 'discard-local',
  };
  return {
    ...mirrored(i),
    disk: i.peerDisk,
    peerDisk: i.disk,
    peerAttaching: i.disk === Disks.Negotiating,
    selfBits: i.peerBits,
    peerBits: i.selfBits,
    peerFlags: i.discardMyData ? UUID_FLAG.DISCARD_MY_DATA : 0,
    discardMyData: (i.peerFlags & UUID_FLAG.DISCARD_MY_DATA) !== 0,
    policies: {
      ...i.policies,
      afterSb0pri: remote[i.policies.afterSb0pri] ?? i.policies.afterSb0pri,
    },
  };
}

const result = (i: HandshakeInput): number | string => {
  const d = syncDecision(i);
  return d.refused ?? d.result;
};
const handlers = (i: HandshakeInput): string[] =>
  syncDecision(i).steps.flatMap((s) => (s.type === 'handler' ? [s.name] : []));
const policies = (p: Partial<HandshakeInput['policies']>): HandshakeInput['policies'] => ({
  ...DEFAULT_NET_OPTIONS,
  ...p,
});

test('an unsolved split brain is refused on both nodes, with both handlers', (t) => {
  t.is(result(SPLIT), 'split-brain');
  t.deepEqual(handlers(SPLIT), ['initial-split-brain', 'split-brain']);
  t.is(syncDecision(SPLIT).conn, Conns.Connected);
  t.false(syncDecision(SPLIT).fullSync);
});

// drbd.conf(5), after-sb-0pri
test('after-sb-0pri: each policy', (t) => {
  const bit = (u: UuidSet): UuidSet => ({ ...u, bitmap: u.bitmap | 1n });
  const rows: readonly [string, Partial<HandshakeInput>, number | string][] = [
    ['disconnect', {}, 'split-brain'],
    ['discard-local', {}, -1],
    ['discard-remote', {}, 1],
    ['discard-zero-changes', { selfBits: 0 }, -1],
    ['discard-zero-changes', { peerBits: 0 }, 1],
    ['discard-zero-changes', { selfBits: 0, peerBits: 0 }, 1],
    ['discard-zero-changes', { selfBits: 0, peerBits: 0, resolveConflicts: true }, -1],
    ['discard-zero-changes', {}, 'split-brain'],
    ['discard-least-changes', { selfBits: 3 }, -1],
    ['discard-least-changes', { peerBits: 3 }, 1],
    ['discard-least-changes', {}, 1],
    ['discard-younger-primary', { peer: bit(SPLIT.peer) }, -1],
    ['discard-younger-primary', { self: bit(SPLIT.self) }, 1],
    ['discard-younger-primary', { peerBits: 0 }, 1],
    ['discard-younger-primary', { selfBits: 3 }, -1],
    ['discard-older-primary', { peer: bit(SPLIT.peer) }, 1],
    ['discard-older-primary', { self: bit(SPLIT.self) }, -1],
    ['discard-older-primary', { selfBits: 0 }, -1],
    ['consensus', {}, 'split-brain'],
  ];
  for (const [afterSb0pri, facts, expected] of rows) {
    const input = { ...SPLIT, ...facts, policies: policies({ afterSb0pri }) };
    t.is(result(input), expected, `${afterSb0pri} ${Object.keys(facts)}`);
  }
});

test('after-sb-1pri: each policy, seen from the Primary', (t) => {
  const loses = { afterSb0pri: 'discard-local' };
  const wins = { afterSb0pri: 'discard-remote' };
  const rows: readonly [string, object, Partial<HandshakeInput>, number | string, string[]][] = [
    ['disconnect', wins, {}, 'split-brain', ['split-brain']],
    ['consensus', wins, {}, 1, []],
    ['consensus', loses, {}, 'split-brain', ['split-brain']],
    ['discard-secondary', loses, {}, 1, []],
    ['violently-as0p', wins, {}, 1, []],
    ['violently-as0p', loses, {}, 'primary-would-be-target', []],
    ['call-pri-lost-after-sb', wins, {}, 1, []],
    ['call-pri-lost-after-sb', loses, {}, -1, []],
    [
      'call-pri-lost-after-sb',
      loses,
      { openers: 1 },
      'split-brain',
      ['pri-lost-after-sb', 'split-brain'],
    ],
    ['discard-zero-changes', wins, {}, 'split-brain', ['split-brain']],
  ];
  for (const [afterSb1pri, zero, facts, expected, called] of rows) {
    const input = {
      ...SPLIT,
      role: Primary,
      ...facts,
      policies: policies({ afterSb1pri, ...zero }),
    };
    t.is(result(input), expected, afterSb1pri);
    t.deepEqual(handlers(input), ['initial-split-brain', ...called], afterSb1pri);
  }
  const lost = {
    ...SPLIT,
    role: Primary,
    policies: policies({ afterSb1pri: 'call-pri-lost-after-sb', ...loses }),
  };
  t.true(syncDecision(lost).giveUpPrimary);
});

test('after-sb-2pri: a Primary that loses gives up its role first', (t) => {
  const two = { ...SPLIT, role: Primary, peerRole: Primary };
  const call = policies({ afterSb2pri: 'call-pri-lost-after-sb', afterSb0pri: 'discard-local' });
  t.true(syncDecision({ ...two, policies: call }).giveUpPrimary);
  t.is(result({ ...two, openers: 1, policies: call }), 'split-brain');
  t.is(result({ ...two, policies: policies({ afterSb2pri: 'disconnect' }) }), 'split-brain');
  t.is(result({ ...two, policies: policies({ afterSb2pri: 'consensus' }) }), 'split-brain');
});

test('ambiguous: recovered only with always-asbp, and then by a full resync', (t) => {
  const zero = { afterSb0pri: 'discard-local' };
  t.is(result({ ...AMBIGUOUS, policies: policies(zero) }), 'split-brain');
  const always = { ...AMBIGUOUS, policies: policies({ ...zero, alwaysAsbp: true }) };
  t.is(result(always), -2);
  t.true(syncDecision(always).fullSync);
});

test('discard-my-data on one node solves it; on both, or none, nothing does', (t) => {
  const peerDiscards = { peerFlags: UUID_FLAG.DISCARD_MY_DATA };
  t.is(result({ ...SPLIT, discardMyData: true }), -1);
  t.is(result({ ...SPLIT, ...peerDiscards }), 1);
  t.is(result({ ...SPLIT, ...peerDiscards, discardMyData: true }), 'split-brain');
  // it is no licence to throw data away where there is no split brain
  const newer = { ...SPLIT, self: set(0x10n, 0x20n), discardMyData: true };
  t.is(result(newer), 1);
});

test('disk states decide before UUIDs: an Inconsistent disk is never the source', (t) => {
  t.is(result({ ...SPLIT, disk: Disks.Inconsistent }), -1);
  t.is(result({ ...SPLIT, peerDisk: Disks.Inconsistent }), 1);
  t.is(result({ ...AMBIGUOUS, disk: Disks.Inconsistent }), -2);
  const newer = { ...SPLIT, self: set(0x10n, 0x20n), disk: Disks.Inconsistent };
  t.is(result(newer), -1);
  t.is(result({ ...newer, peerDisk: Disks.Inconsistent }), 'source-inconsistent');
  const negotiating = { ...newer, disk: Disks.Negotiating, negotiatedDisk: Disks.Inconsistent };
  t.is(result(negotiating), -1);
});

// on-io-error pass_on on a node that was alone; swarm.
test('the newest copy, Inconsistent, is not overwritten from an older one, on either node', (t) => {
  const newest: HandshakeInput = {
    ...SPLIT,
    self: set(0x10n, 0x20n),
    peer: set(0x20n),
    disk: Disks.Inconsistent,
    role: Primary,
  };
  const pair = (i: Partial<HandshakeInput>): (number | string)[] =>
    [{ ...newest, ...i }, mirror({ ...newest, ...i })].map(result);
  const refused = ['newest-data-inconsistent', 'newest-data-inconsistent'];
  t.deepEqual(pair({}), refused);
  t.deepEqual(pair({ discardMyData: true }), [-1, 1], 'given up by an operator');
  t.deepEqual(
    pair({ role: Secondary }),
    [-1, 1],
    'no users, and the other one claims to be current',
  );
  t.deepEqual(pair({ role: Secondary, peerDisk: Disks.Outdated }), refused);
  t.deepEqual(pair({ role: Secondary, peerDisk: Disks.Consistent }), refused);
  const attaching = { role: Secondary, peerDisk: Disks.Consistent, peerAttaching: true };
  t.deepEqual(pair(attaching).slice(0, 1), refused.slice(1));
  const attaches = { ...mirror(newest), peerRole: Secondary, disk: Disks.Negotiating };
  for (const negotiatedDisk of [Disks.Outdated, Disks.Consistent, Disks.UpToDate]) {
    t.is(result({ ...attaches, negotiatedDisk }), 'newest-data-inconsistent');
  }
  // The engine was restarted, so rule 41 prefers the Primary; what it answered is all on its peer's disk.
  const restarted = { self: set(0x10n), peer: set(0x10n), crashedPrimary: true };
  t.deepEqual(pair(restarted), [-1, 1]);
  // The source of a resync that missed its end went on alone: no new generation began (rules 34, 35).
  const missed = { self: set(0x10n, 0x20n, 0x30n), peer: set(0x10n, 0n, 0x20n, 0x30n) };
  t.deepEqual(pair(missed), refused);
});

test('a Primary with good data does not become target, unless told to', (t) => {
  const older = { ...SPLIT, self: set(0x20n), peer: set(0x10n, 0x20n), role: Primary };
  t.is(result(older), 'primary-would-be-target');
  t.deepEqual(handlers({ ...older, policies: policies({ rrConflict: 'call-pri-lost' }) }), [
    'pri-lost',
  ]);
  t.is(
    result({ ...older, policies: policies({ rrConflict: 'call-pri-lost' }) }),
    'primary-would-be-target',
  );
  t.is(result({ ...older, policies: policies({ rrConflict: 'violently' }) }), -1);
  // a diskless Primary that attaches again has no data to protect
  t.is(result({ ...older, disk: Disks.Negotiating }), -1);
});

test('dry run: nothing is changed, the log says what would be', (t) => {
  const d = syncDecision({ ...SPLIT, discardMyData: true, dryRun: true });
  t.is(d.refused, 'dry-run');
  const last = d.steps.at(-1);
  t.is(
    last?.type === 'log' ? last.text : '',
    'dry-run connect: Would become SyncTarget, doing a bit-map based resync.',
  );
});

test('unrelated data and old protocols are refused', (t) => {
  t.is(
    result({ ...SPLIT, self: set(0x10n, 0n, 0x30n, 0x31n), peer: set(0x20n, 0n, 0x40n, 0x41n) }),
    'unrelated-data',
  );
  t.is(result({ ...SPLIT, self: set(0x10n, 0x20n), peer: set(0x10n), apv: 90 }), 'needs-protocol');
});

test('both nodes come to opposite results, for any facts and any policies', (t) => {
  const seeds = [1, Number(process.hrtime.bigint() & 0x7fffffffn)];
  const solved = new Map<string, number>();
  for (const seed of seeds) {
    const prng = new Prng(seed);
    for (let n = 0; n < 20_000; n++) {
      const pick0 = prng.pick(Object.keys(AFTER_SB_0PRI));
      const input: HandshakeInput = {
        ...prng.pick([SPLIT, AMBIGUOUS]),
        role: prng.pick([Primary, Secondary]),
        peerRole: prng.pick([Primary, Secondary]),
        resolveConflicts: prng.chance(0.5),
        disk: prng.pick([Disks.Inconsistent, Disks.Outdated, Disks.Consistent, Disks.UpToDate]),
        peerDisk: prng.pick([Disks.Inconsistent, Disks.Outdated, Disks.Consistent, Disks.UpToDate]),
        selfBits: prng.below(3),
        peerBits: prng.below(3),
        discardMyData: prng.chance(0.2),
        peerFlags: prng.chance(0.2) ? UUID_FLAG.DISCARD_MY_DATA : 0,
        policies: policies({
          afterSb0pri: pick0,
          afterSb1pri: prng.pick(Object.keys(AFTER_SB_1PRI)),
          afterSb2pri: prng.pick(Object.keys(AFTER_SB_2PRI)),
          alwaysAsbp: prng.chance(0.5),
        }),
      };
      const mine = syncDecision(input);
      const theirs = syncDecision(mirror(input));
      // one node may refuse alone (it would be the target and is Primary); then there is no resync either way
      if (mine.refused || theirs.refused) continue;
      if (mine.result !== -theirs.result) {
        t.fail(`seed ${seed} case ${n}: ${mine.result} and ${theirs.result}, ${pick0}`);
        return;
      }
      const source = mine.result > 0 ? input.disk : input.peerDisk;
      t.true(source > Disks.Inconsistent);
      solved.set(pick0, (solved.get(pick0) ?? 0) + 1);
    }
  }
  for (const policy of Object.keys(AFTER_SB_0PRI)) t.true(solved.has(policy), policy);
});

test('when a P_STATE starts the handshake', (t) => {
  const at = (s: Partial<State>): State => ({ ...INITIAL_STATE, disk: Disks.UpToDate, ...s });
  const connected = at({ conn: Conns.Connected });
  t.true(startsHandshake(at({ conn: Conns.WFReportParams }), at({}), true, false));
  t.false(startsHandshake(at({ conn: Conns.WFReportParams }), at({}), false, false));
  t.false(
    startsHandshake(at({ conn: Conns.WFReportParams }), at({ disk: Disks.Diskless }), true, false),
  );
  t.false(startsHandshake(connected, at({ conn: Conns.Connected }), true, false));
  t.true(startsHandshake(connected, at({ disk: Disks.Negotiating }), true, false));
  t.true(startsHandshake({ ...connected, disk: Disks.Negotiating }, connected, true, false));
  t.true(startsHandshake(connected, at({ conn: Conns.WFBitMapT }), true, false));
  const promoted = at({ role: Primary, conn: Conns.Connected });
  t.true(startsHandshake(connected, promoted, true, true));
  t.false(startsHandshake(connected, promoted, true, false));
  const notYet = at({ disk: Disks.Inconsistent, conn: Conns.Connected });
  t.false(startsHandshake(connected, notYet, true, true), 'its promotion is not made yet');
  t.true(startsHandshake(connected, connected, true, true), 'made, and it is Secondary again');
  t.false(startsHandshake(at({ conn: Conns.PausedSyncT }), promoted, true, true));
  t.false(
    startsHandshake(at({ conn: Conns.SyncSource }), at({ conn: Conns.WFBitMapT }), true, false),
  );
  const fresh = at({ disk: Disks.Inconsistent, pdsk: Disks.Inconsistent, peer: Secondary });
  t.true(marksConsiderResync(fresh, { ...fresh, peer: Primary }));
  t.is(realPeerDisk(Disks.Negotiating, UUID_FLAG.INCONSISTENT), Disks.Inconsistent);
  t.is(realPeerDisk(Disks.Negotiating, 0), Disks.Consistent);
  t.is(refusal(Disks.Negotiating, Disks.UpToDate), 'my-attach');
  t.is(refusal(Disks.UpToDate, Disks.Negotiating), 'peer-attach');
  t.is(refusal(Disks.UpToDate, Disks.UpToDate), 'connection');
});

test('the state that follows a handshake', (t) => {
  const mine: State = { ...INITIAL_STATE, conn: Conns.WFReportParams, disk: Disks.UpToDate };
  const theirs: State = { ...INITIAL_STATE, role: Primary, conn: Conns.WFReportParams, userIsp: 1 };
  const first = handshakeState(mine, theirs, Conns.WFBitMapT, Disks.UpToDate, Disks.UpToDate);
  t.like(first.state, { conn: Conns.WFBitMapT, peer: Primary, pdsk: Disks.UpToDate, peerIsp: 1 });
  t.false(first.hard);
  t.false(first.thenSendUuidsAndState);
  // forced Primary at the peer: we were connected, it has not decided yet
  const connected = { ...mine, conn: Conns.Connected };
  const forced = handshakeState(
    connected,
    { ...theirs, conn: Conns.Connected },
    Conns.WFBitMapT,
    Disks.UpToDate,
    0,
  );
  t.true(forced.hard);
  t.true(forced.thenSendUuidsAndState);
  const attaching = { ...connected, disk: Disks.Negotiating };
  const kept = handshakeState(attaching, theirs, Conns.Connected, Disks.UpToDate, Disks.Outdated);
  t.is(kept.state.disk, Disks.Outdated);
});
