/**
 * All states and all steps between them: what is implied, what is forbidden, what may be asked for, against the rules as
 * data (state-rules.ts); and what must hold whatever the rules say. No sampling but where a test says so.
 */
import test from 'ava';
import { stateText } from '../../src/drbd/return-codes.js';
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
  type ChangeContext,
  type ChangeResult,
  checkValidity,
  HARD,
  IDLE_CONTEXT,
  isClusterWide,
  precheckClusterWide,
  requestChange,
  SOFT,
  sameState,
  sanitize,
  VALIDITY,
} from '../../src/drbd/transition.js';
import { firstRow } from './spec-table.js';
import {
  ASKED_ROWS,
  adjust,
  FACT_COUNT,
  fill,
  HARD_ROWS,
  holdsState,
  SOFT_ROWS,
  SOURCE_CONNS,
  stateFrom,
  VALID_ROWS,
} from './state-rules.js';
import { stateOf } from './volume-status.js';

const { Primary, Secondary, Unknown } = Roles;
const { Diskless, Failed, Inconsistent, Outdated, DUnknown, UpToDate } = Disks;
const NET: ChangeContext = { ...IDLE_CONTEXT, netConfigured: true, verifyAlg: 'crc32c' };

function* everyState(flags: Partial<State> = {}): Generator<State> {
  for (const role of [Primary, Secondary])
    for (const peer of [Unknown, Primary, Secondary])
      for (let conn = 0; conn < CONNS.length; conn++)
        for (let disk = 0; disk < DISKS.length; disk++)
          for (let pdsk = 0; pdsk < DISKS.length; pdsk++)
            yield { ...INITIAL_STATE, ...flags, role, peer, conn, disk, pdsk };
}

/** The states that are what they mean: nothing is left to adjust. Every state that a volume can be in is one of them. */
const SETTLED: readonly State[] = [...everyState()].filter((s) =>
  sameState(sanitize(s, s, NET).state, s),
);

const show = (s: State): string =>
  `${CONNS[s.conn]} ${'UPS'[s.role]}/${'UPS'[s.peer]} ${DISKS[s.disk]}/${DISKS[s.pdsk]}`;

test('what a wanted state implies: every state, pause, policy and past', (t) => {
  const olds = [
    null, // the wanted state itself
    INITIAL_STATE,
    stateOf('Connected Primary/Secondary UpToDate/UpToDate'),
    stateOf('WFConnection Primary/Unknown UpToDate/DUnknown'),
    stateOf('WFConnection Primary/Unknown Inconsistent/DUnknown'),
    stateOf('Connected Primary/Secondary Diskless/UpToDate'),
    stateOf('Connected Secondary/Secondary Negotiating/UpToDate'),
  ];
  const contexts: ChangeContext[] = [];
  for (const fencing of ['dont-care', 'resource-and-stonith'] as const)
    for (const onNoDataAccessible of ['io-error', 'suspend-io'] as const)
      for (const negotiated of [
        null,
        { disk: UpToDate, pdsk: UpToDate },
        { disk: Outdated, pdsk: DUnknown },
      ])
        contexts.push({ ...NET, fencing, onNoDataAccessible, negotiated });
  contexts.push(
    { ...NET, vouches: true },
    { ...NET, untouched: true },
    { ...NET, peerBehind: true },
  );
  const bad: string[] = [];
  const facts: number[] = new Array(FACT_COUNT).fill(0);
  let cases = 0;
  const judge = (old: State, wanted: State, context: ChangeContext): void => {
    cases += 1;
    const { state: s } = sanitize(old, wanted, context);
    fill(facts, old, wanted, context);
    adjust(facts);
    const text = (): string => `${show(old)} to ${show(wanted)}: ${show(s)}`;
    if (!holdsState(facts, s)) bad.push(`${text()}, the table says ${show(stateFrom(facts))}`);
    // Once is enough. But for aftr_isp of a device that this very step leaves unconfigured: step 2 comes before 4.
    const again = sanitize(s, s, context).state;
    const negotiating = wanted.disk === Disks.Negotiating;
    const settled = negotiating && s.disk === Diskless ? { ...s, aftrIsp: again.aftrIsp } : s;
    const noMeta = negotiating && old.disk < Disks.Negotiating; // of no disk: there is no such step
    if (!noMeta && !sameState(again, settled)) bad.push(`${text()} again`);
    // a source is UpToDate, whatever was wanted
    if (SOURCE_CONNS.includes(s.conn) && s.disk !== UpToDate) bad.push(`${text()} source`);
    if (s.conn === Conns.SyncTarget && s.disk !== Inconsistent) bad.push(`${text()} target`);
    if (s.conn > Conns.Connected && (s.disk <= Failed || s.pdsk <= Failed)) bad.push(text());
  };
  // the pauses and suspensions decide nothing but the paused states: all of them, one context
  for (let n = 0; n < 16; n++) {
    const isp = { aftrIsp: n & 1, peerIsp: (n >> 1) & 1, userIsp: (n >> 2) & 1 };
    const susp = { susp: n >> 3, suspNod: n >> 3, suspFen: n >> 3 };
    for (const wanted of everyState({ ...isp, ...susp })) judge(wanted, wanted, NET);
  }
  for (const context of contexts)
    for (const old of olds)
      for (const wanted of everyState(old === null ? { userIsp: 1 } : {})) {
        // what the attach decided counts while Negotiating only
        if (context.negotiated && wanted.disk !== Disks.Negotiating) continue;
        judge(old ?? wanted, wanted, context);
      }
  t.deepEqual(bad.slice(0, 5), []);
  t.is(cases, 11_664 * (16 + 6 * 7 + 7) + 1296 * 8 * 7);
  t.is(SETTLED.length, 978);
});

