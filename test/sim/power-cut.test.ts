/**
 * What a power cut takes from the disk's cache of a node must be covered by something that makes it copied again: the
 * activity log, the bitmap, or a flush at the moment when neither covers it any more.
 */
import test from 'ava';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, SimPair, type SimPairNode } from '../support/sim-pair.js';

const SEEDS = 12; // each cache of a simulated disk several times

function back(node: SimPairNode): void {
  node.attach();
  node.connect();
}

function promoted(node: SimPairNode): void {
  const outcome = node.ask((v, done) => setPrimary(v, false, done));
  if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
}

test('of a node that was Primary until just now', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
    pair.upToDate();
    for (let i = 0; i < 10; i++) t.is(pair.alpha.write(i * 8, block(i + 1)), 0);
    t.is(pair.alpha.ask((v, done) => setSecondary(v, done)).kind, 'ok');
    promoted(pair.beta);
    pair.alpha.crash(true);
    back(pair.alpha);
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
  }
});

test('of a Primary', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
    pair.upToDate();
    for (let i = 0; i < 10; i++) t.is(pair.alpha.write(i * 8, block(i + 1)), 0);
    pair.alpha.crash(true);
    promoted(pair.beta);
    t.is(pair.beta.write(0, block(77)), 0);
    back(pair.alpha);
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
    for (let i = 1; i < 10; i++) t.deepEqual(pair.beta.read(i * 8, 4096), block(i + 1));
  }
});

test('of a Primary that wrote while every bit was set, and was a source of a resync since', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const pair = new SimPair(seed, { sizeBytes: 2 << 20 }); // less than one extent of the activity log
    pair.upToDate();
    t.is(pair.alpha.write(0, block(1)), 0);
    pair.alpha.crash(false); // the log's extent, the whole device, is marked
    pair.alpha.attach();
    promoted(pair.alpha);
    t.true(pair.alpha.volume.alSuspended);
    for (let i = 0; i < 10; i++) t.is(pair.alpha.write(i * 8, block(i + 10)), 0);
    pair.alpha.connect();
    pair.settled();
    pair.run(1000);
    pair.alpha.crash(true);
    promoted(pair.beta);
    back(pair.alpha);
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
    for (let i = 0; i < 10; i++) t.deepEqual(pair.beta.read(i * 8, 4096), block(i + 10));
  }
});

test('of a Secondary', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
    pair.upToDate();
    for (let i = 0; i < 10; i++) t.is(pair.alpha.write(i * 8, block(i + 1)), 0);
    pair.run(seed * 20); // some within the epoch, some after its end
    pair.beta.crash(true);
    back(pair.beta);
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
  }
});

// Swarm seed 1117989630.
test('of the target of a resync: blocks that were written while the bitmaps were exchanged', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
    pair.upToDate();
    const { alpha, beta } = pair;
    const { volume } = beta;
    volume.diskOptions = { ...volume.diskOptions, resyncRateKiBps: 250 };
    beta.disconnect();
    alpha.until(/cs:WFConnection/);
    for (let i = 100; i < 160; i++) t.is(alpha.write(i * 8, block(i)), 0); // what the resync is busy with
    alpha.handlerMs = 100; // before-resync-source
    beta.connect();
    alpha.until(/cs:WFBitMapS/);
    beta.until(/cs:WFSyncUUID/);
    t.regex(alpha.shown, /cs:WFBitMapS/);
    const saved = seed % 2 === 0; // before the power goes
    if (!saved) volume.writeBitmap = () => {};
    for (let i = 0; i < 4; i++) t.is(alpha.write(i * 8, block(i + 1)), 0); // P_OUT_OF_SYNC
    pair.until(() => alpha.volume.bitmap?.anySectors(0, 32) === false, 'the target has them');
    t.regex(beta.shown, /cs:SyncTarget/);
    if (saved) {
      pair.until(() => !volume.resync.unsaved.some, 'the bits are on disk');
      t.regex(beta.shown, /cs:SyncTarget/, 'and that did not wait for the end');
    }
    beta.crash(true);
    back(beta);
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
  }
});
