/**
 * Whether this node itself ran. Its own stalls (SIGSTOP, a paused VM) are not held against others; a stall beyond our own deadtime while
 * another node was alive means that it has taken over: `stalled`, and the host gives everything up.
 */
import type { MembershipEffect } from './membership-types.js';
import { liveMembers, type NodeRecord } from './node-record.js';

/** Timeouts are looked at this often at least. */
export const CHECK_MS = 250;
/** Lateness of a check that is still the machine's everyday life. */
const STALL_MS = 500;

export class Stall {
  readonly #nodes: ReadonlyMap<string, NodeRecord>;
  #ranMs: number;

  constructor(nodes: ReadonlyMap<string, NodeRecord>, nowMs: number) {
    this.#nodes = nodes;
    this.#ranMs = nowMs;
  }

  /** When we last ran at all. */
  get ranMs(): number {
    return this.#ranMs;
  }

  /** Something has come, or time passed. `deadtimeMs`: what we announce. Our own lateness is not the others' silence. */
  check(nowMs: number, deadtimeMs: number, out: MembershipEffect[]): void {
    const lateMs = nowMs - this.#ranMs - CHECK_MS;
    this.#ranMs = nowMs;
    if (lateMs <= STALL_MS) return;
    const text = `this node did not run for ${Math.round(lateMs + CHECK_MS)} ms`;
    out.push({ type: 'log', level: 'WARN', text });
    const othersLived = liveMembers(this.#nodes).some((node) => node.status !== 'init');
    for (const node of this.#nodes.values()) {
      node.statusMs = Math.min(nowMs, node.statusMs + lateMs);
      for (const link of node.links) link.heardMs = Math.min(nowMs, link.heardMs + lateMs);
    }
    if (othersLived && lateMs + CHECK_MS > deadtimeMs) {
      out.push({ type: 'log', level: 'CRIT', text: 'No local heartbeat. Forcing restart.' });
      out.push({ type: 'stalled', stallMs: lateMs + CHECK_MS });
    }
  }
}
