/**
 * The messages of one other node: what is new, what is missing, what may be acknowledged.
 *
 *     seq = last + 1   new                     seq > last + 1   new; the numbers between are missing
 *     seq < last       new if it was missing, else a duplicate; a gap above 250 forgets everything
 *
 * A missing number is asked for one at a time, first after a grace of 50 ms (a sender's own loop-back regularly lets
 * N+1 overtake N), then every max_rexmit_delay until it or a NAK comes. Acknowledged are the numbers that end in a
 * digit drawn once, so that several receivers do not answer at the same moment.
 *
 * Deliberately stricter than the original: messages other than status are handed on in the order in which they were
 * sent, waiting for the missing ones below. A `resource` message that is delivered after a newer one would be wrong
 * about who holds what. Source: docs/HEARTBEAT.md, transport.
 */
import type { RandomSource } from '../base/ports.js';
import type { HaMessage } from '../wire/hamsg.js';

export type IncomingEffect =
  | { readonly type: 'request'; readonly seq: number }
  | { readonly type: 'acknowledge'; readonly seq: number }
  | { readonly type: 'deliver'; readonly message: HaMessage; readonly seq: number }
  | { readonly type: 'lost'; readonly count: number; readonly last: number; readonly seq: number }
  | { readonly type: 'lost-a-lot' }
  | { readonly type: 'complete' };

/** A gap above this is not asked for: the sender keeps no more than twice as much. */
export const MAX_GAP = 250;
const GRACE_MS = 50;
const ACK_PERIOD = 10;

interface Held {
  readonly seq: number;
  readonly message: HaMessage;
}

export class Incoming {
  readonly #random: RandomSource;
  readonly #maxRexmitDelayMs: number;
  readonly #trigger: number;
  readonly #missing = new Map<number, number>(); // number -> when to ask for it (next)
  #held: Held[] = []; // in sequence order, at most MAX_GAP
  #last = 0; // highest number seen; 0: none yet
  #acked = 0;

  constructor(random: RandomSource, maxRexmitDelayMs: number) {
    this.#random = random;
    this.#maxRexmitDelayMs = maxRexmitDelayMs;
    this.#trigger = random.u32() % ACK_PERIOD;
  }

  get last(): number {
    return this.#last;
  }

  get missing(): readonly number[] {
    return [...this.#missing.keys()];
  }

  /** The node died or restarted: nothing of its stream is known. */
  forget(): void {
    this.#missing.clear();
    this.#held = [];
    this.#last = 0;
    this.#acked = 0;
  }

  /**
   * A message of the node's current generation. `ordered` ones are delivered in order, the others (status) at once.
   * False: a duplicate.
   */
  accept(
    seq: number,
    message: HaMessage,
    ordered: boolean,
    nowMs: number,
    out: IncomingEffect[],
  ): boolean {
    if (this.#last === 0 || seq === this.#last + 1) {
      if (this.#last === 0) this.#acked = seq - 1;
      this.#last = seq;
    } else if (seq === this.#last) {
      return false;
    } else if (seq > this.#last) {
      this.#noteGap(seq, nowMs, out);
      this.#last = seq;
    } else {
      if (!this.#missing.delete(seq)) return false;
      if (this.#missing.size === 0) out.push({ type: 'complete' });
    }
    this.#deliver({ seq, message }, ordered, out);
    this.#acknowledge(out);
    return true;
  }

  /** The sender cannot send `seq` again: it is given up. */
  giveUp(seq: number, out: IncomingEffect[]): boolean {
    if (!this.#missing.delete(seq)) return false;
    if (this.#missing.size === 0) out.push({ type: 'complete' });
    this.#release(out);
    this.#acknowledge(out);
    return true;
  }

  tick(nowMs: number, out: IncomingEffect[]): void {
    for (const [seq, atMs] of this.#missing) {
      if (nowMs < atMs) continue;
      this.#missing.set(seq, nowMs + this.#maxRexmitDelayMs);
      out.push({ type: 'request', seq });
    }
  }

  get deadlineMs(): number {
    let deadlineMs = Number.POSITIVE_INFINITY;
    for (const atMs of this.#missing.values()) deadlineMs = Math.min(deadlineMs, atMs);
    return deadlineMs;
  }

  #noteGap(seq: number, nowMs: number, out: IncomingEffect[]): void {
    const count = seq - this.#last - 1;
    out.push({ type: 'lost', count, last: this.#last, seq });
    if (this.#missing.size + count > MAX_GAP) {
      out.push({ type: 'lost-a-lot' });
      const held = this.#held;
      this.forget();
      this.#acked = seq - 1;
      for (const { message, seq: heldSeq } of held) {
        out.push({ type: 'deliver', message, seq: heldSeq });
      }
      return;
    }
    const maxMs = this.#maxRexmitDelayMs;
    const minMs = maxMs < 2 * GRACE_MS ? 0 : GRACE_MS;
    const delayMs = minMs + (this.#random.u32() % Math.max(1, maxMs - minMs));
    for (let n = this.#last + 1; n < seq; n++) this.#missing.set(n, nowMs + delayMs);
  }

  #deliver(held: Held, ordered: boolean, out: IncomingEffect[]): void {
    if (!ordered) out.push({ type: 'deliver', ...held });
    else {
      this.#held.push(held);
      this.#held.sort((a, b) => a.seq - b.seq);
    }
    this.#release(out);
  }

  /** Hand on what waits for nothing any more. */
  #release(out: IncomingEffect[]): void {
    const first = this.#firstMissing();
    while (this.#held[0] && this.#held[0].seq < first) {
      const held = this.#held.shift();
      if (held) out.push({ type: 'deliver', ...held });
    }
  }

  #firstMissing(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const seq of this.#missing.keys()) first = Math.min(first, seq);
    return first;
  }

  /** Cumulative: the highest number with our digit below the first missing one. */
  #acknowledge(out: IncomingEffect[]): void {
    const known = Math.min(this.#firstMissing() - 1, this.#last);
    const seq = known - ((((known - this.#trigger) % ACK_PERIOD) + ACK_PERIOD) % ACK_PERIOD);
    if (seq <= this.#acked || seq <= 0) return;
    this.#acked = seq;
    out.push({ type: 'acknowledge', seq });
  }
}
