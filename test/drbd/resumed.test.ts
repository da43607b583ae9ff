/**
 * The engine is restarted under the users of its device: they see the data that they saw last, or wait, and what is written from
 * then on is nowhere missing. Two engines in virtual time, the second life configured as production does it
 * (host/drbdd-resume.ts).
 */
import test from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import { detach, outdate, suspendIo } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import type { SavedState } from '../../src/host/drbdd-resume.js';
import { block, inSync, SimPair, type SimPairNode } from '../support/sim-pair.js';

const GRACE_MS = 3000;
const FENCED = { 'fence-peer': 4 }; // outdated
const BROKEN = { 'fence-peer': 1 };

function noPeer(pair: SimPair): void {
  pair.net.reset('replication');
  pair.net.cut('replication');
}

test('a disk that was let go is not taken back for the data in use', (t) => {
  const pair = inSync(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  const saved = pair.alpha.saved(); // nobody asked for the detach, so the file still names the disk
  pair.alpha.disk.full = { fromBytes: 0, toBytes: 4096 };
  t.is(pair.alpha.write(0, block(2)), 0, 'the peer has it');
  pair.alpha.disk.full = null;
  pair.alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.is(pair.alpha.write(8, block(3)), 0);
  t.is(pair.alpha.flush(), 0);
  noPeer(pair);
  const [refused, ...more] = pair.alpha.restart(saved);
  t.regex(refused ?? '', /^attach: .*data we lost last/);
  t.deepEqual(more, []);
  t.regex(pair.alpha.shown, /ro:Primary\/Unknown ds:Diskless/);
  const at = pair.alpha.io.alloc(4096);
  const read = pair.alpha.begin((tag) => pair.alpha.volume.read(pair.alpha, tag, 0, at, 4096));
  pair.run(10_000);
  t.is(pair.alpha.peek(read), undefined, 'older data are not shown');
  pair.net.heal('replication');
  t.is(pair.alpha.answer(read), 0);
  t.deepEqual(pair.alpha.io.pool.slice(at, at + 4096), block(2));
  t.deepEqual(pair.alpha.read(8, 4096), block(3));
  pair.alpha.attach();
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('a promotion that the disk holds up has users already: a successor is to know', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.ask(setSecondary).kind, 'ok');
  noPeer(pair);
  alpha.until(/cs:WFConnection/);
  alpha.disk.stuck = true;
  const told = alpha.toldToSave;
  let answered = false;
  alpha.loop.enter(() =>
    setPrimary(alpha.volume, false, () => {
      answered = true;
    }),
  );
  alpha.until(/ro:Primary/);
  t.false(answered);
  t.is(alpha.toldToSave, told + 1);
  const saved = alpha.saved();
  alpha.disk.stuck = false;
  t.deepEqual(alpha.restart(saved), []);
  t.regex(alpha.shown, /ro:Primary/);
  t.is(alpha.write(0, block(1)), 0);
});

test('a disk that was let go is not taken back after changes of role either', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  const role = (node: SimPairNode, primary: boolean): void => {
    const outcome = node.ask((v, done) =>
      primary ? setPrimary(v, false, done) : setSecondary(v, done),
    );
    t.is(outcome.kind, 'ok');
  };
  alpha.disk.full = { fromBytes: 0, toBytes: 4096 };
  t.is(alpha.write(0, block(1)), 0, 'the peer has it');
  alpha.disk.full = null;
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  role(alpha, false);
  role(beta, true); // a generation begins
  t.is(beta.write(0, block(2)), 0);
  role(beta, false);
  role(alpha, true);
  noPeer(pair);
  alpha.until(/cs:WFConnection ro:Primary/);
  t.throws(() => alpha.attach(), { message: /"code":150/ });
  pair.net.heal('replication');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.deepEqual(alpha.read(0, 4096), block(2));
  alpha.attach();
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

for (const protocol of ['B', 'C'] as const) {
  for (const lost of ['nothing', 'power before', 'power after', 'its engine'] as const) {
    test(`protocol ${protocol}, without a disk here; the peer loses ${lost}: a flush says so when an answered write may be gone`, (t) => {
      for (let seed = 1; seed <= 8; seed++) {
        const pair = inSync(seed, { net: { protocol } });
        const { alpha, beta } = pair;
        t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
        alpha.until(/ds:Diskless\/UpToDate/);
        pair.run(50);
        t.is(alpha.write(0, block(1)), 0);
        const saved = alpha.saved();
        const back = (power: boolean): void => {
          beta.crash(power);
          beta.attach();
          beta.connect();
        };
        if (lost === 'power before') {
          pair.net.cut('replication'); // before the barrier comes
          back(true);
        }
        if (lost === 'power after') {
          pair.net.cut('replication');
          pair.net.resetOneEnd('replication', 'beta');
          beta.until(/cs:WFConnection/);
          pair.run(20); // now it is flushed, and the mark is gone
          back(true);
        }
        if (lost === 'its engine') back(false);
        t.deepEqual(alpha.restart(saved), []);
        pair.net.heal('replication');
        alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
        const kept = lost === 'nothing' || lost === 'power after';
        t.is(alpha.flush(), kept ? 0 : EIO, `seed ${seed}`);
        t.is(alpha.flush(), 0);
        if (kept) t.deepEqual(alpha.read(0, 4096), block(1));
      }
    });
  }
}

test('unflushed writes were lost with the connection, then the disk was let go: a successor knows it, and the next one, too', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(1)), 0); // in the caches of both disks
  noPeer(pair);
  alpha.until(/cs:WFConnection ro:Primary/);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.regex(alpha.shown, /ds:Diskless/);
  for (let life = 2; life <= 3; life++) {
    alpha.restart(alpha.saved());
    t.regex(alpha.shown, /ro:Primary\/Unknown ds:Diskless/);
  }
  beta.until(/cs:WFConnection/);
  pair.net.heal('replication');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.is(alpha.flush(), EIO, 'the peer has no mark of what it had not flushed');
  t.is(alpha.flush(), 0);
});

