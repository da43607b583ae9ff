/**
 * The units of DRBD's meta-data, and the only place where they are converted. Source: docs/METADATA.md.
 *
 * A sector is 512 bytes. A bitmap bit covers 4 KiB of data, an activity-log extent 4 MiB (1024 bits, 128 bytes of
 * bitmap), a resync extent 16 MiB, a 4 KiB page of the bitmap 128 MiB. Numbers stay exact to 2^53; no bit operators on
 * sectors or bit numbers, which pass 2^31 on devices above 8 TiB.
 */
export const SECTOR_BYTES = 512;
export const BLOCK_BYTES = 4096; // of data per bit; also the unit in which meta-data is read and written
export const BLOCK_SECTORS = 8;

export const AL_EXTENT_SECTORS = 8192;
export const AL_EXTENT_BITS = 1024;
export const AL_EXTENT_BITMAP_BYTES = 128;
export const AL_EXTENTS_PER_PAGE = 32;

export const RESYNC_EXTENT_SECTORS = 32768;
export const RESYNC_EXTENT_BITS = 4096;
export const AL_EXTENTS_PER_RESYNC_EXTENT = 4;

export const PAGE_BYTES = 4096;
export const PAGE_BITS = 32768;

/** Bits of the bitmap of a device of this size. */
export function bitsOfSectors(sectors: number): number {
  return Math.ceil(sectors / BLOCK_SECTORS);
}

/** Bytes that hold `bits` bits on disk: whole 64-bit words, rounded up to 4 KiB pages. */
export function bitmapBytes(bits: number): number {
  return Math.ceil(bits / PAGE_BITS) * PAGE_BYTES;
}

export function alExtentOfSector(sector: number): number {
  return Math.floor(sector / AL_EXTENT_SECTORS);
}

/** The bitmap page that holds the bits of an activity-log extent. */
export function pageOfAlExtent(extent: number): number {
  return Math.floor(extent / AL_EXTENTS_PER_PAGE);
}
