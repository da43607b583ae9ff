/**
 * After a split brain, and from the comparison of generations to what both nodes do: all policies, roles, weights, disk
 * states and wishes of operators, against the tables of docs/STATES.md (data below), and both nodes against each other.
 * What a node decides alone (rr-conflict, always-asbp, an open device) is varied on each side by itself.
 */
import test from 'ava';
import { DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import { recoverSplitBrain, type SplitBrainInput } from '../../src/drbd/after-split-brain.js';
import type { UuidSet } from '../../src/drbd/generation.js';
import { Conns, DISKS, Disks, Roles } from '../../src/drbd/state.js';
import { type HandshakeInput, syncDecision, UUID_FLAG } from '../../src/drbd/sync-decision.js';
import { factIndex, firstRow, type SpecRow, specTable } from './spec-table.js';

const { Primary, Secondary } = Roles;
const UNSOLVED = -100;
const FACTS = ['s.pri', 's.bit', 'p.bit', 's.chg', 'p.chg', 'tie', 'open', 'zero'] as const;
const F = factIndex(FACTS); // zero: the outcome of after-sb-0pri

/** -1: my changes are discarded. `>`: the first of these policies that decides. U: unsolved */
const ZERO_PRIMARIES = byPolicy(`
  disconnect              |  U                                              | always
  discard-younger-primary | -1                                              | s.bit=0 p.bit=1
  discard-younger-primary |  1                                              | s.bit=1 p.bit=0
  discard-younger-primary | >discard-zero-changes,discard-least-changes     | always
  discard-older-primary   |  1                                              | s.bit=0 p.bit=1
  discard-older-primary   | -1                                              | s.bit=1 p.bit=0
  discard-older-primary   | >discard-zero-changes,discard-least-changes     | always
  discard-zero-changes    | -1                                              | s.chg=0 p.chg=0 tie=1
  discard-zero-changes    |  1                                              | s.chg=0 p.chg=0 tie=0
  discard-zero-changes    |  1                                              | p.chg=0
  discard-zero-changes    | -1                                              | s.chg=0
  discard-zero-changes    |  U                                              | always
  discard-least-changes   | -1                                              | s.chg<p.chg
  discard-least-changes   |  1                                              | s.chg>p.chg
  discard-least-changes   | -1                                              | tie=1
  discard-least-changes   |  1                                              | tie=0
  discard-local           | -1                                              | always
  discard-remote          |  1                                              | always
`);
const ONE_PRIMARY = byPolicy(`
  disconnect              |  U        | always
  consensus               |  1        | s.pri=1 zero=1
  consensus               | -1        | s.pri=0 zero=-1
  consensus               |  U        | always
  violently-as0p          | zero      | always
  discard-secondary       |  1        | s.pri=1
  discard-secondary       | -1        | always
  call-pri-lost-after-sb  |  U lost   | s.pri=1 zero=-1 open=1
  call-pri-lost-after-sb  | -1 demote | s.pri=1 zero=-1
  call-pri-lost-after-sb  | zero      | always
`);
const TWO_PRIMARIES = byPolicy(`
  disconnect              |  U        | always
  violently-as0p          | zero      | always
  call-pri-lost-after-sb  |  U lost   | zero=-1 open=1
  call-pri-lost-after-sb  | -1 demote | zero=-1
  call-pri-lost-after-sb  | zero      | always
`);
/** Names that exist, but not in this section: a configuration error, unsolved. */
const ZERO_NAMES = [...ZERO_PRIMARIES.keys(), 'consensus'];
const ONE_NAMES = [...ONE_PRIMARY.keys(), 'discard-zero-changes'];
const TWO_NAMES = [...TWO_PRIMARIES.keys(), 'consensus'];

function byPolicy(text: string): ReadonlyMap<string, readonly SpecRow[]> {
  const rows = specTable(text, F);
  return new Map(rows.map(({ label }) => [label, rows.filter((r) => r.label === label)]));
}

interface Solved {
  readonly result: number;
  readonly lost: boolean; // the handler pri-lost-after-sb was called
  readonly demote: boolean;
}

function zeroPrimaries(policy: string, facts: readonly number[]): number {
  const rows = ZERO_PRIMARIES.get(policy) ?? [];
  const outcome = rows[firstRow(rows, facts)]?.outcome ?? 'U';
  if (!outcome.startsWith('>')) return outcome === 'U' ? UNSOLVED : Number(outcome);
  for (const next of outcome.slice(1).split(',')) {
    const result = zeroPrimaries(next, facts);
    if (result !== UNSOLVED) return result;
  }
  return UNSOLVED;
}

/** The tables, applied. */
function solve(i: SplitBrainInput): Solved {
  const facts: number[] = new Array(FACTS.length).fill(0);
  facts[F['s.pri']] = Number(i.role === Primary);
  facts[F['s.bit']] = Number(i.self.bitmap & 1n);
  facts[F['p.bit']] = Number(i.peer.bitmap & 1n);
  facts[F['s.chg']] = i.selfBits;
  facts[F['p.chg']] = i.peerBits;
  facts[F['tie']] = Number(i.resolveConflicts);
  facts[F['open']] = Number(i.openers > 0);
  const zero = zeroPrimaries(i.policies.afterSb0pri, facts);
  facts[F['zero']] = zero;
  const primaries = Number(i.role === Primary) + Number(i.peerRole === Primary);
  if (primaries === 0) return { result: zero, lost: false, demote: false };
  const rows =
    primaries === 1
      ? ONE_PRIMARY.get(i.policies.afterSb1pri)
      : TWO_PRIMARIES.get(i.policies.afterSb2pri);
  const outcome = rows?.[firstRow(rows, facts)]?.outcome ?? 'U';
  const [word, what] = outcome.split(' ');
  return {
    result: word === 'zero' ? zero : word === 'U' ? UNSOLVED : Number(word),
    lost: what === 'lost',
    demote: what === 'demote',
  };
}

const REMOTE: Readonly<Record<string, string>> = {
  'discard-local': 'discard-remote',
  'discard-remote': 'discard-local',
};
const set = (current: bigint, bitmap = 0n, history1 = 0n, history2 = 0n): UuidSet => ({
  current,
  bitmap,
  history1,
  history2,
});

test('after-sb: every policy, with every weight, role, tie and open device', (t) => {
  const bad: string[] = [];
  const outcomes = new Map<string, number>();
  let cases = 0;
  const flag = [0, 1];
  for (const role of [Primary, Secondary])
    for (const peerRole of [Primary, Secondary])
      for (const afterSb0pri of ZERO_NAMES)
        for (const afterSb1pri of role !== peerRole ? ONE_NAMES : ['disconnect'])
          for (const afterSb2pri of role === Primary && peerRole === Primary
            ? TWO_NAMES
            : ['disconnect'])
            for (const tie of flag)
              for (const [selfBits, peerBits] of [
                [0, 0],
                [0, 1],
                [1, 0],
                [1, 1],
                [1, 2],
                [2, 1],
              ] as const)
                for (const bits of [0, 1, 2, 3])
                  for (const open of [0, 1, 2, 3]) {
                    cases += 1;
                    const mine: SplitBrainInput = {
                      self: set(0x10n, 0x50n | BigInt(bits & 1)),
                      peer: set(0x20n, 0x50n | BigInt(bits >> 1)),
                      role,
                      peerRole,
                      resolveConflicts: tie === 1,
                      selfBits,
                      peerBits,
                      openers: open & 1,
                      policies: { afterSb0pri, afterSb1pri, afterSb2pri },
                    };
                    const theirs: SplitBrainInput = {
                      ...mine,
                      self: mine.peer,
                      peer: mine.self,
                      role: peerRole,
                      peerRole: role,
                      resolveConflicts: tie === 0,
                      selfBits: peerBits,
                      peerBits: selfBits,
                      openers: open >> 1,
                      policies: {
                        ...mine.policies,
                        afterSb0pri: REMOTE[afterSb0pri] ?? afterSb0pri,
                      },
                    };
                    const got = recoverSplitBrain(mine);
                    const expected = solve(mine);
                    const there = recoverSplitBrain(theirs);
                    const lost = (r: typeof got): boolean =>
                      r.steps.some((s) => s.type === 'handler' && s.name === 'pri-lost-after-sb');
                    const where = `${afterSb0pri} ${afterSb1pri} ${afterSb2pri} roles ${role}${peerRole} bits ${selfBits},${peerBits} bit0 ${bits} open ${open} tie ${tie}`;
                    if (
                      got.result !== expected.result ||
                      got.giveUpPrimary !== expected.demote ||
                      lost(got) !== expected.lost
                    ) {
                      bad.push(`${where}: ${got.result}, the table says ${expected.result}`);
                    }
                    // opposite, or both unsolved, or the loser can not give up its role
                    const pair = [got.result, there.result].sort((a, b) => a - b).join();
                    const fine =
                      pair === '-1,1' ||
                      pair === '-100,-100' ||
                      (pair === '-100,1' && lost(got.result === UNSOLVED ? got : there));
                    if (!fine) bad.push(`${where}: ${got.result} and ${there.result}`);
                    outcomes.set(pair, (outcomes.get(pair) ?? 0) + 1);
                  }
  t.deepEqual(bad.slice(0, 5), []);
  t.true(cases > 25_000, String(cases));
  t.deepEqual([...outcomes.keys()].sort(), ['-1,1', '-100,-100', '-100,1']);
});

// ---- from the comparison to the action -----------------------------------------------------------------------------

/** Generation sets by what uuid_compare says of them. 41: only while both are Primary. */
const COMPARED: Readonly<Record<string, readonly [UuidSet, UuidSet]>> = {
  '0': [set(0x10n, 0n, 0x30n), set(0x10n, 0n, 0x30n)],
  '1': [set(0x10n, 0x20n), set(0x20n)],
  '-1': [set(0x20n), set(0x10n, 0x20n)],
  '2': [set(0x10n, 0n, 0x20n), set(0x20n)],
  '-2': [set(0x20n), set(0x10n, 0n, 0x20n)],
  '100': [set(0x10n, 0x50n), set(0x20n, 0x50n)],
  '-100': [set(0x10n, 0x11n << 4n, 0x50n, 0x60n), set(0x20n, 0x21n << 4n, 0x50n, 0x70n)],
  '-1000': [set(0x10n, 0n, 0x50n, 0x60n), set(0x20n, 0n, 0x70n, 0x80n)],
  both: [set(0x10n, 0x20n), set(0x20n, 0x10n)],
};

interface Case {
  readonly compared: string;
  readonly roles: readonly [number, number];
  readonly disks: readonly [number, number];
  readonly attaching: readonly [boolean, boolean];
  readonly discard: readonly [boolean, boolean];
  readonly asbp: readonly [boolean, boolean];
  readonly rr: readonly [string, string];
  readonly open: readonly [number, number];
  readonly dryRun: boolean;
  readonly afterSb: readonly [string, string, string];
}

const turned = (compared: string): string =>
  compared === '1' || compared === '-1' || compared === '2' || compared === '-2'
    ? String(-Number(compared))
    : compared;
const swapped = <T>([a, b]: readonly [T, T]): readonly [T, T] => [b, a];

function mirror(c: Case): Case {
  const [zero, one, two] = c.afterSb;
  return {
    compared: turned(c.compared),
    roles: swapped(c.roles),
    disks: swapped(c.disks),
    attaching: swapped(c.attaching),
    discard: swapped(c.discard),
    asbp: swapped(c.asbp),
    rr: swapped(c.rr),
    open: swapped(c.open),
    dryRun: c.dryRun,
    afterSb: [REMOTE[zero] ?? zero, one, two],
  };
}

/** What a peer that attaches shows of its disk. */
const seen = (disk: number): number => (disk === Disks.Inconsistent ? disk : Disks.Consistent);

function inputOf(c: Case): HandshakeInput {
  const [self, peer] = COMPARED[c.compared] ?? [set(0n), set(0n)];
  return {
    self,
    peer,
    apv: 101,
    role: c.roles[0],
    peerRole: c.roles[1],
    crashedPrimary: false,
    peerCrashedPrimary: false,
    resolveConflicts: false,
    featureWsame: true,
    disk: c.attaching[0] ? Disks.Negotiating : c.disks[0],
    negotiatedDisk: c.disks[0],
    peerDisk: c.attaching[1] ? seen(c.disks[1]) : c.disks[1],
    peerAttaching: c.attaching[1],
    selfBits: 1,
    peerBits: 1,
    bitsNow: 1,
    peerFlags: c.discard[1] ? UUID_FLAG.DISCARD_MY_DATA : 0,
    discardMyData: c.discard[0],
    openers: c.open[0],
    dryRun: c.dryRun,
    policies: {
      ...DEFAULT_NET_OPTIONS,
      afterSb0pri: c.afterSb[0],
      afterSb1pri: c.afterSb[1],
      afterSb2pri: c.afterSb[2],
      alwaysAsbp: c.asbp[0],
      rrConflict: c.rr[0],
    },
  };
}

const IN_USE = 'peers-data-in-use';
const NEWEST = 'newest-data-inconsistent';

/** docs/STATES.md, from result to action, by its numbers. [result] or why it is refused. */
function action(c: Case): number | string {
  const [mine, theirs] = c.disks;
  const bad = (disk: number): boolean => disk === Disks.Inconsistent;
  if (c.compared === '-1000') return 'unrelated-data'; // 1
  if (c.compared === 'both') return 'contradictory';
  let hg = Number(c.compared);
  if (bad(mine) !== bad(theirs)) {
    const [newest, other] = bad(mine) ? ([0, 1] as const) : ([1, 0] as const);
    const newer = Math.abs(hg) < 100 && (newest === 0 ? hg > 0 : hg < 0);
    const claimed = c.attaching[other] ? Disks.Consistent : c.disks[other]; // all that the other node hears of it
    const meant = c.discard[newest] || (c.roles[newest] !== Primary && claimed === Disks.UpToDate);
    if (newer && !meant) return NEWEST; // 2a
    const full = hg === -100 || Math.abs(hg) === 2; // 2
    hg = (bad(mine) ? -1 : 1) * (full ? 2 : 1);
  }
  let demoted = false;
  let solved = false;
  if (hg === 100 || (hg === -100 && c.asbp[0])) {
    const sb = solve(inputOf(c)); // 4
    if (sb.lost) return 'split-brain'; // the peer counts on it
    demoted = sb.demote;
    const manual = c.discard[0] === c.discard[1] ? 0 : c.discard[0] ? -1 : 1;
    if (hg === -100 && sb.result * manual === -1) return 'split-brain'; // the peer may have no always-asbp
    solved = Math.abs(sb.result) < 100;
    hg = solved && hg === -100 ? sb.result * 2 : sb.result;
  }
  if (hg === -100 && c.discard[0] !== c.discard[1]) hg = c.discard[0] ? -1 : 1; // 5
  if (hg === -100) return 'split-brain'; // 6
  if (hg > 0 && mine <= Disks.Inconsistent) return 'source-inconsistent'; // 7
  const disk = c.attaching[0] ? Disks.Negotiating : mine;
  if (hg < 0 && c.roles[0] === Primary && !demoted && disk >= Disks.Consistent) {
    if (c.rr[0] !== 'violently') return 'primary-would-be-target'; // 8
  }
  const [attaching, peerAttaching] = c.attaching;
  const other = peerAttaching ? seen(theirs) : theirs;
  // a Primary that had no disk: the data in use are the peer's
  if (hg > 0 && attaching && c.roles[0] === Primary && other === Disks.UpToDate) return IN_USE;
  if (hg < 0 && peerAttaching && c.roles[1] === Primary && disk === Disks.UpToDate) return IN_USE;
  // what the peer refuses while the connection stays
  if (attaching && hg < 0 && bad(theirs)) return 'source-inconsistent';
  if (
    attaching &&
    hg > 0 &&
    c.roles[1] === Primary &&
    !peerAttaching &&
    other >= Disks.Consistent &&
    c.rr[0] !== 'violently'
  ) {
    const policy = c.roles[0] === Primary ? c.afterSb[2] : c.afterSb[1];
    if (!solved || policy !== 'call-pri-lost-after-sb') return 'primary-would-be-target';
  }
  return c.dryRun ? 'dry-run' : hg; // 9
}

interface Tally {
  readonly bad: string[];
  readonly pairs: Map<string, number>;
  cases: number;
}

function judge(c: Case, tally: Tally): void {
  tally.cases += 1;
  const got = syncDecision(inputOf(c));
  const there = syncDecision(inputOf(mirror(c)));
  const mine = got.refused ?? got.result;
  const theirs = there.refused ?? there.result;
  const expected = action(c);
  const where = (): string => JSON.stringify(c);
  if (mine !== expected) tally.bad.push(`${where()}: ${mine}, the table says ${expected}`);
  if (got.refused === null) {
    const conn =
      got.result === 0 ? Conns.Connected : got.result > 0 ? Conns.WFBitMapS : Conns.WFBitMapT;
    if (got.conn !== conn || got.fullSync !== Math.abs(got.result) >= 2) tally.bad.push(where());
    // an Inconsistent disk is never the source
    if (got.result > 0 && c.disks[0] <= Disks.Inconsistent) tally.bad.push(`${where()}: source`);
    if (there.refused === null && Math.sign(got.result) !== -Math.sign(there.result)) {
      tally.bad.push(`${where()}: ${mine} and ${theirs}`);
    }
  }
  // A copy that is too new to be overwritten is so for both.
  if ((mine === NEWEST) !== (theirs === NEWEST)) tally.bad.push(`${where()}: ${mine}, ${theirs}`);
  // A refused attach leaves the connection. Who attaches must foresee what the other refuses (of which it would not
  // hear); its own refusal the other sees as a failed disk, which must not cost it a good copy.
  const same = c.asbp[0] === c.asbp[1] && c.rr[0] === c.rr[1];
  if (same && c.attaching[0] && !c.attaching[1]) {
    if (there.refused !== null && got.refused === null) {
      tally.bad.push(`${where()}: ${mine}, but the peer ${theirs}`);
    }
    if (got.refused !== null && there.refused === null) {
      const lost = there.result < 0 && c.disks[1] > Disks.Inconsistent;
      if (lost) tally.bad.push(`${where()}: ${mine}, and the peer loses its disk`);
    }
  }
  const name = [mine, theirs].map(String).sort().join(' / ');
  tally.pairs.set(name, (tally.pairs.get(name) ?? 0) + 1);
}

const both = [false, true] as const;
const pairs = <T>(all: readonly T[]): (readonly [T, T])[] =>
  all.flatMap((a) => all.map((b) => [a, b] as const));
const ROLE_PAIRS = pairs([Primary, Secondary]);
const DATA_DISKS = ['Inconsistent', 'Outdated', 'Consistent', 'UpToDate'].map((name) =>
  DISKS.indexOf(name as (typeof DISKS)[number]),
);
const RR = ['disconnect', 'call-pri-lost', 'violently'];

test('from the comparison to the action: every result, role, disk and wish, both nodes', (t) => {
  const tally: Tally = { bad: [], pairs: new Map(), cases: 0 };
  let n = 0;
  for (const compared of Object.keys(COMPARED))
    for (const roles of ROLE_PAIRS)
      for (const disks of pairs(DATA_DISKS))
        for (const attaching of pairs(both))
          for (const discard of pairs(both))
            for (const asbp of pairs(both))
              for (const rr of pairs(RR))
                for (const dryRun of both) {
                  // a fixed seventh of the 660,000: the factors have no common divisor with it
                  if (n++ % 7 !== 0) continue;
                  judge(
                    {
                      compared,
                      roles,
                      disks,
                      attaching,
                      discard,
                      asbp,
                      rr,
                      dryRun,
                      open: [0, 0],
                      afterSb: ['discard-local', 'violently-as0p', 'violently-as0p'],
                    },
                    tally,
                  );
                }
  t.deepEqual(tally.bad.slice(0, 5), []);
  t.true(tally.cases > 90_000, String(tally.cases));
});

test('a split brain: every policy with every wish, both nodes', (t) => {
  const tally: Tally = { bad: [], pairs: new Map(), cases: 0 };
  const { Inconsistent, UpToDate } = Disks;
  for (const compared of ['100', '-100'])
    for (const roles of ROLE_PAIRS)
      for (const zero of ['disconnect', 'discard-local', 'discard-remote'])
        for (const one of roles[0] !== roles[1] ? ONE_NAMES : ['disconnect'])
          for (const two of roles.every((r) => r === Primary) ? TWO_NAMES : ['disconnect'])
            for (const disks of [
              [UpToDate, UpToDate],
              [Inconsistent, UpToDate],
              [UpToDate, Inconsistent],
              [Inconsistent, Inconsistent],
            ] as const)
              for (const discard of pairs(both))
                for (const asbp of pairs(both))
                  for (const open of pairs([0, 1]))
                    for (const rr of RR)
                      judge(
                        {
                          compared,
                          roles,
                          disks,
                          attaching: [false, false],
                          discard,
                          asbp,
                          rr: [rr, rr],
                          dryRun: false,
                          open,
                          afterSb: [zero, one, two],
                        },
                        tally,
                      );
  t.deepEqual(tally.bad.slice(0, 5), []);
  t.true(tally.cases > 60_000, String(tally.cases));
});
