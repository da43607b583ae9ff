/** A resync that has hardly begun when something breaks, or whose target goes on writing: which copy has every write, and counts. */
import test from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import { setUuids } from '../../src/drbd/changes.js';
import { detach, invalidate, invalidateRemote, suspendIo } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Conns, connName } from '../../src/drbd/state.js';
import { block, inSync } from '../support/sim-pair.js';

// Swarm seed 50668: the frozen write of the old service went over a block that the new one had written.
test('a Primary frozen as a target, while the source was promoted: what it still wants to write stays out of the newer data', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  for (const n of [alpha, beta]) {
    n.volume.diskOptions = { ...n.volume.diskOptions, resyncRateKiBps: 250 };
  }
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(1)), 0);
  alpha.attach();
  alpha.until(/cs:SyncTarget ro:Primary/);
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  beta.until(/cs:WFConnection/);
  const waits = alpha.beginWrite(8, block(2));
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.is(beta.write(8, block(3)), 0);
  t.is(beta.ask(setSecondary).kind, 'ok');
  pair.net.heal('replication');
  alpha.until(/cs:StandAlone/);
  t.true(alpha.log.some((line) => line.includes('have seen older data')));
  t.is(alpha.peek(waits), undefined);
  t.is(alpha.ask((v, done) => suspendIo(v, false, done)).kind, 'ok');
  t.is(alpha.answer(waits), EIO);
  t.is(alpha.ask(setSecondary).kind, 'ok');
  alpha.connect();
  pair.settled();
  t.deepEqual(alpha.disk.content(8 * 512, 4096), block(3));
});

// Swarm seed 400018: under protocols A and B only the own disk was asked, whose word does not count then: EIO to every flush.
for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: a flush of a Primary that is being synchronised is the source's business`, (t) => {
    const pair = inSync(1, { net: { protocol } });
    const { alpha, beta } = pair;
    for (const n of [alpha, beta]) {
      n.volume.diskOptions = { ...n.volume.diskOptions, resyncRateKiBps: 250 };
    }
    t.is(alpha.ask(invalidate).kind, 'ok');
    alpha.until(/cs:SyncTarget ro:Primary/);
    t.is(alpha.write(8, block(1)), 0);
    t.is(alpha.flush(), 0);
    beta.crash(true);
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
  });
}

// Swarm seed 430430: "No resync, but 502 bits in bitmap!", and a write was on one disk only.
test('invalidate of a Primary whose connection is lost before anything is copied: it keeps its data', (t) => {
  for (const fencing of ['dont-care', 'resource-and-stonith'] as const) {
    for (let delay = 0; delay < 30; delay++) {
      const pair = inSync(1, { disk: { fencing } });
      const { alpha, beta } = pair;
      alpha.exits = { 'fence-peer': 4 };
      pair.net.cut('replication', 'alpha');
      const write = alpha.beginWrite(8, block(1)); // does not arrive
      beta.loop.enter(() => invalidateRemote(beta.volume, () => {})); // alpha hears of it
      pair.run(delay / 10);
      pair.net.reset('replication');
      pair.net.cut('replication');
      t.is(alpha.answer(write), 0);
      t.regex(alpha.shown, /ro:Primary\/Unknown ds:UpToDate/);
      t.deepEqual(alpha.read(8, 4096), block(1));
      pair.net.heal('replication');
      pair.settled();
      t.is(pair.firstDifference(), -1, `${fencing} ${delay}`);
    }
  }
});

// Swarm seed 1000367: no copy counted any more, and reads failed, although the one that was to be thrown away had everything.
test('invalidate, and the source loses its disk before it begins: the other copy has every write, and counts', (t) => {
  const moments = new Set<string>();
  for (const [byTarget, slow] of [
    [false, 'alpha'],
    [false, 'beta'],
    [true, 'alpha'],
    [true, 'beta'],
  ] as const) {
    for (let delay = 0; delay < 40; delay++) {
      const pair = inSync(1 + (delay >> 2));
      const { alpha, beta } = pair;
      pair[slow].disk.slowMs = 5; // so long it is StartingSyncS, or StartingSyncT
      if (byTarget) beta.loop.enter(() => invalidate(beta.volume, () => {}));
      else alpha.loop.enter(() => invalidateRemote(alpha.volume, () => {}));
      pair.run((delay % 4) * 2 + (delay >> 4) / 4);
      if (alpha.volume.state.conn >= Conns.SyncSource) break;
      const write = alpha.beginWrite(8, block(1));
      pair.run(0.25);
      if (alpha.volume.state.conn >= Conns.SyncSource) break;
      moments.add(connName(alpha.volume.state.conn)).add(connName(beta.volume.state.conn));
      alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
      t.is(alpha.answer(write), 0);
      t.deepEqual(alpha.read(8, 4096), block(1), `${delay}`);
      t.is(alpha.write(16, block(2)), 0);
      alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
      beta.until(/cs:Connected ro:Secondary\/Primary ds:UpToDate\/Diskless/);
      alpha.attach();
      pair.settled();
      t.is(pair.firstDifference(), -1, `${delay}`);
    }
  }
  t.deepEqual([...moments].sort(), ['Connected', 'StartingSyncS', 'StartingSyncT', 'WFSyncUUID']);
});

