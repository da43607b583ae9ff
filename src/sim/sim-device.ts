/**
 * /dev/drbd0 of a simulated node: what stands between the file system and drbdd.
 *
 * Requests outlive the engine, as those of a FUSE device held by the angel do: what a killed engine has not answered is
 * given to its successor again, in the order in which it was asked. A node without power has no device.
 */
import type { BlockVolume, FrontEnd } from '../host/block.js';
import type { Io } from '../host/io.js';
import type { Clock } from './node-clock.js';

export type DeviceOp = 'read' | 'write' | 'flush' | 'discard' | 'zeroes';

export interface DeviceRequest {
  readonly op: DeviceOp;
  readonly sector: number;
  readonly sectors: number;
  readonly bytes: Uint8Array | null; // of a write: its data; of a read: room for them
  readonly fua: boolean;
  readonly done: (error: number) => void; // errno, 0
}

interface Asked {
  readonly request: DeviceRequest;
  at: number; // buffer of a read, -1
  begun: boolean; // the engine has it
}

const RETRY_MS = 1;

export class SimDevice implements FrontEnd {
  readonly #clock: Clock;
  readonly #asked = new Map<number, Asked>(); // by tag, in the order of asking
  #io: Io | null = null;
  #volume: BlockVolume | null = null;
  #enter: (work: () => void) => void = (work) => work();
  #nextTag = 1;
  #waiting = false; // for a buffer
  openers = 0; // writers that have it open
  gone = false; // no power

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Requests that were not answered. */
  get pending(): number {
    return this.#asked.size;
  }

  /** An engine serves the device; what its predecessor left open goes to it again. */
  serve(io: Io, volume: BlockVolume, enter: (work: () => void) => void): void {
    if (this.#volume === volume) return; // new-minor for one that is there
    this.#io = io;
    this.#volume = volume;
    this.#enter = enter;
    for (let i = 0; i < this.openers; i++) volume.open(true);
    this.#pump();
  }

  /** The engine is gone. With `successor` requests wait for the next one; without they fail (no angel). */
  unserve(successor: boolean): void {
    this.#io = null;
    this.#volume = null;
    for (const asked of this.#asked.values()) {
      asked.at = -1;
      asked.begun = false;
    }
    if (successor) return;
    for (const [tag, asked] of [...this.#asked]) {
      this.#asked.delete(tag);
      asked.request.done(5);
    }
  }

  /** The machine is off: nobody is left to be answered. */
  powerOff(): void {
    this.gone = true;
    this.openers = 0;
    this.#io = null;
    this.#volume = null;
    this.#asked.clear();
  }

  /** 0 or an errno, as open(2) for writing. */
  open(): number {
    if (!this.#volume) return 6; // ENXIO
    let error = 0;
    this.#enter(() => {
      error = this.#volume?.open(true) ?? 6;
    });
    if (error === 0) this.openers++;
    return error;
  }

  release(): void {
    if (this.openers === 0) return;
    this.openers--;
    const volume = this.#volume;
    if (volume) this.#enter(() => volume.release(true));
  }

  get sizeSectors(): number {
    return this.#volume?.sizeSectors ?? 0;
  }

  ask(request: DeviceRequest): void {
    this.#asked.set(this.#nextTag++, { request, at: -1, begun: false });
    this.#pump();
  }

  bufferMoved(tag: number, at: number): void {
    const asked = this.#asked.get(tag);
    if (asked) asked.at = at;
  }

  blockDone(tag: number, error: number): void {
    const asked = this.#asked.get(tag);
    if (!asked || !this.#io) return;
    this.#asked.delete(tag);
    const { request, at } = asked;
    if (request.op === 'read' && at >= 0) {
      if (error === 0) request.bytes?.set(this.#io.pool.subarray(at, at + request.sectors * 512));
      this.#io.free(at);
    }
    // The user is another process: it wakes up after the engine's turn.
    this.#clock.after(0, () => {
      if (!this.gone) request.done(error);
    });
  }

  #pump(): void {
    if (!this.#volume) return;
    this.#enter(() => {
      for (const [tag, asked] of this.#asked) {
        if (asked.begun) continue;
        if (!this.#begin(tag, asked)) {
          this.#retry();
          return;
        }
      }
    });
  }

  #retry(): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#clock.after(RETRY_MS, () => {
      this.#waiting = false;
      this.#pump();
    });
  }

  /** False: no buffer is free now. */
  #begin(tag: number, asked: Asked): boolean {
    const { request } = asked;
    const volume = this.#volume;
    const io = this.#io;
    if (!volume || !io) return true;
    const length = request.sectors * 512;
    if (request.op === 'write' || request.op === 'read') {
      asked.at = io.alloc(length);
      if (asked.at < 0) return false;
    }
    asked.begun = true;
    switch (request.op) {
      case 'read':
        volume.read(this, tag, request.sector, asked.at, length);
        return true;
      case 'write':
        io.pool.set(request.bytes as Uint8Array, asked.at);
        volume.write(this, tag, request.sector, asked.at, length, request.fua);
        return true;
      case 'flush':
        volume.flush(this, tag);
        return true;
      case 'discard':
        volume.discard(this, tag, request.sector, request.sectors);
        return true;
      case 'zeroes':
        volume.writeZeroes(this, tag, request.sector, request.sectors, true);
        return true;
    }
  }
}
