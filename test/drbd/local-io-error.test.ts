/**
 * on-io-error call-local-io-error: the handler runs before the peer is told (docs/STATES.md, handlers), and what only the peer has is
 * not answered meanwhile: handlers for this event halt the node, and its disk may be back.
 */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { block, inSync, type SimPair } from '../support/sim-pair.js';

const SECTOR = 8;
const OTHER_EXTENT = 8192;
const HANDLER_MS = 20_000;

/** Its extent is in the activity log: the next write touches no meta-data. */
function callingPair(): SimPair {
  const pair = inSync(1, { sizeBytes: 10 << 20, disk: { onIoError: 'call-local-io-error' } });
  pair.alpha.write(SECTOR, block(1));
  pair.alpha.handlerMs = HANDLER_MS;
  pair.beta.handlerMs = HANDLER_MS;
  return pair;
}

const calls = (handlers: readonly string[]): string[] =>
  handlers.filter((name) => name === 'local-io-error');

test('a Primary: Failed at once, the handler, then the peer is told and the write answered', (t) => {
  const pair = callingPair();
  const { alpha, beta } = pair;
  alpha.disk.faults.writeChance = 1;
  const write = alpha.beginWrite(SECTOR, block(2));
  pair.until(() => alpha.handlers.includes('local-io-error'), 'the handler begins');
  t.regex(alpha.shown, /ds:Failed\/UpToDate/);
  const during = alpha.beginWrite(SECTOR + 8, block(3));
  pair.run(HANDLER_MS - 1000);
  t.regex(alpha.shown, /ds:Failed\/UpToDate/, 'the disk is open until it has run');
  t.regex(beta.shown, /ds:UpToDate\/UpToDate/, 'not told');
  t.is(
    alpha.peek(write),
    undefined,
    'only the peer has it, and does not know that it is the only one',
  );
  t.is(alpha.peek(during), undefined, 'begun by nobody');
  t.deepEqual(alpha.read(SECTOR, 4096), block(2), 'reads go on, at the peer');
  t.is(alpha.answer(write), 0);
  t.is(alpha.answer(during), 0);
  beta.until(/ds:UpToDate\/(Failed|Diskless)/);
  alpha.until(/ds:Diskless\/UpToDate/);
  t.deepEqual(calls(alpha.handlers), ['local-io-error']);
  t.is(
    beta.volume.uuids.bitmap !== 0n,
    true,
    'the peer has begun a generation for what this disk lacks',
  );
});

