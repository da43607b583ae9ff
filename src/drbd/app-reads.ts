/**
 * Reads of the application: from the disk here, or from the peer where this one has no good data, could not read it, or is busier
 * (read-balancing.ts).
 *
 *     begun -> local disk --failed--> P_DATA_REQUEST -> P_DATA_REPLY -> answered
 *           \-> P_DATA_REQUEST --refused or lost--> local disk, where that can serve it
 */
import { type AppRequest, EIO, LEG_FAILED, LEG_NONE, LEG_OK, LEG_PENDING } from './app-request.js';
import { type Core, type FrontEnd, KIND_APP_LOCAL } from './core.js';
import { ReadBalancing } from './read-balancing.js';
import { Conns, Disks, isSuspended } from './state.js';
import type { Volume } from './volume.js';

export class AppReads {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #balancing: ReadBalancing;
  readonly #atPeer = new Set<AppRequest>(); // in the order of time

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
    this.#balancing = new ReadBalancing(volume);
  }

  /** It was admitted, and nothing is wrong with it. */
  begin(r: AppRequest): void {
    if (!this.#volume.readableHere(r.sector, r.endSector)) this.#askPeer(r);
    else if (this.#balancing.asksPeer(r)) this.#askPeer(r, true);
    else this.#readHere(r);
  }

  #readHere(r: AppRequest): void {
    const v = this.#volume;
    r.local = LEG_PENDING;
    v.app.local++;
    r.diskSinceMs = 0;
    v.readSectors += r.endSector - r.sector;
    const tag = this.#core.tag(KIND_APP_LOCAL, r.index);
    this.#core.port.readDisk(v.dataDisk, r.sector * 512, r.at, r.lengthBytes, tag);
  }

  /** The disk here could not read it, or was given up. */
  failedHere(r: AppRequest): void {
    r.local = LEG_NONE;
    r.failedHere = true;
    if (r.lent && !this.#moveBuffer(r)) r.owner.fail(r, EIO);
    else this.#askPeer(r); // transparently, where the peer has it
  }

  /** The disk was given up (hung-disk.ts): what it still brings must not overwrite what the peer sends. */
  #moveBuffer(r: AppRequest): boolean {
    const { port } = this.#core;
    const to = port.alloc(port.capacity(r.bufferAt), 'spare');
    if (to < 0) return false;
    port.pool.copyWithin(to, r.bufferAt, r.at); // pieces that are here already
    (r.front as FrontEnd).bufferMoved(r.tag, to);
    port.free(r.bufferAt);
    r.at += to - r.bufferAt;
    r.bufferAt = to;
    return true;
  }

  /** `keepsOut`: writes to it wait meanwhile. Done by one disk only, they would be seen there, and then not on the other. */
  #askPeer(r: AppRequest, keepsOut = false): void {
    const v = this.#volume;
    if (!v.link || v.state.pdsk !== Disks.UpToDate || v.state.conn < Conns.Connected) {
      if (v.app.admission.blocked() === null) r.owner.fail(r, EIO);
      else v.app.admission.hold(r);
      return;
    }
    if (r.endSector - r.sector > v.link.mostSectors(v, r.op)) {
      v.intake.doInPieces(r);
      return;
    }
    r.net = LEG_PENDING;
    r.startMs = this.#core.port.nowMs();
    v.app.remote++;
    this.#atPeer.add(r);
    if (keepsOut) v.intervals.enter(r);
    v.link.out.readRequest(v, r);
  }

  /** Since when the oldest waits that the peer is to serve; +Infinity: none. */
  get oldestAtPeerMs(): number {
    for (const r of this.#atPeer) return r.startMs;
    return Number.POSITIVE_INFINITY;
  }

  /** It is one that this volume really has in flight with the peer. */
  isAtPeer(r: AppRequest): boolean {
    return this.#atPeer.has(r);
  }

  /** Its data have come from the peer, and are at r.at; or its refusal. */
  peerDone(r: AppRequest, ok: boolean): void {
    if (!this.#atPeer.delete(r)) return;
    const v = this.#volume;
    v.app.remote--;
    if (r.entered) v.intervals.leave(r);
    // The disk here could have served it (read-balancing).
    if (!ok && !r.failedHere && v.readableHere(r.sector, r.endSector)) {
      r.net = LEG_NONE;
      this.#readHere(r);
      return;
    }
    if (!ok && isSuspended(v.state)) {
      r.net = LEG_NONE; // frozen, not failed: it is read when data can be reached again
      v.app.admission.hold(r);
      return;
    }
    r.net = ok ? LEG_OK : LEG_FAILED;
    r.owner.advance(r);
  }

  /**
   * The connection is gone. A read whose data are arriving ends with its `receive`: until then its buffer is the port's.
   */
  peerLost(): void {
    for (const r of [...this.#atPeer]) if (!r.receiving) this.peerDone(r, false);
  }
}
