/**
 * What this node sent and can send again: the last 500 messages that not every live member has acknowledged.
 *
 * Asked for a number (NS_rexmit): silence if the asker has acknowledged it, the message if it is kept, a NAK if it is
 * not; not more often than every max_rexmit_delay - 10 ms, not more than 50 for one request.
 * Source: docs/HEARTBEAT.md, transport.
 */
import type { HaMessage } from '../wire/hamsg.js';

export type OutgoingEffect =
  | { readonly type: 'resend'; readonly message: HaMessage }
  | {
      readonly type: 'nak';
      readonly node: string;
      readonly seq: number;
      readonly info: 'seqno too low' | 'seqno not found';
    }
  | { readonly type: 'bad-request'; readonly node: string; readonly seq: number }
  | { readonly type: 'corrupted-ack'; readonly node: string; readonly seq: number };

export const MAX_HISTORY = 500;
const MAX_PER_REQUEST = 50;
const RESEND_SLACK_MS = 10;

interface Sent {
  readonly message: HaMessage;
  resentMs: number;
}

export class Outgoing {
  readonly #maxRexmitDelayMs: number;
  readonly #history = new Map<number, Sent>(); // in order of the numbers
  readonly #acked = new Map<string, number>(); // node -> highest number it has acknowledged
  #freed = 0; // every number up to this has left the history
  #seq = 0;

  constructor(maxRexmitDelayMs: number) {
    this.#maxRexmitDelayMs = maxRexmitDelayMs;
  }

  get seq(): number {
    return this.#seq;
  }

  /** By the slowest of `live`, the other members that are not dead. One that started anew has acknowledged nothing. */
  unacknowledged(live: readonly string[]): number {
    const acked = live.map((name) => this.#acked.get(name) ?? 0);
    return this.#seq - Math.min(this.#seq, ...acked);
  }

  next(): number {
    return ++this.#seq;
  }

  remember(seq: number, message: HaMessage): void {
    this.#history.set(seq, { message, resentMs: Number.NEGATIVE_INFINITY });
    while (this.#history.size > MAX_HISTORY) this.#free(this.#history.keys().next().value ?? 0);
  }

  /** `node` died or restarted: what it acknowledged says nothing any more. */
  forget(node: string): void {
    this.#acked.delete(node);
  }

  /** `live` are the other members that are not dead. */
  acknowledged(node: string, seq: number, live: readonly string[], out: OutgoingEffect[]): void {
    if (seq > this.#seq) {
      out.push({ type: 'corrupted-ack', node, seq });
      return;
    }
    this.#acked.set(node, Math.max(seq, this.#acked.get(node) ?? 0));
    const lowest = Math.min(...live.map((name) => this.#acked.get(name) ?? 0));
    for (const kept of this.#history.keys()) {
      if (kept > lowest) break;
      this.#free(kept);
    }
  }

  requested(node: string, first: number, last: number, nowMs: number, out: OutgoingEffect[]): void {
    const acked = this.#acked.get(node) ?? 0;
    for (let seq = first; seq <= last && seq < first + MAX_PER_REQUEST; seq++) {
      if (seq > this.#seq) {
        out.push({ type: 'bad-request', node, seq });
        return;
      }
      if (seq <= acked) continue;
      const sent = this.#history.get(seq);
      if (!sent) {
        const info = seq <= this.#freed ? 'seqno too low' : 'seqno not found';
        out.push({ type: 'nak', node, seq, info });
      } else if (nowMs - sent.resentMs >= this.#maxRexmitDelayMs - RESEND_SLACK_MS) {
        sent.resentMs = nowMs;
        out.push({ type: 'resend', message: sent.message });
      }
    }
  }

  #free(seq: number): void {
    this.#history.delete(seq);
    this.#freed = Math.max(this.#freed, seq);
  }
}
