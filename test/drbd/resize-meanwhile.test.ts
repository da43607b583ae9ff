/** A resize while the nodes are about something else: a handshake, another role, a detach or attach, the end of a resync. The new part is in sync in the end. */
import test from 'ava';
import { detach, invalidate, pauseSync } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Conns } from '../../src/drbd/state.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import { askResize, both, different, grown, MIB, resize } from '../support/resize-pair.js';
import { block, inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';

// Resize story 224: the peer agreed to the detach, and the resync began in between.
test('a detach that is being agreed on while the resync of the new part begins: one after the other', (t) => {
  for (let step = 0; step < 60; step++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    different(pair);
    alpha.loop.enter(() => askResize(alpha));
    pair.run(step * 0.35);
    const outcomes: string[] = [];
    alpha.loop.enter(() => detach(alpha.volume, false, (o) => outcomes.push(o.kind)));
    pair.until(() => outcomes.length === 1, `step ${step}: an answer`);
    pair.run(50);
    if (alpha.volume.dataDisk < 0) {
      findMetaData(alpha.disk, 2 * MIB);
      alpha.attach();
    }
    pair.until(
      () => both(pair).every((n) => /cs:Connected .* ds:UpToDate\/UpToDate/.test(n.shown)),
      `step ${step}: in sync`,
    );
    pair.run(50);
    t.is(pair.firstDifference(), -1, `step ${step}`);
    t.is(alpha.volume.sizeSectors, beta.volume.sizeSectors, `step ${step}`);
  }
});

/** The peer has told of its room; this node looks at its own disk in the middle of the handshake, `afterMs` behind its beginning. True: it was the middle. */
function resizeWhileMeeting(pair: SimPair, node: SimPairNode, afterMs: number): boolean {
  const other = node === pair.alpha ? pair.beta : pair.alpha;
  for (const n of both(pair)) n.disconnect();
  if (pair.alpha.write(8, block(5)) !== 0) throw new Error('write');
  different(pair);
  other.loop.enter(() => askResize(other));
  pair.run(100);
  pair.net.faults('replication', { delayMs: [20, 21] });
  let asked = false;
  let inBetween = false;
  node.onState = () => {
    if (asked || node.volume.state.conn !== Conns.WFReportParams) return;
    asked = true;
    node.clock.after(afterMs, () => {
      inBetween = node.volume.state.conn === Conns.WFReportParams;
      node.loop.enter(() => askResize(node));
    });
  };
  for (const n of both(pair)) n.connect();
  pair.until(() => asked, 'asked');
  pair.run(afterMs + 1);
  return inBetween;
}

// The peer decides by what it was told first: with a larger device here, it would wait for the rest of its bitmap for ever.
for (const seat of ['alpha', 'beta'] as const) {
  test(`resize on ${seat} in the middle of a handshake: more room counts when that is over`, (t) => {
    let inBetween = 0;
    for (let step = 0; step < 12; step++) {
      const pair = inSync(20 + step);
      const { alpha, beta } = pair;
      if (resizeWhileMeeting(pair, pair[seat], 1 + step)) inBetween++;
      pair.settled();
      pair.run(300);
      t.is(alpha.volume.sizeSectors, beta.volume.sizeSectors, `step ${step}`);
      t.true(resize(alpha).ok);
      grown(t, pair, `step ${step}`);
      t.deepEqual(beta.disk.content(4096, 4096), block(5));
    }
    t.true(inBetween > 2);
  });
}

test('the role changes hands at any time of a growth: one of the nodes is the source', (t) => {
  const sources = new Set<string>();
  for (let step = 0; step < 120; step++) {
    const pair = inSync(1 + (step % 3));
    const { alpha, beta } = pair;
    different(pair);
    pair.net.faults('replication', { delayMs: [3, 4] });
    alpha.loop.enter(() => askResize(alpha));
    pair.run(step / 4);
    t.is(alpha.ask(setSecondary).kind, 'ok');
    const { kind } = beta.ask((v, done) => setPrimary(v, false, done));
    pair.run(100);
    for (const node of both(pair)) {
      if (node.log.some((line) => /as SyncSource \(will sync 20[0-9]{2} KB \[51/.test(line))) {
        sources.add(node.name);
      }
    }
    pair.settled();
    resize(pair.beta);
    grown(t, pair, `step ${step}: ${kind}`);
  }
  t.deepEqual([...sources].sort(), ['alpha', 'beta']);
});

// Its source took the bits of the new part for writes that had failed there, and its good disk for Inconsistent: no resync, for ever.
test('a Primary that was the target of a resync has its device grow as soon as it is done: both copies are good', (t) => {
  let early = 0;
  for (let step = 0; step < 20; step++) {
    const pair = inSync(1 + step);
    const { alpha, beta } = pair;
    different(pair);
    pair.net.faults('replication', { delayMs: [1, 60] });
    t.true(alpha.control({ verb: 'invalidate', minor: 0 }).ok);
    alpha.until(/cs:SyncTarget/);
    alpha.until(/cs:Connected/);
    alpha.loop.enter(() => askResize(alpha));
    pair.until(() => beta.volume.sizeSectors > 6000, `step ${step}: the size`);
    if (beta.volume.state.conn === Conns.SyncSource) early++;
    pair.run(200);
    grown(t, pair, `step ${step}`);
  }
  t.true(early > 0);
});

// The invalidate had called it off, the peer's disk that: it was never begun again on that connection, and both disks were UpToDate.
for (const isInvalidated of [true, false]) {
  test(`Secondaries, a resync of the new part that is about to begin, the peer's disk goes and comes back: it is copied${isInvalidated ? ', after an invalidate that came to nothing' : ''}`, (t) => {
    let late = 0;
    for (let step = 0; step < 20; step++) {
      const pair = inSync(1 + (step % 4));
      const { alpha, beta } = pair;
      different(pair);
      const isSource = alpha.volume.link?.resolveConflicts === true;
      const [source, target] = isSource ? [alpha, beta] : [beta, alpha];
      source.handlerMs = 300; // before-resync-source
      alpha.loop.enter(() => askResize(alpha));
      pair.run(4 + step / 2);
      t.is(alpha.ask(setSecondary).kind, 'ok');
      pair.run(40);
      if (source.volume.growth.isDue && target.volume.state.conn === Conns.Connected) late++;
      if (isInvalidated) target.loop.enter(() => invalidate(target.volume, () => {}));
      pair.run(30);
      target.loop.enter(() => detach(target.volume, true, () => {}));
      pair.until(() => target.volume.dataDisk < 0, 'detached');
      findMetaData(target.disk, 2 * MIB);
      target.attach();
      source.handlerMs = 1;
      pair.settled();
      pair.run(1000);
      pair.settled();
      if (alpha.volume.sizeSectors < 6000) continue; // refused: no Primary
      grown(t, pair, `step ${step}`);
    }
    t.true(late > 4);
  });
}

// As above; it had been forgotten that the new part was to be copied.
test('a Primary that was the target of a resync has its device grow as soon as it is done, and its source is paused: both copies are good', (t) => {
  let early = 0;
  for (let step = 0; step < 20; step++) {
    const pair = inSync(1 + step);
    const { alpha, beta } = pair;
    different(pair);
    pair.net.faults('replication', { delayMs: [1, 60] });
    t.true(alpha.control({ verb: 'invalidate', minor: 0 }).ok);
    alpha.until(/cs:SyncTarget/);
    alpha.until(/cs:Connected/);
    alpha.loop.enter(() => askResize(alpha));
    pair.until(() => beta.volume.sizeSectors > 6000, `step ${step}: the size`);
    if (beta.volume.state.conn === Conns.SyncSource) early++;
    beta.loop.enter(() => pauseSync(beta.volume, true, () => {}));
    pair.run(500);
    beta.loop.enter(() => pauseSync(beta.volume, false, () => {}));
    grown(t, pair, `step ${step}`);
  }
  t.true(early > 0);
});

// The connection was dropped, and its users got EIO until the next one.
test('a Primary attaches its disk, and both have grown meanwhile: its users go on', (t) => {
  for (let step = 0; step < 12; step++) {
    const pair = inSync(1 + step);
    const { alpha, beta } = pair;
    const { link } = alpha.volume;
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(8, block(1)), 0);
    different(pair);
    findMetaData(alpha.disk, 2 * MIB);
    pair.net.faults('replication', { delayMs: [1, 3 + step] });
    alpha.handlerMs = 1 + 3 * step; // before-resync-target
    alpha.beginAttach();
    for (let i = 0; i < 60; i++) t.is(alpha.write(16 + 8 * (i % 10), block(i)), 0, `step ${step}`);
    grown(t, pair, `step ${step}`);
    t.is(alpha.volume.link, link);
    t.deepEqual(beta.disk.content(4096, 4096), block(1));
  }
});
