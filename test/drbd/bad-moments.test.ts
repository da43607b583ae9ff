/** What an operator asks at a bad moment: force on a Primary left alone with a bad disk, connect in the end of a connection. */
import test from 'ava';
import { EIO } from '../../src/drbd/app-io.js';
import { attach } from '../../src/drbd/attach.js';
import { Ss } from '../../src/drbd/return-codes.js';
import {
  detach,
  invalidate,
  invalidateRemote,
  outdate,
  setPrimary,
  setSecondary,
  suspendIo,
} from '../../src/drbd/roles.js';
import { Conns, connName } from '../../src/drbd/state.js';
import { createMeta, SimPair, type SimPairOptions } from '../support/sim-pair.js';

const block = (byte: number): Uint8Array => new Uint8Array(4096).fill(byte);

function inSync(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 2 << 20, ...options });
  pair.upToDate();
  pair.run(100);
  return pair;
}

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
  const options = beta.volume.diskOptions;
  const how = {
    disk: '/dev/lower',
    metaDisk: '/dev/lower',
    metaIndex: 'internal',
    options,
  } as const;
  beta.loop.enter(() => attach(beta.volume, how, () => {}));
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

// Swarm seed 50668: the frozen write of the old service went over a block that the new one had written.
test('a Primary frozen as a target, while the source was promoted: what it still wants to write stays out of the newer data', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  for (const n of [alpha, beta]) {
    n.volume.diskOptions = { ...n.volume.diskOptions, resyncRateKiBps: 250 };
  }
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(1)), 0);
  alpha.attach();
  alpha.until(/cs:SyncTarget ro:Primary/);
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  beta.until(/cs:WFConnection/);
  const waits = alpha.beginWrite(8, block(2));
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.is(beta.write(8, block(3)), 0);
  t.is(beta.ask(setSecondary).kind, 'ok');
  pair.net.heal('replication');
  alpha.until(/cs:StandAlone/);
  t.true(alpha.log.some((line) => line.includes('have seen older data')));
  t.is(alpha.peek(waits), undefined);
  t.is(alpha.ask((v, done) => suspendIo(v, false, done)).kind, 'ok');
  t.is(alpha.answer(waits), EIO);
  t.is(alpha.ask(setSecondary).kind, 'ok');
  alpha.connect();
  pair.settled();
  t.deepEqual(alpha.disk.content(8 * 512, 4096), block(3));
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

// Swarm seed 400018: under protocols A and B only the own disk was asked, whose word does not count then: EIO to every flush.
for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: a flush of a Primary that is being synchronised is the source's business`, (t) => {
    const pair = inSync(1, { net: { protocol } });
    const { alpha, beta } = pair;
    for (const n of [alpha, beta]) {
      n.volume.diskOptions = { ...n.volume.diskOptions, resyncRateKiBps: 250 };
    }
    t.is(alpha.ask(invalidate).kind, 'ok');
    alpha.until(/cs:SyncTarget ro:Primary/);
    t.is(alpha.write(8, block(1)), 0);
    t.is(alpha.flush(), 0);
    beta.crash(true);
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
  });
}

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

// Swarm seed 130859: heartbeat took over with the data of a second ago.
test('the disk of a node that saw newer data while it had none does not pass for good when the peer has lost its own', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(1)), 0);
  alpha.disk.faults.flushChance = 1;
  t.is(alpha.flush(), EIO);
  alpha.until(/ds:Diskless\/Diskless/);
  t.is(alpha.ask(setSecondary).kind, 'ok');
  beta.attach();
  beta.until(/ds:Outdated/);
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  alpha.disk.faults.flushChance = 0;
  alpha.attach();
  pair.settled();
  t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
});

