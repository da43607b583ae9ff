/**
 * The activity log between a write and the disk: a write waits here until its extents are in the log on disk.
 *
 *     enter --all extents hot--> go
 *        \--wait--> transaction (data and dirty bitmap pages of what it evicts first, then the block) --commit--> logReady
 *        \--full--> queue, until writes leave
 *
 * One transaction at a time; all that waits when it begins shares it. The log itself is activity-log.ts.
 */
import { assert } from '../base/assert.js';
import type { MetaLayout } from '../md/layout.js';
import { AL_EXTENT_SECTORS } from '../md/units.js';
import type { ActivityLog } from './activity-log.js';
import type { Core, TurnEnd } from './core.js';
import { LogCounts, type LruCounts } from './extent-counts.js';
import type { MetaStore } from './meta-store.js';
import type { Volume } from './volume.js';

export interface LogWaiter {
  readonly sector: number;
  readonly endSector: number;
  logFirst: number;
  logNext: number; // extents held: [logFirst, logNext)
  logOf: ActivityLog | null; // in this log: that of a disk that was detached meanwhile is gone with it
  logReady(): void;
}

export class LogGate implements TurnEnd {
  readonly #core: Core;
  readonly #volume: Volume;
  #log: ActivityLog | null = null;
  #store: MetaStore | null = null;
  readonly #waiting: LogWaiter[] = []; // entered, not hot yet
  readonly #full: LogWaiter[] = []; // not entered
  #busy = false;
  #drained: ((isEmpty: boolean) => void) | null = null; // nobody enters: called once the log is empty, or gone
  #emptied = false; // that was called
  #transactionsBefore = 0; // of logs that were exchanged
  readonly #counts = new LogCounts();

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  attach(log: ActivityLog, store: MetaStore): void {
    this.#log = log;
    this.#store = store;
    this.#transactionsBefore = 0;
    this.#counts.reset();
    this.#core.addTurnEnd(this);
  }

