/**
 * Groups that did not start here, and when the peer is asked to take them: together, some time after the first failed, once.
 * A group that fails there as well stays stopped until an operator acts.
 *
 * Deliberately different from the original: what is asked for is `local` or `foreign` as the groups belong (3.0.6 always
 * says `foreign`, which leaves an own group stopped on both nodes). Source: docs/HEARTBEAT.md, scripts.
 */
import type { Hold } from './hold.js';
import type { ResourceEffect } from './resource-machine.js';

const HAND_OVER_MS = 30_000;

export class FailedStarts {
  readonly #failed = new Map<string, 'local' | 'foreign'>(); // to be handed over
  readonly #handedOver = new Set<string>(); // were handed over once without having run since
  #dueMs = Number.POSITIVE_INFINITY;

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
    if (this.#failed.size === 0) this.#dueMs = Number.POSITIVE_INFINITY;
  }

  /** What the peer is to be asked to take now, if we claim it; null for nothing. `canHandOver`: it could take it. */
  handOver(nowMs: number, canHandOver: boolean): Hold | null {
    if (nowMs < this.#dueMs || this.#failed.size === 0) return null;
    if (!canHandOver) {
      this.#dueMs = nowMs + HAND_OVER_MS;
      return null;
    }
    const scopes = new Set(this.#failed.values());
    const [scope = 'local'] = scopes;
    for (const key of this.#failed.keys()) this.#handedOver.add(key);
    this.#failed.clear();
    this.#dueMs = Number.POSITIVE_INFINITY;
    return scopes.size === 2 ? 'all' : scope;
  }
}
