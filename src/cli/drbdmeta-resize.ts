/**
 * check-resize: internal meta-data of a device that grew while it was not attached is moved to the new end. Source:
 * docs/METADATA.md section 6.
 *
 *     old:  | data .... | bitmap | log | superblock |
 *     new:  | data ............ | bitmap  | log | superblock |      the areas may overlap
 *
 * The new superblock is written last, and only then is the old area erased. Where the areas overlap, a crash in between
 * costs the old meta-data; so in that case the new superblock is written first too, and asks for a full sync until all
 * the rest is there. (drbdmeta 9.22 loses the meta-data then.) As soon as the new superblock is there its place is noted, and the
 * old one is erased, before what it tells of: the device may grow again before the next try, and what is at the noted place
 * is believed then.
 */
import { isRefused, layoutOfDevice, type MetaLayout } from '../md/layout.js';
import { MDF, type Superblock } from '../md/superblock.js';
import { type Call, type Found, MetaDevice, zero } from './drbdmeta-device.js';

const CHUNK_BYTES = 1 << 20;

export async function checkResize(call: Call): Promise<number> {
  const device = await MetaDevice.open(call, true);
  try {
    const found = device.find();
    if (found?.where === 'moved') return moveMetaData(call, device, found);
    if (found) {
      if (call.index !== 'internal') {
        device.lastKnown.remove();
        return 1; // there is nothing to move; as the original
      }
      const known = device.lastKnown.load();
      const isKnown =
        known?.sizeBytes === device.sizeBytes && known.uuid === found.superblock.deviceUuid;
      if (!isKnown) device.remember(found.superblock);
      return 0;
    }
    call.world.err(
      call.index === 'internal'
        ? 'no suitable meta data found :(\n'
        : 'Operation only supported for >= v8 internal meta data\n',
    );
    return 1;
  } finally {
    device.close();
  }
}

export function moveMetaData(call: Call, device: MetaDevice, found: Found): number {
  const { world } = call;
  const old = found.layout;
  const layout = layoutOfDevice('internal', device.sizeSectors, {
    stripes: old.alStripes,
    stripeSize4k: old.alStripeSize4k,
  });
  if (isRefused(layout)) {
    world.err(`${layout.text}\n`);
    return 1;
  }
  if (layout.bitmapSectors < old.bitmapSectors) {
    world.err('The device is smaller than before: its data would be cut off.\n');
    return 1;
  }
  world.err('Moving the internal meta data to its proper location\n');
  const sb: Superblock = {
    ...found.superblock,
    mdSizeSectors: layout.mdSizeSectors,
    alOffsetSectors: layout.alOffsetSectors,
    bmOffsetSectors: layout.bmOffsetSectors,
  };
  const oldEnd = old.superblockSector + 8;
  const overlap = layout.bitmapSector < oldEnd;
  const log = device.read(old.alSector * 512, old.alBlocks * 4096);
  if (overlap) {
    device.writeSuperblock(layout, { ...sb, flags: sb.flags | MDF.FULL_SYNC });
    moved(device, sb, old);
  }
  copyBitmap(device, old, layout);
  device.write(layout, layout.alSector * 512, log);
  device.sync();
  device.writeSuperblock(layout, sb);
  if (overlap) device.sync();
  else moved(device, sb, old);
  world.out('Internal drbd meta data successfully moved.\n');
  // It lies in the data area now, and is the same on both nodes, whatever their meta-data were (resize --assume-clean); nor is
  // its superblock found again. What overlapped has been written over.
  device.erase(old.bitmapSector, Math.min(oldEnd, layout.bitmapSector));
  device.sync();
  return 0;
}

/** The new superblock has been written: it counts, and the old one no more. */
function moved(device: MetaDevice, sb: Superblock, { superblockSector }: MetaLayout): void {
  device.sync();
  device.remember(sb);
  device.wipeSuperblock(superblockSector);
  device.sync();
}

/**
 * Copies the bitmap towards the end of the device, in pieces from its end to its start, since source and target may
 * overlap. The bits of the part that is new are zero; they are set when the nodes agree on the new size.
 */
function copyBitmap(device: MetaDevice, from: MetaLayout, to: MetaLayout): void {
  const length = from.bitmapSectors * 512;
  const source = from.bitmapSector * 512;
  const target = to.bitmapSector * 512;
  zero(device, to, target + length, to.bitmapSectors * 512 - length);
  for (let left = length; left > 0; ) {
    const piece = Math.min(left, CHUNK_BYTES);
    left -= piece;
    device.write(to, target + left, device.read(source + left, piece));
  }
}
