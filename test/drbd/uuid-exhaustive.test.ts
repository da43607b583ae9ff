/**
 * uuid_compare, all of it. The rules look at nothing but equality of slots with each other, with 0 and with 4, and at one
 * sum (history1 + offset = bitmap). So every two generation sets there can be are, up to the names of the values, one of
 * the 94,828 partitions of the eight slots into groups of equal values (one group may be 0, one may be 4), each with
 * and without the sums. All of them are decided here, with every flag that a rule looks at, and compared with the table
 * of docs/STATES.md, which is data below, and with what the peer decides.
 */
import test from 'ava';
import { UUID_NEW_BM_OFFSET, type UuidSet } from '../../src/drbd/generation.js';
import { Roles } from '../../src/drbd/state.js';
import { type CompareInput, contradictory, uuidCompare } from '../../src/drbd/uuid-compare.js';
import { mirrored } from './mirrored.js';
import { factIndex, firstRow, specTable } from './spec-table.js';

const U64 = (1n << 64n) - 1n;

// s: own, p: the peer's. *.off: the set's own history1 + offset = bitmap
const F = factIndex([
  's.cur',
  's.bm',
  's.h1',
  's.h2',
  'p.cur',
  'p.bm',
  'p.h1',
  'p.h2',
  's.off',
  'p.off',
  'apv',
  's.pri',
  'p.pri',
  's.crash',
  'p.crash',
  'tie', // RESOLVE_CONFLICTS here
  'wsame',
]);

/** Rule, result, condition; then what is repaired. First match wins. 30 at -1091: the last rule that was passed. */
const TABLE = `
  10  |       0  | s.cur=4 p.cur=4
  20  |      -2  | s.cur=4|0 p.cur!=4
  30  |       2  | s.cur!=4 p.cur=4|0
  30  |   -1091  | apv<91 s.cur=p.cur p.bm=0 s.bm!=0
  30  |   -1091  | apv<91 s.cur=p.cur s.bm=0 p.bm!=0
  34  |  1 end-s | s.cur=p.cur p.bm=0 s.bm!=0 s.bm=p.h1 s.h1=p.h2
  36  |       1  | s.cur=p.cur p.bm=0 s.bm!=0
  35  | -1 end-p | s.cur=p.cur s.bm=0 p.bm!=0 s.h1=p.bm s.h2=p.h1
  37  |      -1  | s.cur=p.cur s.bm=0 p.bm!=0
  40  |       0  | s.cur=p.cur s.crash=0 p.crash=0
  41  |  -66661  | s.cur=p.cur s.pri=1 wsame=0
  41  |  -66661  | s.cur=p.cur p.pri=1 wsame=0
  41  |    -100  | s.cur=p.cur s.pri=1 p.pri=1
  41  |       1  | s.cur=p.cur s.pri=1
  41  |      -1  | s.cur=p.cur p.pri=1
  40  |       1  | s.cur=p.cur s.crash=1 p.crash=0
  40  |      -1  | s.cur=p.cur s.crash=0 p.crash=1
  40  |      -1  | s.cur=p.cur tie=1
  40  |       1  | s.cur=p.cur
  50  |      -1  | s.cur=p.bm
  51  |   -1091  | apv<91 s.cur=p.h1 s.h1=p.h2
  51  | -1 undo-p | apv<96 s.cur=p.h1 s.h1=p.h2
  51  | -1 undo-p | apv>=96 s.cur=p.h1 p.off=1
  60  |      -2  | s.cur=p.h1|p.h2
  70  |       1  | s.bm=p.cur
  71  |   -1091  | apv<91 s.h1=p.cur s.h2=p.h1
  71  |  1 undo-s | apv<96 s.h1=p.cur s.h2=p.h1
  71  |  1 undo-s | apv>=96 s.h1=p.cur s.off=1
  80  |       2  | p.cur=s.h1|s.h2
  90  |     100  | s.bm=p.bm s.bm!=0
  100 |    -100  | s.h1=p.h1|p.h2
  100 |    -100  | s.h2=p.h1|p.h2
  100 |   -1000  | always
`;
// 0x10000 | highest protocol 101 | feature WRITE_SAME << 8, negative
const ROWS = specTable(TABLE, F);
const RESULTS = ROWS.map((row) => Number(row.outcome.split(' ')[0]));
const REPAIRS = ROWS.map((row) => row.outcome.split(' ')[1] ?? '');
const RULES = ROWS.map((row) => Number(row.label));

/** All partitions of the slots: group of each, 0 = the value 0, 1 = the value 4. */
function* partitions(
  length: number,
  prefix: readonly number[] = [],
  top = 1,
): Generator<readonly number[]> {
  if (prefix.length === length) {
    yield prefix;
    return;
  }
  for (let group = 0; group <= top + 1; group++) {
    yield* partitions(length, [...prefix, group], Math.max(top, group));
  }
}

/**
 * Values for the groups so that the sums hold as wanted (history1 + offset = bitmap, in either set), or null if they can
 * not. All bit 0 clear. Groups without a demand get values far from each other.
 */