test('a disk that a successor can not have: nobody knows what the peer has flushed, and the next flush says so, once', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(0, block(1)), 0);
  const saved = alpha.saved();
  alpha.disk.faults.readChance = 1;
  alpha.restart(saved);
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.is(alpha.flush(), EIO);
  t.is(alpha.flush(), 0);
});

test('a node that went on alone takes its own disk back, whenever it dies', (t) => {
  // In the middle of a new generation, too: both that one and the one before count.
  for (let seed = 1; seed <= 24; seed++) {
    const pair = inSync(seed);
    t.is(pair.alpha.write(0, block(1)), 0);
    const saved = pair.alpha.saved();
    noPeer(pair);
    pair.run(seed * 0.05);
    t.deepEqual(pair.alpha.restart(saved), [], `seed ${seed}`);
    t.regex(pair.alpha.shown, /ro:Primary\/Unknown ds:UpToDate/);
    t.deepEqual(pair.alpha.read(0, 4096), block(1));
    t.is(pair.alpha.write(8, block(2)), 0);
    pair.net.heal('replication');
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('an Outdated disk is not declared UpToDate: its users wait for the peer', (t) => {
  const pair = inSync(1);
  const primary = pair.alpha.saved().primaries;
  t.is(pair.alpha.write(0, block(1)), 0);
  t.is(pair.alpha.ask(setSecondary).kind, 'ok');
  noPeer(pair);
  pair.alpha.until(/cs:WFConnection/);
  t.is(pair.alpha.ask(outdate).kind, 'ok');
  const saved: SavedState = { ...pair.alpha.saved(), primaries: primary };
  t.deepEqual(pair.alpha.restart(saved), []);
  t.regex(pair.alpha.shown, /ro:Primary\/Unknown ds:Outdated/);
  const write = pair.alpha.beginWrite(8, block(2));
  pair.run(20_000);
  t.is(pair.alpha.peek(write), undefined);
  t.regex(pair.alpha.shown, /ro:Primary\/Unknown ds:Outdated/);
  pair.net.heal('replication');
  t.is(pair.alpha.answer(write), 0);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('without fencing nobody waits for the peer', (t) => {
  const pair = inSync(1);
  noPeer(pair);
  pair.alpha.restart();
  const startMs = pair.world.nowMs;
  t.is(pair.alpha.write(0, block(1)), 0);
  t.true(pair.world.nowMs - startMs < 100);
  t.false(pair.alpha.handlers.includes('fence-peer'));
});

for (const fencing of ['resource-only', 'resource-and-stonith'] as const) {
  test(`${fencing}: a living peer is waited for, and nobody is fenced`, (t) => {
    const pair = inSync(1, { disk: { fencing } });
    pair.alpha.exits = FENCED;
    t.deepEqual(pair.alpha.restart(), []);
    const startMs = pair.world.nowMs;
    const write = pair.alpha.beginWrite(0, block(1));
    pair.until(() => pair.alpha.peek(write) !== undefined, 'an answer');
    t.regex(pair.alpha.shown, /cs:(Connected|WFBitMapS|SyncSource) ro:Primary\/Secondary/);
    t.is(pair.alpha.answer(write), 0);
    t.log(`after ${(pair.world.nowMs - startMs).toFixed(0)} ms`);
    t.true(pair.world.nowMs - startMs < GRACE_MS);
    pair.settled();
    pair.run(2 * GRACE_MS);
    t.false(pair.alpha.handlers.includes('fence-peer'));
    t.is(pair.firstDifference(), -1);
  });

  test(`${fencing}: a peer that does not come is fenced, and only then it goes on`, (t) => {
    const pair = inSync(1, { disk: { fencing } });
    pair.beta.crash(true);
    pair.alpha.exits = BROKEN;
    pair.alpha.until(/cs:WFConnection/);
    pair.run(100);
    suspendIo(pair.alpha.volume, false, () => {}); // an operator says: go on
    pair.alpha.handlers.length = 0;
    pair.alpha.exits = FENCED;
    t.deepEqual(pair.alpha.restart(), []);
    const startMs = pair.world.nowMs;
    const write = pair.alpha.beginWrite(0, block(1));
    pair.run(GRACE_MS - 100);
    t.is(pair.alpha.peek(write), undefined);
    t.deepEqual(pair.alpha.handlers, []);
    t.is(pair.alpha.answer(write), 0);
    t.true(pair.world.nowMs - startMs < GRACE_MS + 200);
    t.deepEqual(pair.alpha.handlers, ['fence-peer']);
    t.regex(pair.alpha.shown, /ro:Primary\/Unknown ds:UpToDate\/Outdated/);
  });

  test(`${fencing}: when fencing fails ${fencing === 'resource-only' ? 'it goes on' : 'it stays frozen'}`, (t) => {
    const pair = inSync(1, { disk: { fencing } });
    pair.beta.crash(true);
    pair.alpha.exits = BROKEN;
    pair.alpha.until(/cs:WFConnection/);
    pair.alpha.restart();
    const write = pair.alpha.beginWrite(0, block(1));
    pair.run(GRACE_MS + 60_000);
    t.is(pair.alpha.peek(write), fencing === 'resource-only' ? 0 : undefined);
    pair.beta.attach();
    pair.beta.connect();
    t.is(pair.alpha.answer(write), 0);
    pair.settled();
    t.is(pair.firstDifference(), -1);
  });
}

test('expose: what is no generation is refused', (t) => {
  const { alpha } = new SimPair(1);
  const ask = (generations: unknown): boolean =>
    alpha.control({ verb: 'expose', minor: 0, generations: generations as string[], users: true })
      .ok;
  for (const bad of [
    null,
    'A1',
    ['a1'],
    [''],
    ['A1', 'B2', 'C3'],
    ['A1', 'B2', '3', '2'],
    ['A1', '2', '2'],
    ['A1', '6'],
    ['A1', '6', '0', '0'],
    ['A1', '6', '0', '0', '0', '0'],
    ['A1', '7', '6', '0', '0', '0', '0'],
    ['A1', '6', '0', 'g', '0'],
    ['123456789ABCDEF01'],
    ['0x1'],
  ]) {
    t.false(ask(bad), JSON.stringify(bad));
  }
  t.false(alpha.volume.resuming);
  t.true(ask(['A1', 'B2']));
  t.true(alpha.volume.resuming);
  for (const uuid of [0xa0n, 0xa1n, 0xb2n]) t.true(alpha.volume.hasExposed(uuid));
  t.false(alpha.volume.hasExposed(0xc3n));
  t.deepEqual(alpha.exposed, ['A1', 'B2']);
});

test('what an operator has suspended stays so: nothing is written before resume-io', (t) => {
  for (const disk of ['with its disk', 'without'] as const) {
    const pair = inSync(1);
    const { alpha } = pair;
    if (disk === 'without') t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(0, block(1)), 0);
    t.true(alpha.control({ verb: 'suspend-io', minor: 0 }).ok);
    t.deepEqual(alpha.restart(), [], disk);
    const write = alpha.beginWrite(0, block(2));
    pair.run(10_000);
    t.is(alpha.peek(write), undefined, disk);
    t.deepEqual(pair.beta.disk.content(0, 4096), block(1), disk);
    t.true(alpha.control({ verb: 'resume-io', minor: 0 }).ok);
    t.is(alpha.answer(write), 0, disk);
    if (disk === 'without') alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1, disk);
    // A successor of now knows nothing of it.
    t.deepEqual(alpha.restart(), [], disk);
    pair.settled();
    t.is(alpha.write(0, block(3)), 0, disk);
  }
});
