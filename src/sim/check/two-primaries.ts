/**
 * I2: never two Primaries unless an operator forced it. Nodes that cannot see each other can both be promoted (without
 * stonith or a quorum that is the administrator's choice); nodes that are connected never, and a handler that says that the
 * peer is outdated has made it so.
 */
import { Conns, Roles, type State } from '../../drbd/state.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

export class TwoPrimaries extends DeviceChecker {
  constructor(device: ReplicatedDevice) {
    super(device, 'two-primaries', 'I2');
  }

  override changed(node: Replica, old: State | null, next: State): void {
    if (next.role !== Roles.Primary) return;
    const other = node.peer.state;
    if (other === null || other.role !== Roles.Primary) return;
    this.look();
    const connected = next.conn >= Conns.Connected && other.conn >= Conns.Connected;
    if (connected)
      this.violate(`${node.name} and ${node.peer.name} are both Primary and connected`);
    if (old?.role === Roles.Primary || old === null) return;
    const { truth } = this.device;
    const { fencing } = this.device.config.disk;
    if (fencing === 'dont-care' || truth.forced[node.name] !== null) return;
    // The other Primary knows that it is alone, has fenced this node, and this node becomes Primary all the same.
    const fenced = node.peer.fenceExit === 3 || node.peer.fenceExit === 4;
    if (fenced && typeof this.device.config.fenceHandler !== 'object') {
      this.violate(
        `${node.name} becomes Primary although ${node.peer.name} has outdated it (exit ${node.peer.fenceExit})`,
      );
    }
  }
}
