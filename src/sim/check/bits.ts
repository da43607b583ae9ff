/**
 * I4: a bitmap bit is cleared only on proof of equality. While the nodes are quiet, apart or connected, every block in which the
 * disks differ has its bit in at least one of the two bitmaps; otherwise no resync would ever find it. During a resync the
 * source keeps the bit of each block until it is the same on both disks.
 */
import { Conns, Disks, type State } from '../../drbd/state.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import type { ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';
import { isQuiet } from './equal.js';

const BLOCK_SECTORS = 8; // of one bit
const SYNC_LOOK_MS = 500;

const isSource = (s: State | null): boolean =>
  s?.conn === Conns.SyncSource || s?.conn === Conns.PausedSyncS;
const isTarget = (s: State | null): boolean =>
  s?.conn === Conns.SyncTarget || s?.conn === Conns.PausedSyncT;

export class Bits extends DeviceChecker {
  #nextMs = 0;
  readonly #failed = new Set<NodeName>(); // could not write something, since it was last in no resync

  constructor(device: ReplicatedDevice) {
    super(device, 'bits', 'I4');
  }

  override tick(): void {
    const { alpha, beta } = this.device.nodes;
    for (const node of this.device.bothNodes) {
      if (isSource(node.state)) this.#source(node);
      if (!isTarget(node.state)) this.#failed.delete(node.name);
    }
    const apart = this.#apart(alpha) && this.#apart(beta);
    if (!apart && !(this.#together(alpha) && this.#together(beta))) return;
    const { truth } = this.device;
    if (truth.lineage.alpha !== truth.lineage.beta) return; // a split brain is decided by its generations
    if (truth.forced.alpha !== null || truth.forced.beta !== null) return;
    const x = alpha.volume;
    const y = beta.volume;
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
        const history = this.device.ledger.history(truth.lineage.alpha, sector, 4).join('; ');
        this.violate(
          `sector ${sector} differs, and neither node has its bit (block ${bit}). ${history}`,
        );
        return;
      }
      from = (bit + 1) * BLOCK_SECTORS;
    }
  }

  /** Connected, and nothing is being copied: one of them may have failed to write. */
  #together(node: Replica): boolean {
    const s = node.state;
    if (s?.conn !== Conns.Connected || s.disk < Disks.Inconsistent) return false;
    return !!node.volume?.link && isQuiet(node);
  }

  override logged(node: NodeName, _object: string, _level: string, text: string): void {
    // on-io-error pass_on: the write of a Primary that is the target clears the source's bit, and its own disk fails it. Then
    // the target's bit stays alone.
    if (text.startsWith('local write IO error')) this.#failed.add(node);
  }

  /** Of two nodes in a resync. What is being written now may be on one disk only. */
  #source(node: Replica): void {
    const { nowMs } = this.device;
    if (nowMs < this.#nextMs || !isTarget(node.peer.state)) return;
    if (this.#failed.has(node.peer.name)) return;
    const [v, w] = [node.volume, node.peer.volume];
    if (!v?.link || !w?.link || !v.bitmap || node.protocol !== 'C') return;
    this.#nextMs = nowMs + SYNC_LOOK_MS;
    this.look();
    for (let sector = 0; sector < v.sizeSectors; sector += BLOCK_SECTORS) {
      const end = Math.min(v.sizeSectors, sector + BLOCK_SECTORS);
      if (v.bitmap.isSet(sector / BLOCK_SECTORS)) continue;
      if (node.disk.equals(node.peer.disk, sector, end - sector) < 0) continue;
      if (v.intervals.overlaps(sector, end) || w.intervals.overlaps(sector, end)) continue;
      this.violate(
        `${node.name} is the source of a resync and has cleared the bit of block ${sector / BLOCK_SECTORS}, which ${node.peer.name} does not have`,
      );
      return;
    }
  }

  #apart(node: Replica): boolean {
    const s = node.state;
    if (!s || s.conn > Conns.WFConnection || s.disk < Disks.Outdated) return false;
    return !node.volume?.link && isQuiet(node);
  }
}
