/**
 * The queue of a node's jobs. A job takes, gives or restarts some groups, one after the other in the order of haresources; jobs run
 * one at a time in the order in which they were asked for. So no two operations of a group ever overlap, and a give
 * that was asked for after a take undoes it completely.
 *
 * A restart is only of a group that was taken here and not given since, and a give that is asked for meanwhile calls it off: so
 * it never starts what may run on the other node.
 *
 * A group that is stuck stops the queue for good: what comes behind it must not be done, least of all reported done.
 * Source: docs/HEARTBEAT.md, scripts ("one at a time, queued").
 */
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import {
  type Action,
  GroupOperation,
  type OperationEffect,
  type OperationKind,
  type OperationLevel,
  type OperationMemory,
  type OperationOptions,
  type ScriptOutcome,
} from './group-operation.js';

export type QueueEffect =
  | {
      readonly type: 'run';
      readonly id: number; // comes back in `answered`
      readonly resource: HaResource;
      readonly action: Action;
    }
  | { readonly type: 'log'; readonly level: OperationLevel; readonly text: string }
  | { readonly type: 'start-failed'; readonly group: HaResourceGroup }
  | { readonly type: 'started'; readonly group: HaResourceGroup }
  /** A restart is over. Not `worked`: called off, or (after `start-failed`) the whole group was given up. */
  | { readonly type: 'restarted'; readonly group: HaResourceGroup; readonly worked: boolean }
  | { readonly type: 'stuck'; readonly group: HaResourceGroup }
  | { readonly type: 'job-done'; readonly job: number };

export interface Job {
  readonly id: number; // whoever asks has numbers of his own
  readonly kind: OperationKind;
  readonly groups: readonly HaResourceGroup[];
  readonly from: number; // of a restart: the resource of each group where it begins; else 0
}

/** `stopped`: or never started, or not known to run. */
export type GroupState = 'runs' | 'starts' | 'stops' | 'stopped';

export class Operations {
  readonly #options: OperationOptions;
  readonly #memory: OperationMemory;
  readonly #taken = new Set<string>(); // keys of groups that run, and that nothing was done with since
  readonly #queue: Job[] = []; // bounded by the jobs that the state machine has open: fewer than ten
  #left: HaResourceGroup[] = []; // of the first job, not yet begun
  #operation: GroupOperation | null = null;
  #isCalledOff = false; // that operation, by abortTakes
  #isOnlyAsked = false; // that operation takes what runs, and has run nothing but `status` so far
  #runId = 0;
  #isStuck = false;

  /** `mayRun`: groups that a predecessor may have left running. */
  constructor(options: OperationOptions, mayRun: readonly HaResourceGroup[]) {
    this.#options = options;
    const resources = mayRun.flatMap((group) => group.resources.map((resource) => resource.text));
    this.#memory = { started: new Set(resources), silent: new Set() };
  }

  get busy(): boolean {
    return this.#queue.length > 0;
  }

  get stuck(): boolean {
    return this.#isStuck;
  }

  /** The group being worked at, for status displays. */
  get current(): { readonly key: string; readonly kind: OperationKind } | null {
    return this.#operation && { key: this.#operation.group.key, kind: this.#operation.kind };
  }

