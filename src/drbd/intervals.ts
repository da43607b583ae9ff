/**
 * Which parts of a volume are being written, and who waits for whom.
 *
 * Two writes that overlap must reach both disks in one order, and a resync read must not be overtaken by a write to
 * the same place (docs/PROTOCOL.md, ordering). Every such activity takes an interval. It is active at once when no
 * earlier interval overlaps it, else it waits: first come, first served, so nothing starves and nothing can pass.
 *
 *     enter --no overlap--> active --leave--> (gone; those behind it may become active)
 *       \--overlap--> waiting --all earlier ones gone--> active, `started` is called
 *
 * Intervals are found by buckets of 1 MiB, the largest request; longer ones (discards) are kept in a list of their own.
 */
import { assert } from '../base/assert.js';

export interface Interval {
  sector: number;
  endSector: number; // exclusive
  order: number; // of entering
  active: boolean;
  entered: boolean;
  /** Called, never inside `enter`, when a waiting interval becomes active. */
  started(): void;
}

const BUCKET_SECTORS = 2048; // sectors of 1 MiB
const BUCKETS = 256; // power of two

export class IntervalSet {
  readonly #buckets: Interval[][] = Array.from({ length: BUCKETS }, () => []);
  readonly #long: Interval[] = [];
  readonly #waiting: Interval[] = [];
  #order = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Those that wait now, in their order. */
  waiting(): readonly Interval[] {
    return [...this.#waiting];
  }

  /** True: active now. False: `started` will be called once everything earlier that overlaps has left. */
  enter(interval: Interval): boolean {
    assert(!interval.entered && interval.sector < interval.endSector, 'an interval enters once');
    interval.order = ++this.#order;
    interval.entered = true;
    interval.active = !this.#blocked(interval);
    this.#listOf(interval).push(interval);
    this.#count++;
    if (!interval.active) this.#waiting.push(interval);
    return interval.active;
  }

  leave(interval: Interval): void {
    assert(interval.entered, 'only an interval that entered leaves');
    const list = this.#listOf(interval);
    const i = list.indexOf(interval);
    const last = list.pop() as Interval;
    if (i < list.length) list[i] = last;
    interval.entered = false;
    this.#count--;
    if (!interval.active) this.#waiting.splice(this.#waiting.indexOf(interval), 1);
    interval.active = false;
    if (this.#waiting.length > 0) this.#wake(interval);
  }

  /** Whether anything, active or waiting, touches the range. */
  overlaps(sector: number, endSector: number): boolean {
    return this.#find(sector, endSector, Number.POSITIVE_INFINITY);
  }

  #wake(gone: Interval): void {
    for (let i = 0; i < this.#waiting.length; i++) {
      const w = this.#waiting[i] as Interval;
      if (w.sector >= gone.endSector || gone.sector >= w.endSector) continue;
      if (this.#blocked(w)) continue;
      this.#waiting.splice(i, 1);
      i--;
      w.active = true;
      w.started();
    }
  }

  #blocked(interval: Interval): boolean {
    return this.#find(interval.sector, interval.endSector, interval.order);
  }

  /** Is there an interval that entered before `order` and overlaps? */
  #find(sector: number, endSector: number, order: number): boolean {
    for (let i = 0; i < this.#long.length; i++) {
      if (hits(this.#long[i] as Interval, sector, endSector, order)) return true;
    }
    if (endSector - sector > BUCKET_SECTORS * 16) {
      for (const bucket of this.#buckets) {
        for (const other of bucket) if (hits(other, sector, endSector, order)) return true;
      }
      return false;
    }
    const first = Math.max(0, Math.floor(sector / BUCKET_SECTORS) - 1);
    const last = Math.floor((endSector - 1) / BUCKET_SECTORS);
    for (let b = first; b <= last; b++) {
      const bucket = this.#buckets[b & (BUCKETS - 1)] as Interval[];
      for (let i = 0; i < bucket.length; i++) {
        if (hits(bucket[i] as Interval, sector, endSector, order)) return true;
      }
    }
    return false;
  }

  #listOf(interval: Interval): Interval[] {
    if (interval.endSector - interval.sector > BUCKET_SECTORS) return this.#long;
    const b = Math.floor(interval.sector / BUCKET_SECTORS) & (BUCKETS - 1);
    return this.#buckets[b] as Interval[];
  }
}

function hits(other: Interval, sector: number, endSector: number, order: number): boolean {
  return other.order < order && other.sector < endSector && sector < other.endSector;
}
