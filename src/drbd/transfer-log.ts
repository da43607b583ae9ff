/**
 * The Primary's transfer log of one connection: every write sent and not yet covered by a P_BARRIER_ACK, in order, and
 * the epochs that P_BARRIER separates.
 *
 * An epoch ends where the order matters to whoever reads the peer's disk after a crash: at a flush and at a FUA write of
 * the application, at max-epoch-size, when replication starts or stops, and when the volume falls idle
 * (docs/decisions/epochs.md: the device announces a volatile write cache, so its users ask for order by flushing). P_BARRIER
 * is sent at once when an epoch with writes is closed.
 *
 * The peer acknowledges epochs strictly in order, after all its writes; anything else is a protocol error.
 */
import { assert } from '../base/assert.js';
import type { AppIo } from './app-io.js';
import { type AppRequest, LEG_FAILED, LEG_OK, LEG_PENDING } from './app-request.js';

interface Epoch {
  number: number; // u32, what P_BARRIER carries
  writes: number; // sent in it
  closed: boolean;
}

/** A flush of the application that waits for an epoch of the peer to be on disk. */
interface FlushWaiter {
  readonly request: AppRequest;
  readonly epoch: number;
}

export interface TransferLogOwner {
  /** Send P_BARRIER. */
  sendBarrier(epoch: number): void;
  /** A write's epoch is on the peer's disk; it has left the log. */
  writeCovered(request: AppRequest): void;
  /** The epochs a flush waited for are on the peer's disk. */
  flushCovered(request: AppRequest): void;
}

export class TransferLog {
  readonly #owner: TransferLogOwner;
  maxEpochSize: number;
  readonly #epochs: Epoch[] = []; // oldest first; the last one is open
  readonly #flushes: FlushWaiter[] = [];
  #nextNumber = 0;
  #head: AppRequest | null = null;
  #tail: AppRequest | null = null;
  #unacknowledged: AppRequest | null = null; // none before it is
  #count = 0;

  constructor(owner: TransferLogOwner, maxEpochSize: number) {
    this.#owner = owner;
    this.maxEpochSize = maxEpochSize;
    this.#open();
  }

  /** Writes on the log. */
  get count(): number {
    return this.#count;
  }

  /** Epochs in flight, the open one included: `ep` of /proc/drbd. */
  get epochs(): number {
    return this.#epochs.length;
  }

