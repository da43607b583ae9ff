/** docs/STATES.md, uuid_compare: the table against a plain walk through the rules, its symmetry, and single rules. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import {
  finishAsSource,
  finishAsTarget,
  newCurrent,
  randomUuid,
  startAsSource,
  startAsTarget,
  UUID_NEW_BM_OFFSET,
  type UuidSet,
} from '../../src/drbd/generation.js';
import { Roles } from '../../src/drbd/state.js';
import { type CompareInput, uuidCompare } from '../../src/drbd/uuid-compare.js';
import { mirrored } from './mirrored.js';

const { Primary, Secondary } = Roles;

const BASE: Omit<CompareInput, 'self' | 'peer'> = {
  apv: 101,
  role: Secondary,
  peerRole: Secondary,
  crashedPrimary: false,
  peerCrashedPrimary: false,
  resolveConflicts: false,
  featureWsame: true,
};

const set = (current: bigint, bitmap = 0n, history1 = 0n, history2 = 0n): UuidSet => ({
  current,
  bitmap,
  history1,
  history2,
});

/** The rules as prose tells them, from top to bottom; the obvious program that the table must agree with. */
function plainly(i: CompareInput): [number, number] {
  const low = (u: bigint) => (u / 2n) * 2n;
  const [sc, sb, s1, s2] = [i.self.current, i.self.bitmap, i.self.history1, i.self.history2].map(
    low,
  ) as [bigint, bigint, bigint, bigint];
  const [pc, pb, p1, p2] = [i.peer.current, i.peer.bitmap, i.peer.history1, i.peer.history2].map(
    low,
  ) as [bigint, bigint, bigint, bigint];
  if (sc === 4n && pc === 4n) return [0, 10];
  if ((sc === 4n || sc === 0n) && pc !== 4n) return [-2, 20];
  if (sc !== 4n && (pc === 4n || pc === 0n)) return [2, 30];
  if (sc === pc) {
    if (pb === 0n && sb !== 0n) {
      if (i.apv < 91) return [-1091, 30];
      return [1, sb === p1 && s1 === p2 ? 34 : 36];
    }
    if (sb === 0n && pb !== 0n) {
      if (i.apv < 91) return [-1091, 30];
      return [-1, s1 === pb && s2 === p1 ? 35 : 37];
    }
    const mine = i.crashedPrimary;
    const theirs = i.peerCrashedPrimary;
    if (!mine && !theirs) return [0, 40];
    if (i.role === Primary || i.peerRole === Primary) {
      if (!i.featureWsame) return [-(0x10000 + 101 + 4 * 256), 41];
      if (i.role === Primary && i.peerRole === Primary) return [-100, 41];
      return [i.role === Primary ? 1 : -1, 41];
    }
    if (mine && theirs) return [i.resolveConflicts ? -1 : 1, 40];
    return [mine ? 1 : -1, 40];
  }
  if (sc === pb) return [-1, 50];
  if (sc === p1 && (i.apv < 96 ? s1 === p2 : p1 + UUID_NEW_BM_OFFSET === pb)) {
    return i.apv < 91 ? [-1091, 51] : [-1, 51];
  }
  if (sc === p1 || sc === p2) return [-2, 60];
  if (sb === pc) return [1, 70];
  if (s1 === pc && (i.apv < 96 ? s2 === p1 : s1 + UUID_NEW_BM_OFFSET === sb)) {
    return i.apv < 91 ? [-1091, 71] : [1, 71];
  }
  if (s1 === pc || s2 === pc) return [2, 80];
  if (sb === pb && sb !== 0n) return [100, 90];
  if ([s1, s2].some((s) => s === p1 || s === p2)) return [-100, 100];
  return [-1000, 100];
}

/** Each node's data would be the other's past: no history makes such sets, and the first rule that sees it decides. */
function contradictory({ self, peer }: CompareInput): boolean {
  const ids = (s: UuidSet) => [s.bitmap, s.history1, s.history2].map((u) => u & ~1n);
  const current = (s: UuidSet) => s.current & ~1n;
  if (current(self) === current(peer)) return current(self) === 0n;
  return ids(peer).includes(current(self)) && ids(self).includes(current(peer));
}

const SEEDS = [1, 2, 3, Number(process.hrtime.bigint() & 0x7fffffffn)];