// Swarm seed 140296: the role was written into the generation that it had let go, and that counted as the one seen last.
test('a Primary without a disk that becomes Secondary still knows that its own is old', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(1)), 0);
  t.is(alpha.flush(), 0);
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  alpha.until(/ds:Diskless\/Diskless/);
  t.is(alpha.ask(setSecondary).kind, 'ok');
  alpha.attach();
  let good = false; // as the peer is told, if only for a moment
  pair.until(() => {
    good ||= /ds:Diskless\/UpToDate/.test(beta.shown);
    return /ds:Outdated/.test(alpha.shown) && /ds:Diskless\/Outdated/.test(beta.shown);
  }, 'Outdated, and the peer knows');
  t.false(good);
  t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  beta.attach();
  pair.settled();
  t.deepEqual(alpha.disk.content(8 * 512, 4096), block(1));
});

// Swarm seed 430430: "No resync, but 502 bits in bitmap!", and a write was on one disk only.
test('invalidate of a Primary whose connection is lost before anything is copied: it keeps its data', (t) => {
  for (const fencing of ['dont-care', 'resource-and-stonith'] as const) {
    for (let delay = 0; delay < 30; delay++) {
      const pair = inSync(1, { disk: { fencing } });
      const { alpha, beta } = pair;
      alpha.exits = { 'fence-peer': 4 };
      pair.net.cut('replication', 'alpha');
      const write = alpha.beginWrite(8, block(1)); // does not arrive
      beta.loop.enter(() => invalidateRemote(beta.volume, () => {})); // alpha hears of it
      pair.run(delay / 10);
      pair.net.reset('replication');
      pair.net.cut('replication');
      t.is(alpha.answer(write), 0);
      t.regex(alpha.shown, /ro:Primary\/Unknown ds:UpToDate/);
      t.deepEqual(alpha.read(8, 4096), block(1));
      pair.net.heal('replication');
      pair.settled();
      t.is(pair.firstDifference(), -1, `${fencing} ${delay}`);
    }
  }
});

/** Protocol A: a write that was answered, and is only on the disk that alpha has let go. */
function onlyOnLetGoDisk(options: SimPairOptions = {}): SimPair {
  const pair = inSync(1, {
    net: { protocol: 'A' },
    resource: { onNoDataAccessible: 'suspend-io' },
    ...options,
  });
  const { alpha, beta } = pair;
  pair.net.cut('replication');
  if (alpha.write(0, block(1)) !== 0 || alpha.flush() !== 0) throw new Error('write');
  if (alpha.ask((v, done) => detach(v, true, done)).kind !== 'ok') throw new Error('detach');
  alpha.until(/cs:Unconnected ro:Primary\/Unknown ds:Diskless/);
  beta.until(/cs:WFConnection/);
  return pair;
}

// Swarm seed 627569228: the users of the Primary went back in time when the connection was there again.
test('protocol A: who has answered writes on a let-go disk alone does not go on with the older disk of the peer', (t) => {
  for (const restarted of [false, true]) {
    const pair = onlyOnLetGoDisk();
    const { alpha } = pair;
    if (restarted) {
      t.deepEqual(alpha.restart(), []);
      alpha.until(/cs:Unconnected ro:Primary/);
    }
    pair.net.heal('replication');
    pair.run(5000);
    t.regex(alpha.shown, /cs:Unconnected ro:Primary/);
    t.is(alpha.log.filter((line) => line.includes('Not connecting')).length, restarted ? 2 : 1);
    alpha.attach();
    pair.settled();
    t.deepEqual(alpha.read(0, 4096), block(1));
    t.is(pair.firstDifference(), -1);
  }
});

// Swarm seed 900296: what the engine that died had answered on the way to the peer, its successor cannot know.
test('protocol A: the engine is restarted, and its disk is let go before it has met the peer', (t) => {
  for (const frozen of [false, true]) {
    const pair = inSync(1, {
      net: { protocol: 'A' },
      disk: { fencing: frozen ? 'resource-only' : 'dont-care' },
      resource: { onNoDataAccessible: 'suspend-io' },
    });
    const { alpha } = pair;
    pair.net.cut('replication');
    t.is(alpha.write(0, block(1)), 0);
    t.deepEqual(alpha.restart(), []);
    t.is(alpha.volume.state.suspFen, Number(frozen));
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.net.heal('replication');
    pair.run(5000);
    t.regex(alpha.shown, /ro:Primary\/Unknown/);
    if (!frozen) continue; // a new generation has begun, and the peer is refused for good
    alpha.attach();
    pair.settled();
    t.deepEqual(alpha.read(0, 4096), block(1));
    t.is(pair.firstDifference(), -1);
  }
});

