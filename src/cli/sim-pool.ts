/**
 * Seeds on all cores: each worker thread runs one at a time and has the next one waiting; results are given on in the order of
 * the seeds, whoever was faster, so that nothing that is printed depends on the number of workers.
 */
import { Worker } from 'node:worker_threads';
import type { RunResult } from '../sim/run.js';
import type { AnyProfile, Draw } from '../sim/swarm.js';
import type { WorkerTask } from './sim-worker.js';

const WORKER = new URL('./sim-worker.js', import.meta.url);
/** Given to a worker and not answered: the one it runs and the next. */
const WAITING_PER_WORKER = 2;
/** So many results wait at the most for the slow one before them. */
const MOST_AHEAD = 1000;
/** A run takes a second or a few. */
const SILENT_MS = 300_000;

/** A seed whose run does not end, or whose thread died. */
export class SimWorkerError extends Error {
  override name = 'SimWorkerError';
  readonly draw: Draw | null;
  constructor(draw: Draw | null, message: string, options?: ErrorOptions) {
    super(message, options);
    this.draw = draw;
  }
}

export interface PoolOptions {
  readonly workers: number;
  readonly profile: AnyProfile;
  /** Asked for the next one whenever a worker has room. */
  readonly draws: Iterator<Draw>;
  /** In the order of the seeds. False: no more are begun, and those that were are forgotten. */
  readonly result: (result: RunResult, draw: Draw) => boolean;
}

export async function runSeeds(options: PoolOptions): Promise<void> {
  const pool = new Pool(options);
  try {
    await pool.done;
  } finally {
    await pool.end();
  }
}

interface Asked {
  readonly draw: Draw;
  readonly position: number;
}

class Pool {
  readonly done: Promise<void>;
  readonly #options: PoolOptions;
  readonly #workers: { readonly worker: Worker; readonly asked: Asked[] }[] = [];
  /** By position, not yet given on. */
  readonly #results = new Map<number, { readonly result: RunResult; readonly draw: Draw }>();
  #begun = 0;
  #given = 0;
  #exhausted = false;
  #heardMs = performance.now();
  readonly #watch: NodeJS.Timeout;
  #resolve: () => void = () => {};
  #reject: (e: Error) => void = () => {};

  constructor(options: PoolOptions) {
    this.#options = options;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const workerData: WorkerTask = { profile: options.profile };
    for (let i = 0; i < options.workers; i++) {
      const worker = new Worker(WORKER, { workerData });
      const asked: Asked[] = [];
      this.#workers.push({ worker, asked });
      worker.on('message', (result: RunResult) => this.#answered(asked, result));
      worker.on('error', (e) => this.#died(asked, e));
    }
    this.#watch = setInterval(() => this.#lookForSilence(), 1000);
    this.#askForMore();
  }

  async end(): Promise<void> {
    clearInterval(this.#watch);
    await Promise.all(this.#workers.map(({ worker }) => worker.terminate()));
  }

  #askForMore(): void {
    for (let room = 0; room < WAITING_PER_WORKER; room++) {
      for (const { worker, asked } of this.#workers) {
        if (asked.length > room || this.#exhausted) continue;
        if (this.#begun - this.#given >= MOST_AHEAD) return;
        const next = this.#options.draws.next();
        if (next.done) {
          this.#exhausted = true;
          break;
        }
        asked.push({ draw: next.value, position: this.#begun++ });
        worker.postMessage(next.value);
      }
    }
    if (this.#exhausted && this.#given === this.#begun) this.#resolve();
  }

  #answered(asked: Asked[], result: RunResult): void {
    this.#heardMs = performance.now();
    const first = asked.shift(); // a worker answers in order
    if (first) this.#results.set(first.position, { result, draw: first.draw });
    for (;;) {
      const next = this.#results.get(this.#given);
      if (!next) break;
      this.#results.delete(this.#given++);
      if (!this.#options.result(next.result, next.draw)) {
        this.#resolve();
        return;
      }
    }
    this.#askForMore();
  }

  #died(asked: readonly Asked[], cause: Error): void {
    const draw = asked[0]?.draw ?? null;
    const text = `seed ${draw?.seed}: its worker thread died: ${cause.message}`;
    this.#reject(new SimWorkerError(draw, text, { cause }));
  }

  #lookForSilence(): void {
    if (performance.now() - this.#heardMs < SILENT_MS) return;
    const running = this.#workers.flatMap(({ asked }) => asked.slice(0, 1).map((a) => a.draw));
    const seeds = running.map(({ seed }) => seed).join(', ');
    const text = `no run has ended for ${SILENT_MS / 1000} s; under way: ${seeds}`;
    this.#reject(new SimWorkerError(running[0] ?? null, text));
  }
}
