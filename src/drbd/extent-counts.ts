/**
 * What the further lines of /proc/drbd count (the kernel's proc_details): how often an extent that is asked for was in use already, and
 * how often it had to be brought in. The kernel counts in its LRU lists; here is one list (the activity log), and resyncs count the 16 MiB
 * extents of their requests.
 */

/** `resync:` and `act_log:`. Since the disk was attached, or the resync begun. */
export interface LruCounts {
  readonly used: number; // extents that something is under way in
  readonly total: number;
  readonly hits: number;
  readonly misses: number;
  readonly starving: number; // no room: it waits for others to leave
  readonly locked: number; // it waits for a transaction that is being written
  readonly changed: number; // transactions, or extents, that were brought in
}

export class LogCounts {
  #hits = 0;
  #misses = 0;
  #starving = 0;
  #locked = 0;
  #changed = 0;

  /** A write asked for its extents. `busy`: a transaction was being written. */
  entered(entry: 'hot' | 'wait' | 'full', busy: boolean): void {
    if (entry === 'hot') this.#hits++;
    else if (entry === 'full') this.#starving++;
    else {
      this.#misses++;
      if (busy) this.#locked++;
    }
  }

  committed(): void {
    this.#changed++;
  }

  reset(): void {
    this.#hits = 0;
    this.#misses = 0;
    this.#starving = 0;
    this.#locked = 0;
    this.#changed = 0;
  }

  shown(used: number, total: number): LruCounts {
    const counts = { hits: this.#hits, misses: this.#misses, starving: this.#starving };
    return { used, total, ...counts, locked: this.#locked, changed: this.#changed };
  }
}

const EXTENT_SECTORS = 32_768;
/** Of the kernel's list. */
const RESYNC_EXTENTS = 61;

/** The requests of one resync, in the order in which they were made: a walk through the device. */
export class ResyncCounts {
  #extent = -1;
  #hits = 0;
  #misses = 0;
  #sector = 0;

  reset(): void {
    this.#extent = -1;
    this.#hits = 0;
    this.#misses = 0;
    this.#sector = 0;
  }

  asked(sector: number): void {
    const extent = Math.floor(sector / EXTENT_SECTORS);
    if (extent === this.#extent) this.#hits++;
    else this.#misses++;
    this.#extent = extent;
    this.#sector = sector;
  }

  /** Of the last request. */
  get sector(): number {
    return this.#sector;
  }

  /** `underWay`: sectors of requests that are not done. */
  shown(underWay: Iterable<number>): LruCounts {
    const used = new Set<number>();
    for (const sector of underWay) used.add(Math.floor(sector / EXTENT_SECTORS));
    const { size } = used;
    return {
      used: size,
      total: RESYNC_EXTENTS,
      hits: this.#hits,
      misses: this.#misses,
      starving: 0, // there is no list that could be full
      locked: 0,
      changed: Math.max(0, this.#misses - size),
    };
  }
}
