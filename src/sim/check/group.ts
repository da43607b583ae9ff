/**
 * I7: a resource group runs on at most one node; it starts left to right and stops right to left.
 *
 * Nodes that could not hear each other for deadtime may both run it: without stonith or a witness that is what Heartbeat
 * promises. So a second start counts unless they were apart for so long, and a moment ago. A daemon that was killed and has a
 * successor at once is no such excuse: the successor goes on with what runs.
 */
import { NODES, type NodeName } from '../config.js';
import { HARESOURCES } from '../heartbeat-config.js';
import type { SimNode } from '../sim-node.js';
import type { ScriptTrace } from '../sim-scripts.js';
import type { World } from '../world.js';
import { Checker } from './checker.js';

const RESOURCES: readonly string[] = HARESOURCES.trim().split(/\s+/).slice(1);

type Running = 'stopped' | 'starting' | 'running' | 'stopping' | 'unknown';

/** Heard each other for less than this between two silences: it is one. */
const HEARD_MS = 3000;
/** After a long silence: for the scripts of a takeover that it led to, and for giving everything up and joining again. */
const SORTED_MS = 30_000;

export class Group extends Checker {
  readonly #state: Record<NodeName, Map<string, Running>> = { alpha: new Map(), beta: new Map() };
  #apartMs = 0; // when they last could not hear each other
  #silentMs = 0; // since when, that time
  #longMs = 0; // when they last had not heard each other for as long as deadtime

  constructor(world: World) {
    super(world, 'group', 'I7');
  }

  override tick(): void {
    const { world } = this;
    const timing = world.config.heartbeat;
    if (timing === null) return;
    if (!this.#hearing()) {
      if (world.nowMs - this.#apartMs > HEARD_MS) this.#silentMs = world.nowMs;
      this.#apartMs = world.nowMs;
      // By the last keepalive, which may be as old as its interval.
      const silentMs = this.#apartMs - this.#silentMs + 2 * timing.keepaliveMs + HEARD_MS;
      if (silentMs > timing.deadtimeMs) this.#longMs = world.nowMs;
    }
    const both = NODES.every((n) => this.#state[n].get('service') === 'running');
    if (!both) return;
    this.look();
    // Both since a partition: one has to let go once they hear each other again.
    const boundMs = 3 * timing.deadtimeMs + timing.initdeadMs + 90_000;
    if (world.nowMs - this.#apartMs > boundMs) {
      this.violate(
        `the service runs on both nodes ${boundMs / 1000} s after they heard each other again`,
      );
    }
  }

  override died(node: SimNode, power: boolean): void {
    if (power) this.#state[node.name].clear();
  }

  override scripted(node: SimNode, script: ScriptTrace): void {
    const { text, action, event, outcome } = script;
    const state = this.#state[node.name];
    const place = RESOURCES.indexOf(text);
    if (place < 0 || action === 'status') return;
    this.look();
    if (event === 'begins') {
      state.set(text, action === 'start' ? 'starting' : 'stopping');
      if (action === 'start') this.#starts(node, place);
      else this.#stops(node, place);
      return;
    }
    const ok = outcome?.exitStatus === 0;
    state.set(text, ok ? (action === 'start' ? 'running' : 'stopped') : 'unknown');
  }

  #starts(node: SimNode, place: number): void {
    const state = this.#state[node.name];
    for (const before of RESOURCES.slice(0, place)) {
      const is = state.get(before) ?? 'stopped';
      if (is === 'starting') {
        this.violate(`${node.name} starts ${RESOURCES[place]} while ${before} is being started`);
      }
    }
    const other = this.#state[node.peer.name].get(RESOURCES[place] ?? '') ?? 'stopped';
    if (other === 'stopped' || other === 'unknown') return;
    const sinceMs = this.world.nowMs - this.#longMs;
    if (sinceMs > SORTED_MS && !this.world.meddled) {
      this.violate(
        `${node.name} starts ${RESOURCES[place]} which is ${other} on ${node.peer.name}; the last silence of deadtime was ${Math.round(sinceMs / 1000)} s ago`,
      );
    }
  }

  #stops(node: SimNode, place: number): void {
    const state = this.#state[node.name];
    for (const after of RESOURCES.slice(place + 1)) {
      const is = state.get(after) ?? 'stopped';
      if (is === 'running' || is === 'starting' || is === 'stopping') {
        this.violate(`${node.name} stops ${RESOURCES[place]} while ${after} is ${is}`);
      }
    }
  }

  /** Both daemons live, and some network carries their datagrams both ways. */
  #hearing(): boolean {
    const { alpha, beta } = this.world.nodes;
    const lives = (n: SimNode): boolean =>
      n.powered &&
      !n.clock.paused &&
      n.heartbeat?.heartbeat.node?.membership.commUp === true &&
      !n.heartbeat.heartbeat.paused;
    if (!lives(alpha) || !lives(beta)) return false;
    const { network } = this.world.net;
    return this.world.config.heartbeatNetworks.some(
      (net) =>
        network.passes(net, 'alpha', 'beta') &&
        network.passes(net, 'beta', 'alpha') &&
        (network.faultsOf(net).loss ?? 0) === 0,
    );
  }
}
