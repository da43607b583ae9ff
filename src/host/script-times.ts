/**
 * How long the scripts of each resource took lately: what a hand-over costs, for `twinbeat bound`. Starts and stops that
 * worked, and any status. The longest of the last few, since one call is no measure. Of this process: a restart of the
 * daemon begins anew.
 */
import type { Action } from '../resource-manager/group-operation.js';

const KEPT = 5;

export class ScriptTimes {
  readonly #lately = new Map<string, number[]>(); // `${resource} ${action}` -> ms

  ran(resource: string, action: Action, tookMs: number): void {
    const key = `${resource} ${action}`;
    const lately = [...(this.#lately.get(key) ?? []), tookMs];
    this.#lately.set(key, lately.slice(-KEPT));
  }

  /** Null: it was not run yet. */
  longestMs(resource: string, action: Action): number | null {
    const lately = this.#lately.get(`${resource} ${action}`);
    return lately ? Math.max(...lately) : null;
  }
}
