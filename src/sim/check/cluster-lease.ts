/** I7: with a witness a node counts on its lease from when it asked, and on no answer that came later than that lasts. */
import type { ArbiterAnswer, ArbiterAsk } from '../../resource-manager/answers.js';
import type { ClusterNode } from '../cluster-node.js';
import type { ClusterWorld } from '../cluster-world.js';
import type { NodeName } from '../config.js';
import { ClusterChecker, lifeOf } from './cluster-checker.js';

export class ClusterLease extends ClusterChecker {
  /** Until when it may serve at the most, on its own clock. */
  readonly #limitMs: Record<NodeName, number> = {
    alpha: Number.NEGATIVE_INFINITY,
    beta: Number.NEGATIVE_INFINITY,
  };

  constructor(world: ClusterWorld) {
    super(world, 'lease', 'I7');
  }

  override leased(
    node: ClusterNode,
    { leaseMs }: ArbiterAsk,
    { verdict }: ArbiterAnswer,
    sentMs: number,
  ): void {
    if (verdict !== 'granted') return;
    const agoMs = this.world.nowMs - sentMs;
    const untilMs = node.clock.nowMs - agoMs * SLOWEST + leaseMs;
    this.#limitMs[node.name] = Math.max(this.#limitMs[node.name], untilMs);
  }

  override died(node: ClusterNode): void {
    this.#limitMs[node.name] = Number.NEGATIVE_INFINITY;
  }

  override tick(): void {
    if (this.world.setup.witness === null) return;
    for (const node of this.world.bothNodes) {
      const untilMs = lifeOf(node)?.serveUntilMs ?? Number.NEGATIVE_INFINITY;
      if (!node.acts || untilMs === Number.NEGATIVE_INFINITY) continue;
      this.look();
      // By the proof it may serve for deadtime from now on at the most.
      const byProofMs = node.clock.nowMs + this.world.setup.deadtimeMs;
      const limitMs = Math.max(this.#limitMs[node.name], byProofMs);
      if (untilMs <= limitMs) continue;
      const tooLong = Math.round(untilMs - limitMs);
      this.violate(
        `${node.name} believes that it may serve ${tooLong} ms longer than it was granted`,
      );
    }
  }
}

/** A node's clock against true time, at the worst. */
const SLOWEST = 0.99;
