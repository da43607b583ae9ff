/**
 * Running resource scripts: where they are found, what they get, when they are given up.
 *
 *     /etc/ha.d/resource.d/NAME, then the resource.d of this project, then /etc/init.d/NAME
 *
 * A script runs in a process group of its own with HA_* in its environment. Its output goes to a file, not to a pipe: a
 * service that it leaves behind keeps what it inherited, and must not get SIGPIPE when heartbeat ends. `status` is
 * judged by that output. One that exceeds `script-timeout` of twinbeat.ini (0, the default as in the original: never) is
 * killed with its group (host/script-watch.ts).
 *
 * Looking for it and reading it may take for ever, on a file system that hangs: nothing here waits for either.
 */
import type { ChildProcess } from 'node:child_process';
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  unlinkSync,
} from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HaResource } from '../config/haresources.js';
import { IoError } from '../host/io-error.js';
import { ScriptWatch } from '../host/script-watch.js';
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import { loadAddon, memoryFile } from './native-addon.js';
import { nodeTimers } from './node-ports.js';
import { couldNotRun, spawnAside } from './spawn-aside.js';

export interface ScriptHost {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>; // HA_*
  readonly timeoutMs: number; // 0: never
  log(level: 'debug' | 'info' | 'WARN' | 'ERROR', text: string): void;
  /** The script that runs now, for the state file: a successor of a killed daemon waits for it. */
  running(pid: number | null): void;
}

const MAX_OUTPUT_BYTES = 64 << 10;

/** The resource.d of this project: beside build/ or, installed, beside it in lib/twinbeat. */
function ownResourceDir(): string {
  const here = dirname(fileURLToPath(import.meta.url)); // build/src/real
  return resolve(here, '../../../resource.d');
}

export async function findScript(root: string, script: string): Promise<string | null> {
  if (script.includes('/')) return null;
  const dirs = [`${root}/etc/ha.d/resource.d`, ownResourceDir(), `${root}/etc/init.d`];
  for (const dir of dirs) {
    const path = join(dir, script);
    try {
      if (!(await stat(path)).isFile()) continue;
      await access(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return null;
}

let outputs = 0;

/**
 * A file for a script's output, without a name. Not in a file system: what a `status` says decides whether a resource is started,
 * and when /run is full it would say nothing.
 */
function outputFile(root: string): number {
  if (!(loadAddon() instanceof IoError)) return memoryFile();
  const dir = `${root}/run/twinbeat`;
  mkdirSync(dir, { recursive: true });
  const path = `${dir}/script-output.${process.pid}.${outputs++}`;
  const fd = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return fd;
}

function readOutput(fd: number): string {
  const length = Math.min(fstatSync(fd).size, MAX_OUTPUT_BYTES);
  const bytes = Buffer.alloc(length);
  const got = length > 0 ? readSync(fd, bytes, 0, length, 0) : 0;
  return bytes.toString('utf8', 0, got);
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
  const { script, args } = resource;
  let child: ChildProcess | null = null;
  let ended = false;
  const end = (outcome: ScriptOutcome): void => {
    if (ended) return;
    ended = true;
    watch.end();
    done(outcome);
  };
  const watch = new ScriptWatch([script, ...args, action].join(' '), host.timeoutMs, {
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
  void findScript(host.root, script).then((path) => {
    if (ended) return;
    if (path === null) end(MISSING);
    else child = startScript(host, path, [...args, action], end, () => watch.killed);
  });
}

function killGroup(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // gone
  }
}

/** Null when it cannot be started: `ended` has been called. */
function startScript(
  host: ScriptHost,
  path: string,
  words: readonly string[],
  ended: (outcome: ScriptOutcome) => void,
  isKilled: () => boolean,
): ChildProcess | null {
  const line = [path, ...words].join(' ');
  host.log(words.at(-1) === 'status' ? 'debug' : 'info', `Running ${line}`);
  const cannot = (why: string): void => {
    host.log('ERROR', `cannot run ${line}: ${why}`);
    ended(MISSING);
  };
  let fd: number;
  try {
    fd = outputFile(host.root);
  } catch (e) {
    cannot(e instanceof Error ? e.message : String(e));
    return null;
  }
  const child = spawnAside(path, words, {
    cwd: '/',
    env: { ...process.env, ...host.env, HA_CURHOST: host.env['HA_CURHOST'] ?? '' },
    stdio: ['ignore', fd, fd],
    detached: true,
  });
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
      if (said.trim() !== '') host.log('debug', `${basename(path)}: ${said.trimEnd()}`);
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
