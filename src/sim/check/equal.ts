/**
 * I3: UpToDate/UpToDate, connected, no resync, nothing under way: identical blocks, and (as soon as both can have heard of it)
 * the same size. But for what a disk changed by itself (`corrupt sector`), until it is written: that is found by an online verify
 * only. And but for a new part of the device between the moment in which both are connected and the beginning of its resync
 * (growth.ts), which has to come soon: what is there is marked, and nobody has written it.
 */
import { BLOCK_SECTORS } from '../../md/units.js';
import type { NodeName } from '../config.js';
import type { Replica } from '../replica.js';
import { inSync, type ReplicatedDevice } from '../replicated-device.js';
import { DeviceChecker } from './checker.js';

/** P_SIZES, or the beginning of a resync, is on its way, or its receiver stands still. */
const HEARD_MS = 15_000;

export class Equal extends DeviceChecker {
  constructor(device: ReplicatedDevice) {
    super(device, 'equal', 'I3');
  }

  #next = 0;
  #isOver = false;
  #unlikeSinceMs = Number.POSITIVE_INFINITY; // of different sizes, connected all the time
  #dueSinceMs = Number.POSITIVE_INFINITY; // a resync of new storage, connected all the time
  readonly #oldSectors: Record<NodeName, number> = { alpha: 0, beta: 0 }; // without a part whose resync is due

  override tick(): void {
    for (const node of this.device.bothNodes) this.#note(node);
    if (this.device.nowMs < this.#next && !this.device.healing) return;
    const { alpha, beta } = this.device.nodes;
    if (!isQuiet(alpha) || !isQuiet(beta)) return;
    const states = [alpha.state, beta.state];
    const linked = alpha.volume?.link && beta.volume?.link;
    if (!linked || !states.every((s) => s !== null && inSync(s))) {
      this.#unlikeSinceMs = Number.POSITIVE_INFINITY;
      this.#dueSinceMs = Number.POSITIVE_INFINITY;
      return;
    }
    this.look();
    this.#next = this.device.nowMs + 1500;
    const [x = 0, y = 0] = [alpha, beta].map((n) => n.volume?.sizeSectors ?? 0);
    if (x === y) this.#unlikeSinceMs = Number.POSITIVE_INFINITY;
    else this.#unlikeSinceMs = Math.min(this.#unlikeSinceMs, this.device.nowMs);
    if (this.device.nowMs >= this.#unlikeSinceMs + HEARD_MS) {
      this.violate(`the devices have ${x} and ${y} sectors of 512 bytes`);
      return;
    }
    const sector = this.#difference(Math.min(x, y), this.#mayWait());
    if (sector < 0) return;
    const { ledger, truth } = this.device;
    const value = (n: Replica): number =>
      new DataView(n.disk.content(sector * 512, 512).buffer).getUint32(0);
    const history = ledger.history(truth.lineage.alpha, sector, 6).join('; ');
    this.violate(`sector ${sector}: alpha ${value(alpha)}, beta ${value(beta)}. ${history}`);
  }

  override end(): void {
    this.#isOver = true;
    this.tick();
  }

  #note(node: Replica): void {
    const v = node.state === null ? null : node.volume;
    if (v?.bitmap && !v.growth.isDue) this.#oldSectors[node.name] = v.sizeSectors;
  }

  /** The resync of a new part has not begun, and it is too early to ask why. */
  #mayWait(): boolean {
    const { bothNodes, nowMs } = this.device;
    const isDue = bothNodes.some((n) => n.volume?.growth.isDue);
    // The source waits for it, as a kernel does.
    const isHeld = bothNodes.some((n) => n.node.handlerFaults.isRunning('before-resync-source'));
    if (!isDue || isHeld) {
      this.#dueSinceMs = Number.POSITIVE_INFINITY;
      return isDue;
    }
    this.#dueSinceMs = Math.min(this.#dueSinceMs, nowMs);
    return !this.#isOver && nowMs < this.#dueSinceMs + HEARD_MS;
  }

  /** The first sector that the disks do not have in common, and should; or -1. */
  #difference(sectors: number, mayWait: boolean): number {
    const { alpha, beta } = this.device.nodes;
    for (let from = 0; from < sectors; ) {
      const sector = alpha.disk.equals(beta.disk, from, sectors - from);
      if (sector < 0) return -1;
      const isCorrupted = alpha.disk.corrupted.has(sector) || beta.disk.corrupted.has(sector);
      if (!isCorrupted && !(mayWait && this.#isNew(sector))) return sector;
      from = sector + 1;
    }
    return -1;
  }

  /** In a new part, and marked there. */
  #isNew(sector: number): boolean {
    const { alpha, beta } = this.device.nodes;
    if (sector < Math.min(this.#oldSectors.alpha, this.#oldSectors.beta)) return false;
    const bit = Math.floor(sector / BLOCK_SECTORS);
    return [alpha, beta].some((n) => n.volume?.bitmap?.isSet(bit));
  }
}

/** Nothing of this copy is on its way to a disk or to the peer. */
export function isQuiet(node: Replica): boolean {
  const v = node.drbdd?.dead ? null : node.volume;
  if (!v) return false;
  const pending = v.app.pending + v.app.local + v.app.remote + v.app.writesActive;
  const peer = v.peerIo.local + v.peerIo.unacked + v.resync.pending;
  const verify = v.verify.pending + v.verify.unacked;
  let open = 0;
  v.link?.transferLog.visit((request) => {
    if (request.owner === v.app) open++;
  });
  return pending + peer + verify + open + node.device.pending === 0;
}
