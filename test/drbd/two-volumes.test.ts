/**
 * A resource with two volumes and its one connection: one of them has trouble, or is behind, and the other has not.
 */
import test from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import { detach, invalidate, invalidateRemote, outdate } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Disks } from '../../src/drbd/state.js';
import type { Volume } from '../../src/drbd/volume.js';
import { block, SimPair, type SimPairNode, type SimPairOptions } from '../support/sim-pair.js';

function inSync(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 2 << 20, twoVolumes: true, ...options });
  pair.upToDate();
  pair.run(100);
  return pair;
}

function second(node: SimPairNode): Volume {
  if (!node.second) throw new Error('there is no second volume');
  return node.second;
}

function cut(pair: SimPair): void {
  pair.net.reset('replication');
  pair.net.cut('replication');
}

test('two volumes are written, lose their peer and meet it again', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(0, block(1)), 0);
  t.is(alpha.write(8, block(2), second(alpha)), 0);
  cut(pair);
  alpha.until(/cs:WFConnection/);
  t.is(alpha.write(16, block(3), second(alpha)), 0);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('the peer of the first volume is known to be old, that of the second is not: it is fenced', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-and-stonith', resyncRateKiBps: 100 } });
  const { alpha, beta } = pair;
  alpha.exits = { 'fence-peer': 4 };
  t.is(alpha.ask(invalidateRemote).kind, 'ok');
  alpha.until(/cs:SyncSource/);
  pair.run(200);
  t.regex(alpha.shown, /cs:SyncSource/);
  cut(pair);
  alpha.until(/cs:(Unc|WFC)onnect/);
  pair.run(100);
  t.deepEqual(
    alpha.handlers.filter((h) => h === 'fence-peer'),
    ['fence-peer'],
  );
  for (const v of alpha.resource.volumes) {
    t.is(v.state.suspFen, 0);
    t.is(alpha.write(0, block(5), v), 0);
  }
  t.is(second(alpha).state.pdsk, Disks.Outdated);
  t.regex(beta.shown, /ds:Inconsistent/);
});

// Swarm 1400003129@7: the originals take the peer's data of all volumes for old as soon as one of ours is UpToDate.
test('fence-peer says 5 or 3, one volume is UpToDate and the other only Consistent: that one is not promoted', (t) => {
  for (const exit of [5, 3]) {
    const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
    const { alpha, beta } = pair;
    alpha.exits = { 'fence-peer': 7 };
    beta.exits = { 'fence-peer': exit };
    cut(pair);
    alpha.until(/cs:WFConnection/);
    beta.until(/cs:WFConnection/);
    t.is(alpha.write(0, block(1), second(alpha)), 0);
    const old = second(beta);
    t.is(beta.ask((v, done) => detach(v, false, done), old).kind, 'ok');
    beta.attachTo(old);
    t.is(old.state.disk, Disks.Consistent);
    const refused = beta.ask((v, done) => setPrimary(v, false, done), old);
    t.is(refused.code, Ss.NO_UP_TO_DATE_DISK);
    t.regex(refused.info.join(), /did not prove that the peer has no newer data of this volume/);
    t.is(old.state.disk, Disks.Consistent);
    t.is(old.state.pdsk, Disks.DUnknown);
    t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok', 'as if it were alone');
    t.is(beta.ask(setSecondary).kind, 'ok');
    // Nothing is refused for ever: the peer comes back, or fence-peer proves it.
    beta.exits = { 'fence-peer': 4 };
    t.is(beta.ask((v, done) => setPrimary(v, false, done), old).kind, 'ok');
  }
});