  /**
   * New writes wait until `goOn`; `done(true)` once the log covers none, `done(false)` when its disk is gone. False: that is being
   * done for somebody else.
   */
  drain(done: (isEmpty: boolean) => void): boolean {
    if (!this.#log || this.#isHeld) return false;
    this.#drained = done;
    return true;
  }

  /** It is empty, and waits for `goOn`. */
  get isEmptied(): boolean {
    return this.#emptied;
  }

  /** With another log, as empty as this one; or (null) with this one after all. */
  goOn(log: ActivityLog | null): void {
    assert(log === null || this.#emptied, 'a log in use is not exchanged');
    this.#drained = null;
    this.#emptied = false;
    if (log) {
      this.#transactionsBefore += this.#log?.transactions ?? 0;
      this.#log = log;
    }
    this.#retryFull();
  }

  get #isHeld(): boolean {
    return this.#drained !== null || this.#emptied;
  }

  get trNumber(): number {
    return this.#log?.trNumber ?? 0;
  }

  /** The disk is gone: nothing waits for its log any more. */
  detach(): void {
    if (!this.#log) return;
    this.#core.removeTurnEnd(this);
    this.#log = null;
    this.#store = null;
    const drained = this.#drained;
    this.#drained = null;
    this.#emptied = false;
    const all = [...this.#waiting.splice(0), ...this.#full.splice(0)];
    for (const w of all) {
      w.logFirst = 0;
      w.logNext = 0;
      w.logOf = null;
      w.logReady();
    }
    drained?.(false);
  }

  /** No transaction under way. */
  get idle(): boolean {
    return !this.#busy;
  }

  /** Somebody waits for an extent to be in the log. */
  get isWaitedFor(): boolean {
    return this.#waiting.length > 0 || this.#full.length > 0;
  }

  get transactions(): number {
    return this.#transactionsBefore + (this.#log?.transactions ?? 0);
  }

  /** Writes that wait for it. */
  get waiting(): number {
    return this.#waiting.length + this.#full.length;
  }

  get counts(): LruCounts {
    return this.#counts.shown(this.#log?.used ?? 0, this.#log?.slots ?? 0);
  }

  /** Extents in the log. For rare operations: it allocates. */
  usedExtents(): readonly number[] {
    return this.#log?.usedExtents() ?? [];
  }

  /** How many of them writes hold that are not settled. */
  get used(): number {
    return this.#log?.used ?? 0;
  }

  /** A write that is not settled holds an extent of this range. */
  inUse(sector: number, endSector: number): boolean {
    const log = this.#log;
    if (!log) return false;
    const last = Math.floor((endSector - 1) / AL_EXTENT_SECTORS);
    for (let e = Math.floor(sector / AL_EXTENT_SECTORS); e <= last; e++) {
      if (log.isActive(e)) return true;
    }
    return false;
  }

  /** True: the write may go. False: `logReady` will be called. */
  enter(w: LogWaiter): boolean {
    const log = this.#log;
    // While every bit is set and nobody is connected the log would protect nothing.
    if (!log || this.#volume.alSuspended) return true;
    if (this.#full.length > 0 || this.#isHeld) {
      this.#full.push(w);
      return false;
    }
    return this.#take(log, w);
  }

  #take(log: ActivityLog, w: LogWaiter): boolean {
    const first = Math.floor(w.sector / AL_EXTENT_SECTORS);
    const last = Math.floor((w.endSector - 1) / AL_EXTENT_SECTORS);
    const entry = log.enterRange(first, last);
    this.#counts.entered(entry, this.#busy);
    if (entry === 'full') {
      this.#full.push(w);
      return false;
    }
    w.logFirst = first;
    w.logNext = last + 1;
    w.logOf = log;
    if (entry === 'hot') return true;
    this.#waiting.push(w);
    return false;
  }

  /** The write can no longer make a difference that the bitmap does not know. */
  leave(w: LogWaiter): void {
    const log = w.logOf;
    if (!log || w.logNext === w.logFirst) return;
    const freed = log.leaveRange(w.logFirst, w.logNext - 1);
    w.logFirst = 0;
    w.logNext = 0;
    w.logOf = null;
    if (freed && this.#full.length > 0) this.#retryFull();
  }

  #retryFull(): void {
    const log = this.#log;
    if (!log || this.#isHeld) return;
    for (const w of this.#full.splice(0)) {
      if (this.#full.length > 0) this.#full.push(w);
      else if (this.#take(log, w)) w.logReady();
    }
  }

  /** No transaction from `run` until its argument is called. */
  pause(run: (goOn: () => void) => void): void {
    const held = (): void => {
      this.#busy = true;
      run(() => {
        this.#busy = false;
      });
    };
    if (this.#busy) this.#volume.resource.when(() => !this.#busy, held);
    else held();
  }

  /** Every block of the ring, at its place in `to`, with what the log holds. Paused. */
  rewriteRing(to: MetaLayout, done: (result: number) => void): void {
    const log = this.#log;
    const store = this.#store;
    if (!log || !store) {
      done(-1);
      return;
    }
    let left = to.alBlocks;
    const next = (result: number): void => {
      if (result < 0 || left === 0 || store.dead) {
        done(store.dead ? -1 : Math.min(result, 0));
        return;
      }
      left--;
      store.putLogBlock(to, log.fillEmpty(this.#core.port.pool, store.logBlockAt), next);
    };
    next(0);
  }

  turnEnd(): void {
    // A failed disk gets no more transactions: who waits for one is let go when it is detached.
    if (this.#busy || !this.#log || !this.#volume.diskUsable()) return;
    if (this.#log.pending > 0) this.#transact(this.#log);
    else if (this.#drained && this.#log.used === 0) this.#empty(this.#drained);
  }

  #empty(drained: (isEmpty: boolean) => void): void {
    this.#drained = null;
    this.#emptied = true;
    drained(true);
  }

  #transact(log: ActivityLog): void {
    const store = this.#store as MetaStore;
    const bitmap = this.#volume.bitmap;
    const { pool } = this.#core.port;
    const transaction = log.prepare(pool, store.logBlockAt);
    if (!transaction || !bitmap) return;
    this.#busy = true;
    const { ringBlock } = transaction;
    const finish = (result: number): void => {
      this.#busy = false;
      if (this.#log !== log) return;
      if (result < 0) {
        log.rollback();
        this.#volume.metaFailed(-result);
        return;
      }
      log.commit();
      this.#counts.committed();
      this.#committed(log);
    };
    const pages = [...transaction.pages];
    const write = (result: number): void => {
      if (result < 0 || !this.#volume.diskOptions.alUpdates) finish(result);
      else store.writeLogBlock(ringBlock, finish);
    };
    // What was written to the extents that are forgotten here must be durable first: the log no longer covers it.
    if (pages.length === 0) write(0);
    else store.writeBitmap(bitmap, pages, write, true);
  }

  #committed(log: ActivityLog): void {
    let kept = 0;
    const all = this.#waiting.splice(0);
    for (const w of all) {
      if (log.isHotRange(w.logFirst, w.logNext - 1)) w.logReady();
      else this.#waiting.splice(kept++, 0, w);
    }
    if (this.#full.length > 0) this.#retryFull();
  }
}
