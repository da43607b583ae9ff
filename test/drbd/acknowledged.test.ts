/**
 * What an answer promises: a flush that the data are durable somewhere that counts, a write that later reads see it. Two
 * engines in virtual time; each test is a failure that the simulator found.
 */
import test from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import {
  detach,
  invalidate,
  invalidateRemote,
  outdate,
  suspendIo,
} from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent } from '../support/packets-sent.js';
import { block, SimPair, type SimPairOptions } from '../support/sim-pair.js';

function inSync(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 2 << 20, ...options });
  pair.upToDate();
  return pair;
}

/** alpha stays Primary without a disk of its own. */
function disklessPrimary(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = inSync(seed, options);
  if (pair.alpha.ask((v, done) => detach(v, false, done)).kind !== 'ok') throw new Error('detach');
  pair.alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  return pair;
}

test('a flush: the only disk vouches for it; without any, nobody does', (t) => {
  const pair = disklessPrimary(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  t.is(pair.alpha.flush(), 0);
  t.is(pair.alpha.flush(), 0, 'nothing is outstanding: everything is durable there');
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
  t.is(pair.alpha.flush(), EIO);
});

// It was when all writes had paused for a tenth of a second: nothing else ended its epoch.
for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: a write that only the peer's disk takes is answered when it is there`, (t) => {
    const pair = disklessPrimary(1, { net: { protocol } });
    for (let i = 0; i < 5; i++) {
      const tag = pair.alpha.beginWrite(i * 8, block(i));
      pair.run(20);
      t.is(pair.alpha.peek(tag), 0);
    }
  });
}

test('what the only disk had acknowledged and lost with its power, the next flush says; once', (t) => {
  const pair = disklessPrimary(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  pair.beta.crash(true);
  pair.alpha.until(/cs:WFConnection/);
  pair.beta.attach();
  pair.beta.connect();
  pair.alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.is(pair.alpha.flush(), EIO);
  t.is(pair.alpha.write(0, block(2)), 0);
  t.is(pair.alpha.flush(), 0);
});

// Swarm seed 5002881: alpha's engine had died with unflushed writes, and beta's flush had nothing of its own to wait for.
test('what an engine before this one had written is durable when the disk is in use again', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  pair.net.cut('replication');
  t.is(alpha.write(0, block(1)), 0);
  alpha.crash(false);
  t.true(alpha.disk.volatileIn(0, 8).size > 0);
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  alpha.attach();
  t.is(alpha.disk.volatileIn(0, 8).size, 0);
  pair.net.heal('replication');
  alpha.connect();
  beta.until(/cs:Connected ro:Secondary\/Secondary ds:Diskless\/UpToDate/);
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.deepEqual(beta.read(0, 4096), block(1));
  t.is(beta.flush(), 0);
  alpha.crash(true);
  t.deepEqual(alpha.disk.content(0, 4096), block(1));
});

// Swarm seed 2300001193.
test('protocol B: what the only disk was about to take when it failed, the next flush says', (t) => {
  const net = { protocol: 'B' } as const;
  const pair = disklessPrimary(1, { net, resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  t.is(alpha.flush(), 0);
  beta.disk.faults.writeChance = 1;
  t.is(alpha.write(0, block(1)), 0, 'received');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/Diskless/);
  beta.disk.faults.writeChance = 0;
  beta.attach();
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.is(alpha.flush(), EIO);
  t.is(alpha.flush(), 0);
});

// Swarm seed 359263324: fencing failed, so no generation has begun, and nothing tells the peer's copy from that of the users.
for (const lost of ['with its power', 'or not, who knows']) {
  test(`frozen with a good disk that is let go then: what the peer had not flushed, it may have lost ${lost}`, (t) => {
    const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
    const { alpha, beta } = pair;
    alpha.exits['fence-peer'] = 1;
    t.is(alpha.write(0, block(1)), 0);
    if (lost === 'with its power') beta.crash(true);
    else pair.net.cut('replication');
    alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
    t.true(alpha.handlers.includes('fence-peer'));
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    if (lost === 'with its power') {
      beta.attach();
      beta.connect();
    } else pair.net.heal('replication');
    alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
    t.is(alpha.flush(), EIO);
    t.is(alpha.write(0, block(2)), 0);
    t.is(alpha.flush(), 0);
    alpha.attach();
    alpha.until(/cs:Connected ro:Primary\/Secondary ds:UpToDate\/UpToDate/);
    t.is(alpha.flush(), 0);
  });
}

test('frozen as long, and the disk is kept: both are the same again, and every flush is kept', (t) => {
  const pair = inSync(1, { disk: { fencing: 'resource-and-stonith' } });
  const { alpha, beta } = pair;
  alpha.exits['fence-peer'] = 1;
  t.is(alpha.write(0, block(1)), 0);
  beta.crash(true);
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  beta.attach();
  beta.connect();
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:UpToDate\/UpToDate/);
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.is(alpha.flush(), 0);
  t.is(pair.firstDifference(), -1);
});

