/** Two production engines over the simulated port, from end to end in virtual time. */
import test from 'ava';
import { SimPair } from '../support/sim-pair.js';

function noise(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.imul(i + seed, 2654435761) >>> 24;
  return bytes;
}

test('first resync, writes, discards, reads: both disks are equal', (t) => {
  for (const seed of [1, 2, 3]) {
    const pair = new SimPair(seed);
    pair.upToDate();
    t.is(pair.firstDifference(), -1);
    for (let i = 0; i < 20; i++) t.is(pair.alpha.write(i * 64, noise(i, 4096 << (i % 5))), 0);
    t.is(pair.alpha.discard(64, 256), 0);
    t.is(pair.alpha.flush(), 0);
    t.deepEqual(pair.alpha.read(19 * 64, 4096), noise(19, 65536).subarray(0, 4096));
    pair.run(2000);
    t.is(pair.firstDifference(), -1);
  }
});

test('whatever happens on the way, the pair finds together again and is equal', (t) => {
  const troubles: readonly [string, (pair: SimPair) => void][] = [
    [
      'cut',
      (pair) => {
        pair.net.cut('replication');
        pair.run(25_000);
        pair.net.heal('replication');
      },
    ],
    [
      'one-way cut',
      (pair) => {
        pair.net.cut('replication', 'beta');
        pair.run(25_000);
        pair.net.heal('replication');
      },
    ],
    ['reset', (pair) => pair.net.reset('replication')],
    ['half-open', (pair) => pair.net.resetOneEnd('replication', 'beta')],
    [
      'beta dies',
      (pair) => {
        pair.beta.crash(false);
        pair.beta.attach();
        pair.beta.connect();
      },
    ],
    [
      'beta loses its power',
      (pair) => {
        pair.beta.crash(true);
        pair.beta.attach();
        pair.beta.connect();
      },
    ],
  ];
  for (let seed = 1; seed <= 4; seed++) {
    for (const [what, happens] of troubles) {
      const pair = new SimPair(seed, { sizeBytes: 4 << 20 });
      pair.upToDate();
      const tags: number[] = [];
      for (let i = 0; i < 20; i++) tags.push(pair.alpha.beginWrite(i * 128, noise(i, 4096)));
      pair.run(seed / 4);
      happens(pair);
      for (const tag of tags) t.is(pair.alpha.answer(tag), 0, what);
      t.is(pair.alpha.write(1000, noise(99, 8192)), 0, what);
      pair.settled();
      pair.run(15_000);
      pair.settled();
      t.is(pair.firstDifference(), -1, `seed ${seed}: ${what}`);
    }
  }
});

test('the same seed gives the same run, to the last line of both logs', (t) => {
  const run = (seed: number): string => {
    const pair = new SimPair(seed, { sizeBytes: 4 << 20 });
    pair.upToDate();
    for (let i = 0; i < 5; i++) pair.alpha.write(i * 8, noise(i, 4096));
    pair.net.reset('replication');
    pair.settled();
    pair.run(5000);
    return [...pair.alpha.log, ...pair.beta.log, pair.world.nowMs].join('\n');
  };
  t.is(run(7), run(7));
  t.not(run(7), run(8));
});
