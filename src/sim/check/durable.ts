/**
 * What a flush or a write with FUA promises: under any protocol a power cut of the local disk, under C one of the peer's too,
 * takes nothing back that was acknowledged before the flush was asked for. Looked at the moment it is answered, in what the
 * caches of the disks could still lose; the power need not go for it.
 */
import { Disks } from '../../drbd/state.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { peerTakesPart } from './acknowledgement.js';
import { DeviceChecker } from './checker.js';

export class Durable extends DeviceChecker {
  constructor(device: ReplicatedDevice) {
    super(device, 'durable', 'A/B/C');
  }

  override acknowledged(
    node: Replica,
    _id: number,
    sector: number,
    sectors: number,
    fua: boolean,
  ): void {
    if (fua) this.#both(node, sector, sector + sectors, 'a write with FUA');
  }

  override flushed(node: Replica): void {
    this.#both(node, 0, node.volume?.sizeSectors ?? 0, 'a flush');
  }

  #both(node: Replica, sector: number, endSector: number, what: string): void {
    if (node.state?.disk === Disks.UpToDate) this.#one(node, node, sector, endSector, what);
    if (node.protocol === 'C' && peerTakesPart(node)) {
      this.#one(node.peer, node, sector, endSector, what);
    }
  }

  #one(holder: Replica, primary: Replica, from: number, end: number, what: string): void {
    this.look();
    const { ledger, truth } = this.device;
    const lineage = truth.lineage[primary.name];
    for (const [sector, bytes] of holder.disk.volatileIn(from, end)) {
      const bad = ledger.firstBadAt(lineage, sector, bytes, 'durable');
      if (bad === null) continue;
      const history = ledger.history(lineage, sector, 4).join('; ');
      this.violate(
        `${what} was answered on ${primary.name}, and a power cut of ${holder.name} could leave ${bad.content} in sector ${sector}. ${history}`,
      );
      return;
    }
  }
}
