/**
 * What happens to meta-data before every attach: the activity log is replayed into the bitmap, the ring is
 * initialized and the superblock marked clean. drbdmeta's `apply-al` and drbdd's attach share this decision.
 * Source: docs/METADATA.md section 5, "Replay".
 */
import {
  AL_BLOCK_BYTES,
  type AlReplay,
  encodeInitialized,
  FREE_EXTENT,
  replayAl,
} from './activity-log.js';
import { MAGIC_V08, MDF, type Superblock } from './superblock.js';
import { AL_EXTENT_BITMAP_BYTES } from './units.js';

export interface ApplyPlan {
  readonly replay: AlReplay;
  /** Refuse: the log is needed (PRIMARY_IND) and cannot be interpreted. */
  readonly failed: boolean;
  /** The log's error does not matter: the node was not Primary, or everything is out of sync anyway. */
  readonly errorIgnored: boolean;
  /** Extents whose bits are to be set on disk first. Empty when the node was not Primary. */
  readonly mark: readonly number[];
  /** The bitmap was (or would have been) touched: drbdmeta reports how much. */
  readonly applied: boolean;
  /** Then the ring is written anew, with `encodeRing`. */
  readonly initializeRing: boolean;
  /** Then the superblock is written; null when it is right already. */
  readonly superblock: Superblock | null;
}

/**
 * The order is the caller's duty: bitmap, flush, ring, flush, superblock. A crash in between repeats all of it, since
 * magic and AL_CLEAN change last.
 */
export function planApplyAl(sb: Superblock, ring: Uint8Array): ApplyPlan {
  const replay = replayAl(ring, sb);
  const primary = (sb.flags & MDF.PRIMARY_IND) !== 0;
  // With FULL_SYNC everything counts as out of sync, so no log is needed either.
  const needed = primary && (sb.flags & MDF.FULL_SYNC) === 0;
  const failed = replay.error !== null && needed;
  const errorIgnored = replay.error !== null && !needed;
  const applied = !failed && primary && replay.transactions > 0;
  const clean = sb.magic === MAGIC_V08 && (sb.flags & MDF.AL_CLEAN) !== 0;
  return {
    replay,
    failed,
    errorIgnored,
    mark: applied ? replay.hotExtents : [],
    applied,
    initializeRing: !failed && (errorIgnored || replay.transactions > 0 || replay.format === '8.3'),
    superblock:
      failed || (clean && !applied)
        ? null
        : { ...sb, magic: MAGIC_V08, flags: (sb.flags | MDF.AL_CLEAN) >>> 0 },
  };
}

/** A ring of `initialized` blocks. */
export function encodeRing(blocks: number): Uint8Array {
  const ring = new Uint8Array(blocks * AL_BLOCK_BYTES);
  if (blocks > 0) encodeInitialized(ring, 0);
  for (let at = AL_BLOCK_BYTES; at < ring.length; at += AL_BLOCK_BYTES) {
    ring.copyWithin(at, 0, AL_BLOCK_BYTES);
  }
  return ring;
}

/**
 * Sets all bits of the extents in a stretch of the on-disk bitmap, which begins `bitmapAt` bytes into it; extents, or
 * parts of them, outside are left out. The result is the number of bits that were 0, bits past the device's end
 * included, as drbdmeta counts them.
 */
export function applyAl(bytes: Uint8Array, extents: readonly number[], bitmapAt = 0): number {
  let set = 0;
  for (const extent of extents) {
    if (extent === FREE_EXTENT) continue;
    const start = Math.max(0, extent * AL_EXTENT_BITMAP_BYTES - bitmapAt);
    const end = Math.min(bytes.length, (extent + 1) * AL_EXTENT_BITMAP_BYTES - bitmapAt);
    for (let at = start; at < end; at++) {
      for (let zeroes = ~(bytes[at] as number) & 0xff; zeroes > 0; zeroes &= zeroes - 1) set++;
      bytes[at] = 0xff;
    }
  }
  return set;
}