  /** Of one group, for who asks from outside: it runs only while all of it does, and nothing else is asked for. */
  stateOf(key: string): GroupState {
    const { current } = this;
    if (current?.key === key && current.kind === 'give') return 'stops';
    if (current?.key === key) {
      // Everything is taken again when the other node dies: what runs here runs on.
      if (!this.#isOnlyAsked) return 'starts';
      return isGiven(this.#queue, key) ? 'stops' : 'runs';
    }
    const isTaken = this.#taken.has(key);
    if (isGiven(this.#queue, key)) return isTaken ? 'stops' : 'stopped';
    if (isTaken) return 'runs';
    return this.#queue.some(({ groups }) => groups.some((group) => group.key === key))
      ? 'starts'
      : 'stopped';
  }

  add(job: Job, nowMs: number, out: QueueEffect[]): void {
    this.#queue.push(job);
    const { kind, key } = this.current ?? {};
    if (kind === 'restart' && isGiven([job], key)) this.#operation?.abort();
    if (this.#queue.length === 1) this.#beginJob(nowMs, out);
  }

  /** Call off everything that would start something; a running script is waited for. */
  abortTakes(): void {
    this.#taken.clear();
    for (let i = this.#queue.length - 1; i > 0; i--) {
      const job = this.#queue[i];
      if (job?.kind === 'take') this.#queue[i] = { ...job, groups: [] };
    }
    if (this.#queue[0]?.kind === 'take') this.#left = [];
    this.#operation?.abort();
    this.#isCalledOff = true;
    this.#isOnlyAsked = false;
  }

  answered(id: number, outcome: ScriptOutcome, nowMs: number, out: QueueEffect[]): void {
    if (id !== this.#runId || !this.#operation) return;
    const effects: OperationEffect[] = [];
    this.#operation.answered(outcome, nowMs, effects);
    this.#apply(effects, nowMs, out);
  }

  tick(nowMs: number, out: QueueEffect[]): void {
    if (!this.#operation) return;
    const effects: OperationEffect[] = [];
    this.#operation.tick(nowMs, effects);
    this.#apply(effects, nowMs, out);
  }

  get deadlineMs(): number {
    return this.#operation?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  #beginJob(nowMs: number, out: QueueEffect[]): void {
    const job = this.#queue[0];
    if (!job) return;
    this.#left = [...job.groups];
    this.#next(nowMs, out);
  }

  #next(nowMs: number, out: QueueEffect[]): void {
    const job = this.#queue[0];
    if (!job) return;
    const group = this.#left.shift();
    if (!group) {
      this.#queue.shift();
      out.push({ type: 'job-done', job: job.id });
      this.#beginJob(nowMs, out);
      return;
    }
    const { kind, from } = job;
    const isTaken = this.#taken.delete(group.key);
    if (kind === 'restart' && (!isTaken || isGiven(this.#queue, group.key))) {
      // It may run on the other node by now, or is about to.
      out.push({ type: 'restarted', group, worked: false });
      this.#next(nowMs, out);
      return;
    }
    const operation = new GroupOperation(group, kind, from, this.#options, this.#memory);
    this.#operation = operation;
    this.#isCalledOff = false;
    this.#isOnlyAsked = kind === 'take' && isTaken;
    const effects: OperationEffect[] = [];
    operation.begin(effects);
    this.#apply(effects, nowMs, out);
  }

  #apply(effects: readonly OperationEffect[], nowMs: number, out: QueueEffect[]): void {
    const { group, kind } = this.#operation ?? {};
    for (const effect of effects) {
      if (effect.type === 'run') {
        if (effect.action !== 'status') this.#isOnlyAsked = false;
        out.push({ ...effect, id: ++this.#runId });
      } else if (effect.type === 'log') {
        out.push(effect);
      } else if (group) {
        this.#operation = null;
        if (effect.result === 'stuck') {
          this.#isStuck = true;
          out.push({ type: 'stuck', group });
          return;
        }
        const isRunning = effect.result === 'running';
        if (isRunning && !this.#isCalledOff) this.#taken.add(group.key);
        if (effect.result === 'start-failed') out.push({ type: 'start-failed', group });
        if (kind === 'restart') out.push({ type: 'restarted', group, worked: isRunning });
        else if (isRunning) out.push({ type: 'started', group });
        this.#next(nowMs, out);
      }
    }
  }
}

function isGiven(jobs: readonly Job[], key: string | undefined): boolean {
  return jobs.some((job) => job.kind === 'give' && job.groups.some((group) => group.key === key));
}
