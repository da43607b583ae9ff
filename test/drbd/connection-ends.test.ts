/** A connection ends while something is on its way: what is waited for, and what must not wait for it. */
import test from 'ava';
import { detach, invalidateRemote, suspendIo } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { block, inSync } from '../support/sim-pair.js';

test('connect, when disconnect is answered: writes of the broken connection are still on their way to the disk', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  beta.disk.stuck = true;
  const write = alpha.beginWrite(0, block(1));
  pair.until(() => beta.volume.peerWork > 0, 'the write is on its way to the disk');
  pair.net.cut('replication');
  let connected = false;
  beta.loop.enter(() =>
    beta.resource.disconnect(false, (code) => {
      t.is(code, Ss.SUCCESS);
      beta.connect();
      connected = true;
    }),
  );
  beta.until(/cs:(Disconnecting|StandAlone|WFConnection)/); // instead of the answer the connection breaks
  pair.run(1000);
  t.false(connected, 'it ends with the last write');
  beta.disk.stuck = false;
  pair.until(() => connected, 'the answer');
  t.is(alpha.answer(write), 0);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 20161: a mount read a block, and read it again as the old Primary had written it last.
test('primary while the last writes of the lost peer are still on their way to the disk: they are waited for', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  beta.disk.slowMs = 500;
  alpha.beginWrite(0, block(1));
  pair.run(50);
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.run(50);
  beta.disk.slowMs = 0;
  t.regex(beta.shown, /cs:NetworkFailure|cs:BrokenPipe/);
  t.deepEqual(beta.disk.content(0, 4096), block(0));
  // The answer comes later, when the mark of a Primary is on the disk; reads are served from the change of role on.
  beta.loop.enter(() => setPrimary(beta.volume, false, () => {}));
  beta.until(/ro:Primary/);
  t.deepEqual(beta.disk.content(0, 4096), block(1));
  t.deepEqual(beta.read(0, 4096), block(1));
});

// Swarm seed 50631: the end of the connection waited for the read, the read for the write, the write for a connection.
test('a resync read behind a write that is frozen does not keep the connection from ending', (t) => {
  let waited = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const pair = inSync(seed);
    const { alpha, beta } = pair;
    t.is(alpha.ask(invalidateRemote).kind, 'ok');
    beta.until(/cs:SyncTarget/);
    pair.net.cut('replication', 'alpha'); // the target asks for blocks that are being written
    const writes: number[] = [];
    for (let at = 0; at < 3840; at += 256) {
      writes.push(alpha.beginWrite(at, new Uint8Array(256 * 512).fill(7)));
    }
    pair.run(5);
    waited += alpha.volume.intervals.waitingCount;
    t.is(alpha.ask((v, done) => suspendIo(v, true, done)).kind, 'ok');
    pair.net.reset('replication');
    pair.net.cut('replication');
    alpha.until(/cs:WFConnection/);
    t.is(alpha.ask((v, done) => suspendIo(v, false, done)).kind, 'ok');
    pair.net.heal('replication');
    for (const w of writes) t.is(alpha.answer(w), 0);
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
  t.true(waited > 0);
});

// Swarm seed 100257: what was begun for the own disk alone was answered while nobody knew what had become of the peer.
test('a write that waits for the activity log when the peer is lost is not answered before the peer is fenced', (t) => {
  let waited = 0;
  for (let delay = 0; delay <= 16; delay++) {
    const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
    const { alpha } = pair;
    alpha.exits = { 'fence-peer': 4 };
    alpha.handlerMs = 5000;
    alpha.disk.slowMs = 2;
    const write = alpha.beginWrite(8, block(1)); // into an extent that the log does not have
    pair.run(delay / 4);
    pair.net.reset('replication');
    pair.net.cut('replication');
    pair.run(1000);
    t.is(alpha.volume.state.suspFen, 1);
    if (alpha.disk.content(8 * 512, 1)[0] === 1) waited++;
    t.is(alpha.peek(write), undefined, `${delay / 4} ms`);
    t.is(alpha.answer(write), 0); // fenced
    t.is(alpha.volume.state.suspFen, 0);
    pair.net.heal('replication');
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
  t.true(waited > 0);
});

test('a disk that is let go before the nodes have compared: the bitmap that the peer sends for it ends nothing', (t) => {
  for (let ms = 2; ms < 8; ms++) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(8, block(1)), 0);
    pair.net.faults('replication', { delayMs: [4, 5] });
    alpha.beginAttach();
    alpha.until(/ds:Negotiating/);
    pair.run(ms);
    t.regex(alpha.shown, /cs:Connected .*ds:Negotiating/);
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    alpha.log.length = 0;
    pair.run(1000);
    t.regex(alpha.shown, /cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
    t.regex(beta.shown, /cs:Connected ro:Secondary\/Primary ds:UpToDate\/Diskless/);
    t.deepEqual(
      alpha.log.filter((line) => / conn\( /.test(line)),
      [],
    );
    t.deepEqual(alpha.read(8, 4096), block(1));
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});
