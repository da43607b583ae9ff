/**
 * auto_failback on: when a node that came back is offered its groups.
 *
 *     peer died or left  -> needed
 *     peer stable        -> after failback-delay: are its disks good? -> offered, again every second until it takes them
 *                                                 not yet, or nobody can say -> asked again every 5 s
 *
 * The holder decides by what its own drbd knows of the peer's disks, so that it holds beside an original, too. Offers count as moves
 * (moves.ts); an operator's `hb_standby` is neither delayed nor counted nor asked about. Pure. Source: docs/HEARTBEAT.md, fail-back.
 */
import type { DataVerdict } from './answers.js';
import type { Moves } from './moves.js';
import type { ResourceEffect } from './resource-machine.js';

export interface FailBackConfig {
  readonly wanted: boolean; // auto_failback on
  readonly delayMs: number; // from the peer's becoming stable
  /** A group of the peer needs disks of drbd. */
  readonly needsData: boolean;
}

const RETRY_MS = 1000;
const DATA_MS = 5000;

export class FailBack {
  #config: FailBackConfig;
  readonly #moves: Moves;
  #isNeeded = false;
  #isOffered = false; // counted as a move already
  #retryMs = Number.POSITIVE_INFINITY;
  #earliestMs = 0;
  #isAsked = false; // for the data
  #isGood = false; // they were, when last asked; for one offer
  #said = ''; // why it waits, once

  constructor(config: FailBackConfig, moves: Moves) {
    this.#config = config;
    this.#moves = moves;
  }

  /** The peer is gone: what is its runs here from now on. */
  needed(): void {
    this.#isNeeded = true;
    this.#isOffered = false;
    this.#said = '';
  }

  /** The peer runs its own again. */
  done(): void {
    this.#isNeeded = false;
    this.#isOffered = false;
  }

  /** The peer has become stable. */
  peerStable(nowMs: number): void {
    this.#earliestMs = nowMs + this.#config.delayMs;
    this.#retryMs = this.#earliestMs;
  }

  /** Counted from when the peer became stable, as before. An offer that waits looks again: the moves of an hour may be other ones. */
  setDelay(delayMs: number, nowMs: number): void {
    this.#earliestMs += delayMs - this.#config.delayMs;
    this.#config = { ...this.#config, delayMs };
    if (this.#retryMs < Number.POSITIVE_INFINITY) this.again(nowMs);
  }

  /** Something changed that it may have waited for. */
  again(nowMs: number): void {
    this.#retryMs = Math.max(nowMs, this.#earliestMs);
  }

  get deadlineMs(): number {
    return this.#retryMs;
  }

  /** Why it waits; null: it does not. */
  get waitsFor(): string | null {
    return this.#isNeeded && this.#said !== '' ? this.#said : null;
  }

  /**
   * Time passed. True: the offer is to be made now. `possible`: the peer is stable and we run what is its; `busy`: not in the middle of a
   * change.
   */
  due(possible: boolean, busy: boolean, nowMs: number, out: ResourceEffect[]): boolean {
    if (nowMs < this.#retryMs) return false;
    if (!this.#config.wanted || !this.#isNeeded || !possible) {
      this.#retryMs = Number.POSITIVE_INFINITY; // set again when the peer becomes stable
      this.#isGood = false;
      return false;
    }
    this.#retryMs = nowMs + RETRY_MS; // until it has happened: a request may go unanswered
    if (busy) return false;
    if (this.#config.needsData && !this.#isGood) {
      this.#retryMs = nowMs + DATA_MS;
      if (!this.#isAsked) out.push({ type: 'data' });
      this.#isAsked = true;
      return false;
    }
    if (!this.#isOffered && !this.#moves.may(nowMs)) {
      this.#retryMs = this.#moves.freeMs(nowMs);
      this.#say(`${this.#moves.perHour} moves in the last hour are enough`, out);
      return false;
    }
    if (!this.#isOffered) this.#moves.moved(nowMs);
    this.#isOffered = true;
    this.#isGood = false; // the next offer asks again
    this.#said = '';
    return true;
  }

  /** The answer to the effect `data`. */
  data(verdict: DataVerdict, nowMs: number, out: ResourceEffect[]): void {
    this.#isAsked = false;
    this.#isGood = verdict.isGood;
    if (verdict.isGood) this.again(nowMs);
    else this.#say(verdict.why, out);
  }

  #say(why: string, out: ResourceEffect[]): void {
    if (this.#said === why) return;
    this.#said = why;
    const text = `Fail-back waits: ${why}.`;
    out.push({ type: 'log', level: 'WARN', text });
  }
}
