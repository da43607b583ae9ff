/** What a checker of the profile `cluster` is told beside the rest (checker.ts). */
import type { ArbiterAnswer, ArbiterAsk, FenceAnswer } from '../../resource-manager/answers.js';
import type { ClusterNode } from '../cluster-node.js';
import type { ClusterWorld } from '../cluster-world.js';
import type { ScriptTrace } from '../sim-scripts.js';
import { Checker } from './checker.js';

export class ClusterChecker extends Checker<ClusterNode> {
  protected readonly world: ClusterWorld;

  constructor(world: ClusterWorld, name: string, invariant: string) {
    super(world, name, invariant);
    this.world = world;
  }

  /** A resource script began or ended. */
  scripted(_node: ClusterNode, _script: ScriptTrace): void {}
  /** A process of the service begins. */
  launched(_node: ClusterNode, _service: string): void {}
  /** It has the address, and says so. */
  announced(_node: ClusterNode, _address: string): void {}
  /** It asks its device to reset the other one. */
  shoots(_node: ClusterNode): void {}
  /** The device has answered; whether the daemon that asked still lives or not. */
  fenced(_node: ClusterNode, _answer: FenceAnswer): void {}
  /** The witness has, or has not; `sentMs`: true time of the request. */
  leased(_node: ClusterNode, _ask: ArbiterAsk, _answer: ArbiterAnswer, _sentMs: number): void {}
}

/** The groups of the resource `text`, and what else a checker asks of a life. */
export function lifeOf(node: ClusterNode) {
  return node.heartbeat.node;
}
