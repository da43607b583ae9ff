/** A Primary that goes on alone after fencing: what it writes then is found and copied, whatever fence-peer said. */
import test from 'ava';
import { detach } from '../../src/drbd/roles.js';
import { SimPair } from '../support/sim-pair.js';

const block = (n: number): Uint8Array => new Uint8Array(4096).fill(n);

// Swarm seed 1044: exit 3, because the peer had no disk when it was asked.
for (const exit of [3, 4, 5, 7]) {
  test(`resource-and-stonith, fence-peer says ${exit}: a new generation begins before I/O goes on`, (t) => {
    const pair = new SimPair(1, {
      sizeBytes: 2 << 20,
      disk: { fencing: 'resource-and-stonith' },
    });
    pair.alpha.exits['fence-peer'] = exit;
    pair.upToDate();
    const before = pair.alpha.volume.uuids.current;
    pair.net.cut('replication');
    pair.alpha.until(/cs:WFConnection/);
    t.is(pair.alpha.write(8, block(1)), 0);
    t.not(pair.alpha.volume.uuids.current, before);
    pair.beta.until(/cs:WFConnection/);
    t.is(pair.beta.ask((v, done) => detach(v, true, done)).kind, 'ok');
    pair.beta.attach();
    pair.net.heal('replication');
    pair.settled();
    t.is(pair.firstDifference(), -1);
  });
}
