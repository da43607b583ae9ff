/**
 * resync-after: a device is resynchronised only when the one that it is to come after is not, nor is held back itself; and so on along
 * the chain of these. `aftr_isp` of a device says that it waits; the peer hears of it by P_STATE (its peer_isp).
 *
 *     free --one of its chain is in a resync or verify, or is paused by anybody--> waits --none is any more--> free
 *                                                                                    \--held by the peer for HELD_MS--> let go --^
 *
 * The chains of one node have no cycle (133). Those of two nodes together may have one: here 1 comes after 0, there 0 after 1, and
 * each pauses what the other waits for. (The originals then wait for ever.) So a device whose chain does not move, and that only
 * because the peer holds some of it back for a dependency of its own, is let go, until nothing of its chain is in its way.
 * Why that always ends: in a cycle over two nodes some device waits here for one that is paused there, or the cycle would be one of
 * this node alone. That device is let go, and stays so as long as the cycle could; what is left without it has no cycle.
 *
 * Facts: drbd.conf(5), resync-after; drbd_resync_after_valid and its kin of kernel 8.4 for what counts and what is refused.
 */
import { force } from './changes.js';
import { Err } from './return-codes.js';
import { Conns, Disks } from './state.js';
import type { Volume } from './volume.js';

/** What others see of a device that they come after. */
export interface Device {
  readonly minor: number;
  /** -1: of none, or it has no disk and so no options. */
  readonly after: number;
  /** In a resync or verify, paused or not. */
  readonly inResync: boolean;
  /** And it moves: nobody pauses it. */
  readonly moves: boolean;
  /** Paused: here for a dependency, by an operator here; by the peer, and if so, for a dependency there. */
  readonly waits: boolean;
  readonly userPaused: boolean;
  readonly peerPaused: boolean;
  readonly peerWaits: boolean;
}

export type Lookup = (minor: number) => Device | null;

const MAX_MINOR = (1 << 20) - 1;

/** Why `minor` can not come after `after`: 132, 133; null: it can. A device that is not there, or has no disk, ends the chain. */
export function afterRefusal(minor: number, after: number, find: Lookup): number | null {
  if (after === -1) return null;
  if (!Number.isInteger(after) || after < -1 || after > MAX_MINOR) return Err.RESYNC_AFTER;
  for (let at = after; at !== -1; at = find(at)?.after ?? -1) {
    if (at === minor) return Err.RESYNC_AFTER_CYCLE;
  }
  return null;
}

/** What a device comes after, nearest first. */
function* chain(device: Device, find: Lookup): Iterable<Device> {
  for (let next = find(device.after); next; next = find(next.after)) yield next;
}

/** Something of its chain is in its way. */
export function mustWait(device: Device, find: Lookup): boolean {
  for (const o of chain(device, find)) {
    if (o.inResync || o.waits || o.userPaused || o.peerPaused) return true;
  }
  return false;
}

/** Nothing of its chain moves, no operator wants it so, and the peer holds some of it back for a dependency of its own. */
export function isHeldByPeer(device: Device, find: Lookup): boolean {
  let held = false;
  for (const o of chain(device, find)) {
    if (o.moves || o.userPaused || (o.peerPaused && !o.peerWaits)) return false;
    held ||= o.peerPaused && o.peerWaits;
  }
  return held;
}

/** So long a chain may stand still before a device is let go: many times what a pause needs to be known, and lifted, on both nodes. */
export const HELD_MS = 10_000;

/** One of the devices of a node, as ResyncOrder handles it. */
export interface Ordered {
  readonly device: Device;
  /** aftr_isp; the state may not have it (StandAlone without a disk). */
  setWaits(waits: boolean): void;
  after(ms: number, run: () => void): void;
  letGo(): void;
}

/** The devices of a node. */
export class ResyncOrder {
  readonly #all = new Map<number, Ordered>();
  readonly #letGo = new Set<Ordered>();
  readonly #held = new Map<Ordered, object>(); // what names the wait that is running
  #settling = false;
  #again = false;

  add(o: Ordered): void {
    this.#all.set(o.device.minor, o);
  }

  remove(minor: number): void {
    const o = this.#all.get(minor);
    if (!o) return;
    this.#all.delete(minor);
    this.#letGo.delete(o);
    this.#held.delete(o);
    this.settle();
  }

  refusal(minor: number, after: number): number | null {
    return afterRefusal(minor, after, this.#find);
  }

  /** A state, or an option, has changed: who has to wait, and who need not any more? */
  settle(): void {
    this.#again = true;
    if (this.#settling) return;
    this.#settling = true;
    while (this.#again) {
      this.#again = false;
      for (const o of [...this.#all.values()]) this.#one(o);
    }
    this.#settling = false;
  }

  #one(o: Ordered): void {
    const { device } = o;
    if (device.after === -1 && !device.waits) return;
    const must = mustWait(device, this.#find);
    if (!must) this.#letGo.delete(o);
    const waits = must && !this.#letGo.has(o);
    if (device.waits !== waits) {
      o.setWaits(waits);
      if (o.device.waits === waits) this.#again = true; // the next in the chain may depend on it
    }
    if (!o.device.waits || !isHeldByPeer(o.device, this.#find)) this.#held.delete(o);
    else if (!this.#held.has(o)) this.#wait(o);
  }

  #wait(o: Ordered): void {
    const mark = {};
    this.#held.set(o, mark);
    o.after(HELD_MS, () => {
      if (this.#held.get(o) !== mark) return;
      this.#held.delete(o);
      this.#letGo.add(o);
      o.letGo();
      this.settle();
    });
  }

  readonly #find: Lookup = (minor) => this.#all.get(minor)?.device ?? null;
}

/** A volume among the devices of its node. */
export function ordered(v: Volume): Ordered {
  return {
    get device() {
      return deviceOf(v);
    },
    setWaits: (waits) => {
      force(v, { aftrIsp: waits ? 1 : 0 });
    },
    after: (ms, run) => v.resource.after(ms, run),
    letGo: () => {
      const text = `resync-after ${v.diskOptions.resyncAfterMinor}: not waited for any longer, the peer holds that back in turn`;
      v.core.host.log('warn', v.name, text);
    },
  };
}

function deviceOf(v: Volume): Device {
  const { conn, disk, aftrIsp, peerIsp, userIsp } = v.state;
  const hasDisk = v.dataDisk >= 0 && disk !== Disks.Diskless;
  const inResync = conn >= Conns.SyncSource && conn <= Conns.PausedSyncT;
  return {
    minor: v.minor,
    after: hasDisk ? v.diskOptions.resyncAfterMinor : -1,
    inResync,
    moves: inResync && conn !== Conns.PausedSyncS && conn !== Conns.PausedSyncT,
    waits: aftrIsp !== 0,
    userPaused: userIsp !== 0,
    peerPaused: peerIsp !== 0,
    peerWaits: v.peerWaits,
  };
}
