/**
 * The turns of a simulated I/O engine: what was queued takes effect at `submit`, what is done is told in batches between
 * turns, and from the moment of a crash nothing does either.
 *
 *     begin -> queue --submit--> (time passes) -> later -> ready --next batch--> owner
 */
import { IoOwners } from '../host/io-owners.js';
import type { Clock } from './node-clock.js';
import type { SimDisk } from './sim-disk.js';
import type { SimNet } from './sim-net.js';

/** What a process on a simulated node has under it. */
export interface SimHost {
  readonly name: string;
  readonly clock: Clock;
  readonly net: SimNet;
  /** Path -> disk. Disks outlive the engine, as they outlive a crash. */
  readonly disks: ReadonlyMap<string, SimDisk>;
  /** Called before each operation takes effect: a process may be killed between any two of them. */
  readonly beforeOperation?: () => void;
  /** A disk that hung and was let go has stored a superblock that it was given before. */
  readonly metaStoredLate?: (path: string) => void;
}

export class SimIoTurns {
  readonly host: SimHost;
  readonly owners = new IoOwners();
  crashed = false;
  /** Refreshed by each batch and by `submit`. */
  nowMs: number;
  #queue: (() => void)[] = [];
  #ready: (() => void)[] = [];
  #inFlight = 0;
  #scheduled = false;
  #nextHandle = 1;
  readonly #batch: () => void; // what a batch brings beside completions

  constructor(host: SimHost, batch: () => void) {
    this.host = host;
    this.nowMs = host.clock.nowMs;
    this.#batch = batch;
  }

  newHandle(): number {
    return this.#nextHandle++;
  }

  /** Nothing is under way and nothing is left to tell. */
  get isIdle(): boolean {
    return this.#inFlight === 0 && this.#ready.length === 0;
  }

  /** Queues `run` for the next submit. */
  queue(run: () => void): void {
    this.#queue.push(run);
  }

  /** Queues `start` for the next submit; what it reports goes to `tag` in a batch after that. */
  begin(tag: number, start: (done: (result: number) => void) => void): void {
    this.#inFlight++;
    this.#queue.push(() =>
      start((result) => {
        this.#inFlight--;
        this.complete(tag, result);
      }),
    );
  }

  complete(tag: number, result: number): void {
    this.later(() => this.owners.done(tag, result));
  }

  /** Runs `run` in the next batch. */
  later(run: () => void): void {
    this.#ready.push(run);
    this.schedule();
  }

  /** There is something for a batch. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.host.clock.after(0, () => this.#deliver());
  }

  refresh(): void {
    this.nowMs = this.host.clock.nowMs;
  }

  submit(): void {
    this.refresh();
    while (this.#queue.length > 0) {
      const queue = this.#queue;
      this.#queue = [];
      for (const run of queue) {
        if (!this.crashed) this.host.beforeOperation?.();
        if (this.crashed) return;
        run();
      }
    }
  }

  #deliver(): void {
    this.#scheduled = false;
    if (this.crashed) return;
    this.nowMs = this.host.clock.nowMs;
    const ready = this.#ready;
    this.#ready = [];
    for (const run of ready) {
      if (this.crashed) return;
      run();
    }
    this.#batch();
  }
}
