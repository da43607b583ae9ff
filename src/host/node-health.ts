/**
 * Health of a node's life (resource-manager/health.ts), and what follows when it is lost:
 *
 *     FAIL -> restart in place -> ... -> FAIL -> FAILED_OFFLINE: kept on disk -> barred -> standby -> the peer runs it
 *                                                                                       (60 s) -> the group is stopped
 *
 * The order is the promise: the standing is on disk before anything moves, so a power cut in between does not bring the
 * node back as one that may run the service; and the peer starts nothing before our `done`, which comes after every
 * stop. A disk that cannot be written holds nothing up: then the node says so.
 *
 * A node that is FAILED_OFFLINE at its start is barred before its first word, and hands over what it claims, too. With
 * `auto_failback legacy` there is no standby: it leaves instead. A cluster of one has nobody to go to, and goes on trying.
 * Source: docs/HEALTH.md.
 */
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import type { NodeStatus } from '../heartbeat/node-record.js';
import type { ScriptOutcome } from '../resource-manager/group-operation.js';
import {
  Health,
  type HealthConfig,
  type HealthEffect,
  type ResourceHealth,
} from '../resource-manager/health.js';
import { wordsOf } from '../resource-manager/health-ladder.js';
import type { ResourceEffect, ResourceMachine } from '../resource-manager/resource-machine.js';
import { OK, type Standing } from '../resource-manager/standing.js';
import type { NodeAsk } from './heartbeat-questions.js';
import type { NodeLogLevel } from './node-ports.js';

export interface NodeHealthHost {
  readonly node: string;
  readonly peer: string | null;
  readonly groups: readonly HaResourceGroup[];
  readonly resources: ResourceMachine;
  readonly ask: NodeAsk;
  readonly leaving: () => boolean;
  readonly peerStatus: () => NodeStatus | null;
  /** What the resource machine wants done. */
  readonly apply: (effects: readonly ResourceEffect[], nowMs: number) => void;
  /** Jobs of ours: the claim stays as it is. */
  readonly restart: (group: HaResourceGroup, from: number, nowMs: number) => void;
  readonly giveUp: (group: HaResourceGroup, nowMs: number) => void;
  readonly abortTakes: () => void;
  /** Legacy: release everything and leave. */
  readonly leave: (nowMs: number) => void;
  readonly changed: () => void;
  readonly log: (level: NodeLogLevel, text: string) => void;
}

/** A request that the peer does not follow times out after 10 s; asked again after that. */
const HAND_OVER_RETRY_MS = 5000;
const SAY_MS = 60_000;
/** Exit statuses of a check that say nothing bad about this node: good, degraded, not running. */
const RECOVERABLE: ReadonlySet<number | null> = new Set([0, 10, 3, 7]);

export class NodeHealth {
  readonly #host: NodeHealthHost;
  readonly #health: Health;
  #config: HealthConfig;
  readonly #gaveUp = new Map<string, string>(); // groups that were stopped -> why
  #standing: Standing;
  #handOverMs = Number.POSITIVE_INFINITY;
  #sayMs = Number.POSITIVE_INFINITY;
  #mustLeave = false; // legacy, and something failed in this life
  #recovery: ((refusal: string | null) => void) | null = null; // that is under way

  constructor(config: HealthConfig, standing: Standing, host: NodeHealthHost, nowMs: number) {
    this.#host = host;
    this.#config = config;
    this.#standing = standing;
    this.#health = new Health(config, host.groups, nowMs);
    if (standing.state === 'ok') return;
    this.#health.setOffline(true);
    host.resources.setBarred(standing.why, nowMs, []); // not active yet: nothing is to be said
    this.#handOverMs = nowMs;
    this.#sayMs = nowMs + SAY_MS;
  }

  get standing(): Standing {
    return this.#standing;
  }

  get levels(): ResourceHealth[] {
    return this.#health.levels;
  }

