/**
 * Thin resync between two engines: what reads as zeroes at the source is neither sent nor, where the target's disk can give zeroes back,
 * written; and the copies are equal afterwards, whatever happens meanwhile. docs/PROTOCOL.md, thin resync.
 */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import type { DiskOptions } from '../../src/config/drbd-options.js';
import { invalidate, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { changeDiskOptions } from '../../src/drbd/option-change.js';
import { fittingGranularity } from '../../src/drbd/thin-resync.js';
import type { SimDisk } from '../../src/sim/sim-disk.js';
import { COMMANDS } from '../../src/wire/constants.js';
import type { Codec } from '../../src/wire/packet.js';
import { packetsSent, type SentPacket } from '../support/packets-sent.js';
import {
  block,
  inSync,
  type SimPair,
  type SimPairNode,
  type SimPairOptions,
} from '../support/sim-pair.js';
import { bits, differing } from '../support/verify-pair.js';

const { P_RS_THIN_REQ, P_RS_DATA_REQUEST, P_RS_DATA_REPLY, P_RS_DEALLOCATED, P_CSUM_RS_REQUEST } =
  COMMANDS;

const UNIT = 65536;
const UNIT_SECTORS = UNIT / 512;

/** Disks that discard: to zeroes for certain, to anything, not at all. */
const LOWER = {
  zeroes: {},
  anything: { discardZeroes: false },
  not: { canDiscard: false },
} as const;

/** In sync, alpha Primary; what is asked for is of 64 KiB. Slow enough to be met in the middle: 40 units in a second. */
function thin(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = inSync(seed, {
    ...options,
    disk: { rsDiscardGranularityBytes: UNIT, ...options.disk } satisfies Partial<DiskOptions>,
  });
  for (const { volume } of [pair.alpha, pair.beta]) {
    volume.diskOptions = { ...volume.diskOptions, resyncRateKiBps: 2560 };
  }
  return pair;
}

/** Whole units of zeroes with a few that have data between them; a disk that is old everywhere. */
function fill(pair: SimPair, source: SimPairNode, target: SimPairNode): number[] {
  const { sizeSectors } = source.volume;
  target.disk.write(0, new Uint8Array(sizeSectors * 512).fill(0xa5), true);
  source.disk.write(0, new Uint8Array(sizeSectors * 512), true);
  const units = [1, 2, 9, 17];
  for (const [i, unit] of units.entries()) {
    // The first or the last byte of a unit alone, and some in the middle.
    const at = [0, UNIT - 512, 512, UNIT / 2][i] ?? 0;
    const bytes = new Uint8Array(512);
    bytes[i % 2 === 0 ? 0 : 511] = i + 1;
    source.disk.write(unit * UNIT + at, bytes, true);
  }
  pair.run(1);
  return units;
}

const sectors = (sent: readonly SentPacket[], command: number): number[] =>
  sent.filter((p) => p.command === command).map((p) => Number(p.body.getBigUint64(0)));
const count = (sent: readonly SentPacket[], command: number): number =>
  sent.filter((p) => p.command === command).length;

function copyTo(target: SimPairNode, source: SimPairNode): void {
  const outcome = source.ask(invalidateRemote);
  if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
  target.until(/cs:SyncTarget/);
}

const isClean = (pair: SimPair): boolean =>
  pair.firstDifference() < 0 && [pair.alpha, pair.beta].every((n) => bits(n).length === 0);

/** How often the engine has asked its disk for that, from now on. */
function asked(node: SimPairNode): { discards: number; zeroes: number; flushes: number } {
  const calls = { discards: 0, zeroes: 0, flushes: 0 };
  const { io } = node;
  const { discardDisk, zeroDisk, flushDisk } = io;
  io.discardDisk = (...args) => {
    calls.discards++;
    discardDisk.apply(io, args);
  };
  io.zeroDisk = (...args) => {
    calls.zeroes++;
    zeroDisk.apply(io, args);
  };
  io.flushDisk = (...args) => {
    calls.flushes++;
    flushDisk.apply(io, args);
  };
  return calls;
}

for (const [kind, lower] of [
  ['zeroes', LOWER.zeroes],
  ['anything', LOWER.anything],
] as const) {
  test(`zeroes are not sent, and the target's disk has them: it discards to ${kind}`, (t) => {
    const pair = thin(1, { lower });
    const { alpha, beta } = pair;
    const units = fill(pair, alpha, beta);
    const sent = packetsSent(pair, 101);
    const before = alpha.volume.sendSectors;
    const calls = asked(beta);
    const noted: number[] = []; // an answer to these that comes late is judged as one to data (resync-replies.ts)
    const { replies } = alpha.volume.resync;
    const note = replies.sent;
    replies.sent = (sector, endSector) => {
      noted.push(sector);
      note.call(replies, sector, endSector);
    };
    copyTo(beta, alpha);
    pair.settled();
    pair.run(100);
    const whole = Math.floor(alpha.volume.sizeSectors / UNIT_SECTORS);
    const thinUnits = sectors(sent, P_RS_THIN_REQ).map((sector) => sector / UNIT_SECTORS);
    t.deepEqual(
      thinUnits.sort((a, b) => a - b),
      Array.from({ length: whole }, (_, i) => i),
    );
    const without = Array.from({ length: whole }, (_, i) => i).filter((i) => !units.includes(i));
    const told = sent.filter((p) => p.command === P_RS_DEALLOCATED);
    t.deepEqual(
      told.map((p) => Number(p.body.getBigUint64(0)) / UNIT_SECTORS).sort((a, b) => a - b),
      without,
    );
    const every = [...sectors(sent, P_RS_THIN_REQ), ...sectors(sent, P_RS_DATA_REQUEST)];
    t.deepEqual(
      noted.sort((x, y) => x - y),
      every.sort((x, y) => x - y),
    );
    t.true(told.every((p) => p.body.byteLength === 16 && p.body.getUint32(8) === UNIT));
    // What is left of the device is no whole unit: asked for as ever.
    const rest = alpha.volume.sizeSectors - whole * UNIT_SECTORS;
    t.is(alpha.volume.sendSectors - before, units.length * UNIT_SECTORS + rest);
    t.true(count(sent, P_RS_DATA_REQUEST) > 0);
    t.is(kind === 'zeroes' ? calls.discards : calls.zeroes, without.length);
    t.is(kind === 'zeroes' ? calls.zeroes : calls.discards, 0);
    t.true(isClean(pair));
    for (const n of [alpha, beta]) {
      t.is(n.volume.intervals.count, 0);
      t.is(n.volume.resync.pending + n.volume.peerIo.local + n.volume.peerIo.unacked, 0);
      t.is(n.resource.link?.window, 0);
    }
  });
}

test('a disk that discards to anything is not touched where it reads as zeroes', (t) => {
  const pair = thin(2, { lower: LOWER.anything });
  const { alpha, beta } = pair;
  fill(pair, alpha, beta);
  const { sizeSectors } = beta.volume;
  beta.disk.write(0, new Uint8Array(sizeSectors * 512), true);
  beta.disk.write(5 * UNIT + 1024, new Uint8Array(512).fill(1), true); // in one unit only
  const calls = asked(beta);
  copyTo(beta, alpha);
  pair.settled();
  t.is(calls.zeroes, 1);
  t.is(calls.discards, 0);
  t.true(isClean(pair));
});

test('who is not asked to, or has not agreed, or has a disk that can not, or checksums, asks as ever', (t) => {
  const cases: readonly SimPairOptions[] = [
    { disk: { rsDiscardGranularityBytes: 0 } },
    { lower: LOWER.not },
    { dialect: { protocolMax: 101, features: 1 } },
    { dialect: { protocolMax: 101, features: 13 } },
    { dialect: { protocolMax: 100, features: 0 } },
    { lower: LOWER.anything, disk: { discardZeroesIfAligned: false } },
    { net: { csumsAlg: 'crc32c' } },
  ];
  for (const [i, options] of cases.entries()) {
    const pair = thin(3 + i, options);
    const { alpha, beta } = pair;
    fill(pair, alpha, beta);
    const apv = options.dialect?.protocolMax ?? 101;
    const sent = packetsSent(pair, apv);
    copyTo(beta, alpha);
    pair.settled();
    pair.run(100);
    const thinOnes = count(sent, P_RS_THIN_REQ) + count(sent, P_RS_DEALLOCATED);
    t.is(thinOnes, 0, `${i}`);
    t.true(count(sent, P_RS_DATA_REPLY) > 10, `${i}`);
    t.is(count(sent, P_CSUM_RS_REQUEST) > 0, options.net !== undefined, `${i}`);
    t.true(isClean(pair), `${i}`);
  }
});

test('the last block of a device is asked for as it is', (t) => {
  for (const [rsDiscardGranularityBytes, sizeBytes] of [
    [4096, (2 << 20) + 1536],
    [16384, (2 << 20) + 512],
    [1 << 20, (4 << 20) + 1024],
  ] as const) {
    const pair = thin(20, { sizeBytes, disk: { rsDiscardGranularityBytes } });
    const { alpha, beta } = pair;
    fill(pair, alpha, beta);
    const { volume } = beta;
    volume.diskOptions = { ...volume.diskOptions, resyncRateKiBps: 1 << 20 };
    const sent = packetsSent(pair, 101);
    copyTo(beta, alpha);
    pair.settled();
    pair.run(100);
    const thinOnes = sent.filter((p) => p.command === P_RS_THIN_REQ);
    t.true(thinOnes.length > 0 && count(sent, P_RS_DEALLOCATED) > 0);
    t.true(thinOnes.every((p) => p.body.getUint32(16) === rsDiscardGranularityBytes));
    t.true(isClean(pair));
  }
});

/** Writes, discards and zeroes of the Primary's users all over the device, in the course of a resync. */
function busyWhile(pair: SimPair, node: SimPairNode, random: Prng, during: () => boolean): void {
  const tags: number[] = [];
  const { volume } = node;
  const blocks = Math.floor(volume.sizeSectors / 8) - 64;
  for (let i = 0; during() && i < 4000; i++) {
    const sector = random.below(blocks) * 8;
    const kind = random.below(4);
    if (kind === 0) tags.push(node.begin((tag) => volume.discard(node, tag, sector, 64)));
    else if (kind === 1) tags.push(node.beginWrite(sector, block(0)));
    else tags.push(node.beginWrite(sector, block(1 + random.below(255))));
    pair.run(random.below(8));
    for (const tag of tags.splice(0, Math.max(0, tags.length - 16))) node.answer(tag);
  }
  for (const tag of tags) node.answer(tag);
}

for (const [kind, lower] of [
  ['zeroes', LOWER.zeroes],
  ['anything', LOWER.anything],
] as const) {
  for (const protocol of ['A', 'C'] as const) {
    for (const seat of ['source', 'target'] as const) {
      test(`beside writes of the Primary, which is the ${seat}: protocol ${protocol}, discards to ${kind}`, (t) => {
        for (let seed = 30; seed < 32; seed++) {
          const pair = thin(seed, { lower, net: { protocol }, pieceBytes: 1000 });
          const { alpha, beta } = pair;
          const random = new Prng(seed);
          if (seat === 'source') {
            fill(pair, alpha, beta);
            copyTo(beta, alpha);
          } else {
            fill(pair, beta, alpha);
            t.is(alpha.ask(invalidate).kind, 'ok');
            alpha.until(/cs:SyncTarget ro:Primary/);
          }
          const syncing = (): boolean => /cs:Sync/.test(beta.shown);
          busyWhile(pair, alpha, random, syncing);
          pair.settled();
          t.is(alpha.flush(), 0);
          pair.run(3000);
          t.deepEqual(differing(pair), [], `${seed}`);
          t.true(isClean(pair), `${seed}`);
        }
      });
    }
  }
}

test('the connection is lost in the middle: what is left is copied, and nothing is taken for equal', (t) => {
  for (let seed = 40; seed < 52; seed++) {
    const lower = seed % 2 === 0 ? LOWER.zeroes : LOWER.anything;
    const pair = thin(seed, { lower });
    const { alpha, beta } = pair;
    fill(pair, alpha, beta);
    const random = new Prng(seed);
    copyTo(beta, alpha);
    pair.run(100 + random.below(300));
    pair.net.reset('replication');
    pair.until(() => alpha.volume.link === null, 'the end of the connection');
    const marked = new Set([...bits(alpha), ...bits(beta)]);
    t.deepEqual(
      differing(pair).filter((b) => !marked.has(b)),
      [],
      `${seed}`,
    );
    pair.settled();
    pair.run(100);
    t.true(isClean(pair), `${seed}`);
  }
});

/** What a disk has after a power cut in the middle: each block that differs has its bit on one node at least. */
for (const seat of ['Secondary', 'Primary'] as const) {
  test(`the target, a ${seat}, loses its power: no block that came back is taken for equal`, (t) => {
    let stale = 0;
    for (let seed = 60; seed < 72; seed++) {
      const lower = seed % 2 === 0 ? LOWER.zeroes : LOWER.anything;
      const pair = thin(seed, { lower });
      const { alpha, beta } = pair;
      const [source, target] = seat === 'Secondary' ? [alpha, beta] : [beta, alpha];
      fill(pair, source, target);
      const random = new Prng(seed);
      if (seat === 'Secondary') copyTo(target, source);
      else {
        t.is(target.ask(invalidate).kind, 'ok');
        target.until(/cs:SyncTarget/);
      }
      pair.run(100 + random.below(400));
      target.crash(true);
      target.attach();
      stale += differing(pair).length;
      const marked = new Set([...bits(source), ...bits(target)]);
      t.deepEqual(
        differing(pair).filter((b) => !marked.has(b)),
        [],
        `${seed}`,
      );
      target.connect();
      pair.settled();
      pair.run(100);
      t.true(isClean(pair), `${seed}`);
    }
    t.true(stale > 0, 'nothing was lost');
  });
}

test('a Primary has what it was told of on its disk, before it says so', (t) => {
  for (const lower of [LOWER.zeroes, LOWER.anything]) {
    const pair = thin(90, { lower });
    const { alpha, beta } = pair;
    fill(pair, beta, alpha);
    const zeroes = lower === LOWER.anything; // then it has them already
    if (zeroes) alpha.disk.write(0, new Uint8Array(alpha.volume.sizeSectors * 512), true);
    const sent = packetsSent(pair, 101);
    const calls = asked(alpha);
    t.is(alpha.ask(invalidate).kind, 'ok');
    pair.settled();
    pair.run(100);
    const told = count(sent, P_RS_DEALLOCATED);
    t.true(told > 10);
    t.is(calls.discards, zeroes ? 0 : told);
    t.true(calls.flushes >= told);
    t.true(isClean(pair));
  }
});

function broken(disk: SimDisk, faults: Partial<SimDisk['faults']>): void {
  Object.assign(disk.faults, faults);
}

test('a read fails at the source: the block is not called zeroes', (t) => {
  for (const onIoError of ['detach', 'pass_on'] as const) {
    const pair = thin(100, { disk: { onIoError } });
    const { alpha, beta } = pair;
    fill(pair, alpha, beta);
    const bad = 5 * UNIT_SECTORS + 7; // in a unit of zeroes
    alpha.disk.badSectors.add(bad);
    copyTo(beta, alpha);
    beta.until(/cs:Connected/);
    pair.run(500);
    t.true(bits(beta).includes(Math.floor(bad / 8)), onIoError);
    t.notRegex(beta.shown, /ds:UpToDate/, onIoError);
    t.deepEqual(
      differing(pair).filter((b) => !bits(beta).includes(b)),
      [],
      onIoError,
    );
  }
});

test('what the target can not read it writes, as without a look at it', (t) => {
  const pair = thin(102, { lower: LOWER.anything });
  const { alpha, beta } = pair;
  fill(pair, alpha, beta);
  beta.disk.badSectors.add(5 * UNIT_SECTORS + 7);
  copyTo(beta, alpha);
  pair.settled();
  pair.run(100);
  t.is(beta.disk.badSectors.size, 0);
  t.true(isClean(pair));
});

test('a discard fails at the target: the block stays marked on both, and is copied when the disk works', (t) => {
  const pair = thin(101, { disk: { onIoError: 'pass_on' } });
  const { alpha, beta } = pair;
  fill(pair, alpha, beta);
  copyTo(beta, alpha);
  pair.run(150);
  broken(beta.disk, { writeChance: 0.4 });
  pair.run(250);
  broken(beta.disk, { writeChance: 0 });
  beta.until(/cs:Connected .*ds:Inconsistent/);
  pair.run(500);
  t.true(beta.log.some((line) => line.includes('failed blocks')));
  for (const n of [alpha, beta]) {
    t.deepEqual(
      differing(pair).filter((b) => !bits(n).includes(b)),
      [],
      n.name,
    );
  }
  beta.disconnect();
  beta.connect();
  pair.settled();
  pair.run(100);
  t.true(isClean(pair));
});

test('what was not asked for, or not agreed on, ends the connection', (t) => {
  const zeroes: Codec<null> = {
    decode: () => null,
    encode: (_, view, at) => {
      view.setBigUint64(at, 0n);
      view.setUint32(at + 8, 4096);
    },
  };
  for (const [features, why] of [
    [15, /P_RS_DEALLOCATED: sector 0 was not asked for/],
    [13, /P_RS_DEALLOCATED: thin resync was not agreed on/],
  ] as const) {
    const pair = thin(110, { dialect: { protocolMax: 101, features } });
    const { alpha, beta } = pair;
    alpha.loop.enter(() => alpha.resource.link?.out.onData(P_RS_DEALLOCATED, 0, 16, zeroes, null));
    pair.run(500);
    t.true(beta.log.some((line) => why.test(line)));
    pair.settled();
    t.true(isClean(pair));
  }
});

test('rs-discard-granularity comes in units of the disk, or to nothing', (t) => {
  const disk = (info: object) => ({
    sizeBytes: 1 << 30,
    logicalBlockBytes: 512,
    physicalBlockBytes: 4096,
    isBlockDevice: true,
    canDiscard: true,
    discardZeroes: true,
    ...info,
  });
  const cases: readonly (readonly [number, boolean, object, number])[] = [
    [0, true, {}, 0],
    [65536, true, {}, 65536],
    [65536, true, { canDiscard: false }, 0],
    [65536, true, { discardZeroes: false }, 65536],
    [65536, false, { discardZeroes: false }, 0],
    [65536, false, {}, 65536],
    [4096, true, { discardGranularityBytes: 65536 }, 65536],
    [65536, true, { discardGranularityBytes: 512 }, 65536],
    [100_000, true, { discardGranularityBytes: 65536 }, 131_072],
    [1 << 20, true, { maxDiscardBytes: 65536 }, 65536],
  ];
  for (const [asked, aligned, info, expected] of cases) {
    t.is(fittingGranularity(asked, aligned, disk(info)), expected, JSON.stringify([asked, info]));
  }
  t.is(fittingGranularity(65536, true, null), 0);
});

test('it is said at the attach and by disk-options what became of it', (t) => {
  const lower = { discardGranularityBytes: 32768 };
  const pair = inSync(120, { lower, disk: { rsDiscardGranularityBytes: 4096 } });
  const { alpha } = pair;
  const said = (): string[] => alpha.log.filter((line) => line.includes('rs_discard'));
  t.is(alpha.volume.diskOptions.rsDiscardGranularityBytes, 32768);
  t.regex(said().join(), /info drbd0: rs_discard_granularity changed to 32768$/);
  const options = { ...alpha.volume.diskOptions, rsDiscardGranularityBytes: 40_000 };
  alpha.loop.enter(() => changeDiskOptions(alpha.volume, options, () => {}));
  t.is(alpha.volume.diskOptions.rsDiscardGranularityBytes, 65536);
  t.is(said().length, 2);
  const second = inSync(121, { lower: LOWER.not, disk: { rsDiscardGranularityBytes: 4096 } });
  t.is(second.alpha.volume.diskOptions.rsDiscardGranularityBytes, 0);
  t.regex(second.alpha.log.join(), /rs_discard_granularity feature disabled/);
});
