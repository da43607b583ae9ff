/**
 * The acknowledgement rules: an answered write is on the local disk, where there is one; and while the peer takes part it is
 * there as well: under C on its disk, under B received as a whole, under A handed to the socket.
 */
import { Conns, Disks } from '../../drbd/state.js';
import { stamp } from '../ledger.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

export class Acknowledgement extends DeviceChecker {
  constructor(device: ReplicatedDevice) {
    super(device, 'acknowledgement', 'A/B/C');
  }

  override acknowledged(node: Replica, id: number, sector: number, sectors: number): void {
    const s = node.state;
    if (!s) return;
    if (s.disk === Disks.UpToDate) this.#has(node, node, sector, sectors);
    if (!peerTakesPart(node)) return;
    switch (node.protocol) {
      case 'C':
        this.#has(node.peer, node, sector, sectors);
        return;
      case 'B':
        this.#received(node, sector, sectors);
        return;
      case 'A':
        this.#sent(node, id, sector, sectors);
    }
  }

  #has(holder: Replica, primary: Replica, sector: number, sectors: number): void {
    this.look();
    const bad = this.#missing(holder, primary, sector, sectors);
    if (bad === null) return;
    this.violate(
      `a write to [${sector}, ${sector + sectors}) was acknowledged on ${primary.name} and is not on ${holder.name}'s disk: ${bad}`,
    );
  }

  #missing(holder: Replica, primary: Replica, sector: number, sectors: number): string | null {
    const { ledger, truth } = this.device;
    const bytes = holder.disk.content(sector * 512, sectors * 512);
    const lineage = truth.lineage[primary.name];
    const bad = ledger.firstBadAt(lineage, sector, bytes);
    if (bad === null) return null;
    const history = ledger.history(lineage, bad.sector, 4).join('; ');
    return `sector ${bad.sector} holds ${bad.content}. ${history}`;
  }

  /** Under B it may wait at the peer for its turn on the disk, with all of its data. */
  #received(node: Replica, sector: number, sectors: number): void {
    this.look();
    const bad = this.#missing(node.peer, node, sector, sectors);
    const requests = node.peer.drbdd?.loop.engine.core.peer;
    const owner = node.peer.volume?.peerIo;
    if (bad === null || !requests) return;
    let missing = sectors;
    for (let i = 0, p = requests.find(0); p; p = requests.find(++i)) {
      if (p.owner !== owner || !p.entered || p.receiving) continue;
      missing -= Math.max(0, Math.min(p.endSector, sector + sectors) - Math.max(p.sector, sector));
    }
    // Some of it may be on the disk already: a part of a large discard.
    if (missing < sectors) return;
    this.violate(
      `a write to [${sector}, ${sector + sectors}) was acknowledged on ${node.name} under protocol B, and ${node.peer.name} has not received it: ${bad}`,
    );
  }

  /** Under A nothing of it may wait in the process any more. */
  #sent(node: Replica, id: number, sector: number, sectors: number): void {
    const { drbdd } = node;
    if (!drbdd) return;
    this.look();
    const last = stamp(id, sector + sectors - 1, 1);
    for (const bytes of drbdd.io.unsent) {
      if (Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(last) < 0) continue;
      this.violate(
        `write ${id} to [${sector}, ${sector + sectors}) was acknowledged on ${node.name} under protocol A before the socket had it`,
      );
      return;
    }
  }
}

/** Both say so: the peer's disk is UpToDate, and what is written goes there too. */
export function peerTakesPart(node: Replica): boolean {
  const s = node.state;
  if (s?.conn !== Conns.Connected || s.pdsk !== Disks.UpToDate) return false;
  const other = node.peer.state;
  if (other?.conn !== Conns.Connected || other.disk !== Disks.UpToDate) return false;
  return !!node.volume?.link && !!node.peer.volume?.link;
}
