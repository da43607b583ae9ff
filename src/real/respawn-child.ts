/**
 * The processes of `respawn` and `failfast` lines (host/respawn.ts decides): each as its user with that user's groups, in a process
 * group of its own, on /dev/null, with HA_* in its environment.
 *
 * Those that a killed daemon left are ended before new ones start: they are written down, with when the kernel started them.
 */
import { readFileSync } from 'node:fs';
import type { RespawnClient } from '../config/ha-cf.js';
import type { HeartbeatConfig } from '../host/heartbeat-ports.js';
import type { NodeLogLevel } from '../host/node-ports.js';
import { type ChildEnd, Respawn, type RespawnEffect } from '../host/respawn.js';
import { monotonicMs, processStart } from './heartbeat-files.js';
import { scriptEnvironment } from './heartbeat-script.js';
import { programPath } from './limited-run.js';
import { RunFile, readRunFile } from './run-file.js';
import { killGroup, spawnAside } from './spawn-aside.js';

const CHILDREN_FILE = '/run/twinbeat/heartbeat.children';
const POLL_MS = 100;
/** What does not end by TERM in that time is killed. */
const LEFT_LIMIT_MS = 10_000;

export interface RespawnHost {
  readonly root: string;
  log(level: NodeLogLevel, text: string): void;
  /** A failfast ended. */
  reboot(why: string): void;
}

interface Process {
  readonly pid: number;
  readonly start: string; // as the kernel writes it
}

/** Numbers of a user and of his first group; null: there is none of that name. */
export function userIds(user: string): { readonly uid: number; readonly gid: number } | null {
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
  const [, , uid, gid] = lines.map((line) => line.split(':')).find(([name]) => name === user) ?? [];
  return uid && gid ? { uid: Number(uid), gid: Number(gid) } : null;
}

export class RespawnChildren {
  readonly #host: RespawnHost;
  readonly #machine = new Respawn();
  readonly #running = new Map<number, Process>();
  readonly #file: RunFile;
  #left: Process[] = [];
  #config: HeartbeatConfig | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isWanted = false;
  #warned = false;
  readonly #stopped: (() => void)[] = [];

  constructor(host: RespawnHost) {
    this.#host = host;
    const path = host.root + CHILDREN_FILE;
    this.#file = new RunFile(path);
    try {
      this.#left = parseProcesses(readRunFile(path)).filter(isSame);
    } catch (e) {
      this.#host.log('WARN', `${path}: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  /** `lines`: those that are not built in. */
  configure(config: HeartbeatConfig, lines: readonly RespawnClient[]): void {
    this.#config = config;
    this.#do((nowMs, out) => this.#machine.configure(lines, nowMs, out));
  }

  /** Communication is up. */
  async start(): Promise<void> {
    this.#isWanted = true;
    const limitMs = monotonicMs() + LEFT_LIMIT_MS;
    for (const { pid } of this.#left) {
      this.#host.log('info', `killing process group ${pid}, left by a killed heartbeat`);
      killGroup(pid, 'SIGTERM');
    }
    while (this.#left.length > 0) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      this.#left = this.#left.filter(isSame);
      if (monotonicMs() < limitMs) continue;
      for (const { pid } of this.#left) killGroup(pid, 'SIGKILL');
      this.#left = [];
    }
    if (this.#isWanted) this.#do((nowMs, out) => this.#machine.start(nowMs, out));
  }

  /** Ends all of them, the last one first; done when none runs. */
  stop(): Promise<void> {
    this.#isWanted = false;
    return new Promise((resolve) => {
      this.#stopped.push(resolve);
      this.#do((nowMs, out) => this.#machine.stop(nowMs, out));
    });
  }

  #do(work: (nowMs: number, out: RespawnEffect[]) => void): void {
    const out: RespawnEffect[] = [];
    work(monotonicMs(), out);
    for (const effect of out) this.#carryOut(effect);
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const { deadlineMs } = this.#machine;
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(
      () => this.#do((nowMs, effects) => this.#machine.tick(nowMs, effects)),
      Math.max(0, Math.ceil(deadlineMs - monotonicMs())),
    );
  }

  #carryOut(effect: RespawnEffect): void {
    switch (effect.type) {
      case 'start':
        this.#start(effect.id, effect.client);
        break;
      case 'signal': {
        const { pid } = this.#running.get(effect.id) ?? {};
        if (pid !== undefined) killGroup(pid, effect.signal);
        break;
      }
      case 'reboot':
        this.#host.reboot(effect.why);
        break;
      case 'stopped':
        this.#forget();
        for (const resolve of this.#stopped.splice(0)) resolve();
        break;
      case 'log':
        this.#host.log(effect.level, effect.text);
        break;
    }
  }

  #start(id: number, client: RespawnClient): void {
    let isOver = false;
    const ended = (end: ChildEnd) => {
      if (isOver) return;
      isOver = true;
      this.#running.delete(id);
      this.#keep();
      this.#do((nowMs, out) => this.#machine.ended(id, end, nowMs, out));
    };
    const cannot = (why: string) => {
      setImmediate(ended, { pid: null, status: null, how: `cannot be run: ${why}` });
    };
    try {
      const ids = userIds(client.user);
      if (!ids || !this.#config) {
        cannot(`there is no user ${client.user}`);
        return;
      }
      const command = [client.path, ...client.args];
      const text = `Starting child client "${command.join(' ')}" (${ids.uid},${ids.gid})`;
      this.#host.log('info', text);
      const [program = '', ...words] = asUser(ids, command);
      const child = spawnAside(program, words, {
        cwd: '/',
        env: { ...process.env, PATH: programPath(), ...scriptEnvironment(this.#config) },
        stdio: 'ignore',
        detached: true,
      });
      const pid = child.pid ?? null;
      child.on('error', (e) => cannot(e.message));
      child.on('exit', (status, signal) => {
        const how = signal === null ? `exited with return code ${status}.` : `killed by ${signal}.`;
        ended({ pid, status, how });
      });
      if (pid === null) return;
      this.#running.set(id, { pid, start: processStart(pid) ?? '' });
      this.#keep();
    } catch (e) {
      // No descriptors, no memory.
      cannot(e instanceof Error ? e.message : String(e));
    }
  }

  #forget(): void {
    try {
      this.#file.remove();
    } catch {
      // Numbers of processes that are gone do no harm.
    }
  }

  /** For the successor of a killed daemon. Where it cannot be kept, on a full /run, the children run all the same. */
  #keep(): void {
    const lines = [...this.#running.values()].map(({ pid, start }) => `${pid} ${start}\n`);
    try {
      this.#file.write(Buffer.from(lines.join('')));
    } catch (e) {
      const why = e instanceof Error ? e.message : String(e);
      const text = `${CHILDREN_FILE}: ${why}: a successor will not know the children`;
      if (!this.#warned) this.#host.log('WARN', text);
      this.#warned = true;
    }
  }
}

/** Root alone may become somebody else. */
function asUser({ uid, gid }: { uid: number; gid: number }, command: readonly string[]): string[] {
  if (process.getuid?.() !== 0) return [...command];
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--', ...command];
}

function isSame({ pid, start }: Process): boolean {
  return processStart(pid) === start;
}

function parseProcesses(content: Uint8Array | null): Process[] {
  const lines = Buffer.from(content ?? [])
    .toString('latin1')
    .split('\n');
  return lines.flatMap((line) => {
    const [pid = '', start = ''] = line.split(' ');
    return /^[1-9]\d*$/.test(pid) && start !== '' ? [{ pid: Number(pid), start }] : [];
  });
}
