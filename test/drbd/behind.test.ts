/**
 * Ahead out of a resync, and Behind out of one: blocks, requests and answers of the resync that was broken off are still on their way,
 * and the next one begins without an exchange of bitmaps.
 */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { force } from '../../src/drbd/changes.js';
import { invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { sendState } from '../../src/drbd/params.js';
import { Conns } from '../../src/drbd/state.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent } from '../support/packets-sent.js';
import { block, inSync, type SimPair } from '../support/sim-pair.js';

const PULL = { protocol: 'A', onCongestion: 'pull-ahead', congestionFillSectors: 64 } as const;

function rate(pair: SimPair, resyncRateKiBps: number): void {
  const { volume } = pair.beta;
  volume.diskOptions = { ...volume.diskOptions, resyncRateKiBps };
}

function resyncing(pair: SimPair, resyncRateKiBps: number): void {
  rate(pair, resyncRateKiBps);
  if (pair.alpha.ask(invalidateRemote).kind !== 'ok') throw new Error('invalidate-remote');
  pair.beta.until(/cs:SyncTarget/);
}

/** Writes of alpha until it is Ahead. */
function pullAhead(pair: SimPair, random: Prng): void {
  const { alpha } = pair;
  const tags: number[] = [];
  for (let i = 0; alpha.volume.state.conn !== Conns.Ahead; i++) {
    if (i === 60) throw new Error(alpha.shown);
    tags.push(alpha.beginWrite(random.below(250) * 8, block(random.below(256))));
    pair.run(i < 30 ? 0.2 : 30); // a disk may be slow
  }
  for (const tag of tags) if (alpha.answer(tag) !== 0) throw new Error('write');
}

/** A bit of the source that the target does not have: it would not ask for that block. -1: none. */
function missingBit({ alpha, beta }: SimPair): number {
  const { bits } = alpha.volume.bitmap as { bits: number };
  for (let bit = 0; bit < bits; bit++) {
    if (alpha.volume.bitmap?.isSet(bit) && !beta.volume.bitmap?.isSet(bit)) return bit;
  }
  return -1;
}

function settledAndSame(pair: SimPair): number {
  pair.net.heal('replication');
  pair.beta.disk.slowMs = 0;
  rate(pair, 1 << 20);
  pair.settled();
  pair.run(300);
  return pair.firstDifference();
}

for (const csumsAlg of ['', 'crc32c']) {
  test(`Ahead out of a resync, again and again${csumsAlg && ', with checksums'}: the target has every bit of its source when the next begins`, (t) => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = new Prng(seed);
      const pair = inSync(seed, { net: { ...PULL, csumsAlg } });
      const { alpha, beta } = pair;
      resyncing(pair, 500);
      for (let round = 0; round < 3; round++) {
        beta.disk.slowMs = 20 + random.below(60);
        const delayMs = 1 + random.below(30);
        pair.net.faults('replication', { delayMs: [delayMs / 2, delayMs] });
        pair.run(random.below(400));
        pullAhead(pair, random);
        for (let i = random.below(6); i > 0; i--) {
          t.is(alpha.write(random.below(250) * 8, block(random.below(256))), 0);
        }
        beta.until(/cs:Behind .*ds:Inconsistent\/UpToDate/);
        const began = beta.volume.resync.runs;
        pair.until(() => beta.volume.resync.runs > began, 'the next resync');
        t.is(missingBit(pair), -1, `seed ${seed}, round ${round}`);
      }
      t.is(settledAndSame(pair), -1, `seed ${seed}`);
      t.deepEqual([alpha.volume.bitmap?.count, beta.volume.bitmap?.count], [0, 0]);
    }
  });
}

test('a request that comes to one that is Ahead: P_RS_CANCEL, and the block is asked for in the next resync', (t) => {
  const pair = inSync(3, { net: PULL });
  const { alpha, beta } = pair;
  const sent = packetsSent(pair, 101);
  resyncing(pair, 2000);
  alpha.disk.slowMs = 100; // requests wait here
  beta.disk.slowMs = 100;
  pair.until(() => alpha.volume.peerIo.resyncReads > 0, 'a request has come');
  pullAhead(pair, new Prng(3));
  const aheadFrom = sent.length;
  beta.until(/cs:Behind/);
  pair.run(500);
  t.regex(alpha.shown, /cs:Ahead/);
  const own = sent.slice(aheadFrom).filter((p) => p.from === '10.1.0.1');
  t.true(own.some((p) => p.command === COMMANDS.P_RS_CANCEL));
  t.false(own.some((p) => p.command === COMMANDS.P_RS_DATA_REPLY));
  t.is(beta.volume.resync.pending, 0);
  alpha.disk.slowMs = 0;
  t.is(settledAndSame(pair), -1);
});

