/** Online verify between two engines: what differs is marked on both nodes, and nothing else; docs/STATES.md, online verify. */
import test from 'ava';
import { detach, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block } from '../support/sim-pair.js';
import { begin, bits, differing, verifiable, verifyAll } from '../support/verify-pair.js';

const said = (log: readonly string[], text: string): boolean =>
  log.some((line) => line.includes(text));

test('equal copies: compared to the end, nothing is marked, nobody is called', (t) => {
  const pair = verifiable(1);
  const { alpha, beta } = pair;
  t.is(alpha.write(80, block(7)), 0);
  const reads = alpha.volume.readSectors;
  verifyAll(pair, alpha);
  for (const n of [alpha, beta]) {
    t.true(said(n.log, 'Online verify done (total '));
    t.false(said(n.log, 'Out of sync:'));
    t.deepEqual(bits(n), []);
    t.deepEqual(
      n.handlers.filter((h) => h === 'out-of-sync'),
      [],
    );
    t.is(n.volume.verify.pending + n.volume.verify.unacked, 0);
    t.is(n.volume.intervals.count, 0);
  }
  t.true(said(alpha.log, 'Starting Online Verify from sector 0'));
  t.true(said(beta.log, 'Online Verify start sector: 0'));
  t.is(alpha.volume.readSectors - reads, alpha.volume.sizeSectors);
  t.is(pair.firstDifference(), -1);
});

for (const seat of ['alpha', 'beta'] as const) {
  test(`what differs is marked on both nodes, and the Primary's copy repairs it: asked for on ${seat}`, (t) => {
    const pair = verifiable(2, { sizeBytes: (2 << 20) + 1536 });
    const { alpha, beta } = pair;
    const last = alpha.volume.sizeSectors - 1;
    for (const sector of [240, 241, 248, 999, last]) beta.disk.corrupt(sector);
    const right = beta.disk.content(0, 4096);
    verifyAll(pair, pair[seat]);
    const expected = [30, 31, 124, Math.floor(last / 8)];
    t.deepEqual(differing(pair), expected);
    for (const n of [alpha, beta]) {
      t.deepEqual(bits(n), expected, n.name);
      // Neighbours make one line if they are compared one after the other, as in the original.
      t.true(/Out of sync: start=240, size=(8|16) \(sectors\)/.test(n.log.join('\n')));
      t.true(said(n.log, 'Out of sync: start=992, size=8 (sectors)'));
      t.true(said(n.log, 'Online verify found 4 4k block out of sync!'));
      t.deepEqual(
        n.handlers.filter((h) => h === 'out-of-sync'),
        ['out-of-sync'],
      );
    }
    t.deepEqual(beta.disk.content(0, 4096), right, 'verify repairs nothing by itself');
    pair[seat].disconnect();
    pair[seat].connect();
    pair.settled();
    t.is(pair.firstDifference(), -1);
    for (const n of [alpha, beta]) t.deepEqual(bits(n), []);
    verifyAll(pair, pair[seat]);
    for (const n of [alpha, beta]) t.deepEqual(bits(n), []);
  });
}

for (const protocol of ['A', 'B', 'C'] as const) {
  for (const seat of ['alpha', 'beta'] as const) {
    test(`writes in flight are no differences: protocol ${protocol}, asked for on ${seat}`, (t) => {
      for (let seed = 1; seed <= 4; seed++) {
        const pair = verifiable(seed, {
          net: { protocol, maxEpochSize: 20 },
          disk: { resyncRateKiBps: 1000 },
          sizeBytes: 1 << 20,
        });
        const { alpha, beta } = pair;
        const size = Math.floor(alpha.volume.sizeSectors / 8);
        for (const sector of [801, 1203]) beta.disk.corrupt(sector);
        t.is(begin(pair[seat]).kind, 'ok');
        // 40 writes at a time, all over the device but for what was corrupted, and twice at the same place.
        let n = seed;
        const underWay: number[] = [];
        let written = 0;
        while (/Verify/.test(alpha.shown + beta.shown)) {
          n = (n * 1103515245 + 12345) % 2147483648;
          let at = n % size;
          if (at === 100 || at === 150) at++;
          underWay.push(alpha.beginWrite(at * 8, block(n & 255)));
          underWay.push(alpha.beginWrite(at * 8, block((n >> 8) & 255)));
          written += 2;
          while (underWay.length > 40) t.is(alpha.answer(underWay.shift() as number), 0);
          pair.run(1);
        }
        for (const tag of underWay) t.is(alpha.answer(tag), 0);
        pair.run(1000);
        pair.settled();
        t.true(written > 100, `${written} writes`);
        t.deepEqual(differing(pair), [100, 150], `seed ${seed}`);
        for (const node of [alpha, beta]) t.deepEqual(bits(node), [100, 150], node.name);
      }
    });
  }
}

