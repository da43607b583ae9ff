/** I7: clients find the service: when all is well again, where an address is was also the last to be announced and heard. */
import type { ClusterWorld } from '../cluster-world.js';
import { ClusterChecker } from './cluster-checker.js';

export class ClusterAnnounce extends ClusterChecker {
  constructor(world: ClusterWorld) {
    super(world, 'announce', 'I7');
  }

  override end(): void {
    for (const node of this.world.bothNodes) {
      for (const address of node.scripts.addresses) {
        this.look();
        const goTo = this.world.clientsGoTo.get(address) ?? 'nobody';
        if (goTo === node.name) continue;
        this.violate(`${address} is on ${node.name}, and clients go to ${goTo}`);
      }
    }
  }
}
