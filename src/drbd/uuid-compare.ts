/**
 * Whose data are newer? Compares the generation identifiers of both nodes after P_STATE of the handshake. The rules are
 * a table; the first that applies decides, and its number is logged as the originals log it. Pure: a repair of one set
 * comes back in the result.
 *
 *     2 / 1     I am the source of a full / bitmap-based resync          100    split brain, may be recovered
 *     -2 / -1   I am the target                                         -100    split brain, ambiguous
 *     0         no resync                                              -1000    unrelated data
 *
 * UUIDs are compared without bit 0. Source: docs/STATES.md, uuid_compare.
 */
import { assert } from '../base/assert.js';
import { maskUuid, UUID_JUST_CREATED, UUID_NEW_BM_OFFSET, type UuidSet } from './generation.js';
import { Roles } from './state.js';

const U64 = (1n << 64n) - 1n;

export const UNRELATED = -1000;

export interface CompareInput {
  readonly self: UuidSet; // as in our meta-data
  readonly peer: UuidSet; // of the last P_UUIDS
  readonly apv: number; // agreed protocol version
  readonly role: number; // Roles: ours
  readonly peerRole: number; // the peer's, of its P_STATE
  readonly crashedPrimary: boolean; // we
  readonly peerCrashedPrimary: boolean; // P_UUIDS flag 2
  readonly resolveConflicts: boolean; // we are the node of this connection that decides ties (RESOLVE_CONFLICTS)
  readonly featureWsame: boolean; // agreed feature WRITE_SAME: the peer knows rule 41
}

/** What must be supported on both sides to resolve this. */
export interface NeededVersion {
  readonly protocol: number;
  readonly features: number; // 0: none
}

export interface CompareResult {
  readonly rule: number;
  readonly result: number;
  readonly needs: NeededVersion | null; // not null: refuse; result is what the original logs
  readonly note: string | null; // log line of the rule, before "uuid_compare()="
  readonly warn: boolean; // level of note
  readonly self: UuidSet; // after a repair: to be written to the meta-data
  readonly peer: UuidSet; // our copy of the peer's set, after a repair
  readonly repaired: 'self' | 'peer' | null; // logged after the note
}

/** All values of both sets without bit 0: [current, bitmap, history1, history2]. */
interface Masked {
  readonly cur: bigint;
  readonly bm: bigint;
  readonly h1: bigint;
  readonly h2: bigint;
}

interface Facts {
  readonly s: Masked;
  readonly p: Masked;
  readonly in: CompareInput;
}

type Verdict = Partial<Omit<CompareResult, 'rule'>>;

interface Rule {
  readonly rule: number;
  readonly when: (f: Facts) => boolean;
  readonly verdict: (f: Facts) => Verdict;
}

const PROTOCOL_91: Verdict = { result: -1091, needs: { protocol: 91, features: 0 } };
/** Feature bit of WRITE_SAME on the wire. */
const FF_WSAME = 4;
const PROTOCOL_MAX = 101;

const source: Verdict = { result: 1 };
const target: Verdict = { result: -1 };
const sameCurrent = (f: Facts): boolean => f.s.cur === f.p.cur;
const onlyMyBitmap = (f: Facts): boolean => sameCurrent(f) && f.p.bm === 0n && f.s.bm !== 0n;
const onlyPeerBitmap = (f: Facts): boolean => sameCurrent(f) && f.s.bm === 0n && f.p.bm !== 0n;
const crashed = (f: Facts): boolean => f.in.crashedPrimary || f.in.peerCrashedPrimary;
const somePrimary = (f: Facts): boolean =>
  f.in.role === Roles.Primary || f.in.peerRole === Roles.Primary;

/** Did the resync that `behind` began as source never reach `other`, its target? */
function lostSyncUuid(f: Facts, behind: Masked, other: Masked): boolean {
  return f.in.apv < 96
    ? other.h1 === behind.h2
    : ((behind.h1 + UUID_NEW_BM_OFFSET) & U64) === behind.bm;
}