test('the handler halts the node: nothing was answered that its disk lacks', (t) => {
  const pair = callingPair();
  const { alpha, beta } = pair;
  alpha.disk.faults.writeChance = 1;
  const write = alpha.beginWrite(SECTOR, block(2));
  const flush = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
  pair.run(HANDLER_MS / 2);
  t.is(alpha.peek(write), undefined);
  t.is(alpha.peek(flush), undefined);
  alpha.crash(true);
  alpha.disk.faults.writeChance = 0;
  beta.until(/cs:WFConnection/);
  alpha.attach();
  alpha.connect();
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('meta-data that can not be written: the handler, too', (t) => {
  const pair = callingPair();
  const { alpha, beta } = pair;
  alpha.disk.faults.writeChance = 1;
  const write = alpha.beginWrite(OTHER_EXTENT, block(2)); // its extent is not in the activity log yet
  pair.until(() => alpha.handlers.includes('local-io-error'), 'the handler begins');
  pair.run(HANDLER_MS / 2);
  t.regex(alpha.log.join('\n'), /meta data IO error/);
  t.regex(beta.shown, /ds:UpToDate\/UpToDate/);
  t.is(alpha.peek(write), undefined);
  t.is(alpha.answer(write), 0, 'the peer has it');
  beta.until(/ds:UpToDate\/(Failed|Diskless)/);
  t.deepEqual(calls(alpha.handlers), ['local-io-error']);
});

test('a Secondary tells at once: its Primary must know before it answers what this disk lacks', (t) => {
  const pair = callingPair();
  const { alpha, beta } = pair;
  beta.disk.faults.writeChance = 1;
  t.is(alpha.write(SECTOR, block(2)), 0);
  alpha.until(/ds:UpToDate\/(Failed|Diskless)/);
  t.deepEqual(calls(beta.handlers), ['local-io-error']);
  beta.until(/ds:Diskless\/UpToDate/);
});

test('a handler that hangs: detach does not wait for it', (t) => {
  const pair = callingPair();
  const { alpha, beta } = pair;
  alpha.handlerMs = 3_600_000;
  alpha.disk.faults.writeChance = 1;
  const write = alpha.beginWrite(SECTOR, block(2));
  pair.run(1000);
  t.is(alpha.peek(write), undefined);
  for (const node of [alpha, beta]) node.handlerMs = 1; // of those that follow
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.regex(alpha.shown, /ds:Diskless\/UpToDate/);
  t.is(alpha.answer(write), 0);
  beta.until(/ds:UpToDate\/Diskless/);
  // Its late end is nobody's business: a disk that was attached meanwhile stays.
  alpha.disk.faults.writeChance = 0;
  alpha.attach();
  alpha.until(/ds:UpToDate\/UpToDate/);
  pair.run(3_700_000);
  t.regex(alpha.shown, /ds:UpToDate\/UpToDate/);
});

test('the connection goes and comes while the handler hangs: the handshake tells', (t) => {
  const pair = callingPair();
  const { alpha, beta } = pair;
  alpha.disk.faults.writeChance = 1;
  const write = alpha.beginWrite(SECTOR, block(2));
  pair.run(1000);
  pair.net.reset('replication');
  alpha.until(/cs:Connected .*ds:Failed\/UpToDate/);
  beta.until(/ds:UpToDate\/(Failed|Diskless)/);
  t.is(alpha.answer(write), 0);
  alpha.until(/ds:Diskless\/UpToDate/);
  t.deepEqual(alpha.read(SECTOR, 4096), block(2));
});

test('alone: errors are not held back, there is nobody to tell', (t) => {
  const pair = callingPair();
  const { alpha } = pair;
  alpha.disconnect();
  alpha.disk.faults.writeChance = 1;
  const write = alpha.beginWrite(SECTOR, block(2));
  pair.run(1000);
  t.is(alpha.peek(write), 5);
  t.deepEqual(calls(alpha.handlers), ['local-io-error']);
});

test('detach --force of a disk that works calls it as well', (t) => {
  const pair = callingPair();
  const { alpha } = pair;
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.deepEqual(calls(alpha.handlers), ['local-io-error']);
  t.regex(alpha.shown, /ds:Diskless\/UpToDate/);
});

test('pri-on-incon-degr: a Primary that has good data nowhere, once each time', (t) => {
  const pair = inSync(2);
  const { alpha } = pair;
  const count = (): number => alpha.handlers.filter((h) => h === 'pri-on-incon-degr').length;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(count(), 0);
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection .*ds:Diskless\/DUnknown/);
  t.is(count(), 1);
  pair.run(5000);
  t.is(count(), 1);
  pair.net.heal('replication');
  alpha.until(/cs:Connected .*ds:Diskless\/UpToDate/);
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  t.is(count(), 2);
});

test('pri-on-incon-degr: not for an engine that was restarted and finds its peer', (t) => {
  const pair = inSync(3);
  const { alpha } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  pair.run(1000);
  alpha.restart();
  alpha.until(/cs:Connected ro:Primary.*ds:Diskless\/UpToDate/);
  pair.run(5000);
  t.false(alpha.handlers.includes('pri-on-incon-degr'));
});

test('pri-on-incon-degr: of one that was restarted and does not find it, a little later', (t) => {
  const pair = inSync(3);
  const { alpha } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  alpha.handlers.length = 0;
  alpha.restart();
  t.regex(alpha.shown, /ro:Primary/);
  t.false(alpha.handlers.includes('pri-on-incon-degr'));
  pair.until(() => alpha.handlers.includes('pri-on-incon-degr'), 'called');
  pair.run(10_000);
  t.deepEqual(alpha.handlers, ['pri-on-incon-degr']);
});

test('a fence-peer that began before the connection came and went says nothing of the peer now', (t) => {
  const pair = inSync(4, { disk: { fencing: 'resource-and-stonith' } });
  const { alpha, beta } = pair;
  alpha.handlerMs = 60_000;
  alpha.exits = { 'fence-peer': 4 }; // "I have made it Outdated", said of the time before it was back
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  pair.run(1000);
  pair.net.heal('replication');
  pair.settled();
  alpha.handlerMs = 3_600_000;
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  const write = alpha.beginWrite(SECTOR, block(2));
  pair.run(70_000); // the first one has ended, the second hangs
  t.regex(alpha.log.join('\n'), /Ignoring fence-peer exit code/);
  t.regex(alpha.shown, /ds:UpToDate\/DUnknown/, 'the peer may be as good as this node');
  t.is(alpha.peek(write), undefined, 'frozen');
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind === 'ok', false);
});

test('disk-timeout: the disk does not answer, the handler runs, and the disk is let go without its answer', (t) => {
  const disk = { onIoError: 'call-local-io-error', diskTimeoutDs: 20 } as const;
  const pair = inSync(5, { disk });
  const { alpha, beta } = pair;
  alpha.write(SECTOR, block(1));
  alpha.handlerMs = HANDLER_MS;
  alpha.disk.stuck = true;
  const write = alpha.beginWrite(SECTOR, block(2));
  pair.until(() => alpha.handlers.includes('local-io-error'), 'the handler begins');
  pair.run(HANDLER_MS / 2);
  t.is(alpha.peek(write), undefined);
  t.regex(beta.shown, /ds:UpToDate\/UpToDate/);
  t.is(alpha.answer(write), 0);
  alpha.until(/ds:Diskless\/UpToDate/);
  t.deepEqual(alpha.read(SECTOR, 4096), block(2));
  t.deepEqual(calls(alpha.handlers), ['local-io-error']);
});
