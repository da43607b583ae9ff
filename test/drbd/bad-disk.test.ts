/** A Primary whose disk is bad: whether its copy counts, what `primary --force` does then, and whom it may meet again. */
import test, { type ExecutionContext } from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import { invalidateRemote } from '../../src/drbd/disk-verbs.js';
import type { Outcome } from '../../src/drbd/outcome.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, inSync, type SimPair } from '../support/sim-pair.js';

/** alpha went on alone as Primary, then a write failed: the newest data, Inconsistent. */
function aloneWithBadDisk(seed: number): SimPair {
  const pair = inSync(seed, { disk: { onIoError: 'pass_on' } });
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  if (pair.alpha.write(0, block(1)) !== 0) throw new Error('write');
  pair.alpha.disk.full = { fromBytes: 4096, toBytes: 8192 };
  if (pair.alpha.write(8, block(2)) !== EIO) throw new Error('the write should fail');
  pair.alpha.disk.full = null;
  pair.alpha.until(/ro:Primary\/Unknown ds:Inconsistent/);
  return pair;
}

const forced = (pair: SimPair): string =>
  pair.alpha.ask((v, done) => setPrimary(v, true, done)).kind;

test('primary --force on a Primary that is alone with a bad disk: its copy counts', (t) => {
  const pair = aloneWithBadDisk(1);
  t.is(pair.alpha.write(16, block(3)), EIO);
  t.is(forced(pair), 'ok');
  t.regex(pair.alpha.shown, /ro:Primary\/Unknown ds:UpToDate/);
  t.is(pair.alpha.write(16, block(3)), 0);
  t.deepEqual(pair.alpha.read(0, 4096), block(1));
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(pair.beta.disk.content(0, 4096), block(1));
});

test('primary --force on a Primary whose peer has the data in use changes nothing', (t) => {
  const pair = inSync(1, { disk: { onIoError: 'pass_on' } });
  pair.alpha.disk.full = { fromBytes: 0, toBytes: 4096 };
  t.is(pair.alpha.write(0, block(1)), 0, 'the peer has it');
  pair.alpha.disk.full = null;
  t.is(forced(pair), 'ok');
  t.regex(pair.alpha.shown, /cs:Connected ro:Primary\/Secondary ds:Inconsistent\/UpToDate/);
  t.deepEqual(pair.alpha.read(0, 4096), block(1));
});

test('the newest copy, Inconsistent, meets an older one: both stay as they are until an operator decides', (t) => {
  for (const keep of [true, false]) {
    const pair = aloneWithBadDisk(1);
    pair.net.heal('replication');
    for (const node of [pair.alpha, pair.beta]) {
      node.until(/cs:StandAlone/);
      t.true(node.log.some((line) => line.includes('The newest data are on an Inconsistent disk')));
    }
    t.deepEqual(pair.alpha.disk.content(0, 4096), block(1));
    if (keep) t.is(forced(pair), 'ok');
    else t.is(pair.alpha.ask(setSecondary).kind, 'ok');
    pair.alpha.connect(!keep);
    pair.beta.connect();
    pair.settled();
    t.is(pair.firstDifference(), -1);
    t.is(pair.alpha.disk.content(0, 1)[0], keep ? 1 : 0);
  }
});

