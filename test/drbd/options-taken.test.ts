/**
 * Options whose effect is a few lines: that they have it. Those with rules of their own have tests of their own;
 * docs/COMPATIBILITY.md says which. Two engines in virtual time.
 */
import test from 'ava';
import type { DiskOptions } from '../../src/config/drbd-options.js';
import { newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { procText } from '../../src/drbd/proc-text.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { block, inSync, SimPair } from '../support/sim-pair.js';

const EXTENT_SECTORS = (4 << 20) / 512;

// drbd.conf(5): a secondary that fails to complete a write in ko-count times timeout is expelled.
test('ko-count times timeout: so long a write waits for the peer, then the connection is given up', (t) => {
  const pair = inSync(1, { net: { timeoutDs: 20, koCount: 3, connectIntS: 120 } });
  const { alpha, beta } = pair;
  beta.disk.stuck = true;
  const tag = alpha.beginWrite(8, block(1));
  pair.run(5500);
  t.is(alpha.peek(tag), undefined);
  t.regex(alpha.shown, /cs:Connected/);
  pair.run(1500);
  t.is(alpha.peek(tag), 0);
  t.notRegex(alpha.shown, /cs:Connected/);
  const text = 'Remote failed to finish a request within ko-count (3) * timeout (20 * 0.1s)';
  t.true(alpha.log.some((line) => line.includes(text)));
});

// The originals: a peer is not blamed for a barrier that it was not sent.
test('ko-count: writes that come one after another are not one that waits', (t) => {
  const pair = inSync(1, { net: { timeoutDs: 10, koCount: 1, connectIntS: 120 } });
  const { alpha } = pair;
  for (let i = 0; i < 100; i++) {
    t.is(alpha.write(8 * (i % 8), block(i)), 0);
    pair.run(20);
  }
  t.regex(alpha.shown, /cs:Connected/);
  t.false(alpha.log.some((line) => line.includes('ko-count')));
});

// Under protocol A nobody waits for what has piled up there: "no need yet to kill this connection", say the originals.
test('ko-count under protocol A: a peer that is behind and gets on is kept, one that finishes nothing is given up', (t) => {
  const pair = inSync(1, { net: { protocol: 'A', timeoutDs: 10, koCount: 1, connectIntS: 120 } });
  const { alpha, beta } = pair;
  beta.disk.slowMs = 200;
  for (let i = 0; i < 20; i++) t.is(alpha.write(8 * i, block(i)), 0);
  const shown = (): string => procText(alpha.loop.engine.status('test'), { format: '8.4' });
  pair.run(3000);
  t.regex(shown(), / pe:[1-9]\d* ua:0 ap:0 /);
  t.regex(alpha.shown, /cs:Connected/);
  pair.run(20_000);
  t.regex(shown(), / pe:0 ua:0 ap:0 /);
  t.regex(alpha.shown, /cs:Connected/);
  beta.disk.stuck = true;
  t.is(alpha.write(0, block(1)), 0);
  pair.run(500);
  t.regex(alpha.shown, /cs:Connected/);
  pair.run(1000);
  t.notRegex(alpha.shown, /cs:Connected/);
  const text = 'Remote failed to answer a P_BARRIER within ko-count (1) * timeout (10 * 0.1s)';
  t.true(alpha.log.some((line) => line.includes(text)));
});

// The originals: the oldest request that waits for the peer, whichever it is.
test('ko-count: a read that the peer does not answer is served here, once that is given up', (t) => {
  const net = { timeoutDs: 10, koCount: 2, connectIntS: 120 };
  const pair = inSync(1, { net, disk: { readBalancing: 'prefer-remote' } });
  const { alpha, beta } = pair;
  t.is(alpha.write(8, block(1)), 0);
  pair.run(1000); // its epoch is over
  beta.disk.stuck = true;
  const beganMs = pair.world.nowMs;
  t.deepEqual(alpha.read(8, 4096), block(1));
  const tookMs = pair.world.nowMs - beganMs;
  t.true(tookMs > 500 && tookMs < 3000, `${tookMs} ms`); // a turn's time is that of its begin
  t.notRegex(alpha.shown, /cs:Connected/);
});

test('ko-count 0: a write waits for the peer without limit', (t) => {
  const pair = inSync(1, { net: { timeoutDs: 20, koCount: 0 } });
  const { alpha, beta } = pair;
  beta.disk.stuck = true;
  const tag = alpha.beginWrite(8, block(1));
  pair.run(100_000);
  t.is(alpha.peek(tag), undefined);
  beta.disk.stuck = false;
  t.is(alpha.answer(tag), 0);
});

// drbd.conf(5): flush, then drain, then none; /proc/drbd tells which as wo:.
test('disk-flushes, disk-drain: the first that is not switched off, and the peer is flushed or is not', (t) => {
  const cases: readonly (readonly [Partial<DiskOptions>, string])[] = [
    [{}, 'f'],
    [{ diskFlushes: false }, 'd'],
    [{ diskFlushes: false, diskDrain: false }, 'n'],
    [{ diskBarrier: true }, 'f'],
  ];
  for (const [disk, letter] of cases) {
    const { alpha } = inSync(1, { disk });
    const status = alpha.loop.engine.status('test');
    t.regex(procText(status, { format: '8.4' }), new RegExp(` wo:${letter} `));
  }
});

// drbd.conf(5): the highest number of data blocks between two write barriers.
test('max-epoch-size: so many writes, and a barrier follows', (t) => {
  for (const [maxEpochSize, epochs] of [
    [3, 4],
    [2048, 1],
  ] as const) {
    const pair = inSync(1, { net: { maxEpochSize } });
    const { alpha, beta } = pair;
    t.is(alpha.write(0, block(1)), 0); // their extent is in the activity log
    pair.run(1000);
    beta.disk.stuck = true;
    for (let i = 0; i < 12; i++) alpha.beginWrite(i * 8, block(i));
    pair.run(50);
    const [resource] = alpha.loop.engine.status('test').resources;
    t.is(resource?.volumes[0]?.counters.epochs, epochs);
  }
});

test('al-extents: so many are hot as were asked for, at attach and by disk-options', (t) => {
  for (const [alExtents, isEnough] of [
    [67, false],
    [257, true],
  ] as const) {
    const pair = new SimPair(1, { sizeBytes: 320 << 20, disk: { alExtents } });
    const { alpha } = pair;
    for (const node of [alpha, pair.beta]) node.attach();
    for (const node of [alpha, pair.beta]) node.connect();
    for (const node of [alpha, pair.beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
    t.is(alpha.ask((v, done) => newCurrentUuid(v, true, done)).kind, 'ok');
    pair.settled();
    t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
    const transactions = (): number => {
      const before = alpha.volume.log.transactions;
      for (let i = 0; i < 70; i++) t.is(alpha.write(i * EXTENT_SECTORS, block(i)), 0);
      return alpha.volume.log.transactions - before;
    };
    t.true(transactions() > 0);
    t.is(transactions() === 0, isEnough); // all 70 are hot still
    const options = { ...alpha.volume.diskOptions, alExtents: isEnough ? 67 : 257 };
    t.true(alpha.control({ verb: 'disk-options', minor: 0, options }).ok);
    transactions();
    t.is(transactions() === 0, !isEnough);
  }
});

test('after-resync-target and unfence-peer: called on the node that they are for, when the resync is over', (t) => {
  for (const fencing of ['dont-care', 'resource-only'] as const) {
    const { alpha, beta } = inSync(1, { disk: { fencing } });
    const of = (name: string) => [alpha, beta].map((n) => n.handlers.includes(name));
    t.deepEqual(of('after-resync-target'), [false, true], fencing);
    t.is(of('unfence-peer').includes(true), fencing === 'resource-only', fencing);
  }
});

test('on-io-error call-local-io-error: the handler is called, and the disk is let go', (t) => {
  const pair = inSync(1, { disk: { onIoError: 'call-local-io-error' } });
  const { alpha } = pair;
  t.is(alpha.write(8, block(1)), 0); // its extent is in the activity log: the next write touches no meta-data
  alpha.disk.faults.writeChance = 1;
  t.is(alpha.write(8, block(2)), 0);
  alpha.disk.faults.writeChance = 0;
  alpha.until(/ds:Diskless\/UpToDate/);
  t.deepEqual(
    alpha.handlers.filter((name) => name === 'local-io-error'),
    ['local-io-error'],
  );
});

test('what is only connected calls none of them', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20, disk: { fencing: 'resource-only' } });
  for (const node of [pair.alpha, pair.beta]) node.attach();
  for (const node of [pair.alpha, pair.beta]) node.connect();
  pair.alpha.until(/cs:Connected .*Incon.*\/Incon/);
  t.deepEqual([...pair.alpha.handlers, ...pair.beta.handlers], []);
});