test('frozen, fence-peer says 5, and one volume has no whole copy: both go on, its users hear that', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-and-stonith', resyncRateKiBps: 100 } });
  const { alpha } = pair;
  alpha.exits = { 'fence-peer': 5 };
  const bad = second(alpha);
  t.is(alpha.ask(invalidate, bad).kind, 'ok');
  alpha.until(/cs:SyncTarget/, bad);
  cut(pair);
  alpha.until(/cs:WFConnection/);
  pair.run(100);
  t.is(alpha.volume.state.pdsk, Disks.Outdated);
  t.is(alpha.write(0, block(1)), 0);
  t.is(bad.state.pdsk, Disks.DUnknown);
  t.is(alpha.write(0, block(1), bad), EIO);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.is(alpha.write(0, block(2), bad), 0);
});

test('--discard-my-data is of all volumes', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  cut(pair);
  alpha.until(/cs:WFConnection/);
  beta.until(/cs:WFConnection/);
  for (const v of alpha.resource.volumes) t.is(alpha.write(0, block(1), v), 0);
  for (const v of beta.resource.volumes) {
    t.is(beta.ask((o, done) => setPrimary(o, false, done), v).kind, 'ok');
    t.is(beta.write(0, block(2), v), 0);
    t.is(beta.ask(setSecondary, v).kind, 'ok');
  }
  beta.disconnect();
  pair.net.heal('replication');
  beta.connect(true);
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(beta.secondDisk?.content(0, 4096), block(1));
});

test('secondary of one volume while the other is written to all the time', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  let answered = false;
  t.is(alpha.write(0, block(1)), 0);
  const tags: number[] = [];
  const busy = (n: number): void => {
    for (const tag of tags.splice(0)) if (alpha.peek(tag) === undefined) tags.push(tag);
    while (tags.length < 4) tags.push(alpha.beginWrite((n % 50) * 8, block(n), second(alpha)));
  };
  busy(0);
  alpha.loop.enter(() =>
    setSecondary(alpha.volume, (outcome) => {
      t.is(outcome.kind, 'ok');
      answered = true;
    }),
  );
  for (let n = 1; n < 2000 && !answered; n++) {
    busy(n);
    pair.run(1);
  }
  t.true(answered);
  for (const tag of tags) t.is(alpha.answer(tag), 0);
});

