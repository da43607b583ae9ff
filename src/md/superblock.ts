/**
 * The v08 superblock: 4096 bytes, big-endian, on the meta-data device. Source: docs/METADATA.md section 1.
 *
 * The 8.4 kernel and drbdd write magic MAGIC_UNCLEAN while attached, so every attach begins with a replay of the
 * activity log (`apply-al`), which writes MAGIC_V08 and AL_CLEAN.
 */
import type { MetaIndex, MetaLayout } from './layout.js';

export const SUPERBLOCK_BYTES = 4096;

export const MAGIC_V06 = 0x83740269;
export const MAGIC_V07 = 0x8374026a;
export const MAGIC_V08 = 0x8374026b;
export const MAGIC_UNCLEAN = 0x8374026c;
export const MAGIC_V09 = 0x8374026d;

/** Flags (MDF_*). */
export const MDF = {
  CONSISTENT: 0x001,
  PRIMARY_IND: 0x002,
  CONNECTED_IND: 0x004,
  FULL_SYNC: 0x008, // the bitmap on disk is not valid: all bits count as set
  WAS_UP_TO_DATE: 0x010,
  PEER_OUT_DATED: 0x020,
  CRASHED_PRIMARY: 0x040,
  AL_CLEAN: 0x080, // only apply-al and create-md set it
  AL_DISABLED: 0x100, // the activity log does not say which extents were in use
} as const;

export const UUID_JUST_CREATED = 4n;

export interface Superblock {
  readonly laSizeSectors: number; // 0, u64: last agreed size; 0: never attached
  readonly current: bigint; // 8
  readonly bitmap: bigint; // 16
  readonly history1: bigint; // 24, the younger
  readonly history2: bigint; // 32
  readonly deviceUuid: bigint; // 40, never sent
  readonly flags: number; // 56, MDF bits
  readonly magic: number; // 60
  readonly mdSizeSectors: number; // 64, the whole meta-data area
  readonly alOffsetSectors: number; // 68, signed, from the superblock
  readonly alExtents: number; // 72, slots of the running log; sizes the ring of 8.3
  readonly bmOffsetSectors: number; // 76, signed, from the superblock
  readonly bytesPerBit: number; // 80, 4096
  readonly laPeerMaxBioBytes: number; // 84, 0: unknown
  readonly alStripes: number; // 88; 0 with alStripeSize4k 0 (8.3) reads as 1
  readonly alStripeSize4k: number; // 92; and this as 8
}

export const AL_EXTENTS_OF_CREATE = 257; // what create-md writes; the engine replaces it by its own

/** Any 4096 bytes give a superblock; `checkSuperblock` judges it. Sizes above 2^53 come out inexact and are refused. */
export function decodeSuperblock(bytes: Uint8Array, at = 0): Superblock {
  const v = new DataView(bytes.buffer, bytes.byteOffset + at, SUPERBLOCK_BYTES);
  const stripes = v.getUint32(88);
  const stripeSize4k = v.getUint32(92);
  const unset = stripes === 0 && stripeSize4k === 0;
  return {
    laSizeSectors: Number(v.getBigUint64(0)),
    current: v.getBigUint64(8),
    bitmap: v.getBigUint64(16),
    history1: v.getBigUint64(24),
    history2: v.getBigUint64(32),
    deviceUuid: v.getBigUint64(40),
    flags: v.getUint32(56),
    magic: v.getUint32(60),
    mdSizeSectors: v.getUint32(64),
    alOffsetSectors: v.getInt32(68),
    alExtents: v.getUint32(72),
    bmOffsetSectors: v.getInt32(76),
    bytesPerBit: v.getUint32(80),
    laPeerMaxBioBytes: v.getUint32(84),
    alStripes: unset ? 1 : stripes,
    alStripeSize4k: unset ? 8 : stripeSize4k,
  };
}

/** Writes all 4096 bytes; the reserved ones are zero. */
export function encodeSuperblock(sb: Superblock, out: Uint8Array, at = 0): void {
  out.fill(0, at, at + SUPERBLOCK_BYTES);
  const v = new DataView(out.buffer, out.byteOffset + at, SUPERBLOCK_BYTES);
  v.setBigUint64(0, BigInt(sb.laSizeSectors));
  v.setBigUint64(8, sb.current);
  v.setBigUint64(16, sb.bitmap);
  v.setBigUint64(24, sb.history1);
  v.setBigUint64(32, sb.history2);
  v.setBigUint64(40, sb.deviceUuid);
  v.setUint32(56, sb.flags);
  v.setUint32(60, sb.magic);
  v.setUint32(64, sb.mdSizeSectors);
  v.setInt32(68, sb.alOffsetSectors);
  v.setUint32(72, sb.alExtents);
  v.setInt32(76, sb.bmOffsetSectors);
  v.setUint32(80, sb.bytesPerBit);
  v.setUint32(84, sb.laPeerMaxBioBytes);
  v.setUint32(88, sb.alStripes);
  v.setUint32(92, sb.alStripeSize4k);
}

