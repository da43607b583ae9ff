/**
 * Running resource scripts: where they are found, what they get, when they are given up.
 *
 *     /etc/ha.d/resource.d/NAME, then the resource.d of this project, then /etc/init.d/NAME
 *
 * A script runs in a process group of its own with HA_* in its environment. Its output goes to a file, not to a pipe: a
 * service that it leaves behind keeps what it inherited, and must not get SIGPIPE when heartbeat ends. `status` is
 * judged by that output. One that exceeds `script-timeout` of twinbeat.ini (0, the default as in the original: never) is
 * killed with its group (host/script-watch.ts).
 */
import { spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HaResource } from '../config/haresources.js';
import { IoError } from '../host/io-error.js';
import { ScriptWatch } from '../host/script-watch.js';
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import { loadAddon, memoryFile } from './native-addon.js';
import { nodeTimers } from './node-ports.js';

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

export function findScript(root: string, script: string): string | null {
  if (script.includes('/')) return null;
  const dirs = [`${root}/etc/ha.d/resource.d`, ownResourceDir(), `${root}/etc/init.d`];
  for (const dir of dirs) {
    const path = join(dir, script);
    try {
      if (!statSync(path).isFile()) continue;
      accessSync(path, constants.X_OK);
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

/** Runs one script; `done` is called exactly once, never inside this call. */
export function runScript(
  host: ScriptHost,
  resource: HaResource,
  action: Action,
  done: (outcome: ScriptOutcome) => void,
): void {
  const { script, args } = resource;
  const path = findScript(host.root, script);
  const missing: ScriptOutcome = { exitStatus: null, output: '', failure: 'missing' };
  if (!path) {
    setImmediate(() => done(missing));
    return;
  }
  const words = [path, ...args, action].join(' ');
  host.log(action === 'status' ? 'debug' : 'info', `Running ${words}`);
  let fd: number;
  try {
    fd = outputFile(host.root);
  } catch (e) {
    host.log('ERROR', `cannot run ${words}: ${e instanceof Error ? e.message : String(e)}`);
    setImmediate(() => done(missing));
    return;
  }
  const child = spawn(path, [...args, action], {
    cwd: '/',
    env: { ...process.env, ...host.env, HA_CURHOST: host.env['HA_CURHOST'] ?? '' },
    stdio: ['ignore', fd, fd],
    detached: true,
  });
  let ended = false;
  const watch = new ScriptWatch(words, host.timeoutMs, {
    timers: nodeTimers,
    nowMs: () => performance.now(),
    kill: (signal) => {
      if (ended || child.pid === undefined) return;
      try {
        process.kill(-child.pid, signal);
      } catch {
        // gone
      }
    },
    log: host.log,
  });
  host.running(child.pid ?? null);
  const finish = (outcome: (output: string) => ScriptOutcome): void => {
    if (ended) return;
    ended = true;
    watch.end();
    const output = readOutput(fd);
    closeSync(fd);
    host.running(null);
    for (const line of output.split('\n')) {
      if (line.trim() !== '') host.log('debug', `${script}: ${line.trimEnd()}`);
    }
    done(outcome(output));
  };
  child.on('error', (e) => {
    host.log('ERROR', `cannot run ${words}: ${e.message}`);
    finish(() => missing);
  });
  child.on('exit', (status, signal) => {
    finish((output) =>
      watch.killed || status === null
        ? { exitStatus: null, output: `${output}${signal ?? ''}`, failure: 'killed' }
        : { exitStatus: status, output, failure: null },
    );
  });
}