function values(groups: readonly number[], sOff: boolean, pOff: boolean): readonly bigint[] | null {
  const value: (bigint | undefined)[] = [0n, 4n];
  const links: (readonly [number, number])[] = [];
  if (sOff) links.push([groups[2] as number, groups[1] as number]);
  if (pOff) links.push([groups[6] as number, groups[5] as number]);
  for (let pass = 0; pass < 3; pass++) {
    for (const [h1, bm] of links) {
      const [a, b] = [value[h1], value[bm]];
      if (a !== undefined && b === undefined) value[bm] = (a + UUID_NEW_BM_OFFSET) & U64;
      if (b !== undefined && a === undefined) value[h1] = (b - UUID_NEW_BM_OFFSET) & U64;
    }
    const open = links.find(([h1]) => value[h1] === undefined);
    if (!open) break;
    value[open[0]] = 0x0700_0000_1111_1110n + BigInt(open[0]) * 0x1_0000n;
  }
  for (let g = 0; g <= Math.max(...groups); g++) {
    value[g] ??= 0x7000_0000_0000_0010n + BigInt(g) * 0x0000_1000_0000_0100n;
  }
  const known = value as readonly bigint[];
  if (new Set(known).size !== known.length) return null;
  const off = (h1: number, bm: number): boolean =>
    (((known[groups[h1] as number] as bigint) + UUID_NEW_BM_OFFSET) & U64) ===
    known[groups[bm] as number];
  return off(2, 1) === sOff && off(6, 5) === pOff ? known : null;
}

const setOf = (
  groups: readonly number[],
  from: number,
  value: readonly bigint[],
  bits = 0,
): UuidSet => {
  // bit 0 only on values that are generations: nothing writes 1
  const slot = (i: number): bigint => {
    const v = value[groups[from + i] as number] as bigint;
    return v !== 0n && (bits >> (from + i)) & 1 ? v | 1n : v;
  };
  return { current: slot(0), bitmap: slot(1), history1: slot(2), history2: slot(3) };
};

/** The 64 combinations of the flags: bits of n. */
function flagged(self: UuidSet, peer: UuidSet, apv: number, n: number): CompareInput {
  return {
    self,
    peer,
    apv,
    role: n & 1 ? Roles.Primary : Roles.Secondary,
    peerRole: n & 2 ? Roles.Primary : Roles.Secondary,
    crashedPrimary: (n & 4) !== 0,
    peerCrashedPrimary: (n & 8) !== 0,
    resolveConflicts: (n & 16) !== 0,
    featureWsame: (n & 32) !== 0,
  };
}

function factsOf(
  groups: readonly number[],
  sOff: boolean,
  pOff: boolean,
  apv: number,
  n: number,
): number[] {
  // groups are compared among each other only, so their numbers do for values; 1 is the group of the value 4
  const ids = groups.map((g) => (g === 1 ? 4 : g === 0 ? 0 : g + 10));
  const bit = (b: number): number => (n >> b) & 1;
  return [...ids, Number(sOff), Number(pOff), apv, bit(0), bit(1), bit(2), bit(3), bit(4), bit(5)];
}

/** Rules by which the two nodes see one thing: 34 and 35 tell of one event, and so on. */
const TWINS: Readonly<Record<number, number>> = {
  20: 30,
  30: 20,
  34: 35,
  35: 34,
  36: 37,
  37: 36,
  50: 70,
  70: 50,
  51: 71,
  71: 51,
  60: 80,
  80: 60,
};

const opposite = (mine: number, theirs: number): boolean =>
  Math.abs(mine) <= 2 ? mine + theirs === 0 : mine === theirs;

const repairedAsTold = (input: CompareInput, repair: string): boolean => {
  const got = uuidCompare(input);
  const expected = { self: input.self, peer: input.peer };
  const [what = '', whose = ''] = repair.split('-');
  const key = whose === 's' ? 'self' : 'peer';
  const set = expected[key];
  if (what === 'end') {
    expected[key] = { ...set, bitmap: 0n, history1: set.bitmap, history2: set.history1 };
  } else if (what === 'undo') {
    expected[key] = { ...set, bitmap: set.history1, history1: set.history2 };
  }
  const same = (a: UuidSet, b: UuidSet): boolean =>
    a.current === b.current &&
    a.bitmap === b.bitmap &&
    a.history1 === b.history1 &&
    a.history2 === b.history2;
  return (
    got.repaired === (repair === '' ? null : key) &&
    same(got.self, expected.self) &&
    same(got.peer, expected.peer)
  );
};

