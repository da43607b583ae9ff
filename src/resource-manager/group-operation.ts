/**
 * One operation on one resource group: take it (start left to right), give it up (stop right to left), or restart what is
 * to the right of a resource, with it.
 *
 *     take   for each resource: status; stopped -> start; start fails -> give the whole group up, right to left
 *                               failed or unknown -> stop from the right down to it, then start it and go on
 *     give   for each resource from the right: stop; fails -> again every second, 10 times; then status decides:
 *            stopped -> go on; running or nobody knows -> `stuck`
 *     restart  stop, as a give, from the right down to `from`; then as a take from there. The claim stays
 *
 * A group that is stuck is never reported as stopped: whatever waits for it (hand-over, shutdown) waits for ever, and the
 * host escalates. `stop` is called for resources that were never started. What an answer to `status` means: verdict.ts.
 *
 * NEVER TWICE: on the other node, because whoever asks for a take has its word, or it is dead, and a restart is of what was
 * taken and not given since (operations.ts); on this node, because a start comes only after `status` has said "stopped", or
 * after a `stop` that worked.
 *
 * Pure: one script call is outstanding at a time; its outcome comes back by `answered`. Source: docs/HEARTBEAT.md,
 * scripts and failures.
 */
import { assert } from '../base/assert.js';
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import { doubtWords, failureWords } from './script-words.js';
import { isSilent, judge, type Verdict } from './verdict.js';

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

/** `aborted`: a take or a restart that was called off between two scripts; what it started is still running. */
export type OperationResult = 'running' | 'stopped' | 'start-failed' | 'aborted' | 'stuck';

export interface OperationOptions {
  readonly stopRetryMax: number; // HA_STOPRETRYMAX; 0: for ever
}

export const DEFAULT_STOP_RETRY_MAX = 10;
const STOP_RETRY_MS = 1000;
const VERBS = { take: 'Acquiring', give: 'Releasing', restart: 'Restarting' } as const;

export type OperationKind = 'take' | 'give' | 'restart';

/** What the operations of a node have in common. By the text of a resource. */
export interface OperationMemory {
  /** That this daemon, or the one before it, has started and nobody has seen stopped. */
  readonly started: Set<string>;
  /** Scripts of which it was said that they say nothing. */
  readonly silent: Set<string>;
}

export class GroupOperation {
  readonly group: HaResourceGroup;
  readonly kind: OperationKind;
  readonly #options: OperationOptions;
  readonly #started: Set<string>;
  readonly #silent: Set<string>;
  #phase: 'status' | 'start' | 'stop' | 'stop-retry' | 'verify' | 'done' = 'done';
  #index = 0;
  #retries = 0;
  #retryMs = Number.POSITIVE_INFINITY;
  #startFailed = false;
  #abort = false;
  /** Where stopping ends: at the left end of a group that is given up, else where it is started again from. */
  #stopTo = 0;
  #startAgain = false;
  /** From here to the right everything has been stopped by this operation, before it started anything there. */
  #stoppedFrom = Number.POSITIVE_INFINITY;

  constructor(
    group: HaResourceGroup,
    kind: OperationKind,
    from: number,
    options: OperationOptions,
    memory: OperationMemory,
  ) {
    assert(group.resources.length > 0, 'a group has a resource');
    assert(from >= 0 && from < group.resources.length, 'the index is within the group');
    this.group = group;
    this.#startAgain = kind === 'restart';
    this.#stopTo = from;
    this.kind = kind;
    this.#options = options;
    this.#started = memory.started;
    this.#silent = memory.silent;
  }

