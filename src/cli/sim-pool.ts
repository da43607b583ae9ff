/**
 * Seeds on all cores: each worker thread runs one at a time and has the next one waiting; results are given on in the order of
 * the seeds, whoever was faster, so that nothing that is printed depends on the number of workers.
 */
import { Worker } from 'node:worker_threads';
import type { RunResult } from '../sim/run.js';
import type { Profile } from '../sim/swarm.js';
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
  readonly seed: number | null;
  constructor(seed: number | null, message: string, options?: ErrorOptions) {
    super(message, options);
    this.seed = seed;
  }
}

export interface PoolOptions {
  readonly workers: number;
  readonly profile: Profile;
  /** Asked for the next one whenever a worker has room. */
  readonly seeds: Iterator<number>;
  /** In the order of the seeds. False: no more are begun, and those that were are forgotten. */
  readonly result: (result: RunResult) => boolean;
}

export async function runSeeds(options: PoolOptions): Promise<void> {
  const pool = new Pool(options);
  try {
    await pool.done;
  } finally {
    await pool.end();
  }
}

class Pool {
  readonly done: Promise<void>;
  readonly #options: PoolOptions;
  readonly #workers: { readonly worker: Worker; readonly asked: number[] }[] = [];
  readonly #results = new Map<number, RunResult>(); // position -> result, not yet given on
  readonly #positions = new Map<number, number[]>(); // seed -> positions that wait for it
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
      const asked: number[] = [];
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
        const next = this.#options.seeds.next();
        if (next.done) {
          this.#exhausted = true;
          break;
        }
        const seed = next.value;
        asked.push(seed);
        this.#positions.set(seed, [...(this.#positions.get(seed) ?? []), this.#begun++]);
        worker.postMessage(seed);
      }
    }
    if (this.#exhausted && this.#given === this.#begun) this.#resolve();
  }

  #answered(asked: number[], result: RunResult): void {
    this.#heardMs = performance.now();
    asked.shift();
    const position = this.#positions.get(result.seed)?.shift();
    if (position !== undefined) this.#results.set(position, result);
    for (;;) {
      const next = this.#results.get(this.#given);
      if (!next) break;
      this.#results.delete(this.#given++);
      if (!this.#options.result(next)) {
        this.#resolve();
        return;
      }
    }
    this.#askForMore();
  }

  #died(asked: readonly number[], cause: Error): void {
    const [seed = null] = asked;
    const text = `seed ${seed}: its worker thread died: ${cause.message}`;
    this.#reject(new SimWorkerError(seed, text, { cause }));
  }

  #lookForSilence(): void {
    if (performance.now() - this.#heardMs < SILENT_MS) return;
    const running = this.#workers.flatMap(({ asked }) => asked.slice(0, 1));
    const text = `no run has ended for ${SILENT_MS / 1000} s; under way: ${running.join(', ')}`;
    this.#reject(new SimWorkerError(running[0] ?? null, text));
  }
}
