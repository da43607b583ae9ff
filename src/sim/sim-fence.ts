/**
 * The device with which a simulated node resets the other one: it works, or fails, hangs, lies or is late. What it does it does as a
 * process of its node, which outlives the daemon that started it and dies with the machine's power.
 *
 *     works   resets, then says so              stutters   resets, and says that it did not
 *     late    resets, and says so much later    lies       says that it has reset, and has not
 *     fails   does nothing, and says so         hangs      is killed at its time limit: failed, and nothing was done
 */
import type { FenceAnswer } from '../resource-manager/answers.js';

export const FENCE_MODES = ['works', 'late', 'fails', 'hangs', 'stutters', 'lies'] as const;
export type FenceMode = (typeof FENCE_MODES)[number];

export interface SimFenceHost {
  /** On the node; never after a power cut. */
  readonly after: (delayMs: number, run: () => void) => void;
  /** The other machine goes down, and comes back. */
  readonly reset: () => void;
  /** The device was told to reset, and said so; `isTrue`: it had. */
  readonly said: (answer: FenceAnswer, isTrue: boolean) => void;
}

export class SimFence {
  mode: FenceMode = 'works';
  /** How long it takes. */
  takesMs = 1500;
  readonly #host: SimFenceHost;

  constructor(host: SimFenceHost) {
    this.#host = host;
  }

  /** `answered` is called once, never inside, and not at all when this machine loses its power before. */
  shoot(timeoutMs: number, answered: (answer: FenceAnswer) => void): void {
    const { after, reset, said } = this.#host;
    const { mode } = this;
    const answer = (what: FenceAnswer, isTrue: boolean) => {
      said(what, isTrue);
      answered(what);
    };
    const takesMs = Math.min(this.takesMs, timeoutMs - 1);
    switch (mode) {
      case 'works':
      case 'stutters':
        after(takesMs, () => {
          reset();
          answer(mode === 'works' ? 'OK' : 'bad', true);
        });
        break;
      case 'late':
        after(takesMs, () => {
          reset();
          after(timeoutMs - takesMs - 1, () => answer('OK', true));
        });
        break;
      case 'lies':
        after(takesMs, () => answer('OK', false));
        break;
      case 'fails':
        after(takesMs, () => answer('bad', false));
        break;
      case 'hangs':
        after(timeoutMs, () => answer('bad', false));
        break;
    }
  }
}
