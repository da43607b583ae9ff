/**
 * I7: a resource group runs on at most one node; it starts left to right and stops right to left, and what could not be stopped
 * is not passed over.
 *
 * Nodes that could not hear each other for deadtime may both run it: without stonith or a witness that is what Heartbeat
 * promises. So a second start counts unless one has held the other for dead a moment ago, and they were apart for so long. A daemon that was killed and has a successor at once is no such excuse: the successor goes on with what runs.
 * Once they hear each other again, one lets go.
 */
import { parseHaResource } from '../../config/haresources.js';
import { judge } from '../../resource-manager/verdict.js';
import { NODES, type NodeName, peerOf } from '../config.js';
import { HARESOURCES } from '../heartbeat-config.js';
import type { SimNode } from '../sim-node.js';
import type { ScriptTrace } from '../sim-scripts.js';
import type { World } from '../world.js';
import { WorldChecker } from './checker.js';

const RESOURCES: readonly string[] = HARESOURCES.trim().split(/\s+/).slice(1);

type Running =
  | 'stopped'
  | 'starting'
  | 'running'
  | 'stopping'
  | 'being stopped again' // what does not run is stopped too, to be sure
  | 'not stopped'
  | 'unknown';

/** Heard each other for less than this between two silences: it is one. */
const HEARD_MS = 3000;
/** After a silence: for the scripts of a takeover that it led to, and for giving everything up and joining again. */
const SORTED_MS = 30_000;
/** Between two looks. */
const LOOK_MS = 200;
/** A daemon needs so long to join one that is there. */
const JOINING_MS = 5000;

