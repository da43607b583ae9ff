/**
 * After every heal (a link is up again, a node is heard again, or has restarted) the addresses that run here are announced again: switches
 * and neighbours may have learned something else meanwhile.
 *
 * Only what runs here and is not being taken away, and never by a node that is leaving or lets go: the other node may hold the address by
 * then. The script looks itself whether the address is here (docs/RESOURCES-ADDRESSES.md).
 */
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import type { GroupState } from '../resource-manager/operations.js';
import type { NodeAsk } from './heartbeat-questions.js';

/** Scripts with an action `announce`. */
const ANNOUNCED: ReadonlySet<string> = new Set(['IPaddr', 'IPaddr2', 'IPv6addr', 'SendArp']);
/** A link that has just come up does not carry everything yet; and a partition that heals makes a node let go first. */
const AFTER_MS = 1000;
/** However often links come and go. */
const EVERY_MS = 10_000;

export interface NodeAnnounceHost {
  readonly groups: readonly HaResourceGroup[];
  readonly stateOf: (key: string) => GroupState;
  readonly ask: NodeAsk;
  readonly leaving: () => boolean;
  /** What runs here is known: no start-up, and no resumed claim that was not looked at. */
  readonly isStable: () => boolean;
}

export class NodeAnnounce {
  readonly #host: NodeAnnounceHost;
  #dueMs = Number.POSITIVE_INFINITY;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(host: NodeAnnounceHost) {
    this.#host = host;
  }

  /** Something is as it should be again. */
  healed(nowMs: number): void {
    const dueMs = Math.max(nowMs + AFTER_MS, this.#lastMs + EVERY_MS);
    this.#dueMs = Math.min(this.#dueMs, dueMs);
  }

  tick(nowMs: number): void {
    if (nowMs < this.#dueMs) return;
    this.#dueMs = Number.POSITIVE_INFINITY;
    const { groups, stateOf, leaving, isStable } = this.#host;
    if (leaving()) return;
    this.#lastMs = nowMs;
    // A life that resumes learns later what runs on: then that is announced.
    if (!isStable() || groups.some((group) => stateOf(group.key) === 'starts')) this.healed(nowMs);
    const running = groups.filter((group) => stateOf(group.key) === 'runs');
    this.#announce(
      running.flatMap(({ key, resources }) => resources.map((each) => ({ key, each }))),
    );
  }

  /** One after the other. */
  #announce(rest: readonly { readonly key: string; readonly each: HaResource }[]): void {
    const [first, ...others] = rest;
    if (!first) return;
    const { key, each } = first;
    const { stateOf, leaving, ask } = this.#host;
    const isOurs = !leaving() && stateOf(key) === 'runs';
    if (!isOurs || each.kind !== 'heartbeat' || !ANNOUNCED.has(each.script)) this.#announce(others);
    else ask('announce', { resource: each }, () => this.#announce(others));
  }

  get deadlineMs(): number {
    return this.#dueMs;
  }
}
