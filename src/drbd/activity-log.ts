/**
 * The activity log of a Primary in memory: which 4 MiB extents may be written to, as an LRU of slots that is kept on
 * disk in a ring of transactions. After a crash everything in the log on disk is out of sync; so a write may go
 * to the local disk only when its extents are in the *committed* log. Source: docs/METADATA.md section 5.
 *
 *     slot:  free --enter--> pending --prepare--> in flight --commit--> hot --last leave--> idle (LRU)
 *                               ^                     | rollback        ^---- enter --------/ |
 *                               \---------------------/                                       |
 *                               ^---------- enter of another extent evicts the oldest --------/
 *
 * What the owner does
 * - `enterRange` before a write. 'hot': go. 'wait': the references are taken; the write goes when `isHotRange` holds,
 *   which can change at each `commit`. 'full': nothing is taken; queue it and all later ones, try again when `leave`
 *   or `commit` say that slots became free.
 * - `leaveRange` when the write can no longer set bits in the bitmap: local disk done and, if it was sent, the peer's
 *   answer (protocol A, B: its barrier) in, or its bits set. Earlier would let the extent be evicted with a
 *   bitmap page that lacks them.
 * - `pending` > 0 and none in flight: `prepare` a transaction; make the dirty ones among `pages` durable; then
 *   write the block with FUA to its place in the ring; then `commit`. With al-updates off: the same without writing the
 *   block. The superblock with MAGIC_UNCLEAN and PRIMARY_IND is durable before the first of them.
 *
 * Extents are numbers below 2^32 - 1. enter, leave and their like do not allocate.
 */
import { assert } from '../base/assert.js';
import {
  AL_CONTEXT,
  AL_UPDATES,
  alBlockOf,
  beginTransaction,
  FREE_EXTENT,
  maxAlSlots,
  putContext,
  putUpdate,
  sealTransaction,
} from '../md/activity-log.js';
import { pageOfAlExtent } from '../md/units.js';

export type Entry = 'hot' | 'wait' | 'full';

/** A transaction to be written. The object is used again by the next `prepare`. */
export interface Transaction {
  /** Its place: 4 KiB blocks from the start of the ring. */
  readonly ringBlock: number;
  readonly trNumber: number;
  readonly updates: number;
  /** Bitmap pages with bits of evicted extents: durable before the block is written. Ascending, each once. */
  readonly pages: readonly number[];
}

interface Writable {
  ringBlock: number;
  trNumber: number;
  updates: number;
  pages: number[];
}

export class ActivityLog {
  readonly slots: number;
  readonly #stripes: number;
  readonly #stripeSize4k: number;
  readonly #committed: Uint32Array; // by slot: what the log on disk says
  readonly #target: Uint32Array; // by slot: what it will say; differs while pending or in flight
  readonly #refs: Uint32Array; // by slot
  readonly #slotOf = new Map<number, number>(); // target extent -> slot
  // Idle slots, least recently used at the tail. Entry `slots` is the list's head.
  readonly #next: Int32Array;
  readonly #prev: Int32Array;
  #idle = 0;
  #free: number; // slots below this one were never used: handed out from the highest down
  readonly #queue: Int32Array; // slots to be changed, in order; the first `#inFlight` are in the transaction
  #queued = 0;
  #inFlight = -1; // -1: no transaction prepared
  #used = 0; // slots with references
  #starving = false;
  #trNumber: number;
  #cycle = 0; // first slot of the next context
  #transactions = 0;
  readonly #transaction: Writable = { ringBlock: 0, trNumber: 0, updates: 0, pages: [] };

  /** `slots`: al-extents, cut to what the ring can carry. `trNumber` continues a ring that is in use. */
  constructor(slots: number, stripes: number, stripeSize4k: number, trNumber = 0) {
    this.slots = Math.min(slots, maxAlSlots(stripes * stripeSize4k));
    assert(this.slots > 0, 'an activity log has slots');
    this.#stripes = stripes;
    this.#stripeSize4k = stripeSize4k;
    this.#committed = new Uint32Array(this.slots).fill(FREE_EXTENT);
    this.#target = new Uint32Array(this.slots).fill(FREE_EXTENT);
    this.#refs = new Uint32Array(this.slots);
    this.#next = new Int32Array(this.slots + 1).fill(-1);
    this.#prev = new Int32Array(this.slots + 1).fill(-1);
    this.#next[this.slots] = this.slots;
    this.#prev[this.slots] = this.slots;
    this.#free = this.slots;
    this.#queue = new Int32Array(this.slots);
    this.#trNumber = trNumber;
  }

