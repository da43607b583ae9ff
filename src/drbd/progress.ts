/**
 * How far a resync or verify is, and how fast: eight marks (time, bits left) at least three seconds apart give the
 * present speed, the start gives the average. The numbers of /proc/drbd and of `status` come from here. Pure; times are
 * monotonic milliseconds, divisions are in whole seconds and round down as the original's do.
 * Source: docs/STATES.md, progress lines of /proc/drbd.
 */
import type { SyncProgress } from './status.js';

export const SYNC_MARKS = 8;
const MARK_STEP_MS = 3000;
/** After this long without progress the second line says "(stalled)". */
const STALLED_S = 180;
/** KiB of one bit. */
const BIT_KIB = 4;

interface Mark {
  readonly timeMs: number;
  readonly leftBits: number;
}

/** The running account of one resync or verify. */
export class SyncMeter {
  #totalBits = 0;
  #startMs = 0;
  #pausedMs = 0;
  #marks: Mark[] = [];
  #lastMark = 0;

  start(totalBits: number, nowMs: number): void {
    this.#totalBits = totalBits;
    this.#startMs = nowMs;
    this.#pausedMs = 0;
    this.#marks = Array.from({ length: SYNC_MARKS }, () => ({
      timeMs: nowMs,
      leftBits: totalBits,
    }));
    this.#lastMark = 0;
  }

  get totalBits(): number {
    return this.#totalBits;
  }

  /** Blocks were done. Call it whenever the account of `leftBits` changes; not while paused. */
  advance(leftBits: number, nowMs: number): void {
    const last = this.#marks[this.#lastMark];
    if (!last || nowMs - last.timeMs < MARK_STEP_MS || last.leftBits === leftBits) return;
    this.#lastMark = (this.#lastMark + 1) % SYNC_MARKS;
    this.#marks[this.#lastMark] = { timeMs: nowMs, leftBits };
  }

  /** The resync pauses: remembered in the newest mark. */
  pause(nowMs: number): void {
    const last = this.#marks[this.#lastMark];
    if (last) this.#marks[this.#lastMark] = { ...last, timeMs: nowMs };
  }

  /** It continues: the time since the pause does not count. */
  resume(nowMs: number): void {
    const last = this.#marks[this.#lastMark];
    if (last) this.#pausedMs += nowMs - last.timeMs;
  }

  /** `leftBits`: still to do, failed ones not counted (verify: not yet compared). */
  snapshot(leftBits: number, failedBits: number, wantKiBps: number): SyncProgress {
    return {
      totalBits: this.#totalBits,
      leftBits,
      failedBits,
      startMs: this.#startMs,
      pausedMs: this.#pausedMs,
      marks: [...this.#marks],
      lastMark: this.#lastMark,
      wantKiBps,
    };
  }

  /**
   * For the closing line: `Resync done (total %lu sec; paused %lu sec; %lu K/sec)`. `leftBits`: of a verify that ended
   * early.
   */
  summary(
    nowMs: number,
    leftBits = 0,
  ): { readonly totalS: number; readonly pausedS: number; readonly kiBps: number } {
    const activeS = Math.floor((nowMs - this.#startMs - this.#pausedMs) / 1000);
    const seconds = activeS > 0 ? activeS : 1;
    return {
      totalS: seconds + Math.floor(this.#pausedMs / 1000),
      pausedS: Math.floor(this.#pausedMs / 1000),
      kiBps: Math.floor((this.#totalBits - leftBits) / seconds) * BIT_KIB,
    };
  }
}

/** Thousandths done; never more left than there was. */
export function permilleDone(p: SyncProgress): number {
  if (p.leftBits > p.totalBits) return p.totalBits > 0 ? 0 : 1000;
  const unit = p.totalBits > 0xffffffff ? 65536 : 1024;
  const total = Math.floor(p.totalBits / unit) + 1;
  return 1000 - Math.floor((Math.floor(p.leftBits / unit) * 1000) / total);
}

/** Bits left as displayed. */
export function shownLeftBits(p: SyncProgress): number {
  return Math.min(p.leftBits, p.totalBits);
}

/** KiB/s since one of the marks; `index` counts on beyond 7. */
export function speedSinceMark(p: SyncProgress, index: number, nowMs: number): number {
  const { seconds, bits } = sinceMark(p, index, nowMs);
  return Math.floor(bits / seconds) * BIT_KIB;
}

function sinceMark(
  p: SyncProgress,
  index: number,
  nowMs: number,
): { readonly seconds: number; readonly bits: number; readonly stalled: boolean } {
  const mark = p.marks[index % SYNC_MARKS] ?? { timeMs: p.startMs, leftBits: p.totalBits };
  const seconds = Math.floor((nowMs - mark.timeMs) / 1000);
  return {
    seconds: Math.max(1, seconds),
    bits: Math.max(0, mark.leftBits - shownLeftBits(p)),
    stalled: seconds > STALLED_S,
  };
}

export interface Speed {
  readonly finishS: number; // to go, at the present speed
  readonly nowKiBps: number; // over the last twenty seconds or so
  readonly recentKiBps: number; // over the last few seconds
  readonly averageKiBps: number; // since the start
  readonly stalled: boolean;
}

/** `mark`: where "now" begins. */
export function speed(p: SyncProgress, nowMs: number, mark = p.lastMark + 2): Speed {
  const { seconds, bits, stalled } = sinceMark(p, mark, nowMs);
  const left = shownLeftBits(p);
  const activeS = Math.max(1, Math.floor((nowMs - p.startMs - p.pausedMs) / 1000));
  return {
    finishS: Math.floor((seconds * Math.floor(left / (Math.floor(bits / 100) + 1))) / 100),
    nowKiBps: Math.floor(bits / seconds) * BIT_KIB,
    recentKiBps: speedSinceMark(p, p.lastMark + 7, nowMs),
    averageKiBps: Math.floor((p.totalBits - left) / activeS) * BIT_KIB,
    stalled,
  };
}
