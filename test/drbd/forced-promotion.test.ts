/** Two new copies, one of them is forced Primary: the other one is copied, whatever becomes of the role meanwhile. */
import test from 'ava';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { block, SimPair } from '../support/sim-pair.js';

for (const slowMs of [0, 5, 300]) {
  test(`Secondary again, maybe before its disk (${slowMs} ms) has the generation that the peer is to be told of`, (t) => {
    for (const afterMs of [0, 3, 100]) {
      const pair = new SimPair(1, { sizeBytes: 2 << 20 });
      const { alpha, beta } = pair;
      alpha.disk.write(0, block(7), true);
      for (const node of [alpha, beta]) node.attach();
      for (const node of [alpha, beta]) node.connect();
      for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
      alpha.disk.slowMs = slowMs;
      alpha.loop.enter(() => setPrimary(alpha.volume, true, () => {}));
      alpha.until(/ro:Primary/);
      pair.run(afterMs);
      t.is(alpha.ask(setSecondary).kind, 'ok');
      alpha.disk.slowMs = 0;
      pair.settled();
      t.is(pair.firstDifference(), -1);
    }
  });
}
