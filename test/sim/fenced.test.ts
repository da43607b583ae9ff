/** A Primary that goes on alone after fencing: what it writes then is found and copied, whatever fence-peer said. */
import test from 'ava';
import { detach, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { setSecondary } from '../../src/drbd/roles.js';
import { block, SimPair } from '../support/sim-pair.js';

// Swarm seed 1044: exit 3, because the peer had no disk when it was asked.
for (const exit of [3, 4, 5, 7]) {
  test(`resource-and-stonith, fence-peer says ${exit}: a new generation begins before I/O goes on`, (t) => {
    const pair = new SimPair(1, {
      sizeBytes: 2 << 20,
      disk: { fencing: 'resource-and-stonith' },
    });
    pair.alpha.exits['fence-peer'] = exit;
    pair.upToDate();
    const before = pair.alpha.volume.uuids.current;
    pair.net.cut('replication');
    pair.alpha.until(/cs:WFConnection/);
    t.is(pair.alpha.write(8, block(1)), 0);
    t.not(pair.alpha.volume.uuids.current, before);
    pair.beta.until(/cs:WFConnection/);
    t.is(pair.beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.beta.attach();
    pair.net.heal('replication');
    pair.settled();
    t.is(pair.firstDifference(), -1);
  });
}

/** The target has every block and makes them durable, as the link breaks. */
function cutAtTheEnd(): SimPair {
  const pair = new SimPair(1, {
    sizeBytes: 2 << 20,
    disk: { fencing: 'resource-and-stonith' },
  });
  const { alpha, beta } = pair;
  alpha.exits['fence-peer'] = 1;
  pair.upToDate();
  beta.disk.slowMs = 100;
  if (alpha.ask(invalidateRemote).kind !== 'ok') throw new Error('invalidate-remote');
  pair.until(() => beta.log.filter((l) => /Resync done/.test(l)).length === 2, 'Resync done');
  pair.net.cut('replication');
  beta.until(/cs:Connected .*UpToDate/);
  beta.disk.slowMs = 0;
  return pair;
}

// Swarm seed 627569165: the source went on alone, and the target was promoted.
test('the source of a resync that is lost when the target has all blocks does not take it for Inconsistent', (t) => {
  const pair = cutAtTheEnd();
  const { alpha, beta } = pair;
  alpha.handlers.length = 0;
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate\/DUnknown/);
  t.is(alpha.volume.state.suspFen, 1);
  t.deepEqual(alpha.handlers, ['fence-peer']);
  beta.until(/cs:WFConnection ro:Secondary\/Unknown ds:UpToDate/);
  pair.net.heal('replication');
  pair.settled();
  t.is(alpha.volume.state.suspFen, 0);
  t.is(pair.firstDifference(), -1);
});

test('nor when the source loses its power at that moment', (t) => {
  const pair = cutAtTheEnd();
  const { alpha } = pair;
  t.regex(alpha.shown, /cs:SyncSource/);
  alpha.crash(true);
  alpha.attach();
  t.regex(alpha.shown, /ds:Consistent\/DUnknown/);
});

test('the source of a resync that is lost in the middle goes on alone', (t) => {
  const pair = new SimPair(1, {
    sizeBytes: 2 << 20,
    disk: { fencing: 'resource-and-stonith' },
  });
  const { alpha, beta } = pair;
  pair.upToDate();
  beta.volume.diskOptions = { ...beta.volume.diskOptions, resyncRateKiBps: 250 };
  t.is(alpha.ask(invalidateRemote).kind, 'ok');
  alpha.until(/cs:SyncSource/);
  pair.run(500);
  alpha.handlers.length = 0;
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate\/Inconsistent/);
  t.is(alpha.volume.state.suspFen, 0);
  t.deepEqual(alpha.handlers, []);
});

/** alpha has lost its peer, could not fence it, and has a write that is not answered. */
function frozenWithWrite() {
  const pair = new SimPair(1, {
    sizeBytes: 2 << 20,
    disk: { fencing: 'resource-and-stonith' },
  });
  const { alpha, beta } = pair;
  alpha.exits['fence-peer'] = 1;
  pair.upToDate();
  pair.net.cut('replication');
  const write = alpha.beginWrite(8, block(1));
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  beta.until(/cs:WFConnection/);
  return { pair, alpha, beta, write };
}

// Swarm seed 2400002209: the peer lost its power before it knew, fenced this node, and was promoted with a good, older disk.
test('frozen, and the peer is to be the target: nothing is answered before it says that it knows', (t) => {
  const { pair, alpha, beta, write } = frozenWithWrite();
  pair.net.heal('replication');
  beta.until(/cs:WFReportParams/);
  pair.net.cut('replication', 'alpha');
  alpha.until(/cs:WFBitMapS/);
  t.regex(beta.shown, /cs:(WFConnection|WFReportParams) .*ds:UpToDate/);
  pair.run(500);
  t.is(alpha.peek(write), undefined);
  beta.crash(true);
  beta.attach();
  beta.connect();
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  t.is(alpha.volume.state.suspFen, 1);
  t.is(alpha.peek(write), undefined);
  pair.net.heal('replication');
  pair.settled();
  t.is(alpha.answer(write), 0);
  t.is(alpha.volume.state.suspFen, 0);
  t.is(pair.firstDifference(), -1);
});

test('frozen, and the disk of the peer that is to be the target goes: the write is answered', (t) => {
  const { pair, alpha, beta, write } = frozenWithWrite();
  beta.disk.faults.writeChance = 1; // its bitmap, and what says that it is Outdated
  pair.net.heal('replication');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:UpToDate\/Diskless/);
  t.is(alpha.answer(write), 0);
});

// Swarm seed 611954: both called themselves UpToDate, with bits set on one side, and a flush vouched for what the other had in its cache only.
test('frozen, then demoted: what the lost peer had not flushed is copied when they meet again', (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const pair = new SimPair(seed, {
      sizeBytes: 2 << 20,
      disk: { fencing: 'resource-and-stonith' },
    });
    const { alpha, beta } = pair;
    alpha.exits['fence-peer'] = 1;
    pair.upToDate();
    t.is(alpha.write(8, block(1)), 0);
    beta.crash(true);
    alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
    t.is(alpha.volume.state.suspFen, 1);
    t.is(alpha.ask(setSecondary).kind, 'ok');
    if (seed % 2 === 0) {
      alpha.crash(true);
      alpha.attach();
      alpha.connect();
    }
    beta.attach();
    beta.connect();
    pair.settled();
    t.is(alpha.volume.bitmap?.count, 0);
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
    t.false(alpha.volume.crashedPrimary);
  }
});
