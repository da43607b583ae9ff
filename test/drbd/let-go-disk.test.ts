/** A disk is let go (detach) and taken back: it is not older than what users have seen, and none waits for the other for ever. */
import test from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import { detach, suspendIo } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import {
  block,
  createMeta,
  inSync,
  type SimPair,
  type SimPairOptions,
} from '../support/sim-pair.js';

function cut(pair: SimPair): void {
  pair.net.reset('replication');
  pair.net.cut('replication');
}

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

for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: the engine is restarted, and its successor can not have the disk`, (t) => {
    const pair = inSync(1, {
      net: { protocol },
      resource: { onNoDataAccessible: 'suspend-io' },
    });
    const { alpha, beta } = pair;
    pair.net.faults('replication', { delayMs: [20, 40] });
    const write = alpha.beginWrite(0, block(1));
    pair.until(() => alpha.peek(write) !== undefined, 'an answer');
    t.is(alpha.answer(write), 0);
    pair.net.cut('replication');
    alpha.disk.faults.readChance = 1;
    t.is(alpha.restart().filter((text) => text.startsWith('attach')).length, 1);
    alpha.disk.faults.readChance = 0;
    pair.net.faults('replication', {});
    pair.net.heal('replication');
    if (protocol !== 'A') {
      alpha.until(/cs:Connected ro:Primary\S+ ds:Diskless\/UpToDate/);
      t.is(beta.disk.content(0, 1)[0], 1);
      t.is(alpha.flush(), EIO);
    } else {
      pair.run(10_000);
      t.regex(alpha.shown, /cs:Unconnected ro:Primary\/Unknown ds:Diskless/);
    }
    alpha.attach();
    pair.settled();
    t.deepEqual(alpha.read(0, 4096), block(1));
    t.is(pair.firstDifference(), -1);
  });
}

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
  for (const node of [alpha, beta]) node.beginAttach(() => attached++);
  pair.until(() => attached === 2, 'both are attached');
  t.true(beta.log.some((line) => line.includes('pdsk( Diskless -> Attaching )')));
  pair.settled();
});

test('an older disk that was being attached when the nodes met does not pass for the data in use', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(1)), 0);
  cut(pair);
  alpha.until(/cs:WFConnection/);
  t.is(alpha.write(0, block(2)), 0);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  beta.disk.stuck = true;
  beta.beginAttach();
  pair.net.heal('replication');
  alpha.until(/cs:Connected .*ds:Diskless\/Attaching/);
  const at = alpha.io.alloc(4096);
  const read = alpha.begin((tag) => alpha.volume.read(alpha, tag, 0, at, 4096));
  beta.disk.stuck = false;
  alpha.until(/cs:StandAlone/);
  pair.run(5000);
  t.is(alpha.peek(read), undefined, 'older data are not shown');
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

test('what was answered on the disk of the peer alone, as the connection broke: the own disk does not pass for it', (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const pair = inSync(seed, { resource: { onNoDataAccessible: 'suspend-io' } });
    const { alpha } = pair;
    t.is(alpha.write(0, block(1)), 0);
    alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
    const write = alpha.beginWrite(0, block(2));
    pair.until(() => alpha.peek(write) !== undefined, 'an answer');
    t.false(alpha.volume.hasExposed(alpha.volume.uuids.current), 'its new generation was heard of');
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
});

test('and the peer, whose generation was not heard of, is gone on with; not when others have used its data meanwhile', (t) => {
  let early = 0;
  for (let seed = 1; seed <= 24; seed++) {
    const protocol = seed % 3 === 0 ? 'C' : 'B';
    const pair = inSync(seed, {
      resource: { onNoDataAccessible: 'suspend-io' },
      net: { protocol },
    });
    const { alpha, beta } = pair;
    const again = seed % 4 > 1; // the second time that it begins one for this Primary
    if (again) {
      t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
      t.is(alpha.write(0, block(1)), 0);
      cut(pair);
      alpha.until(/cs:WFConnection/);
      pair.net.heal('replication');
      beta.disk.slowMs = 2;
      alpha.until(/cs:Connected/);
    } else {
      beta.disk.slowMs = 2;
      alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
    }
    const write = alpha.beginWrite(0, block(2));
    const answered = (): boolean => alpha.peek(write) !== undefined;
    const acknowledged = (): boolean =>
      alpha.volume.app.logged > 0 && alpha.volume.app.remote === 0;
    pair.until(() => answered() || acknowledged(), 'the write');
    const heard = alpha.volume.hasExposed(beta.volume.uuids.current);
    t.true(again || heard || !answered(), 'not before its generation is heard of');
    cut(pair);
    alpha.until(/cs:WFConnection .*ds:Diskless/);
    beta.disk.slowMs = 0;
    beta.until(/cs:WFConnection/);
    if (!alpha.volume.hasExposed(beta.volume.uuids.current)) early++;
    if (seed % 2 === 0) {
      t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
      t.is(beta.write(0, block(3)), 0);
      t.is(beta.ask(setSecondary).kind, 'ok');
    }
    pair.net.heal('replication');
    if (seed % 2 === 0) {
      alpha.until(/cs:StandAlone/);
      continue;
    }
    alpha.until(/cs:(Connected|StandAlone)/);
    t.regex(
      alpha.shown,
      /cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/,
      `seed ${seed}`,
    );
    pair.until(answered, 'an answer');
    t.is(alpha.peek(write), 0);
    t.deepEqual(alpha.read(0, 4096), block(2), `seed ${seed}`);
    t.is(alpha.write(8, block(4)), 0);
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
  t.true(early > 12 && early < 24, `${early}`);
});

test('the same, and nothing was written: it is gone on with, if nobody else has written', (t) => {
  for (const others of ['none', 'promoted', 'wrote'] as const) {
    for (const [heard, killed] of [
      [true, false],
      [false, false],
      [true, true],
      [false, true],
    ]) {
      const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
      const { alpha, beta } = pair;
      const { current } = beta.volume.uuids;
      pair.net.cut('replication', 'beta'); // alpha does not hear which one it begins
      if (!heard) pair.net.cut('replication', 'alpha');
      alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
      pair.run(50);
      t.is(beta.volume.uuids.current === current, !heard);
      cut(pair);
      alpha.until(/cs:WFConnection .*ds:Diskless/);
      beta.until(/cs:WFConnection/);
      if (killed) t.deepEqual(alpha.restart(), []);
      if (others !== 'none') {
        t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
        if (others === 'wrote') t.is(beta.write(0, block(3)), 0);
        t.is(beta.ask(setSecondary).kind, 'ok');
      }
      const write = alpha.beginWrite(8, block(4));
      pair.net.heal('replication');
      alpha.until(/cs:(Connected|StandAlone)/);
      const goesOn = others === 'none' || (others === 'promoted' && !heard);
      t.regex(alpha.shown, goesOn ? /cs:Connected/ : /cs:StandAlone/, `${others} ${heard}`);
      if (!goesOn) continue;
      t.is(alpha.answer(write), 0);
      alpha.attach();
      pair.settled();
      t.is(pair.firstDifference(), -1);
    }
  }
});

test('the same, an unanswered write is at the peer, and drbdd is killed: its successor goes on with it', (t) => {
  let early = 0;
  for (let seed = 1; seed <= 12; seed++) {
    const net = { protocol: seed % 3 === 0 ? 'C' : 'B' } as const;
    const pair = inSync(seed, { resource: { onNoDataAccessible: 'suspend-io' }, net });
    const { alpha, beta } = pair;
    beta.disk.slowMs = 2;
    alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
    alpha.beginWrite(0, block(2));
    pair.until(() => alpha.volume.app.logged > 0 && alpha.volume.app.remote === 0, 'the write');
    cut(pair);
    alpha.until(/cs:WFConnection .*ds:Diskless/);
    beta.disk.slowMs = 0;
    beta.until(/cs:WFConnection/);
    if (!alpha.volume.hasExposed(beta.volume.uuids.current)) early++;
    t.deepEqual(alpha.restart(), []);
    pair.net.heal('replication');
    alpha.until(/cs:(Connected|StandAlone)/);
    t.regex(alpha.shown, /cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/, `${seed}`);
    t.deepEqual(alpha.read(0, 4096), block(2));
    t.is(alpha.write(8, block(4)), 0);
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
  t.true(early > 3, `${early}`);
});

for (const fencing of ['dont-care', 'resource-and-stonith'] as const) {
  test(`both let their disks go at almost the same time: each can be taken back, in any order (${fencing})`, (t) => {
    let begun = 0;
    for (const first of ['alpha', 'beta'] as const) {
      for (const back of ['alpha', 'beta'] as const) {
        for (let delay = 0; delay < 12; delay += 3) {
          const pair = inSync(delay, {
            disk: { fencing },
            resource: { onNoDataAccessible: 'suspend-io' },
          });
          const nodes = [pair.alpha, pair.beta];
          t.is(pair.alpha.write(0, block(1)), 0);
          pair.run(50);
          const current = pair[first === 'alpha' ? 'beta' : 'alpha'].volume.uuids.current;
          for (const node of nodes) node.disk.slowMs = 2;
          for (const node of first === 'alpha' ? nodes : [...nodes].reverse()) {
            node.loop.enter(() => detach(node.volume, true, () => {}));
            pair.run(delay / 4);
            if (node.name !== first) continue;
            if (pair[first === 'alpha' ? 'beta' : 'alpha'].volume.uuids.current !== current)
              begun++;
          }
          pair.run(100);
          for (const node of nodes) node.disk.slowMs = 0;
          const other = pair[back === 'alpha' ? 'beta' : 'alpha'];
          // The peer's generation was heard of: then its disk is the one.
          const heard = !pair[back].volume.hasExposed(pair[back].volume.uuids.current);
          if (heard) t.throws(() => pair[back].attach(), { message: /"code":150/ });
          else pair[back].attach();
          other.attach();
          pair.run(100);
          if (heard) pair[back].attach();
          pair.settled();
          t.is(pair.firstDifference(), -1);
        }
      }
    }
    t.true(begun > 0, 'a generation of the second one');
  });
}

// Swarm seed 2823514574.
test('written without a disk, and the service has ended: the engine of the peer may die, its bits are on disk', (t) => {
  for (const how of ['demoted', 'cut'] as const) {
    const pair = inSync(1);
    const { alpha, beta } = pair;
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(800, block(1)), 0);
    t.is(alpha.flush(), 0);
    if (how === 'demoted') t.is(alpha.ask(setSecondary).kind, 'ok');
    else pair.net.cut('replication');
    pair.until(() => !beta.volume.onlyCopy, 'the mark is gone');
    pair.run(100);
    beta.crash(false);
    pair.net.heal('replication');
    beta.attach();
    t.is(beta.volume.bitmap?.isSet(100), true, how);
    beta.connect();
    alpha.until(/cs:Connected .*ds:Diskless\/UpToDate/);
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1, how);
  }
});

// Swarm 4301221@4.
for (const protocol of ['A', 'B'] as const) {
  test(`detach under protocol ${protocol}: what was answered is on the peer's disk before this one is let go`, (t) => {
    const pair = inSync(1, { net: { protocol } });
    const { alpha, beta } = pair;
    beta.disk.slowMs = 200;
    t.is(alpha.write(8, block(7)), 0);
    t.notDeepEqual(beta.disk.content(8 * 512, 4096), block(7), 'answered before it is there');
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(7));
    t.is(alpha.write(16, block(8)), 0, 'users go on');
  });

  test(`detach under protocol ${protocol}, and the peer is lost before it has all: refused, and users go on`, (t) => {
    const pair = inSync(1, { net: { protocol } });
    const { alpha, beta } = pair;
    beta.disk.slowMs = 200;
    t.is(alpha.write(8, block(7)), 0);
    let outcome = '';
    alpha.loop.enter(() =>
      detach(alpha.volume, false, (result) => {
        outcome = result.kind;
      }),
    );
    beta.crash(true);
    pair.until(() => outcome !== '', 'the answer');
    t.is(outcome, 'state');
    t.is(alpha.write(16, block(8)), 0);
  });
}

