/**
 * I4: a bitmap bit is cleared only on proof of equality. While the nodes are apart and quiet, every block in which the
 * disks differ has its bit in at least one of the two bitmaps; otherwise no resync would ever find it.
 */
import { Conns, Disks } from '../../drbd/state.js';
import type { SimNode } from '../sim-node.js';
import type { World } from '../world.js';
import { Checker } from './checker.js';
import { isQuiet } from './equal.js';

const BLOCK_SECTORS = 8; // of one bit

export class Bits extends Checker {
  constructor(world: World) {
    super(world, 'bits', 'I4');
  }

  override tick(): void {
    const { alpha, beta } = this.world.nodes;
    if (!this.#apart(alpha) || !this.#apart(beta)) return;
    const { truth } = this.world;
    if (truth.lineage.alpha !== truth.lineage.beta) return; // a split brain is decided by its generations
    if (truth.forced.alpha !== null || truth.forced.beta !== null) return;
    const x = alpha.drbdd?.volume;
    const y = beta.drbdd?.volume;
    if (!x?.bitmap || !y?.bitmap) return;
    // Copies that never met, or a disk that was replaced: a full resync, decided by the generations.
    if (x.uuids.bitmap === 0n && y.uuids.bitmap === 0n && x.uuids.current !== y.uuids.current)
      return;
    this.look();
    const sectors = x.sizeSectors;
    if (sectors !== y.sizeSectors) return;
    for (let from = 0; from < sectors; ) {
      const sector = alpha.disk.equals(beta.disk, from, sectors - from);
      if (sector < 0) return;
      const bit = Math.floor(sector / BLOCK_SECTORS);
      if (!x.bitmap.isSet(bit) && !y.bitmap.isSet(bit)) {
        const history = this.world.ledger.history(truth.lineage.alpha, sector, 4).join('; ');
        this.violate(
          `sector ${sector} differs, and neither node has its bit (block ${bit}). ${history}`,
        );
        return;
      }
      from = (bit + 1) * BLOCK_SECTORS;
    }
  }

  #apart(node: SimNode): boolean {
    const s = node.state;
    if (!s || s.conn > Conns.WFConnection || s.disk < Disks.Outdated) return false;
    return !node.drbdd?.volume?.link && isQuiet(node);
  }
}
