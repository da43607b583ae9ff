/**
 * I3: UpToDate/UpToDate, connected, no resync, nothing under way: identical blocks.
 */
import type { SimNode } from '../sim-node.js';
import { inSync, type World } from '../world.js';
import { Checker } from './checker.js';
import { dataOf } from './promotion.js';

export class Equal extends Checker {
  constructor(world: World) {
    super(world, 'equal', 'I3');
  }

  #next = 0;

  override tick(): void {
    if (this.world.nowMs < this.#next && !this.world.healing) return;
    const { alpha, beta } = this.world.nodes;
    if (!isQuiet(alpha) || !isQuiet(beta)) return;
    const states = [alpha.state, beta.state];
    if (!states.every((s) => s !== null && inSync(s))) return;
    if (!alpha.drbdd?.volume?.link || !beta.drbdd?.volume?.link) return;
    this.look();
    this.#next = this.world.nowMs + 1500;
    const [a, b] = [dataOf(alpha), dataOf(beta)];
    if (a.length !== b.length) {
      this.violate(`the devices have ${a.length} and ${b.length} bytes`);
      return;
    }
    const at = firstDifference(a, b);
    if (at < 0) return;
    const sector = Math.floor(at / 512);
    const { ledger, truth } = this.world;
    const value = (x: Uint8Array): number => new DataView(x.buffer).getUint32(sector * 512);
    const history = ledger.history(truth.lineage.alpha, sector, 6).join('; ');
    this.violate(`sector ${sector}: alpha ${value(a)}, beta ${value(b)}. ${history}`);
  }

  override end(): void {
    this.tick();
  }
}

/** Nothing of this node's is on its way to a disk or to the peer. */
export function isQuiet(node: SimNode): boolean {
  const v = node.drbdd && !node.drbdd.dead ? node.drbdd.volume : null;
  if (!v) return false;
  const pending = v.app.pending + v.app.local + v.app.remote + v.app.writesActive;
  const peer = v.peerIo.local + v.peerIo.unacked + v.resync.pending;
  const open = v.link?.transferLog.count ?? 0;
  return pending === 0 && peer === 0 && open === 0 && node.device.pending === 0;
}

/** Index of the first byte that differs, or -1. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  const wa = new Uint32Array(a.buffer, a.byteOffset, n >>> 2);
  const wb = new Uint32Array(b.buffer, b.byteOffset, n >>> 2);
  for (let i = 0; i < wa.length; i++) if (wa[i] !== wb[i]) return i * 4;
  return -1;
}