for (const protocol of ['A', 'B'] as const) {
  test(`detach under protocol ${protocol} beside a peer whose disk hangs: refused after timeout, and --force does not wait`, (t) => {
    const pair = inSync(1, { net: { protocol, koCount: 0 } });
    const { alpha, beta } = pair;
    beta.disk.stuck = true;
    t.is(alpha.write(8, block(7)), 0);
    const outcome = alpha.ask((v, done) => detach(v, false, done));
    if (outcome.kind !== 'state') throw new Error(outcome.kind);
    t.is(outcome.code, Ss.IN_TRANSIENT_STATE);
    t.regex(
      outcome.info?.join(' ') ?? '',
      /within 6 s \(timeout\); try again, or lose it with detach --force/,
    );
    t.is(alpha.write(16, block(8)), 0, 'users go on');
    let second = '';
    alpha.loop.enter(() =>
      detach(alpha.volume, false, (result) => {
        second = result.kind;
      }),
    );
    pair.run(100);
    t.is(second, '');
    const held = alpha.beginWrite(24, block(9));
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.until(() => second !== '', 'the first detach');
    t.is(second, 'ok');
    beta.disk.stuck = false;
    t.is(alpha.answer(held), 0);
    t.deepEqual(alpha.read(8, 4096), block(7));
  });
}

