/**
 * create-md and wipe-md: what is asked before existing data or meta-data is given up, in which order, and what is
 * written. Source: docs/METADATA.md section 7.
 */
import { PROBE_BYTES, probeContent } from '../md/content-probe.js';
import { DEFAULT_STRIPING, type MetaLayout, usableSectors } from '../md/layout.js';
import { freshSuperblock, MAGIC_V07, MAGIC_V09 } from '../md/superblock.js';
import { bitmapBytes, bitsOfSectors } from '../md/units.js';
import { type Call, confirmed, Exit, MetaDevice, writeRing, zero } from './drbdmeta-device.js';
import { moveMetaData } from './drbdmeta-resize.js';

export async function createMd(call: Call): Promise<number> {
  const { world, options } = call;
  const device = await MetaDevice.open(call, true);
  try {
    const striping = options.striping ?? DEFAULT_STRIPING;
    const found = device.find();
    if (found?.where === 'moved' && !options.force) {
      const same =
        found.layout.alStripes === striping.stripes &&
        found.layout.alStripeSize4k === striping.stripeSize4k;
      if (options.striping && !same) {
        world.err(
          'Cannot move after offline resize and change AL-striping at the same time, yet.\n',
        );
        return 20;
      }
      if (await confirmed(call, 'Move internal meta data from last-known position?\n')) {
        await mayDestroy(call, device, device.freshLayout(striping));
        return moveMetaData(call, device, found);
      }
    }
    const layout = device.freshLayout(striping);
    const isStriped =
      found?.where === 'here' &&
      (found.layout.alStripes !== striping.stripes ||
        found.layout.alStripeSize4k !== striping.stripeSize4k);
    const obsolete = await mayReplace(call, device, found?.where === 'here', isStriped);
    await mayDestroy(call, device, layout);

    if (found?.where === 'here') {
      // What is about to be zeroed must not be vouched for by the old superblock.
      device.wipeSuperblock(layout.superblockSector);
      device.sync();
    }
    const length = initializedBitmapBytes(device, layout);
    world.err(`initializing bitmap (${humanSize(length / 1024)}) to all zero\n`);
    zero(device, layout, layout.bitmapSector * 512, length);
    world.out('initializing activity log\n');
    writeRing(device, layout);
    device.sync(); // the superblock must not vouch for a log that is not there
    world.out('Writing meta data...\n');
    const sb = freshSuperblock(layout, options.peerMaxBioBytes);
    device.writeSuperblock(layout, sb);
    device.sync();
    if (obsolete !== null) {
      device.wipeSuperblock(obsolete);
      device.sync();
    }
    device.remember(sb);
    world.out('New drbd meta data block successfully created.\n');
    return 0;
  } finally {
    device.close();
  }
}

/** As drbdmeta does: as many bits as the meta-data device has, at most all there is room for. */
function initializedBitmapBytes(device: MetaDevice, layout: MetaLayout): number {
  const bytes = bitmapBytes(bitsOfSectors(device.sizeSectors));
  return Math.min(bytes, layout.bitmapSectors * 512);
}

/** Existing meta-data is replaced only after a "yes". The result is a superblock elsewhere to wipe afterwards. */
async function mayReplace(
  call: Call,
  device: MetaDevice,
  hasV08: boolean,
  isStriped: boolean, // otherwise than what is asked for
): Promise<number | null> {
  const { world, index } = call;
  if (hasV08 && index !== 'internal') {
    await orCancel(call, 'Valid meta data seems to be in place.\nDo you really want to overwrite?');
    return null;
  }
  const other = hasV08 ? null : otherVersion(call, device);
  if (other === null) {
    const isTwoPlaces = index === 'internal' && fixedSector(device) >= 0;
    const absent = [...(isTwoPlaces ? ['v07'] : []), 'v07', ...(hasV08 ? [] : ['v08']), 'v09'];
    for (const version of absent) device.verbosely(`${version} Magic number not found`);
  }
  if (!hasV08 && other === null) return null;
  const version = hasV08 ? 'v08' : (other?.version ?? '');
  if (index === 'internal') {
    const fixed = other?.fixed === true;
    const at = (fixed ? (other?.sector ?? 0) : device.superblockSector) * 512;
    world.err(
      'You want me to create a v08 style flexible-size internal meta data block.\n' +
        `There appears to be a ${version} ${fixed ? 'fixed-size' : 'flexible-size'} internal ` +
        `meta data block\nalready in place on ${call.device} at byte offset ${at}\n`,
    );
  }
  if (hasV08) {
    if (isStriped) await notRestriped(call);
    await orCancel(call, 'Do you really want to overwrite the existing meta-data?');
    return null;
  }
  // Converting is not supported: data of 0.7 or 9 are taken over by a full sync.
  await orCancel(
    call,
    `So you want me to replace the ${version} meta-data\nwith newly initialized v08 meta-data?`,
  );
  return other?.fixed === true ? other.sector : null;
}

/** A wish to keep all else is not granted: by way of a dump it is. */
async function notRestriped(call: Call): Promise<void> {
  const question = 'Do you want to change the activity log stripe settings *only*?';
  if (!(await confirmed(call, question))) return;
  call.world.err(
    'Sorry, not yet fully implemented\nTry dump-md > dump.txt; restore-md -s x -z y dump.txt\n',
  );
  throw new Exit(30);
}

