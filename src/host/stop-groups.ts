/**
 * Before a life: every group of the file is stopped, since nobody knows what a predecessor left running and the other
 * node may run it all by now. The same queue of scripts as in a life. Never ends while a group cannot be stopped.
 */
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import { Operations, type QueueEffect } from '../resource-manager/operations.js';
import type { HeartbeatConfig, LivesHost } from './heartbeat-ports.js';
import type { NodeLogLevel } from './node-ports.js';
import type { TimerId, Timers } from './timers.js';

const STOP_RETRY_MAX = 10;

export interface StopGroupsHost {
  readonly timers: Timers;
  nowMs(): number;
  runScript(resource: HaResource, action: Action, done: (outcome: ScriptOutcome) => void): void;
  stuck(group: HaResourceGroup): void;
  log(level: NodeLogLevel, text: string): void;
}

/** `mayRun`: those of `groups` that the predecessor claimed. */
export function stopGroups(
  groups: readonly HaResourceGroup[],
  mayRun: readonly HaResourceGroup[],
  stopRetryMax: number,
  host: StopGroupsHost,
  stopped: () => void,
): void {
  const queue = new Operations({ stopRetryMax }, mayRun);
  let timer: TimerId | null = null;
  const apply = (effects: readonly QueueEffect[]): void => {
    for (const effect of effects) {
      if (effect.type === 'log') host.log(effect.level, effect.text);
      else if (effect.type === 'run') {
        host.runScript(effect.resource, effect.action, (outcome) => {
          const out: QueueEffect[] = [];
          queue.answered(effect.id, outcome, host.nowMs(), out);
          apply(out);
        });
      } else if (effect.type === 'stuck') host.stuck(effect.group);
      else if (effect.type === 'job-done') stopped();
    }
    if (timer) host.timers.cancel(timer);
    timer = null;
    const waitMs = queue.deadlineMs - host.nowMs();
    if (waitMs < Number.POSITIVE_INFINITY) timer = host.timers.after(Math.max(1, waitMs), tick);
  };
  const tick = (): void => {
    const out: QueueEffect[] = [];
    queue.tick(host.nowMs(), out);
    apply(out);
  };
  const out: QueueEffect[] = [];
  queue.add({ id: 1, kind: 'give', groups, from: 0 }, host.nowMs(), out);
  apply(out);
}

/** How often a stop that fails is tried again; 0: for ever. */
export function stopRetryMax(
  { haCf }: HeartbeatConfig,
  environment: LivesHost['environment'],
): number {
  const text = haCf.env['STOPRETRYMAX'] ?? environment['HA_STOPRETRYMAX'] ?? '';
  return /^-?\d+$/.test(text) ? Number(text) : STOP_RETRY_MAX;
}