  enter(extent: number): Entry {
    return this.enterRange(extent, extent);
  }

  /** Takes a reference on each extent first...last, or ('full') on none. */
  enterRange(first: number, last: number): Entry {
    assert(first >= 0 && last >= first && last < FREE_EXTENT, 'extents are 32 bits');
    assert(last - first < this.slots, 'a request fits into the log');
    if (this.#starving) return 'full';
    let missing = 0;
    let idle = this.#idle;
    for (let e = first; e <= last; e++) {
      const slot = this.#slotOf.get(e);
      if (slot === undefined) missing++;
      else if (this.#isIdle(slot)) idle--; // ours: not to be evicted for our own sake
    }
    if (missing > 0 && missing > this.#free + idle) {
      this.#starving = true; // even hot extents are refused: the busy ones must not keep the log full for ever
      return 'full';
    }
    let entry: Entry = 'hot';
    for (let e = first; e <= last; e++) {
      const slot = this.#slotOf.get(e);
      if (slot !== undefined) this.#take(slot);
    }
    for (let e = first; e <= last; e++) {
      let slot = this.#slotOf.get(e);
      if (slot === undefined) {
        slot = this.#change(e);
        this.#take(slot);
      }
      if (this.#committed[slot] !== e) entry = 'wait';
    }
    return entry;
  }

  leave(extent: number): boolean {
    return this.leaveRange(extent, extent);
  }

  /** Gives the references back. True when a slot became idle: what was refused as 'full' may be tried again. */
  leaveRange(first: number, last: number): boolean {
    let freed = false;
    for (let e = first; e <= last; e++) {
      const slot = this.#slotOf.get(e);
      assert(slot !== undefined && (this.#refs[slot] as number) > 0, 'leave follows enter');
      const refs = (this.#refs[slot] as number) - 1;
      this.#refs[slot] = refs;
      if (refs > 0) continue;
      this.#used--;
      if (this.#committed[slot] !== this.#target[slot]) continue; // idle at its commit
      this.#insertIdle(slot);
      freed = true;
    }
    if (freed) this.#starving = false;
    return freed;
  }

  /** The extent is in the log on disk, and stays there at least as long as the caller's reference. */
  isHot(extent: number): boolean {
    const slot = this.#slotOf.get(extent);
    return slot !== undefined && this.#committed[slot] === extent;
  }

  isHotRange(first: number, last: number): boolean {
    for (let e = first; e <= last; e++) if (!this.isHot(e)) return false;
    return true;
  }

  /** Somebody holds a reference on the extent. */
  isActive(extent: number): boolean {
    const slot = this.#slotOf.get(extent);
    return slot !== undefined && (this.#refs[slot] as number) > 0;
  }

  /** Changes that are not in a prepared transaction. */
  get pending(): number {
    return this.#queued - Math.max(0, this.#inFlight);
  }
  get inFlight(): boolean {
    return this.#inFlight >= 0;
  }
  /** Slots with references: 0 when no write is under way. */
  get used(): number {
    return this.#used;
  }
  /** Transactions committed or written empty since the start: `al:` of /proc/drbd. */
  get transactions(): number {
    return this.#transactions;
  }
  get trNumber(): number {
    return this.#trNumber;
  }

  /** Fills the next transaction into block[at, at + 4096). Null: nothing to write, or one is in flight. */
  prepare(block: Uint8Array, at: number): Transaction | null {
    if (this.#inFlight >= 0 || this.#queued === 0) return null;
    const updates = Math.min(this.#queued, AL_UPDATES);
    const tr = this.#transaction;
    tr.pages.length = 0;
    this.#beginBlock(block, at);
    for (let i = 0; i < updates; i++) {
      const slot = this.#queue[i] as number;
      putUpdate(block, at, i, slot, this.#target[slot] as number);
      const evicted = this.#committed[slot] as number;
      if (evicted === FREE_EXTENT) continue;
      const page = pageOfAlExtent(evicted);
      if (!tr.pages.includes(page)) tr.pages.push(page);
    }
    tr.pages.sort(ascending);
    sealTransaction(block, at);
    tr.ringBlock = alBlockOf(this.#trNumber, this.#stripes, this.#stripeSize4k);
    tr.trNumber = this.#trNumber;
    tr.updates = updates;
    this.#inFlight = updates;
    return tr;
  }

  /** The prepared transaction is durable. Its extents are hot now: writes that wait are to be tried again. */
  commit(): void {
    assert(this.#inFlight >= 0, 'commit follows prepare');
    for (let i = 0; i < this.#inFlight; i++) {
      const slot = this.#queue[i] as number;
      this.#committed[slot] = this.#target[slot] as number;
      if (this.#refs[slot] === 0) this.#insertIdle(slot);
    }
    this.#queue.copyWithin(0, this.#inFlight, this.#queued);
    this.#queued -= this.#inFlight;
    this.#inFlight = -1;
    this.#starving = false;
    this.#advance();
  }

  /**
   * The write of the prepared transaction failed, and whether the disk holds it is not known. Its changes are pending
   * again, and the next `prepare` has its number and place, so that the ring holds one or the other.
   */
  rollback(): void {
    assert(this.#inFlight >= 0, 'rollback follows prepare');
    this.#inFlight = -1;
  }

  /**
   * One of the empty transactions with which the whole ring is rewritten at a first attach and at changes of size;
   * the result is its block in the ring. Called once for each block of the ring, none in flight.
   */
  fillEmpty(block: Uint8Array, at: number): number {
    assert(this.#inFlight < 0, 'the ring is rewritten while no transaction is in flight');
    this.#beginBlock(block, at);
    sealTransaction(block, at);
    const ringBlock = alBlockOf(this.#trNumber, this.#stripes, this.#stripeSize4k);
    this.#advance();
    return ringBlock;
  }

  /**
   * Forgets all extents, for a change of options. No references, nothing pending, and before the call every dirty
   * page of the bitmap is made durable: what is forgotten is evicted.
   */
  clear(): void {
    assert(this.#used === 0 && this.#queued === 0, 'an activity log in use is not cleared');
    this.#committed.fill(FREE_EXTENT);
    this.#target.fill(FREE_EXTENT);
    this.#slotOf.clear();
    this.#next[this.slots] = this.slots;
    this.#prev[this.slots] = this.slots;
    this.#idle = 0;
    this.#free = this.slots;
    this.#starving = false;
  }

  /** Extents in the log on disk, ascending. For status and tests: it allocates. */
  usedExtents(): number[] {
    return [...this.#committed].filter((e) => e !== FREE_EXTENT).sort(ascending);
  }

  #isIdle(slot: number): boolean {
    return this.#refs[slot] === 0 && this.#committed[slot] === this.#target[slot];
  }

  #take(slot: number): void {
    if (this.#refs[slot] === 0) {
      this.#used++;
      if (this.#committed[slot] === this.#target[slot]) this.#removeIdle(slot);
    }
    this.#refs[slot] = (this.#refs[slot] as number) + 1;
  }

  /** Gives `extent` a slot, evicting the least recently used one when none is free. The slot has no references. */
  #change(extent: number): number {
    let slot: number;
    if (this.#free > 0) {
      this.#free--;
      slot = this.#free;
    } else {
      slot = this.#prev[this.slots] as number;
      assert(slot !== this.slots, 'a slot can be evicted');
      this.#removeIdle(slot);
      this.#slotOf.delete(this.#target[slot] as number);
    }
    this.#target[slot] = extent;
    this.#slotOf.set(extent, slot);
    this.#queue[this.#queued] = slot;
    this.#queued++;
    return slot;
  }

  #insertIdle(slot: number): void {
    const first = this.#next[this.slots] as number;
    this.#next[slot] = first;
    this.#prev[slot] = this.slots;
    this.#prev[first] = slot;
    this.#next[this.slots] = slot;
    this.#idle++;
  }

  #removeIdle(slot: number): void {
    const next = this.#next[slot] as number;
    const prev = this.#prev[slot] as number;
    this.#next[prev] = next;
    this.#prev[next] = prev;
    this.#idle--;
  }

  #beginBlock(block: Uint8Array, at: number): void {
    beginTransaction(block, at, this.#trNumber, this.slots, this.#cycle);
    const end = Math.min(this.slots - this.#cycle, AL_CONTEXT);
    for (let i = 0; i < end; i++) {
      putContext(block, at, i, this.#committed[this.#cycle + i] as number);
    }
  }

  #advance(): void {
    this.#trNumber = (this.#trNumber + 1) >>> 0;
    this.#transactions++;
    this.#cycle += AL_CONTEXT;
    if (this.#cycle >= this.slots) this.#cycle = 0;
  }
}

function ascending(a: number, b: number): number {
  return a - b;
}
