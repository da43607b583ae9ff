/**
 * A pair in which one node speaks an older protocol version, as a peer of DRBD 8.0 to 8.4.11 does: everything that replication
 * consists of, from the first resync on. Sizes of requests are those of the front ends (up to 1 MiB).
 */
import test from 'ava';
import type { Dialect } from '../../src/drbd/connect.js';
import { detach } from '../../src/drbd/disk-verbs.js';
import { DIALECTS } from '../../src/sim/config.js';
import { SimPair, type SimPairNode, type SimPairOptions } from '../support/sim-pair.js';

const EOPNOTSUPP = 95;
const FEATURE_TRIM = 1;

function noise(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.imul(i + seed, 2654435761) >>> 24;
  return bytes;
}

const agreed = (node: SimPairNode): number | undefined => node.resource.link?.apv;

/** deepEqual of a mebibyte takes seconds. */
const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

function matrix(): [Dialect, SimPairOptions['net']][] {
  const all: [Dialect, SimPairOptions['net']][] = DIALECTS.map((d) => [d, { protocol: 'C' }]);
  for (const protocolMax of [86, 94, 99]) {
    for (const protocol of ['A', 'B'] as const)
      all.push([{ protocolMax, features: 0 }, { protocol }]);
    all.push([
      { protocolMax, features: 0 },
      { dataIntegrityAlg: 'md5', useRle: false },
    ]);
  }
  return all;
}

for (const [dialect, net] of matrix()) {
  const { protocolMax, features } = dialect;
  const settings = Object.values(net ?? {}).join(' ');
  test(`version ${protocolMax}, features ${features}, ${settings}: writes, discards, resync, reads through the peer`, (t) => {
    const pair = new SimPair(protocolMax, { sizeBytes: 6 << 20, dialect, ...(net ? { net } : {}) });
    const { alpha, beta } = pair;
    pair.upToDate();
    t.is(agreed(alpha), protocolMax);
    // Of every length, on borders of pieces and beside them, some on their way at once.
    const tags: number[] = [];
    for (const [i, length] of [512, 4096, 32768, 33280, 65536, 131072, 132096].entries()) {
      tags.push(alpha.beginWrite(1 + i * 700, noise(i, length)));
      tags.push(alpha.beginWrite(64 + i * 700, noise(i, 4096)));
    }
    for (const tag of tags) t.is(alpha.answer(tag), 0);
    const large = noise(7, 1 << 20);
    t.is(alpha.write(3, large), 0);
    t.is(alpha.flush(), 0);
    t.is(alpha.discard(4096, 4096), (features & FEATURE_TRIM) !== 0 ? 0 : EOPNOTSUPP);
    t.is(alpha.write(8192, noise(8, 1 << 20)), 0);
    t.is(alpha.flush(), 0);
    pair.run(1000);
    t.is(pair.firstDifference(), -1);

    // What is written while nobody hears it is copied afterwards, and more is written meanwhile.
    pair.net.cut('replication');
    t.is(alpha.write(6000, noise(9, 1 << 20)), 0);
    pair.run(20_000);
    pair.net.heal('replication');
    beta.until(/cs:SyncTarget/);
    for (let i = 0; i < 10; i++) t.is(alpha.write(5000 + i * 250, noise(i, 131072)), 0);
    pair.settled();
    pair.run(1000);
    t.is(agreed(alpha), protocolMax);
    t.is(pair.firstDifference(), -1);

    // Without its disk the Primary reads and writes through the peer.
    t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
    alpha.until(/ds:Diskless\/UpToDate/);
    const [begin, end] = [0, 4093 * 512]; // what was not written over since
    t.true(equal(alpha.read(3, 1 << 20).subarray(begin, end), large.subarray(begin, end)));
    t.is(alpha.write(9000, noise(10, 1 << 20)), 0);
    t.true(equal(alpha.read(9000, 1 << 20), noise(10, 1 << 20)));
    t.is(alpha.flush(), 0);
    alpha.attach();
    pair.settled();
    pair.run(1000);
    t.is(pair.firstDifference(), -1);
    alpha.disconnect();
    t.regex(alpha.shown, /cs:StandAlone/);
    beta.until(/cs:WFConnection/);
  });
}
