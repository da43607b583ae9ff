/**
 * A first sync that is skipped (new-current-uuid --clear-bitmap). The node that began it may be a kernel, which does not note what its
 * peer becomes by it; integration/kernel-more.test.ts has the kernel.
 */
import test from 'ava';
import { newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { maskUuid } from '../../src/drbd/generation.js';
import { SimPair } from '../support/sim-pair.js';

test('the node that takes the new generation over says so', (t) => {
  const pair = new SimPair(1);
  const { alpha, beta } = pair;
  for (const node of [alpha, beta]) node.attach();
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:Connected .*Incon.*\/Incon/);
  const before = alpha.volume.peerUuids;
  t.is(alpha.ask((v, done) => newCurrentUuid(v, true, done)).kind, 'ok');
  alpha.volume.peerUuids = before; // as a kernel leaves it
  pair.settled();
  pair.run(1000);
  const current = maskUuid(beta.volume.uuids.current);
  t.is(maskUuid(alpha.volume.uuids.current), current);
  t.is(maskUuid(alpha.volume.peerUuids?.current ?? 0n), current);
});