const labelOf = (label: string): string => label.split(':')[0] ?? '';

test('what is always forbidden: every pair of connection and disk states', (t) => {
  const bad: string[] = [];
  const facts: number[] = new Array(FACT_COUNT).fill(0);
  const reached = new Set<string>();
  for (let from = 0; from < CONNS.length; from++)
    for (let to = 0; to < CONNS.length; to++)
      for (let a = 0; a < DISKS.length; a++)
        for (let b = 0; b < DISKS.length; b++) {
          const old = { ...INITIAL_STATE, conn: from, disk: a };
          const next = { ...INITIAL_STATE, conn: to, disk: b };
          fill(facts, old, next, NET);
          const expected = HARD_ROWS[firstRow(HARD_ROWS, facts)];
          const got = HARD.find((row) => row.when(old, next));
          reached.add(expected?.label ?? '');
          if (
            got?.code !== (expected && Number(expected.outcome)) ||
            labelOf(got?.label ?? '') !== (expected?.label ?? '')
          ) {
            bad.push(`${show(old)} to ${show(next)}: ${got?.label}, the table: ${expected?.label}`);
          }
        }
  t.deepEqual(bad.slice(0, 5), []);
  t.deepEqual([...reached].sort(), ['', ...HARD_ROWS.map((r) => r.label)].sort());
});

test('what may be asked for: every state in every circumstance', (t) => {
  const bad: string[] = [];
  const facts: number[] = new Array(FACT_COUNT).fill(0);
  const reached = new Set<string>();
  const withDisk = stateOf('StandAlone Secondary/Unknown UpToDate/DUnknown');
  const flag = [false, true];
  let cases = 0;
  for (const netConfigured of flag)
    for (const twoPrimaries of flag)
      for (const otherPeerPrimary of flag)
        for (const openers of [0, 1])
          for (const fencing of ['dont-care', 'resource-only'] as const)
            for (const [verifyAlg, apv] of [
              ['', 101],
              ['crc32c', 87],
              ['crc32c', 88],
            ] as const) {
              const c = {
                ...NET,
                netConfigured,
                twoPrimaries,
                otherPeerPrimary,
                openers,
                fencing,
                verifyAlg,
                apv,
              };
              for (const s of everyState()) {
                // without a disk before there is no fencing policy
                const old = (s.disk + s.pdsk) % 5 === 0 ? INITIAL_STATE : withDisk;
                cases += 1;
                fill(facts, old, s, c);
                const expected = VALID_ROWS[firstRow(VALID_ROWS, facts)];
                const code = checkValidity(s, old, c);
                reached.add(expected?.label ?? '');
                if (code !== (expected ? Number(expected.outcome) : 1)) {
                  bad.push(`${show(s)}: ${code}, the table says ${expected?.label}`);
                }
              }
            }
  t.deepEqual(bad.slice(0, 5), []);
  t.is(cases, 11_664 * 96);
  // 6, 7 and 8 are reached here only: of an adjusted state none of them is true, nor 9 of one that was asked for
  t.deepEqual([...reached].sort(), ['', ...new Set(VALID_ROWS.map((r) => r.label))].sort());
  t.deepEqual(
    VALIDITY.map((r) => labelOf(r.label)),
    [...new Set(VALID_ROWS.map((r) => r.label))],
  );
});

