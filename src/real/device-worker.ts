/**
 * The thread on which everything runs that may have to wait for our own FUSE server: loop ioctls, stat of a FUSE
 * file, the search for holders. Neither the engine thread, which answers, nor the control thread ever waits for it.
 *
 * One file, two sides: the class is used by DeviceManager, the handler runs in the worker.
 */
import { statSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { unreachable } from '../base/assert.js';
import {
  bindLoop,
  dropDeadLoops,
  findLoop,
  isBound,
  keepLoop,
  type LoopOptions,
  releaseLoop,
  resizeLoop,
} from './loop-device.js';
import { findHolders, type Holder } from './openers.js';

export type DeviceJob =
  | { readonly kind: 'bind'; readonly file: string; readonly options: LoopOptions }
  /** `loop` from the saved state: bound to `file` still? Otherwise what is, or null. */
  | { readonly kind: 'find'; readonly file: string; readonly loop: string | null }
  | {
      readonly kind: 'release';
      readonly loop: string;
      readonly file: string;
      readonly waitMs: number;
    }
  | { readonly kind: 'resize'; readonly loop: string }
  | { readonly kind: 'holders'; readonly path: string }
  /** Loop devices on a file whose server is dead for good. */
  | { readonly kind: 'drop-dead'; readonly file: string };

export interface DeviceAnswer {
  readonly loop: string | null; // bind, find
  readonly held: boolean; // release
  readonly holders: readonly Holder[]; // release, holders
}

type Reply =
  | { readonly id: number; readonly answer: DeviceAnswer }
  | { readonly id: number; readonly code: string; readonly message: string };

/** A job failed. `code` is an errno name or that of LoopError. */
export class DeviceJobError extends Error {
  override name = 'DeviceJobError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

interface Pending {
  readonly resolve: (answer: DeviceAnswer) => void;
  readonly reject: (error: DeviceJobError) => void;
}

const MARK = 'twinbeat device worker';

export class DeviceWorker {
  readonly #worker = new Worker(new URL(import.meta.url), { workerData: MARK });
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;

  constructor() {
    this.#worker.on('message', (reply: Reply) => {
      const pending = this.#pending.get(reply.id);
      this.#pending.delete(reply.id);
      if (this.#pending.size === 0) this.#worker.unref();
      if ('answer' in reply) pending?.resolve(reply.answer);
      else pending?.reject(new DeviceJobError(reply.code, reply.message));
    });
    this.#worker.on('error', (error) => this.#failAll(error.message));
    this.#worker.on('exit', () => this.#failAll('the device worker has ended'));
    this.#worker.unref();
  }

  /** Jobs run one after the other. A job waits as long as the FUSE server does not answer. */
  run(job: DeviceJob): Promise<DeviceAnswer> {
    const id = this.#nextId++;
    this.#worker.ref();
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, job });
    });
  }

  /** Ends the thread after the jobs that were given. */
  async close(): Promise<void> {
    while (this.#pending.size > 0) {
      await new Promise<void>((resolve) => this.#worker.once('message', () => resolve()));
    }
    await this.#worker.terminate();
  }

  #failAll(message: string): void {
    for (const pending of this.#pending.values()) {
      pending.reject(new DeviceJobError('WORKER', message));
    }
    this.#pending.clear();
  }
}

function perform(job: DeviceJob): DeviceAnswer {
  switch (job.kind) {
    case 'bind':
      return { loop: bindLoop(job.file, job.options), held: false, holders: [] };
    case 'find': {
      const kept = job.loop !== null && isBound(job.loop, job.file);
      const loop = kept ? job.loop : findLoop(job.file);
      if (loop !== null) keepLoop(loop);
      return { loop, held: false, holders: [] };
    }
    case 'release': {
      const held = releaseLoop(job.loop, job.file, job.waitMs) === 'held';
      // The loop driver sent RELEASE before; this stat is behind it in the queue of the connection. When it returns,
      // the server has seen the RELEASE and its count of openers is right.
      if (!held) statSync(job.file);
      return { loop: null, held, holders: held ? findHolders(job.loop) : [] };
    }
    case 'resize':
      resizeLoop(job.loop);
      return { loop: job.loop, held: false, holders: [] };
    case 'holders':
      return { loop: null, held: false, holders: findHolders(job.path) };
    case 'drop-dead':
      dropDeadLoops(job.file);
      return { loop: null, held: false, holders: [] };
    default:
      return unreachable(job, 'a device job');
  }
}

function serve(): void {
  parentPort?.on('message', ({ id, job }: { readonly id: number; readonly job: DeviceJob }) => {
    try {
      parentPort?.postMessage({ id, answer: perform(job) } satisfies Reply);
    } catch (error) {
      const e = error as { readonly code?: unknown; readonly message?: unknown };
      const code = typeof e.code === 'string' ? e.code : 'FAILED';
      parentPort?.postMessage({ id, code, message: String(e.message) } satisfies Reply);
    }
  });
}

if (!isMainThread && workerData === MARK) serve();