/** The set before the last start of a resync as source. */
function undoStart(set: UuidSet): UuidSet {
  return { ...set, bitmap: set.history1, history1: set.history2 };
}

/** The set after the end of the resync that was missed. Unlike setBitmapRotating also for a zero bitmap UUID. */
function endResync(set: UuidSet): UuidSet {
  return { ...set, bitmap: 0n, history1: set.bitmap, history2: set.history1 };
}

export const UUID_RULES: readonly Rule[] = [
  {
    rule: 10, // both just created
    when: ({ s, p }) => s.cur === UUID_JUST_CREATED && p.cur === UUID_JUST_CREATED,
    verdict: () => ({ result: 0 }),
  },
  {
    rule: 20, // I am new
    when: ({ s, p }) =>
      (s.cur === UUID_JUST_CREATED || s.cur === 0n) && p.cur !== UUID_JUST_CREATED,
    verdict: () => ({ result: -2 }),
  },
  {
    rule: 30, // the peer is new
    when: ({ s, p }) =>
      s.cur !== UUID_JUST_CREATED && (p.cur === UUID_JUST_CREATED || p.cur === 0n),
    verdict: () => ({ result: 2 }),
  },
  {
    rule: 34, // the target finished, I missed its end
    when: (f) => onlyMyBitmap(f) && f.in.apv >= 91 && f.s.bm === f.p.h1 && f.s.h1 === f.p.h2,
    verdict: (f) => ({
      ...source,
      self: endResync(f.in.self),
      repaired: 'self',
      note: 'was SyncSource, missed the resync finished event, corrected myself:',
    }),
  },
  {
    rule: 36,
    when: (f) => onlyMyBitmap(f) && f.in.apv >= 91,
    verdict: () => ({ ...source, note: 'was SyncSource (peer failed to write sync_uuid)' }),
  },
  {
    rule: 35, // I finished, the source missed my end
    when: (f) => onlyPeerBitmap(f) && f.in.apv >= 91 && f.s.h1 === f.p.bm && f.s.h2 === f.p.h1,
    verdict: (f) => ({
      ...target,
      peer: endResync(f.in.peer),
      repaired: 'peer',
      note: 'was SyncTarget, peer missed the resync finished event, corrected peer:',
    }),
  },
  {
    rule: 37,
    when: (f) => onlyPeerBitmap(f) && f.in.apv >= 91,
    verdict: () => ({ ...target, note: 'was SyncTarget (failed to write sync_uuid)' }),
  },
  {
    rule: 30, // 34 to 37 with an old peer; the originals log the last rule they passed
    when: (f) => onlyMyBitmap(f) || onlyPeerBitmap(f),
    verdict: () => PROTOCOL_91,
  },
  {
    rule: 40, // only the link was away
    when: (f) => sameCurrent(f) && !crashed(f),
    verdict: () => ({ result: 0 }),
  },
  {
    rule: 41, // a crashed Primary, and one of us is Primary now without having begun a generation
    when: (f) => sameCurrent(f) && somePrimary(f) && !f.in.featureWsame,
    verdict: () => ({
      result: -(0x10000 | PROTOCOL_MAX | (FF_WSAME << 8)),
      needs: { protocol: PROTOCOL_MAX, features: FF_WSAME },
      note: 'Equivalent unrotated UUIDs, but current primary present.',
      warn: true,
    }),
  },
  {
    rule: 41,
    when: (f) => sameCurrent(f) && f.in.role === Roles.Primary && f.in.peerRole === Roles.Primary,
    verdict: () => ({
      result: -100,
      note: 'Equivalent unrotated UUIDs, but both are primary. Can not resolve this.',
      warn: true,
    }),
  },
  {
    rule: 41,
    when: (f) => sameCurrent(f) && somePrimary(f),
    verdict: (f) => (f.in.role === Roles.Primary ? source : target),
  },
  {
    rule: 40, // both Secondary after a crash: who was Primary then?
    when: (f) => sameCurrent(f) && f.in.crashedPrimary !== f.in.peerCrashedPrimary,
    verdict: (f) => (f.in.crashedPrimary ? source : target),
  },
  {
    rule: 40, // both were
    when: sameCurrent,
    verdict: (f) => (f.in.resolveConflicts ? target : source),
  },
  { rule: 50, when: ({ s, p }) => s.cur === p.bm, verdict: () => target },
  {
    rule: 51,
    when: (f) => f.s.cur === f.p.h1 && lostSyncUuid(f, f.p, f.s),
    verdict: (f) =>
      f.in.apv < 91
        ? PROTOCOL_91
        : {
            ...target,
            peer: undoStart(f.in.peer),
            repaired: 'peer',
            note: 'Lost last syncUUID packet, corrected:',
          },
  },
  {
    rule: 60,
    when: ({ s, p }) => s.cur === p.h1 || s.cur === p.h2,
    verdict: () => ({ result: -2 }),
  },
  { rule: 70, when: ({ s, p }) => s.bm === p.cur, verdict: () => source },
  {
    rule: 71,
    when: (f) => f.s.h1 === f.p.cur && lostSyncUuid(f, f.s, f.p),
    verdict: (f) =>
      f.in.apv < 91
        ? PROTOCOL_91
        : {
            ...source,
            self: undoStart(f.in.self),
            repaired: 'self',
            note: 'Last syncUUID did not get through, corrected:',
          },
  },
  {
    rule: 80,
    when: ({ s, p }) => s.h1 === p.cur || s.h2 === p.cur,
    verdict: () => ({ result: 2 }),
  },
  { rule: 90, when: ({ s, p }) => s.bm === p.bm && s.bm !== 0n, verdict: () => ({ result: 100 }) },
  {
    rule: 100, // a common ancestor; zero and zero count as one
    when: ({ s, p }) => s.h1 === p.h1 || s.h1 === p.h2 || s.h2 === p.h1 || s.h2 === p.h2,
    verdict: () => ({ result: -100 }),
  },
  { rule: 100, when: () => true, verdict: () => ({ result: UNRELATED }) },
];

