/**
 * I7: a group starts left to right and stops right to left, by what is on the machine: no service begins without its address, no address
 * goes while its service is there. A restart in place stops what it starts again.
 */

import { parseHaResource } from '../../config/haresources.js';
import { judge } from '../../resource-manager/verdict.js';
import type { ClusterNode } from '../cluster-node.js';
import { resourcesOf } from '../cluster-setup.js';
import type { ClusterWorld } from '../cluster-world.js';
import type { NodeName } from '../config.js';
import type { ScriptTrace } from '../sim-scripts.js';
import { ClusterChecker } from './cluster-checker.js';

interface Restart {
  readonly called: Set<string>;
  readonly stopped: Set<string>;
}

export class ClusterOrder extends ClusterChecker {
  /** Of groups that are restarted in place, by service: what a stop was called for since, and what was stopped. */
  readonly #restarts: Record<NodeName, Map<string, Restart>> = {
    alpha: new Map(),
    beta: new Map(),
  };

  constructor(world: ClusterWorld) {
    super(world, 'order', 'I7');
  }

  #groupOf(text: string) {
    return this.world.setup.groups.find((group) => resourcesOf(group).includes(text)) ?? null;
  }

  override logged(name: NodeName, _object: string, _level: string, text: string): void {
    // When it begins: one that is only wished for may be called off.
    const last = /^Restarting resource group: .*?(\S+)$/.exec(text)?.[1];
    const group = last === undefined ? null : this.#groupOf(last);
    if (group) this.#restarts[name].set(group.service, { called: new Set(), stopped: new Set() });
  }

  override died(node: ClusterNode): void {
    this.#restarts[node.name].clear();
  }

  override launched(node: ClusterNode, service: string): void {
    const address = this.#groupOf(service)?.address ?? null;
    this.look();
    if (address === null || node.scripts.addresses.has(address)) return;
    this.violate(`${service} begins on ${node.name} without ${address}`);
  }

  override scripted(node: ClusterNode, { text, action, event, outcome }: ScriptTrace): void {
    const group = this.#groupOf(text);
    if (!group) return;
    this.look();
    const { service } = group;
    const isAddress = text !== service;
    if (
      action === 'stop' &&
      event === 'begins' &&
      isAddress &&
      node.scripts.services.has(service)
    ) {
      this.violate(`${node.name} stops ${text} while ${service} is there`);
    }
    const restart = this.#restarts[node.name].get(service);
    if (!restart) return;
    const { called, stopped } = restart;
    if (event === 'begins') {
      if (action === 'stop') called.add(text);
      if (action !== 'start') return;
      if (!stopped.has(text)) this.violate(`${node.name} restarts ${text}, and has not stopped it`);
      if (!isAddress) this.#restarts[node.name].delete(service);
    } else if (outcome && action === 'stop' && outcome.exitStatus === 0) stopped.add(text);
    else if (outcome && action === 'status' && called.has(text)) {
      // The last word on a stop that failed.
      if (judge(parseHaResource(text), outcome) === 'stopped') stopped.add(text);
    }
  }
}