test('with a good disk here, a peer that comes back without its last writes breaks no promise', (t) => {
  const pair = inSync(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  pair.beta.crash(true);
  pair.alpha.until(/cs:WFConnection/);
  t.is(pair.alpha.flush(), 0);
});

for (const protocol of ['A', 'B'] as const) {
  test(`protocol ${protocol}: a flush divides what a Secondary without power may hold`, (t) => {
    for (let seed = 1; seed <= 12; seed++) {
      const pair = inSync(seed, { net: { protocol } });
      t.is(pair.alpha.flush(), 0);
      for (let i = 0; i < 4; i++) t.is(pair.alpha.write(i * 8, block(1)), 0);
      t.is(pair.alpha.flush(), 0);
      for (let i = 4; i < 8; i++) t.is(pair.alpha.write(i * 8, block(2)), 0);
      const there = (sector: number): Uint8Array => pair.beta.disk.content(sector * 512, 4096);
      pair.until(() => [4, 5, 6, 7].some((i) => there(i * 8).includes(2)), 'a later write arrives');
      pair.beta.crash(true);
      if (![4, 5, 6, 7].some((i) => there(i * 8).includes(2))) continue; // all of the later ones are gone
      for (let i = 0; i < 4; i++) t.deepEqual(there(i * 8), block(1), `seed ${seed}`);
    }
  });
}

test('frozen for lack of data: it goes on when the peer has them again', (t) => {
  const pair = disklessPrimary(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  t.is(pair.alpha.write(0, block(1)), 0);
  t.is(pair.alpha.flush(), 0);
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
  const tag = pair.alpha.beginWrite(8, block(2));
  pair.run(5000);
  t.is(pair.alpha.peek(tag), undefined, 'neither done nor failed');
  pair.net.heal('replication');
  t.is(pair.alpha.answer(tag), 0);
  t.is(pair.alpha.volume.state.suspNod, 0);
  t.deepEqual(pair.alpha.read(8, 4096), block(2));
});

test('frozen for lack of data: it goes on when its own disk is there again', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  t.is(pair.alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  const tag = pair.alpha.beginWrite(8, block(2));
  pair.run(5000);
  t.is(pair.alpha.peek(tag), undefined, 'neither done nor failed');
  pair.alpha.attach();
  t.is(pair.alpha.answer(tag), 0);
  t.is(pair.alpha.volume.state.suspNod, 0);
  t.deepEqual(pair.alpha.read(8, 4096), block(2));
});

test('frozen while a write waits for the activity log: only this node would have it, and it is not answered', (t) => {
  const disk = { fencing: 'resource-and-stonith' } as const;
  for (const thawed of ['connection', 'fenced'] as const) {
    const pair = inSync(1, { disk, net: { pingIntS: 1 } });
    const { alpha, beta } = pair;
    pair.run(100);
    alpha.handlerMs = 5000;
    alpha.exits = { 'fence-peer': thawed === 'fenced' ? 4 : 1 };
    alpha.disk.stuck = true;
    const write = alpha.beginWrite(0, block(1)); // the first of its extent
    pair.run(100);
    pair.net.cut('replication');
    pair.net.reset('replication');
    alpha.until(/cs:WFConnection ro:Primary/);
    alpha.disk.stuck = false;
    pair.run(1000);
    t.is(alpha.peek(write), undefined);
    t.not(alpha.disk.content(0, 1)[0], 1);
    if (thawed === 'connection') pair.net.heal('replication');
    t.is(alpha.answer(write), 0);
    if (thawed === 'fenced') t.is(alpha.volume.bitmap?.count, 1);
    pair.net.heal('replication');
    pair.settled();
    t.is(beta.disk.content(0, 1)[0], 1);
    t.is(pair.firstDifference(), -1);
  }
});

for (const onNoDataAccessible of ['io-error', 'suspend-io'] as const) {
  test(`written to a disk that was let go, and the peer lost before it had it: ${onNoDataAccessible}`, (t) => {
    const pair = inSync(1, { resource: { onNoDataAccessible }, net: { pingIntS: 1 } });
    const { alpha, beta } = pair;
    pair.run(100);
    pair.net.cut('replication');
    const write = alpha.beginWrite(0, block(1));
    pair.run(10);
    alpha.disk.full = { fromBytes: 4096, toBytes: 8192 };
    const failed = alpha.beginWrite(8, block(2));
    alpha.until(/cs:Connected .*ds:Diskless\/UpToDate/);
    pair.net.reset('replication');
    alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
    if (onNoDataAccessible === 'io-error') {
      t.deepEqual([alpha.answer(write), alpha.answer(failed)], [EIO, EIO]);
      return;
    }
    pair.run(1000);
    t.deepEqual([alpha.peek(write), alpha.peek(failed)], [undefined, undefined]);
    pair.net.heal('replication');
    t.deepEqual([alpha.answer(write), alpha.answer(failed)], [0, 0]);
    t.is(beta.disk.content(0, 1)[0], 1, 'done again: its users read it from there');
    t.is(beta.disk.content(4096, 1)[0], 2);
  });
}

test('outdate is answered when the disk itself says that it is Outdated', (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const pair = inSync(seed);
    pair.alpha.disconnect();
    pair.beta.until(/cs:WFConnection/);
    t.is(pair.beta.ask(outdate).kind, 'ok');
    pair.beta.crash(true);
    pair.beta.attach();
    t.regex(pair.beta.shown, /ds:Outdated/);
  }
});

test('pass_on at the source of a resync: a write that reads would not see is not answered as done', (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const pair = inSync(seed, { disk: { onIoError: 'pass_on' } });
    t.is(pair.alpha.write(64, block(1)), 0);
    pair.beta.volume.diskOptions = { ...pair.beta.volume.diskOptions, resyncRateKiBps: 250 };
    t.is(pair.alpha.ask(invalidateRemote).kind, 'ok');
    pair.alpha.until(/cs:SyncSource .*ds:UpToDate\/Inconsistent/);
    pair.alpha.disk.full = { fromBytes: 64 * 512, toBytes: 72 * 512 };
    pair.alpha.disk.slowMs = seed % 2 === 0 ? 20 : 0; // the target has acknowledged it before, or not
    const error = pair.alpha.write(64, block(2));
    pair.alpha.disk.slowMs = 0;
    pair.alpha.disk.full = null;
    t.regex(pair.alpha.shown, /ds:UpToDate\/Inconsistent/, 'the failure is hidden');
    const seen = pair.alpha.read(64, 4096);
    t.deepEqual(seen, block(1));
    t.is(error, EIO, `seed ${seed}`);
    pair.beta.volume.diskOptions = { ...pair.beta.volume.diskOptions, resyncRateKiBps: 1 << 20 };
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
    t.deepEqual(pair.beta.disk.content(64 * 512, 4096), seen);
  }
});