  /** The open epoch has writes: it waits to be closed. */
  get hasOpenWrites(): boolean {
    return (this.#epochs[this.#epochs.length - 1] as Epoch).writes > 0;
  }

  /** P_BARRIER has been sent, and its acknowledgement is not here. */
  get hasClosedEpochs(): boolean {
    return this.#epochs.length > 1;
  }

  /** Of the oldest write whose user waits for the peer's acknowledgement, under protocols B and C; +Infinity if none. */
  get oldestAwaitedMs(): number {
    let r = this.#unacknowledged;
    while (r && (r.asked === 'A' || r.net !== LEG_PENDING)) r = r.next;
    this.#unacknowledged = r;
    return r?.startMs ?? Number.POSITIVE_INFINITY;
  }

  /** Each write on the log, oldest first. */
  visit(each: (request: AppRequest) => void): void {
    for (let r = this.#head; r; r = r.next) each(r);
  }

  /** Writes that the local disk did not take. For rare trouble: it allocates. */
  failedHere(owner: AppIo): AppRequest[] {
    const failed: AppRequest[] = [];
    for (let r = this.#head; r; r = r.next) {
      if (r.owner === owner && r.local === LEG_FAILED) failed.push(r);
    }
    return failed;
  }

  /** A write of this volume to these sectors may be answered, and not be on the peer's disk. For what is rare: it looks at each. */
  touches(owner: AppIo, sector: number, endSector: number): boolean {
    for (let r = this.#head; r; r = r.next) {
      const here = r.sector < endSector && sector < r.endSector;
      if (here && r.owner === owner && r.asked !== 'C') return true;
    }
    return false;
  }

  /** A write is about to be sent. */
  add(request: AppRequest): void {
    assert(!request.inLog, 'a write is on the log once');
    let epoch = this.#epochs[this.#epochs.length - 1] as Epoch;
    if (epoch.writes >= this.maxEpochSize) {
      this.close();
      epoch = this.#epochs[this.#epochs.length - 1] as Epoch;
    }
    epoch.writes++;
    request.epoch = epoch.number;
    request.inLog = true;
    request.next = null;
    request.previous = this.#tail;
    if (this.#tail) this.#tail.next = request;
    else this.#head = request;
    this.#tail = request;
    this.#unacknowledged ??= request;
    this.#count++;
  }

  /** End the open epoch, if it has writes. */
  close(): void {
    const epoch = this.#epochs[this.#epochs.length - 1] as Epoch;
    if (epoch.writes === 0) return;
    epoch.closed = true;
    this.#open();
    this.#owner.sendBarrier(epoch.number);
  }

  /** End the open epoch when `number` is the open one. */
  closeIfOpen(number: number): void {
    if ((this.#epochs[this.#epochs.length - 1] as Epoch).number === number) this.close();
  }

  /** A flush: true if it must wait for the peer (`flushCovered`), false if nothing is outstanding there. */
  flush(request: AppRequest): boolean {
    this.close();
    if (this.#epochs.length === 1) return false;
    const last = this.#epochs[this.#epochs.length - 2] as Epoch;
    this.#flushes.push({ request, epoch: last.number });
    return true;
  }

  /** P_BARRIER_ACK: null, or what is wrong with it. */
  barrierAck(number: number, setSize: number): string | null {
    const epoch = this.#epochs[0] as Epoch;
    if (!epoch.closed) return `BAD! BarrierAck #${number} received, expected none`;
    if (epoch.number !== number) {
      return `BAD! BarrierAck #${number} received, expected #${epoch.number}!`;
    }
    if (epoch.writes !== setSize) {
      return `BAD! BarrierAck #${number} received with n_writes=${setSize}, expected n_writes=${epoch.writes}!`;
    }
    // Of what was sent under protocols B and C all acks of an epoch come before its barrier ack.
    for (let r = this.#head; r && r.epoch === number; r = r.next) {
      if (r.asked !== 'A' && r.net === LEG_PENDING) {
        return `BarrierAck #${number} before the acknowledgement of sector ${r.sector}`;
      }
    }
    this.#epochs.shift();
    while (this.#head && this.#head.epoch === number) {
      const request = this.#head;
      this.#remove(request);
      this.#owner.writeCovered(request);
    }
    while (this.#flushes.length > 0 && (this.#flushes[0] as FlushWaiter).epoch === number) {
      this.#owner.flushCovered((this.#flushes.shift() as FlushWaiter).request);
    }
    return null;
  }

  /** The connection is gone: hand over everything, oldest first, flushes last. */
  clear(lostWrite: (request: AppRequest) => void, lostFlush: (request: AppRequest) => void): void {
    while (this.#head) {
      const request = this.#head;
      this.#remove(request);
      lostWrite(request);
    }
    for (const waiter of this.#flushes.splice(0)) lostFlush(waiter.request);
    this.#epochs.length = 0;
    this.#open();
  }

  /** The write that an acknowledgement names: still on the log, and of that place. */
  find(request: AppRequest, sector: number): boolean {
    return request.inLog && request.sector === sector && request.net <= LEG_OK;
  }

  #open(): void {
    this.#epochs.push({ number: this.#nextNumber, writes: 0, closed: false });
    this.#nextNumber = (this.#nextNumber + 1) >>> 0;
  }

  #remove(request: AppRequest): void {
    assert(request.inLog, 'a write leaves the log once');
    if (this.#unacknowledged === request) this.#unacknowledged = request.next;
    if (request.previous) request.previous.next = request.next;
    else this.#head = request.next;
    if (request.next) request.next.previous = request.previous;
    else this.#tail = request.previous;
    request.previous = null;
    request.next = null;
    request.inLog = false;
    this.#count--;
  }
}
