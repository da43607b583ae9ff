/**
 * Where meta-data lies. Source: docs/METADATA.md section 2.
 *
 *     internal          | data ............ | bitmap | activity log | superblock |   end of the device
 *     flexible, indexed | superblock | activity log | bitmap ................. |     a device, or slot, of its own
 *
 * An internal area is computed from the size of its device, so it moves when the device grows; a superblock found
 * at the computed place says where its own log and bitmap are, and that is what counts (`layoutOfSuperblock`).
 */
import type { Superblock } from './superblock.js';
import { BLOCK_SECTORS } from './units.js';

/** `internal` at the end of the data device, `flexible` on a device of its own, a number: that 128 MiB slot of one. */
export type MetaIndex = 'internal' | 'flexible' | number;

export interface Striping {
  readonly stripes: number;
  readonly stripeSize4k: number; // blocks of 4 KiB
}

export const DEFAULT_STRIPING: Striping = { stripes: 1, stripeSize4k: 8 };

export const SLOT_SECTORS = 262144; // 128 MiB
const DATA_SECTORS_PER_BITMAP_SECTOR = 32768;
/** The kernel refuses smaller meta-data devices (112). */
export const MIN_META_DEVICE_SECTORS = 2048;
/** drbdmeta wants to read this much. */
export const MIN_CREATE_SECTORS = 136;
/** 1 PiB; larger devices are refused by create-md. */
export const MAX_DEVICE_SECTORS = 2 ** 41;
export const MIN_AL_BLOCKS = 8;
export const MAX_AL_BLOCKS = 4194304;

/** All places in sectors of the meta-data device, except the two offsets, which count from the superblock. */
export interface MetaLayout {
  readonly index: MetaIndex;
  readonly superblockSector: number;
  readonly mdSizeSectors: number;
  readonly alOffsetSectors: number;
  readonly bmOffsetSectors: number;
  readonly alStripes: number;
  readonly alStripeSize4k: number;
  readonly alSector: number;
  readonly alBlocks: number; // of 4 KiB: the length of the ring
  readonly bitmapSector: number;
  readonly bitmapSectors: number;
}

export interface LayoutRefusal {
  readonly refused: 'device-too-small' | 'device-too-large' | 'bad-striping' | 'bad-index';
  readonly text: string;
}

/** Where the superblock of a device of that size is; -1 when it cannot hold one. */
export function superblockSector(index: MetaIndex, metaCapacitySectors: number): number {
  if (index === 'flexible') return metaCapacitySectors >= BLOCK_SECTORS ? 0 : -1;
  if (index === 'internal') return roundDown(metaCapacitySectors) - BLOCK_SECTORS;
  const sector = index * SLOT_SECTORS;
  return sector + SLOT_SECTORS <= metaCapacitySectors ? sector : -1;
}