  begin(out: OperationEffect[]): void {
    const resources = this.group.resources.slice(this.#stopTo);
    const names = resources.map((resource) => resource.text).join(' ');
    const verb = VERBS[this.kind];
    out.push({
      type: 'log',
      level: 'info',
      text: `${verb} resource group: ${this.group.node} ${names}`,
    });
    if (this.kind === 'take') this.#take(0, out);
    else this.#giveAll(out);
  }

  /** Call a take or a restart off after the script that runs now. No effect on a group that is being given up. */
  abort(): void {
    this.#abort = true;
  }

  /** The script that was asked for has ended. */
  answered(outcome: ScriptOutcome, nowMs: number, out: OperationEffect[]): void {
    const resource = this.#resource();
    const { text } = resource;
    switch (this.#phase) {
      case 'status':
        this.#asked(resource, outcome, out);
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

  /** `status` before a start. */
  #asked(resource: HaResource, outcome: ScriptOutcome, out: OperationEffect[]): void {
    const { text } = resource;
    const verdict = judge(resource, outcome);
    const isMissing = outcome.failure === 'missing';
    if (isMissing || (outcome.failure === 'killed' && resource.kind === 'heartbeat')) {
      // Whether it runs is not known: starting it could be a second start.
      this.#logFailure(resource, 'status', outcome, out);
      this.#giveUp(text, out);
    } else if (verdict === 'running') {
      this.#started.add(text);
      this.#take(this.#index + 1, out);
    } else if (this.#abort) {
      this.#finish('aborted', out);
    } else if (verdict === 'stopped' || this.#index >= this.#stoppedFrom) {
      // Not on the other node: it gave the group, or is dead, before this take was asked for; and what is restarted was not given
      // since. Not here: `status` says so, or the `stop` of this very operation has worked.
      this.#phase = 'start';
      this.#started.add(text); // from now on it may run, whatever the script reports
      this.#run(resource, 'start', out);
    } else {
      this.#logDoubt(resource, verdict, outcome, out);
      this.#stopTo = this.#index;
      this.#startAgain = true;
      this.#giveAll(out); // what is to its right may need it
    }
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
    this.#startAgain = false;
    this.#stopTo = 0;
    this.#logGivingUp(text, out);
    this.#giveAll(out);
  }

  #logGivingUp(text: string, out: OperationEffect[]): void {
    const message = `Giving up resources due to failure of ${text}`;
    out.push({ type: 'log', level: 'CRIT', text: message });
    const names = this.group.resources.map((resource) => resource.text).join(' ');
    const release = `Releasing resource group: ${this.group.node} ${names}`;
    out.push({ type: 'log', level: 'info', text: release });
  }

  #giveAll(out: OperationEffect[]): void {
    this.#give(this.group.resources.length - 1, out);
  }

  #give(index: number, out: OperationEffect[]): void {
    if (index < this.#stopTo) {
      if (this.#startAgain) this.#again(out);
      else this.#finish(this.#startFailed ? 'start-failed' : 'stopped', out);
      return;
    }
    if (this.#calledOff) {
      this.#finish('aborted', out); // whoever called it off stops the rest
      return;
    }
    this.#index = index;
    this.#retries = 0;
    this.#phase = 'stop';
    this.#run(this.#resource(), 'stop', out);
  }

  /** All from `stopTo` to the right is stopped: on, as if it had never run. */
  #again(out: OperationEffect[]): void {
    this.#startAgain = false;
    this.#stoppedFrom = this.#stopTo;
    this.#take(this.#stopTo, out);
  }

  get #calledOff(): boolean {
    return this.#abort && this.#startAgain;
  }

  #stopFailed(nowMs: number, out: OperationEffect[]): void {
    if (this.#calledOff) {
      this.#finish('aborted', out);
      return;
    }
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
    const resource = this.#resource();
    const { text } = resource;
    const log = (level: OperationLevel, line: string) =>
      out.push({ type: 'log', level, text: line });
    const verdict = this.#afterStop(resource, outcome);
    if (verdict === 'running') {
      log('CRIT', `Resource STOP failure. Reboot required! [${text}]`);
      this.#finish('stuck', out);
      return;
    }
    if (verdict === 'stopped') log('ERROR', `Resource STOP failure, but [${text}] does not run.`);
    else log('ERROR', `Resource STOP failure, but [${text}] was not started here.`);
    log('ERROR', 'Machine reboot narrowly avoided!');
    this.#started.delete(text);
    if (verdict === 'unknown' && this.#startAgain) {
      // It may run, so it is not started.
      this.#startFailed = true;
      this.#startAgain = false;
      this.#stopTo = 0;
      this.#logGivingUp(text, out);
    }
    this.#give(this.#index - 1, out);
  }

  /** Unknown: nothing is known of it, but nobody here has started it. */
  #afterStop(resource: HaResource, outcome: ScriptOutcome): 'running' | 'stopped' | 'unknown' {
    const verdict = judge(resource, outcome);
    const isKilled = outcome.failure === 'killed';
    if (verdict === 'running' || verdict === 'failed' || isKilled) return 'running';
    // 0 is LSB's word for "it runs": without another one it says nothing of what was started here.
    const isMute = resource.kind === 'heartbeat' && outcome.exitStatus === 0 && isSilent(outcome);
    const isDoubtful = verdict === 'unknown' || isMute;
    return isDoubtful && this.#started.has(resource.text) ? 'running' : verdict;
  }

  #logDoubt(
    resource: HaResource,
    verdict: Verdict,
    outcome: ScriptOutcome,
    out: OperationEffect[],
  ): void {
    const { kind, script } = resource;
    if (kind === 'heartbeat' && this.#silent.has(script)) return;
    if (kind === 'heartbeat') this.#silent.add(script);
    out.push({ type: 'log', level: 'WARN', text: doubtWords(resource, verdict, outcome) });
  }

  #logFailure(
    resource: HaResource,
    action: Action,
    outcome: ScriptOutcome,
    out: OperationEffect[],
  ): void {
    out.push({ type: 'log', level: 'ERROR', text: failureWords(resource, action, outcome) });
  }
}
