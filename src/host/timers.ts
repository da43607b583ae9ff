/** One-shot timers: Node's in production (real/node-ports), virtual ones in the simulator. */

/** Of `after`, for `cancel`. */
export type TimerId = object;

export interface Timers {
  /** Runs `run` once, `delayMs` from now or a little later; never inside this call. */
  after(delayMs: number, run: () => void): TimerId;
  /** Harmless when it has run or was cancelled. */
  cancel(timer: TimerId): void;
}