/** What create-md writes: never attached, Inconsistent, clean. */
export function freshSuperblock(layout: MetaLayout, laPeerMaxBioBytes = 0): Superblock {
  return {
    laSizeSectors: 0,
    current: UUID_JUST_CREATED,
    bitmap: 0n,
    history1: 0n,
    history2: 0n,
    deviceUuid: 0n,
    flags: MDF.AL_CLEAN,
    magic: MAGIC_V08,
    mdSizeSectors: layout.mdSizeSectors,
    alOffsetSectors: layout.alOffsetSectors,
    alExtents: AL_EXTENTS_OF_CREATE,
    bmOffsetSectors: layout.bmOffsetSectors,
    bytesPerBit: 4096,
    laPeerMaxBioBytes,
    alStripes: layout.alStripes,
    alStripeSize4k: layout.alStripeSize4k,
  };
}

/** Why meta-data cannot be used: DRBD's number and text, and for the log what exactly. */
export interface MetaFailure {
  readonly code: 118 | 119 | 165;
  readonly text: string;
  readonly detail: string;
}

export const META_FAILURE_TEXTS: Readonly<Record<MetaFailure['code'], string>> = {
  118: 'IO error(s) occurred during initial access to meta-data.',
  119: 'No valid meta-data signature found.',
  165: "Unclean meta-data found.\nYou need to 'drbdadm apply-al res'",
};

export function metaFailure(code: MetaFailure['code'], detail: string): MetaFailure {
  return { code, text: META_FAILURE_TEXTS[code], detail };
}

export function isUnclean(sb: Superblock): boolean {
  return sb.magic === MAGIC_UNCLEAN || (sb.magic === MAGIC_V08 && (sb.flags & MDF.AL_CLEAN) === 0);
}

/**
 * The checks of an attach, in their order; null when all hold. `superblockSector` is where it was read,
 * `metaCapacitySectors` the size of the device that holds it.
 */
export function checkSuperblock(
  sb: Superblock,
  index: MetaIndex,
  superblockSector: number,
  metaCapacitySectors: number,
): MetaFailure | null {
  if (isUnclean(sb)) return metaFailure(165, `magic ${hex(sb.magic)}, flags ${hex(sb.flags)}`);
  if (sb.magic !== MAGIC_V08) return metaFailure(119, `magic ${hex(sb.magic)}`);
  const wrong = wrongLayout(sb, index, superblockSector, metaCapacitySectors);
  return wrong === null ? null : metaFailure(119, wrong);
}

/** The part of the checks that concerns sizes and places, whether clean or not; null when all hold. */
export function wrongLayout(
  sb: Superblock,
  index: MetaIndex,
  superblockSector: number,
  metaCapacitySectors: number,
): string | null {
  if (sb.bytesPerBit !== 4096) return `bytes per bit ${sb.bytesPerBit}, not 4096`;
  if (sb.alStripes === 0 || sb.alStripeSize4k === 0) {
    return `activity log of ${sb.alStripes} stripes of ${sb.alStripeSize4k} blocks`;
  }
  const alBlocks = sb.alStripes * sb.alStripeSize4k;
  if (alBlocks < 8 || alBlocks > 4194304) return `activity log of ${alBlocks} blocks`;

  let alSectors: number;
  let bitmapSectors: number;
  let firstSector = superblockSector;
  if (sb.alOffsetSectors < 0) {
    if (sb.bmOffsetSectors > sb.alOffsetSectors) return 'bitmap overlaps the activity log';
    alSectors = -sb.alOffsetSectors;
    bitmapSectors = sb.alOffsetSectors - sb.bmOffsetSectors;
    firstSector = superblockSector + sb.bmOffsetSectors;
  } else {
    if (sb.alOffsetSectors !== 8) return `activity log at sector ${sb.alOffsetSectors}, not 8`;
    if (sb.bmOffsetSectors < 8 + alBlocks * 8) return 'bitmap overlaps the activity log';
    alSectors = sb.bmOffsetSectors - 8;
    bitmapSectors = sb.mdSizeSectors - sb.bmOffsetSectors;
  }
  if (
    typeof index === 'number' &&
    (sb.mdSizeSectors !== 262144 ||
      sb.alOffsetSectors !== 8 ||
      sb.bmOffsetSectors !== 72 ||
      sb.alStripes !== 1 ||
      sb.alStripeSize4k !== 8)
  ) {
    return 'not the layout of an indexed slot';
  }
  if (
    metaCapacitySectors < sb.mdSizeSectors ||
    metaCapacitySectors - sb.mdSizeSectors < firstSector ||
    firstSector < 0
  ) {
    return `${sb.mdSizeSectors} sectors of meta-data do not fit on a device of ${metaCapacitySectors}`;
  }
  if (alSectors % 8 !== 0 || alSectors < 64 || alSectors !== alBlocks * 8) {
    return `activity log of ${alSectors} sectors for ${alBlocks} blocks`;
  }
  if (sb.bmOffsetSectors % 8 !== 0) return `bitmap at sector ${sb.bmOffsetSectors}`;
  const neededSectors = Math.floor((sb.laSizeSectors + 7) / 8 / 8 / 512);
  if (bitmapSectors < neededSectors) {
    return `bitmap of ${bitmapSectors} sectors for a device of ${sb.laSizeSectors}`;
  }
  return null;
}

function hex(n: number): string {
  return `0x${n.toString(16).padStart(8, '0')}`;
}
