/**
 * Resyncs that once never ended, over the simulated port: what the agreement, the disk and the application do meanwhile. All
 * were found by the swarm (seeds in the tests' comments).
 */
import test from 'ava';
import { detach, invalidate, invalidateRemote, pauseSync } from '../../src/drbd/roles.js';
import { SimPair } from '../support/sim-pair.js';

const block = (n: number): Uint8Array => new Uint8Array(4096).fill(n);

function inSync(seed: number): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
  pair.upToDate();
  return pair;
}

/** The target decides on the rate. */
function slowResync(pair: SimPair, resyncRateKiBps: number): void {
  const { volume } = pair.beta;
  volume.diskOptions = { ...volume.diskOptions, resyncRateKiBps };
}

// Swarm seeds 98, 149.
test('a source that begins before the target has written its bitmap is waited for', (t) => {
  const pair = inSync(1);
  pair.beta.disk.slowMs = 300;
  t.is(pair.alpha.ask(invalidateRemote).kind, 'ok');
  pair.beta.until(/cs:StartingSyncT/);
  pair.alpha.until(/cs:SyncSource/);
  pair.beta.until(/cs:StartingSyncT/);
  pair.beta.disk.slowMs = 0;
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('invalidate ends well whichever of reply and P_SYNC_UUID comes first', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const pair = inSync(seed);
    pair.net.faults('replication', { delayMs: [1, 40] });
    t.is(pair.beta.ask(invalidate).kind, 'ok');
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

// Swarm seeds 35, 91, 103.
test('a Primary that lost its disk as the source of a resync takes it back', (t) => {
  const pair = inSync(1);
  slowResync(pair, 250);
  t.is(pair.alpha.ask(invalidateRemote).kind, 'ok');
  pair.alpha.until(/cs:SyncSource/);
  pair.run(500);
  t.is(pair.alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.beta.until(/cs:Connected .*Inconsistent\/Diskless/);
  pair.run(1000);
  pair.alpha.attach();
  slowResync(pair, 1 << 20);
  pair.settled();
  t.is(pair.alpha.write(8, block(1)), 0);
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 136.
test('a pause while the last blocks are made durable does not keep the resync from ending', (t) => {
  const pair = inSync(1);
  pair.beta.disk.slowMs = 100;
  t.is(pair.alpha.ask(invalidateRemote).kind, 'ok');
  pair.until(() => pair.beta.log.filter((l) => /Resync done/.test(l)).length === 2, 'Resync done');
  t.is(pair.alpha.ask((v, done) => pauseSync(v, true, done)).kind, 'ok');
  pair.run(20);
  t.is(pair.alpha.ask((v, done) => pauseSync(v, false, done)).kind, 'ok');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 78.
test('writes of the application that never cease do not keep a resync from ending', (t) => {
  const pair = inSync(1);
  pair.beta.disk.slowMs = 20;
  t.is(pair.alpha.ask(invalidateRemote).kind, 'ok');
  pair.alpha.until(/cs:SyncSource/);
  let written = 0;
  const tags: number[] = [];
  const busy = (): void => {
    for (const tag of tags.splice(0)) if (pair.alpha.peek(tag) === undefined) tags.push(tag);
    while (tags.length < 8) tags.push(pair.alpha.beginWrite((written++ % 100) * 8, block(written)));
  };
  const startMs = pair.world.nowMs;
  while (!/cs:Connected .*UpToDate\/UpToDate/.test(pair.alpha.shown)) {
    busy();
    pair.run(2);
    if (pair.world.nowMs > startMs + 30_000) break;
  }
  t.regex(pair.alpha.shown, /cs:Connected .*UpToDate\/UpToDate/);
  for (const tag of tags) t.is(pair.alpha.answer(tag), 0);
  pair.run(2000);
  t.is(pair.firstDifference(), -1);
});
