/** The engine dies under its users and is started again: they see no older data than before, wherever they come from. */
import test from 'ava';
import { resumeRole } from '../../src/drbd/roles.js';
import { block, SimPair, type SimPairNode } from '../support/sim-pair.js';

/** What the angel and the successor do. */
function resume(node: SimPairNode, withDisk: boolean): void {
  const { exposedUuid } = node.volume;
  node.crash(false);
  node.volume.exposedUuid = exposedUuid;
  node.volume.resuming = true;
  if (withDisk) node.attach();
  if (node.ask(resumeRole).kind !== 'ok') throw new Error('refused');
  node.connect();
}

// Swarm seed 1024.
test('what was written alone after a restart is not forgotten when the disk is lost, too', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  pair.upToDate();
  pair.run(1000); // the bitmap is on disk
  const { alpha, beta } = pair;
  t.is(alpha.write(8, block(1)), 0);
  pair.net.cut('replication');
  resume(alpha, true);
  t.is(alpha.write(8, block(2)), 0); // beta does not have it
  resume(alpha, false);
  beta.until(/cs:WFConnection/);
  pair.net.heal('replication');
  alpha.until(/cs:StandAlone/); // its users would see block(1) again
  t.true(alpha.log.some((line) => line.includes('Can only connect to data with current UUID')));
});

test('after a restart alone the other node gets what it misses, and only that', (t) => {
  const pair = new SimPair(1, { sizeBytes: 16 << 20 });
  pair.upToDate();
  pair.run(1000); // the bitmap is on disk
  const { alpha, beta } = pair;
  t.is(alpha.write(8, block(1)), 0);
  pair.net.cut('replication');
  resume(alpha, true);
  t.is(alpha.write(8, block(2)), 0);
  beta.until(/cs:WFConnection/);
  pair.net.heal('replication');
  pair.settled();
  t.is(pair.firstDifference(), -1);
  t.deepEqual(alpha.read(8, 4096), block(2));
  t.true(
    beta.log.some((line) => /Began resync as SyncTarget \(will sync [1-9]\d{3} KB/.test(line)),
  );
});