test('the disk of one volume fails to flush: what was written to the other is as it was', (t) => {
  for (const failing of [0, 1]) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    for (const v of alpha.resource.volumes) t.is(alpha.write(0, block(1), v), 0);
    const disks = [beta.disk, beta.secondDisk];
    const disk = disks[failing];
    if (disk) disk.faults.flushChance = 1;
    t.is(alpha.flush(), 0);
    pair.run(500);
    const bits = alpha.resource.volumes.map((v) => v.bitmap?.count);
    t.deepEqual(bits, failing === 0 ? [1, 0] : [0, 1]);
    t.is(beta.resource.volumes[1 - failing]?.bitmap?.count, 0);
    if (disk) disk.faults.flushChance = 0;
    const v = beta.resource.volumes[failing];
    if (v) beta.attachTo(v);
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('detach of one volume, and its peer goes on with the other', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  for (const v of alpha.resource.volumes) t.is(alpha.write(0, block(1), v), 0);
  cut(pair);
  alpha.until(/cs:WFConnection/);
  t.is(alpha.write(0, block(2), second(alpha)), 0);
  pair.net.heal('replication');
  alpha.until(/cs:Connected/);
  t.is(alpha.write(0, block(3)), 0);
  alpha.attachTo(alpha.volume);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('one of two volumes without disks refuses the connection: the other one finds its data when it comes again', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.is(alpha.write(0, block(1)), 0);
  pair.run(100);
  const { current } = beta.volume.uuids;
  cut(pair);
  alpha.until(/cs:WFConnection/);
  t.is(alpha.write(0, block(2), second(alpha)), 0);
  t.is(alpha.ask((v, done) => detach(v, true, done), second(alpha)).kind, 'ok');
  pair.net.heal('replication');
  alpha.until(/cs:StandAlone/);
  beta.until(/cs:WFConnection/);
  t.is(beta.volume.uuids.current, current);
  alpha.attachTo(second(alpha));
  alpha.connect();
  alpha.until(/cs:Connected ro:Primary\S+ ds:Diskless\/UpToDate/);
  t.is(alpha.write(8, block(3)), 0);
  alpha.attachTo(alpha.volume);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('two frozen volumes, and the second refuses the connection: what the first waits to write stays where it is', (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const pair = inSync(seed, {
      resource: { onNoDataAccessible: 'suspend-io' },
      pieceBytes: 256, // what is said of one volume arrives before what is said of the next
    });
    const { alpha, beta } = pair;
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.run(100);
    const { current } = beta.volume.uuids;
    cut(pair);
    alpha.until(/cs:WFConnection/);
    t.is(alpha.write(0, block(2), second(alpha)), 0);
    t.is(alpha.ask((v, done) => detach(v, true, done), second(alpha)).kind, 'ok');
    const write = alpha.beginWrite(0, block(3));
    pair.net.heal('replication');
    alpha.until(/cs:StandAlone/);
    beta.until(/cs:WFConnection/);
    t.is(alpha.peek(write), undefined, `seed ${seed}`);
    t.is(beta.volume.uuids.current, current, `seed ${seed}`);
    t.is(beta.disk.content(0, 1)[0], 0, `seed ${seed}`);
    alpha.attachTo(second(alpha));
    alpha.connect();
    t.is(alpha.answer(write), 0);
    alpha.attachTo(alpha.volume);
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('the same with errors instead: no write gets through to the first volume before the second refuses', (t) => {
  let early = 0;
  for (let seed = 1; seed <= 8; seed++) {
    const pair = inSync(seed, { pieceBytes: 256 });
    const { alpha, beta } = pair;
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.run(100);
    const { current } = beta.volume.uuids;
    cut(pair);
    alpha.until(/cs:WFConnection/);
    t.is(alpha.write(0, block(2), second(alpha)), 0);
    t.is(alpha.ask((v, done) => detach(v, true, done), second(alpha)).kind, 'ok');
    pair.net.heal('replication');
    alpha.until(/cs:(Connected|StandAlone)/);
    if (/cs:Connected/.test(alpha.shown)) early++;
    t.is(alpha.write(0, block(3)), EIO);
    alpha.until(/cs:StandAlone/);
    beta.until(/cs:WFConnection/);
    t.is(beta.volume.uuids.current, current, `seed ${seed}`);
  }
  t.true(early > 0);
});

test('two frozen volumes go on when both have found their data with the peer', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha } = pair;
  for (const v of alpha.resource.volumes) {
    t.is(alpha.ask((o, done) => detach(o, false, done), v).kind, 'ok');
  }
  pair.run(100);
  cut(pair);
  alpha.until(/cs:WFConnection/);
  const writes = alpha.resource.volumes.map((v) => alpha.beginWrite(0, block(4), v));
  pair.net.heal('replication');
  for (const tag of writes) t.is(alpha.answer(tag), 0);
  for (const v of alpha.resource.volumes) {
    t.is(v.state.suspNod, 0);
    alpha.attachTo(v);
  }
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('outdate of a node that is ahead with one of its volumes: none of them is made old', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  cut(pair);
  beta.until(/cs:WFConnection/);
  t.is(beta.ask((v, done) => detach(v, true, done), second(beta)).kind, 'ok');
  pair.net.heal('replication');
  alpha.until(/ds:UpToDate\/Diskless/, second(alpha));
  t.is(alpha.write(0, block(1), second(alpha)), 0);
  cut(pair);
  alpha.until(/cs:WFConnection/);
  for (const v of alpha.resource.volumes) t.is(alpha.ask(setSecondary, v).kind, 'ok');
  for (const v of alpha.resource.volumes) {
    t.like(alpha.ask(outdate, v), { kind: 'state', code: Ss.NO_UP_TO_DATE_DISK });
    t.is(v.state.disk, Disks.UpToDate);
  }
});
