/**
 * I8: within the hour of a run a life restarts each group in place as often as `restarts-per-hour` says, and gives groups back by itself as
 * often as `moves-per-hour` says. A move is one when a group begins on a node while the life that had it goes on elsewhere, and neither
 * an operator, nor ipfail, nor FAILED_OFFLINE asked for it.
 */
import type { ClusterNode } from '../cluster-node.js';
import type { ClusterWorld } from '../cluster-world.js';
import type { NodeName } from '../config.js';
import { ClusterChecker, lifeOf } from './cluster-checker.js';
import { isOffline } from './cluster-standing.js';

/** So long what an operator asked for may be the reason. */
const OPERATOR_MS = 90_000;
/** Groups that go together begin within it. */
const TOGETHER_MS = 30_000;

interface Ran {
  readonly node: ClusterNode;
  readonly life: object;
}

export class ClusterRates extends ClusterChecker {
  readonly #restarts = new Map<object, Map<string, number>>(); // by life, by group
  readonly #moves = new Map<object, number[]>(); // by the life that gave
  readonly #ran = new Map<string, Ran>(); // by service

  constructor(world: ClusterWorld) {
    super(world, 'rates', 'I8');
  }

  override logged(name: NodeName, _object: string, _level: string, text: string): void {
    const key = /^restarting (\S+) in place/.exec(text)?.[1];
    const life = lifeOf(this.world.nodes[name]);
    if (key === undefined || life === null) return;
    this.look();
    const counts = this.#restarts.get(life) ?? new Map<string, number>();
    const count = (counts.get(key) ?? 0) + 1;
    this.#restarts.set(life, counts.set(key, count));
    const { restartsPerHour } = this.world.setup.health;
    if (count > restartsPerHour) {
      this.violate(`${name} restarts ${key} for the ${count}. time, of ${restartsPerHour}`);
    }
  }

  override launched(node: ClusterNode, service: string): void {
    const life = lifeOf(node);
    const before = this.#ran.get(service);
    if (life) this.#ran.set(service, { node, life });
    if (before && before.node !== node && lifeOf(before.node) === before.life) {
      this.#moved(before, service);
    }
  }

  #moved({ node, life }: Ran, service: string): void {
    const { nowMs, operatorMs, setup } = this.world;
    const asked = nowMs - operatorMs < OPERATOR_MS || setup.pings.length > 0 || isOffline(node);
    // With legacy a group goes home as soon as its home asks: nothing is counted.
    if (setup.movesPerHour === 0 || setup.autoFailback === 'legacy' || asked) return;
    this.look();
    const moves = this.#moves.get(life) ?? [];
    if (nowMs - (moves.at(-1) ?? Number.NEGATIVE_INFINITY) > TOGETHER_MS) moves.push(nowMs);
    this.#moves.set(life, moves);
    if (moves.length > setup.movesPerHour) {
      this.violate(`${service} leaves ${node.name}, move ${moves.length} of ${setup.movesPerHour}`);
    }
  }
}
