/**
 * Resyncs that once never ended, over the simulated port: what the agreement, the disk and the application do meanwhile. All
 * were found by the swarm (seeds in the tests' comments).
 */
import test from 'ava';
import {
  detach,
  invalidate,
  invalidateRemote,
  newCurrentUuid,
  pauseSync,
} from '../../src/drbd/disk-verbs.js';
import { maskUuid } from '../../src/drbd/generation.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, SimPair } from '../support/sim-pair.js';

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

test('a block that the target of a resync could not write, and that the application has written since: it ends well', (t) => {
  let failed = 0;
  for (let delay = 0; delay < 12; delay++) {
    const pair = new SimPair(1, { sizeBytes: 2 << 20, disk: { onIoError: 'pass_on' } });
    const { alpha, beta } = pair;
    pair.upToDate();
    pair.run(100);
    slowResync(pair, 1000);
    t.is(alpha.ask(invalidateRemote).kind, 'ok');
    beta.until(/cs:SyncTarget/);
    beta.disk.full = { fromBytes: 64 * 512, toBytes: 72 * 512 };
    pair.until(() => (alpha.volume.resync.progress?.failedBits ?? 0) > 0, 'a block fails');
    beta.disk.full = null;
    pair.run(delay * 100);
    if (!/cs:SyncTarget/.test(beta.shown)) break;
    failed++;
    // Exactly the blocks that were refused with it: from one bit to a whole request.
    t.is(alpha.write(0, new Uint8Array(256 * 512).fill(delay)), 0);
    t.is(alpha.write(256, new Uint8Array(256 * 512).fill(delay)), 0);
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
  t.true(failed > 3);
});

/** What both nodes call the data, and its past. */
function sameGenerations(pair: SimPair): boolean {
  const [a, b] = [pair.alpha, pair.beta].map((n) => n.volume.uuids);
  if (!a || !b) return false;
  const keys = ['current', 'bitmap', 'history1', 'history2'] as const;
  return keys.every((key) => maskUuid(a[key]) === maskUuid(b[key]));
}

// Swarm seed 1279: the target took over what its peer had said of itself before it was a target.
test('a resync back, on the same connection: both nodes have the generation of the source', (t) => {
  const pair = inSync(1);
  pair.net.cut('replication');
  pair.until(() => pair.alpha.volume.link === null, 'cut');
  t.is(pair.alpha.write(8, block(1)), 0);
  pair.net.heal('replication');
  pair.settled();
  t.true(sameGenerations(pair));
  t.is(pair.alpha.ask(setSecondary).kind, 'ok');
  const { current } = pair.beta.volume.uuids;
  t.is(pair.beta.ask(invalidateRemote).kind, 'ok');
  pair.alpha.until(/cs:SyncTarget/);
  pair.settled();
  t.is(maskUuid(pair.alpha.volume.uuids.current), maskUuid(current));
  t.true(sameGenerations(pair));
});

test('the same after a skipped first resync, whichever node is thrown away', (t) => {
  for (const which of ['alpha', 'beta'] as const) {
    const pair = new SimPair(1, { sizeBytes: 2 << 20 });
    for (const node of [pair.alpha, pair.beta]) node.attach();
    for (const node of [pair.alpha, pair.beta]) node.connect();
    for (const node of [pair.alpha, pair.beta]) node.until(/cs:Connected/);
    t.is(pair.alpha.ask((v, done) => newCurrentUuid(v, true, done)).kind, 'ok');
    pair.settled();
    const { current } = pair.alpha.volume.uuids;
    t.is(pair[which].ask(invalidate).kind, 'ok');
    pair.settled();
    t.is(maskUuid(pair[which].volume.uuids.current), maskUuid(current));
    t.true(sameGenerations(pair));
  }
});

// Swarm seed 31229: the nodes had counted the blocks that failed differently, and the source waited for more.
test('a target that cannot write some blocks ends the resync on both nodes, and the next one mends it', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20, disk: { onIoError: 'pass_on' } });
  pair.upToDate();
  const { alpha, beta } = pair;
  beta.volume.diskOptions = { ...beta.volume.diskOptions, resyncRateKiBps: 250 };
  alpha.volume.diskOptions = { ...alpha.volume.diskOptions, resyncRateKiBps: 250 };
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.is(alpha.write(64, block(1)), 0);
  alpha.attach();
  alpha.until(/cs:SyncTarget ro:Primary/);
  alpha.disk.full = { fromBytes: 64 * 512, toBytes: 2048 * 512 };
  for (let at = 64; at < 1024; at += 64) t.is(alpha.write(at, block(2)), 0, 'the peer has it');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Inconsistent\/UpToDate/);
  beta.until(/cs:Connected/);
  alpha.disk.full = null;
  t.is(alpha.ask(invalidate).kind, 'ok');
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(alpha.disk.content(64 * 512, 4096), block(2));
});

