/** A Primary without data of its own reads what its peer has: never something older than what it was answered. */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { block, SimPair } from '../support/sim-pair.js';

// Swarm seed 416 of the version before heartbeat was in the simulator.
test('protocol B: an answered write that waits for its turn at the peer is seen by a read behind it', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20, net: { protocol: 'B' } });
  pair.upToDate();
  t.is(pair.alpha.write(8, block(1)), 0);
  t.is(pair.alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  pair.beta.disk.slowMs = 50;
  for (let n = 2; n < 12; n++) {
    t.is(pair.alpha.write(8, block(n)), 0);
    pair.alpha.begin((tag) => pair.alpha.volume.flush(pair.alpha, tag));
    t.deepEqual(pair.alpha.read(8, 4096), block(n));
  }
});
