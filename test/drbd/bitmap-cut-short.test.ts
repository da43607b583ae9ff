/** A connection that is lost in the middle of a bitmap: what has come of it counts as marked, in memory as on disk. */
import test from 'ava';
import { newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { block, SimPair } from '../support/sim-pair.js';

test('the source has a part of the merged bitmap: it is counted, and goes to disk', (t) => {
  const pair = new SimPair(1, { sizeBytes: 8 * 2 ** 30 });
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  t.is(alpha.ask((v, done) => newCurrentUuid(v, true, done)).kind, 'ok');
  pair.settled();
  t.is(alpha.ask((v, done) => setPrimary(v, false, done)).kind, 'ok');
  beta.disconnect();
  t.is(alpha.write(0, block(1)), 0);
  const ours = alpha.volume.bitmap;
  const theirs = beta.volume.bitmap;
  if (!ours || !theirs) throw new Error('no bitmap');
  for (let bit = 1; bit < theirs.bits; bit += 2) theirs.setRange(bit, bit); // no runs: packets of plain words
  beta.connect();
  pair.until(() => ours.isSet(1), 'the first packet');
  pair.net.reset('replication');
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection/);
  pair.run(500);
  const last = ours.bits - 1;
  t.false(ours.isSet(last - ((last + 1) % 2))); // not all of it has come
  t.is(ours.count, ours.countRange(0, last));
  alpha.crash(true);
  alpha.attach();
  t.true(alpha.volume.bitmap?.isSet(1));
});