test('the source has begun a resync that its target has not, and loses its disk: the target says that its copy is whole', (t) => {
  let moments = 0;
  for (let delay = 0; delay < 40; delay++) {
    const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
    const { alpha, beta } = pair;
    beta.disk.slowMs = 5; // so long it is StartingSyncT
    alpha.loop.enter(() => invalidateRemote(alpha.volume, () => {}));
    pair.run(delay / 4);
    if (alpha.volume.state.conn !== Conns.SyncSource) continue;
    if (beta.volume.state.conn === Conns.SyncTarget) break;
    alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
    pair.run(1000);
    if (!/ds:UpToDate/.test(beta.shown)) continue; // it had begun in between
    moments++;
    t.regex(alpha.shown, /cs:Connected .*ds:Diskless\/UpToDate/, `${delay}`);
    t.is(alpha.write(8, block(1)), 0);
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1, `${delay}`);
  }
  t.true(moments > 0);
});

// Swarm seed 1300002148@5: what had waited for the handler of a resync that was called off was refused by a good disk, and answered.
test('the source lets its disk go while before-resync-target runs: writes go on, on the good copy', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  const handlerMs = 60_000;
  beta.handlerMs = handlerMs;
  const began = beta.handlers.length;
  beta.loop.enter(() => invalidate(beta.volume, () => {}));
  pair.until(() => beta.handlers.length > began, 'before-resync-target');
  const begunMs = pair.world.nowMs;
  const waits = alpha.beginWrite(8, block(1));
  pair.run(500);
  t.is(alpha.peek(waits), undefined);
  alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
  t.is(alpha.answer(waits), 0);
  t.is(alpha.write(16, block(2)), 0);
  t.regex(alpha.shown, /cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
  t.deepEqual(beta.disk.content(16 * 512, 4096), block(2));
  t.true(pair.world.nowMs < begunMs + handlerMs);
  // The next resync waits for its own handler: that of the first one ends before.
  alpha.attach();
  pair.settled();
  t.true(pair.world.nowMs >= begunMs + handlerMs);
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 1330014476@5: its bitmap came before the state that it belongs to, and the target waited for one for ever.
test('a source with a slow disk: its target lets its disk go and takes it back before the beginning is on disk', (t) => {
  for (let delay = 0; delay < 10; delay++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(8, block(1)), 0);
    beta.attach();
    alpha.until(/cs:WFBitMapS/);
    alpha.disk.slowMs = 1000;
    pair.until(() => alpha.volume.state.conn === Conns.SyncSource, 'it begins');
    t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.run(delay * 20);
    beta.attach();
    pair.run(1000);
    alpha.disk.slowMs = 0;
    pair.settled();
    t.is(pair.firstDifference(), -1, `${delay}`);
    t.false(
      beta.log.some((line) => line.includes('Ignoring SyncUUID')),
      `${delay}`,
    );
  }
});

// Swarm seed 1340001534@5: it had been Ahead since. "No resync, but 327 bits in bitmap!", and the disks differed.
test('the source missed the end of a resync, has bits since, and the connection is lost again before it begins: they are copied', (t) => {
  let cut = 0;
  for (let delay = 0; delay < 40; delay++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    t.is(alpha.ask(setSecondary).kind, 'ok');
    beta.disconnect();
    alpha.disconnect();
    const { current, history1 } = beta.volume.uuids;
    const [first, second] = [0xa0n, 0xb0n];
    beta.loop.enter(() =>
      setUuids(beta.volume, { current, bitmap: 0n, history1: first, history2: second }),
    );
    alpha.loop.enter(() => {
      setUuids(alpha.volume, { current, bitmap: first, history1: second, history2: history1 });
      alpha.volume.setOutOfSync(8, 16);
      alpha.volume.writeBitmap();
    });
    alpha.disk.write(8 * 512, block(7), true);
    pair.run(50);
    for (const node of [alpha, beta]) node.disk.slowMs = 5;
    alpha.connect();
    beta.connect();
    pair.until(() => alpha.volume.state.conn > Conns.WFReportParams, 'they have met');
    pair.run(delay / 4);
    if (alpha.volume.state.conn === Conns.WFBitMapS) cut++;
    pair.net.reset('replication');
    pair.run(5);
    pair.settled();
    t.is(pair.firstDifference(), -1, `${delay}`);
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(7), `${delay}`);
  }
  t.true(cut > 0);
});

