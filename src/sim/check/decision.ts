/**
 * After a split brain the copy is given up that an operator or a policy named: with connect --discard-my-data that of the node
 * where it was said, with after-sb-0pri discard-zero-changes one that nobody wrote to.
 */
import { NODES, type NodeName, peerOf } from '../config.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

const SOLVED =
  /^Split-Brain detected, (manually|0 primaries, automatically) solved\. Sync from (this|peer) node/;

export class Decision extends DeviceChecker {
  readonly #discards: Record<NodeName, boolean> = { alpha: false, beta: false };

  constructor(device: ReplicatedDevice) {
    super(device, 'decision', 'I1');
  }

  override tick(): void {
    const { truth } = this.device;
    // Nothing is given up any more once both are the same again.
    for (const node of NODES) if (truth.forced[peerOf(node)] === null) this.#discards[node] = false;
  }

  override logged(node: NodeName, object: string, _level: string, text: string): void {
    if (object === 'drbdadm' && text.startsWith('drbdadm connect --discard-my-data')) {
      this.#discards[node] = true;
      return;
    }
    const solved = SOLVED.exec(text);
    if (!solved) return;
    this.look();
    const victim = solved[2] === 'this' ? peerOf(node) : node;
    if (solved[1] === 'manually') {
      if (this.#discards[victim]) return;
      this.violate(`${victim} gives its data up; --discard-my-data was said on ${peerOf(victim)}`);
      return;
    }
    const { config, truth } = this.device;
    if (config.net.afterSb0pri !== 'discard-zero-changes' || truth.aloneWrites[victim] === 0)
      return;
    this.violate(`${victim} gives up ${truth.aloneWrites[victim]} writes by discard-zero-changes`);
  }
}
