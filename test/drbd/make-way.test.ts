/**
 * c-min-rate on a pair: a resync, or verify, that is faster than this makes way for application I/O, on the side that was told to, and
 * never falls much below it. Two engines in virtual time.
 */
import test from 'ava';
import type { DiskOptions } from '../../src/config/drbd-options.js';
import { invalidateRemote, newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { block, SimPair, type SimPairNode } from '../support/sim-pair.js';
import { begin } from '../support/verify-pair.js';

const SECONDS = 12;

/** Alike, alpha Primary; each with a rate of its own from which on its side makes way. */
function alike(sizeMiB: number, minima: readonly [number, number], disk: Partial<DiskOptions>) {
  const pair = new SimPair(1, { sizeBytes: sizeMiB << 20, disk, net: { verifyAlg: 'crc32c' } });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  alpha.ask((v, done) => newCurrentUuid(v, true, done));
  pair.settled();
  alpha.ask((v, done) => setPrimary(v, false, done));
  for (const [i, node] of [alpha, beta].entries()) {
    const { volume } = node;
    volume.diskOptions = { ...volume.diskOptions, cMinRateKiBps: minima[i] ?? 0 };
  }
  return pair;
}

/** Writes, or reads, of `node` until then, so many in a second. */
function loads(pair: SimPair, node: SimPairNode, seconds: number, each = 25): void {
  for (let i = 0; i < seconds * each; i++) {
    node.beginWrite((i % 64) * 8, block(i));
    node.beginWrite((i % 64) * 8 + 1024, new Uint8Array(16384).fill(i));
    pair.run(1000 / each);
  }
}

/** KiB that are in sync, in a second, after the first ones. */
function rate(node: SimPairNode, work: (seconds: number) => void): number {
  work(5);
  const before = node.volume.bitmap?.count ?? 0;
  work(SECONDS);
  const after = node.volume.bitmap?.count ?? 0;
  return ((before - after) * 4) / SECONDS;
}

const FIXED = { cPlanAheadDs: 0, resyncRateKiBps: 20_000 };

for (const [side, minima] of [
  ['target', [0, 1000]],
  ['source', [1000, 0]],
] as const) {
  test(`the ${side} makes way for writes, and no more than it has to`, (t) => {
    const pair = alike(500, minima, FIXED);
    const { alpha, beta } = pair;
    alpha.ask((v, done) => invalidateRemote(v, done));
    beta.until(/cs:SyncTarget/);
    const busy = rate(beta, (s) => loads(pair, alpha, s));
    const idle = rate(beta, (s) => pair.run(s * 1000));
    t.log(`${side}: ${Math.round(busy)} KiB/s beside writes, ${Math.round(idle)} alone`);
    t.true(busy >= 800 && busy < 8000, `${busy}`);
    t.true(idle > 12_000, `${idle}`);
    t.regex(beta.shown, /cs:SyncTarget/);
    // To the end, beside writes all the time.
    loads(pair, alpha, 3);
    pair.run(120_000);
    pair.settled();
    t.is(pair.firstDifference(), -1);
  });
}

// Nearly all of it was fetched while nobody wrote: that does not hold back the rest for minutes.
test('the last blocks come at c-min-rate, too, however fast the first ones were', (t) => {
  const pair = alike(96, [0, 250], { cPlanAheadDs: 0, resyncRateKiBps: 100_000 });
  const { alpha, beta } = pair;
  alpha.ask((v, done) => invalidateRemote(v, done));
  beta.until(/cs:SyncTarget/);
  pair.until(() => (beta.volume.bitmap?.count ?? 0) < 1500, 'all but a few blocks');
  t.regex(beta.shown, /cs:SyncTarget/);
  for (let s = 0; s < 40 && /cs:SyncTarget/.test(beta.shown); s++) loads(pair, alpha, 1);
  t.regex(beta.shown, /cs:Connected .* ds:UpToDate\/UpToDate/);
});

test('c-min-rate 0: nobody makes way', (t) => {
  const pair = alike(420, [0, 0], FIXED);
  const { alpha, beta } = pair;
  alpha.ask((v, done) => invalidateRemote(v, done));
  beta.until(/cs:SyncTarget/);
  t.true(rate(beta, (s) => loads(pair, alpha, s)) > 12_000);
});

// The users of a target that is Primary wait for the blocks of the source: it does not hold them back.
test('the source serves a Primary at once', (t) => {
  const pair = alike(256, [0, 1000], FIXED);
  const { alpha } = pair;
  pair.alpha.control({ verb: 'invalidate', minor: 0 });
  alpha.until(/cs:SyncTarget ro:Primary/);
  t.true(rate(alpha, () => loads(pair, alpha, 1)) * SECONDS > 12_000);
});

test('requests that wait at the source when the connection is lost are let go, and the next resync is whole', (t) => {
  const pair = alike(256, [100, 0], FIXED);
  const { alpha, beta } = pair;
  alpha.ask((v, done) => invalidateRemote(v, done));
  beta.until(/cs:SyncTarget/);
  loads(pair, alpha, 4);
  pair.until(() => alpha.volume.peerIo.unacked > 3, 'requests that wait');
  const { link } = alpha.resource;
  pair.net.reset('replication');
  pair.until(() => link?.alive === false, 'the end of the connection');
  pair.settled();
  t.is(alpha.volume.peerIo.unacked, 0);
  t.is(pair.firstDifference(), -1);
});

/** KiB that a verify has compared, in a second, after the first ones. */
function compared(node: SimPairNode, work: (seconds: number) => void): number {
  const left = (): number => node.volume.verify.progress?.leftBits ?? 0;
  work(7);
  const before = left();
  work(8);
  return ((before - left()) * 4) / 8;
}

const VERIFIED = { cPlanAheadDs: 0, resyncRateKiBps: 2000 };

for (const [side, asks, minima] of [
  ['asks', 'alpha', [300, 0]],
  ['answers', 'beta', [300, 0]],
  ['asks, and is not Primary,', 'beta', [0, 300]],
] as const) {
  test(`verify: who ${side} makes way for writes, and no more than it has to`, (t) => {
    const pair = alike(56, minima, VERIFIED);
    const { alpha } = pair;
    const node = pair[asks];
    t.is(begin(node).kind, 'ok');
    const busy = compared(node, (s) => loads(pair, alpha, s));
    const idle = compared(node, (s) => pair.run(s * 1000));
    t.log(`${side}: ${Math.round(busy)} KiB/s beside writes, ${Math.round(idle)} alone`);
    t.true(busy >= 200 && busy < 1000, `${busy}`);
    t.true(idle > 1500, `${idle}`);
    t.regex(node.shown, /cs:VerifyS/);
    // A connection that is lost lets go what waits.
    loads(pair, alpha, 8);
    const { link } = alpha.resource;
    pair.net.reset('replication');
    pair.until(() => link?.alive === false, 'the end of the connection');
    pair.settled();
    for (const n of [pair.alpha, pair.beta]) {
      t.is(n.volume.verify.unacked + n.volume.verify.pending, 0);
      t.is(n.volume.peerIo.local, 0);
    }
    t.is(pair.firstDifference(), -1);
  });
}

// The users of the node that asks hold back their writes to these blocks until they are compared.
test('verify: a Primary that asks is answered at once', (t) => {
  const pair = alike(56, [0, 300], VERIFIED);
  const { alpha } = pair;
  t.is(begin(alpha).kind, 'ok');
  t.true(compared(alpha, (s) => loads(pair, alpha, s)) > 1500);
});
