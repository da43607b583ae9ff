/** The two hosts of test/lab/heartbeat/lab as the bench uses them: programs in them, a crash to the millisecond, what their processes took. */
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export type Host = 'node-a' | 'node-b';
export const HOSTS = ['node-a', 'node-b'] as const;
export const other = (host: Host): Host => (host === 'node-a' ? 'node-b' : 'node-a');

const LAB = resolve('test/lab/heartbeat/lab');
const RESOURCE = 'one';
const STEP_LIMIT_MS = 90_000;
const POLL_MS = 2; // what is measured takes seconds

export interface Ran {
  readonly status: number;
  readonly out: string;
}

export function run(command: string, args: readonly string[]): Promise<Ran> {
  return new Promise((done) => {
    execFile(command, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      done({ status, out: `${stdout}${stderr}` });
    });
  });
}

/** What a host's processes took since they began. */
export interface Use {
  readonly memoryKiB: number; // proportional set size: shared pages are shared out
  readonly cpuMs: number;
  readonly wakeUps: number; // how often a thread waited and ran again
}

export class Hosts {
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** `haCf` without its nodes and log. */
  static async up(haCf: readonly string[]): Promise<Hosts> {
    const dir = mkdtempSync(join(tmpdir(), 'heartbeat-bench-'));
    const config = join(dir, 'ha.d');
    mkdirSync(config);
    const lines = ['logfile /var/log/ha-log', ...haCf, 'node node-a', 'node node-b', ''];
    writeFileSync(join(config, 'ha.cf'), lines.join('\n'));
    writeFileSync(join(config, 'haresources'), `node-a LabRes::${RESOURCE}\n`);
    writeFileSync(join(config, 'authkeys'), 'auth 1\n1 sha1 of-the-bench\n', { mode: 0o600 });
    const hosts = new Hosts(dir);
    const up = await run(LAB, [dir, 'up']);
    if (up.status === 0) return hosts;
    await hosts.down();
    throw new Error(up.out);
  }

  async down(): Promise<void> {
    await run(LAB, [this.#dir, 'down']);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  exec(host: Host, ...command: readonly string[]): Promise<Ran> {
    return run(LAB, [this.#dir, 'exec', host, ...command]);
  }

  /** A file of a host: its /etc/ha.d, /var/lib/heartbeat and /var/log are directories of ours. */
  path(host: Host, dir: 'ha.d' | 'lib' | 'log', name: string): string {
    return join(this.#dir, host, dir, name);
  }

  text(host: Host, dir: 'lib' | 'log', name: string): string {
    const path = this.path(host, dir, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** The hosts on which the resource runs. */
  active(): Host[] {
    return HOSTS.filter((host) => existsSync(this.path(host, 'lib', `labres/on-${RESOURCE}`)));
  }

  /** Every process of the host is stopped and killed from outside. When the first signal went out. */
  async crash(host: Host): Promise<number> {
    const pids = this.#processes(host);
    const atMs = Date.now();
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const pid of pids) kill(pid, signal);
    }
    // What was begun meanwhile, and what a power failure leaves of files in memory.
    await run(LAB, [this.#dir, 'crash', host]);
    return atMs;
  }

  use(host: Host): Use {
    const all = this.#processes(host).map(useOf);
    const sum = (of: (use: Use) => number): number => all.reduce((n, use) => n + of(use), 0);
    return {
      memoryKiB: sum((u) => u.memoryKiB),
      cpuMs: sum((u) => u.cpuMs),
      wakeUps: sum((u) => u.wakeUps),
    };
  }

  /** When `ready` first held. */
  async until(what: string, ready: () => boolean | Promise<boolean>): Promise<number> {
    const begunMs = Date.now();
    for (;;) {
      if (await ready()) return Date.now();
      if (Date.now() - begunMs > STEP_LIMIT_MS) {
        const logs = HOSTS.map((h) => `${h}:\n${this.text(h, 'log', 'ha-log').slice(-3_000)}`);
        throw new Error(`${what} did not come about\n${logs.join('\n')}`);
      }
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
  }

  /** All but the first process, which holds the namespaces, and what that one waits with. */
  #processes(host: Host): number[] {
    const holder = Number(readFileSync(join(this.#dir, host, 'holder'), 'utf8'));
    const home = readlinkSync(`/proc/${holder}/ns/pid`);
    const own = readFileSync(`/proc/${holder}/task/${holder}/children`, 'utf8').trim().split(' ');
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => pid !== holder && !(own.includes(`${pid}`) && isSleep(pid)))
      .filter((pid) => namespaceOf(pid) === home);
  }
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return ''; // it has ended
  }
}

function isSleep(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'sleep';
  } catch {
    return true;
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // it has ended
  }
}

const TICK_MS = 10; // 100 ticks a second

function useOf(pid: number): Use {
  try {
    const pss = /^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    let wakeUps = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
      wakeUps += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    }
    const cpuMs = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    return { memoryKiB: Number(pss ?? 0), cpuMs, wakeUps };
  } catch {
    return { memoryKiB: 0, cpuMs: 0, wakeUps: 0 }; // it has ended
  }
}
