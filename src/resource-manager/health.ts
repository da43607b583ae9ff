/**
 * Health of the resources that run here: when each is checked, its ladder (health-ladder.ts), and what follows from FAIL.
 *
 *     (a group runs) checks every interval -> FAIL -> restart in place, `restartsPerHour` times in any hour
 *                                                  -> fail over, once: this node becomes FAILED_OFFLINE
 *                                     still FAIL and still here 60 s later -> give up: the group is stopped
 *
 * Checks begin every interval whether the last one ended or not, each resource at its own place in the interval, so that
 * they are spread; at most MAX_CHECKS at once, those that wait in the order in which they were due. A group with a job
 * open is not checked, and an answer that was asked for before the job is dropped: it says nothing about now.
 *
 * Nothing here starts or stops anything: a restart in place is a job of `Operations` which keeps the claim, and a group leaves by
 * the ordinary standby. Pure. With interval 0 it does nothing at all. Source: docs/HEALTH.md.
 */
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import type { ScriptOutcome } from './group-operation.js';
import { HealthLadder, type HealthLevel, verdictOf, wordsOf } from './health-ladder.js';
import type { ResourceLevel } from './resource-machine.js';

export type HealthEffect =
  | {
      readonly type: 'check';
      readonly id: number; // comes back by `checked`
      readonly resource: HaResource;
      readonly timeoutMs: number;
    }
  | {
      readonly type: 'level';
      readonly key: string;
      readonly resource: string;
      readonly level: HealthLevel;
    }
  /** Stop the group down to that index, start it again; `restarted` when it is over. */
  | { readonly type: 'restart'; readonly key: string; readonly from: number }
  | { readonly type: 'fail-over'; readonly why: string }
  /** Nobody takes it: stop the group. */
  | { readonly type: 'give-up'; readonly key: string; readonly why: string }
  | { readonly type: 'log'; readonly level: ResourceLevel; readonly text: string };

export interface HealthConfig {
  readonly intervalMs: number; // 0: off
  readonly steps: number; // at least 3
  readonly timeoutMs: number; // of one check
  readonly restartsPerHour: number; // of one group
}

/** What status displays show of a resource. */
export interface ResourceHealth {
  readonly key: string;
  readonly resource: string;
  readonly level: HealthLevel;
  readonly words: string; // of the last check
}

/** So 100 resources every 10 s are 10 a second, and a fork bomb is not to be had. */
export const MAX_CHECKS = 4;
/** How long the peer has to take what failed here. */
export const GIVE_UP_MS = 60_000;
const HOUR_MS = 3_600_000;

interface Checked {
  readonly resource: HaResource;
  readonly index: number; // in its group
  readonly offsetMs: number; // its place in the interval
  readonly ladder: HealthLadder;
  dueMs: number; // its next check; infinite while its group is not checked
  said: HealthLevel; // what was told last
  words: string;
}

interface Group {
  readonly key: string;
  readonly resources: readonly Checked[];
  phase: 'off' | 'runs' | 'restarting';
  round: number; // answers of an earlier one are dropped
  restarts: number[]; // times of the last hour, at most restartsPerHour
  giveUpMs: number;
}

interface Open {
  readonly group: Group;
  readonly checked: Checked;
  readonly round: number;
}

export class Health {
  #config: HealthConfig;
  #originMs: number;
  readonly #all: readonly HaResourceGroup[];
  #groups: ReadonlyMap<string, Group>; // empty without an interval
  readonly #open = new Map<number, Open>(); // checks under way, at most MAX_CHECKS
  #lastId = 0;
  #offline = false;

  constructor(config: HealthConfig, groups: readonly HaResourceGroup[], nowMs: number) {
    this.#config = config;
    this.#originMs = nowMs;
    this.#all = groups;
    this.#groups = this.#newGroups();
  }