test('a role that changes hands in the middle changes nothing', (t) => {
  const pair = verifiable(5, { disk: { resyncRateKiBps: 1000 } });
  const { alpha, beta } = pair;
  beta.disk.corrupt(4000);
  t.is(begin(alpha).kind, 'ok');
  pair.run(200);
  t.is(alpha.ask(setSecondary).kind, 'ok');
  t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  t.regex(alpha.shown, /cs:VerifyS ro:Secondary\/Primary/);
  t.regex(beta.shown, /cs:VerifyT ro:Primary\/Secondary/);
  for (let i = 0; i < 60; i++) t.is(beta.write(8 * (i * 7 + 1), block(i)), 0);
  pair.settled();
  for (const n of [alpha, beta]) t.deepEqual(bits(n), [500]);
  t.deepEqual(differing(pair), [500]);
});

test('an end and a beginning: the next one goes on where one has ended', (t) => {
  const pair = verifiable(6);
  const { alpha, beta } = pair;
  for (const sector of [0, 800, 1600, 2400]) beta.disk.corrupt(sector);
  verifyAll(pair, alpha, null, 800);
  for (const n of [alpha, beta]) t.deepEqual(bits(n), [0], n.name);
  verifyAll(pair, alpha, 1601, 2400);
  t.true(said(alpha.log, 'Starting Online Verify from sector 1600'));
  t.true(said(beta.log, 'Online Verify start sector: 1600'));
  for (const n of [alpha, beta]) t.deepEqual(bits(n), [0, 200], n.name);
  verifyAll(pair, alpha);
  t.true(said(alpha.log, 'Starting Online Verify from sector 2400'));
  for (const n of [alpha, beta]) t.deepEqual(bits(n), [0, 200, 300], n.name);
  verifyAll(pair, alpha);
  for (const n of [alpha, beta]) t.deepEqual(bits(n), [0, 100, 200, 300], n.name);
  verifyAll(pair, alpha, 1 << 30, null);
  t.true(
    said(
      alpha.log,
      `Starting Online Verify from sector ${(Math.ceil(alpha.volume.sizeSectors / 8) - 1) * 8}`,
    ),
  );
});

test('one that runs is ended by --stop, and goes on with the next', (t) => {
  const pair = verifiable(7, { disk: { resyncRateKiBps: 1000 } });
  const { alpha, beta } = pair;
  beta.disk.corrupt(4000);
  t.is(begin(alpha).kind, 'ok');
  pair.run(350);
  t.is(begin(alpha, 0, null).code, -8);
  t.is(begin(alpha, null, 0).kind, 'ok');
  pair.settled();
  pair.run(100);
  for (const n of [alpha, beta]) t.deepEqual(bits(n), []);
  t.true(said(beta.log, 'Online verify done'));
  verifyAll(pair, alpha);
  t.regex(alpha.log.join('\n'), /Starting Online Verify from sector [1-9][0-9]{2,}$/m);
  for (const n of [alpha, beta]) t.deepEqual(bits(n), [500]);
});

test('a connection lost in the middle: what was found is copied, and the next one goes on from there', (t) => {
  const pair = verifiable(8, { disk: { resyncRateKiBps: 1000 } });
  const { alpha, beta } = pair;
  for (const sector of [8, 4000]) beta.disk.corrupt(sector);
  t.is(begin(alpha).kind, 'ok');
  const waiting: number[] = [];
  for (let i = 0; i < 30; i++) {
    waiting.push(alpha.beginWrite(8 * (40 + i), block(i)));
    pair.run(10);
  }
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  beta.until(/cs:WFConnection/);
  for (const n of [alpha, beta]) {
    t.true(bits(n).includes(1), n.name);
    t.regex(n.log.join('\n'), /Online Verify reached sector [1-9]/);
    t.is(n.volume.verify.pending + n.volume.verify.unacked, 0);
  }
  for (const tag of waiting) t.is(alpha.answer(tag), 0);
  pair.run(1000);
  for (const n of [alpha, beta]) t.is(n.volume.intervals.count, 0);
  pair.net.heal('replication');
  pair.settled();
  t.deepEqual(differing(pair), [500]);
  verifyAll(pair, alpha);
  t.regex(alpha.log.join('\n'), /Starting Online Verify from sector [1-9]/);
  for (const n of [alpha, beta]) t.deepEqual(bits(n), [500]);
});