// Swarm seed 1350003805@5: the peer had agreed, and its resync was over; the source began it, and refused to let its disk go.
test('detach of a source is agreed on while the resync begins: it takes place on both nodes, or on none', (t) => {
  let agreed = 0;
  for (let delay = 0; delay < 60; delay++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    alpha.disk.slowMs = 5;
    beta.loop.enter(() => invalidate(beta.volume, () => {}));
    pair.run(delay / 4);
    let answered = false;
    alpha.loop.enter(() =>
      detach(alpha.volume, false, () => {
        answered = true;
      }),
    );
    pair.until(() => answered, `${delay}: an answer`);
    pair.run(2000);
    if (/ds:Diskless/.test(alpha.shown)) {
      agreed++;
      alpha.attach();
    }
    pair.settled();
    t.is(pair.firstDifference(), -1, `${delay}`);
  }
  t.true(agreed > 0);
});

// Swarm seed 1390008088@5: answered by a copy that the peer's was about to be copied over, with FUA.
test('pass_on: a frozen write that reached this disk while it was good is begun again where the peer is copied over it', (t) => {
  const pair = inSync(1, {
    disk: { onIoError: 'pass_on', fencing: 'resource-and-stonith' },
  });
  const { alpha, beta } = pair;
  pair.net.cut('replication');
  const frozen = alpha.beginWrite(8, block(1));
  pair.run(50);
  t.deepEqual(alpha.disk.content(8 * 512, 4096), block(1));
  alpha.disk.full = { fromBytes: 800 * 512, toBytes: 808 * 512 };
  const failed = alpha.beginWrite(800, block(2));
  alpha.until(/ds:Inconsistent/);
  alpha.disk.full = null;
  alpha.until(/cs:WFConnection/);
  t.is(alpha.peek(frozen), undefined);
  pair.net.heal('replication');
  t.is(alpha.answer(frozen), 0);
  t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
  t.is(alpha.answer(failed), 0);
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(beta.disk.content(800 * 512, 4096), block(2));
});

// Swarm seed 1390009467@5: this disk failed before the generation was on it, and the peer's older copy passed for the same data.
test('a flush whose peer has let its disk go is answered when the generation of this copy is on disk', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.write(8, block(1)), 0);
  const before = alpha.volume.uuids.current;
  beta.disk.stuck = true;
  const flush = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
  pair.run(50); // flushed here
  alpha.disk.stuck = true;
  beta.loop.enter(() => detach(beta.volume, true, () => {}));
  alpha.until(/ds:UpToDate\/Diskless/);
  pair.run(500);
  t.is(alpha.peek(flush), undefined);
  alpha.disk.stuck = false;
  t.is(alpha.answer(flush), 0);
  t.not(alpha.volume.uuids.current, before);
});

// By the clock of the last turn before it, the ping of its end was late as soon as it was sent: the connection of a Primary was given up.
test('paused with its last blocks on their way, and resumed long after: it ends, on the same connection', (t) => {
  let empty = 0;
  for (let step = 0; step < 20; step++) {
    const pair = inSync(1);
    const { alpha } = pair;
    pair.net.faults('replication', { delayMs: [3, 4] });
    const { link } = alpha.volume;
    alpha.begins({ verb: 'invalidate', minor: 0 }, () => {});
    pair.run(14 + step / 2);
    const isPaused = alpha.control({ verb: 'pause-sync', minor: 0 }).ok;
    pair.run(5000);
    if (/cs:PausedSyncT/.test(alpha.shown) && alpha.volume.bitmap?.count === 0) empty++;
    t.is(alpha.control({ verb: 'resume-sync', minor: 0 }).ok, isPaused);
    pair.settled();
    t.is(alpha.volume.link, link, `step ${step}`);
  }
  t.true(empty > 0);
});
