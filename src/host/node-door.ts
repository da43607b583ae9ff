/**
 * What a node asks of the world before something is started, here or there: may a dead peer's groups be taken over
 * (resource-manager/permission.ts, which resets it first where that can be), and are the peer's disks good enough to give it
 * its groups back.
 *
 *     peer dead -> permission -> (reset) -> permitted -> the resource machine claims and starts
 *     fail-back -> data -> peersData -> the resource machine offers
 */
import type { HaResourceGroup } from '../config/haresources.js';
import { Permission, type PermissionEffect } from '../resource-manager/permission.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import { haFields } from '../wire/hamsg.js';
import type { NodeAsk } from './heartbeat-questions.js';
import { askPeersData, drbdResources } from './node-data.js';
import type { HeartbeatNodeConfig } from './node-ports.js';

export interface NodeDoorHost {
  readonly peer: string | null;
  readonly ask: NodeAsk;
  readonly resources: () => ResourceMachine;
  /** What the resource machine wants done. */
  readonly apply: (effects: readonly ResourceEffect[], nowMs: number) => void;
}

export class NodeDoor {
  readonly permission: Permission;
  /** Of drbd, that the peer's groups promote there. */
  readonly peersResources: readonly string[];
  readonly #host: NodeDoorHost;

  constructor(config: HeartbeatNodeConfig, host: NodeDoorHost) {
    this.#host = host;
    const { groups, membership, permission } = config;
    this.permission = new Permission({ ...permission, peer: host.peer });
    const isPeers = (group: HaResourceGroup) => group.node !== membership.node;
    this.peersResources = drbdResources(groups.filter(isPeers));
  }

  /** May the groups of the peer, which is dead, be taken over? */
  ask({ id, needed }: Extract<ResourceEffect, { type: 'permission' }>, nowMs: number): void {
    const holds = this.#host.resources().claims() !== 'none';
    const out: PermissionEffect[] = [];
    this.permission.ask(id, needed, holds, nowMs, out);
    this.#apply(out, nowMs);
  }

  /** That question is not open any more. */
  withdraw(): void {
    this.permission.withdraw();
  }

  tick(nowMs: number): void {
    const out: PermissionEffect[] = [];
    this.permission.tick(nowMs, out);
    this.#apply(out, nowMs);
  }

  #apply(effects: readonly PermissionEffect[], nowMs: number): void {
    const { ask, resources, apply } = this.#host;
    for (const effect of effects) {
      const out: ResourceEffect[] = [];
      switch (effect.type) {
        case 'fence': {
          const { id, node } = effect;
          ask('fence', { node }, (answer, answeredMs) => {
            const answered: PermissionEffect[] = [];
            this.permission.fenced(id, answer, answeredMs, answered);
            this.#apply(answered, answeredMs);
          });
          break;
        }
        case 'told': {
          const { node, result } = effect;
          out.push({ type: 'send', message: haFields({ t: 'stonith', node, result }) });
          break;
        }
        case 'permitted':
          resources().permitted(effect.id, nowMs, out);
          break;
        case 'log':
          out.push(effect);
          break;
      }
      apply(out, nowMs);
    }
  }

  /** Are the data of the peer's groups up to date there? */
  askData(): void {
    const { ask, peer, resources, apply } = this.#host;
    askPeersData(ask, peer ?? '', this.peersResources, (verdict, nowMs) => {
      const out: ResourceEffect[] = [];
      resources().peersData(verdict, nowMs, out);
      apply(out, nowMs);
    });
  }
}
