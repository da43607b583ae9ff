/**
 * I3: UpToDate/UpToDate, connected, no resync, nothing under way: identical blocks, and (as soon as both can have heard of it)
 * the same size. But for what a disk changed by itself (`corrupt sector`), until it is written: that is found by an online verify
 * only.
 */
import type { SimNode } from '../sim-node.js';
import { inSync, type World } from '../world.js';
import { Checker } from './checker.js';

/** P_SIZES is on its way, or its receiver stands still. */
const HEARD_MS = 15_000;

export class Equal extends Checker {
  constructor(world: World) {
    super(world, 'equal', 'I3');
  }

  #next = 0;
  #unlikeSinceMs = Number.POSITIVE_INFINITY; // of different sizes, connected all the time

  override tick(): void {
    if (this.world.nowMs < this.#next && !this.world.healing) return;
    const { alpha, beta } = this.world.nodes;
    if (!isQuiet(alpha) || !isQuiet(beta)) return;
    const states = [alpha.state, beta.state];
    const linked = alpha.drbdd?.volume?.link && beta.drbdd?.volume?.link;
    if (!linked || !states.every((s) => s !== null && inSync(s))) {
      this.#unlikeSinceMs = Number.POSITIVE_INFINITY;
      return;
    }
    this.look();
    this.#next = this.world.nowMs + 1500;
    const [x = 0, y = 0] = [alpha, beta].map((n) => n.drbdd?.volume?.sizeSectors ?? 0);
    if (x === y) this.#unlikeSinceMs = Number.POSITIVE_INFINITY;
    else this.#unlikeSinceMs = Math.min(this.#unlikeSinceMs, this.world.nowMs);
    if (this.world.nowMs >= this.#unlikeSinceMs + HEARD_MS) {
      this.violate(`the devices have ${x} and ${y} sectors of 512 bytes`);
      return;
    }
    const sectors = Math.min(x, y);
    let sector = alpha.disk.equals(beta.disk, 0, sectors);
    while (sector >= 0 && (alpha.disk.corrupted.has(sector) || beta.disk.corrupted.has(sector))) {
      sector = alpha.disk.equals(beta.disk, sector + 1, sectors - sector - 1);
    }
    if (sector < 0) return;
    const { ledger, truth } = this.world;
    const value = (n: SimNode): number =>
      new DataView(n.disk.content(sector * 512, 512).buffer).getUint32(0);
    const history = ledger.history(truth.lineage.alpha, sector, 6).join('; ');
    this.violate(`sector ${sector}: alpha ${value(alpha)}, beta ${value(beta)}. ${history}`);
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
  const verify = v.verify.pending + v.verify.unacked;
  const open = v.link?.transferLog.count ?? 0;
  return pending + peer + verify + open + node.device.pending === 0;
}
