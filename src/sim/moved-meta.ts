/**
 * What `drbdmeta apply-al`, which runs before each attach, does with internal meta-data of a disk that grew while nobody looked:
 * they are found where they were when the disk was last seen (/var/lib/drbd/*.lkbd), and moved to its new end. The program
 * itself is cli/drbdmeta-resize.ts; here the whole of it happens at once.
 */
import { assert } from '../base/assert.js';
import { isRefused, layoutOfDevice, layoutOfSuperblock, superblockSector } from '../md/layout.js';
import {
  decodeSuperblock,
  encodeSuperblock,
  MAGIC_UNCLEAN,
  MAGIC_V08,
  SUPERBLOCK_BYTES,
  type Superblock,
} from '../md/superblock.js';
import type { SimDisk } from './sim-disk.js';

/** The size to look for the next time: with meta-data at its end that of now. */
export function findMetaData(disk: SimDisk, lastKnownBytes: number): number {
  if (superblockAt(disk, disk.sizeBytes)) return disk.sizeBytes;
  const found = disk.sizeBytes > lastKnownBytes ? superblockAt(disk, lastKnownBytes) : null;
  if (!found) return lastKnownBytes;
  move(disk, found, superblockSector('internal', lastKnownBytes / 512));
  return disk.sizeBytes;
}

function superblockAt(disk: SimDisk, sizeBytes: number): Superblock | null {
  const at = superblockSector('internal', sizeBytes / 512);
  const sb = decodeSuperblock(disk.content(at * 512, SUPERBLOCK_BYTES));
  return sb.magic === MAGIC_V08 || sb.magic === MAGIC_UNCLEAN ? sb : null;
}

function move(disk: SimDisk, sb: Superblock, at: number): void {
  const from = layoutOfSuperblock(sb, 'internal', at);
  const to = layoutOfDevice('internal', disk.sizeBytes / 512, {
    stripes: from.alStripes,
    stripeSize4k: from.alStripeSize4k,
  });
  assert(!isRefused(to), 'a larger disk has room for meta-data');
  const bitmap = new Uint8Array(to.bitmapSectors * 512); // what is new in it is zero
  bitmap.set(disk.content(from.bitmapSector * 512, from.bitmapSectors * 512));
  const ring = disk.content(from.alSector * 512, from.alBlocks * 4096);
  const erased = (Math.min(at + 8, to.bitmapSector) - from.bitmapSector) * 512;
  disk.write(from.bitmapSector * 512, new Uint8Array(erased), true);
  disk.write(to.bitmapSector * 512, bitmap, true);
  disk.write(to.alSector * 512, ring, true);
  const block = new Uint8Array(SUPERBLOCK_BYTES);
  encodeSuperblock(
    {
      ...sb,
      mdSizeSectors: to.mdSizeSectors,
      alOffsetSectors: to.alOffsetSectors,
      bmOffsetSectors: to.bmOffsetSectors,
    },
    block,
  );
  disk.write(to.superblockSector * 512, block, true);
}