// Swarm seed 50594: the target was UpToDate without a write that had arrived while it had no disk.
test('writes that arrive while the disk is let go and attached again are copied by the resync', (t) => {
  for (let delay = 0; delay <= 20; delay++) {
    const pair = new SimPair(1, { sizeBytes: 2 << 20 });
    pair.upToDate();
    pair.run(200);
    const { alpha, beta } = pair;
    pair.net.cut('replication', 'alpha');
    const writes = [alpha.beginWrite(8, block(1)), alpha.beginWrite(512, block(2))];
    pair.run(5);
    t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.run(delay / 10);
    if (delay % 2 === 0) pair.net.heal('replication');
    beta.attach();
    pair.run(5);
    pair.net.heal('replication');
    for (const w of writes) t.is(alpha.answer(w), 0);
    pair.settled();
    t.is(pair.firstDifference(), -1, `${delay}`);
  }
});

// Swarm seed 61234: a block of today in a copy of yesterday.
test('disconnected as the resync begins: nothing new is mixed into the Outdated copy', (t) => {
  const began = { alpha: 0, beta: 0 };
  for (const seat of ['alpha', 'beta'] as const) {
    for (let seed = 1; seed <= 30; seed++) {
      const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
      pair.upToDate();
      pair.run(200);
      const { alpha, beta } = pair;
      const asker = pair[seat];
      pair.net.cut('replication');
      alpha.until(/cs:WFConnection/);
      beta.until(/cs:WFConnection/);
      t.is(alpha.write(8, block(1)), 0);
      pair.net.heal('replication');
      pair.net.faults('replication', { delayMs: [0.1, 5] });
      beta.until(seat === 'alpha' ? /cs:WFBitMapT/ : /cs:WFSyncUUID/);
      asker.loop.enter(() => asker.volume.resource.disconnect(false, () => {}));
      pair.until(() => /SyncSource|StandAlone|WFConn/.test(alpha.shown), 'the resync or the end');
      began[seat] += alpha.shown.includes('SyncSource') ? 1 : 0;
      t.is(alpha.answer(alpha.beginWrite(512, block(2))), 0);
      pair.run(500);
      if (beta.shown.includes('ds:Outdated')) {
        t.deepEqual(beta.disk.content(512 * 512, 4096), block(0), `${seat} ${seed}`);
      }
      pair.until(() => asker.shown.includes('cs:StandAlone'), 'the end');
      asker.connect();
      pair.settled();
      t.is(pair.firstDifference(), -1);
    }
  }
  // The source does not begin while its own request is being agreed on; of its target's it may not have heard.
  t.is(began.alpha, 0);
  t.true(began.beta > 0);
});

// Swarm seed 130702: the late acknowledgement of a block cleared the bit of what was written there since.
test('acknowledgements of a resync that was broken off say nothing of what is written after it', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
    pair.upToDate();
    pair.run(200);
    const { alpha, beta } = pair;
    pair.net.faults('replication', { delayMs: [0.1, 40] }); // two sockets: either may be the faster one
    t.is(alpha.ask(invalidateRemote).kind, 'ok');
    beta.until(/cs:SyncTarget/);
    pair.run(20 + 5 * seed);
    beta.loop.enter(() => detach(beta.volume, true, () => {}));
    const writes: number[] = [];
    for (let at = 0; at < 3840; at += 16) {
      writes.push(alpha.beginWrite(at, block(seed)));
      pair.run(0.3);
    }
    beta.until(/ds:Diskless/);
    beta.attach();
    for (const w of writes) t.is(alpha.answer(w), 0);
    pair.settled();
    pair.run(200);
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
  }
});