  #newGroups(): ReadonlyMap<string, Group> {
    const made = new Map<string, Group>();
    const config = this.#config;
    if (config.intervalMs === 0) return made;
    const total = this.#all.reduce((sum, group) => sum + group.resources.length, 0);
    let place = 0;
    for (const { key, resources } of this.#all) {
      const checked = resources.map((resource, index) => ({
        resource,
        index,
        offsetMs: (config.intervalMs * place++) / total,
        ladder: new HealthLadder(config.steps),
        dueMs: Number.POSITIVE_INFINITY,
        said: 'OK' as const,
        words: '',
      }));
      const group = { key, resources: checked, round: 0, restarts: [] };
      made.set(key, { ...group, phase: 'off', giveUpMs: Number.POSITIVE_INFINITY });
    }
    return made;
  }

  /**
   * Other settings, while no group is started, stopped or restarted. The ladders of the groups that run begin anew; the restarts of the
   * hour are counted on. What was asked for by the old settings says nothing any more.
   */
  configure(config: HealthConfig, isRunning: (key: string) => boolean, nowMs: number): void {
    const before = this.#groups;
    for (const group of before.values()) group.round++;
    this.#config = config;
    this.#originMs = nowMs;
    this.#groups = this.#newGroups();
    for (const [key, group] of this.#groups) {
      group.restarts = before.get(key)?.restarts ?? [];
      const old = before.get(key)?.phase;
      if (old === undefined ? isRunning(key) : old === 'runs') this.groupRuns(key, nowMs);
    }
  }

  /** Of the groups that run here. */
  get levels(): ResourceHealth[] {
    const running = [...this.#groups.values()].filter((group) => group.phase !== 'off');
    return running.flatMap(({ key, resources }) =>
      resources.map(({ resource, said: level, words }) => {
        return { key, resource: resource.text, level, words };
      }),
    );
  }

  /** Nothing is restarted on a node that is offline, and it does not fail over again. */
  setOffline(offline: boolean): void {
    this.#offline = offline;
    if (offline) return;
    for (const group of this.#groups.values()) {
      group.giveUpMs = Number.POSITIVE_INFINITY;
      if (group.phase === 'runs') this.#reset(group); // one that is at FAIL still would say nothing again
    }
  }

  #reset(group: Group): void {
    for (const checked of group.resources) {
      checked.ladder.reset();
      checked.said = 'OK';
      checked.words = '';
    }
  }

  /** All of it was started, or seen to run: its ladders begin anew. */
  groupRuns(key: string, nowMs: number): void {
    const group = this.#groups.get(key);
    if (!group) return;
    group.phase = 'runs';
    group.round++;
    group.giveUpMs = Number.POSITIVE_INFINITY;
    this.#reset(group);
    for (const checked of group.resources) checked.dueMs = this.#next(checked, nowMs);
  }

  /** A job of it is open, or it does not run here. */
  groupBusy(key: string): void {
    const group = this.#groups.get(key);
    if (!group) return;
    group.phase = 'off';
    this.#pause(group);
  }

  #pause(group: Group): void {
    group.round++;
    group.giveUpMs = Number.POSITIVE_INFINITY;
    for (const checked of group.resources) checked.dueMs = Number.POSITIVE_INFINITY;
  }

  /** The first of its places in the interval after `nowMs`. */
  #next({ offsetMs }: Checked, nowMs: number): number {
    const { intervalMs } = this.#config;
    const rounds = Math.floor((nowMs - this.#originMs - offsetMs) / intervalMs) + 1;
    const nextMs = this.#originMs + offsetMs + Math.max(0, rounds) * intervalMs;
    return nextMs > nowMs ? nextMs : nextMs + intervalMs; // rounded
  }

  /** The check has ended; one that takes too long is answered as killed, at its time limit. */
  checked(id: number, outcome: ScriptOutcome, nowMs: number, out: HealthEffect[]): void {
    const open = this.#open.get(id);
    if (!open) return;
    this.#open.delete(id);
    const { group, checked, round } = open;
    if (round === group.round) {
      checked.ladder.checked(verdictOf(outcome));
      checked.words = wordsOf(outcome);
      this.#tell(group, checked, nowMs, out);
    }
    this.#begin(nowMs, out); // there is room for one that waited
  }

  #tell(group: Group, checked: Checked, nowMs: number, out: HealthEffect[]): void {
    const { level } = checked.ladder;
    const { key } = group;
    if (level === checked.said) return;
    const text = checked.resource.text;
    const line = `health of ${text}: ${checked.said} -> ${level} (${checked.words})`;
    checked.said = level;
    out.push({ type: 'level', key, resource: text, level });
    out.push({ type: 'log', level: LOG_LEVELS[level], text: line });
    if (level === 'FAIL') this.#failed(group, checked, nowMs, out);
    else if (group.resources.every((each) => each.said !== 'FAIL')) {
      group.giveUpMs = Number.POSITIVE_INFINITY; // it came back by itself
    }
  }

  #failed(group: Group, checked: Checked, nowMs: number, out: HealthEffect[]): void {
    const { restartsPerHour } = this.#config;
    group.restarts = group.restarts.filter((atMs) => nowMs - atMs < HOUR_MS);
    if (this.#offline) {
      group.giveUpMs = Math.min(group.giveUpMs, nowMs + GIVE_UP_MS);
    } else if (group.restarts.length < restartsPerHour) {
      group.restarts.push(nowMs);
      const { length } = group.restarts;
      const text = `restarting ${group.key} in place, from ${checked.resource.text} on (${length} of ${restartsPerHour} in an hour)`;
      out.push({ type: 'log', level: 'WARN', text });
      group.phase = 'restarting';
      this.#pause(group);
      // The other node does not run it: we keep its claim, and nothing is said to the peer.
      out.push({ type: 'restart', key: group.key, from: checked.index });
    } else {
      const spent = restartsPerHour > 0 ? `, ${restartsPerHour} restarts in an hour` : '';
      this.#failOver(group, `${checked.resource.text}: ${checked.words}${spent}`, nowMs, out);
    }
  }

  #failOver(group: Group, why: string, nowMs: number, out: HealthEffect[]): void {
    group.giveUpMs = nowMs + GIVE_UP_MS;
    if (this.#offline) return;
    this.#offline = true;
    out.push({ type: 'fail-over', why });
  }

  /** `worked`: the group runs; otherwise it has been stopped. */
  restarted(key: string, worked: boolean, nowMs: number, out: HealthEffect[]): void {
    const group = this.#groups.get(key);
    if (group?.phase !== 'restarting') return; // a give came between
    if (worked) {
      this.groupRuns(key, nowMs);
      return;
    }
    this.groupBusy(key);
    this.#failOver(group, `${key} did not start again`, nowMs, out);
    group.giveUpMs = Number.POSITIVE_INFINITY; // it is stopped already
  }

  /** Time passed. Calling late, or twice at one time, is harmless. */
  tick(nowMs: number, out: HealthEffect[]): void {
    for (const group of this.#groups.values()) {
      if (nowMs < group.giveUpMs) continue;
      group.giveUpMs = Number.POSITIVE_INFINITY;
      const failed = group.resources.find((each) => each.said === 'FAIL');
      if (!failed || group.phase !== 'runs') continue;
      const why = `${failed.resource.text}: ${failed.words}`;
      out.push({ type: 'give-up', key: group.key, why });
    }
    this.#begin(nowMs, out);
  }

  /** What is due, in the order in which it was, as far as there is room. */
  #begin(nowMs: number, out: HealthEffect[]): void {
    while (this.#open.size < MAX_CHECKS) {
      const first = this.#firstDue();
      if (!first || nowMs < first.checked.dueMs) return;
      const { group, checked } = first;
      checked.dueMs = this.#next(checked, nowMs);
      const id = ++this.#lastId;
      this.#open.set(id, { group, checked, round: group.round });
      const { timeoutMs } = this.#config;
      out.push({ type: 'check', id, resource: checked.resource, timeoutMs });
    }
  }

  #firstDue(): { readonly group: Group; readonly checked: Checked } | null {
    let first: { readonly group: Group; readonly checked: Checked } | null = null;
    for (const group of this.#groups.values()) {
      if (group.phase !== 'runs') continue;
      for (const checked of group.resources) {
        if (checked.dueMs < (first?.checked.dueMs ?? Number.POSITIVE_INFINITY)) {
          first = { group, checked };
        }
      }
    }
    return first;
  }

  get deadlineMs(): number {
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const { giveUpMs } of this.#groups.values()) earliestMs = Math.min(earliestMs, giveUpMs);
    // Without room a check that is due waits for the end of another.
    if (this.#open.size >= MAX_CHECKS) return earliestMs;
    return Math.min(earliestMs, this.#firstDue()?.checked.dueMs ?? Number.POSITIVE_INFINITY);
  }
}

const LOG_LEVELS: Readonly<Record<HealthLevel, ResourceLevel>> = {
  OK: 'info',
  OK_INFO: 'info',
  OK_WARN: 'WARN',
  OK_CRITICAL: 'ERROR',
  FAIL: 'CRIT',
};