  /** Groups that nobody runs, since the peer did not take them. */
  get gaveUp(): { readonly key: string; readonly why: string }[] {
    return [...this.#gaveUp].map(([key, why]) => ({ key, why }));
  }

  /** All of the group was started, or seen to run. */
  groupRuns(key: string, nowMs: number): void {
    this.#gaveUp.delete(key);
    this.#health.groupRuns(key, nowMs);
  }

  /** A job of it is asked for. */
  groupBusy(key: string): void {
    this.#health.groupBusy(key);
  }

  /** Not `worked`: it did not start again and has been stopped, or it was called off. */
  restarted(key: string, worked: boolean, nowMs: number): void {
    if (!worked && this.#host.leaving()) {
      this.#health.groupBusy(key); // called off: that says nothing about this node
      return;
    }
    const out: HealthEffect[] = [];
    this.#health.restarted(key, worked, nowMs, out);
    this.#apply(out, nowMs);
  }

  /** `isRunning`: a group, as far as this node knows. */
  configure(config: HealthConfig, isRunning: (key: string) => boolean, nowMs: number): void {
    if (JSON.stringify(config) === JSON.stringify(this.#config)) return;
    this.#config = config;
    this.#health.configure(config, isRunning, nowMs);
  }

  tick(nowMs: number): void {
    const out: HealthEffect[] = [];
    this.#health.tick(nowMs, out);
    this.#apply(out, nowMs);
    if (nowMs >= this.#handOverMs) this.#handOver(nowMs);
    if (nowMs >= this.#sayMs) this.#say(nowMs);
  }

  get deadlineMs(): number {
    return Math.min(this.#health.deadlineMs, this.#handOverMs, this.#sayMs);
  }

  #group(key: string): HaResourceGroup | null {
    return this.#host.groups.find((group) => group.key === key) ?? null;
  }

  #apply(effects: readonly HealthEffect[], nowMs: number): void {
    const host = this.#host;
    for (const effect of effects) {
      switch (effect.type) {
        case 'check':
          host.ask('check', effect, (outcome, answeredMs) => {
            const out: HealthEffect[] = [];
            this.#health.checked(effect.id, outcome, answeredMs, out);
            this.#apply(out, answeredMs);
          });
          break;
        case 'level':
          host.changed();
          break;
        case 'log':
          host.log(effect.level, effect.text);
          break;
        case 'restart': {
          const group = this.#group(effect.key);
          if (group && !host.leaving()) host.restart(group, effect.from, nowMs);
          break;
        }
        case 'fail-over':
          this.#failOver(effect.why);
          break;
        case 'give-up': {
          const group = this.#group(effect.key);
          if (!group || host.leaving()) break;
          this.#gaveUp.set(effect.key, effect.why);
          const text = `Resource group ${effect.key} is stopped: it failed here (${effect.why}), and nobody takes it.`;
          host.log('CRIT', text);
          this.#health.groupBusy(effect.key);
          host.giveUp(group, nowMs);
          break;
        }
      }
    }
  }

  // ---- FAILED_OFFLINE

  #failOver(why: string): void {
    const host = this.#host;
    if (host.peer === null) {
      const text = `${why}: there is no other node. It is restarted again when the hour allows it.`;
      host.log('CRIT', text);
      this.#health.setOffline(false);
      return;
    }
    // From here on, also for a next life; nothing has moved yet.
    const standing: Standing = { state: 'FAILED_OFFLINE', why };
    this.#standing = standing;
    const text = `This node is FAILED_OFFLINE: ${why}. It hands over what it runs, and starts nothing until an operator says so (twinbeat recover ${host.node}).`;
    host.log('CRIT', text);
    host.ask('standing', { standing }, (worked, answeredMs) => {
      if (!worked) {
        const text =
          'The standing cannot be written: after a power cut this node would start again.';
        host.log('CRIT', text);
      }
      this.#bar(why, answeredMs);
    });
  }

  #bar(why: string, nowMs: number): void {
    const out: ResourceEffect[] = [];
    this.#host.abortTakes(); // what has been started by then is handed over with the rest
    this.#host.resources.setBarred(why, nowMs, out);
    this.#host.apply(out, nowMs);
    this.#mustLeave = true;
    this.#sayMs = nowMs + SAY_MS;
    this.#handOver(nowMs);
  }

  /** By the ordinary standby: the peer starts nothing before our `done`, and that is said when everything is stopped. */
  #handOver(nowMs: number): void {
    const { resources, leaving, peerStatus, leave, apply } = this.#host;
    this.#handOverMs = nowMs + HAND_OVER_RETRY_MS;
    if (leaving() || peerStatus() !== 'active') return;
    const { hold } = resources;
    if (resources.standbyRefusal !== null) {
      if (this.#mustLeave || hold !== 'none') leave(nowMs);
      return;
    }
    if (hold === 'none' || resources.peerBarred || resources.standbyBlocked !== null) return;
    const out: ResourceEffect[] = [];
    resources.requestStandby(hold, out);
    apply(out, nowMs);
  }

  #say(nowMs: number): void {
    const { peer, peerStatus, resources, log, leaving } = this.#host;
    this.#sayMs = nowMs + SAY_MS;
    if (this.#standing.state === 'ok' || leaving()) return;
    const status = peerStatus() ?? 'unknown';
    const isTaken = status === 'active' && resources.hold === 'none';
    if (isTaken && !resources.peerBarred) return; // somebody serves
    const what = [
      status === 'active' ? null : `node ${peer ?? ''} is ${status}`,
      resources.peerBarred ? `node ${peer ?? ''} is FAILED_OFFLINE, too` : null,
      resources.hold === 'none' ? null : `${resources.hold} resources are still held here`,
      ...this.gaveUp.map(({ key }) => `resource group ${key} is stopped`),
    ];
    const text = `This node is FAILED_OFFLINE (${this.#standing.why}): ${what.filter((each) => each !== null).join(', ')}.`;
    log('CRIT', text);
  }

  // ---- an operator ends it

  /**
   * `force`: although a check says that something is broken here. `done` gets null, or why it is refused; once, perhaps
   * inside this call.
   */
  recover(force: boolean, done: (refusal: string | null) => void): void {
    const host = this.#host;
    if (this.#standing.state === 'ok') done(`node ${host.node} is not FAILED_OFFLINE`);
    else if (this.#recovery) done('a recovery is under way');
    else {
      const finish = (refusal: string | null): void => {
        this.#recovery = null;
        done(refusal);
      };
      this.#recovery = finish;
      const resources = force ? [] : host.groups.flatMap((group) => group.resources);
      this.#checkAll(resources, (refusal) => {
        if (refusal !== null) finish(`${refusal}; --force recovers it all the same`);
        else this.#keepOk(finish);
      });
    }
  }

  /** A new life is not to begin now: it would not know what becomes of it. */
  get isRecovering(): boolean {
    return this.#recovery !== null;
  }

  /** The life ends. What it asked is not answered any more. */
  end(): void {
    this.#recovery?.('this life of heartbeat ends: ask again');
  }

  /** One after the other; the first that is broken ends it. */
  #checkAll(resources: readonly HaResource[], done: (refusal: string | null) => void): void {
    const [resource, ...rest] = resources;
    if (!resource) {
      done(null);
      return;
    }
    const { timeoutMs } = this.#config;
    this.#host.ask('check', { resource, timeoutMs }, (outcome) => {
      if (isRecoverable(outcome)) this.#checkAll(rest, done);
      else done(`the check of ${resource.text} fails: ${wordsOf(outcome)}`);
    });
  }

  #keepOk(done: (refusal: string | null) => void): void {
    const host = this.#host;
    host.ask('standing', { standing: OK }, (worked, nowMs) => {
      if (!worked) {
        done('the standing cannot be written: see the log');
        return;
      }
      this.#standing = OK;
      this.#handOverMs = Number.POSITIVE_INFINITY;
      this.#sayMs = Number.POSITIVE_INFINITY;
      this.#mustLeave = false;
      this.#gaveUp.clear();
      this.#health.setOffline(false);
      host.log('info', `Node ${host.node} is recovered: it may run resources again.`);
      const out: ResourceEffect[] = [];
      host.resources.setBarred(null, nowMs, out);
      // Told again, since nothing came of it when it died: taken over now as then. The other node does not run it: it left, or it
      // is dead, and reset before anything starts where a device can.
      if (host.peerStatus() === 'dead') host.resources.peerStillDead(nowMs, out);
      host.apply(out, nowMs);
      host.changed();
      done(null);
    });
  }
}

/** What a check says about a node that is to run resources again: only what is broken speaks against it. */
export function isRecoverable({ exitStatus, failure }: ScriptOutcome): boolean {
  return failure === null && RECOVERABLE.has(exitStatus);
}
