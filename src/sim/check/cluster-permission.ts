/**
 * I7: the door. A reset that failed is not followed by a start of what the other node may run, until one has worked or the node is heard
 * again; and with a witness nobody resets the other one who does not have the lease.
 */
import type { ArbiterAnswer, ArbiterAsk, FenceAnswer } from '../../resource-manager/answers.js';
import { includes } from '../../resource-manager/hold.js';
import type { ClusterNode } from '../cluster-node.js';
import type { ClusterWorld } from '../cluster-world.js';
import type { NodeName } from '../config.js';
import { ClusterChecker, lifeOf } from './cluster-checker.js';

interface Door {
  /** What ran here, or was claimed, when the reset failed: it may go on, and be restarted; null: none has failed. */
  shut: ReadonlySet<string> | null;
  leaseUntilMs: number; // by true time, from the sending of the request
  grantSentMs: number; // when the latest request that was granted was sent
}

export class ClusterPermission extends ClusterChecker {
  readonly #doors: Record<NodeName, Door> = {
    alpha: {
      shut: null,
      leaseUntilMs: Number.NEGATIVE_INFINITY,
      grantSentMs: Number.NEGATIVE_INFINITY,
    },
    beta: {
      shut: null,
      leaseUntilMs: Number.NEGATIVE_INFINITY,
      grantSentMs: Number.NEGATIVE_INFINITY,
    },
  };

  constructor(world: ClusterWorld) {
    super(world, 'permission', 'I7');
  }

  override tick(): void {
    for (const node of this.world.bothNodes)
      if (isPeerThere(node)) this.#doors[node.name].shut = null;
  }

  override died(node: ClusterNode): void {
    this.#doors[node.name].shut = null; // a new boot asks again
  }

  override fenced(node: ClusterNode, answer: FenceAnswer): void {
    const door = this.#doors[node.name];
    if (answer === 'OK') door.shut = null;
    else door.shut ??= new Set([...node.scripts.services.keys(), ...this.#claimed(node)]);
  }

  /** What it had claimed before it asked is being started, perhaps. */
  #claimed(node: ClusterNode): string[] {
    const claims = lifeOf(node)?.resources.claims() ?? 'none';
    const isClaimed = (home: NodeName) =>
      includes(claims, home === node.name ? 'local' : 'foreign');
    return this.world.setup.groups.flatMap(({ home, service }) =>
      isClaimed(home) ? [service] : [],
    );
  }

  override launched(node: ClusterNode, service: string): void {
    const { shut } = this.#doors[node.name];
    this.look();
    if (shut === null || shut.has(service) || isPeerThere(node)) return;
    this.violate(
      `${node.name} starts ${service}; its last reset of ${node.peer.name}, which it does not hear, has failed`,
    );
  }

  override leased(node: ClusterNode, ask: ArbiterAsk, answer: ArbiterAnswer, sentMs: number): void {
    const door = this.#doors[node.name];
    if (ask.verb === 'release') {
      // That of a life before, which nobody answered, ends long after the next life has the lease.
      if (sentMs >= door.grantSentMs) door.leaseUntilMs = Number.NEGATIVE_INFINITY;
    } else if (answer.verdict === 'granted') {
      door.grantSentMs = Math.max(door.grantSentMs, sentMs);
      door.leaseUntilMs = Math.max(door.leaseUntilMs, sentMs + ask.leaseMs);
    }
  }

  override shoots(node: ClusterNode): void {
    this.look();
    const { leaseUntilMs } = this.#doors[node.name];
    if (this.world.setup.witness === null || this.world.nowMs < leaseUntilMs) return;
    this.violate(`${node.name} resets ${node.peer.name} and does not have the lease`);
  }
}

function isPeerThere(node: ClusterNode): boolean {
  const status = lifeOf(node)?.membership.nodes.get(node.peer.name)?.status;
  return status !== undefined && status !== 'dead' && status !== 'init';
}
