/**
 * By which protocol the unfinished writes and flushes of a volume may have been answered. The letter can change on a connection
 * (option-change.ts), and each request keeps what it was begun with:
 *
 * - which acknowledgement its packet asks the peer for, and so what answers it (`asked`);
 * - what its answer, or that of a flush since, is worth (`promise`). Under A and B a flush is answered when this disk has
 *   flushed, whatever the writes before it were begun with: a change to a weaker letter lowers the promise of all that is
 *   under way. A change to a stronger one raises none.
 *
 * As long as something weaker is unfinished, it is what has to be reckoned with: `inForce`.
 */
import { assert } from '../base/assert.js';
import type { Protocol } from '../config/drbd-options.js';

const LETTERS: readonly Protocol[] = ['A', 'B', 'C'];
/** Of `promise`: written by the peer. */
export const STRONGEST = 2;

/** What a request keeps of it. */
export interface Promised {
  /** The acknowledgement that its packet asks for; only of what was sent. */
  asked: Protocol;
  /** Index of LETTERS; -1: nothing, the peer has no part in it. */
  promise: number;
}

export class Promises {
  /** Unfinished requests by their promise. */
  readonly #counts = [0, 0, 0];

  /** A request takes the peer in, by the letter of now. One that is begun again has it twice, and keeps the weaker. */
  begin(r: Promised, letter: Protocol): void {
    r.asked = letter;
    const now = LETTERS.indexOf(letter);
    if (r.promise < 0) this.#set(r, now);
    else this.lower(r, letter);
  }

  /** Something weaker holds from now on. */
  lower(r: Promised, letter: Protocol): void {
    const to = LETTERS.indexOf(letter);
    if (r.promise > to) this.#set(r, to);
  }

  /** It is durable on both disks, or marked. */
  end(r: Promised): void {
    this.#set(r, -1);
  }

  inForce(letter: Protocol): Protocol {
    const weakest = this.#counts.findIndex((count) => count > 0);
    const now = LETTERS.indexOf(letter);
    return weakest >= 0 && weakest < now ? (LETTERS[weakest] as Protocol) : letter;
  }

  #set(r: Promised, promise: number): void {
    if (r.promise >= 0) {
      const left = (this.#counts[r.promise] as number) - 1;
      assert(left >= 0, 'a promise is ended once');
      this.#counts[r.promise] = left;
    }
    if (promise >= 0) this.#counts[promise] = (this.#counts[promise] as number) + 1;
    r.promise = promise;
  }
}