test('a Primary with a bad disk whose engine is restarted finds its peer again', (t) => {
  const pair = inSync(1, { disk: { onIoError: 'pass_on' } });
  pair.alpha.disk.full = { fromBytes: 0, toBytes: 4096 };
  t.is(pair.alpha.write(0, block(1)), 0, 'the peer has it');
  pair.alpha.disk.full = null;
  t.deepEqual(pair.alpha.restart(), []);
  pair.settled();
  t.deepEqual(pair.alpha.read(0, 4096), block(1));
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 101057: a generation began, though nobody knew what had become of the peer.
test('primary --force on a Primary with a good disk that is frozen changes nothing', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
  const { alpha } = pair;
  alpha.exits = { 'fence-peer': 1 };
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  const { uuids } = alpha.volume;
  t.is(forced(pair), 'ok');
  t.is(alpha.volume.state.suspFen, 1);
  t.deepEqual(alpha.volume.uuids, uuids);
});

// As swarm seed 1759933638@3, which had more blocks that failed at the source.
test('pass_on: a write fails at the target while its end of the resync is on its way to the disk: both nodes know what it is', (t) => {
  let late = 0;
  for (let ms = 0; ms < 40; ms++) {
    const pair = inSync(1, { disk: { onIoError: 'pass_on' } });
    const { alpha, beta } = pair;
    t.is(alpha.ask(invalidateRemote).kind, 'ok');
    const ends = (): number => beta.log.filter((line) => line.includes('Resync done')).length;
    const before = ends();
    beta.disk.slowMs = 10;
    pair.until(() => ends() > before, 'the last block');
    pair.run(ms);
    beta.disk.full = { fromBytes: 0, toBytes: 4096 };
    t.is(alpha.write(0, block(1)), 0);
    pair.run(100);
    beta.disk.full = null;
    beta.disk.slowMs = 0;
    pair.run(2000);
    const isGood = /ds:UpToDate/.test(beta.shown);
    if (isGood) t.deepEqual(beta.disk.content(0, 4096), block(1), `${ms} ms: ${beta.shown}`);
    else late++;
    t.is(/ds:UpToDate\/UpToDate/.test(alpha.shown), isGood, `${ms} ms: ${alpha.shown}`);
  }
  t.true(late > 0);
});

// Swarm seed 1275124479: the word that the block differs overtook the write, whose end then called it in sync.
for (const protocol of ['A', 'C'] as const) {
  test(`pass_on, protocol ${protocol}: a write that fails at the source only is out of sync at the target, however slow that is`, (t) => {
    for (const slowMs of [0, 5, 50]) {
      const disk = { onIoError: 'pass_on', resyncRateKiBps: 500 } as const;
      const pair = inSync(1, { disk, net: { protocol } });
      const { alpha, beta } = pair;
      t.is(alpha.ask(invalidateRemote).kind, 'ok');
      pair.until(() => beta.volume.bitmap?.isSet(0) === false, 'the first block is copied');
      beta.disk.slowMs = slowMs;
      alpha.disk.full = { fromBytes: 0, toBytes: 4096 };
      t.is(alpha.write(0, block(1)), EIO);
      pair.run(200);
      alpha.disk.full = null;
      t.regex(alpha.shown, /cs:SyncSource .*ds:UpToDate/);
      t.deepEqual(beta.disk.content(0, 4096), block(1), 'it did not fail there');
      const marked = [alpha, beta].map((node) => node.volume.bitmap?.isSet(0));
      t.deepEqual(marked, [true, true], `${slowMs} ms`);
      beta.disk.slowMs = 0;
      pair.settled();
      t.is(pair.firstDifference(), -1, `${slowMs} ms`);
    }
  });
}

/** alpha has written alone; beta, good or just booted, is asked with --force, and a resync into it begins while its peer is fenced. */
function forcedMeanwhile(t: ExecutionContext, was: 'UpToDate' | 'Consistent', exit: number) {
  const pair = inSync(1, { disk: { fencing: 'resource-only', resyncRateKiBps: 250 } });
  const { alpha, beta } = pair;
  pair.net.reset('replication');
  pair.net.cut('replication');
  beta.until(/cs:WFConnection .*ds:UpToDate/);
  for (let i = 0; i < 200; i++) t.is(alpha.write(8 * i, block(1)), 0);
  if (was === 'Consistent') {
    beta.crash(true);
    beta.attach();
    beta.connect();
    beta.until(/cs:WFConnection .*ds:Consistent/);
  }
  beta.handlerMs = 5000;
  beta.exits = { 'fence-peer': exit };
  const outcomes: Outcome[] = [];
  beta.loop.enter(() => setPrimary(beta.volume, true, (o) => outcomes.push(o)));
  beta.handlerMs = 1;
  return { pair, outcomes };
}

// Swarm seed 1310008496@5: the half-copied disk was Primary, and nobody had asked for that.
for (const was of ['UpToDate', 'Consistent'] as const) {
  for (const exit of [1, 5, 7]) {
    test(`primary --force of a disk, ${was}, that is half copied by the time fence-peer says ${exit}: to be asked for again`, (t) => {
      const { pair, outcomes } = forcedMeanwhile(t, was, exit);
      const { beta } = pair;
      pair.net.heal('replication');
      beta.until(/cs:SyncTarget .*ds:Inconsistent/);
      pair.net.reset('replication');
      pair.net.cut('replication');
      pair.until(() => outcomes.length > 0, 'an answer');
      t.like(outcomes, [{ kind: 'state', code: -2 }]);
      t.regex(String(outcomes[0]?.info), new RegExp(`the disk was ${was} when`));
      t.regex(beta.shown, /cs:WFConnection ro:Secondary\/Unknown ds:Inconsistent/);
      t.is(beta.ask((v, done) => setPrimary(v, true, done)).kind, 'ok');
      t.regex(beta.shown, /ro:Primary\/Unknown ds:UpToDate/);
    });
  }

  test(`primary --force of a disk, ${was}, into which its peer copies by then: Primary of the peer's data, and nothing is declared`, (t) => {
    const { pair, outcomes } = forcedMeanwhile(t, was, 5);
    const { alpha, beta } = pair;
    t.is(alpha.ask(setSecondary).kind, 'ok');
    pair.net.heal('replication');
    pair.until(() => outcomes.length > 0, 'an answer');
    t.like(outcomes, [{ kind: 'ok' }]);
    t.regex(beta.shown, /cs:SyncTarget ro:Primary\/Secondary ds:Inconsistent\/UpToDate/);
    t.deepEqual(beta.read(8, 4096), block(1));
    pair.net.reset('replication');
    beta.until(/cs:(Unconnected|WFConnection)/);
    pair.settled();
    t.is(pair.firstDifference(), -1);
    t.deepEqual(beta.read(8, 4096), block(1));
  });
}