test('the same when the service has ended there: the peer has what protocol A promises', (t) => {
  const pair = onlyOnLetGoDisk();
  const { alpha, beta } = pair;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  pair.net.heal('replication');
  beta.until(/cs:Connected .*UpToDate\/Diskless/);
});

test('protocol A: frozen after a loss, then the disk is let go: the older disk of the peer is refused as well', (t) => {
  const pair = inSync(1, {
    net: { protocol: 'A' },
    disk: { fencing: 'resource-and-stonith' },
    resource: { onNoDataAccessible: 'suspend-io' },
  });
  const { alpha } = pair;
  alpha.exits['fence-peer'] = 1;
  pair.net.cut('replication');
  t.is(alpha.write(0, block(1)), 0);
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  pair.net.heal('replication');
  pair.run(5000);
  t.regex(alpha.shown, /cs:Unconnected ro:Primary/);
  alpha.attach();
  pair.settled();
  t.deepEqual(alpha.read(0, 4096), block(1));
  t.is(pair.firstDifference(), -1);
});

test('writes that the peer lost with its power, while the Primary had let its disk go, are copied when that is back', (t) => {
  const pair = inSync(1, {
    disk: { fencing: 'resource-and-stonith' },
    resource: { onNoDataAccessible: 'suspend-io' },
  });
  const { alpha, beta } = pair;
  for (let i = 0; i < 8; i++) t.is(alpha.write(8 * i, block(1)), 0);
  beta.crash(true);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
  t.true(beta.disk.content(0, 8 * 4096).includes(0), 'some were in its cache');
  alpha.attach();
  beta.attach();
  beta.connect();
  pair.settled();
  t.deepEqual(alpha.read(0, 4096), block(1));
  t.is(pair.firstDifference(), -1);
});

test('protocol A: both disks are let go while a write is on its way; that of the peer, which lacks it, is not taken back', (t) => {
  const pair = inSync(1, {
    net: { protocol: 'A', pingTimeoutDs: 100 },
    resource: { onNoDataAccessible: 'suspend-io' },
  });
  const { alpha, beta } = pair;
  pair.net.faults('replication', { delayMs: [300, 300] });
  t.is(alpha.write(0, block(1)), 0);
  for (const { loop, volume } of [alpha, beta]) loop.enter(() => detach(volume, true, () => {}));
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/Diskless/);
  pair.net.faults('replication', {});
  pair.run(1000);
  beta.attach();
  alpha.until(/cs:(StandAlone|Unconnected)/);
  alpha.attach();
  alpha.connect();
  pair.settled();
  t.deepEqual(alpha.read(0, 4096), block(1));
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 291: beta heard that alpha is Attaching, answered that, and not when it was Negotiating.
test('both nodes attach, one of them slowly: neither waits for ever', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  alpha.disk.slowMs = 50;
  let attached = 0;
  const options = { ...alpha.volume.diskOptions };
  const how = {
    disk: '/dev/lower',
    metaDisk: '/dev/lower',
    metaIndex: 'internal',
    options,
  } as const;
  for (const node of [alpha, beta])
    node.loop.enter(() => attach(node.volume, how, () => attached++));
  pair.until(() => attached === 2, 'both are attached');
  t.true(beta.log.some((line) => line.includes('pdsk( Diskless -> Attaching )')));
  pair.settled();
});

