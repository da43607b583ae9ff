/**
 * What this node says of itself, in a status every keepalive: its state, and after how long a silence others are to take it for dead.
 *
 *     init -> up -> active        dt: deadtime, and 2 s more in the first 5 s
 *
 * Where an arbiter is configured (`proves`) it says also which status of the other node it heard last (`rx`), and takes what that one
 * says it has heard: so a node knows that it is heard, and since when.
 */
import { fieldOf, type HaMessage, haFields } from '../wire/hamsg.js';
import type { MembershipConfig, MembershipEffect } from './membership-types.js';
import type { NodeRecord, NodeStatus } from './node-record.js';
import type { OwnMessages } from './own-messages.js';
import type { Stall } from './stall.js';

const START_DEADTIME_EXTRA_MS = 2000;
const START_DEADTIME_MS = 5000;
/** Statuses whose time of sending is remembered: more than a deadtime of keepalives is of no use to anybody. */
const MAX_SENT = 500;

export class OwnStatus {
  readonly #config: MembershipConfig;
  readonly #nodes: ReadonlyMap<string, NodeRecord>;
  readonly #messages: OwnMessages;
  readonly #stall: Stall;
  readonly #startMs: number;
  #status: NodeStatus = 'init';
  #deadtimeMs: number; // what we announce
  #deadtimeFalls = true; // the extra of the first seconds is still in it
  #keepaliveMs: number; // when the next is due
  readonly #sent = new Map<number, number>(); // seq of our statuses -> when they were sent, or a little before

  constructor(
    config: MembershipConfig,
    nodes: ReadonlyMap<string, NodeRecord>,
    messages: OwnMessages,
    stall: Stall,
    nowMs: number,
  ) {
    this.#config = config;
    this.#nodes = nodes;
    this.#messages = messages;
    this.#stall = stall;
    this.#startMs = nowMs;
    this.#keepaliveMs = nowMs + config.keepaliveMs;
    this.#deadtimeMs = config.deadtimeMs + START_DEADTIME_EXTRA_MS;
  }

  /** What we say that we are. */
  get status(): NodeStatus {
    return this.#status;
  }

  /** What we announce. */
  get deadtimeMs(): number {
    return this.#deadtimeMs;
  }

  /** When the next one is due. */
  get deadlineMs(): number {
    return this.#keepaliveMs;
  }

  /** Time passed. */
  tick(nowMs: number, out: MembershipEffect[]): void {
    if (this.#deadtimeFalls && nowMs - this.#startMs >= START_DEADTIME_MS) {
      this.#deadtimeFalls = false;
      this.#deadtimeMs = this.#config.deadtimeMs;
      this.send(out);
    }
    if (nowMs >= this.#keepaliveMs) {
      this.#keepaliveMs = Math.max(nowMs, this.#keepaliveMs + this.#config.keepaliveMs);
      this.send(out);
    }
  }

  /** Peers are given more time before they take us for dead. */
  raiseDeadtime(byMs: number, out: MembershipEffect[]): void {
    this.#deadtimeMs += byMs;
    this.#deadtimeFalls = false;
    this.send(out);
  }

  /** Another one, and everybody hears it. */
  set(status: NodeStatus, out: MembershipEffect[]): void {
    this.#status = status;
    out.push({ type: 'log', level: 'info', text: `Local status now set to: '${status}'` });
    this.send(out);
  }

  /** Everybody hears what we are. */
  send(out: MembershipEffect[]): void {
    const dt = this.#deadtimeMs.toString(16);
    const rx = this.#config.proves ? { rx: this.#heardOfPeer() } : {};
    this.#messages.send(haFields({ t: 'status', st: this.#status, dt, protocol: '1', ...rx }), out);
    if (!this.#config.proves) return;
    this.#sent.set(this.#messages.history.seq, this.#stall.ranMs);
    const [oldest] = this.#sent.keys();
    if (this.#sent.size > MAX_SENT && oldest !== undefined) this.#sent.delete(oldest);
  }

  /** `rx`: GENERATION.SEQ of the latest status of the other node, in hex; ours: a seq alone may be of its next life. */
  #heardOfPeer(): string {
    const node = [...this.#nodes.values()].find(({ kind }) => kind === 'normal');
    if (!node || node.statusSeq === 0) return '0.0';
    return `${node.generation.toString(16)}.${node.statusSeq.toString(16)}`;
  }

  /** What the peer says that it has heard. Its own words count: a status that comes late proves what it proved when it was sent. */
  provedBy(node: NodeRecord, message: HaMessage, out: MembershipEffect[]): void {
    const [, generation = '', seq = ''] =
      /^([0-9a-f]{1,13})\.([0-9a-f]{1,13})$/.exec(fieldOf(message, 'rx') ?? '') ?? [];
    node.asksArbiter = generation !== '';
    if (!this.#config.proves) return;
    const isOurs = Number.parseInt(generation, 16) === this.#config.generation;
    const sentMs = isOurs ? (this.#sent.get(Number.parseInt(seq, 16)) ?? null) : null;
    out.push({ type: 'heard-by-peer', node: node.name, proves: generation !== '', sentMs });
  }
}