// Swarm seed 1275134164: it was promoted.
test('a Secondary without a disk whose engine is restarted still knows that its own disk is old', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
  t.is(alpha.write(8, block(1)), 0);
  pair.net.cut('replication');
  for (let i = 0; i < 3; i++) t.deepEqual(beta.restart(), []);
  beta.attach();
  t.regex(beta.shown, /ds:Outdated/);
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'state');
  pair.net.heal('replication');
  pair.settled();
  t.deepEqual(beta.disk.content(8 * 512, 4096), block(1));
});

// Swarm seed 5140200@5: it waited for ever for the disk to be gone.
test('a detach while the disk is being attached is answered, and the disk is let go or kept', (t) => {
  const kinds = new Set<string>();
  for (let step = 0; step < 60; step++) {
    const pair = inSync(1);
    const { beta } = pair;
    t.is(beta.ask((v, done) => detach(v, false, done)).kind, 'ok');
    beta.beginAttach();
    pair.run(step / 8);
    const { kind } = beta.ask((v, done) => detach(v, false, done));
    kinds.add(kind);
    pair.run(1000);
    t.is(/ds:Diskless/.test(beta.shown), kind === 'ok', `step ${step}: ${kind}, ${beta.shown}`);
  }
  t.true(kinds.has('ok'));
});