// Swarm seed 1000367: no copy counted any more, and reads failed, although the one that was to be thrown away had everything.
test('invalidate, and the source loses its disk before it begins: the other copy has every write, and counts', (t) => {
  const moments = new Set<string>();
  for (const [byTarget, slow] of [
    [false, 'alpha'],
    [false, 'beta'],
    [true, 'alpha'],
    [true, 'beta'],
  ] as const) {
    for (let delay = 0; delay < 40; delay++) {
      const pair = inSync(1);
      const { alpha, beta } = pair;
      pair[slow].disk.slowMs = 5; // so long it is StartingSyncS, or StartingSyncT
      if (byTarget) beta.loop.enter(() => invalidate(beta.volume, () => {}));
      else alpha.loop.enter(() => invalidateRemote(alpha.volume, () => {}));
      pair.run(delay / 4);
      if (alpha.volume.state.conn >= Conns.SyncSource) break;
      const write = alpha.beginWrite(8, block(1));
      pair.run(0.25);
      if (alpha.volume.state.conn >= Conns.SyncSource) break;
      moments.add(connName(alpha.volume.state.conn)).add(connName(beta.volume.state.conn));
      alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
      t.is(alpha.answer(write), 0);
      t.deepEqual(alpha.read(8, 4096), block(1), `${delay}`);
      t.is(alpha.write(16, block(2)), 0);
      alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
      beta.until(/cs:Connected ro:Secondary\/Primary ds:UpToDate\/Diskless/);
      alpha.attach();
      pair.settled();
      t.is(pair.firstDifference(), -1, `${delay}`);
    }
  }
  t.deepEqual([...moments].sort(), ['Connected', 'StartingSyncS', 'StartingSyncT', 'WFSyncUUID']);
});

test('the source has begun a resync that its target has not, and loses its disk: the target says that its copy is whole', (t) => {
  let moments = 0;
  for (let delay = 0; delay < 40; delay++) {
    const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
    const { alpha, beta } = pair;
    beta.disk.slowMs = 5; // so long it is StartingSyncT
    alpha.loop.enter(() => invalidateRemote(alpha.volume, () => {}));
    pair.run(delay / 4);
    if (alpha.volume.state.conn !== Conns.SyncSource) continue;
    if (beta.volume.state.conn === Conns.SyncTarget) break;
    alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
    pair.run(1000);
    if (!/ds:UpToDate/.test(beta.shown)) continue; // it had begun in between
    moments++;
    t.regex(alpha.shown, /cs:Connected .*ds:Diskless\/UpToDate/, `${delay}`);
    t.is(alpha.write(8, block(1)), 0);
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1, `${delay}`);
  }
  t.true(moments > 0);
});

test('a disk that is too small for the device in use is not attached', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  alpha.until(/ds:UpToDate\/Diskless/);
  const sectors = alpha.volume.sizeSectors;
  beta.disk.resize(1 << 20);
  createMeta(beta.disk);
  t.throws(() => beta.attach(), { message: /"code":111/ });
  pair.run(1000);
  t.is(alpha.volume.sizeSectors, sectors);
  t.regex(alpha.shown, /cs:Connected ro:Primary\/Secondary ds:UpToDate\/Diskless/);
  t.is(alpha.write(sectors - 8, block(1)), 0);
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

test('what was answered on the disk of the peer alone, as the connection broke: the own disk does not pass for it', (t) => {
  let early = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const pair = inSync(seed, { resource: { onNoDataAccessible: 'suspend-io' } });
    const { alpha } = pair;
    t.is(alpha.write(0, block(1)), 0);
    alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
    const write = alpha.beginWrite(0, block(2));
    pair.until(() => alpha.peek(write) !== undefined, 'an answer');
    const own = alpha.volume.uuids.current;
    if (alpha.volume.hasExposed(own)) early++; // before the peer's new generation was heard of
    pair.net.reset('replication');
    pair.net.cut('replication');
    alpha.until(/ds:Diskless/);
    if (seed % 2 === 0) alpha.restart();
    t.throws(() => alpha.attach(), { message: /"code":150/ }, `seed ${seed}`);
    t.is(alpha.ask(setSecondary).kind, 'ok');
    alpha.attach();
    t.regex(alpha.shown, /ds:Outdated/);
    pair.net.heal('replication');
    pair.run(3000);
    if (/cs:StandAlone/.test(alpha.shown)) alpha.connect();
    pair.settled();
    t.deepEqual(alpha.disk.content(0, 4096), block(2));
    t.is(pair.firstDifference(), -1);
  }
  t.true(early > 0);
});