for (const victim of ['alpha', 'beta'] as const) {
  for (const power of [true, false]) {
    test(`${victim} dies in the middle (${power ? 'power' : 'engine'}): what was found until then is copied`, (t) => {
      const pair = verifiable(9, { disk: { resyncRateKiBps: 1000 }, sizeBytes: 10 << 20 });
      const { alpha, beta } = pair;
      for (const sector of [8, 18_000]) beta.disk.corrupt(sector);
      t.is(begin(alpha).kind, 'ok');
      pair.run(400);
      // Not where the activity log of the second extent would have it copied anyway.
      for (let i = 0; i < 5; i++) t.is(alpha.write(10_000 + 8 * i, block(i)), 0);
      pair.run(1500); // the bitmap is on disk by now
      t.regex(alpha.shown, /VerifyS/);
      const node = pair[victim];
      node.crash(power);
      const other = victim === 'alpha' ? beta : alpha;
      other.until(/cs:WFConnection/);
      if (victim === 'alpha') t.is(beta.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
      node.attach();
      node.connect();
      pair.settled();
      pair.run(100);
      t.deepEqual(differing(pair), [2250]);
      for (const n of [alpha, beta]) t.deepEqual(bits(n), []);
    });
  }
}

test('a block that cannot be read is no equal one, and the disk is let go', (t) => {
  for (const name of ['alpha', 'beta'] as const) {
    const pair = verifiable(10, { disk: { resyncRateKiBps: 1000 } });
    const { alpha, beta } = pair;
    pair[name].disk.badSectors.add(1003);
    t.is(begin(alpha).kind, 'ok');
    const other = name === 'alpha' ? beta : alpha;
    pair[name].until(/cs:Connected .*ds:Diskless\/UpToDate/);
    other.until(/cs:Connected .*ds:UpToDate\/Diskless/);
    t.true(said(other.log, 'Online-verify aborted.'));
    t.is(alpha.write(8, block(1)), 0);
    pair[name].disk.badSectors.clear();
    pair[name].disk.corrupt(1003); // whatever is there now: it is marked, and copied
    pair[name].attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('on-io-error pass_on: a disk that fails is called Inconsistent, and the verify ends on both', (t) => {
  for (const name of ['alpha', 'beta'] as const) {
    const pair = verifiable(11, { disk: { resyncRateKiBps: 1000, onIoError: 'pass_on' } });
    const { alpha, beta } = pair;
    t.is(begin(alpha).kind, 'ok');
    pair.run(250);
    pair[name].disk.full = { fromBytes: 4096, toBytes: 8192 };
    alpha.beginWrite(8, block(1));
    const other = name === 'alpha' ? beta : alpha;
    pair[name].until(/cs:Connected .*ds:Inconsistent\/UpToDate/);
    other.until(/cs:Connected .*ds:UpToDate\/Inconsistent/);
    pair[name].disk.full = null;
    pair.run(2000);
    for (const n of [alpha, beta]) {
      t.is(n.volume.verify.pending + n.volume.verify.unacked, 0);
      t.is(n.volume.intervals.count, 0);
    }
    t.regex(alpha.shown, /cs:Connected/);
    // While it is bad there is nothing to compare.
    t.is(begin(alpha).code, -2);
  }
});

test('a disk that is detached in the middle ends it', (t) => {
  for (const name of ['alpha', 'beta'] as const) {
    const pair = verifiable(12, { disk: { resyncRateKiBps: 1000 } });
    const { alpha } = pair;
    t.is(begin(alpha).kind, 'ok');
    pair.run(250);
    t.is(pair[name].ask((v, done) => detach(v, false, done)).kind, 'ok');
    t.is(alpha.write(8, block(1)), 0);
    pair[name].attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
    verifyAll(pair, alpha);
    for (const n of [pair.alpha, pair.beta]) {
      t.deepEqual(bits(n), []);
      t.is(n.volume.intervals.count, 0);
    }
  }
});

test('a peer whose disk does not answer is given up after ko-count, and users go on', (t) => {
  for (const seat of ['alpha', 'beta'] as const) {
    const pair = verifiable(13, {
      disk: { resyncRateKiBps: 1000 },
      net: { koCount: 2, timeoutDs: 20 },
    });
    const { alpha, beta } = pair;
    t.is(begin(pair[seat]).kind, 'ok');
    pair.run(150);
    beta.disk.stuck = true;
    pair.run(150);
    const tag = alpha.beginWrite(8 * 60, block(1)); // a block that is under way
    pair.run(100);
    alpha.until(/cs:(WFConnection|Timeout|Unconnected)/);
    t.is(alpha.answer(tag), 0);
    beta.disk.stuck = false;
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

test('refusals name the rule', (t) => {
  const pair = verifiable(14, { disk: { resyncRateKiBps: 250 } });
  const { alpha, beta } = pair;
  t.is(begin(alpha).kind, 'ok');
  t.like(begin(beta), { kind: 'state', code: -8 }); // on VerifyT
  t.is(begin(alpha, null, 0).kind, 'ok');
  pair.settled();
  alpha.resource.netOptions = { ...alpha.resource.netOptions, verifyAlg: '' };
  t.like(begin(alpha), { kind: 'state', code: -14 });
  t.like(begin(beta), { kind: 'state', code: -10 }); // refused by the peer
  alpha.resource.netOptions = { ...alpha.resource.netOptions, verifyAlg: 'no-such-digest' };
  t.like(begin(alpha), { kind: 'failure', code: 146 });
  alpha.resource.netOptions = { ...alpha.resource.netOptions, verifyAlg: 'crc32c' };
  t.is(alpha.ask(invalidateRemote).kind, 'ok');
  t.like(begin(alpha), { kind: 'state', code: -8 });
  pair.settled();
  alpha.disconnect();
  t.like(begin(alpha), { kind: 'state', code: -15 });
  t.like(begin(beta), { kind: 'state', code: -15 });
});

test('the protocol gets stronger in the middle: what was answered under A and is on its way is no difference', (t) => {
  const pair = verifiable(15, { net: { protocol: 'A' }, disk: { resyncRateKiBps: 1000 } });
  const { alpha, beta } = pair;
  t.is(begin(alpha).kind, 'ok');
  beta.disk.slowMs = 150; // longer than a turn: the writes are asked about while they are on their way
  for (let turn = 0; turn < 6; turn++) {
    const tags = Array.from({ length: 40 }, (_, i) =>
      alpha.beginWrite(8 * (turn * 25 + i), block(turn * 40 + i)),
    );
    for (const tag of tags) t.is(alpha.answer(tag), 0);
    const protocol = turn % 2 === 0 ? 'C' : 'A';
    const options = { ...alpha.resource.netOptions, protocol } as const;
    t.true(alpha.control({ verb: 'net-options', resource: 'r0', options }).ok);
    pair.run(60);
  }
  beta.disk.slowMs = 0;
  pair.settled();
  pair.run(500);
  t.is(pair.firstDifference(), -1);
  for (const n of [alpha, beta]) t.deepEqual(bits(n), []);
});

test('disk-timeout: a disk that hangs in a verify, with nothing else to do, is let go', (t) => {
  for (const name of ['alpha', 'beta'] as const) {
    const pair = verifiable(16, { disk: { resyncRateKiBps: 1000, diskTimeoutDs: 20 } });
    const { alpha } = pair;
    t.is(begin(alpha).kind, 'ok');
    pair.run(150);
    pair[name].disk.stuck = true;
    pair[name].until(/cs:Connected .*ds:Diskless\/UpToDate/);
    t.is(alpha.write(8, block(1)), 0);
    pair[name].disk.stuck = false;
    pair.run(100);
    for (const n of [pair.alpha, pair.beta]) {
      t.is(n.volume.verify.pending + n.volume.verify.unacked, 0);
      t.is(n.volume.intervals.count, 0);
    }
    pair[name].attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});

for (const seat of ['alpha', 'beta'] as const) {
  test(`read-balancing: users read what is being compared, asked for by ${seat}; reads and verify end`, (t) => {
    const pair = verifiable(1, { disk: { readBalancing: 'prefer-remote' } });
    const { alpha, beta } = pair;
    for (const n of [alpha, beta]) n.disk.slowMs = 20;
    t.is(begin(pair[seat]).kind, 'ok');
    pair.until(() => pair[seat].volume.verify.pending > 0, 'the first questions');
    const reads = Array.from({ length: 16 }, (_, i) => {
      const at = alpha.io.alloc(4096);
      return { at, tag: alpha.begin((tag) => alpha.volume.read(alpha, tag, 4 + 16 * i, at, 4096)) };
    });
    for (const { tag, at } of reads) {
      t.is(alpha.answer(tag), 0);
      alpha.io.free(at);
    }
    pair.until(() => said(alpha.log, 'Online verify done'), 'the end of the verify');
    pair.settled();
    t.is(alpha.volume.app.pending, 0);
  });
}