export class Group extends WorldChecker {
  readonly #state: Record<NodeName, Map<string, Running>> = { alpha: new Map(), beta: new Map() };
  #apartMs = 0; // when they last could not hear each other
  #silentMs = 0; // since when, that time
  #longMs = 0; // when they last had not heard each other for as long as deadtime
  readonly #heldDeadMs: Record<NodeName, number> = { alpha: -Infinity, beta: -Infinity }; // the other
  readonly #life: Record<NodeName, { readonly of: object; readonly sinceMs: number } | null> = {
    alpha: null,
    beta: null,
  };

  constructor(world: World) {
    super(world, 'group', 'I7');
  }

  override tick(): void {
    const { world } = this;
    const timing = world.config.heartbeat;
    if (timing === null) return;
    for (const node of world.bothNodes) this.#lives(node);
    if (!this.#hearing()) {
      if (world.nowMs - this.#apartMs > HEARD_MS) this.#silentMs = world.nowMs;
      this.#apartMs = world.nowMs;
      // By the last keepalive, which may be as old as its interval; seen at the looks before and after.
      const silentMs = this.#apartMs - this.#silentMs + 2 * (timing.keepaliveMs + LOOK_MS);
      if (silentMs > timing.deadtimeMs) this.#longMs = world.nowMs;
    }
    const both = NODES.every((n) => this.#state[n].get('service') === 'running');
    if (!both) return;
    this.look();
    const boundMs = world.meddled
      ? 3 * timing.deadtimeMs + timing.initdeadMs + 90_000
      : timing.deadtimeMs + SORTED_MS;
    if (world.nowMs - this.#apartMs > boundMs) {
      this.violate(
        `the service runs on both nodes ${boundMs / 1000} s after they heard each other again`,
      );
    }
  }

  /** Between two ticks, too: the other one may be back at once, from a pause. */
  override logged(node: NodeName, object: string, _level: string, text: string): void {
    if (object === 'heartbeat' && text === `node ${peerOf(node)}: is dead`) {
      this.#heldDeadMs[node] = this.world.nowMs;
    }
  }

  #lives(node: SimNode): void {
    const { nowMs } = this.world;
    const of = node.heartbeat?.heartbeat.node ?? null;
    const life = this.#life[node.name];
    if (of === null) this.#life[node.name] = null;
    else if (life?.of !== of) this.#life[node.name] = { of, sinceMs: nowMs };
    if (of?.membership.nodes.get(node.peer.name)?.status === 'dead') {
      this.#heldDeadMs[node.name] = nowMs;
    }
  }

  override died(node: SimNode, power: boolean): void {
    if (power) this.#state[node.name].clear();
  }

  override scripted(node: SimNode, script: ScriptTrace): void {
    const { text, action, event, outcome } = script;
    const state = this.#state[node.name];
    const place = RESOURCES.indexOf(text);
    if (place < 0) return;
    this.look();
    if (action === 'status') {
      // The last word on what could not be stopped.
      const is = state.get(text);
      const verdict = outcome?.failure === null ? judge(parseHaResource(text), outcome) : null;
      // Of what nobody has started here it is enough that it does not say the contrary.
      const gone =
        is === 'being stopped again'
          ? verdict === 'stopped' || verdict === 'unknown'
          : is === 'not stopped' && verdict === 'stopped';
      if (gone) state.set(text, 'stopped');
    } else if (event === 'begins') {
      const is = state.get(text) ?? 'stopped';
      const ran = is !== 'stopped' && is !== 'being stopped again';
      state.set(text, action === 'start' ? 'starting' : ran ? 'stopping' : 'being stopped again');
      if (action === 'start') this.#starts(node, place);
      else this.#stops(node, place);
    } else if (outcome?.exitStatus === 0) {
      state.set(text, action === 'start' ? 'running' : 'stopped');
    } else if (state.get(text) !== 'being stopped again') {
      state.set(text, action === 'start' ? 'unknown' : 'not stopped'); // else it does not run all the same
    }
  }

  #starts(node: SimNode, place: number): void {
    const state = this.#state[node.name];
    for (const before of RESOURCES.slice(0, place)) {
      const is = state.get(before) ?? 'stopped';
      if (is === 'starting') {
        this.violate(`${node.name} starts ${RESOURCES[place]} while ${before} is being started`);
      }
    }
    this.#initdead(node, place);
    if (node.heartbeat?.heartbeat.node?.leaving) {
      this.violate(`${node.name} starts ${RESOURCES[place]} although its heartbeat leaves`);
    }
    const other = this.#state[node.peer.name].get(RESOURCES[place] ?? '') ?? 'stopped';
    const runs = other === 'running' || other === 'starting' || other === 'stopping';
    if (!runs || this.world.meddled) return;
    const { nowMs } = this.world;
    this.#lives(node);
    const heldMs = Math.max(this.#heldDeadMs.alpha, this.#heldDeadMs.beta);
    const sinceMs = Math.max(nowMs - this.#longMs, nowMs - heldMs);
    if (sinceMs > SORTED_MS) {
      this.violate(
        `${node.name} starts ${RESOURCES[place]} which is ${other} on ${node.peer.name}; the last silence of deadtime by which it was held for dead was ${Math.round(sinceMs / 1000)} s ago`,
      );
    }
  }

  /** Who has just begun to live and has heard nobody waits for initdead. */
  #initdead(node: SimNode, place: number): void {
    const timing = this.world.config.heartbeat;
    const life = this.#life[node.name];
    const other = node.heartbeat?.heartbeat.node?.membership.nodes.get(node.peer.name);
    if (timing === null || life === null || !other || other.heard) return;
    const sinceMs = this.world.nowMs - life.sinceMs;
    if (sinceMs > timing.initdeadMs - 1000) return;
    this.violate(
      `${node.name} starts ${RESOURCES[place]} ${Math.round(sinceMs / 1000)} s after its heartbeat began, which has not heard ${node.peer.name} (initdead ${timing.initdeadMs} ms)`,
    );
  }

  #stops(node: SimNode, place: number): void {
    const state = this.#state[node.name];
    for (const after of RESOURCES.slice(place + 1)) {
      const is = state.get(after) ?? 'stopped';
      if (is === 'stopped' || is === 'unknown') continue;
      this.violate(`${node.name} stops ${RESOURCES[place]} while ${after} is ${is}`);
    }
  }

  /** Both daemons live, and some network carries their datagrams both ways. */
  #hearing(): boolean {
    const { alpha, beta } = this.world.nodes;
    const { nowMs } = this.world;
    const lives = (n: SimNode): boolean => {
      const life = this.#life[n.name];
      if (!n.powered || n.clock.paused || !life || n.heartbeat?.heartbeat.paused) return false;
      const { commUp } = n.heartbeat?.heartbeat.node?.membership ?? { commUp: false };
      return commUp || nowMs - life.sinceMs > JOINING_MS;
    };
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
