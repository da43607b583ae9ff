/**
 * resync-after: a volume is not resynchronised while the one that it is to come after is, nor while that is held back; but for one
 * that was let go, as the peer held the other one back for an order of its own (drbd/resync-after.ts).
 */
import { Conns, connName, Disks, type State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

export class ResyncOrder extends DeviceChecker {
  readonly #letGo: Record<NodeName, boolean> = { alpha: false, beta: false };

  constructor(device: ReplicatedDevice) {
    super(device, 'resync-order', 'resync-after');
  }

  override logged(node: NodeName, _object: string, _level: string, text: string): void {
    if (/^resync-after \d+: not waited for/.test(text)) this.#letGo[node] = true;
  }

  override died(node: Replica): void {
    this.#letGo[node.name] = false;
  }

  override tick(): void {
    for (const node of this.device.bothNodes) {
      const { name, state } = node;
      const first = comesAfter(node);
      if (state === null || !first?.state || !isInTheWay(first.state)) {
        this.#letGo[name] = false;
        continue;
      }
      this.look();
      const moves = state.conn === Conns.SyncSource || state.conn === Conns.SyncTarget;
      if (!moves || this.#letGo[name]) continue;
      this.violate(
        `${name} is ${connName(state.conn)}, and is to come after drbd${first.minor}, which is ${connName(first.state.conn)}`,
      );
    }
  }
}

/** Null: after none. Without a disk there are no options. */
function comesAfter(node: Replica): Replica | null {
  const { volume, state } = node;
  if (!volume || !state || volume.dataDisk < 0 || state.disk === Disks.Diskless) return null;
  return node.node.replicas[volume.diskOptions.resyncAfterMinor] ?? null;
}

function isInTheWay({ conn, aftrIsp, userIsp, peerIsp }: State): boolean {
  const isCopied = conn >= Conns.SyncSource && conn <= Conns.PausedSyncT;
  return isCopied || aftrIsp + userIsp + peerIsp > 0;
}
