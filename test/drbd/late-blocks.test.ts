/**
 * Blocks of a resync, requests and answers that come late: the resync that they belong to was broken off on a connection that
 * lasts, and the next one may have begun.
 */
import test from 'ava';
import { detach, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { inSync, type SimPair } from '../support/sim-pair.js';

/** The target decides on the rate. */
function rate(pair: SimPair, resyncRateKiBps: number): void {
  const { volume } = pair.beta;
  volume.diskOptions = { ...volume.diskOptions, resyncRateKiBps };
}

/** A resync towards beta has come so far. */
function halfDone(pair: SimPair): void {
  rate(pair, 2000);
  if (pair.alpha.ask(invalidateRemote).kind !== 'ok') throw new Error('invalidate-remote');
  pair.beta.until(/cs:SyncTarget/);
  pair.run(400);
}

/** alpha lets its disk go and takes it back, and the resync begins anew: in the exchange of bitmaps now. */
function breakOff(pair: SimPair): void {
  const { alpha, beta } = pair;
  if (alpha.ask((v, done) => detach(v, true, done)).kind !== 'ok') throw new Error('detach');
  beta.until(/cs:Connected .*Inconsistent\/Diskless/);
  alpha.attach();
}

// Both copies called it equal: the block as it was read before, and what was written at the source since.
test('a block that is stored late, of a resync that was broken off, is not in sync', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  halfDone(pair);
  beta.disk.slowMs = 3000;
  const before = beta.volume.peerIo.local;
  pair.until(() => beta.volume.peerIo.local > before, 'a block is on its way to the disk');
  pair.run(1);
  beta.disk.slowMs = 0; // what comes after it is quick
  breakOff(pair);
  rate(pair, 40);
  alpha.until(/cs:WFBitMapS/);
  const tags: number[] = [];
  for (let sector = 0; sector + 128 <= alpha.volume.sizeSectors; sector += 128) {
    tags.push(alpha.beginWrite(sector, new Uint8Array(65536).fill(7)));
  }
  for (const tag of tags) t.is(alpha.answer(tag), 0);
  t.regex(alpha.shown, /cs:WFBitMapS/);
  pair.run(5000);
  t.regex(alpha.shown, /cs:SyncSource/);
  rate(pair, 1 << 20);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

const errors = (pair: SimPair): string[] =>
  [...pair.alpha.log, ...pair.beta.log].filter((line) => /ProtocolError|makes no sense/.test(line));

test('answers to a node that has let its disk go and taken it back meanwhile: thrown away, and asked for again', (t) => {
  for (const size of [1 << 20, 2000]) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    halfDone(pair);
    alpha.disk.slowMs = 1000; // the source reads slowly
    const before = alpha.volume.peerIo.local;
    pair.until(() => alpha.volume.peerIo.local > before, 'a request has come');
    alpha.disk.slowMs = 0;
    t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
    beta.attach();
    rate(pair, size);
    pair.settled();
    t.deepEqual(errors(pair), []);
    t.is(pair.firstDifference(), -1);
  }
});

test('a bitmap that is on its way to a node that lets its disk go', (t) => {
  for (const late of ['at the source', 'on the wire']) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    pair.net.reset('replication');
    alpha.until(/cs:WFConnection/);
    t.is(alpha.write(0, new Uint8Array(4096).fill(1)), 0);
    alpha.disk.slowMs = late === 'at the source' ? 300 : 0;
    beta.until(/cs:WFBitMapT/);
    t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.run(1000);
    alpha.disk.slowMs = 0;
    t.deepEqual(errors(pair), [], late);
    t.regex(alpha.shown, /cs:Connected .*UpToDate\/Diskless/, late);
    beta.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('a before-resync handler that ends in the next exchange of bitmaps does not begin it', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  alpha.handlers.length = 0;
  alpha.handlerMs = 1000;
  t.is(alpha.ask(invalidateRemote).kind, 'ok');
  pair.until(() => alpha.handlers.includes('before-resync-source'), 'the handler runs');
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  beta.attach();
  beta.disk.slowMs = 3000; // its bitmap comes late
  alpha.until(/cs:WFBitMapS/);
  pair.run(1200);
  t.regex(alpha.shown, /cs:WFBitMapS/, 'the bitmap of the target has not come yet');
  beta.disk.slowMs = 0;
  pair.settled();
  t.is(pair.firstDifference(), -1);
});
