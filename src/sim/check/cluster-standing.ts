/**
 * I7: a node whose standing on disk is FAILED_OFFLINE, or that has said so and was not recovered since, begins to start nothing, whatever it
 * hears and however often it was booted.
 */
import { parseStanding } from '../../resource-manager/standing.js';
import type { ClusterNode } from '../cluster-node.js';
import type { ClusterWorld } from '../cluster-world.js';
import type { NodeName } from '../config.js';
import type { ScriptTrace } from '../sim-scripts.js';
import { ClusterChecker } from './cluster-checker.js';

export class ClusterStanding extends ClusterChecker {
  readonly #said = new Set<NodeName>();

  constructor(world: ClusterWorld) {
    super(world, 'standing', 'I7');
  }

  override logged(name: NodeName, _object: string, _level: string, text: string): void {
    if (text.startsWith('This node is FAILED_OFFLINE: ')) this.#said.add(name);
    else if (text.startsWith(`Node ${name} is recovered`)) this.#said.delete(name);
  }

  override scripted(node: ClusterNode, { text, action, event }: ScriptTrace): void {
    if (action !== 'start' || event !== 'begins') return;
    this.look();
    if (isOffline(node) || this.#said.has(node.name))
      this.violate(`${node.name} starts ${text} and is FAILED_OFFLINE`);
  }
}

export function isOffline(node: ClusterNode): boolean {
  const content = node.heartbeat.files.read('standing');
  return parseStanding(content && new TextDecoder().decode(content)).state !== 'ok';
}