test('pass_on at the source of a resync: whenever it is, both copies are equal in the end', (t) => {
  let after = 0;
  for (let seed = 1; seed <= 24; seed++) {
    const pair = inSync(seed, { disk: { onIoError: 'pass_on' } });
    t.is(pair.alpha.ask(invalidateRemote).kind, 'ok');
    pair.run(seed * 0.4); // from the exchange of bitmaps to the end
    pair.alpha.disk.full = { fromBytes: 64 * 512, toBytes: 72 * 512 };
    const error = pair.alpha.write(64, block(2));
    pair.alpha.disk.full = null;
    pair.run(15_000);
    if (/ds:Inconsistent\/UpToDate/.test(pair.alpha.shown)) {
      after++; // the resync was over: the peer's copy is the one in use
      t.is(error, 0);
      t.deepEqual(pair.alpha.read(64, 4096), block(2));
      continue;
    }
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
  }
  t.true(after > 0 && after < 20, `${after}`);
});

test('pass_on at the source of a resync: writes that fail while their blocks are on the way to the target', (t) => {
  let refused = 0;
  for (const protocol of ['A', 'B', 'C'] as const) {
    for (let seed = 1; seed <= 24; seed++) {
      const pair = inSync(seed, { net: { protocol }, disk: { onIoError: 'pass_on' } });
      const { alpha, beta } = pair;
      beta.volume.diskOptions = { ...beta.volume.diskOptions, resyncRateKiBps: 16_000 };
      t.is(alpha.ask(invalidateRemote).kind, 'ok');
      alpha.until(/cs:SyncSource/);
      beta.disk.slowMs = seed % 3; // acknowledgements of blocks come after those of the disk here
      alpha.disk.full = { fromBytes: 256 << 10, toBytes: 1 << 20 };
      const tags: number[] = [];
      for (let i = 0; i < 60 && /cs:SyncSource/.test(alpha.shown); i++) {
        tags.push(alpha.beginWrite(512 + i * 24 + (i % 8), block(2)));
        pair.run(0.5 + (seed % 5) * 0.4);
      }
      alpha.disk.full = null;
      refused += tags.filter((tag) => alpha.answer(tag) === EIO).length;
      pair.run(20_000);
      if (/ds:Inconsistent/.test(alpha.shown)) {
        // It was over: the peer's copy is in use, and an operator has this disk brought up to date.
        t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
        alpha.attach();
      }
      pair.settled();
      t.is(pair.firstDifference(), -1, `${protocol} ${seed}`);
    }
  }
  t.true(refused > 200, `${refused}`);
});

