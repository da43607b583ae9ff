/** Things to do later: after a time, or once a condition holds (looked at when a turn ends). Rare operations only. */
import type { Core, TurnEnd } from './core.js';

interface Timer {
  readonly atMs: number;
  readonly run: () => void;
}
interface Condition {
  readonly holds: () => boolean;
  readonly run: () => void;
}

export class Waits implements TurnEnd {
  readonly #core: Core;
  #timers: Timer[] = [];
  #conditions: Condition[] = [];

  constructor(core: Core) {
    this.#core = core;
  }

  after(ms: number, run: () => void): void {
    this.#timers.push({ atMs: this.#core.port.nowMs() + ms, run });
  }

  /** `run` once `holds` is true; never inside this call. */
  until(holds: () => boolean, run: () => void): void {
    if (this.#conditions.length === 0) this.#core.addTurnEnd(this);
    this.#conditions.push({ holds, run });
  }

  turnEnd(): void {
    for (const c of [...this.#conditions]) {
      // One of those before it may have begun another turn, and that has run it.
      if (!this.#conditions.includes(c) || !c.holds()) continue;
      this.#conditions = this.#conditions.filter((o) => o !== c);
      c.run();
    }
    if (this.#conditions.length === 0) this.#core.removeTurnEnd(this);
  }

  tick(nowMs: number): void {
    const due = this.#timers.filter((t) => nowMs >= t.atMs);
    if (due.length === 0) return;
    this.#timers = this.#timers.filter((t) => nowMs < t.atMs);
    for (const t of due) t.run();
  }

  get deadlineMs(): number {
    let at = Number.POSITIVE_INFINITY;
    for (const t of this.#timers) at = Math.min(at, t.atMs);
    return at;
  }
}