/** One case: against the table, against the peer. Returns what is wrong with it. */
function judge(input: CompareInput, row: number, asked: Map<string, number>): string | null {
  const got = uuidCompare(input);
  const name = `${RULES[row]} ${RESULTS[row]}`;
  asked.set(name, (asked.get(name) ?? 0) + 1);
  if (got.rule !== RULES[row] || got.result !== RESULTS[row]) {
    return `${got.result} by ${got.rule}, the table says ${RESULTS[row]} by ${RULES[row]}`;
  }
  if ((got.needs !== null) !== got.result < -1000) return 'needs a newer peer, or not';
  const theirs = uuidCompare(mirrored(input));
  const clash = contradictory(input.self, input.peer);
  const both = got.needs !== null && theirs.needs !== null; // both refuse
  if (opposite(got.result, theirs.result) === (clash && !both)) {
    return `${got.result} by ${got.rule}, the peer ${theirs.result} by ${theirs.rule}`;
  }
  const twin = TWINS[got.rule] ?? got.rule;
  if (!clash && got.needs === null && theirs.rule !== twin && got.rule !== 30) {
    return `rule ${got.rule} here, ${theirs.rule} there`;
  }
  return null;
}

const show = (i: CompareInput): string =>
  [...Object.values(i.self), '|', ...Object.values(i.peer)]
    .map((v) => (typeof v === 'bigint' ? v.toString(16) : v))
    .join(' ');

test('every pair of generation sets: as the table says, and opposite at the peer', (t) => {
  const reached = new Map<string, number>();
  const clashes = new Map<string, number>();
  const bad: string[] = [];
  let cases = 0;
  let n = 0;
  for (const groups of partitions(8)) {
    n += 1;
    for (const [sOff, pOff] of [
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ] as const) {
      const value = values(groups, sOff, pOff);
      if (!value) continue;
      const equal = groups[0] === groups[4];
      const self = setOf(groups, 0, value);
      const peer = setOf(groups, 4, value);
      for (const apv of [90, 95, 96]) {
        // flags decide only where the current generations are equal; there all of them (next test), here by turns
        const flags = equal ? 32 : (n * 37) & 63;
        const input = flagged(self, peer, apv, flags);
        const row = firstRow(ROWS, factsOf(groups, sOff, pOff, apv, flags));
        const wrong = judge(input, row, reached);
        cases += 1;
        if (wrong) bad.push(`${show(input)} apv ${apv}: ${wrong}`);
        if (apv === 96) {
          if (!repairedAsTold(input, REPAIRS[row] ?? '')) bad.push(`${show(input)}: repair`);
          if (contradictory(self, peer)) {
            const name = `${RULES[row]} and ${uuidCompare(mirrored(input)).rule}`;
            clashes.set(name, (clashes.get(name) ?? 0) + 1);
          }
        }
      }
      // bit 0 is no part of the identity: each of the 256 ways to set it comes up, by turns
      const bits = (n * 101) & 255;
      const plain = uuidCompare(flagged(self, peer, 101, 32));
      const dressed = uuidCompare(
        flagged(setOf(groups, 0, value, bits), setOf(groups, 4, value, bits), 101, 32),
      );
      if (plain.rule !== dressed.rule || plain.result !== dressed.result) {
        bad.push(`bit 0: ${bits} of ${show(flagged(self, peer, 101, 0))}`);
      }
    }
  }
  t.deepEqual(bad.slice(0, 5), []);
  t.is(n, 94_828);
  t.true(cases > 700_000, String(cases));
  // The only asymmetry: each node's data are the other's past, or neither has any. Rules met by the pairs (docs/STATES.md).
  t.deepEqual([...clashes.keys()].sort(), [
    '20 and 20',
    '50 and 50',
    '50 and 51',
    '50 and 60',
    '51 and 50',
    '51 and 51',
    '51 and 60',
    '60 and 50',
    '60 and 51',
    '60 and 60',
  ]);
  for (const [row, rule] of RULES.entries()) {
    const name = `${rule} ${RESULTS[row]}`;
    const byFlags = rule === 41 || (rule === 40 && RESULTS[row] !== 0); // next test
    t.is(reached.has(name), !byFlags, name);
  }
});

test('equal current generations: every combination of roles, crashes, tie-break and features', (t) => {
  const reached = new Map<string, number>();
  const bad: string[] = [];
  let cases = 0;
  for (const seven of partitions(7)) {
    // self.current, self.bitmap, history1, history2, then the peer's without its current
    const groups = [...seven.slice(0, 4), seven[0] as number, ...seven.slice(4)];
    const value = values(groups, false, false);
    if (!value) continue;
    const self = setOf(groups, 0, value);
    const peer = setOf(groups, 4, value);
    for (let flags = 0; flags < 64; flags++) {
      // below 91 only rules that look at no flag are different
      for (const apv of flags === (value.length * 11) % 64 ? [90, 101] : [101]) {
        const input = flagged(self, peer, apv, flags);
        const row = firstRow(ROWS, factsOf(groups, false, false, apv, flags));
        const wrong = judge(input, row, reached);
        cases += 1;
        if (wrong) bad.push(`${show(input)} apv ${apv} flags ${flags}: ${wrong}`);
      }
    }
  }
  t.deepEqual(bad.slice(0, 5), []);
  t.true(cases > 1_000_000, String(cases));
  for (const name of ['41 -66661', '41 -100', '41 1', '41 -1', '40 1', '40 -1', '40 0']) {
    t.true(reached.has(name), name);
  }
});
