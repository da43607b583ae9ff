/** Meta-data on their way to the new end of a lower device (lower-size.ts): whatever breaks off, no copy is believed that lacks something. */
import test from 'ava';
import { superblockSector } from '../../src/md/layout.js';
import { decodeSuperblock, MDF } from '../../src/md/superblock.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import { block, inSync } from '../support/sim-pair.js';

const MIB = 1 << 20;
const STEP_MS = 0.15;

// Simulator, seed 2100000955: the old superblock was found, and its log was gone.
for (const kib of [16, 256]) {
  test(`a Primary whose disk grew by ${kib} KiB loses its power in every step of the move, and the disk grows again: its last writes reach the peer`, (t) => {
    let before = 0;
    let after = 0;
    for (let step = 0; step < 50; step++) {
      const what = `step ${step}`;
      const pair = inSync(1);
      const { alpha, beta } = pair;
      beta.crash(true);
      alpha.until(/cs:WFConnection/);
      t.is(alpha.write(16, block(1)), 0);
      t.is(alpha.flush(), 0);
      const larger = 2 * MIB + kib * 1024;
      alpha.disk.resize(larger);
      alpha.loop.enter(() => alpha.volume.lowerSize.examine(() => {}));
      pair.run(step * STEP_MS);
      const noted = alpha.volume.lowerSectors * 512;
      alpha.crash(true);
      alpha.disk.resize(larger + 8192);
      const at = superblockSector('internal', larger / 512) * 512;
      const isThere = decodeSuperblock(alpha.disk.content(at, 4096)).magic !== 0;
      if (noted === larger) t.true(isThere, `${what}: what is noted is there`);
      if (isThere) after++;
      else before++;
      t.is(findMetaData(alpha.disk, noted), alpha.disk.sizeBytes, `${what}: found`);
      alpha.attach();
      t.true(
        alpha.volume.bitmap?.isSet(2),
        `${what}: block 2 was written, and the peer has not got it`,
      );
    }
    t.true(before > 0 && after > 0, `${before} before the new superblock, ${after} after it`);
  });
}

test('the disk takes the new superblock and nothing more: found again, all of it is copied', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  const larger = 2 * MIB + 16384;
  alpha.disk.resize(larger);
  alpha.loop.enter(() => alpha.volume.lowerSize.examine(() => {}));
  pair.until(() => alpha.volume.lowerSectors * 512 === larger, 'the new superblock');
  const at = superblockSector('internal', larger / 512) * 512;
  t.not(decodeSuperblock(alpha.disk.content(at, 4096)).flags & MDF.FULL_SYNC, 0);
  alpha.crash(true);
  alpha.disk.resize(larger + 8192);
  findMetaData(alpha.disk, larger);
  alpha.attach();
  t.is(alpha.volume.bitmap?.count, alpha.volume.bitmap?.bits);
});
