/**
 * A node with an arbiter: when it asks for the lease, until when it may run anything, and when something may be started.
 *
 *     something runs (or a question is open), proof older than d / 2 --> ask, as often as lease.ts says
 *     something runs at `serve until` ---------------------------------> stop-all
 *     and still, a quarter of stop-limit before it has to be gone ------> die
 *
 *     to be started:  proof younger than d / 2      what the peer says can be acted on: it holds us for alive
 *                     peer dead, asked then, granted, stop-limit waited (or fenced, or released), still granted
 *                     peer has left (`shutdone`), granted
 *
 * In force until a peer is heard that has no arbiter: it asks nobody, so a lease protects nothing from it. Times are lease.ts's.
 * Pure. docs/decisions/cluster.md, 2 to 4.
 */
import type { ArbiterAnswer, ArbiterAsk } from './answers.js';
import { Lease, type LeaseConfig } from './lease.js';
import type { ResourceLevel } from './resource-machine.js';

export type LeaseEffect =
  | { readonly type: 'arbiter'; readonly id: number; readonly verb: ArbiterAsk['verb'] } // comes back by `arbitrated`
  | { readonly type: 'stop-all' }
  | { readonly type: 'die'; readonly why: string }
  | { readonly type: 'log'; readonly level: ResourceLevel; readonly text: string };

const NEVER = Number.POSITIVE_INFINITY;
const LONG_AGO = Number.NEGATIVE_INFINITY;

export class LeaseDoor {
  readonly #config: LeaseConfig;
  readonly #lease: Lease;
  readonly #inheritedUntilMs: number;
  #peerProves: boolean | null = null; // null: not heard in this life
  #runs = false;
  #askMs = LONG_AGO; // when the next request may go out
  #isAsked = false; // a question about a dead peer is open
  #firstId = NEVER; // of the requests that were sent since
  #grantedMs = NEVER; // when one of them was granted
  #beginMs = NEVER; // from when on what the peer ran may be started
  #begun = false; // it was
  #peerLeft = false;
  #stopAsked = false;
  #dieAsked = false;
  #holderSaid: string | null = null;

  /** `inheritedUntilMs`: `serveUntilMs` of the life before, for what it left running. -Infinity: nothing. */
  constructor(config: LeaseConfig, inheritedUntilMs: number) {
    this.#config = config;
    this.#inheritedUntilMs = inheritedUntilMs;
    this.#lease = new Lease(config, LONG_AGO);
  }

  get isInForce(): boolean {
    return this.#peerProves !== false;
  }

