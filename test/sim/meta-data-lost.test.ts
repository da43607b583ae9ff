/** Meta-data that cannot be written: whoever asked for it, the disk is let go; nobody goes on with what is not on it. */
import test from 'ava';
import { detach, invalidate } from '../../src/drbd/disk-verbs.js';
import type { MetaLayout } from '../../src/md/layout.js';
import { decodeSuperblock, MDF } from '../../src/md/superblock.js';
import { SimPair, type SimPairNode } from '../support/sim-pair.js';

function layout(node: SimPairNode): MetaLayout {
  return node.volume.store?.layout as MetaLayout;
}

function cannotWrite(node: SimPairNode, sector: number, bytes: number): void {
  node.disk.full = { fromBytes: sector * 512, toBytes: sector * 512 + bytes };
}

// Swarm seed 1131: a Primary's disk became Inconsistent (pass_on), its superblock went on to say UpToDate.
test('the flags of a new state', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20, disk: { onIoError: 'pass_on' } });
  pair.upToDate();
  pair.run(1000);
  const { alpha } = pair;
  cannotWrite(alpha, layout(alpha).superblockSector, 4096);
  alpha.loop.enter(() => alpha.volume.diskFailed('write', 5, 8));
  alpha.until(/ds:Diskless\/UpToDate/);
  alpha.disk.full = null;
  alpha.attach();
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('the bitmap of a disk that was invalidated', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  pair.upToDate();
  const { beta } = pair;
  beta.disconnect();
  cannotWrite(beta, layout(beta).bitmapSector, 4096);
  beta.ask(invalidate);
  beta.until(/ds:Diskless/);
  t.true(beta.log.some((line) => line.includes('meta data IO error')));
});

test('a disk that is let go while its superblock waits keeps the flags of its last good state', (t) => {
  const pair = new SimPair(1, { sizeBytes: 2 << 20 });
  pair.upToDate(); // just now: the superblock of the resync's end is being written
  const { alpha } = pair;
  const { superblockSector } = layout(alpha);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  const superblock = decodeSuperblock(alpha.disk.content(superblockSector * 512, 4096), 0);
  t.is(superblock.flags & MDF.PEER_OUT_DATED, 0);
});
