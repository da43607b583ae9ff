/**
 * I7: nothing runs on both nodes. With a device that resets, or a witness, never: not in a partition, not while a machine stands still,
 * not for a moment. It is looked at when a service or an address begins, by what is on the other machine then.
 *
 * Two excuses, no more. A device that says it has reset a node and has not: nobody can know. And a cluster with neither device nor
 * witness, as with the original: nodes that do not hear each other may both run it, and have a while to sort that out when they do.
 */
import type { ClusterNode } from '../cluster-node.js';
import { isProtected } from '../cluster-setup.js';
import type { ClusterWorld } from '../cluster-world.js';
import { ClusterChecker, lifeOf } from './cluster-checker.js';

/** Without protection: scripts that a silence led to may still begin. */
const SORTED_MS = 30_000;

export class ClusterOnce extends ClusterChecker {
  #apartMs = 0; // when they last did not have each other as active

  constructor(world: ClusterWorld) {
    super(world, 'once', 'I7');
  }

  override tick(): void {
    if (!this.world.bothNodes.every((node) => hasPeer(node))) this.#apartMs = this.world.nowMs;
  }

  override logged(_node: string, _object: string, _level: string, text: string): void {
    if (text.endsWith(': is dead')) this.#apartMs = this.world.nowMs;
  }

  override died(): void {
    this.#apartMs = this.world.nowMs;
  }

  override launched(node: ClusterNode, service: string): void {
    this.#begins(node, service, node.peer.scripts.services.has(service));
  }

  override announced(node: ClusterNode, address: string): void {
    this.#begins(node, address, node.peer.scripts.addresses.has(address));
  }

  #begins(node: ClusterNode, what: string, isThere: boolean): void {
    this.look();
    if (!isThere || this.world.liedTo) return;
    const { nowMs, setup } = this.world;
    if (!isProtected(setup) && nowMs - this.#apartMs <= SORTED_MS) return;
    const how = isProtected(setup)
      ? ''
      : ` ${Math.round((nowMs - this.#apartMs) / 1000)} s after they lost each other last`;
    this.violate(`${what} begins on ${node.name}, and is on ${node.peer.name}${how}`);
  }
}

function hasPeer(node: ClusterNode): boolean {
  return lifeOf(node)?.membership.nodes.get(node.peer.name)?.status === 'active';
}
