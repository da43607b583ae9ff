/**
 * A Consistent disk: with fencing nobody knows whether the peer went on without it. Who may call it UpToDate (docs/STATES.md, "Where
 * we differ"): a comparison, a peer without a disk that knows, an operator.
 */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { fencePeer } from '../../src/drbd/fencing.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import type { Volume } from '../../src/drbd/volume.js';
import { block, SimPair } from '../support/sim-pair.js';

function fencedPair(): SimPair {
  const pair = new SimPair(1, {
    sizeBytes: 2 << 20,
    disk: { fencing: 'resource-and-stonith' },
  });
  pair.upToDate();
  pair.run(100);
  return pair;
}

// Swarm seed 232: a second one was promoted over what the first had written alone.
test('a Consistent disk beside a peer without one: good if the peer vouches for it', (t) => {
  const promoted = (pair: SimPair): string =>
    pair.beta.ask((v, done) => setPrimary(v, false, done)).kind;
  /** Both lost their power, alpha the last as Primary; beta comes back alone, and alpha without its disk. */
  const both = (wentOn: boolean): SimPair => {
    const pair = fencedPair();
    const { alpha, beta } = pair;
    alpha.exits['fence-peer'] = 7; // beta is switched off, and can not hear that it is old
    beta.crash(true);
    alpha.until(/cs:WFConnection ro:Primary/);
    if (wentOn) t.is(alpha.write(8, block(1)), 0);
    t.is(alpha.flush(), 0);
    beta.attach();
    t.regex(beta.shown, /ds:Consistent/);
    return pair;
  };
  // It lets its disk go, and remembers what was there.
  const knows = both(true);
  t.is(knows.alpha.ask(setSecondary).kind, 'ok');
  t.is(knows.alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  knows.beta.connect();
  knows.beta.until(/cs:Connected .*ds:Consistent\/Diskless/);
  knows.run(1000);
  t.regex(knows.beta.shown, /ds:Consistent\/Diskless/);
  t.regex(knows.alpha.shown, /ds:Diskless\/Consistent/);
  t.is(promoted(knows), 'state');
  t.is(knows.alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  knows.alpha.attach();
  knows.settled();
  t.is(knows.firstDifference(), -1);
  t.deepEqual(knows.beta.disk.content(8 * 512, 4096), block(1));
  // It is started without its disk, and knows nothing.
  const started = both(true);
  started.alpha.crash(true);
  started.alpha.connect();
  started.beta.connect();
  started.beta.until(/cs:Connected .*ds:Consistent\/Diskless/);
  started.run(1000);
  t.is(promoted(started), 'state');
  started.alpha.attach();
  started.settled();
  t.deepEqual(started.beta.disk.content(8 * 512, 4096), block(1));
  // Nothing was written without the other one, and the node without a disk has been there all the time.
  const pair = fencedPair();
  t.is(pair.alpha.ask(setSecondary).kind, 'ok');
  t.is(pair.alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  pair.beta.crash(true);
  pair.alpha.until(/cs:WFConnection/);
  pair.beta.attach();
  t.regex(pair.beta.shown, /ds:Consistent/);
  pair.beta.connect();
  pair.beta.until(/cs:Connected .*ds:UpToDate\/Diskless/);
  pair.alpha.until(/ds:Diskless\/UpToDate/);
  t.is(promoted(pair), 'ok');
  // The same when it is attached while they are connected.
  t.is(pair.beta.ask(setSecondary).kind, 'ok');
  t.is(pair.beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.alpha.until(/ds:Diskless\/Diskless/);
  pair.beta.attach();
  pair.beta.until(/cs:Connected .*ds:UpToDate\/Diskless/);
  pair.alpha.until(/ds:Diskless\/UpToDate/);
  t.is(promoted(pair), 'ok');
});

test('primary of a Consistent disk, and the peer has none: refused', (t) => {
  const pair = fencedPair();
  const { alpha, beta } = pair;
  alpha.exits['fence-peer'] = 7;
  beta.exits['fence-peer'] = 3;
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  t.is(alpha.write(8, block(1)), 0);
  beta.crash(true);
  alpha.crash(true);
  beta.attach();
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  t.regex(beta.shown, /ds:Consistent/);
  t.is(beta.ask((v, done) => setPrimary(v, true, done)).kind, 'ok', 'an operator decides');
});

// Swarm 4206358@4: fence-peer had found the peer switched off, and its data were newer.
test('primary of a Consistent disk, and the peer comes back without one while fence-peer runs: refused', (t) => {
  const pair = fencedPair();
  const { alpha, beta } = pair;
  alpha.exits['fence-peer'] = 7;
  beta.crash(true);
  alpha.until(/cs:WFConnection ro:Primary/);
  t.is(alpha.write(8, block(1)), 0);
  t.is(alpha.flush(), 0);
  alpha.crash(true);
  beta.attach();
  beta.connect();
  t.regex(beta.shown, /ds:Consistent/);
  beta.exits['fence-peer'] = 5;
  beta.handlerMs = 3000;
  let outcome = '';
  beta.loop.enter(() =>
    setPrimary(beta.volume, false, (result) => {
      outcome = result.kind;
    }),
  );
  alpha.connect();
  beta.until(/cs:Connected .*ds:Consistent\/Diskless/);
  pair.until(() => outcome !== '', 'the answer');
  t.is(outcome, 'state');
  t.regex(beta.shown, /ro:Secondary\/Secondary ds:Consistent/);
  alpha.attach();
  pair.settled();
  t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
});

// Swarm seed 232, too: it had heard that it is old, and of the newer data, and forgot both with the connection.
test('the disk of a node that had none while it was connected to newer data is old when it comes back alone', (t) => {
  const pair = fencedPair();
  const { alpha, beta } = pair;
  alpha.exits['fence-peer'] = 5;
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  t.is(alpha.write(8, block(1)), 0);
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.net.heal('replication');
  beta.until(/cs:Connected ro:Secondary\/Primary ds:Diskless\/UpToDate/);
  alpha.crash(true);
  beta.until(/cs:WFConnection/);
  beta.attach();
  t.regex(beta.shown, /ds:Outdated/);
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
});

// Swarm seed 903373: the connection made the node without a disk Primary's data those of a Consistent disk, which became good only then.
test('a Primary without a disk goes on with a disk that it has vouched for: a generation begins', (t) => {
  const pair = fencedPair();
  const { alpha, beta } = pair;
  const before = beta.volume.uuids.current;
  pair.net.cut('replication');
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  beta.crash(false);
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
  pair.net.heal('replication');
  beta.attach();
  t.regex(beta.shown, /ds:Consistent/);
  beta.connect();
  beta.until(/cs:Connected ro:Secondary\/Primary ds:UpToDate\/Diskless/);
  t.not(beta.volume.uuids.current, before);
  t.is(alpha.write(8, block(2)), 0);
});

// Swarm 1500001078@7: its users got errors, though it had the data in use and the peer was known to be old.
for (const [exit, disk] of [
  [4, 'UpToDate'],
  [7, 'UpToDate'],
  [5, 'Consistent'],
] as const) {
  test(`a Primary that was left alone has its disk back, and fence-peer says ${exit}: ${disk}`, (t) => {
    const pair = new SimPair(1, { sizeBytes: 2 << 20, disk: { fencing: 'resource-only' } });
    pair.upToDate();
    pair.run(100);
    const { alpha, beta } = pair;
    t.is(alpha.write(0, block(1)), 0);
    alpha.exits['fence-peer'] = 1;
    beta.crash(true);
    alpha.until(/cs:WFConnection ro:Primary/);
    pair.run(100);
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    alpha.attach();
    t.regex(alpha.shown, /ro:Primary\/Unknown ds:Consistent\/DUnknown/);
    t.not(alpha.write(8, block(2)), 0);
    alpha.exits['fence-peer'] = exit;
    const fenced = alpha.wait<readonly Volume[]>(
      (done) => fencePeer(alpha.resource, done),
      'fence-peer',
    );
    const good = disk === 'UpToDate';
    t.is(fenced.length > 0, good);
    t.regex(alpha.shown, new RegExp(`ds:${disk}/${good ? 'Outdated' : 'DUnknown'}`));
    t.is(alpha.write(8, block(2)) === 0, good);
    beta.attach();
    beta.connect();
    pair.settled();
    if (good) t.deepEqual(beta.disk.content(8 * 512, 4096), block(2));
    t.is(pair.firstDifference(), -1);
  });
}
