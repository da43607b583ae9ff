/**
 * Who holds whom for dead. A daemon that runs and is heard is not held for dead; and a node that was, and lives all the same,
 * gives up what it runs once they hear each other again: the other one may have taken it over (I7). Unless that one is the first
 * to let go: a heartbeat that was restarted meanwhile joins as a new node, which gets its groups as auto_failback says.
 */
import type { NodeName } from '../config.js';
import type { SimNode } from '../sim-node.js';
import type { ScriptTrace } from '../sim-scripts.js';
import type { World } from '../world.js';
import { WorldChecker } from './checker.js';

/** On top of some keepalives: for what was lost and is sent again. */
const HEARD_MS = 5000;
/** First the peer hears of the healed partition, then this node lets go; a script may be under way. */
const RELEASE_MS = 12_000;

interface Watched {
  life: object | null; // of its heartbeat
  sinceMs: number; // when both began to hear each other
  heldDead: boolean; // by the other, while the service ran here
  deadMs: number; // when it was last
  releaseByMs: number; // when it must have begun to stop its service
  stopping: boolean;
  stopMs: number; // when its service began to stop
}

const fresh = (): Watched => ({
  life: null,
  sinceMs: 0,
  heldDead: false,
  deadMs: 0,
  releaseByMs: Infinity,
  stopping: false,
  stopMs: Number.NEGATIVE_INFINITY,
});

export class Membership extends WorldChecker {
  readonly #watched: Record<NodeName, Watched> = { alpha: fresh(), beta: fresh() };

  constructor(world: World) {
    super(world, 'membership', 'I7');
  }

  override tick(): void {
    const { world } = this;
    const timing = world.config.heartbeat;
    if (timing === null) return;
    const heard = this.#heard();
    for (const node of world.bothNodes) {
      const w = this.#ofThisLife(node);
      if (!heard) w.sinceMs = world.nowMs;
      if (w.life === null) continue;
      const status = lifeOf(node.peer)?.membership.nodes.get(node.name)?.status;
      if (status === undefined) {
        w.releaseByMs = Infinity; // the other one is not there, or has let go itself and begins anew
        if (node.peer.client === null) w.heldDead = false;
        continue;
      }
      this.look();
      if (status === 'dead') this.#dead(node, w, 3 * timing.keepaliveMs + HEARD_MS);
      else if (w.heldDead) {
        w.heldDead = false;
        if (!this.#hasLetGo(node.peer, w.deadMs)) w.releaseByMs = world.nowMs + RELEASE_MS;
      }
      this.#releases(node, w);
    }
  }

  #ofThisLife(node: SimNode): Watched {
    const w = this.#watched[node.name];
    const life = lifeOf(node);
    if (life !== w.life || life === null) {
      const sinceMs = this.world.nowMs;
      // A successor is answerable for what its predecessor left running, and may have stopped it before it joins.
      const heldDead = w.heldDead && node.client !== null;
      Object.assign(w, fresh(), { life, sinceMs, heldDead, stopMs: w.stopMs });
      this.#watched[node.peer.name].sinceMs = sinceMs;
    }
    return w;
  }

  /** It lets go. When that ends is another matter: a request of the service may be frozen until an operator sees to it. */
  override scripted(node: SimNode, script: ScriptTrace): void {
    const { text, action, event } = script;
    if (text !== 'service' || action !== 'stop') return;
    const w = this.#ofThisLife(node); // it may have begun since the last look
    w.stopping = event === 'begins';
    if (w.stopping) w.stopMs = this.world.nowMs;
    const other = this.#watched[node.peer.name];
    if (this.#hasLetGo(node, other.deadMs)) other.releaseByMs = Infinity;
    if (w.releaseByMs < Infinity) w.releaseByMs = this.world.nowMs + RELEASE_MS;
  }

  /** Since it held the other one for dead, and does not serve again. */
  #hasLetGo(node: SimNode, deadMs: number): boolean {
    const { stopping, stopMs } = this.#watched[node.name];
    return stopMs >= deadMs && (stopping || node.client === null);
  }

  #dead(node: SimNode, w: Watched, boundMs: number): void {
    // What did not run when it was declared dead has nothing to give up.
    if (node.client !== null) w.heldDead = true;
    w.deadMs = this.world.nowMs;
    const { nowMs } = this.world;
    if (nowMs - w.sinceMs <= boundMs) return;
    this.violate(
      `${node.peer.name} holds ${node.name} for dead, which it could have heard for ${Math.round((nowMs - w.sinceMs) / 1000)} s`,
    );
  }

  #releases(node: SimNode, w: Watched): void {
    const { nowMs, meddled } = this.world;
    if (node.client === null || meddled || !this.#heard()) w.releaseByMs = Infinity;
    // The other one, which noticed, lets go first, once the script that takes the group over has ended: drbddisk tries for long.
    if (w.releaseByMs < Infinity && isScriptUnderWay(node.peer)) {
      w.releaseByMs = Math.max(w.releaseByMs, nowMs + RELEASE_MS);
    }
    if (nowMs < w.releaseByMs || w.stopping) return;
    this.violate(
      `${node.name} was held for dead by ${node.peer.name}, which hears it again, and goes on with its service`,
    );
  }

  /** Both daemons run, and some network carries their datagrams both ways. */
  #heard(): boolean {
    const { alpha, beta } = this.world.nodes;
    const runs = (n: SimNode): boolean =>
      n.powered && !n.clock.paused && lifeOf(n) !== null && !n.heartbeat?.heartbeat.paused;
    if (!runs(alpha) || !runs(beta)) return false;
    const { network } = this.world.net;
    return this.world.config.heartbeatNetworks.some(
      (net) =>
        network.passes(net, 'alpha', 'beta') &&
        network.passes(net, 'beta', 'alpha') &&
        (network.faultsOf(net).loss ?? 0) === 0,
    );
  }
}

function isScriptUnderWay(node: SimNode): boolean {
  for (const _run of node.heartbeat?.scripts.runs ?? []) return true;
  return false;
}

function lifeOf(node: SimNode) {
  return node.heartbeat?.heartbeat.node ?? null;
}
