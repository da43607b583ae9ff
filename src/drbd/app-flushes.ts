/**
 * Flushes of the application: which disks have to be asked, and what is known of the peer's without asking. A flush that is begun
 * goes through the legs of any request (app-request.ts).
 *
 *     protocol C, or no good data here   both disks: the peer's has flushed when all earlier epochs are acknowledged
 *     protocols A and B                  the local disk; the epoch ends, so that the peer's keeps the order
 */
import { type AppRequest, LEG_DONE, LEG_FAILED, LEG_NONE, LEG_PENDING } from './app-request.js';
import { type Core, KIND_APP_LOCAL } from './core.js';
import { Disks } from './state.js';
import type { Volume } from './volume.js';

export class AppFlushes {
  readonly #core: Core;
  readonly #volume: Volume;
  #peerUnflushed = false; // what the peer had answered it could not flush, and has flushed nothing since

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  /** It was admitted. */
  begin(r: AppRequest): void {
    const v = this.#volume;
    const link = v.link;
    const here = v.diskUsable();
    r.goodDisk = here && v.state.disk === Disks.UpToDate ? v.store : null;
    // Without good data here (no disk, or the target of a resync) the peer's disk is the one that makes it durable.
    const there = link !== null && (link.flushesPeer || r.goodDisk === null) && v.replicates();
    // Protocols A and B do not wait for the peer, but its disk must keep the order as well.
    if (link !== null && !there) link.transferLog.close();
    if (link !== null) v.app.promises.begin(r, link.protocol);
    if (there && link.transferLog.flush(r)) r.net = LEG_PENDING;
    else if (there && this.#peerUnflushed) {
      r.net = LEG_FAILED;
    } else if (there && v.state.pdsk === Disks.UpToDate) {
      r.net = LEG_DONE; // everything is durable there
      r.goodPeer = v.partings;
    }
    if (here) {
      r.local = LEG_PENDING;
      v.app.local++;
      r.diskSinceMs = 0;
      this.#core.port.flushDisk(v.dataDisk, this.#core.tag(KIND_APP_LOCAL, r.index));
    }
    if (r.local === LEG_NONE && r.net === LEG_NONE) r.local = LEG_FAILED; // nobody can vouch for it
    if (r.local !== LEG_PENDING && r.net !== LEG_PENDING) r.owner.advance(r);
  }

  /** All epochs before it are on the peer's disk. */
  covered(r: AppRequest): void {
    r.net = LEG_DONE;
    if (this.#volume.state.pdsk === Disks.UpToDate) r.goodPeer = this.#volume.partings;
    r.owner.advance(r);
  }

  /** P_NEG_ACK for a write that was answered. */
  peerRefused(): void {
    if (this.#volume.state.pdsk === Disks.UpToDate) this.#peerUnflushed = true;
  }

  /** An epoch is on its disk. */
  peerFlushed(): void {
    this.#peerUnflushed = false;
  }

  /** The peer's disk may be another one. */
  stateChanged(): void {
    if (this.#volume.state.pdsk !== Disks.UpToDate) this.#peerUnflushed = false; // that disk was let go
  }
}
