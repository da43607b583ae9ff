/**
 * Two nodes connect: every pair of roles and disk states, every relation of their generations. Each decides from what the
 * other said of itself, both tell of their new state, and what they then believe of each other must fit together:
 * one source and one target, or neither, or no connection.
 */
import test from 'ava';
import { DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import type { UuidSet } from '../../src/drbd/generation.js';
import {
  CONNS,
  Conns,
  DISKS,
  Disks,
  INITIAL_STATE,
  Roles,
  type State,
} from '../../src/drbd/state.js';
import {
  handshakeState,
  realPeerDisk,
  startsHandshake,
  syncDecision,
} from '../../src/drbd/sync-decision.js';
import { type ChangeContext, IDLE_CONTEXT, requestChange } from '../../src/drbd/transition.js';

const { Primary, Secondary } = Roles;
const { Diskless, Failed, Inconsistent, Outdated, DUnknown, Consistent, UpToDate } = Disks;

interface Node {
  readonly set: UuidSet;
  readonly tie: boolean;
  readonly context: ChangeContext;
  readonly rr: string;
  readonly before: State;
  state: State; // StandAlone: refused
}

/** What P_STATE does (src/drbd/handshake.ts), without the packets. Returns a P_STATE to be sent, or null. */
function receive(n: Node, peer: Node, theirs: State): State | null {
  if (n.state.conn < Conns.WFReportParams) return null;
  const mine = n.state;
  const pdsk = realPeerDisk(theirs.disk, 0);
  let conn = mine.conn === Conns.WFReportParams ? Conns.Connected : mine.conn;
  if (startsHandshake(mine, theirs, true, false)) {
    const decision = syncDecision({
      self: n.set,
      peer: peer.set,
      apv: 101,
      role: mine.role,
      peerRole: theirs.role,
      crashedPrimary: false,
      peerCrashedPrimary: false,
      resolveConflicts: n.tie,
      featureWsame: true,
      selfBits: 1,
      peerBits: 1,
      bitsNow: 1,
      openers: 0,
      policies: { ...DEFAULT_NET_OPTIONS, rrConflict: n.rr },
      disk: mine.disk,
      negotiatedDisk: Diskless,
      peerDisk: pdsk,
      peerAttaching: false,
      peerFlags: 0,
      discardMyData: false,
      dryRun: false,
    });
    if (decision.refused !== null) return standAlone(n);
    conn = decision.conn;
  }
  const next = handshakeState(mine, theirs, conn, pdsk, Diskless);
  const context = { ...n.context, stateSent: mine.conn === Conns.WFReportParams };
  const result = requestChange(mine, next.state, context, { hard: next.hard });
  if (result.code < 1) return standAlone(n);
  n.state = result.state;
  return mine.conn === Conns.WFReportParams ? n.state : null;
}

function standAlone(n: Node): null {
  n.state = { ...INITIAL_STATE, conn: Conns.StandAlone, role: n.state.role, disk: n.state.disk };
  return null;
}

const set = (current: bigint, bitmap = 0n, history1 = 0n, history2 = 0n): UuidSet => ({
  current,
  bitmap,
  history1,
  history2,
});
const RELATIONS: Readonly<Record<string, readonly [UuidSet, UuidSet]>> = {
  'both new': [set(4n), set(4n)],
  'one new': [set(0x10n), set(4n)],
  equal: [set(0x10n, 0n, 0x30n), set(0x10n, 0n, 0x30n)],
  newer: [set(0x10n, 0x20n), set(0x20n)],
  'much newer': [set(0x10n, 0n, 0x20n), set(0x20n)],
  'split brain': [set(0x10n, 0x50n), set(0x20n, 0x50n)],
  ambiguous: [set(0x10n, 0x60n, 0x50n), set(0x20n, 0x70n, 0x50n)],
  unrelated: [set(0x10n, 0n, 0x50n, 0x60n), set(0x20n, 0n, 0x70n, 0x80n)],
  contradictory: [set(0x10n, 0x20n), set(0x20n, 0x10n)],
};
const DATA = [Diskless, Inconsistent, Outdated, Consistent, UpToDate];

const show = (s: State): string =>
  `${CONNS[s.conn]} ${'UPS'[s.role]}/${'UPS'[s.peer]} ${DISKS[s.disk]}/${DISKS[s.pdsk]}`;

function* pairs(): Generator<{ readonly name: string; readonly nodes: () => [Node, Node] }> {
  for (const [name, sets] of Object.entries(RELATIONS))
    for (const turned of [false, true])
      for (const role of [Primary, Secondary])
        for (const peerRole of [Primary, Secondary])
          for (const disk of DATA)
            for (const peerDisk of DATA)
              for (const fencing of ['dont-care', 'resource-only'] as const)
                for (const known of [DUnknown, Outdated]) // what meta-data or a handler said of the peer
                  for (const rr of ['disconnect', 'violently', 'vouches']) {
                    // nobody attaches as Consistent without fencing
                    if (fencing === 'dont-care' && [disk, peerDisk].includes(Consistent)) continue;
                    const vouches = rr === 'vouches';
                    if (vouches && disk !== Diskless && peerDisk !== Diskless) continue;
                    const make = (mine: number, side: 0 | 1, d: number): Node => {
                      const state: State = {
                        ...INITIAL_STATE,
                        conn: Conns.WFReportParams,
                        role: mine,
                        disk: d,
                        pdsk: side === 0 ? known : DUnknown,
                      };
                      return {
                        set: sets[turned ? ((1 - side) as 0 | 1) : side],
                        tie: side === 0,
                        context: { ...IDLE_CONTEXT, netConfigured: true, fencing, vouches },
                        rr: vouches ? 'disconnect' : rr,
                        before: state,
                        state,
                      };
                    };
                    yield {
                      name: `${name}${turned ? ', turned' : ''} ${rr} ${fencing}`,
                      nodes: () => [make(role, 0, disk), make(peerRole, 1, peerDisk)],
                    };
                  }
}

/** The first states cross; then each hears of the other's new one. */
function connect(a: Node, b: Node): void {
  const [first, second] = [a.state, b.state];
  const fromA = receive(a, b, second);
  const fromB = receive(b, a, first);
  if (fromB) receive(a, b, fromB);
  if (fromA) receive(b, a, fromA);
}

test('two nodes connect: what they then believe of each other fits together', (t) => {
  const bad: string[] = [];
  const outcomes = new Map<string, number>();
  let cases = 0;
  for (const { name, nodes } of pairs()) {
    cases += 1;
    const [a, b] = nodes();
    connect(a, b);
    const where = (): string =>
      `${name}: ${show(a.before)} and ${show(b.before)}: ${show(a.state)} and ${show(b.state)}`;
    const conns = [a.state.conn, b.state.conn].map((c) => CONNS[c]).sort();
    const outcome = conns.includes('StandAlone') ? 'refused' : conns.join(' ');
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    const bothPrimary = a.before.role === Primary && b.before.role === Primary;
    if (bothPrimary && outcome !== 'refused') bad.push(`${where()}: two Primaries`);
    if (outcome === 'refused') {
      // alone only the Primary that would be the target, or the source that is bad, refuses: the other loses the link
      for (const [me, other] of [
        [a, b],
        [b, a],
      ] as const) {
        if (me.state.conn === Conns.StandAlone || other.state.conn !== Conns.StandAlone) continue;
        const target = other.before.role === Primary && me.state.conn === Conns.WFBitMapS;
        const source = other.before.disk === Inconsistent && me.before.disk === Inconsistent;
        if (!target && !source) bad.push(`${where()}: one alone`);
      }
      continue;
    }
    // roles as the other says
    if (a.state.peer !== b.state.role || b.state.peer !== a.state.role)
      bad.push(`${where()}: roles`);
    const [source, target] = a.state.conn === Conns.WFBitMapS ? [a, b] : [b, a];
    if (outcome === 'Connected Connected') {
      if (a.state.pdsk !== b.state.disk || b.state.pdsk !== a.state.disk) bad.push(where());
      // old data get current by a comparison only
      for (const [me, other] of [
        [a, b],
        [b, a],
      ] as const) {
        const raised = me.before.disk === Outdated && me.state.disk === UpToDate;
        if (raised && other.before.disk <= Failed) bad.push(`${where()}: old data`);
        // and what may be old also by the word of a node that knows
        const may = me.before.disk === Consistent && me.state.disk === UpToDate;
        const word = other.before.disk > Failed || other.context.vouches === true;
        if (me.before.disk === Consistent && may !== word) bad.push(`${where()}: vouched for`);
        if (me.before.disk === Inconsistent && me.state.disk !== Inconsistent) bad.push(where());
      }
      continue;
    }
    if (outcome !== 'WFBitMapS WFBitMapT') {
      bad.push(where());
      continue;
    }
    // the source is good; the target is at most Outdated, which its peer sees as Consistent until the resync begins
    if (source.before.disk <= Inconsistent || source.state.disk !== UpToDate)
      bad.push(`${where()}: source`);
    const seen = target.state.disk === Outdated ? Consistent : target.state.disk;
    if (
      target.state.pdsk !== UpToDate ||
      target.state.disk > Outdated ||
      source.state.pdsk !== seen
    ) {
      bad.push(`${where()}: disks`);
    }
    if (
      target.before.role === Primary &&
      target.before.disk >= Consistent &&
      target.rr !== 'violently'
    ) {
      bad.push(`${where()}: a Primary is overwritten`);
    }
    // bitmaps exchanged, P_SYNC_UUID: both begin
    const began = requestChange(
      source.state,
      { ...source.state, conn: Conns.SyncSource, pdsk: Inconsistent },
      source.context,
      { hard: true },
    ).state;
    const waiting = requestChange(
      target.state,
      { ...target.state, conn: Conns.WFSyncUUID },
      target.context,
      {
        hard: true,
      },
    ).state;
    const begins = requestChange(waiting, { ...waiting, conn: Conns.SyncTarget }, target.context, {
      hard: true,
    }).state;
    if (
      began.conn !== Conns.SyncSource ||
      begins.conn !== Conns.SyncTarget ||
      began.disk !== UpToDate ||
      began.pdsk !== Inconsistent ||
      begins.disk !== Inconsistent ||
      begins.pdsk !== UpToDate
    ) {
      bad.push(`${where()}: ${show(began)} and ${show(begins)}`);
    }
  }
  t.deepEqual(bad.slice(0, 5), []);
  t.true(cases > 4000, String(cases));
  t.deepEqual([...outcomes.keys()].sort(), [
    'Connected Connected',
    'WFBitMapS WFBitMapT',
    'refused',
  ]);
});
