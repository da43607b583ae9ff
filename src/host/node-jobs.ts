/**
 * The scripts of a node's groups: jobs that its resource machine asks for, and its own, go into the queue (operations.ts); what
 * comes of them goes back to the machine and to health.
 *
 *     job -> what may be started of it -> Operations -> run script -> scriptDone -> started, start-failed, restarted, job-done
 *
 * A job that takes is made smaller here, never refused: its end is what the other node waits for. With an arbiter it waits until
 * something may be started (resource-manager/lease-door.ts), and loses what is given meanwhile.
 */
import type { HaResourceGroup } from '../config/haresources.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import { includes } from '../resource-manager/hold.js';
import { type Job, Operations, type QueueEffect } from '../resource-manager/operations.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import type { NodeHealth } from './node-health.js';
import type { NodeHomes } from './node-homes.js';
import type { HeartbeatNodeConfig, HeartbeatPorts } from './node-ports.js';

export interface NodeJobsHost {
  readonly ports: Pick<HeartbeatPorts, 'runScript' | 'stuck' | 'log'>;
  readonly homes: NodeHomes;
  readonly resources: () => ResourceMachine;
  readonly health: () => NodeHealth;
  /** A shutdown or restart was begun. */
  readonly leaving: () => boolean;
  /** Something that does not run yet may be started. */
  readonly mayStart: (nowMs: number) => boolean;
  /** What the resource machine wants done. */
  readonly apply: (effects: readonly ResourceEffect[], nowMs: number) => void;
}

export class NodeJobs {
  readonly operations: Operations;
  readonly #config: HeartbeatNodeConfig;
  readonly #host: NodeJobsHost;
  readonly #running: Set<string>; // keys of groups that may run: by jobs that are done
  readonly #open: Job[] = []; // in the queue, in the order in which they end
  #waiting: Job[] = []; // that take, until something may be started; bounded as the queue is
  #own = 0; // jobs that the resource machine knows nothing of: below 0

  constructor(config: HeartbeatNodeConfig, host: NodeJobsHost) {
    this.#config = config;
    this.#host = host;
    const { stopRetryMax, groups, resume } = config;
    const mayRun = groups.filter((group) => includes(resume, this.scopeOf(group)));
    this.operations = new Operations({ stopRetryMax }, mayRun);
    this.#running = new Set(mayRun.map(({ key }) => key));
  }

  /** Something may run here, or is being started or stopped. What only waits does not. */
  get mayRun(): boolean {
    return this.#running.size > 0 || this.#open.some(({ kind }) => kind !== 'give');
  }

  scopeOf(group: HaResourceGroup): 'local' | 'foreign' {
    return group.node === this.#config.membership.node ? 'local' : 'foreign';
  }

  /** Of the resource machine. */
  add(effect: Extract<ResourceEffect, { type: 'job' }>, nowMs: number): void {
    const { homes, resources, health, leaving } = this.#host;
    this.begin(nowMs); // what waited before it
    const groups = this.#config.groups.filter((group) =>
      effect.key === null ? includes(effect.scope, this.scopeOf(group)) : group.key === effect.key,
    );
    const isTake = effect.kind === 'take';
    // Everything of a peer is only taken when nothing runs there.
    const mine = isTake && effect.scope !== 'all' ? homes.undisputed(groups) : groups;
    // A node that may run nothing: what it agreed to take before that goes back with the rest.
    const refused = isTake && (leaving() || resources().barred !== null);
    const job = { id: effect.id, kind: effect.kind, groups: refused ? [] : mine, from: 0 };
    for (const { key } of job.groups) health().groupBusy(key);
    if (isTake && job.groups.length > 0 && !this.#host.mayStart(nowMs)) {
      this.#host.ports.log('info', 'Nothing is started before this node may serve.');
      this.#waiting.push(job);
      return;
    }
    if (!isTake) this.#without(job.groups, nowMs);
    this.#admit(job, nowMs);
  }

  #admit(job: Job, nowMs: number): void {
    this.#open.push(job);
    const out: QueueEffect[] = [];
    this.operations.add(job, nowMs, out);
    this.#apply(out, nowMs);
  }

  /** These are given: who waits for starting them does not any more. */
  #without(given: readonly HaResourceGroup[], nowMs: number): void {
    const keys = new Set(given.map(({ key }) => key));
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const job of waiting) {
      const groups = job.groups.filter(({ key }) => !keys.has(key));
      if (groups.length > 0) this.#waiting.push({ ...job, groups });
      else this.#admit({ ...job, groups }, nowMs);
    }
  }

  /** What waits is begun, if it may be. A node that leaves starts nothing. */
  begin(nowMs: number): void {
    const leaving = this.#host.leaving();
    if (this.#waiting.length === 0 || !(leaving || this.#host.mayStart(nowMs))) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    const isBarred = this.#host.resources().barred !== null;
    for (const job of waiting) {
      this.#admit(leaving || isBarred ? { ...job, groups: [] } : job, nowMs);
    }
  }

  /** What is claimed stays claimed, so the other node starts nothing of it, whatever becomes of the job. */
  addOwn(kind: 'give' | 'restart', group: HaResourceGroup, from: number, nowMs: number): void {
    if (kind === 'give') this.#without([group], nowMs);
    this.#admit({ id: --this.#own, kind, groups: [group], from }, nowMs);
  }

  scriptDone(id: number, outcome: ScriptOutcome, nowMs: number): void {
    const out: QueueEffect[] = [];
    this.operations.answered(id, outcome, nowMs, out);
    this.#apply(out, nowMs);
  }

  #done(id: number): void {
    const index = this.#open.findIndex((job) => job.id === id);
    const [job] = index < 0 ? [] : this.#open.splice(index, 1);
    for (const { key } of job?.groups ?? []) {
      if (job?.kind === 'give') this.#running.delete(key);
      else this.#running.add(key);
    }
  }

  tick(nowMs: number): void {
    this.begin(nowMs);
    const out: QueueEffect[] = [];
    this.operations.tick(nowMs, out);
    this.#apply(out, nowMs);
  }

  #apply(effects: readonly QueueEffect[], nowMs: number): void {
    const { ports } = this.#host;
    const resources = this.#host.resources();
    const health = this.#host.health();
    for (const effect of effects) {
      const out: ResourceEffect[] = [];
      switch (effect.type) {
        case 'run':
          ports.runScript(effect.id, effect.resource, effect.action);
          break;
        case 'log':
          ports.log(effect.level, effect.text);
          break;
        case 'started':
          resources.started(effect.group.key);
          health.groupRuns(effect.group.key, nowMs);
          break;
        case 'start-failed':
          resources.startFailed(effect.group.key, this.scopeOf(effect.group), nowMs, out);
          break;
        case 'restarted':
          health.restarted(effect.group.key, effect.worked, nowMs);
          break;
        case 'stuck':
          ports.stuck(effect.group);
          break;
        case 'job-done':
          this.#done(effect.job);
          if (effect.job > 0) resources.jobDone(effect.job, nowMs, out);
          break;
      }
      this.#host.apply(out, nowMs);
    }
  }
}
