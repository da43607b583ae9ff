/** Checksum-based resync between two engines: what is equal is not sent, and what is not is; docs/PROTOCOL.md, checksums. */
import test from 'ava';
import type { NetOptions } from '../../src/config/drbd-options.js';
import { detach, invalidate, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent, type SentPacket } from '../support/packets-sent.js';
import { readRecording } from '../support/recording.js';
import { block, inSync, type SimPair, type SimPairOptions } from '../support/sim-pair.js';
import { bits, differing } from '../support/verify-pair.js';

const { P_CSUM_RS_REQUEST, P_RS_DATA_REQUEST, P_RS_DATA_REPLY, P_RS_IS_IN_SYNC } = COMMANDS;

/** In sync, alpha Primary. The first resync is slow enough to see it only where the test says so. */
function summed(seed: number, options: SimPairOptions = {}): SimPair {
  return inSync(seed, {
    ...options,
    net: { csumsAlg: 'sha1', ...options.net } satisfies Partial<NetOptions>,
  });
}

/** The target decides on the rate. */
function rate(pair: SimPair, resyncRateKiBps: number): void {
  for (const { volume } of [pair.alpha, pair.beta]) {
    volume.diskOptions = { ...volume.diskOptions, resyncRateKiBps };
  }
}

const sectors = (sent: readonly SentPacket[], command: number): number[] =>
  sent.filter((p) => p.command === command).map((p) => Number(p.body.getBigUint64(0)));

const count = (sent: readonly SentPacket[], command: number): number =>
  sent.filter((p) => p.command === command).length;

const lines = (log: readonly string[]): string[] =>
  log
    .filter((line) => line.includes('had equal checksums'))
    .map((line) => line.replace(/^.*?: /, ''));

/** A whole resync towards beta. */
function copyAll(pair: SimPair): void {
  if (pair.alpha.ask(invalidateRemote).kind !== 'ok') throw new Error('invalidate-remote');
  pair.beta.until(/cs:SyncTarget/);
  pair.settled();
  pair.run(100);
}

const isClean = (pair: SimPair): boolean =>
  pair.firstDifference() < 0 && [pair.alpha, pair.beta].every((n) => bits(n).length === 0);

test('equal copies: nothing is sent, both nodes say so', (t) => {
  const pair = summed(1);
  const { alpha, beta } = pair;
  t.is(alpha.write(80, block(7)), 0);
  const sent = packetsSent(pair, 101);
  const before = [alpha.volume.sendSectors, beta.volume.readSectors, beta.volume.writeSectors];
  alpha.log.length = 0;
  beta.log.length = 0;
  copyAll(pair);
  t.is(count(sent, P_RS_DATA_REPLY) + count(sent, P_RS_DATA_REQUEST), 0);
  t.true(count(sent, P_CSUM_RS_REQUEST) > 1);
  t.deepEqual(sectors(sent, P_RS_IS_IN_SYNC).sort(), sectors(sent, P_CSUM_RS_REQUEST).sort());
  const { sizeSectors } = alpha.volume;
  t.is(alpha.volume.sendSectors, before[0] as number);
  t.is(beta.volume.readSectors, (before[1] as number) + sizeSectors);
  t.is(beta.volume.writeSectors, before[2] as number);
  const kib = sizeSectors / 2;
  for (const n of [alpha, beta]) {
    const text = `100 % had equal checksums, eliminated: ${kib}K; transferred 0K total ${kib}K`;
    t.deepEqual(lines(n.log), [text]);
    t.is(n.volume.intervals.count, 0);
    t.is(n.volume.resync.pending + n.volume.peerIo.local, 0);
  }
  t.true(isClean(pair));
});

test('what a disk changed by itself is found and copied, and only that', (t) => {
  const pair = summed(2, { sizeBytes: (2 << 20) + 1536, net: { csumsAlg: 'crc32c' } });
  const { alpha, beta } = pair;
  const last = alpha.volume.sizeSectors - 1;
  for (const sector of [240, 2049, last]) beta.disk.corrupt(sector);
  rate(pair, 40); // block by block
  const sent = packetsSent(pair, 101);
  beta.log.length = 0;
  if (alpha.ask(invalidateRemote).kind !== 'ok') throw new Error('invalidate-remote');
  pair.settled();
  const replies = sent.filter((p) => p.command === P_RS_DATA_REPLY);
  t.is(replies.length, 3);
  let sentBytes = 0;
  for (const [i, corrupt] of [240, 2049, last].entries()) {
    const { body } = replies[i] as SentPacket;
    const [sector, bytes] = [Number(body.getBigUint64(0)), body.byteLength - 24];
    t.true(bytes <= 8192 && sector <= corrupt && corrupt < sector + bytes / 512, `${corrupt}`);
    sentBytes += bytes;
  }
  const total = Math.ceil(alpha.volume.sizeSectors / 8);
  t.regex(
    lines(beta.log).join(),
    new RegExp(`^98 % had equal .*; transferred ${sentBytes / 1024}K total ${total * 4}K$`),
  );
  t.true(isClean(pair));
});