test('which steps a request may not make: every pair of states, as far as a rule looks', (t) => {
  const bad: string[] = [];
  const facts: number[] = new Array(FACT_COUNT).fill(0);
  const reached = new Set<string>();
  const roles = [
    [Primary, Primary],
    [Secondary, Primary],
  ] as const;
  const pdsks = [
    [UpToDate, UpToDate],
    [UpToDate, Outdated],
    [Outdated, Outdated],
    [Outdated, UpToDate],
  ] as const;
  let cases = 0;
  for (const c of [NET, { ...NET, stateSent: true }, { ...NET, peerBehind: true }]) {
    const peer = c.peerBehind ? Primary : INITIAL_STATE.peer; // who is promoted is asked there
    for (const [oldRole, role] of roles)
      for (const [oldPdsk, pdsk] of pdsks)
        for (let from = 0; from < CONNS.length; from++)
          for (let to = 0; to < CONNS.length; to++)
            for (let a = 0; a < DISKS.length; a++)
              for (let b = 0; b < DISKS.length; b++) {
                cases += 1;
                const old = { ...INITIAL_STATE, role: oldRole, conn: from, disk: a, pdsk: oldPdsk };
                const next = { ...INITIAL_STATE, role, peer, conn: to, disk: b, pdsk };
                fill(facts, old, next, c);
                const expected = SOFT_ROWS.findLast((row) => row.holds(facts));
                const got = SOFT.findLast((row) => row.when(old, next, c));
                if (expected) reached.add(expected.label);
                if (
                  labelOf(got?.label ?? '') !== (expected?.label ?? '') ||
                  (got && got.code !== Number(expected?.outcome))
                ) {
                  bad.push(
                    `${show(old)} to ${show(next)}: ${got?.label}, table: ${expected?.label}`,
                  );
                }
              }
  }
  t.deepEqual(bad.slice(0, 5), []);
  t.is(cases, 3 * 2 * 4 * 24 * 24 * 81);
  t.deepEqual([...reached].sort(), [...new Set(SOFT_ROWS.map((r) => r.label))].sort());
});

/** What can be wanted of a volume: each field by itself, and the combinations that the engine asks for. */
const WISHES: readonly Partial<State>[] = [
  { role: Primary },
  { role: Secondary },
  { role: Primary, disk: UpToDate },
  { role: Primary, pdsk: Outdated },
  { role: Primary, disk: UpToDate, pdsk: Outdated },
  ...DISKS.map((_, disk) => ({ disk })),
  ...DISKS.map((_, pdsk) => ({ pdsk })),
  ...CONNS.map((_, conn) => ({ conn })),
  { conn: Conns.Disconnecting, pdsk: Outdated },
  { conn: Conns.Disconnecting, disk: Outdated },
  { conn: Conns.TearDown, disk: Outdated },
  { conn: Conns.TearDown, pdsk: Outdated },
  { conn: Conns.SyncSource, pdsk: Inconsistent },
  { disk: UpToDate, pdsk: UpToDate },
  { userIsp: 1 },
  { aftrIsp: 1 },
  { peer: Primary },
];
const CONTEXTS: readonly ChangeContext[] = [
  NET,
  { ...NET, openers: 1 },
  { ...NET, verifyAlg: '' },
  { ...NET, otherPeerPrimary: true },
  { ...NET, fencing: 'resource-only' },
  { ...NET, fencing: 'resource-and-stonith', onNoDataAccessible: 'suspend-io' },
  { ...NET, stateSent: true },
  { ...NET, peerBehind: true },
  { ...IDLE_CONTEXT, verifyAlg: 'crc32c', apv: 86 },
];
type How = 'soft' | 'hard' | 'cluster-wide';

function ask(how: How, old: State, wanted: State, c: ChangeContext): ChangeResult {
  if (how === 'cluster-wide') return precheckClusterWide(old, wanted, c);
  return requestChange(old, wanted, c, { hard: how === 'hard' });
}

