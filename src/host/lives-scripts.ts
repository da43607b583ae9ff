/**
 * Resource scripts of a daemon, over all of its lives. Each waits for one that a killed predecessor left running: it may be in
 * the middle of starting what ours would stop. Which one runs now is kept for a successor, how long they took for `twinbeat bound`.
 */
import type { HeartbeatConfig, LivesHost, ScriptProcess } from './heartbeat-ports.js';
import { ScriptTimes } from './script-times.js';
import { ScriptWatch } from './script-watch.js';
import type { StopGroupsHost } from './stop-groups.js';

const POLL_MS = 100;

export interface LivesScriptsHost extends Pick<LivesHost, 'clock' | 'timers' | 'scripts' | 'log'> {
  /** What is in force now. */
  config(): HeartbeatConfig;
  /** Another script runs, or none. */
  changed(): void;
}

export class LivesScripts {
  readonly times = new ScriptTimes();
  readonly #host: LivesScriptsHost;
  #running: ScriptProcess | null = null;
  /** A script that a killed predecessor left running: ours wait for its end, the life does not. */
  #left: ScriptProcess | null = null;
  #leftWatch: ScriptWatch | null = null;

  constructor(host: LivesScriptsHost) {
    this.#host = host;
  }

  /** For the state file. */
  get running(): ScriptProcess | null {
    return this.#running;
  }

  /** What a predecessor ran when it was killed. */
  inherit(script: ScriptProcess | null): void {
    this.#running = script;
    this.#left = script;
  }

  readonly run: StopGroupsHost['runScript'] = (resource, action, done) => {
    const { scripts, timers, clock } = this.#host;
    if (this.#left && scripts.isRunning(this.#left)) {
      if (!this.#leftWatch) this.#leftWatch = this.#watchLeft(this.#left);
      timers.after(POLL_MS, () => this.run(resource, action, done));
      return;
    }
    this.#left = null;
    this.#leftWatch?.end();
    this.#leftWatch = null;
    const startMs = clock.nowMs();
    scripts.run(this.#host.config(), resource, action, {
      running: (script) => {
        this.#running = script;
        this.#host.changed();
      },
      done: (outcome) => {
        if (action === 'status' || outcome.exitStatus === 0) {
          this.times.ran(resource.text, action, clock.nowMs() - startMs);
        }
        done(outcome);
      },
    });
  };

  /** A script that outlived its daemon gets its time anew, and no more: the group would be down for ever. */
  #watchLeft(script: ScriptProcess): ScriptWatch {
    const { scripts, timers, clock, log, config } = this.#host;
    const words = `resource script of the last heartbeat [pid ${script.pid}]`;
    log('WARN', `waiting for a ${words}`);
    return new ScriptWatch(words, config().ini.heartbeat.scriptTimeoutS * 1000, {
      timers,
      nowMs: () => clock.nowMs(),
      kill: (signal) => scripts.kill(script, signal),
      log,
    });
  }
}