/** The layout that create-md makes on a meta-data device of this size. */
export function layoutOfDevice(
  index: MetaIndex,
  metaCapacitySectors: number,
  striping: Striping = DEFAULT_STRIPING,
): MetaLayout | LayoutRefusal {
  const alBlocks = striping.stripes * striping.stripeSize4k;
  if (!(alBlocks >= MIN_AL_BLOCKS && alBlocks <= MAX_AL_BLOCKS)) {
    return refusal(
      'bad-striping',
      `activity log of ${alBlocks * 4} kB: 32 kB to 16 GB are possible`,
    );
  }
  if (typeof index === 'number') {
    if (!(Number.isInteger(index) && index >= 0)) {
      return refusal('bad-index', `meta-data index ${index}`);
    }
    if (alBlocks !== MIN_AL_BLOCKS || striping.stripes !== 1) {
      return refusal('bad-striping', 'an indexed slot has an activity log of 1 stripe of 32 kB');
    }
  }
  if (metaCapacitySectors < MIN_CREATE_SECTORS) {
    return refusal('device-too-small', `a device of ${metaCapacitySectors} sectors: at least 136`);
  }
  if (metaCapacitySectors > MAX_DEVICE_SECTORS) {
    return refusal('device-too-large', 'devices above 1 PiB are not supported');
  }
  const at = superblockSector(index, metaCapacitySectors);
  if (at < 0) {
    return refusal(
      'device-too-small',
      `slot ${index} ends behind the device of ${metaCapacitySectors} sectors`,
    );
  }
  const alSectors = alBlocks * BLOCK_SECTORS;
  let mdSizeSectors: number;
  let alOffsetSectors: number = BLOCK_SECTORS;
  let bmOffsetSectors = BLOCK_SECTORS + alSectors;
  if (index === 'internal') {
    const bitmapSectors = Math.ceil(metaCapacitySectors / SLOT_SECTORS) * BLOCK_SECTORS;
    mdSizeSectors = BLOCK_SECTORS + alSectors + bitmapSectors;
    alOffsetSectors = -alSectors;
    bmOffsetSectors = -mdSizeSectors + BLOCK_SECTORS;
    if (at + bmOffsetSectors <= 0) {
      return refusal('device-too-small', 'no room for data beside the meta-data');
    }
  } else {
    mdSizeSectors = index === 'flexible' ? metaCapacitySectors : SLOT_SECTORS;
    // A field of 32 bits, and no data device needs more: 2^41 / 32768 sectors of bitmap.
    mdSizeSectors = Math.min(mdSizeSectors, roundDown(0x7fffffff));
    if (bmOffsetSectors >= mdSizeSectors) {
      return refusal('device-too-small', 'no room for a bitmap behind the activity log');
    }
  }
  return makeLayout(index, at, mdSizeSectors, alOffsetSectors, bmOffsetSectors, {
    stripes: striping.stripes,
    stripeSize4k: striping.stripeSize4k,
  });
}

export function isRefused(l: MetaLayout | LayoutRefusal): l is LayoutRefusal {
  return 'refused' in l;
}

/** The layout that a superblock found at `at` describes. It must have passed `wrongLayout`. */
export function layoutOfSuperblock(sb: Superblock, index: MetaIndex, at: number): MetaLayout {
  return makeLayout(index, at, sb.mdSizeSectors, sb.alOffsetSectors, sb.bmOffsetSectors, {
    stripes: sb.alStripes,
    stripeSize4k: sb.alStripeSize4k,
  });
}

/** How much of the data device this meta-data leaves and can describe. */
export function usableSectors(layout: MetaLayout, dataCapacitySectors: number): number {
  // The bitmap is written in whole 4 KiB pages: what is left over at the end of an odd device is not used.
  const described = roundDown(layout.bitmapSectors) * DATA_SECTORS_PER_BITMAP_SECTOR;
  const room = layout.index === 'internal' ? layout.bitmapSector : dataCapacitySectors;
  return Math.max(0, Math.min(room, dataCapacitySectors, described));
}

/** The same layout and place: no "md moved". */
export function sameLayout(a: MetaLayout, b: MetaLayout): boolean {
  return (
    a.superblockSector === b.superblockSector &&
    a.mdSizeSectors === b.mdSizeSectors &&
    a.alOffsetSectors === b.alOffsetSectors &&
    a.bmOffsetSectors === b.bmOffsetSectors &&
    a.alStripes === b.alStripes &&
    a.alStripeSize4k === b.alStripeSize4k
  );
}

function makeLayout(
  index: MetaIndex,
  at: number,
  mdSizeSectors: number,
  alOffsetSectors: number,
  bmOffsetSectors: number,
  striping: Striping,
): MetaLayout {
  return {
    index,
    superblockSector: at,
    mdSizeSectors,
    alOffsetSectors,
    bmOffsetSectors,
    alStripes: striping.stripes,
    alStripeSize4k: striping.stripeSize4k,
    alSector: at + alOffsetSectors,
    alBlocks: striping.stripes * striping.stripeSize4k,
    bitmapSector: at + bmOffsetSectors,
    bitmapSectors:
      alOffsetSectors < 0 ? alOffsetSectors - bmOffsetSectors : mdSizeSectors - bmOffsetSectors,
  };
}

function refusal(refused: LayoutRefusal['refused'], text: string): LayoutRefusal {
  return { refused, text };
}

function roundDown(sectors: number): number {
  return sectors - (sectors % BLOCK_SECTORS);
}