test('pass_on at the source of a resync: what the source cannot read does not keep it from ending', (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const pair = inSync(seed, { disk: { onIoError: 'pass_on' } });
    const { alpha, beta } = pair;
    beta.volume.diskOptions = { ...beta.volume.diskOptions, resyncRateKiBps: 1000 };
    t.is(alpha.ask(invalidateRemote).kind, 'ok');
    alpha.until(/cs:SyncSource/);
    pair.run(800); // the first blocks are there
    alpha.disk.badSectors.add(3);
    t.throws(() => alpha.read(0, 4096));
    t.regex(alpha.shown, /cs:SyncSource .*ds:UpToDate/);
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('pass_on at the source of a resync that cannot flush, and the target is Primary: every flush fails until it can', (t) => {
  const pair = inSync(1, { disk: { onIoError: 'pass_on', resyncRateKiBps: 250, cPlanAheadDs: 0 } });
  const { alpha, beta } = pair;
  t.is(alpha.ask((v, done) => invalidate(v, done)).kind, 'ok');
  alpha.until(/cs:SyncTarget ro:Primary/);
  t.is(alpha.write(0, block(1)), 0);
  beta.disk.faults.flushChance = 1;
  t.is(alpha.flush(), EIO);
  t.is(alpha.flush(), EIO, 'nothing was written in between, and nothing was flushed');
  beta.disk.faults.flushChance = 0;
  t.is(alpha.write(0, block(2)), 0);
  t.is(alpha.flush(), 0);
  t.is(alpha.flush(), 0);
  t.regex(alpha.shown, /cs:SyncTarget/);
});

test('pass_on at the source of a resync whose target is Primary: what that has answered counts', (t) => {
  const ends = new Set<string>();
  for (let seed = 1; seed <= 40; seed++) {
    const pair = inSync(seed, { disk: { onIoError: 'pass_on' } });
    const { alpha, beta } = pair;
    t.is(alpha.ask((v, done) => setSecondary(v, done)).kind, 'ok');
    t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
    t.is(beta.ask(invalidate).kind, 'ok');
    pair.run(seed * 0.3);
    alpha.disk.full = { fromBytes: 64 * 512, toBytes: 72 * 512 };
    const error = beta.write(64, block(2));
    alpha.disk.full = null;
    pair.run(15_000);
    ends.add(`${error} ${alpha.shown}`);
    t.regex(alpha.shown, /cs:Connected/);
    t.regex(beta.shown, /cs:Connected ro:Primary\/Secondary ds:UpToDate/);
    if (error === 0) t.deepEqual(beta.read(64, 4096), block(2));
    if (/ds:UpToDate\/UpToDate/.test(alpha.shown)) t.is(pair.firstDifference(), -1, `${seed}`);
  }
  t.true(ends.size > 1, [...ends].join());
});

// Disk profile, seed 164: the peer's flush had failed, its barrier was acknowledged all the same.
test("a flush that the only disk, the peer's, could not do is not answered as done", (t) => {
  for (const onIoError of ['detach', 'pass_on'] as const) {
    const pair = disklessPrimary(1, { disk: { onIoError } });
    t.is(pair.alpha.write(0, block(1)), 0);
    pair.beta.disk.faults.flushChance = 1;
    t.is(pair.alpha.flush(), EIO, onIoError);
  }
});

test("what the cache of a peer's disk had taken when it failed is copied when the disk is back", (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const pair = inSync(seed);
    const { alpha, beta } = pair;
    t.is(alpha.flush(), 0);
    for (let at = 0; at < 1024; at += 64) t.is(alpha.write(at, block(seed)), 0);
    if (seed % 2 === 0) {
      beta.disk.faults.flushChance = 1;
      t.is(alpha.flush(), 0, 'its own disk has it');
      beta.disk.faults.flushChance = 0;
    } else t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
    beta.until(/ds:Diskless/);
    pair.run(50);
    beta.crash(true); // takes some of what was in the cache
    beta.attach();
    beta.connect();
    pair.settled();
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
  }
});

// Swarm seed 150861: the peer's copy, half of a resync's target, was the only one that had the write, and was overwritten.
// swarm 701977: the disk that was let go comes back with the write, and is the same generation as the peer's without it.
test('frozen on a disk that was let go and is attached again: answered when the peer has it too', (t) => {
  const pair = inSync(1, {
    disk: { fencing: 'resource-and-stonith' },
    resource: { onNoDataAccessible: 'suspend-io' },
  });
  pair.net.cut('replication');
  const tag = pair.alpha.beginWrite(8, block(7));
  pair.until(() => pair.alpha.disk.content(8 * 512, 1)[0] === 7, 'the write is on its disk');
  pair.alpha.ask((v, done) => detach(v, true, done));
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
  pair.alpha.attach();
  pair.net.heal('replication');
  t.is(pair.alpha.answer(tag), 0);
  pair.settled();
  t.deepEqual(pair.beta.disk.content(8 * 512, 4096), block(7));
  t.is(pair.alpha.volume.bitmap?.count, 0);
});

// Swarm 4202739@4: the peer never got the write, and the two came back as the same generation.
for (const onNoDataAccessible of ['io-error', 'suspend-io'] as const) {
  test(`a write under way, then neither node has a disk, then both attach at once: equal copies, or none connected (${onNoDataAccessible})`, (t) => {
    let atOnce = 0;
    for (let step = -10; step <= 10; step++) {
      const pair = inSync(1, { resource: { onNoDataAccessible } });
      const { alpha, beta } = pair;
      pair.net.cut('replication');
      const write = alpha.beginWrite(8, block(7));
      pair.until(() => alpha.disk.content(8 * 512, 1)[0] === 7, 'the write is on its disk');
      alpha.disk.stuck = true; // it writes no new generation
      alpha.until(/cs:WFConnection/);
      for (const n of [alpha, beta]) n.ask((v, done) => detach(v, true, done));
      alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
      alpha.disk.stuck = false;
      pair.net.heal('replication');
      alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/Diskless/);
      const [first, then] = step < 0 ? [beta, alpha] : [alpha, beta];
      first.beginAttach();
      pair.run(Math.abs(step) / 10);
      then.beginAttach();
      t.is(alpha.answer(write), onNoDataAccessible === 'io-error' ? EIO : 0);
      pair.run(3000);
      atOnce += alpha.log.filter((line) => line.includes('have come back at once')).length;
      if (/ds:Diskless/.test(alpha.shown)) alpha.attach(); // refused: its users see the peer's data by now
      pair.run(3000);
      // Within a part of a millisecond the peer begins a generation for users that it takes for its own: refused, and nothing is lost.
      if (/cs:StandAlone/.test(alpha.shown)) continue;
      pair.settled();
      t.is(pair.firstDifference(), -1, `${step}`);
    }
    if (onNoDataAccessible === 'suspend-io') t.true(atOnce > 0);
  });
}