test('every wish in every state: the tables together, and what must hold of what is allowed', (t) => {
  const bad: string[] = [];
  const facts: number[] = new Array(FACT_COUNT).fill(0);
  const codes = new Set<number>();
  const refusedBy = new Set<string>();
  let cases = 0;
  const expectation = (how: How, old: State, wanted: State, c: ChangeContext): [number, string] => {
    fill(facts, old, wanted, c);
    if (how !== 'hard') {
      const asked = ASKED_ROWS[firstRow(ASKED_ROWS, facts)];
      if (asked) return [Number(asked.outcome), asked.label];
    }
    adjust(facts);
    if (holdsState(facts, old)) return [2, ''];
    const hard = HARD_ROWS[firstRow(HARD_ROWS, facts)];
    if (hard) return [Number(hard.outcome), hard.label];
    if (how === 'hard') return [1, ''];
    const soft = SOFT_ROWS.findLast((row) => row.holds(facts));
    const valid = VALID_ROWS[firstRow(VALID_ROWS, facts)];
    if (valid) {
      fill(facts, old, old, c);
      const before = VALID_ROWS[firstRow(VALID_ROWS, facts)];
      if (how !== 'soft' || before?.outcome !== valid.outcome) {
        return [Number(valid.outcome), valid.label];
      }
    }
    return soft ? [Number(soft.outcome), soft.label] : [1, ''];
  };
  for (const [n, context] of CONTEXTS.entries())
    for (const how of n === 0 ? (['soft', 'hard', 'cluster-wide'] as const) : (['soft'] as const))
      for (const old of SETTLED)
        for (const wish of WISHES) {
          cases += 1;
          const wanted = { ...old, ...wish };
          const got = ask(how, old, wanted, context);
          const [code, label] = expectation(how, old, wanted, context);
          const text = (): string =>
            `${how} ${n} ${show(old)} ${JSON.stringify(wish)}: ${got.code} ${got.rule} ${show(got.state)}`;
          if (got.code !== code || labelOf(got.rule) !== label) {
            bad.push(`${text()}, the tables say ${code} ${label}`);
            continue;
          }
          if (got.code < 1) {
            codes.add(got.code);
            refusedBy.add(labelOf(got.rule));
            // a refusal has a rule and a sentence
            if (got.rule === '' || stateText(got.code) === 'unknown error.') bad.push(text());
            continue;
          }
          if (how === 'hard' || got.code !== 1) continue;
          const s = got.state;
          const again = checkValidity(s, old, context);
          if (again !== 1 && again !== checkValidity(old, old, context))
            bad.push(`${text()}: invalid`);
          // two Primaries, a Primary without data: only where it was so already
          if (
            s.role === Primary &&
            s.peer === Primary &&
            context.netConfigured &&
            !(old.role === Primary && old.peer === Primary)
          ) {
            bad.push(`${text()}: two Primaries`);
          }
          const dataless = (x: State): boolean =>
            x.role === Primary &&
            x.disk < UpToDate &&
            (x.pdsk < UpToDate || x.conn < Conns.Connected);
          if (dataless(s) && checkValidity(old, old, context) === 1)
            bad.push(`${text()}: without data`);
          // a connected pair: no request makes a bad disk good, but the one that says so
          const raised = (before: number, wish: number | undefined, after: number): boolean =>
            before > Failed && before <= Outdated && after === UpToDate && wish !== UpToDate;
          if (
            old.conn === Conns.Connected &&
            [Conns.StartingSyncS, Conns.StartingSyncT, Conns.VerifyS, Conns.VerifyT].includes(
              s.conn,
            ) &&
            (raised(old.disk, wish.disk, s.disk) || raised(old.pdsk, wish.pdsk, s.pdsk))
          ) {
            bad.push(`${text()}: a bad disk is called UpToDate`);
          }
        }
  t.deepEqual(bad.slice(0, 5), []);
  t.is(cases, SETTLED.length * WISHES.length * (CONTEXTS.length + 2));
  // What no wish meets, since an earlier row or the adjustment covers it; the originals check it, too.
  const all = [...ASKED_ROWS, ...HARD_ROWS, ...VALID_ROWS, ...SOFT_ROWS].map((r) => r.label);
  t.deepEqual(
    [...new Set(all)].filter((label) => !refusedBy.has(label)),
    ['valid 6', 'valid 7', 'valid 8', 'valid 9', 'soft 2', 'soft 4', 'soft 12'],
  );
  t.deepEqual(
    [...codes].sort((a, b) => b - a),
    [-1, -2, -4, -5, -6, -7, -8, -9, -11, -12, -14, -15, -16, -17, -18, -20, -21],
  );
});

test('what the peer must agree to: every step between settled states', (t) => {
  const bad: string[] = [];
  let wide = 0;
  for (const old of SETTLED)
    for (const wish of WISHES) {
      const next = sanitize(old, { ...old, ...wish }, NET).state;
      const connected = old.conn >= Conns.Connected && next.conn >= Conns.Connected;
      const expected =
        (old.conn >= Conns.Connected && next.conn === Conns.Disconnecting) ||
        (old.conn === Conns.Connected &&
          [Conns.VerifyS, Conns.WFReportParams].includes(next.conn)) ||
        (connected &&
          ((old.role !== Primary && next.role === Primary) ||
            (next.conn !== old.conn &&
              [Conns.StartingSyncS, Conns.StartingSyncT].includes(next.conn)) ||
            (old.disk !== Failed && next.disk === Failed)));
      if (isClusterWide(old, next) !== expected) bad.push(`${show(old)} to ${show(next)}`);
      if (expected) wide += 1;
    }
  t.deepEqual(bad.slice(0, 5), []);
  t.true(wide > 1000, String(wide));
  t.is(Diskless, 0);
});