test('a block that is stored after its source has pulled ahead stays out of sync, and is not acknowledged as stored', (t) => {
  const pair = inSync(4, { net: PULL });
  const { beta } = pair;
  const sent = packetsSent(pair, 101);
  resyncing(pair, 400);
  beta.disk.slowMs = 300;
  pair.until(() => beta.volume.peerIo.resyncWrites > 0, 'a block is on its way to the disk');
  const before = sent.length;
  pullAhead(pair, new Prng(4));
  beta.until(/cs:Behind/);
  t.true(beta.volume.peerIo.resyncWrites > 0);
  pair.until(() => beta.volume.peerIo.resyncWrites === 0, 'it is stored');
  pair.run(20);
  const answers = sent.slice(before).filter((p) => p.from === '10.1.0.2');
  t.true(answers.some((p) => p.command === COMMANDS.P_NEG_ACK));
  t.false(
    answers.some(
      (p) => p.command === COMMANDS.P_RS_WRITE_ACK && p.body.getUint32(8) === 0xffffffff,
    ),
  );
  t.is(missingBit(pair), -1);
  t.is(settledAndSame(pair), -1);
});

test('the source pulls ahead again while before-resync-target runs: the target is Behind, and the resync after that counts', (t) => {
  const pair = inSync(5, { net: PULL });
  const { alpha, beta } = pair;
  beta.disk.slowMs = 100;
  pullAhead(pair, new Prng(5));
  beta.until(/cs:Behind .*ds:Outdated/);
  beta.handlerMs = 2500;
  const began = beta.handlers.length;
  pair.until(() => beta.handlers.length > began, 'before-resync-target');
  t.regex(alpha.shown, /cs:SyncSource/);
  pullAhead(pair, new Prng(6));
  pair.run(500);
  t.regex(beta.shown, /cs:Behind .*ds:Outdated/);
  beta.handlerMs = 1;
  pair.until(
    () => beta.volume.state.conn !== Conns.Behind || beta.volume.resync.runs > 1,
    'the handler ends',
  );
  t.is(settledAndSame(pair), -1);
  t.false(beta.log.some((line) => line.includes('Ignoring SyncUUID')));
});

test('the disk of the one Behind goes, and comes back; that of the one Ahead', (t) => {
  const pair = inSync(6, { net: PULL });
  const { alpha, beta } = pair;
  beta.disk.slowMs = 100;
  pullAhead(pair, new Prng(7));
  beta.until(/cs:Behind/);
  beta.disk.slowMs = 0;
  beta.disk.faults.writeChance = 1;
  beta.disk.faults.readChance = 1;
  alpha.write(8, block(9));
  const detached = beta.control({ verb: 'detach', minor: 0, force: true });
  t.true(detached.ok);
  beta.disk.faults.writeChance = 0;
  beta.disk.faults.readChance = 0;
  alpha.until(/cs:Connected .*ds:UpToDate\/Diskless/);
  t.is(alpha.write(16, block(10)), 0);
  beta.attach();
  t.is(settledAndSame(pair), -1);

  beta.disk.slowMs = 100;
  pullAhead(pair, new Prng(8));
  beta.until(/cs:Behind/);
  t.true(alpha.control({ verb: 'detach', minor: 0, force: true }).ok);
  pair.run(200);
  // What only the disk that is gone has is not to be had; the peer's is no substitute.
  t.regex(alpha.shown, /cs:Connected ro:Primary\/Secondary ds:Diskless\/(Inconsistent|Outdated)/);
  const at = alpha.io.alloc(4096);
  t.not(alpha.answer(alpha.begin((tag) => alpha.volume.read(alpha, tag, 8, at, 4096))), 0);
  alpha.io.free(at);
  alpha.attach();
  t.is(settledAndSame(pair), -1);
});

test('Behind out of a resync: all of it is to be copied again, whatever is stored already', (t) => {
  // The second: only the source's file says so.
  for (const onCongestion of ['pull-ahead', 'block'] as const) {
    const pair = inSync(1, { net: PULL });
    const { alpha, beta } = pair;
    const { resource } = beta;
    resource.netOptions = { ...resource.netOptions, onCongestion };
    resyncing(pair, 500);
    const all = beta.volume.bitmap?.bits ?? 0;
    pair.until(() => (beta.volume.bitmap?.count ?? 0) < all / 2, 'half of it');
    beta.disk.slowMs = 100;
    pullAhead(pair, new Prng(1));
    beta.until(/cs:Behind .*ds:Inconsistent\/UpToDate/);
    t.is(beta.volume.bitmap?.count, all, onCongestion);
    t.true((alpha.volume.bitmap?.count ?? 0) < all);
    t.is(settledAndSame(pair), -1);
  }
});

// Swarm seed 800187@7: the disk of a node that was Behind was let go and attached again on a slow line, and an old word of the source was
// taken for the answer. The source has begun an exchange of bitmaps since, and waits for one.
test('a source that begins an exchange with a node that is Behind is met once more', (t) => {
  const pair = inSync(3, { net: PULL });
  const { alpha, beta } = pair;
  beta.disk.slowMs = 200;
  pullAhead(pair, new Prng(3));
  beta.until(/cs:Behind/);
  alpha.loop.enter(() => {
    force(alpha.volume, { conn: Conns.Connected });
    force(alpha.volume, { conn: Conns.WFBitMapS });
    if (alpha.volume.link) sendState(alpha.volume.link, alpha.volume);
  });
  t.is(settledAndSame(pair), -1);
  t.true(beta.log.some((line) => line.includes('begins an exchange of bitmaps anew')));
});
