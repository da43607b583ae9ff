import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { ActivityLog } from '../../src/drbd/activity-log.js';
import { decodeTransaction, replayAl } from '../../src/md/activity-log.js';
import { encodeRing } from '../../src/md/apply-al.js';
import {
  isRefused,
  layoutOfDevice,
  layoutOfSuperblock,
  superblockSector,
} from '../../src/md/layout.js';
import {
  decodeSuperblock,
  freshSuperblock,
  MAGIC_UNCLEAN,
  MDF,
  type Superblock,
} from '../../src/md/superblock.js';
import { AL_EXTENTS_PER_PAGE } from '../../src/md/units.js';

const BLOCK = 4096;

function kernelRing(image: string): Uint8Array {
  const disk = gunzipSync(readFileSync(`test/golden/metadata/${image}.img.gz`));
  const at = superblockSector('internal', disk.length / 512);
  const l = layoutOfSuperblock(decodeSuperblock(disk, at * 512), 'internal', at);
  return disk.subarray(l.alSector * 512, (l.alSector + l.alBlocks * 8) * 512);
}

/** Writes the next transaction into the ring and commits it; false when there is none. */
function write(log: ActivityLog, ring: Uint8Array): boolean {
  const block = new Uint8Array(2 * BLOCK);
  const tr = log.prepare(block, BLOCK);
  if (!tr) return false;
  ring.set(block.subarray(BLOCK), tr.ringBlock * BLOCK);
  log.commit();
  return true;
}

test('the ring that the kernel writes at a first attach, byte for byte', (t) => {
  const log = new ActivityLog(1237, 1, 8);
  const ring = new Uint8Array(8 * BLOCK);
  const block = new Uint8Array(BLOCK);
  for (let i = 0; i < 8; i++) {
    const ringBlock = log.fillEmpty(block, 0);
    ring.set(block, ringBlock * BLOCK);
  }
  t.is(log.transactions, 8); // al:8 of /proc/drbd
  t.is(Buffer.compare(ring, kernelRing('2-synced-alice')), 0);
});

test('the ring of a kernel Primary after writes to six extents, byte for byte', (t) => {
  const log = new ActivityLog(1237, 1, 8);
  const ring = encodeRing(8);
  for (const extent of [0, 1, 2, 4, 8, 15]) {
    t.is(log.enter(extent), 'wait');
    t.true(write(log, ring));
    t.true(log.isHot(extent));
    log.leave(extent);
  }
  t.is(log.enter(4), 'hot');
  t.false(write(log, ring));
  t.is(Buffer.compare(ring, kernelRing('4-crashed-primary-alice')), 0);
});

test('waiters of one extent share a change; up to 64 changes share a transaction', (t) => {
  const log = new ActivityLog(200, 1, 8);
  const block = new Uint8Array(BLOCK);
  for (let e = 0; e < 70; e++) t.is(log.enter(e), 'wait');
  t.is(log.enter(3), 'wait');
  t.is(log.pending, 70);
  t.is(log.prepare(block, 0)?.updates, 64);
  t.is(log.pending, 6);
  t.is(log.prepare(block, 0), null, 'one at a time');
  t.is(log.enter(5), 'wait', 'not hot before the commit');
  log.commit();
  t.is(log.enter(5), 'hot');
  t.false(log.isHot(69));
  t.is(log.prepare(block, 0)?.updates, 6);
  log.commit();
  t.true(log.isHotRange(0, 69));
  t.is(log.used, 70);
});

test('a range is taken whole or not at all, and never evicts itself', (t) => {
  const log = new ActivityLog(3, 1, 8);
  const ring = encodeRing(8);
  for (const e of [10, 20, 30]) log.enter(e);
  while (write(log, ring));
  log.leave(20);
  t.is(log.enterRange(20, 21), 'full', 'the only idle slot is our own');
  t.false(log.isActive(20));
  t.is(log.enter(10), 'full', 'after a refusal everybody waits for a free slot');
  t.true(log.leave(10));
  t.is(log.enterRange(20, 21), 'wait');
  t.true(log.isHot(20));
  t.false(log.isHotRange(20, 21));
  t.false(log.isHot(10), 'evicted');
  while (write(log, ring));
  t.true(log.isHotRange(20, 21));
  t.deepEqual(log.usedExtents(), [20, 21, 30]);
});

