/** `outdate` at a bad moment: a node without a good disk does not get one by it, and says what the peer may make of that. */
import test from 'ava';
import { detach, invalidate, outdate } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, inSync } from '../support/sim-pair.js';

// Swarm seed 120118: it was called UpToDate, and became Primary.
test('outdate of a connected node whose disk is bad, or is being attached: it does not become a good one', (t) => {
  const pair = inSync(1, { disk: { onIoError: 'pass_on' } });
  const { alpha, beta } = pair;
  beta.disk.full = { fromBytes: 0, toBytes: 4096 };
  t.is(alpha.write(0, block(1)), 0);
  beta.disk.full = null;
  beta.until(/cs:Connected .*ds:Inconsistent\/UpToDate/);
  t.like(beta.ask(outdate), { kind: 'state', code: Ss.LOWER_THAN_OUTDATED });
  t.regex(beta.shown, /ds:Inconsistent\/UpToDate/);
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  beta.disk.stuck = true;
  beta.beginAttach();
  beta.until(/ds:Attaching/);
  t.like(beta.ask(outdate), { kind: 'state', code: Ss.LOWER_THAN_OUTDATED });
  t.regex(beta.shown, /ds:Attaching/);
  beta.disk.stuck = false;
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 50028: fence-peer says 3 then, and the peer goes on alone.
test('outdate of a node without a disk: the one that it gets back is old', (t) => {
  const pair = inSync(1);
  const { beta } = pair;
  pair.net.cut('replication');
  beta.until(/cs:WFConnection/);
  t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
  const asked = beta.ask(outdate);
  t.like(asked, { kind: 'state', code: Ss.LOWER_THAN_OUTDATED }); // drbdsetup: exit 5
  beta.attach();
  t.regex(beta.shown, /ds:Outdated/);
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  pair.net.heal('replication');
  pair.settled();
  t.regex(beta.shown, /ds:UpToDate/);
});

test('outdate of a node that let go a disk with newer data than the peer has: refused', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(1)), 0); // beta alone has it
  alpha.crash(true);
  beta.until(/cs:WFConnection/);
  t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.like(beta.ask(outdate), { kind: 'state', code: Ss.NO_UP_TO_DATE_DISK }); // exit 17
  beta.attach();
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.deepEqual(beta.read(8, 4096), block(1));
});

// Swarm seed 1310013220@5: it was Outdated when it was attached, and the older disk became Primary.
test('the same, of one that has not noticed yet that its peer is gone', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(1)), 0); // beta alone has it
  beta.loop.enter(() => detach(beta.volume, true, () => {}));
  beta.until(/cs:Connected ro:Secondary\/Primary ds:Diskless\/Diskless/);
  pair.net.cut('replication');
  alpha.crash(true);
  t.regex(beta.shown, /cs:Connected/);
  t.like(beta.ask(outdate), { kind: 'state', code: Ss.NO_UP_TO_DATE_DISK }); // exit 17
  beta.until(/cs:WFConnection/);
  beta.attach();
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.deepEqual(beta.read(8, 4096), block(1));
});

// The source had let its disk go since, and its last generation was not the target's past: so it looked.
test('outdate of the source of a resync that has missed its end and let its disk go: the target may go on', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
  const { alpha, beta } = pair;
  beta.exits = { 'fence-peer': 1 };
  t.is(alpha.ask(setSecondary).kind, 'ok');
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.is(beta.ask(invalidate).kind, 'ok');
  beta.until(/cs:SyncTarget/);
  beta.until(/ds:UpToDate\/UpToDate/);
  pair.net.reset('replication');
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection ro:Secondary\/Unknown ds:UpToDate\/DUnknown/);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.like(alpha.ask(outdate), { kind: 'state', code: Ss.LOWER_THAN_OUTDATED }); // which is told as: the peer may go on
  alpha.attach();
  t.regex(alpha.shown, /ds:Outdated/);
});
