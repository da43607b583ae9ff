/**
 * How a life of a node ends: everything that it holds is released, the other node is told (`shutdone`), and the host ends it.
 *
 *     an operator stops it ----------------------------------> release -> released(false)
 *     the other node may run what we run (healed partition,
 *     yield, a stall of our own), perhaps after a moment ----> release -> released(true): a new life after a pause
 *     nothing held, nobody heard yet ------------------------> released(false) at once
 *
 * From the beginning of it on nothing is started: the other node may have it, or takes it as soon as it hears of us.
 */
import type { Membership } from '../heartbeat/membership.js';
import type { MembershipEffect } from '../heartbeat/membership-types.js';
import type { Hold } from '../resource-manager/hold.js';
import type { Operations } from '../resource-manager/operations.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import type { HeartbeatPorts } from './node-ports.js';

const RESTART_DEADTIME_EXTRA_MS = 30_000;

export interface NodeLeavingHost {
  readonly resume: Hold; // what this life began with
  readonly membership: Membership;
  readonly resources: ResourceMachine;
  readonly operations: Operations;
  readonly ports: Pick<HeartbeatPorts, 'log' | 'released'>;
  /** What membership and the resource machine want done. */
  readonly tell: (effects: readonly MembershipEffect[], nowMs: number) => void;
  readonly apply: (effects: readonly ResourceEffect[], nowMs: number) => void;
  /** ipfail and its like say that they leave. */
  readonly endClients: (nowMs: number) => void;
}

export class NodeLeaving {
  readonly #host: NodeLeavingHost;
  #stopAsked = false; // by an operator: no new life after it
  #restart = false; // the release under way ends in a new life
  #releaseMs = Number.POSITIVE_INFINITY;
  #isOver = false;

  constructor(host: NodeLeavingHost) {
    this.#host = host;
  }

  /** A shutdown or restart was begun. */
  get isBegun(): boolean {
    return this.#host.resources.state === 'SHUTDOWN' || this.#releaseMs < Number.POSITIVE_INFINITY;
  }

  /** Nobody is to be told any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Orderly leave: hand everything over, then `released(false)`. */
  shutdown(nowMs: number): void {
    const { resume, membership, resources, ports, apply } = this.#host;
    this.#stopAsked = true;
    this.#restart = false;
    if (!membership.commUp && resume === 'none') {
      this.released(nowMs); // nothing is held, and nobody counts on us
      this.abandon(); // nor takes over what nobody would stop again, should initdead be over now
      return;
    }
    ports.log('info', 'Heartbeat shutdown in progress.');
    const out: ResourceEffect[] = [];
    resources.shutdown(nowMs, out);
    apply(out, nowMs);
  }

  /** The other side may run what we run: let go, then begin a new life. */
  beginRestart(afterMs: number, nowMs: number): void {
    const { resources, operations } = this.#host;
    if (resources.state === 'SHUTDOWN') return;
    this.#restart = !this.#stopAsked;
    operations.abortTakes();
    this.#releaseMs = Math.min(this.#releaseMs, nowMs + afterMs);
  }

  tick(nowMs: number): void {
    if (nowMs < this.#releaseMs) return;
    const { membership, resources, operations, ports, tell, apply } = this.#host;
    this.#releaseMs = Number.POSITIVE_INFINITY;
    operations.abortTakes();
    ports.log('info', 'Heartbeat shutdown in progress.');
    const raised: MembershipEffect[] = [];
    membership.raiseDeadtime(RESTART_DEADTIME_EXTRA_MS, raised);
    tell(raised, nowMs);
    const out: ResourceEffect[] = [];
    resources.release(out);
    apply(out, nowMs);
  }

  get deadlineMs(): number {
    return this.#releaseMs;
  }

  /** Everything is released, and the other node was told. */
  released(nowMs: number): void {
    if (this.#isOver) return;
    this.#host.endClients(nowMs);
    this.#host.ports.released(this.#restart);
  }

  /** The sockets are closed by the host. */
  abandon(): void {
    this.#isOver = true;
  }
}