test('the least recently used extent is evicted, and its bitmap page named', (t) => {
  const log = new ActivityLog(3, 1, 8);
  const ring = encodeRing(8);
  for (const e of [0, 100, 200]) log.enter(e);
  while (write(log, ring));
  for (const e of [100, 0, 200]) log.leave(e);
  t.is(log.enter(100), 'hot');
  log.leave(100);
  log.enter(500);
  const block = new Uint8Array(BLOCK);
  const tr = log.prepare(block, 0);
  t.deepEqual(tr?.pages, [0]); // of extent 0; those of free slots name none
  log.rollback();
  log.enter(501);
  const again = log.prepare(block, 0);
  t.is(again?.trNumber, 1, 'the number and place of the failed transaction');
  t.deepEqual(again?.pages, [0, 200 / AL_EXTENTS_PER_PAGE - (200 % 32) / 32]);
  t.deepEqual(decodeTransaction(block, 0)?.updateExtents.slice(0, 3), [500, 501, 0xffffffff]);
});

test('a change whose waiter gave up is committed all the same, and then idle', (t) => {
  const log = new ActivityLog(1, 1, 8);
  const ring = encodeRing(8);
  log.enter(7);
  t.false(log.leave(7));
  t.is(log.enter(8), 'full');
  write(log, ring);
  t.is(log.enter(8), 'wait');
});

test('cleared, it begins anew without forgetting its transaction number', (t) => {
  const log = new ActivityLog(100, 1, 8);
  const ring = encodeRing(8);
  log.enter(7);
  write(log, ring);
  log.leave(7);
  log.clear();
  t.is(log.trNumber, 1);
  t.false(log.isHot(7));
  log.enter(9);
  write(log, ring);
  t.deepEqual(replayAl(ring, sbFor(1, 8)).hotExtents, [9]);
});

function sbFor(stripes: number, stripeSize4k: number): Superblock {
  const l = layoutOfDevice('internal', 2 ** 21, { stripes, stripeSize4k });
  if (isRefused(l)) throw new Error(l.text);
  return { ...freshSuperblock(l), magic: MAGIC_UNCLEAN, flags: MDF.PRIMARY_IND };
}

/**
 * The obvious model: of each extent, whether a write to it is under way and whether the disk's bitmap lacks a bit that
 * memory has. Both must be in what a replay of the ring yields, at any moment, however the last block was torn.
 */
class Node {
  readonly log: ActivityLog;
  readonly ring: Uint8Array;
  readonly sb: Superblock;
  readonly waiting: [first: number, last: number][] = [];
  readonly writing: [first: number, last: number][] = [];
  readonly unflushed = new Set<number>();
  constructor(slots: number, stripes: number, stripeSize4k: number) {
    this.sb = sbFor(stripes, stripeSize4k);
    this.ring = encodeRing(stripes * stripeSize4k);
    this.log = new ActivityLog(slots, stripes, stripeSize4k);
  }

  write(first: number, last: number): void {
    const entry = this.log.enterRange(first, last);
    if (entry === 'hot') this.#start(first, last);
    else if (entry === 'wait') this.waiting.push([first, last]);
  }

