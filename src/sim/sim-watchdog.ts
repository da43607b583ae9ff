/**
 * The watchdog of a simulated machine, outside of it: it counts true time, also while the machine stands still, and takes the
 * machine down when it was not fed for its time. What real/watchdog.ts does with a device, this does with a timer.
 *
 *     closed --configure--> open, fed --release--> closed
 *                            \--condemn--> never fed again
 */
import type { SimClock, Timer } from './sim-clock.js';

const EXTRA_MS = 10;
/** The pause between two lives is the deadtime and this. */
const PAUSE_EXTRA_MS = 1000;

export class SimWatchdog {
  readonly #clock: SimClock;
  readonly #reset: () => void;
  #timeMs = 0; // 0: closed
  #timer: Timer | null = null;
  #isCondemned = false;
  #bridgeMs = 0;
  #statusMs = 0;

  /** `reset`: the machine loses its power. */
  constructor(clock: SimClock, reset: () => void) {
    this.#clock = clock;
    this.#reset = reset;
  }

  /** Of a start and of each new configuration. `limitMs`: it is not to have more time; null: that does not matter. */
  configure(isWanted: boolean, deadtimeMs: number, limitMs: number | null): void {
    if (this.#isCondemned) return;
    this.#bridgeMs = deadtimeMs + PAUSE_EXTRA_MS;
    if (!isWanted) {
      this.release();
      return;
    }
    const seconds = Math.ceil((deadtimeMs + EXTRA_MS) / 1000);
    const limit = limitMs === null ? seconds : Math.max(1, Math.floor(limitMs / 1000));
    this.#timeMs = Math.min(seconds, limit) * 1000;
    this.#write(); // setting its time feeds it
  }

  feed(): void {
    this.#statusMs = this.#clock.nowMs;
    this.#write();
  }

  /** Nothing runs here, and there is no life to send a status. */
  bridge(): void {
    if (this.#clock.nowMs - this.#statusMs <= this.#bridgeMs) this.#write();
  }

  #write(): void {
    if (this.#timeMs === 0 || this.#isCondemned) return;
    this.#stop();
    this.#timer = this.#clock.after(this.#timeMs, () => {
      this.#timer = null;
      this.#reset();
    });
  }

  /** The machine is to go down, whatever hangs. */
  condemn(): void {
    this.#isCondemned = true;
  }

  release(): void {
    if (this.#isCondemned) return;
    this.#stop();
    this.#timeMs = 0;
  }

  /** The machine has lost its power, and its watchdog with it. */
  powerCut(): void {
    this.#isCondemned = false;
    this.release();
  }

  #stop(): void {
    if (this.#timer) this.#clock.cancel(this.#timer);
    this.#timer = null;
  }
}
