/**
 * The acknowledgement rules: under C an answered write is on the disk of the peer that takes part; under any protocol it is on
 * the local disk, where there is one.
 */
import { Conns, Disks } from '../../drbd/state.js';
import type { SimNode } from '../sim-node.js';
import type { World } from '../world.js';
import { Checker } from './checker.js';

export class Acknowledgement extends Checker {
  constructor(world: World) {
    super(world, 'acknowledgement', 'A/B/C');
  }

  override acknowledged(node: SimNode, _id: number, sector: number, sectors: number): void {
    const s = node.state;
    if (!s) return;
    if (s.disk === Disks.UpToDate) this.#has(node, node, sector, sectors);
    if (node.protocol !== 'C' || s.conn !== Conns.Connected) return;
    if (s.pdsk !== Disks.UpToDate) return;
    const other = node.peer.state;
    if (!other || other.conn !== Conns.Connected || other.disk !== Disks.UpToDate) return;
    if (!node.drbdd?.volume?.link || !node.peer.drbdd?.volume?.link) return;
    this.#has(node.peer, node, sector, sectors);
  }

  #has(holder: SimNode, primary: SimNode, sector: number, sectors: number): void {
    this.look();
    const { ledger, truth } = this.world;
    const bytes = holder.disk.content(sector * 512, sectors * 512);
    const lineage = truth.lineage[primary.name];
    const bad = ledger.firstBadAt(lineage, sector, bytes);
    if (bad === null) return;
    const history = ledger.history(lineage, bad.sector, 4).join('; ');
    this.violate(
      `a write to [${sector}, ${sector + sectors}) was acknowledged on ${primary.name} and is not on ${holder.name}'s disk: sector ${bad.sector} holds ${bad.content}. ${history}`,
    );
  }
}