  #start(first: number, last: number): void {
    this.writing.push([first, last]);
    for (let e = first; e <= last; e++) this.unflushed.add(e); // e.g. the peer is away
  }

  finish(n: number): void {
    const [done] = this.writing.splice(n % Math.max(1, this.writing.length), 1);
    if (done) this.log.leaveRange(done[0], done[1]);
  }

  /** One transaction; `check` runs at every point where the power may fail. */
  transaction(check: () => void, fail: boolean): void {
    const block = new Uint8Array(BLOCK);
    const tr = this.log.prepare(block, 0);
    if (!tr) return;
    for (const page of tr.pages) {
      for (const e of this.unflushed) {
        if (Math.floor(e / AL_EXTENTS_PER_PAGE) === page && !this.#isWritten(e)) {
          this.unflushed.delete(e); // a write under way may set bits at any later time
        }
      }
    }
    check();
    const place = this.ring.subarray(tr.ringBlock * BLOCK, (tr.ringBlock + 1) * BLOCK);
    const before = place.slice();
    for (const torn of [512, 2048, 3584]) {
      place.set(before);
      place.set(block.subarray(0, torn));
      check();
    }
    if (fail) {
      this.log.rollback();
      return;
    }
    place.set(block);
    check();
    this.log.commit();
    check();
    const ready = this.waiting.filter(([a, b]) => this.log.isHotRange(a, b));
    for (const [a, b] of ready) {
      this.waiting.splice(
        this.waiting.findIndex((w) => w[0] === a && w[1] === b),
        1,
      );
      this.#start(a, b);
    }
  }

  #isWritten(extent: number): boolean {
    return this.writing.some(([first, last]) => first <= extent && extent <= last);
  }

  /** Extents that a crash now would leave in doubt. */
  inDoubt(): number[] {
    const all = new Set(this.unflushed);
    for (const [first, last] of this.writing) for (let e = first; e <= last; e++) all.add(e);
    return [...all];
  }
}

for (const [slots, stripes, size4k] of [
  [7, 1, 8],
  [67, 1, 8],
  [67, 4, 4],
  [2000, 1, 8],
] as const) {
  test(`after a crash at any point the replay holds all in doubt: ${slots} slots, ${stripes}x${size4k}`, (t) => {
    const extent = fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 5000 }));
    const step = fc.oneof(
      fc.record({ op: fc.constant('write' as const), n: extent, m: fc.nat({ max: 1 }) }),
      fc.record({ op: fc.constant('burst' as const), n: extent, m: fc.nat({ max: 100 }) }),
      fc.record({ op: fc.constant('finish' as const), n: fc.nat(), m: fc.constant(0) }),
      fc.record({ op: fc.constant('finish-all' as const), n: fc.nat(), m: fc.constant(0) }),
      fc.record({
        op: fc.constant('transaction' as const),
        n: fc.nat({ max: 9 }),
        m: fc.constant(0),
      }),
    );
    let evicting = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), (steps) => {
        const node = new Node(slots, stripes, size4k);
        const check = (): void => {
          const hot = new Set(replayAl(node.ring, node.sb).hotExtents);
          for (const e of node.inDoubt()) if (!hot.has(e)) t.fail(`extent ${e} is not replayed`);
        };
        for (const s of steps) {
          if (s.op === 'write') node.write(s.n, s.n + s.m);
          if (s.op === 'burst') for (let i = 0; i < s.m; i++) node.write(s.n + i * 3, s.n + i * 3);
          if (s.op === 'finish') node.finish(s.n);
          if (s.op === 'finish-all') while (node.writing.length > 0) node.finish(s.n);
          if (s.op === 'transaction') {
            node.transaction(check, s.n === 0);
            const u = new Set(node.log.usedExtents());
            if (u.size === slots) evicting++;
            // What is said to be hot is on disk.
            const hot = new Set(replayAl(node.ring, node.sb).hotExtents);
            for (const e of u) if (s.n !== 0) t.true(hot.has(e));
          }
        }
        check();
        // Once all writes are done, everything settles: no reference, nothing waiting.
        for (let i = 0; i < 200 && (node.waiting.length > 0 || node.writing.length > 0); i++) {
          while (node.writing.length > 0) node.finish(0);
          node.transaction(check, false);
        }
        t.is(node.log.used, 0);
        t.is(node.waiting.length, 0);
      }),
      { numRuns: slots > 1000 ? 15 : 60 },
    );
    if (slots < 10) t.true(evicting > 0, 'the runs reach a full log');
  });
}
