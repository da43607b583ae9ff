/**
 * Before the first life: what did a killed predecessor leave running?
 *
 *     nothing -> a new life
 *     its last keepalive is surely younger than deadtime -> a new life that resumes its claim: the other node does not run it,
 *         since it has not given us up yet, and hears us before it would
 *     its lease and its proof are over, where there is an arbiter (resource-manager/lease.ts) -> as if older
 *     older -> the other node may run it all by now: stop every group first, then a new life
 */
import type { HaResourceGroup } from '../config/haresources.js';
import { type Hold, includes } from '../resource-manager/hold.js';
import { dieAfterMs } from '../resource-manager/lease-door.js';
import { hasArbiter } from './arbiter-config.js';
import type { HeartbeatConfig, LivesHost } from './heartbeat-ports.js';
import { loadState } from './heartbeat-state.js';
import type { LivesMemory } from './lives-memory.js';
import type { LivesScripts } from './lives-scripts.js';
import { stopGroups, stopRetryMax } from './stop-groups.js';
import type { TimerId } from './timers.js';

/** A node that resumes must be heard well before its peer gives it up. */
const RESUME_MARGIN_MS = 1000;

export interface InheritHost {
  readonly host: LivesHost;
  readonly config: HeartbeatConfig;
  readonly memory: LivesMemory;
  readonly scripts: LivesScripts;
  stuck(group: HaResourceGroup): void;
  /** What is left running may not run any longer, and is not stopped. */
  die(why: string): void;
  /** `memory` says something else now. */
  changed(): void;
}

/** `done` is told once what a new life is to resume. Never, while a group cannot be stopped. */
export function inherit(
  inheritor: InheritHost,
  done: (resume: Hold, serveUntilMs: number | null) => void,
): void {
  const { host, config, memory, scripts } = inheritor;
  const state = loadState(host.files);
  if (!state) {
    done('none', null);
    return;
  }
  const { hold, serveUntilMs } = state;
  scripts.inherit(state.script);
  const silentMs = Math.round(host.clock.nowMs() - state.aliveMs);
  const { keepaliveMs, deadtimeMs } = config.haCf;
  // The last keepalive may have left up to its interval before the last sign of life.
  const isHeardInTime = silentMs >= 0 && silentMs + keepaliveMs + RESUME_MARGIN_MS < deadtimeMs;
  const untilMs = hasArbiter(config) ? serveUntilMs : null;
  const mayServe = untilMs === null || host.clock.nowMs() < untilMs;
  if (hold === 'none') done('none', null);
  else if (isHeardInTime && mayServe) {
    const text = `the last heartbeat ended ${silentMs} ms ago: resuming ${hold} resources`;
    host.log('WARN', text);
    done(hold, untilMs);
  } else {
    const text = `the last heartbeat ended without releasing ${hold} resources: stopping them`;
    host.log('WARN', text);
    memory.keepStale(hold, state.aliveMs, untilMs);
    const limit = untilMs === null ? null : dieLater(inheritor, untilMs);
    stopEverything(inheritor, hold, () => {
      if (limit) host.timers.cancel(limit);
      memory.keep('none', null);
      inheritor.changed();
      done('none', null);
    });
  }
}

/** What runs here longer than stop-limit may run on the other node, too. */
function dieLater({ host, config, die }: InheritHost, untilMs: number): TimerId {
  const atMs = untilMs + dieAfterMs(config.ini.witness.stopLimitS * 1000);
  const why = 'Not everything that the last heartbeat left is stopped within stop-limit';
  return host.timers.after(Math.max(0, atMs - host.clock.nowMs()), () => die(why));
}

function stopEverything(inheritor: InheritHost, hold: Hold, stopped: () => void): void {
  const { host, config, scripts } = inheritor;
  const stopper = {
    timers: host.timers,
    nowMs: () => host.clock.nowMs(),
    runScript: scripts.run,
    stuck: (group: HaResourceGroup) => inheritor.stuck(group),
    log: host.log,
  };
  const { groups, node } = config;
  const mayRun = groups.filter((group) =>
    includes(hold, group.node === node ? 'local' : 'foreign'),
  );
  stopGroups(groups, mayRun, stopRetryMax(config, host.environment), stopper, stopped);
}