for (const onNoDataAccessible of ['io-error', 'suspend-io'] as const) {
  test(`a write that only the target of a resync has is not answered (${onNoDataAccessible})`, (t) => {
    const pair = inSync(1, { resource: { onNoDataAccessible } });
    const { alpha, beta } = pair;
    for (const n of [alpha, beta]) {
      n.volume.diskOptions = { ...n.volume.diskOptions, resyncRateKiBps: 250 };
    }
    t.is(alpha.write(8, block(1)), 0);
    t.is(alpha.ask(invalidateRemote).kind, 'ok');
    beta.until(/cs:SyncTarget/);
    pair.run(50); // it takes writes when its disk says that it is one
    alpha.disk.full = { fromBytes: 0, toBytes: 64 * 512 };
    const write = alpha.beginWrite(8, block(2));
    alpha.until(/ds:Diskless\/Inconsistent/);
    pair.run(500);
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(2));
    t.is(alpha.peek(write), onNoDataAccessible === 'io-error' ? EIO : undefined);
    alpha.disk.full = null;
    alpha.attach();
    if (onNoDataAccessible === 'suspend-io') t.is(alpha.answer(write), 0);
    pair.settled();
    t.is(pair.firstDifference(), -1);
    t.deepEqual(alpha.read(8, 4096), block(onNoDataAccessible === 'io-error' ? 1 : 2));
  });
}

