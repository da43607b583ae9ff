/**
 * One operation on one resource group: take it (start left to right) or give it up (stop right to left).
 *
 *     take   for each resource: status; not running -> start; start fails -> give the whole group up, right to left
 *     give   for each resource from the right: stop; fails -> again every second, 10 times; then status decides:
 *            not running -> go on; running or nobody knows -> `stuck`
 *
 * A group that is stuck is never reported as stopped: whatever waits for it (hand-over, shutdown) waits for ever, and the
 * host escalates. `status` is judged by its output only, `stop` is called for resources that were never started.
 *
 * Pure: one script call is outstanding at a time; its outcome comes back by `answered`. Source: docs/HEARTBEAT.md,
 * scripts and failures.
 */
import { assert } from '../base/assert.js';
import type { HaResource, HaResourceGroup } from '../config/haresources.js';

export type Action = 'start' | 'stop' | 'status';

export interface ScriptOutcome {
  /** Null: it did not end by itself (`killed`), or could not be run at all (`missing`). */
  readonly exitStatus: number | null;
  readonly output: string; // stdout and stderr
  readonly failure: 'missing' | 'killed' | null;
}

export type OperationLevel = 'info' | 'debug' | 'WARN' | 'ERROR' | 'CRIT';

export type OperationEffect =
  | { readonly type: 'run'; readonly resource: HaResource; readonly action: Action }
  | { readonly type: 'log'; readonly level: OperationLevel; readonly text: string }
  | { readonly type: 'done'; readonly result: OperationResult };

/** `aborted`: a take that was called off between two scripts; what it started is still running. */
export type OperationResult = 'running' | 'stopped' | 'start-failed' | 'aborted' | 'stuck';

export interface OperationOptions {
  readonly stopRetryMax: number; // HA_STOPRETRYMAX; 0: for ever
}

export const DEFAULT_STOP_RETRY_MAX = 10;
const STOP_RETRY_MS = 1000;

/** Whether the output of `status` says that the resource runs. The exit status does not count. */
export function saysRunning(output: string): boolean {
  if (/[nN][oO][tT] .*[rR]unning/s.test(output)) return false; // also 'is not currently running', as the original's pattern
  return /[rR]unning|OK/.test(output);
}

export class GroupOperation {
  readonly group: HaResourceGroup;
  readonly kind: 'take' | 'give';
  readonly #options: OperationOptions;
  /** Resources that this daemon has started and not seen stopped. Shared by all operations of a node. */
  readonly #started: Set<string>;
  #phase: 'status' | 'start' | 'stop' | 'stop-retry' | 'verify' | 'done' = 'done';
  #index = 0;
  #retries = 0;
  #retryMs = Number.POSITIVE_INFINITY;
  #startFailed = false;
  #abort = false;

  constructor(
    group: HaResourceGroup,
    kind: 'take' | 'give',
    options: OperationOptions,
    started: Set<string>,
  ) {
    assert(group.resources.length > 0, 'a group has a resource');
    this.group = group;
    this.kind = kind;
    this.#options = options;
    this.#started = started;
  }

  begin(out: OperationEffect[]): void {
    const names = this.group.resources.map((resource) => resource.text).join(' ');
    const verb = this.kind === 'take' ? 'Acquiring' : 'Releasing';
    out.push({
      type: 'log',
      level: 'info',
      text: `${verb} resource group: ${this.group.node} ${names}`,
    });
    if (this.kind === 'take') this.#take(0, out);
    else this.#giveAll(out);
  }

  /** Call a take off after the script that runs now. No effect on a group that is being given up. */
  abort(): void {
    this.#abort = true;
  }

  /** The script that was asked for has ended. */
  answered(outcome: ScriptOutcome, nowMs: number, out: OperationEffect[]): void {
    const resource = this.#resource();
    const { text } = resource;
    switch (this.#phase) {
      case 'status':
        if (outcome.failure !== null) {
          // Whether it runs is not known: starting it could be a second start.
          this.#logFailure(resource, 'status', outcome, out);
          this.#giveUp(text, out);
        } else if (saysRunning(outcome.output)) {
          this.#started.add(text);
          this.#take(this.#index + 1, out);
        } else if (this.#abort) {
          this.#finish('aborted', out);
        } else {
          this.#phase = 'start';
          this.#started.add(text); // from now on it may run, whatever the script reports
          this.#run(resource, 'start', out);
        }
        return;
      case 'start':
        if (outcome.exitStatus === 0) this.#take(this.#index + 1, out);
        else {
          this.#logFailure(resource, 'start', outcome, out);
          this.#giveUp(text, out);
        }
        return;
      case 'stop':
        if (outcome.exitStatus === 0) {
          this.#started.delete(text);
          this.#give(this.#index - 1, out);
        } else {
          this.#logFailure(resource, 'stop', outcome, out);
          this.#stopFailed(nowMs, out);
        }
        return;
      case 'verify':
        this.#verified(outcome, out);
        return;
      case 'stop-retry':
      case 'done':
        assert(false, 'an answer belongs to a script that was asked for');
    }
  }

