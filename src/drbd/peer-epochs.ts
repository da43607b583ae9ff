/**
 * The epochs of a peer's writes, on the receiving side: what a crash leaves on this disk must be a state between two
 * barriers of the Primary.
 *
 *     open (writes arrive) --P_BARRIER--> closed --all written--> flushing --flushed--> P_BARRIER_ACK, gone
 *
 * By write ordering (disk options): `flush`: the writes of an epoch start when everything before is written and flushed;
 * `drain`: when everything before is written; `none`: at once. Epochs are acknowledged in order in every case. When the
 * link is gone the rest is still written in order, and nobody is told.
 *
 * A disk that cannot flush, or is lost before it has, may lose what it had taken: those writes, answered long ago, are refused
 * (P_NEG_ACK) before their epoch is acknowledged. The originals acknowledge it all the same; the Primary then takes for durable
 * what is not, and no bit tells that the copies differ.
 */
import type { PeerRequest } from './peer-request.js';

export type WriteOrdering = 'flush' | 'drain' | 'none';

/** Numbers kept for a stored write. */
const STORED = 5;

export interface PeerEpoch {
  barrier: number; // opaque, echoed
  closed: boolean;
  flushing: boolean;
  size: number; // writes received in it
  pending: number; // of them not finished
  readonly waiting: PeerRequest[]; // not allowed to start yet
  readonly stored: number[]; // and not flushed: volume, sector, bytes, block id (two), and so on
}

export interface PeerEpochsOwner {
  writeOrdering(): WriteOrdering;
  /** Flush the disks of all volumes, then say which could not (a failed flush has been dealt with). */
  flushVolumes(done: (failed: readonly number[]) => void): void;
  /** A write that was answered may be lost with the disk's cache. */
  refuse(volume: number, sector: number, bytes: number, idHi: number, idLo: number): void;
  barrierAck(barrier: number, size: number): void;
  /** A write may start now. */
  epochOpened(request: PeerRequest): void;
}

export class PeerEpochs {
  readonly #owner: PeerEpochsOwner;
  readonly #epochs: PeerEpoch[] = []; // oldest first; the last one is open
  readonly #spare: PeerEpoch[] = [];

  constructor(owner: PeerEpochsOwner) {
    this.#owner = owner;
    this.#epochs.push(this.#fresh());
  }

  /** `ep` of /proc/drbd. */
  get count(): number {
    return this.#epochs.length;
  }

  /** Nothing unfinished. */
  get idle(): boolean {
    return this.#epochs.every((epoch) => epoch.pending === 0 && !epoch.flushing);
  }

  /** A write has been received: it belongs to the open epoch, and may start if `request.epochOpen`. */
  add(request: PeerRequest): void {
    const epoch = this.#epochs[this.#epochs.length - 1] as PeerEpoch;
    epoch.size++;
    epoch.pending++;
    request.epoch = epoch;
    request.epochOpen = this.#epochs.length === 1 || this.#owner.writeOrdering() === 'none';
    if (!request.epochOpen) epoch.waiting.push(request);
  }

  /** A write that was received and not applied (no disk): it counts all the same. */
  addDropped(): void {
    (this.#epochs[this.#epochs.length - 1] as PeerEpoch).size++;
  }

  /** P_BARRIER: the epoch received so far ends. */
  barrier(barrier: number): void {
    const epoch = this.#epochs[this.#epochs.length - 1] as PeerEpoch;
    if (epoch.size === 0) return; // an epoch without writes is not acknowledged
    epoch.barrier = barrier;
    epoch.closed = true;
    this.#epochs.push(this.#fresh());
    this.#advance();
  }

  /** A write is finished; `ok`: on the disk of this volume. */
  done(request: PeerRequest, ok: boolean, volume: number): void {
    const epoch = request.epoch as PeerEpoch;
    request.epoch = null;
    // Whatever the ordering is now: it may be `flush` when the epoch ends.
    if (ok) {
      const { sector, lengthBytes: bytes, idHi, idLo } = request;
      epoch.stored.push(volume, sector, bytes, idHi, idLo);
    }
    if (!request.epochOpen) epoch.waiting.splice(epoch.waiting.indexOf(request), 1); // failed before its turn
    epoch.pending--;
    if (epoch.pending === 0) this.#advance();
  }

  #advance(): void {
    for (;;) {
      const epoch = this.#epochs[0] as PeerEpoch;
      if (!epoch.closed || epoch.pending > 0 || epoch.flushing) return;
      if (this.#owner.writeOrdering() === 'flush') {
        epoch.flushing = true;
        this.#owner.flushVolumes((failed) => {
          epoch.flushing = false;
          for (const volume of failed) this.diskLost(volume); // the cache of a disk knows no epochs
          this.#finishOldest(epoch);
          this.#advance();
        });
        return;
      }
      this.#finishOldest(epoch);
    }
  }

  /** The disk of a volume is gone, and what it had not flushed with it. */
  diskLost(volume: number): void {
    for (const epoch of this.#epochs) this.#refuse(epoch, volume);
  }

  /** What it has for this volume. */
  #refuse(epoch: PeerEpoch, lost: number): void {
    const { stored } = epoch;
    let kept = 0;
    for (let i = 0; i < stored.length; i += STORED) {
      const [volume = 0, sector = 0, bytes = 0, idHi = 0, idLo = 0] = stored.slice(i, i + STORED);
      if (volume === lost) this.#owner.refuse(volume, sector, bytes, idHi, idLo);
      else {
        stored.copyWithin(kept, i, i + STORED);
        kept += STORED;
      }
    }
    stored.length = kept;
  }

  #finishOldest(epoch: PeerEpoch): void {
    this.#epochs.shift();
    this.#owner.barrierAck(epoch.barrier, epoch.size);
    if (this.#spare.length < 64) this.#spare.push(epoch);
    const next = this.#epochs[0] as PeerEpoch;
    for (const request of next.waiting.splice(0)) {
      request.epochOpen = true;
      this.#owner.epochOpened(request);
    }
  }

  #fresh(): PeerEpoch {
    const epoch = this.#spare.pop() ?? {
      barrier: 0,
      closed: false,
      flushing: false,
      size: 0,
      pending: 0,
      waiting: [],
      stored: [],
    };
    epoch.barrier = 0;
    epoch.closed = false;
    epoch.flushing = false;
    epoch.size = 0;
    epoch.pending = 0;
    epoch.stored.length = 0;
    return epoch;
  }
}
