/**
 * Watches a resource script that runs: reported after a minute and from then on ever less often; killed when it exceeds
 * its time, first with TERM, then with KILL. It is the daemon's: of a script that outlives its daemon the successor takes care (heartbeat-lives).
 */
import type { TimerId, Timers } from './timers.js';

export interface ScriptWatchHost {
  readonly timers: Timers;
  nowMs(): number;
  /** To the script and everything that it started. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): void;
  log(level: 'WARN' | 'ERROR', text: string): void;
}

const WARN_MS = 60_000;
const MAX_WARN_MS = 86_400_000;
const KILL_GRACE_MS = 5000;

export class ScriptWatch {
  readonly #host: ScriptWatchHost;
  readonly #words: string;
  readonly #startMs: number;
  #warnMs = WARN_MS;
  #warn: TimerId | null;
  #limit: TimerId | null = null;
  #killed = false;

  /** `words`: its command line; `timeoutMs`: 0 for never. */
  constructor(words: string, timeoutMs: number, host: ScriptWatchHost) {
    this.#words = words;
    this.#host = host;
    this.#startMs = host.nowMs();
    this.#warn = host.timers.after(this.#warnMs, () => this.#late());
    if (timeoutMs > 0) this.#limit = host.timers.after(timeoutMs, () => this.#kill());
  }

  /** Its end, however it looks, is not its own. */
  get killed(): boolean {
    return this.#killed;
  }

  /** It has ended. */
  end(): void {
    const { timers } = this.#host;
    if (this.#warn) timers.cancel(this.#warn);
    if (this.#limit) timers.cancel(this.#limit);
    this.#warn = null;
    this.#limit = null;
  }

  #late(): void {
    this.#host.log('WARN', `${this.#words} still runs after ${this.#seconds()} s`);
    this.#warnMs = Math.min(2 * this.#warnMs, MAX_WARN_MS);
    this.#warn = this.#host.timers.after(this.#warnMs, () => this.#late());
  }

  #kill(): void {
    this.#host.log('ERROR', `${this.#words} does not end: killed after ${this.#seconds()} s`);
    this.#killed = true;
    this.#limit = this.#host.timers.after(KILL_GRACE_MS, () => this.#host.kill('SIGKILL'));
    this.#host.kill('SIGTERM');
  }

  #seconds(): number {
    return Math.round((this.#host.nowMs() - this.#startMs) / 1000);
  }
}
