/**
 * Flow control: with many messages that a member has not acknowledged, programs on the client API have to wait. What the cluster itself
 * has to say goes on. A member that says nothing of `protocol` acknowledges nothing: it ends flow control for good.
 */
import type { MembershipEffect } from './membership-types.js';
import { liveMembers, type NodeRecord } from './node-record.js';
import type { Outgoing } from './outgoing.js';

/** With more unacknowledged messages clients of the API wait; the history keeps twice as many. */
const FLOW_LIMIT = 250;

export class FlowControl {
  readonly #nodes: ReadonlyMap<string, NodeRecord>;
  readonly #history: Outgoing;
  #isOn = true;
  #clientsPaused = false;

  constructor(nodes: ReadonlyMap<string, NodeRecord>, history: Outgoing) {
    this.#nodes = nodes;
    this.#history = history;
  }

  /** Members acknowledge what they get. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** Programs on the client API may send nothing now. */
  get clientsPaused(): boolean {
    return this.#clientsPaused;
  }

  /** A status without `protocol` was heard. */
  turnOff(out: MembershipEffect[]): void {
    if (!this.#isOn) return;
    this.#isOn = false;
    const text = 'flow control disabled due to different version heartbeat';
    out.push({ type: 'log', level: 'WARN', text });
  }

  /** Something was acknowledged, or time passed. */
  check(out: MembershipEffect[]): void {
    const live = liveMembers(this.#nodes).flatMap((node) => (node.heard ? [node.name] : []));
    const paused = this.#isOn && this.#history.unacknowledged(live) > FLOW_LIMIT;
    if (paused === this.#clientsPaused) return;
    this.#clientsPaused = paused;
    const text = `all clients are now ${paused ? 'paused' : 'resumed'}`;
    out.push({ type: 'log', level: 'info', text });
  }
}
