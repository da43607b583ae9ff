/**
 * The engine thread as the control thread sees it: questions with their answers, what it tells unasked, and its death. What
 * the two say to each other is in host/drbdd-messages.ts; the other end is drbdd-engine.ts.
 *
 * A question has no time limit: while the engine lives it answers, and when it dies the whole process ends.
 */
import { Worker } from 'node:worker_threads';
import { Roles } from '../drbd/state.js';
import type { NodeStatus } from '../drbd/status.js';
import type { ControlReply, ControlRequest, RunningResource } from '../host/control.js';
import type { EngineSettings, FromEngine, ToEngine } from '../host/drbdd-messages.js';
import type { Attachment } from './device-manager.js';

/** A message without its number, which `ask` gives. */
type Ask = ToEngine extends infer M
  ? M extends { readonly id: number }
    ? Omit<M, 'id'>
    : never
  : never;

type Ready = Extract<FromEngine, { type: 'ready' }>;
/** What the engine says unasked. */
export type EngineNews = Exclude<FromEngine, { type: 'ready' | 'reply' }>;

export interface EngineOwner {
  readonly news: (news: EngineNews) => void;
  /** A broken invariant: nothing of this process may write any more. */
  readonly broken: (e: Error) => void;
  /** The thread is no more; after `stop` that was to be. */
  readonly exited: (code: number) => void;
}

export class EngineThread {
  readonly #worker: Worker;
  readonly #answers = new Map<number, (reply: ControlReply) => void>();
  #nextId = 1;

  constructor(settings: EngineSettings) {
    this.#worker = new Worker(new URL('./drbdd-engine.js', import.meta.url), {
      workerData: settings,
    });
  }

  /** Once, in the turn in which it was made: what it says before is lost. */
  ready(owner: EngineOwner): Promise<Ready> {
    return new Promise((resolve, reject) => {
      this.#worker.on('error', (e) => {
        owner.broken(e);
        reject(e);
      });
      this.#worker.on('exit', owner.exited);
      this.#worker.on('message', (m: FromEngine) => {
        if (m.type === 'ready') resolve(m);
        else if (m.type === 'reply') this.#answer(m.id, m.reply);
        else owner.news(m);
      });
    });
  }

  #answer(id: number, reply: ControlReply): void {
    const resolve = this.#answers.get(id);
    this.#answers.delete(id);
    resolve?.(reply);
  }

  ask(message: Ask): Promise<ControlReply> {
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#answers.set(id, resolve);
      this.#send({ ...message, id } as ToEngine);
    });
  }

  #send(message: ToEngine): void {
    this.#worker.postMessage(message);
  }

  request(request: ControlRequest): Promise<ControlReply> {
    return this.ask({ type: 'request', request });
  }

  serve(a: Attachment): Promise<ControlReply> {
    const { minor, descriptor, successor, reused, openWriters } = a;
    return this.ask({ type: 'serve', minor, descriptor, successor, reused, openWriters });
  }

  /** `id`: the engine's, from its news that a handler is to run. */
  handlerDone(id: number, exit: number): void {
    this.#send({ type: 'handler-done', id, exit });
  }

  async running(): Promise<readonly RunningResource[]> {
    const reply = await this.request({ verb: 'running' });
    return reply.ok ? (reply.value as readonly RunningResource[]) : [];
  }

  /** Its status now, and as news after each change from now on; or no longer. */
  async watch(on: boolean): Promise<NodeStatus | null> {
    const reply = await this.ask({ type: 'watch', on });
    return reply.ok ? (reply.value as NodeStatus) : null;
  }

  /** Minors. */
  async primaries(): Promise<number[]> {
    const reply = await this.request({ verb: 'status' });
    const resources = reply.ok ? (reply.value as NodeStatus).resources : [];
    const volumes = resources.flatMap((r) => r.volumes);
    return volumes.filter((v) => v.state.role === Roles.Primary).map((v) => v.minor);
  }
}
