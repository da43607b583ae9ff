/**
 * Who waits for buffers to answer the peer from, of all resources of a node: who came first has the next one of its size. Otherwise
 * those of one resource would always be asked first, and while its peer reads without end nothing of another one is answered.
 * (For what arrives: stalled-links.ts.)
 *
 *     take --there is one, and nobody else waits for its size--> taken
 *     take --none, or another one's turn--> waits, in the order of the first try --take--> ...
 *
 * Who tried in vain before the one whose turn it was had its buffer, or did not want it any more, tries again in the same turn: nothing
 * else may happen for as long as that one's disk takes.
 */
import { bufferClass } from '../base/buffer-use.js';
import type { DataPort } from './ports.js';

export class AnswerBuffers {
  readonly #port: DataPort;
  /** With the class of what they wait for, in their order. */
  readonly #waiting = new Map<object, number>();
  #passedOver = false; // somebody was, since that was asked
  #movedUp = false; // and one before it has left

  constructor(port: DataPort) {
    this.#port = port;
  }

  /** Where a buffer for so much begins; -1: wait, and try again at the end of the turn. Who does not want it any more `leaves`. */
  take(who: object, bytes: number): number {
    const wanted = bufferClass(bytes);
    const isTurn = this.#isTurnOf(who, wanted);
    if (!isTurn) this.#passedOver = true;
    const at = isTurn ? this.#port.alloc(bytes, 'answer') : -1;
    if (at >= 0) this.leaves(who);
    else this.#waiting.set(who, wanted); // one that waits already keeps its place
    return at;
  }

  leaves(who: object): void {
    if (this.#waiting.size > 0 && this.#waiting.delete(who) && this.#passedOver) {
      this.#movedUp = true;
    }
  }

  /** Those that wait try again before the turn is over: it may be another one's turn now. */
  triesAgain(): boolean {
    const again = this.#movedUp;
    this.#passedOver = false;
    this.#movedUp = false;
    return again;
  }

  #isTurnOf(who: object, wanted: number): boolean {
    if (this.#waiting.size === 0) return true;
    for (const [other, size] of this.#waiting) {
      if (other === who) return true;
      if (size === wanted) return false;
    }
    return true;
  }
}
