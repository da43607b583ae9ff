/** What a power cut between two writes leaves, and what an error of the disk at a bad moment does. */
import test from 'ava';
import { detach, invalidate, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, inSync, type SimPair } from '../support/sim-pair.js';

function cut(pair: SimPair): void {
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection/);
  pair.beta.until(/cs:WFConnection/);
}

test('suspend-io: a write on its way to a disk that is let go is frozen with the rest', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha } = pair;
  cut(pair);
  t.is(alpha.write(0, block(1)), 0);
  alpha.disk.slowMs = 50;
  const write = alpha.beginWrite(8, block(2));
  const flush = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
  pair.run(5);
  alpha.disk.slowMs = 0;
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.regex(alpha.shown, /ro:Primary\/Unknown ds:Diskless/);
  pair.run(500);
  t.is(alpha.peek(write), undefined);
  t.is(alpha.peek(flush), undefined);
  alpha.attach();
  t.is(alpha.answer(write), 0);
  t.is(alpha.answer(flush), 0);
  t.deepEqual(alpha.read(8, 4096), block(2));
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('invalidate without a connection is answered when a power cut does not forget it', (t) => {
  for (let slowMs = 0; slowMs < 3; slowMs++) {
    const pair = inSync(1);
    const { beta } = pair;
    beta.disconnect();
    beta.disk.slowMs = 0;
    t.is(beta.ask(invalidate).kind, 'ok');
    beta.crash(true);
    beta.attach();
    t.regex(beta.shown, /ds:Inconsistent/);
    t.is(beta.volume.bitmap?.count, beta.volume.bitmap?.bits);
  }
  const pair = inSync(1);
  const { beta } = pair;
  beta.disconnect();
  beta.disk.faults.writeChance = 1;
  t.is(beta.ask(invalidate).kind, 'failure');
});

test('invalidate and invalidate-remote are answered when nothing forgets them any more: both nodes, or the link, fail just then', (t) => {
  for (const role of ['Primary', 'Secondary'] as const) {
    for (const by of ['target', 'source'] as const) {
      for (const fails of ['power', 'engines', 'link'] as const) {
        for (let seed = 1; seed <= 3; seed++) {
          const pair = inSync(seed);
          const { alpha, beta } = pair;
          if (role === 'Secondary') t.is(alpha.ask(setSecondary).kind, 'ok');
          beta.disk.corrupt(8);
          const asked = by === 'target' ? beta.ask(invalidate) : alpha.ask(invalidateRemote);
          t.is(asked.kind, 'ok');
          if (fails === 'link') pair.net.reset('replication');
          else {
            for (const node of [alpha, beta]) node.crash(fails === 'power');
            for (const node of [alpha, beta]) {
              node.attach();
              node.connect();
            }
          }
          alpha.until(/cs:(Unconnected|WFConnection)/);
          pair.settled();
          t.is(pair.firstDifference(), -1, `${role} ${by} ${fails} ${seed}`);
        }
      }
    }
  }
});

test('invalidate, and the connection is lost before it has begun: that is what is answered', (t) => {
  const ends = new Map<string, number>();
  for (let delay = 0; delay < 24; delay++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    t.is(alpha.ask(setSecondary).kind, 'ok');
    beta.disk.corrupt(8);
    beta.disk.slowMs = 1;
    let answer = '';
    beta.loop.enter(() => {
      invalidate(beta.volume, ({ kind }) => {
        answer = kind;
      });
    });
    pair.run(delay / 4);
    if (answer === 'ok') break;
    pair.net.reset('replication');
    alpha.until(/cs:(Unconnected|WFConnection)/);
    pair.settled();
    t.not(answer, '');
    ends.set(answer, 1 + (ends.get(answer) ?? 0));
    if (answer === 'ok') t.is(pair.firstDifference(), -1);
  }
  t.true((ends.get('state') ?? 0) > 5, [...ends].join());
});

test('pass_on: what a disk loses that cannot be flushed is copied from the peer', (t) => {
  for (const who of ['users', 'demotion']) {
    const pair = inSync(1, { disk: { onIoError: 'pass_on' } });
    const { alpha, beta } = pair;
    t.is(alpha.write(16, block(1)), 0);
    alpha.disk.faults.flushChance = 1;
    if (who === 'users') t.is(alpha.flush(), 0);
    else t.is(alpha.ask(setSecondary).kind, 'ok');
    alpha.disk.faults.flushChance = 0;
    alpha.disk.corrupt(17); // so much of its cache
    alpha.until(/cs:Connected .*ds:Inconsistent\/UpToDate/);
    pair.net.reset('replication');
    alpha.until(/cs:WFConnection/);
    pair.settled();
    t.is(pair.firstDifference(), -1, who);
    t.deepEqual(beta.disk.content(8192, 4096), block(1));
  }
});

test('a generation that could not be written: the disk is taken back with the one that it has', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(1)), 0);
  alpha.disk.faults.writeChance = 1; // the superblock of the new generation
  cut(pair);
  alpha.until(/ro:Primary\/Unknown ds:Diskless/);
  const write = alpha.beginWrite(8, block(2));
  alpha.disk.faults.writeChance = 0;
  alpha.attach();
  t.is(alpha.answer(write), 0);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(beta.disk.content(4096, 4096), block(2));
});

test('the engine dies while a new generation is on its way to the disk: its successor takes the disk, whichever it has', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(0, block(1)), 0);
  alpha.disk.slowMs = 200;
  cut(pair);
  pair.until(() => alpha.exposed.length === 2, 'a generation begins');
  pair.run(50);
  const saved = alpha.saved();
  const { exposed } = alpha;
  t.is(exposed.length, 2);
  alpha.disk.slowMs = 0;
  t.deepEqual(alpha.restart(saved), []);
  alpha.until(/ro:Primary\/Unknown ds:UpToDate/);
  t.is(alpha.write(8, block(2)), 0);
});

test('both take their disk back after a power cut of both, whoever was Primary', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  for (let n = 0; n < 20; n++) alpha.beginWrite(n * 64, block(n));
  pair.run(0.4);
  alpha.crash(true);
  beta.crash(true);
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
});
