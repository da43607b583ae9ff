/** A node that let its disk go, with newer data than the peer has, and that meets the peer without it. Nobody fences here. */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, SimPair } from '../support/sim-pair.js';

/** alpha wrote alone, then lost its disk and its service; beta is back with what it had before. */
function behind(): SimPair {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  const { alpha, beta } = pair;
  pair.upToDate();
  pair.run(100);
  pair.net.reset('replication');
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  if (alpha.write(0, block(1)) !== 0) throw new Error('write');
  alpha.ask((v, done) => detach(v, true, done));
  if (alpha.ask(setSecondary).kind !== 'ok') throw new Error('secondary');
  pair.net.heal('replication');
  for (const node of [alpha, beta]) node.until(/cs:Connected/);
  return pair;
}

test('neither node is promoted with the older data', (t) => {
  const pair = behind();
  const { alpha, beta } = pair;
  t.regex(alpha.shown, /ds:Diskless\/Outdated/);
  t.like(
    alpha.ask((v, done) => setPrimary(v, false, done)),
    { kind: 'state', code: Ss.NO_UP_TO_DATE_DISK },
  );
  t.like(
    beta.ask((v, done) => setPrimary(v, false, done)),
    { kind: 'state', code: Ss.CW_FAILED_BY_PEER },
  );
  alpha.attach();
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(beta.disk.content(0, 4096), block(1));
});

test('an operator who wants them all the same disconnects first', (t) => {
  const pair = behind();
  const { alpha, beta } = pair;
  beta.disconnect();
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.is(beta.write(8, block(2)), 0);
  beta.connect();
  alpha.until(/cs:Connected ro:Secondary\/Primary ds:Diskless\/UpToDate/);
  t.is(beta.write(16, block(2)), 0);
});

test('primary --force is followed', (t) => {
  const pair = behind();
  const { alpha, beta } = pair;
  t.is(beta.ask((v, done) => setPrimary(v, true, done)).kind, 'ok');
  alpha.until(/cs:Connected ro:Secondary\/Primary ds:Diskless\/UpToDate/);
  t.is(beta.write(8, block(2)), 0);
  t.is(beta.ask(setSecondary).kind, 'ok');
  t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.deepEqual(alpha.read(8, 4096), block(2));
});

test('whose data were the same, or descend from those it had, is followed', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  const { alpha, beta } = pair;
  pair.upToDate();
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.is(alpha.ask(setSecondary).kind, 'ok');
  pair.net.reset('replication');
  alpha.until(/cs:WFConnection/);
  alpha.until(/cs:Connected ro:Secondary\/Secondary ds:Diskless\/UpToDate/);
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.is(beta.write(0, block(1)), 0);
  pair.net.reset('replication');
  alpha.until(/cs:WFConnection/);
  t.is(beta.write(8, block(2)), 0);
  alpha.until(/cs:Connected ro:Secondary\/Primary ds:Diskless\/UpToDate/);
  t.is(beta.ask(setSecondary).kind, 'ok');
  t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.deepEqual(alpha.read(8, 4096), block(2));
});
