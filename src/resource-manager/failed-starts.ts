/**
 * Groups that did not start here, and when the peer is asked to take them: together, some time after the first failed, once.
 * A group that fails there as well stays stopped until an operator acts. So does one that may not be handed over since groups moved
 * often enough in the last hour (moves.ts), until the hour is over: that is said at once, and every hour.
 *
 * Deliberately different from the original: what is asked for is `local` or `foreign` as the groups belong (3.0.6 always
 * says `foreign`, which leaves an own group stopped on both nodes). Source: docs/HEARTBEAT.md, scripts.
 */
import { both, type Hold } from './hold.js';
import type { Moves } from './moves.js';
import type { ResourceEffect } from './resource-machine.js';

const HAND_OVER_MS = 30_000;
const SAY_MS = 3_600_000;

export class FailedStarts {
  readonly #failed = new Map<string, 'local' | 'foreign'>(); // to be handed over
  readonly #handedOver = new Set<string>(); // were handed over once without having run since
  #dueMs = Number.POSITIVE_INFINITY;
  #heldBack: { readonly keys: string; readonly saidMs: number; readonly why: string } | null = null;

  /** Why they are not handed over; null: nothing keeps them. */
  get waitsFor(): string | null {
    return this.#heldBack?.why ?? null;
  }

  get deadlineMs(): number {
    return this.#dueMs;
  }

  /** A group did not start and has been stopped again. */
  failed(key: string, scope: 'local' | 'foreign', nowMs: number, out: ResourceEffect[]): void {
    if (this.#handedOver.delete(key)) {
      const text = `Resource group ${key} does not start on either node: it stays stopped until an operator acts.`;
      out.push({ type: 'log', level: 'CRIT', text });
      return;
    }
    this.#failed.set(key, scope);
    if (this.#dueMs === Number.POSITIVE_INFINITY) this.#dueMs = nowMs + HAND_OVER_MS;
  }

  started(key: string): void {
    this.#failed.delete(key);
    this.#handedOver.delete(key);
    if (this.#failed.size > 0) return;
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#heldBack = null;
  }

  /** What the peer is to be asked to take now, if we claim it; null for nothing. `canHandOver`: it could take it. */
  handOver(nowMs: number, canHandOver: boolean): Hold | null {
    if (nowMs < this.#dueMs || this.#failed.size === 0) return null;
    if (!canHandOver) {
      this.#dueMs = nowMs + HAND_OVER_MS;
      return null;
    }
    const scope = this.#scope;
    for (const key of this.#failed.keys()) this.#handedOver.add(key);
    this.#failed.clear();
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#heldBack = null;
    return scope;
  }

  get #scope(): Hold {
    const scopes = new Set(this.#failed.values());
    const [scope = 'none'] = scopes;
    return scopes.size === 2 ? 'all' : scope;
  }

  /** The peer could take them, but nothing may move by itself now. `claimed`: what is claimed here. */
  holdBack(
    moves: Pick<Moves, 'perHour' | 'count' | 'freeMs'>,
    claimed: Hold,
    nowMs: number,
    out: ResourceEffect[],
  ): void {
    if (nowMs < this.#dueMs) return;
    this.#dueMs = nowMs + HAND_OVER_MS;
    const scope = both(claimed, this.#scope);
    if (scope === 'none') {
      this.#heldBack = null;
      return;
    }
    const keys = [...this.#failed.keys()].join(' ');
    const before = this.#heldBack;
    const minutes = Math.max(1, Math.ceil((moves.freeMs(nowMs) - nowMs) / 60_000));
    const reached = `moves-per-hour = ${moves.perHour} is reached (${moves.count(nowMs)} in the last hour)`;
    const why = `${reached}, so [${keys}] stays stopped for another ${minutes} min; hb_standby ${scope} hands it over now`;
    const isSaid = before?.keys === keys && nowMs - before.saidMs < SAY_MS;
    this.#heldBack = { keys, saidMs: isSaid ? before.saidMs : nowMs, why };
    if (isSaid) return;
    const text = `What did not start here is not handed over: ${why}.`;
    out.push({ type: 'log', level: 'CRIT', text });
  }
}