  tick(nowMs: number, out: OperationEffect[]): void {
    if (this.#phase !== 'stop-retry' || nowMs < this.#retryMs) return;
    this.#retryMs = Number.POSITIVE_INFINITY;
    this.#phase = 'stop';
    const resource = this.#resource();
    out.push({
      type: 'log',
      level: 'info',
      text: `Retrying failed stop operation [${resource.text}]`,
    });
    this.#run(resource, 'stop', out);
  }

  get deadlineMs(): number {
    return this.#retryMs;
  }

  #resource(): HaResource {
    const resource = this.group.resources[this.#index];
    assert(resource, 'the index is within the group');
    return resource;
  }

  #run(resource: HaResource, action: Action, out: OperationEffect[]): void {
    out.push({ type: 'run', resource, action });
  }

  #finish(result: OperationResult, out: OperationEffect[]): void {
    this.#phase = 'done';
    out.push({ type: 'done', result });
  }

  #take(index: number, out: OperationEffect[]): void {
    if (index >= this.group.resources.length) this.#finish('running', out);
    else if (this.#abort) this.#finish('aborted', out);
    else {
      this.#index = index;
      this.#phase = 'status';
      this.#run(this.#resource(), 'status', out);
    }
  }

  #giveUp(text: string, out: OperationEffect[]): void {
    this.#startFailed = true;
    const message = `Giving up resources due to failure of ${text}`;
    out.push({ type: 'log', level: 'CRIT', text: message });
    const names = this.group.resources.map((resource) => resource.text).join(' ');
    const release = `Releasing resource group: ${this.group.node} ${names}`;
    out.push({ type: 'log', level: 'info', text: release });
    this.#giveAll(out);
  }

  #giveAll(out: OperationEffect[]): void {
    this.#give(this.group.resources.length - 1, out);
  }

  #give(index: number, out: OperationEffect[]): void {
    if (index < 0) {
      this.#finish(this.#startFailed ? 'start-failed' : 'stopped', out);
      return;
    }
    this.#index = index;
    this.#retries = 0;
    this.#phase = 'stop';
    this.#run(this.#resource(), 'stop', out);
  }

  #stopFailed(nowMs: number, out: OperationEffect[]): void {
    const max = this.#options.stopRetryMax;
    if (max <= 0 || this.#retries < max) {
      this.#retries++;
      this.#phase = 'stop-retry';
      this.#retryMs = nowMs + STOP_RETRY_MS;
      return;
    }
    this.#phase = 'verify';
    this.#run(this.#resource(), 'status', out);
  }

  /** `stop` failed for good: the last word is with `status`. */
  #verified(outcome: ScriptOutcome, out: OperationEffect[]): void {
    const { text } = this.#resource();
    const log = (level: OperationLevel, line: string) =>
      out.push({ type: 'log', level, text: line });
    const isUnknown =
      outcome.failure === 'killed' || (outcome.failure === 'missing' && this.#started.has(text));
    if (isUnknown || (outcome.failure === null && saysRunning(outcome.output))) {
      log('CRIT', `Resource STOP failure. Reboot required! [${text}]`);
      this.#finish('stuck', out);
      return;
    }
    log('ERROR', `Resource STOP failure, but [${text}] does not run.`);
    log('ERROR', 'Machine reboot narrowly avoided!');
    this.#started.delete(text);
    this.#give(this.#index - 1, out);
  }

  #logFailure(
    resource: HaResource,
    action: Action,
    outcome: ScriptOutcome,
    out: OperationEffect[],
  ): void {
    const what =
      outcome.failure === 'missing'
        ? `Cannot locate resource script ${resource.script}`
        : outcome.failure === 'killed'
          ? `${resource.text} ${action} was killed: it did not end in time`
          : `Return code ${outcome.exitStatus} from ${resource.script} (${resource.text} ${action})`;
    out.push({ type: 'log', level: 'ERROR', text: what });
  }
}
