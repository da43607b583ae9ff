/**
 * Whether our own disks are good enough for what a dead peer ran: looked at before anything is asked, reset, claimed or started.
 *
 *     peer dead -> our disks: good, or nobody can say -> permission (permission.ts) -> claimed and started
 *                             worse than the peer's   -> CRIT with the command that forces it; looked at again every 5 s
 *
 * drbddisk would refuse, and what is claimed in vain is given up and not tried again. Who starts nothing need not shoot, either. Nothing is
 * started by an answer: it only lets the question go on to the door. Only for groups that all need disks: else the others start
 * without delay, as in the original. Pure. Source: docs/HEARTBEAT.md, different from the original, 24.
 */
import type { OwnDataVerdict } from './answers.js';
import { type Hold, minus } from './hold.js';
import type { ResourceEffect } from './resource-machine.js';

const AGAIN_MS = 5000;
const NEVER = Number.POSITIVE_INFINITY;

export class OwnData {
  readonly #onDisks: Hold;
  #scope: Hold = 'none'; // what is to be taken over; 'none': nothing is asked
  #id = 0; // of the latest look
  #againMs = NEVER;
  #said: string | null = null; // why it waits

  /** `onDisks`: the scopes of which every group needs disks of drbd. */
  constructor(onDisks: Hold) {
    this.#onDisks = onDisks;
  }

  /** Why nothing is taken over; null: it does not wait for that. */
  get waitsFor(): string | null {
    return this.#said;
  }

  get deadlineMs(): number {
    return this.#againMs;
  }

  /** The peer is dead, `hold` is what we claim. True: an answer is to be waited for. */
  ask(hold: Hold, out: ResourceEffect[]): boolean {
    this.end();
    const scope = minus('all', hold);
    if (scope === 'none' || minus(scope, this.#onDisks) !== 'none') return false;
    this.#scope = scope;
    this.#look(out);
    return true;
  }

  #look(out: ResourceEffect[]): void {
    this.#againMs = NEVER;
    out.push({ type: 'own-data', id: ++this.#id, scope: this.#scope });
  }

  /** The answer to the effect `own-data`. True: the take-over goes on. */
  data(id: number, verdict: OwnDataVerdict, nowMs: number, out: ResourceEffect[]): boolean {
    if (id !== this.#id || this.#scope === 'none') return false;
    if (verdict.isGood) {
      if (this.#said !== null) {
        const text = 'The data here are good enough now: taking over.';
        out.push({ type: 'log', level: 'info', text });
      }
      this.end();
      return true;
    }
    this.#againMs = nowMs + AGAIN_MS;
    if (this.#said !== verdict.why) {
      const text = `Nothing is taken over: ${verdict.why}. It is tried again as soon as they are better. To go on with them all the same, and lose what the other node has written since: ${verdict.force}`;
      out.push({ type: 'log', level: 'CRIT', text });
    }
    this.#said = verdict.why;
    return false;
  }

  tick(nowMs: number, out: ResourceEffect[]): void {
    if (nowMs >= this.#againMs) this.#look(out);
  }

  /** The question is not open any more. */
  end(): void {
    this.#scope = 'none';
    this.#againMs = NEVER;
    this.#said = null;
  }
}
