/**
 * What was asked for in resyncs that were broken off (a disk was let go) while their connection lasts. Answers still come: they are
 * of the past, and thrown away. Those to the same request, made again since, can not be told from them:
 *
 *     asked again --an answer, to either one--> thrown away --asked once more--> the next answer counts
 *
 * That one is at worst the answer to the second request, which is as good: whatever was written since is sent behind it. Not every old
 * request is answered (a kernel drops the answer to a node without a disk), so nothing waits for that.
 */
import type { Link } from './link.js';

/** Of requests, more than are ever under way: those of a connection that is never lost do not add up without end. */
const MAX_OLD = 65536;

export class OldRequests {
  #link: Link | null = null;
  readonly #requests = new Map<string, 'left' | 'asked-again' | 'one-thrown-away'>();

  add(link: Link | null, sector: number, bytes: number): void {
    if (this.#link !== link) this.#requests.clear();
    this.#link = link;
    if (link && this.#requests.size < MAX_OLD) this.#requests.set(key(sector, bytes), 'left');
  }

  askedAgain(sector: number, bytes: number): void {
    if (this.#requests.size === 0) return;
    const at = key(sector, bytes);
    if (this.#requests.get(at) === 'left') this.#requests.set(at, 'asked-again');
  }

  /** Does an answer belong to one of them? */
  answers(link: Link | null, sector: number, bytes: number): 'no' | 'maybe' | 'if-not-asked' {
    if (this.#requests.size === 0 || this.#link !== link) return 'no';
    const known = this.#requests.get(key(sector, bytes));
    if (known === undefined) return 'no';
    return known === 'asked-again' ? 'maybe' : 'if-not-asked';
  }

  /** One has come. `asked`: there is a request of now, too. True: it is thrown away all the same. */
  replied(link: Link | null, sector: number, bytes: number, asked: boolean): boolean {
    const old = this.answers(link, sector, bytes);
    if (old === 'no') return false;
    if (!asked) this.#requests.delete(key(sector, bytes));
    else if (old === 'maybe') this.#requests.set(key(sector, bytes), 'one-thrown-away');
    return !asked || old === 'maybe';
  }
}

const key = (sector: number, bytes: number): string => `${sector} ${bytes}`;
