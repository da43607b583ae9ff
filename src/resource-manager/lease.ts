/**
 * How long a node may serve, and when the other one may begin: all arithmetic of the lease, in one place.
 *
 *     y          when we sent the latest `status` that the peer has proved to have heard (the field `rx` of its own)
 *     d          deadtime, ours, as we announce it: so long the peer waits before it holds us for dead
 *     L          lease: counted from when we *sent* the request that was granted
 *     S          stop-limit: so long a node has to stop everything; what still runs then goes down with the machine
 *     counted()  what we may count on of a time that somebody else's clock measures; waited(): how long we wait for somebody else
 *
 *     serve until   max(y + counted(d), sent + counted(L))     without a lease from y + counted(d) / 2 on we ask for one
 *     gone by       serve until + S
 *     begin from    answer of the witness + waited(S)          asked after the peer was held for dead; still held, still dead
 *
 * Never both. Clocks go up to DRIFT wrong against true time t; `serve until` of node A is at true time E, B is the other one.
 *
 *     1. By the proof. B heard our status at or after y and holds us for dead when d has gone by on its clock since: at the earliest
 *        at t(y) + d / (1 + DRIFT). counted(d) on our clock takes at most d (1 - DRIFT) / (1 + DRIFT) / (1 - DRIFT), the same. So B
 *        asks at or after the end of what the proof gives us.
 *     2. By the lease. The witness counts L from when it got our request, which is after we sent it; by 1 with L for d we are
 *        through before it grants to B. When it was started again it waits L before it grants, from after its last grant.
 *     3. So the answer to B, which was asked after B held us for dead, was given at or after E, and we have no lease since: the witness
 *        has one holder, and B goes on holding it. A proof may come to us after that; it is of a status that B heard before it held us
 *        for dead, and 1 holds for it. Of one that B heard later: then B has heard us, and begins nothing.
 *     4. S on our clock takes at most S / (1 - DRIFT), and waited(S) on B's at least that: when B begins nothing of ours runs.
 *     5. The next change is the same with the names exchanged.
 *
 * A node that is stopped (SIGSTOP) does not stop anything at E: its watchdog is fed until E + S / 2 at most while something runs, has a
 * timeout of at most S / 2, and takes the machine down before E + S. What no clock here sees: a virtual machine whose clock stands still with it.
 *
 * With `released` the wait for S is left out: the life of the peer that is named had stopped everything before it said so. Only
 * of the latest life that we know of: a later one starts nothing without a lease before it knows that we hear it.
 *
 * Pure. docs/decisions/cluster.md, 3.
 */
import type { ArbiterAnswer } from './answers.js';

/** Of each clock, against true time. */
export const DRIFT = 0.01;

export interface LeaseConfig {
  readonly deadtimeMs: number; // d
  readonly leaseMs: number; // L
  readonly stopLimitMs: number; // S
}

/** What we may count on of a time that another clock measures. */
export function counted(ms: number): number {
  return Math.floor((ms * (1 - DRIFT)) / (1 + DRIFT));
}

/** How long we wait for what another node has so much time for. */
export function waited(ms: number): number {
  return Math.ceil((ms * (1 + DRIFT)) / (1 - DRIFT));
}

/** A request more often: a slow and bad line must not cost the lease. Its answers that are still to come are few. */
const REQUESTS_PER_LEASE = 30;

export class Lease {
  readonly #config: LeaseConfig;
  #provedMs: number;
  #untilMs = Number.NEGATIVE_INFINITY;
  #holder: string | null = null; // who else has it, as we were told last
  readonly #sent = new Map<number, number>(); // requests that were not answered -> when they were sent
  #last = 0;

  /** `provedMs`: y of a daemon before us on this node, -Infinity when there is none. */
  constructor(config: LeaseConfig, provedMs: number) {
    this.#config = config;
    this.#provedMs = provedMs;
  }

  /** y */
  get provedMs(): number {
    return this.#provedMs;
  }

  /** The peer has heard what we sent then. */
  proved(sentMs: number): void {
    this.#provedMs = Math.max(this.#provedMs, sentMs);
  }

  /** The proof is young: what the peer says can be acted on without asking anybody. */
  get freshUntilMs(): number {
    return this.#provedMs + counted(this.#config.deadtimeMs) / 2;
  }

  /** The lease alone. */
  get untilMs(): number {
    return this.#untilMs;
  }

  get serveUntilMs(): number {
    return Math.max(this.#provedMs + counted(this.#config.deadtimeMs), this.#untilMs);
  }

  get goneByMs(): number {
    return this.serveUntilMs + this.#config.stopLimitMs;
  }

  /** While something runs the watchdog is not fed from then on. */
  get feedUntilMs(): number {
    return this.serveUntilMs + this.#config.stopLimitMs / 2;
  }

  /** After the answer to a request that was sent when the peer was held for dead. */
  beginFromMs(answeredMs: number, released: boolean): number {
    return released ? answeredMs : answeredMs + waited(this.#config.stopLimitMs);
  }

  /** Who has it instead of us; null: nobody that we know of. */
  get holder(): string | null {
    return this.#holder;
  }

  /** How often to ask, as long as it is wanted. */
  get everyMs(): number {
    return Math.max(1, Math.floor(this.#config.leaseMs / REQUESTS_PER_LEASE));
  }

  /** Of the next request: what is sent from now on has this id or a higher one. */
  get nextId(): number {
    return this.#last + 1;
  }

  /** A request goes out now. */
  asked(nowMs: number): number {
    this.#sent.set(++this.#last, nowMs);
    return this.#last;
  }

  /** When the request was sent, for an answer that is worth something: others are null. */
  answered(id: number, answer: ArbiterAnswer, nowMs: number): number | null {
    const sentMs = this.#sent.get(id);
    this.#sent.delete(id);
    if (sentMs === undefined || answer.verdict === 'silent') return null;
    if (answer.verdict === 'refused') {
      this.#holder = answer.holder;
      return null;
    }
    const untilMs = sentMs + counted(this.#config.leaseMs);
    if (nowMs >= untilMs) return null; // too late to count on it
    this.#holder = null;
    this.#untilMs = Math.max(this.#untilMs, untilMs);
    return sentMs;
  }
}