interface OtherVersion {
  readonly version: string;
  readonly sector: number;
  readonly fixed: boolean; // at the place of 0.7: 128 MiB before the end
}

/** Where 0.7 had its meta-data: 128 MiB before the end; negative: no room. */
function fixedSector(device: MetaDevice): number {
  return device.sizeSectors - (device.sizeSectors % 8) - 262144;
}

/** Superblocks of 0.7 and 9 are told by their magic: at byte 28 and 60. */
function otherVersion(call: Call, device: MetaDevice): OtherVersion | null {
  const magicAt = (sector: number, offset: number): number => {
    const block = device.read(sector * 512, 4096);
    return new DataView(block.buffer).getUint32(offset);
  };
  if (call.index === 'internal') {
    const sector = fixedSector(device);
    if (sector >= 0 && magicAt(sector, 28) === MAGIC_V07) {
      return { version: 'v07', sector, fixed: true };
    }
  }
  const sector = device.superblockSector;
  if (magicAt(sector, 28) === MAGIC_V07) return { version: 'v07', sector, fixed: false };
  if (magicAt(sector, 60) === MAGIC_V09) return { version: 'v09', sector, fixed: false };
  return null;
}

async function orCancel(call: Call, question: string): Promise<void> {
  if (await confirmed(call, question)) return;
  call.world.out('Operation cancelled.\n');
  throw new Exit(1);
}

const ZERO_OUT_FIRST =
  'If you want me to do this, you need to zero out the first part\n' +
  'of the device (destroy the content).\n' +
  'You should be very sure that you mean it.\n' +
  'Operation refused.\n\n';
const TRUNCATED =
  'Device size would be truncated, which\n' +
  'would corrupt data and result in\n' +
  "'access beyond end of device' errors.\n";

/** Refuses to overwrite, or cut off, what looks like somebody's data; asks where it cannot tell. */
export async function mayDestroy(
  call: Call,
  device: MetaDevice,
  layout: MetaLayout,
): Promise<void> {
  const { world, options } = call;
  const content = probeContent(device.read(0, PROBE_BYTES));
  if (!content) return;
  world.out(
    `md_offset ${layout.superblockSector * 512}\n` +
      `al_offset ${layout.alSector * 512}\n` +
      `bm_offset ${layout.bitmapSector * 512}\n` +
      `\nFound ${content.name}\n`,
  );
  const ignored = (): boolean => {
    if (options.ignoreSanityChecks) world.out('\nIgnoring sanity check on user request.\n\n');
    return options.ignoreSanityChecks;
  };
  if (!content.recognized) {
    world.out('\n ==> This might destroy existing data! <==\n');
  } else if (call.index !== 'internal') {
    world.out('\nThis would corrupt existing data.\n');
    if (ignored()) return;
    world.out(ZERO_OUT_FIRST);
    throw new Exit(40);
  } else {
    const usableKb = Math.floor(usableSectors(layout, device.sizeSectors) / 2);
    const left = `${String(usableKb).padStart(12)} kB left usable by current configuration\n`;
    if (content.sizeBytes === null) {
      world.out(`${left}${TRUNCATED}`);
      if (ignored()) return;
      world.out(ZERO_OUT_FIRST);
      throw new Exit(40);
    }
    const usedKb = Math.ceil(content.sizeBytes / 1024);
    world.out(`${String(usedKb).padStart(12)} kB data area apparently used\n${left}`);
    if (usedKb > usableKb) {
      world.out(
        `\n${TRUNCATED}You need to either\n` +
          '   * use external meta data (recommended)\n' +
          '   * shrink that filesystem first\n' +
          '   * zero out the device (destroy the filesystem)\n' +
          'Operation refused.\n\n',
      );
      throw new Exit(40);
    }
    world.out(
      '\nEven though it looks like this would place the new meta data into\n' +
        'unused space, you still need to confirm, as this is only a guess.\n',
    );
  }
  if (await confirmed(call, 'Do you want to proceed?')) return;
  world.out('Operation canceled.\n');
  throw new Exit(1);
}

export async function wipeMd(call: Call): Promise<number> {
  const { world } = call;
  const device = await MetaDevice.open(call, true);
  try {
    if (device.find()?.where !== 'here') {
      world.err('There appears to be no drbd meta data to wipe out?\n');
      return 0;
    }
    if (!(await confirmed(call, 'Do you really want to wipe out the DRBD meta data?'))) {
      world.out('Operation cancelled.\n');
      return 1;
    }
    world.out('Wiping meta data...\n');
    device.wipeSuperblock(device.superblockSector);
    device.sync();
    world.out('DRBD meta data block successfully wiped out.\n');
    device.lastKnown.remove();
    return 0;
  } finally {
    device.close();
  }
}

/** `4 KB`, `24 MB`: of KiB, with at most four digits. */
export function humanSize(kib: number): string {
  const units = ['K', 'M', 'G', 'T', 'P', 'E'];
  let size = Math.floor(kib);
  let unit = 0;
  while (size >= 10000 && unit < units.length - 1) {
    size = Math.floor(size / 1024) + (Math.floor(size / 512) % 2);
    unit++;
  }
  return `${size} ${units[unit] ?? ''}B`;
}
