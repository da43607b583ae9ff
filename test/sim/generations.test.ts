/** Both nodes hold the same generation whenever they are in sync, however they came there. */
import test from 'ava';
import { detach, invalidate, invalidateRemote, newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { maskUuid } from '../../src/drbd/generation.js';
import { block, SimPair } from '../support/sim-pair.js';

function sameGeneration(pair: SimPair): boolean {
  const [a, b] = [pair.alpha.volume.uuids, pair.beta.volume.uuids];
  return maskUuid(a.current) === maskUuid(b.current) && a.bitmap === b.bitmap;
}

// Swarm seed 1129: the generation that the target took over was the one that its peer had before the last resync.
test('resyncs in both directions within one connection', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  pair.upToDate();
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection/);
  t.is(pair.alpha.write(8, block(1)), 0); // a new generation, which beta takes over
  pair.net.heal('replication');
  for (const again of [invalidate, invalidateRemote, invalidateRemote, invalidate]) {
    pair.settled();
    pair.run(500);
    t.true(sameGeneration(pair));
    t.is(pair.alpha.ask(again).kind, 'ok');
  }
  pair.settled();
  pair.run(500);
  t.true(sameGeneration(pair));
});

test('a resync after the first one was skipped', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  for (const node of [pair.alpha, pair.beta]) node.attach();
  for (const node of [pair.alpha, pair.beta]) node.connect();
  pair.alpha.until(/cs:Connected/);
  pair.beta.until(/cs:Connected/);
  t.is(pair.alpha.ask((v, done) => newCurrentUuid(v, true, done)).kind, 'ok');
  const { current } = pair.alpha.volume.uuids;
  for (const again of [invalidate, invalidateRemote]) {
    pair.settled();
    t.is(pair.alpha.ask(again).kind, 'ok');
  }
  pair.settled();
  pair.run(500);
  t.true(sameGeneration(pair));
  t.is(maskUuid(pair.alpha.volume.uuids.current), maskUuid(current));
});

// Swarm seed 1233.
test('a Primary without a disk is left alone, and then gets it back', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  pair.upToDate();
  const { alpha, beta } = pair;
  const before = alpha.volume.uuids.current;
  pair.net.cut('replication');
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok'); // beta never hears of it
  t.regex(alpha.shown, /cs:Connected .*ds:Diskless\/UpToDate/);
  alpha.until(/cs:WFConnection/);
  beta.until(/cs:WFConnection/);
  alpha.attach();
  alpha.until(/ds:UpToDate/);
  t.not(maskUuid(alpha.volume.uuids.current), maskUuid(before));
  t.is(alpha.write(8, block(1)), 0);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 50187: the peer's new generation arrived while the disk was being let go.
test('users of a node that lets its disk go have seen the generation of the peer from then on', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const pair = new SimPair(seed, { sizeBytes: 2 << 20 });
    pair.upToDate();
    const { alpha, beta } = pair;
    pair.net.faults('replication', { delayMs: [0.1, 20] }); // two sockets: either may be the faster one
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(8, block(1)), 0);
    t.is(maskUuid(alpha.volume.exposedUuid), maskUuid(beta.volume.uuids.current), `seed ${seed}`);
  }
});

test('a Primary without a disk refuses older data: no generation has begun there, and its own disk is the newer one', (t) => {
  const pair = new SimPair(1, {
    sizeBytes: 2 << 20,
    resource: { onNoDataAccessible: 'suspend-io' },
  });
  pair.upToDate();
  pair.run(100);
  const { alpha, beta } = pair;
  const { current } = beta.volume.uuids;
  pair.net.reset('replication');
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  t.is(alpha.write(8, block(1)), 0);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.net.heal('replication');
  alpha.until(/cs:StandAlone/);
  beta.until(/cs:WFConnection/);
  t.is(maskUuid(beta.volume.uuids.current), maskUuid(current));
  alpha.attach();
  alpha.connect();
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(beta.disk.content(4096, 4096), block(1));
});

test('a Primary without a disk connects to the data of its users: a generation begins there, before its first write or after', (t) => {
  for (const writes of [false, true]) {
    const pair = new SimPair(1, {
      sizeBytes: 2 << 20,
      resource: { onNoDataAccessible: 'suspend-io' },
      disk: { fencing: 'resource-and-stonith' },
    });
    pair.upToDate();
    pair.run(100);
    const { alpha, beta } = pair;
    alpha.exits = { 'fence-peer': 1 }; // nothing is known: frozen
    const { current } = beta.volume.uuids;
    pair.net.reset('replication');
    pair.net.cut('replication');
    alpha.until(/cs:WFConnection/);
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    const tag = writes ? alpha.beginWrite(8, block(1)) : -1;
    pair.net.heal('replication');
    alpha.until(/cs:Connected .*ds:Diskless\/UpToDate/);
    if (writes) t.is(alpha.answer(tag), 0);
    pair.run(100);
    t.not(maskUuid(beta.volume.uuids.current), maskUuid(current));
    t.is(maskUuid(alpha.volume.exposedUuid), maskUuid(beta.volume.uuids.current));
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

// A kernel tells its P_STATE and its users' writes apart: either may come first.
test('the first write of a Primary without a disk comes before its word that the connection stands: the generation begins', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  pair.upToDate();
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.run(100);
  const { current } = beta.volume.uuids;
  beta.volume.generationWaits = true; // as if it had just met it
  beta.volume.peerConnected = false;
  t.is(alpha.write(8, block(1)), 0);
  pair.run(100);
  t.not(maskUuid(beta.volume.uuids.current), maskUuid(current));
  t.is(maskUuid(alpha.volume.exposedUuid), maskUuid(beta.volume.uuids.current));
});
