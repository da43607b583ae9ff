/** I5: an Outdated or Inconsistent disk is never the source of a resync. */
import { Conns, Disks, diskName, type State } from '../../drbd/state.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

export class Source extends DeviceChecker {
  constructor(device: ReplicatedDevice) {
    super(device, 'source', 'I5');
  }

  override changed(node: Replica, _old: State | null, next: State): void {
    const source =
      next.conn === Conns.SyncSource ||
      next.conn === Conns.PausedSyncS ||
      next.conn === Conns.WFBitMapS;
    if (!source) return;
    this.look();
    if (
      next.disk === Disks.Outdated ||
      next.disk === Disks.Inconsistent ||
      next.disk < Disks.Negotiating
    ) {
      this.violate(`${node.name} is the source of a resync with its disk ${diskName(next.disk)}`);
    }
  }
}