// Two kernels, sha1: block 1 begins with the pattern where it was in the middle of it, block 2 has other data.
test('the question and its answer are those of a kernel', (t) => {
  const kernel = readRecording('csums-verify').map((p) => ({
    command: COMMANDS[p.packet.type as keyof typeof COMMANDS] as number,
    hex: Buffer.from(p.bytes.subarray(16)).toString('hex'),
  }));
  const pair = summed(3);
  const { alpha, beta } = pair;
  const text = (word: string, bytes: number): Uint8Array =>
    Uint8Array.from(Buffer.from(`${word}\n`.repeat(bytes / word.length)).subarray(0, bytes));
  t.is(alpha.write(0, text('first', 16384)), 0);
  pair.run(1000);
  const sent = packetsSent(pair, 101);
  t.is(beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
  t.is(alpha.write(8, text('first', 4096)), 0);
  t.is(alpha.write(16, text('changed', 4096)), 0);
  beta.attach();
  pair.settled();
  const hex = (p: SentPacket): string =>
    Buffer.from(p.body.buffer, p.body.byteOffset, p.body.byteLength).toString('hex');
  const asked = sent.filter((p) => p.command === P_CSUM_RS_REQUEST).map(hex);
  const theirs = kernel.filter((p) => p.command === P_CSUM_RS_REQUEST).slice(0, 2);
  // Neighbours that are no neighbours for the walker go in any order: each is read for itself.
  t.deepEqual(asked.sort(), theirs.map((p) => p.hex).sort());
  t.deepEqual(sectors(sent, P_RS_DATA_REPLY).sort(), [16, 8]);
  t.true(isClean(pair));
});

// Two contents only, so that blocks become equal and different all the time, between any two packets.
for (const protocol of ['A', 'B', 'C'] as const) {
  for (const target of ['alpha', 'beta'] as const) {
    test(`writes in flight: protocol ${protocol}, resync towards ${target}, alpha Primary`, (t) => {
      for (let seed = 1; seed <= 2; seed++) {
        const pair = summed(seed, {
          net: { protocol, maxEpochSize: 20 },
          sizeBytes: 1 << 20,
        });
        const { alpha, beta } = pair;
        const size = Math.floor(alpha.volume.sizeSectors / 8);
        for (let i = 0; i < size; i++) t.is(alpha.write(i * 8, block(0)), 0);
        beta.disk.corrupt(77);
        rate(pair, protocol === 'C' ? 3000 : 400);
        const sent = packetsSent(pair, 101);
        if (seed % 3 > 0) pair.net.faults('replication', { delayMs: [0.05, seed % 3] });
        (seed % 2 ? alpha : beta).disk.slowMs = seed;
        t.is(pair.alpha.ask(target === 'alpha' ? invalidate : invalidateRemote).kind, 'ok');
        let n = seed;
        const underWay: number[] = [];
        let written = 0;
        // Elsewhere each write is an epoch of its own, and waits at the peer for the one before: fewer, or nothing is ever equal.
        const [most, restMs] = protocol === 'C' ? [30, 1] : [4, 8];
        const busy = (): boolean => /Sync|WF|Starting/.test(alpha.shown + beta.shown);
        while (busy()) {
          t.true(written < 10_000, 'it comes to its end, beside writes without end');
          n = (n * 1103515245 + 12345) % 2147483648;
          const at = n % size;
          const half = (n >> 5) & 1; // and parts of blocks, which clear no bit
          const data = new Uint8Array(half ? 2048 : 4096).fill((n >> 8) & 1);
          underWay.push(alpha.beginWrite(at * 8, data));
          underWay.push(alpha.beginWrite(at * 8, block((n >> 9) & 1)));
          written += 2;
          while (underWay.length > most) t.is(alpha.answer(underWay.shift() as number), 0);
          pair.run(restMs);
        }
        for (const tag of underWay) t.is(alpha.answer(tag), 0);
        // Under protocol A the slow disk has a lot to do yet.
        pair.until(() => beta.volume.peerIo.unacked === 0, 'all is written');
        pair.run(1000);
        pair.settled();
        t.true(written > 40, `${written} writes`);
        t.true(count(sent, P_RS_IS_IN_SYNC) > 10, 'some were equal');
        t.true(count(sent, P_RS_DATA_REPLY) > 0, 'some were not');
        t.deepEqual(differing(pair), [], `seed ${seed}`);
        for (const node of [alpha, beta]) t.deepEqual(bits(node), [], node.name);
      }
    });
  }
}

/** In a resync towards beta that goes block by block, over a slow network: up to when beta has read block `at` for its digest. */
function hasRead(pair: SimPair, at: number): void {
  const { alpha, beta } = pair;
  rate(pair, 40);
  pair.net.faults('replication', { delayMs: [50, 50.1] });
  if (alpha.ask(invalidateRemote).kind !== 'ok') throw new Error('invalidate-remote');
  const sent = packetsSent(pair, 101);
  const before = at - 2; // two blocks at a time
  // Tapped as it arrives at alpha: what is behind it in the walk is read about now.
  pair.until(() => sectors(sent, P_CSUM_RS_REQUEST).includes(before * 8), `block ${before}`);
  const reads = beta.volume.readSectors;
  pair.until(
    () => beta.volume.readSectors > reads && beta.volume.peerIo.local === 0,
    `block ${at} is read`,
  );
}

/** Blocks whose bit is clear on both nodes, or on the source, and that differ. */
const lost = (pair: SimPair): number[] => {
  const marked = new Set(bits(pair.alpha));
  return differing(pair).filter((at) => !marked.has(at));
};

// The source's copy stays as it was, equal to what the target had read; the target has the write. The bit said so.
test('a write that the disk of the source does not take, between the two reads', (t) => {
  const pair = summed(4, { disk: { onIoError: 'pass_on' } });
  const { alpha, beta } = pair;
  hasRead(pair, 6);
  const reading = 6;
  alpha.disk.full = { fromBytes: 0, toBytes: 1 << 20 };
  for (let at = reading; at < reading + 6; at++) alpha.beginWrite(at * 8, block(9));
  pair.run(400);
  alpha.disk.full = null;
  t.true(alpha.log.some((line) => line.includes('local write IO error')));
  t.deepEqual(lost(pair), []);
  rate(pair, 1 << 20);
  for (const n of [alpha, beta]) n.until(/cs:Connected/);
  pair.run(3000);
  pair.settled();
  t.true(isClean(pair));
});

// The answer, on the other socket, overtaken by the write, is about what the target had read before.
test('a write that the disk of the target does not take, between its read and the answer', (t) => {
  let overtaken = 0;
  for (let seed = 1; seed <= 16; seed++) {
    const pair = summed(seed, { disk: { onIoError: 'pass_on' } });
    const { alpha, beta } = pair;
    rate(pair, 40);
    t.is(alpha.ask(invalidateRemote).kind, 'ok');
    beta.until(/cs:SyncTarget/);
    pair.net.faults('replication', { delayMs: [1, 80] });
    pair.until(() => !bits(alpha).includes(6), 'block 6 is equal');
    if (bits(beta).includes(6)) overtaken++;
    beta.disk.full = { fromBytes: 0, toBytes: 1 << 20 };
    for (const at of [6, 7]) alpha.beginWrite(at * 8, block(9));
    pair.run(500);
    beta.disk.full = null;
    t.true(beta.log.some((line) => line.includes('local write IO error')));
    const marked = new Set(bits(beta));
    const unknown = differing(pair).filter((at) => !marked.has(at));
    t.deepEqual(unknown, [], `seed ${seed}`);
    pair.net.faults('replication', {});
    rate(pair, 1 << 20);
    for (const n of [alpha, beta]) n.until(/cs:Connected/);
    pair.run(1000);
    if (!/UpToDate.UpToDate/.test(alpha.shown)) {
      alpha.disconnect();
      alpha.connect();
    }
    pair.settled();
    t.true(isClean(pair), `seed ${seed}`);
  }
  t.true(overtaken > 0);
});

test('what the target cannot read is copied; what it lets go in the middle is asked for again', (t) => {
  const pair = summed(5, { disk: { onIoError: 'pass_on' } });
  const { beta } = pair;
  for (const sector of [81, 1000]) beta.disk.badSectors.add(sector);
  const sent = packetsSent(pair, 101);
  copyAll(pair);
  t.true(beta.log.some((line) => line.includes('local read IO error')));
  t.deepEqual(sectors(sent, P_RS_DATA_REPLY), sectors(sent, P_RS_DATA_REQUEST));
  t.true(count(sent, P_RS_DATA_REPLY) > 0);
  t.true(isClean(pair));
});

test('a resync that is broken off while blocks are read, asked for and answered', (t) => {
  for (const node of ['alpha', 'beta'] as const) {
    for (let seed = 1; seed <= 6; seed++) {
      const pair = summed(seed);
      const { alpha, beta } = pair;
      for (const sector of [100, 700, 1500]) beta.disk.corrupt(sector);
      rate(pair, 4000);
      pair.net.faults('replication', { delayMs: [0.5, 20] });
      t.is(alpha.ask(invalidateRemote).kind, 'ok');
      beta.until(/cs:SyncTarget/);
      pair.run(60 + 17 * seed);
      (seed % 2 ? alpha : beta).disk.slowMs = 40;
      pair.run(50);
      t.regex(beta.shown, /cs:SyncTarget/);
      t.is(pair[node].ask((v, done) => detach(v, true, done)).kind, 'ok');
      const writes = (): void => {
        for (let at = 0; at < 20; at++) t.is(alpha.write(at * 80, block(seed)), 0);
      };
      if (node === 'beta') writes(); // else nobody has good data
      pair[node].attach();
      if (node === 'alpha') alpha.until(/ds:UpToDate/);
      writes();
      rate(pair, 20000);
      pair.settled();
      pair.run(100);
      t.true(isClean(pair), `${node} ${seed}`);
      const log = [...alpha.log, ...beta.log].join('\n');
      t.notRegex(log, /ProtocolError|makes no sense|was not asked for/);
      for (const n of [alpha, beta]) t.is(n.volume.intervals.count, 0);
    }
  }
});

test('bits that are not on disk as yet: the data are asked for, whatever is there', (t) => {
  const pair = summed(6);
  const { alpha, beta } = pair;
  rate(pair, 400);
  t.is(alpha.ask(invalidateRemote).kind, 'ok');
  beta.until(/cs:SyncTarget/);
  pair.run(150);
  const sent = packetsSent(pair, 101);
  beta.disk.slowMs = 250; // and with it the bitmap
  beta.volume.setOutOfSync(0, 8);
  t.true(beta.volume.resync.unsaved.some);
  pair.run(200);
  t.true(count(sent, P_RS_DATA_REQUEST) > 0);
  beta.disk.slowMs = 0;
  pair.run(1000);
  t.false(beta.volume.resync.unsaved.some);
  const plain = count(sent, P_RS_DATA_REQUEST);
  pair.settled();
  t.is(count(sent, P_RS_DATA_REQUEST), plain);
  t.true(count(sent, P_CSUM_RS_REQUEST) > 10);
  t.true(isClean(pair));
});

test('a source that does not know the digest sends the data', (t) => {
  const pair = summed(7);
  pair.alpha.unknownDigests.add('sha1');
  pair.beta.disk.corrupt(8);
  const sent = packetsSent(pair, 101);
  copyAll(pair);
  t.is(count(sent, P_RS_DATA_REPLY), count(sent, P_CSUM_RS_REQUEST));
  t.true(count(sent, P_RS_DATA_REPLY) > 0);
  t.true(isClean(pair));
});

test('older versions: from 89 on', (t) => {
  for (const protocolMax of [86, 88, 89, 94, 95, 100]) {
    const pair = summed(protocolMax, { dialect: { protocolMax, features: 0 } });
    const { alpha, beta } = pair;
    beta.disk.corrupt(100);
    for (const n of [alpha, beta]) n.log.length = 0;
    copyAll(pair);
    t.true(isClean(pair), `${protocolMax}`);
    for (const n of [alpha, beta]) t.is(lines(n.log).length, protocolMax >= 89 ? 1 : 0);
  }
});

test('csums-after-crash-only: where the target is a Primary that has crashed', (t) => {
  const pair = summed(8, { net: { csumsAfterCrashOnly: true } });
  const { alpha, beta } = pair;
  copyAll(pair);
  for (const n of [alpha, beta]) t.deepEqual(lines(n.log), []);
  t.is(alpha.write(80, block(1)), 0);
  alpha.crash(true);
  beta.until(/cs:WFConnection/);
  t.is(beta.ask((v, done) => setPrimary(v, true, done)).kind, 'ok');
  t.is(beta.write(160, block(2)), 0);
  alpha.attach();
  alpha.connect();
  pair.settled();
  for (const n of [alpha, beta])
    t.regex(lines(n.log).join(), /^(\d+) % had equal checksums, eliminated: [1-9]/);
  t.true(isClean(pair));
  t.is(beta.ask(setSecondary).kind, 'ok');
  t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  copyAll(pair);
  for (const n of [alpha, beta]) t.is(lines(n.log).length, 1, 'crashed no more');
});
