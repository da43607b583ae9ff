/**
 * How this node joins: communication is up when every other node has been heard or declared dead; with a member that lives it asks who
 * the members are, and becomes active when it knows.
 *
 *     up --all heard or dead--> reqnodes, again every second --repnodes--> active
 *                           \-> alone, or with an old heartbeat: active at once
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { FlowControl } from './flow-control.js';
import type { MembershipConfig, MembershipEffect } from './membership-types.js';
import { liveMembers, type NodeRecord } from './node-record.js';
import type { OwnMessages } from './own-messages.js';
import type { OwnStatus } from './own-status.js';

const REQNODES_MS = 1000;

export class Joining {
  readonly #config: MembershipConfig;
  readonly #nodes: ReadonlyMap<string, NodeRecord>;
  readonly #messages: OwnMessages;
  readonly #status: OwnStatus;
  readonly #flow: FlowControl;
  #commUp = false;
  #waitsForNodes = false; // reqnodes was sent
  #reqnodesMs = Number.POSITIVE_INFINITY;

  constructor(
    config: MembershipConfig,
    nodes: ReadonlyMap<string, NodeRecord>,
    messages: OwnMessages,
    status: OwnStatus,
    flow: FlowControl,
  ) {
    this.#config = config;
    this.#nodes = nodes;
    this.#messages = messages;
    this.#status = status;
    this.#flow = flow;
  }

  /** Every other node has been heard or declared dead, and we are active. */
  get commUp(): boolean {
    return this.#commUp;
  }

  /** When it is asked again. */
  get deadlineMs(): number {
    return this.#waitsForNodes ? this.#reqnodesMs : Number.POSITIVE_INFINITY;
  }

  /** A node was heard, or declared dead. */
  check(nowMs: number, out: MembershipEffect[]): void {
    if (this.#commUp) return;
    for (const node of this.#nodes.values()) {
      if (!node.heard && node.status !== 'dead') return;
    }
    if (liveMembers(this.#nodes).length === 0 || !this.#flow.isOn) {
      this.#becomeActive(out);
    } else if (!this.#waitsForNodes) {
      this.#waitsForNodes = true;
      this.#askNodes(nowMs, out);
    }
  }

  /** Time passed. */
  tick(nowMs: number, out: MembershipEffect[]): void {
    if (nowMs >= this.deadlineMs) this.#askNodes(nowMs, out);
  }

  #askNodes(nowMs: number, out: MembershipEffect[]): void {
    const [node] = liveMembers(this.#nodes);
    if (!node) return;
    this.#reqnodesMs = nowMs + REQNODES_MS;
    this.#messages.send(haFields({ t: 'reqnodes', dest: node.name }), out);
  }

  /** `reqnodes`: a starting node asks who the members are; it does not become active before it knows. */
  asked(node: NodeRecord, out: MembershipEffect[]): void {
    node.askedNodes = true;
    const nodelist = this.#config.nodes.map((name) => `${name} `).join('');
    const answer = { t: 'repnodes', dest: node.name, nodelist, delnodelist: ' ' };
    this.#messages.send(haFields(answer), out);
  }

  /** `repnodes`. */
  answered(message: HaMessage, out: MembershipEffect[]): void {
    if (!this.#waitsForNodes) return;
    const names = (fieldOf(message, 'nodelist') ?? '').split(' ').filter((name) => name !== '');
    const missing = this.#config.nodes.filter((name) => !names.includes(name));
    const extra = names.filter((name) => !this.#config.nodes.includes(name));
    if (missing.length > 0 || extra.length > 0) {
      const from = fieldOf(message, 'src') ?? '';
      const text = `node list of ${from} [${names.join(' ')}] differs from ours [${this.#config.nodes.join(' ')}]`;
      out.push({ type: 'log', level: 'ERROR', text });
    }
    this.#becomeActive(out);
  }

  #becomeActive(out: MembershipEffect[]): void {
    this.#waitsForNodes = false;
    this.#commUp = true;
    const text = 'Comm_now_up(): updating status to active';
    out.push({ type: 'log', level: 'info', text });
    this.#status.set('active', out);
    out.push({ type: 'comm-up' });
  }
}