// Swarm 4401920@4: answered on the strength of a peer that was gone; the disk came back as that of a crashed Primary, and was copied over it.
for (const onNoDataAccessible of ['io-error', 'suspend-io'] as const) {
  test(`the peer has a write and is lost, then the disk here, which has not: not answered before the peer is back (${onNoDataAccessible})`, (t) => {
    const pair = inSync(1, {
      disk: { fencing: 'resource-and-stonith' },
      resource: { onNoDataAccessible },
    });
    const { alpha, beta } = pair;
    alpha.exits = { 'fence-peer': 1 };
    t.is(alpha.write(8, block(1)), 0); // the activity log knows the place
    alpha.disk.stuck = true;
    const at = alpha.io.alloc(4096);
    alpha.io.pool.set(block(7), at);
    const write = alpha.begin((tag) => alpha.volume.write(alpha, tag, 8, at, 4096, true));
    pair.until(() => beta.disk.content(8 * 512, 1)[0] === 7, 'the peer has it');
    pair.run(200);
    pair.net.cut('replication');
    alpha.until(/cs:WFConnection/);
    t.is(alpha.peek(write), undefined);
    alpha.ask((v, done) => detach(v, true, done));
    pair.run(100);
    t.is(alpha.peek(write), undefined);
    pair.net.heal('replication');
    t.is(alpha.answer(write), 0);
    t.regex(alpha.shown, /ds:Diskless\/UpToDate/);
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(7));
  });
}

test('resume-io on a Primary that was frozen when it lost its peer, and has let its disk go since: it is that disk that its users need', (t) => {
  for (const frozen of ['suspend-io', 'fencing'] as const) {
    const fencing = frozen === 'fencing' ? 'resource-and-stonith' : 'dont-care';
    const pair = inSync(1, {
      resource: { onNoDataAccessible: 'suspend-io' },
      disk: { fencing },
    });
    const { alpha } = pair;
    alpha.exits = { 'fence-peer': 1 };
    t.is(alpha.write(0, block(1)), 0);
    if (frozen === 'suspend-io') t.is(alpha.ask((v, done) => suspendIo(v, true, done)).kind, 'ok');
    pair.net.reset('replication');
    pair.net.cut('replication');
    alpha.until(/cs:WFConnection/);
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    const write = alpha.beginWrite(8, block(2));
    t.is(alpha.ask((v, done) => suspendIo(v, false, done)).kind, 'ok');
    t.is(alpha.answer(write), EIO);
    alpha.attach();
    if (frozen === 'suspend-io') t.is(alpha.write(16, block(3)), 0);
    pair.net.heal('replication');
    pair.settled();
    if (frozen === 'fencing') t.is(alpha.write(16, block(3)), 0);
    pair.run(100);
    t.is(pair.firstDifference(), -1);
    t.deepEqual(pair.beta.disk.content(16 * 512, 4096), block(3));
  }
});