function masked(set: UuidSet): Masked {
  return {
    cur: maskUuid(set.current),
    bm: maskUuid(set.bitmap),
    h1: maskUuid(set.history1),
    h2: maskUuid(set.history2),
  };
}

export function uuidCompare(input: CompareInput): CompareResult {
  const facts: Facts = { s: masked(input.self), p: masked(input.peer), in: input };
  const row = UUID_RULES.find(({ when }) => when(facts));
  assert(row, 'the last rule of uuid_compare applies to everything');
  return {
    result: 0,
    needs: null,
    note: null,
    warn: false,
    self: input.self,
    peer: input.peer,
    repaired: null,
    ...row.verdict(facts),
    rule: row.rule,
  };
}

/**
 * Is each node's current generation part of the other's past (or does neither have one)? No sequence of operations leads
 * there: metadata were restored, copied or edited on both sides. The originals compare from top to bottom, so both nodes
 * find themselves the target and wait for each other. The only case in which uuidCompare is not symmetric
 * (test/drbd/uuid-exhaustive.test.ts).
 */
export function contradictory(self: UuidSet, peer: UuidSet): boolean {
  const s = masked(self);
  const p = masked(peer);
  if (s.cur === p.cur) return s.cur === 0n;
  const past = (set: Masked, id: bigint): boolean =>
    set.bm === id || set.h1 === id || set.h2 === id;
  const blank = (id: bigint): boolean => id === 0n || id === UUID_JUST_CREATED;
  return !blank(s.cur) && !blank(p.cur) && past(p, s.cur) && past(s, p.cur);
}