// Swarm seed 4205356030.
test('frozen by hand while the peer cannot write and lets its disk go: it comes back, and gets what it lacks', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(9)), 0, 'the next one of this extent is sent at once');
  beta.disk.full = { fromBytes: 0, toBytes: 4096 };
  const write = alpha.beginWrite(0, block(1));
  t.is(alpha.ask((v, done) => suspendIo(v, true, done)).kind, 'ok');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:UpToDate\/Diskless/);
  t.is(alpha.peek(write), undefined);
  beta.disk.full = null;
  beta.attach();
  beta.until(/cs:SyncTarget ro:Secondary\/Primary ds:Inconsistent/);
  t.is(alpha.peek(write), undefined, 'still frozen, and its block waits for it');
  t.is(alpha.ask((v, done) => suspendIo(v, false, done)).kind, 'ok');
  t.is(alpha.answer(write), 0);
  pair.settled();
  t.deepEqual(beta.disk.content(0, 4096), block(1));
  t.is(pair.firstDifference(), -1);
});

// Swarm seed 9110@3: the peer had flushed, was left behind, and then the own disk failed.
test('a peer that the copies have parted from vouches for nothing any more', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(0, block(1)), 0);
  t.is(alpha.flush(), 0);
  alpha.disk.stuck = true;
  const write = alpha.beginWrite(0, block(2));
  const flush = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
  pair.run(200); // the peer has done both
  pair.net.cut('replication');
  pair.net.reset('replication');
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.is(alpha.answer(write), EIO);
  t.is(alpha.answer(flush), EIO);
});

// A kernel writes those of one epoch in any order, also two to the same block: seen as a block that differed, under protocol A.
for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: what is written behind an answered write to the same block`, (t) => {
    const pair = inSync(1, { net: { protocol } });
    const { alpha } = pair;
    t.is(alpha.write(0, block(1)), 0);
    pair.run(1000); // the epoch is over
    const sent = packetsSent(pair, 101);
    t.is(alpha.write(0, block(2)), 0);
    t.is(alpha.write(0, block(3)), 0);
    pair.run(5);
    const commands = sent.map(({ command }) => command);
    const of = commands.filter((c) => c === COMMANDS.P_DATA || c === COMMANDS.P_BARRIER);
    const { P_DATA, P_BARRIER } = COMMANDS;
    t.deepEqual(of.slice(0, 3), protocol === 'C' ? [P_DATA, P_DATA] : [P_DATA, P_BARRIER, P_DATA]);
  });
}

// Swarm seed 1000236: protocol B, the only disk failed to write what had been received and answered, with FUA.
for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: a FUA write that only the peer has is answered when it is durable there`, (t) => {
    const pair = disklessPrimary(1, { net: { protocol } });
    const { alpha, beta } = pair;
    const fua = (): number => {
      const at = alpha.io.alloc(4096);
      alpha.io.pool.set(block(1), at);
      return alpha.begin((tag) => alpha.volume.write(alpha, tag, 0, at, 4096, true));
    };
    const good = fua();
    t.is(alpha.answer(good), 0);
    beta.crash(true);
    t.deepEqual(beta.disk.content(0, 4096), block(1));
    alpha.until(/cs:WFConnection/);
    beta.attach();
    beta.connect();
    alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
    beta.disk.full = { fromBytes: 0, toBytes: 4096 };
    t.is(alpha.answer(fua()), EIO);
  });
}

test('demoted while it is alone, and the power goes in the middle: what the peer lacks is known', (t) => {
  for (let step = 0; step < 40; step++) {
    const pair = inSync(step, {});
    const { alpha } = pair;
    pair.net.cut('replication');
    alpha.until(/cs:WFConnection/);
    for (let i = 0; i < 8; i++) t.is(alpha.write(8 * (1 + 13 * i), block(7 + i)), 0);
    alpha.loop.enter(() => setSecondary(alpha.volume, () => {}));
    pair.run(step / 8);
    alpha.crash(true);
    pair.net.heal('replication');
    alpha.attach();
    alpha.connect();
    pair.settled();
    t.is(pair.firstDifference(), -1, `${step}`);
  }
});
