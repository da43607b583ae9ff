/**
 * Running resource scripts, OCF agents and systemctl (resource-command.ts): what they get, when they are given up.
 *
 * A script runs in a process group of its own with HA_* in its environment. Its output goes to a file, not to a pipe: a
 * service that it leaves behind keeps what it inherited, and must not get SIGPIPE when heartbeat ends. `status` is
 * judged by that output and the exit status (resource-manager/verdict.ts). One that exceeds `script-timeout` of twinbeat.ini (0, the default as in the original: never) is
 * killed with its group (host/script-watch.ts).
 *
 * Looking for it and reading it may take for ever, on a file system that hangs: nothing here waits for either.
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { basename } from 'node:path';
import type { HaResource } from '../config/haresources.js';
import type { HeartbeatConfig } from '../host/heartbeat-ports.js';
import { ScriptWatch } from '../host/script-watch.js';
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import { outputFile, readOutput } from './child-output.js';
import { nodeTimers } from './node-ports.js';
import { type ResourceCommand, resourceCommand } from './resource-command.js';
import { couldNotRun, killGroup, spawnAside } from './spawn-aside.js';

export interface ScriptHost {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>; // HA_*
  readonly timeoutMs: number; // 0: never
  log(level: 'debug' | 'info' | 'WARN' | 'ERROR', text: string): void;
  /** The script that runs now, for the state file: a successor of a killed daemon waits for it. */
  running(pid: number | null): void;
}

/** What scripts find in their environment. */
export function scriptEnvironment({
  haCf,
  node,
}: HeartbeatConfig): Readonly<Record<string, string>> {
  const named = (values: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [`HA_${name}`, value]));
  return {
    HA_CURHOST: node,
    HA_DIR: '/etc/ha.d',
    HA_FUNCS: '/etc/ha.d/shellfuncs',
    HA_DATEFMT: '%Y/%m/%d_%T ',
    HA_RSCTMP: '/run/heartbeat/rsctmp',
    HA_LOGD: 'no',
    ...(haCf.autoFailback === 'legacy' ? {} : { HA_NICEFAILBACK: 'yes' }),
    OCF_ROOT: '/usr/lib/ocf',
    ...(haCf.logfile ? { HA_LOGFILE: haCf.logfile } : {}),
    ...(haCf.debugfile ? { HA_DEBUGLOG: haCf.debugfile } : {}),
    ...(haCf.logfacility ? { HA_LOGFACILITY: haCf.logfacility } : {}),
    ...named(haCf.parameters),
    ...named(haCf.env),
  };
}

const MISSING: ScriptOutcome = { exitStatus: null, output: '', failure: 'missing' };
const KILLED: ScriptOutcome = { exitStatus: null, output: '', failure: 'killed' };

/** Runs one script; `done` is called exactly once, never inside this call. */
export function runScript(
  host: ScriptHost,
  resource: HaResource,
  action: Action,
  done: (outcome: ScriptOutcome) => void,
): void {
  const { kind, script, args, text } = resource;
  let child: ChildProcess | null = null;
  let ended = false;
  const end = (outcome: ScriptOutcome): void => {
    if (ended) return;
    ended = true;
    watch.end();
    done(outcome);
  };
  const words = kind === 'heartbeat' ? [script, ...args, action] : [text, action];
  const watch = new ScriptWatch(words.join(' '), host.timeoutMs, {
    timers: nodeTimers,
    nowMs: () => performance.now(),
    kill: (signal) => {
      if (ended) return;
      // Still looked for: it is not started any more.
      if (!child) end(KILLED);
      else if (child.pid !== undefined) killGroup(child.pid, signal);
    },
    log: host.log,
  });
  void resourceCommand(host.root, resource, action, host.timeoutMs).then((command) => {
    if (ended) return;
    if (command === null) end(MISSING);
    else child = startScript(host, command, action, end, () => watch.killed);
  });
}

/** Null when it cannot be started: `ended` has been called. */
function startScript(
  host: ScriptHost,
  { program, words, env }: ResourceCommand,
  action: Action,
  ended: (outcome: ScriptOutcome) => void,
  isKilled: () => boolean,
): ChildProcess | null {
  const line = [program, ...words].join(' ');
  host.log(action === 'status' ? 'debug' : 'info', `Running ${line}`);
  const cannot = (why: string): void => {
    host.log('ERROR', `cannot run ${line}: ${why}`);
    ended(MISSING);
  };
  let fd = -1;
  let child: ChildProcess;
  try {
    fd = outputFile(host.root);
    child = spawnAside(program, words, {
      cwd: '/',
      env: { ...process.env, ...host.env, HA_CURHOST: host.env['HA_CURHOST'] ?? '', ...env },
      stdio: ['ignore', fd, fd],
      detached: true,
    });
  } catch (e) {
    // No descriptors, no memory: that does not end the daemon.
    if (fd >= 0) closeSync(fd);
    cannot(e instanceof Error ? e.message : String(e));
    return null;
  }
  host.running(child.pid ?? null);
  let isOver = false;
  const finish = (outcome: (output: string) => ScriptOutcome | string): void => {
    if (isOver) return;
    isOver = true;
    const output = readOutput(fd);
    closeSync(fd);
    host.running(null);
    const how = outcome(output);
    if (typeof how === 'string') {
      cannot(how);
      return;
    }
    for (const said of output.split('\n')) {
      if (said.trim() !== '') host.log('debug', `${basename(program)}: ${said.trimEnd()}`);
    }
    ended(how);
  };
  child.on('error', (e) => finish(() => e.message));
  child.on('exit', (status, signal) => {
    finish((output) => {
      if (isKilled() || status === null) return { ...KILLED, output: `${output}${signal ?? ''}` };
      if (couldNotRun(status, output)) return output.trim();
      return { exitStatus: status, output, failure: null };
    });
  });
  return child;
}
