/**
 * Data go both ways at once, and have all buffers that they can get: each node reads on, whatever it has to send itself
 * (src/host/buffer-pool.ts, link.ts). Two engines in virtual time, with two volumes.
 */
import test from 'ava';
import { detach, invalidate } from '../../src/drbd/disk-verbs.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { verify } from '../../src/drbd/verify-start.js';
import type { Volume } from '../../src/drbd/volume.js';
import { inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';

const MIB = 1 << 20;

/** Two resources: alpha is Primary of the first one, beta of the second one. */
function crossed(): SimPair {
  const pair = inSync(1, { sizeBytes: 32 * MIB, twoResources: true });
  const { alpha, beta } = pair;
  alpha.ask((v, done) => setSecondary(v, done), second(alpha));
  beta.until(/ro:Secondary\/Secondary/, second(beta));
  const outcome = beta.ask((v, done) => setPrimary(v, false, done), second(beta));
  if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
  return pair;
}

function second(node: SimPairNode): Volume {
  if (!node.second) throw new Error('there is no second volume');
  return node.second;
}

/** A MiB of one byte each, as many as there are buffers for; the requests. */
function writesAll(node: SimPairNode, v: Volume, byte: number): readonly number[] {
  const tags: number[] = [];
  for (let i = 0; ; i++) {
    const at = node.io.alloc(MIB);
    if (at < 0) return tags;
    node.io.pool.fill(byte + i, at, at + MIB);
    const sector = (i % 30) * 2048;
    tags.push(node.begin((tag) => v.write(node, tag, sector, at, MIB, false)));
  }
}

function quiet(pair: SimPair): boolean {
  const lines = [...pair.alpha.log, ...pair.beta.log].join('\n');
  return !/Timeout|failed to finish|NetworkFailure/.test(lines);
}

for (const [bytes, mib, how] of [
  [4096, 8, 'twoVolumes'],
  [16384, 16, 'twoVolumes'],
  [MIB, 96, 'twoVolumes'],
  [16384, 16, 'twoResources'],
] as const) {
  test(`a resync each way, in blocks of ${bytes} bytes, ${how}`, (t) => {
    const disk = { rsDiscardGranularityBytes: bytes };
    const net = { maxBuffers: 40_000 };
    const pair = inSync(1, { sizeBytes: mib * MIB, [how]: true, disk, net });
    const { alpha, beta } = pair;
    const disks = [alpha.disk, alpha.secondDisk, beta.disk, beta.secondDisk];
    const sevens = new Uint8Array(MIB).fill(7); // zeroes would not be sent
    for (const d of disks) for (let i = 0; i < mib - 1; i++) d?.write(i * MIB, sevens, true);
    for (const v of [alpha.volume, second(beta)]) {
      v.diskOptions = { ...v.diskOptions, resyncRateKiBps: 200 };
    }
    for (const v of [alpha.volume, second(alpha)]) alpha.ask((w, done) => setSecondary(w, done), v);
    pair.run(1000);
    alpha.ask(invalidate);
    alpha.until(/cs:SyncTarget/);
    beta.ask(invalidate, second(beta));
    beta.until(/cs:SyncTarget/, second(beta));
    for (const d of disks) if (d) d.slowMs = 20;
    for (const v of [alpha.volume, second(beta)]) {
      v.diskOptions = { ...v.diskOptions, resyncRateKiBps: 1 << 20 };
    }
    pair.run(5000);
    for (const d of disks) if (d) d.slowMs = 0;
    pair.settled();
    t.is(pair.firstDifference(), -1);
    t.true(quiet(pair));
  });
}

test('writes each way, and each node has all its buffers full of its own', (t) => {
  const pair = crossed();
  const { alpha, beta } = pair;
  for (let round = 0; round < 3; round++) {
    const asked = [
      [alpha, writesAll(alpha, alpha.volume, 1 + round)],
      [beta, writesAll(beta, second(beta), 101 + round)],
    ] as const;
    for (const [node, tags] of asked) {
      t.true(tags.length > 10);
      for (const tag of tags) t.is(node.answer(tag), 0);
    }
  }
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.true(quiet(pair));
});

test('reads each way, from nodes without a disk', (t) => {
  const pair = crossed();
  const { alpha, beta } = pair;
  alpha.ask((v, done) => detach(v, false, done));
  beta.ask((v, done) => detach(v, false, done), second(beta));
  const asked: [SimPairNode, number, number][] = [];
  for (const [node, v] of [
    [alpha, alpha.volume],
    [beta, second(beta)],
  ] as const) {
    for (let at = node.io.alloc(MIB), i = 0; at >= 0; at = node.io.alloc(MIB), i++) {
      const from = at;
      const tag = node.begin((t) => v.read(node, t, (i % 30) * 2048, from, MIB));
      asked.push([node, tag, at]);
    }
  }
  t.true(asked.length > 20);
  for (const [node, tag, at] of asked) {
    t.is(node.answer(tag), 0);
    node.io.free(at);
  }
  t.true(quiet(pair));
});

for (const kind of ['resync', 'verify'] as const) {
  test(`the connection is read on while the questions of a ${kind} wait for buffers`, (t) => {
    const pair = inSync(1, { twoVolumes: true, net: { verifyAlg: 'crc32c' } });
    const { alpha, beta } = pair;
    const taken: number[] = [];
    for (const bytes of [4096, 65536, MIB]) {
      for (
        let at = alpha.io.alloc(bytes, 'answer');
        at >= 0;
        at = alpha.io.alloc(bytes, 'answer')
      ) {
        taken.push(at);
      }
    }
    beta.ask(kind === 'resync' ? invalidate : (v, done) => verify(v, null, null, done));
    beta.until(kind === 'resync' ? /cs:SyncTarget/ : /cs:VerifyS/);
    pair.run(1000);
    // Behind the questions on the data socket, and answered.
    t.is(beta.ask(invalidate, second(beta)).kind, 'ok');
    alpha.until(/cs:SyncSource/, second(alpha));
    t.notRegex(beta.shown, /cs:Connected/);
    for (const at of taken) alpha.io.free(at);
    pair.settled();
    t.true(quiet(pair));
  });
}