test('the table agrees with a plain walk; both nodes decide the same', (t) => {
  const rules = new Map<string, number>();
  let contradictions = 0;
  let total = 0;
  for (const seed of SEEDS) {
    const prng = new Prng(seed);
    // a small world, so that equal values are common; the offset values make 51 and 71 reachable
    const a = 0x1111_0000_0000_0010n;
    const world = [0n, 0n, 4n, a, a + UUID_NEW_BM_OFFSET, 0x20n, 0x30n, 0x40n];
    const uuid = () => prng.pick(world) | (prng.chance(0.3) ? 1n : 0n);
    // bit 0 alone is no identifier that a node could have
    const slot = () => {
      const u = uuid();
      return u === 1n ? 0n : u;
    };
    for (let n = 0; n < 25_000; n++) {
      const self = set(slot(), slot(), slot(), slot());
      const peer = set(prng.chance(0.5) ? self.current : slot(), slot(), slot(), slot());
      const input: CompareInput = {
        self,
        peer,
        apv: prng.pick([86, 90, 91, 95, 96, 101]),
        role: prng.chance(0.3) ? Primary : Secondary,
        peerRole: prng.chance(0.3) ? Primary : Secondary,
        crashedPrimary: prng.chance(0.3),
        peerCrashedPrimary: prng.chance(0.3),
        resolveConflicts: prng.chance(0.5),
        featureWsame: prng.chance(0.7),
      };
      const got = uuidCompare(input);
      const where = () => `seed ${seed}: ${Object.values(self)} | ${Object.values(peer)}`;
      const [result, rule] = plainly(input);
      if (got.result !== result || got.rule !== rule) {
        t.fail(`${where()}: ${got.result} by ${got.rule}, expected ${result} by ${rule}`);
        return;
      }
      rules.set(`${rule}`, (rules.get(`${rule}`) ?? 0) + 1);
      total += 1;
      if (contradictory(input)) {
        contradictions += 1;
        continue;
      }
      const other = uuidCompare(mirrored(input));
      const symmetric =
        Math.abs(got.result) <= 2
          ? other.result === (got.result === 0 ? 0 : -got.result)
          : other.result === got.result;
      if (!symmetric) {
        t.fail(
          `${where()}: ${got.result} by ${got.rule}, the peer ${other.result} by ${other.rule}`,
        );
        return;
      }
    }
  }
  const all = [10, 20, 30, 34, 35, 36, 37, 40, 41, 50, 51, 60, 70, 71, 80, 90, 100];
  for (const rule of all) t.true(rules.has(String(rule)), `rule ${rule} was reached`);
  t.true(contradictions < total / 3, `${contradictions} of ${total}`);
});

// Two nodes that are cut off, resync, crash in the middle of it; the truth is known because one node writes.
test('in any history with one writer the other never wins', (t) => {
  for (const seed of SEEDS) {
    const prng = new Prng(seed);
    const random = { u32: () => prng.u32(), bytes: () => new Uint8Array() };
    for (let run = 0; run < 300; run++) {
      const first = randomUuid(random) & ~1n;
      let writer = set(first | 1n);
      let reader = set(first);
      let dirty = false; // the writer has data that the reader lacks
      for (let step = 0; step < 8; step++) {
        if (prng.chance(0.6) && writer.bitmap === 0n) {
          writer = newCurrent(writer, randomUuid(random), true); // cut off, and written to
          dirty = true;
        }
        const where = `seed ${seed} run ${run} step ${step}`;
        const decide = (self: UuidSet, peer: UuidSet, role: number, peerRole: number) =>
          uuidCompare({ ...BASE, self, peer, role, peerRole });
        const mine = decide(writer, reader, Primary, Secondary);
        const theirs = decide(reader, writer, Secondary, Primary);
        t.is(mine.result, theirs.result === 0 ? 0 : -theirs.result, where);
        t.true(mine.result === 1 || (mine.result === 0 && !dirty), `${where}: ${mine.result}`);
        // both keep their own repair only
        if (mine.repaired === 'self') writer = mine.self;
        if (theirs.repaired === 'self') reader = theirs.self;
        if (mine.result === 0) continue;
        // the resync may stop at any point: before the target hears of it, in the middle, before one of both ends it
        const stage = prng.below(5);
        const seenByReader = writer; // P_UUIDS
        const started = startAsSource(writer, random);
        writer = started.set;
        if (stage === 0) continue; // P_SYNC_UUID lost
        reader = startAsTarget(reader, started.syncUuid, false);
        if (stage === 1) continue; // cut off in the middle
        reader = finishAsTarget(reader, seenByReader, false);
        dirty = false;
        if (stage === 2) continue; // the source misses the end
        writer = finishAsSource(writer);
      }
    }
  }
});

// Swarm seed 109: `primary --force` on the source of a resync that was cut off.
test('a forced new generation in the middle of a resync leaves the target an ancestor, not a stranger', (t) => {
  const random = { u32: () => 7, bytes: () => new Uint8Array() };
  const before = newCurrent(set(0x100n), 0x200n, true);
  const { set: source, syncUuid } = startAsSource(before, random);
  const target = startAsTarget(set(0x100n), syncUuid, false);
  const forced = newCurrent(source, 0x300n, true);
  t.is(forced.bitmap, source.current);
  const decided = uuidCompare({ ...BASE, self: forced, peer: target, role: Primary });
  const theirs = uuidCompare({ ...BASE, self: target, peer: forced, peerRole: Primary });
  t.deepEqual([decided.result, theirs.result], [2, -2]);
});

test('after a resync both have the same past, but for bit 0', (t) => {
  const source0 = set(0x905890e229f25272n | 1n, 0x8a38e51f20e7bac1n, 0x111n << 8n, 0n);
  const random = { u32: () => 7, bytes: () => new Uint8Array() };
  const { set: source1, syncUuid } = startAsSource(source0, random);
  t.is(syncUuid, source0.bitmap + UUID_NEW_BM_OFFSET);
  const target = finishAsTarget(
    startAsTarget(set(source0.bitmap & ~1n), syncUuid, false),
    source0,
    false,
  );
  const source = finishAsSource(source1);
  const ids = (s: UuidSet) => Object.values(s).map((u) => u & ~1n);
  t.deepEqual(ids(target), ids(source));
  t.is(source.current & 1n, 1n);
  t.is(target.current & 1n, 0n);
  t.is(
    target.history1,
    syncUuid & ~1n,
    'the sync UUID was current at the target: with its own role bit',
  );
});