  get serveUntilMs(): number {
    return Math.max(this.#lease.serveUntilMs, this.#inheritedUntilMs);
  }

  /** Whether the watchdog may be fed. */
  mayFeed(nowMs: number): boolean {
    const { stopLimitMs } = this.#config;
    return !this.isInForce || !this.#runs || nowMs < this.serveUntilMs + stopLimitMs / 2;
  }

  /** The lease is ours: what the other node ran it has stopped, or stops. */
  isHeld(nowMs: number): boolean {
    return this.isInForce && nowMs < this.#lease.untilMs;
  }

  /** With its status the peer says whether it has an arbiter. */
  peerProves(proves: boolean, out: LeaseEffect[]): void {
    if (proves === this.#peerProves) return;
    this.#peerProves = proves;
    if (proves) return;
    const text = 'The other node asks no witness: the lease protects nothing.';
    out.push({ type: 'log', level: 'WARN', text });
  }

  /** y: the peer has heard what we sent then. */
  provedHeard(sentMs: number): void {
    this.#lease.proved(sentMs);
  }

  /** It lives: what was granted because of its death is no leave to start anything more. */
  peerHeard(): void {
    this.#close();
    this.#begun = false;
    this.#peerLeft = false;
  }

  /** Its `shutdone`: it has stopped everything. */
  peerLeft(): void {
    this.#peerLeft = true;
  }

  /** `runs`: something may run here, or is being started or stopped. */
  holds(runs: boolean): void {
    this.#runs = runs;
  }

  /** The peer is dead. Only what is granted from now on counts. */
  ask(): void {
    this.#close();
    this.#isAsked = true;
    this.#begun = false;
    this.#firstId = this.#lease.nextId;
    this.#askMs = LONG_AGO;
  }

  #close(): void {
    this.#isAsked = false;
    this.#firstId = NEVER;
    this.#grantedMs = NEVER;
    this.#beginMs = NEVER;
  }

  /** That question is not open any more. */
  withdraw(): void {
    this.#close();
  }

  /** The open question was granted and still is: who is refused must not shoot. */
  mayFence(nowMs: number): boolean {
    return this.#grantedMs <= nowMs && this.isHeld(nowMs);
  }

  /** When the peer has had its time to stop; Infinity: nothing is granted. */
  get beginMs(): number {
    return this.#beginMs;
  }

  /** ... and the peer had its time to stop. */
  mayBegin(nowMs: number): boolean {
    return nowMs >= this.#beginMs && this.isHeld(nowMs);
  }

  /** The question is answered: started from now on is what the peer ran. It has stopped it, or was reset. */
  begin(): void {
    this.#close();
    this.#begun = true;
  }

  /** Whether something may be started that does not run yet. */
  mayStart(nowMs: number): boolean {
    if (!this.isInForce || nowMs < this.#lease.freshUntilMs) return true;
    return (this.#begun || this.#peerLeft) && this.isHeld(nowMs);
  }

  /** `peerGeneration`: the latest life of the peer that was ever heard. */
  arbitrated(
    id: number,
    answer: ArbiterAnswer,
    peerGeneration: number,
    nowMs: number,
    out: LeaseEffect[],
  ): void {
    const wasHeld = this.isHeld(nowMs);
    const sentMs = this.#lease.answered(id, answer, nowMs);
    const { holder } = this.#lease;
    if (holder !== this.#holderSaid && holder !== null) {
      const text = `The witness refuses the lease: ${holder === '' ? 'see its log' : `${holder} has it`}.`;
      out.push({ type: 'log', level: 'WARN', text });
    }
    this.#holderSaid = holder;
    if (sentMs === null || answer.verdict !== 'granted') return;
    if (!wasHeld) out.push({ type: 'log', level: 'info', text: 'This node has the lease.' });
    if (id < this.#firstId || this.#grantedMs !== NEVER) return;
    // Of another life than its latest it says nothing: the later one may serve by the proof alone.
    const released = answer.released !== 0 && answer.released === peerGeneration;
    this.#grantedMs = nowMs;
    this.#beginMs = this.#lease.beginFromMs(nowMs, released);
  }

  /** This life is over and has stopped everything: the other node need not wait. */
  release(nowMs: number, out: LeaseEffect[]): void {
    if (!this.isInForce || this.#lease.untilMs === LONG_AGO) return;
    out.push({ type: 'arbiter', id: this.#lease.asked(nowMs), verb: 'release' });
  }

  tick(nowMs: number, out: LeaseEffect[]): void {
    if (!this.isInForce) return;
    if (this.#grantedMs !== NEVER && !this.isHeld(nowMs)) {
      // Lost before anything was begun: the other node may have had it meanwhile.
      this.#grantedMs = NEVER;
      this.#beginMs = NEVER;
      this.#firstId = this.#lease.nextId;
    }
    if (this.#wantsLease(nowMs) && nowMs >= this.#askMs) {
      this.#askMs = nowMs + this.#lease.everyMs;
      const verb = this.isHeld(nowMs) ? 'renew' : 'take';
      out.push({ type: 'arbiter', id: this.#lease.asked(nowMs), verb });
    }
    if (this.#runs && nowMs >= this.serveUntilMs && !this.#stopAsked) {
      this.#stopAsked = true;
      const text =
        'Neither heard by the other node nor granted the lease: giving up all resources.';
      out.push({ type: 'log', level: 'CRIT', text });
      out.push({ type: 'stop-all' });
    }
    if (this.#runs && nowMs >= this.#dieMs && !this.#dieAsked) {
      this.#dieAsked = true;
      out.push({ type: 'die', why: 'Not everything is stopped within stop-limit' });
    }
  }

  #wantsLease(nowMs: number): boolean {
    return this.#isAsked || (this.#runs && nowMs >= this.#lease.freshUntilMs);
  }

  /** A reboot takes its time, too. */
  get #dieMs(): number {
    return this.serveUntilMs + dieAfterMs(this.#config.stopLimitMs);
  }

  get deadlineMs(): number {
    if (!this.isInForce) return NEVER;
    const { freshUntilMs } = this.#lease;
    const askMs = this.#isAsked ? this.#askMs : Math.max(this.#askMs, freshUntilMs);
    const asksAt = this.#isAsked || this.#runs ? askMs : NEVER;
    const stopMs = this.#runs && !this.#stopAsked ? this.serveUntilMs : NEVER;
    const dieMs = this.#runs && !this.#dieAsked ? this.#dieMs : NEVER;
    return Math.min(asksAt, stopMs, dieMs);
  }
}

/** So long after the node may not serve any more the machine is taken down, in time to be gone by stop-limit. */
export function dieAfterMs(stopLimitMs: number): number {
  return (stopLimitMs * 3) / 4;
}
