/**
 * Resync and application writes keep out of each other's way by 16 MiB extents: resync locks an extent while it has
 * requests in it, a write waits while its extent is locked or reserved. Source: docs/METADATA.md section 5, "Resync
 * extents".
 *
 *     (open) --tryLock, writes under way--> reserved --tryLock, writes done--> locked --last unlock--> (open)
 *        \------tryLock, no writes---------------------------------------------^
 *     reserved --tryLock, writes under way and others waiting--> (open)
 *
 * Reserving makes new writes wait so that the extent drains, or a busy one would never be resynchronised. The
 * application goes first all the same: as soon as a write waits for a locked extent, resync gets no further
 * requests there, and a reservation that did not drain by the next attempt is given up. One extent is reserved at a
 * time.
 *
 * The owner asks `mayWrite` before it enters the activity log, and tries waiting writes again when `unlock` returns
 * true or `takeReleased` does. `mayWrite` does not allocate.
 */
import { assert } from '../base/assert.js';
import { AL_EXTENTS_PER_RESYNC_EXTENT } from '../md/units.js';
import type { ActivityLog } from './activity-log.js';

/** Extents that are locked at one time; DRBD's LRU has as many. */
export const MAX_LOCKED_EXTENTS = 61;

interface Extent {
  pending: number; // resync requests; 0: reserved only
  priority: boolean; // a write waits
}

export class ResyncExtents {
  readonly #log: ActivityLog;
  readonly #extents = new Map<number, Extent>();
  #reserved = -1;
  #released = false;

  constructor(log: ActivityLog) {
    this.#log = log;
  }

  /** A resync request wants to begin in `extent`. True: it may, and is followed by one `unlock`. */
  tryLock(extent: number): boolean {
    if (this.#reserved >= 0 && this.#reserved !== extent) this.#release(this.#reserved);
    const known = this.#extents.get(extent);
    if (known && known.pending > 0) {
      if (known.priority) return false;
      known.pending++;
      return true;
    }
    if (this.#isWrittenTo(extent)) {
      if (known?.priority) this.#release(extent);
      else this.#reserve(extent);
      return false;
    }
    if (!known && this.#extents.size >= MAX_LOCKED_EXTENTS) return false;
    if (this.#reserved === extent) this.#reserved = -1;
    if (known) known.pending = 1;
    else this.#extents.set(extent, { pending: 1, priority: false });
    return true;
  }

  /** A resync request is done. True: the extent is open again, and a write waits for it. */
  unlock(extent: number): boolean {
    const known = this.#extents.get(extent);
    assert(known && known.pending > 0, 'unlock follows tryLock');
    known.pending--;
    if (known.pending > 0) return false;
    this.#extents.delete(extent);
    return known.priority;
  }

  /** Resync stopped: no reservation is left behind. Locked extents open with their last request. */
  stop(): void {
    if (this.#reserved >= 0) this.#release(this.#reserved);
  }

  /** May a write to these activity-log extents begin? False: it waits, and resync is told to make way. */
  mayWrite(firstAlExtent: number, lastAlExtent: number): boolean {
    if (this.#extents.size === 0) return true;
    let may = true;
    const last = Math.floor(lastAlExtent / AL_EXTENTS_PER_RESYNC_EXTENT);
    for (let e = Math.floor(firstAlExtent / AL_EXTENTS_PER_RESYNC_EXTENT); e <= last; e++) {
      const known = this.#extents.get(e);
      if (!known) continue;
      known.priority = true;
      may = false;
    }
    return may;
  }

  /** True once after a reservation was given up: writes that wait are to be tried again. */
  takeReleased(): boolean {
    const released = this.#released;
    this.#released = false;
    return released;
  }

  isLocked(extent: number): boolean {
    return this.pending(extent) > 0;
  }

  /** Resync requests under way in the extent. */
  pending(extent: number): number {
    return this.#extents.get(extent)?.pending ?? 0;
  }

  /** Extents locked or reserved. */
  get size(): number {
    return this.#extents.size;
  }

  #isWrittenTo(extent: number): boolean {
    const first = extent * AL_EXTENTS_PER_RESYNC_EXTENT;
    for (let e = first; e < first + AL_EXTENTS_PER_RESYNC_EXTENT; e++) {
      if (this.#log.isActive(e)) return true;
    }
    return false;
  }

  #reserve(extent: number): void {
    if (this.#extents.has(extent) || this.#extents.size >= MAX_LOCKED_EXTENTS) return;
    this.#extents.set(extent, { pending: 0, priority: false });
    this.#reserved = extent;
  }

  #release(extent: number): void {
    const known = this.#extents.get(extent);
    if (known?.priority) this.#released = true;
    this.#extents.delete(extent);
    this.#reserved = -1;
  }
}
