/**
 * What the two nodes claim, and what either may still be running beyond that.
 *
 *     hold       what we claim: from before our scripts start it until before they stop it
 *     claims     and what we are still stopping although we have dropped the claim
 *     other      what the peer claims, in its terms
 *     otherMay   what may still run there: grows at once, with our `done`, too; shrinks only when the peer says that it is done
 *
 * A claim is said in a `resource` message; the scripts run in jobs, which go to `Operations`. `clean` is ours: nothing runs
 * here that we do not claim; the original ignores it. Source: docs/HEARTBEAT.md, resources.
 */
import { haFields } from '../wire/hamsg.js';
import { both, type Hold, minus, plus, swapped } from './hold.js';
import type { ResourceEffect } from './resource-machine.js';

export class Claims {
  #hold: Hold;
  #other: Hold = 'none';
  #otherMay: Hold = 'none';
  readonly #jobs = new Map<number, Hold>(); // open jobs -> what they are giving up ('none' for a take)
  #lastJob = 0;
  readonly #homes: string;
  /** Said with each claim: this node may run nothing. Ours; the original ignores it. */
  offline = false;

  /** `resume`: what was claimed before a restart that left the services running. `homes`: homes.ts. */
  constructor(resume: Hold, homes: string) {
    this.#hold = resume;
    this.#homes = homes;
  }

  get hold(): Hold {
    return this.#hold;
  }
  get other(): Hold {
    return this.#other;
  }
  get otherMay(): Hold {
    return this.#otherMay;
  }
  get hasJobs(): boolean {
    return this.#jobs.size > 0;
  }

  /** What we claim, and what we are still stopping although we have dropped the claim. */
  get claims(): Hold {
    let claims = this.#hold;
    for (const giving of this.#jobs.values()) claims = plus(claims, giving);
    return claims;
  }

  /** What either node claims, in our terms. */
  get owned(): Hold {
    return plus(this.#hold, swapped(this.#other));
  }

  /** What both nodes claim, in our terms. */
  get clash(): Hold {
    return both(this.#hold, swapped(this.#other));
  }

  claim(scope: Hold): void {
    this.#hold = plus(this.#hold, scope);
  }

  drop(scope: Hold): void {
    this.#hold = minus(this.#hold, scope);
  }

  /** The peer is dead, has left, or there is none. */
  claimAll(): void {
    this.#hold = 'all';
    this.otherLeft();
  }

  /** The peer has released everything. */
  otherLeft(): void {
    this.#other = 'none';
    this.#otherMay = 'none';
  }

  /** The peer starts, with nothing but what it resumes. */
  otherStarts(resumes: Hold): void {
    this.#otherMay = resumes;
  }

  otherClaims(claimed: Hold, isFull: boolean, isStable: boolean): void {
    this.#other = isFull || claimed === 'none' ? claimed : plus(this.#other, claimed);
    // Without isstable=1 a smaller claim announces a stop that is yet to come (standby, shutdown).
    this.#otherMay = isStable ? this.#other : plus(this.#otherMay, this.#other);
  }

  /** The peer says that these are stopped. In its terms. */
  otherStopped(rsc: Hold): void {
    this.#otherMay = minus(this.#otherMay, rsc);
  }

  /** We have told the peer that it may start these. In our terms. */
  gave(rsc: Hold): void {
    this.#otherMay = plus(this.#otherMay, swapped(rsc));
  }

  /** The `resource` message. `hold`: what is told as claimed. */
  say(isStable: boolean, info: string | null, out: ResourceEffect[], hold = this.#hold): void {
    // What is not claimed but still being stopped: the peer is not to take it yet.
    const isStopping = minus(this.claims, hold) !== 'none';
    const message = haFields({
      t: 'resource',
      rsc_hold: hold,
      rtype: 'full',
      isstable: isStable && !isStopping ? '1' : '0',
      ...(info === null ? {} : { info }),
      clean: '1',
      ...(this.#homes === '' ? {} : { homes: this.#homes }),
      ...(this.offline ? { offline: '1' } : {}),
    });
    out.push({ type: 'send', message });
  }

  take(scope: Hold, out: ResourceEffect[]): number {
    return this.#job('take', scope, 'none', out);
  }

  /** `running`: what of it may run here until the job is done. */
  give(scope: Hold, out: ResourceEffect[], running = scope): number {
    return this.#job('give', scope, running, out);
  }

  #job(kind: 'take' | 'give', scope: Hold, giving: Hold, out: ResourceEffect[]): number {
    const id = ++this.#lastJob;
    this.#jobs.set(id, giving);
    out.push({ type: 'job', id, kind, scope, key: null });
    return id;
  }

  /** What the job gave up. */
  jobDone(id: number): Hold {
    const gave = this.#jobs.get(id) ?? 'none';
    this.#jobs.delete(id);
    return gave;
  }
}