// Swarm seed 425050: what the peer had said of its disk was forgotten with the connection, and the write was marked nowhere.
test('a write for a Primary without a disk that is done when the connection is gone is copied later', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  pair.upToDate();
  pair.run(200);
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  beta.until(/ds:UpToDate\/Diskless/);
  beta.disk.slowMs = 500;
  alpha.beginWrite(8, block(1));
  pair.until(() => beta.volume.peerIo.unacked > 0, 'the write has arrived');
  alpha.crash(false);
  beta.until(/cs:BrokenPipe|cs:NetworkFailure/);
  t.not(beta.disk.content(8 * 512, 1)[0], 1, 'on its way to the disk');
  beta.disk.slowMs = 0;
  alpha.attach();
  alpha.connect();
  pair.settled();
  t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 700856: the source took the target for Primary for ever, and could not be promoted.
test('a target that changes its role as the resync ends is heard', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  pair.net.faults('replication', { delayMs: [100, 100] });
  t.is(beta.ask(invalidate).kind, 'ok');
  beta.until(/cs:Connected ro:Primary\/Secondary ds:UpToDate\/UpToDate/);
  t.regex(alpha.shown, /cs:SyncSource/);
  t.is(beta.ask(setSecondary).kind, 'ok');
  pair.settled();
  pair.run(1000);
  t.regex(alpha.shown, /ro:Secondary\/Secondary/);
  t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
});

test('a word of the target from before it has begun does not end the resync at its source', (t) => {
  for (let seed = 80; seed <= 95; seed++) {
    const pair = inSync(seed);
    const { alpha, beta } = pair;
    pair.net.reset('replication'); // a new connection: the source begins at once
    alpha.until(/cs:WFConnection/);
    pair.settled();
    pair.run(100);
    pair.net.faults('replication', { delayMs: [1, 60] });
    slowResync(pair, 2000);
    alpha.log.length = 0;
    alpha.loop.enter(() => invalidateRemote(alpha.volume, () => {}));
    pair.run(seed % 60);
    for (const pause of [true, false]) {
      beta.loop.enter(() => pauseSync(beta.volume, pause, () => {})); // it says so, and how it stands
    }
    pair.run(1000);
    pair.settled();
    t.deepEqual(
      alpha.log.filter((line) => /could not be written|Connection closed/.test(line)),
      [],
      `seed ${seed}`,
    );
    t.is(pair.firstDifference(), -1);
  }
});

// Swarm seed 820447: the source sent its bitmap before the writes that it had received were done, and marked.
test('a Primary without a disk attaches while its last writes wait for the peer to store them: they are copied', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20, net: { protocol: 'B' } });
  pair.upToDate();
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  beta.disk.slowMs = 5;
  for (let n = 1; n <= 40; n++) t.is(alpha.write(0, block(n)), 0); // to one place: one after the other
  t.is(alpha.write(0, new Uint8Array(8192).fill(41)), 0);
  alpha.attach();
  alpha.until(/ds:UpToDate/);
  t.deepEqual(alpha.disk.content(4096, 4096), block(41));
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('a Primary that is synchronised has a write of its own done before its copy counts', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(0, block(1)), 0);
  t.is(alpha.ask((v, done) => pauseSync(v, true, done)).kind, 'ok');
  alpha.attach();
  alpha.until(/cs:PausedSyncT/);
  t.is(alpha.write(64, block(1)), 0); // the extent is in the activity log
  t.true(alpha.volume.bitmap?.anySectors(0, 8));
  alpha.disk.stuck = true;
  const write = alpha.beginWrite(0, block(2));
  pair.run(1000);
  t.deepEqual(beta.disk.content(0, 4096), block(2));
  t.true(alpha.volume.bitmap?.anySectors(0, 8));
  alpha.disk.stuck = false;
  t.is(alpha.answer(write), 0);
  t.false(alpha.volume.bitmap?.anySectors(0, 8));
  t.is(alpha.ask((v, done) => pauseSync(v, false, done)).kind, 'ok');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});
