/** The two hosts of test/lab/heartbeat/lab as the bench uses them: programs in them, a power cut to the millisecond, what their processes took. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
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

/** What a host's processes took since they began, those together. */
export interface Use {
  readonly processes: number;
  readonly memoryKiB: number; // proportional set size: shared pages are shared out
  readonly residentKiB: number; // resident set size: shared pages are counted for each process
  readonly ownKiB: number; // of that what no file holds: heaps and stacks
  readonly cpuMs: number; // with that of their children that ended
  readonly wakeUps: number; // how often a thread waited and ran again
  readonly preempted: number; // how often another one took a thread's place
  readonly files: number; // open file descriptors
}

export class Hosts {
  readonly #dir: string;
  #making: Promise<Ran> | null = null;
  #ending: Promise<void> | null = null;
  #cables: ChildProcess | null = null;
  static readonly #up = new Set<Hosts>();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** `haCf` without its nodes and log; `resources` before the dummy, as haresources has them. */
  static async up(haCf: readonly string[], resources: readonly string[] = []): Promise<Hosts> {
    const dir = mkdtempSync(join(tmpdir(), 'heartbeat-bench-'));
    const config = join(dir, 'ha.d');
    mkdirSync(config);
    const lines = ['logfile /var/log/ha-log', ...haCf, 'node node-a', 'node node-b', ''];
    writeFileSync(join(config, 'ha.cf'), lines.join('\n'));
    const group = ['node-a', ...resources, `LabRes::${RESOURCE}`].join(' ');
    writeFileSync(join(config, 'haresources'), `${group}\n`);
    writeFileSync(join(config, 'authkeys'), 'auth 1\n1 sha1 of-the-bench\n', { mode: 0o600 });
    const hosts = new Hosts(dir);
    Hosts.#up.add(hosts); // before anything of it runs: a signal may come meanwhile
    const making = run(LAB, [dir, 'up']);
    hosts.#making = making;
    const up = await making;
    if (up.status === 0) {
      // Ready to go: a program that would have to be started would be late.
      hosts.#cables = hosts.atSwitch(['ip', '-force', '-batch', '-'], 'pipe');
      return hosts;
    }
    await hosts.down();
    throw new Error(up.out);
  }

  static async downAll(): Promise<void> {
    for (const hosts of Hosts.#up) await hosts.down();
  }

  /** After SIGINT and SIGTERM nothing is left either. */
  static downAtSignals(): void {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => void Hosts.downAll().finally(() => process.exit(130)));
    }
  }

  /** Whoever asks first, all wait until it is done. */
  down(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    await this.#making; // what is still to come would be left
    this.#cables?.stdin?.end();
    await run(LAB, [this.#dir, 'down']);
    rmSync(this.#dir, { recursive: true, force: true });
    Hosts.#up.delete(this);
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

  /** A program between the hosts: it reaches both, and is neither. */
  atSwitch(command: readonly string[], stdin: 'pipe' | 'ignore'): ChildProcess {
    const args = ['-t', `${this.#holder('switch')}`, '-n', '--', ...command];
    return spawn('nsenter', args, { stdio: [stdin, 'pipe', 'inherit'] });
  }

  /** The host's first cable. */
  cable(host: Host, state: 'up' | 'down'): void {
    this.#cables?.stdin?.write(`link set port1-${host === 'node-a' ? 1 : 2} ${state}\n`);
  }

  /** The power goes: cable and every process of the host in one moment, from outside. When it was. */
  powerCut(host: Host): number {
    const pids = this.#processes(host);
    const atMs = Date.now();
    this.cable(host, 'down');
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const pid of pids) kill(pid, signal);
    }
    return atMs;
  }

  /** After it: what was begun meanwhile ends, too, and what lay in memory is gone. */
  async powerIsOff(host: Host): Promise<void> {
    await run(LAB, [this.#dir, 'crash', host]);
  }

  use(host: Host): Use {
    const all = this.#processes(host).flatMap((pid) => useOf(pid) ?? []);
    const sum = (of: (use: Use) => number): number => all.reduce((n, use) => n + of(use), 0);
    return {
      processes: all.length,
      memoryKiB: sum((u) => u.memoryKiB),
      residentKiB: sum((u) => u.residentKiB),
      ownKiB: sum((u) => u.ownKiB),
      cpuMs: sum((u) => u.cpuMs),
      wakeUps: sum((u) => u.wakeUps),
      preempted: sum((u) => u.preempted),
      files: sum((u) => u.files),
    };
  }

  /** What lies in the host's /var/log, /var/lib/heartbeat and /run. */
  kept(host: Host): { logBytes: number; stateBytes: number } {
    const run = `/proc/${this.#holder(host)}/root/run`;
    return {
      logBytes: bytesIn(join(this.#dir, host, 'log')),
      stateBytes: bytesIn(join(this.#dir, host, 'lib')) + bytesIn(run),
    };
  }

  /** When `ready` first held. */
  async until(
    what: string,
    ready: () => boolean | Promise<boolean>,
    everyMs = POLL_MS,
  ): Promise<number> {
    const begunMs = Date.now();
    for (;;) {
      if (await ready()) return Date.now();
      if (Date.now() - begunMs > STEP_LIMIT_MS) {
        const logs = HOSTS.map((h) => `${h}:\n${this.text(h, 'log', 'ha-log').slice(-3_000)}`);
        throw new Error(`${what} did not come about\n${logs.join('\n')}`);
      }
      await new Promise((done) => setTimeout(done, everyMs));
    }
  }

  /** All but the first process, which holds the namespaces, and what that one waits with. */
  #processes(host: Host): number[] {
    const holder = this.#holder(host);
    const home = readlinkSync(`/proc/${holder}/ns/pid`);
    const own = readFileSync(`/proc/${holder}/task/${holder}/children`, 'utf8').trim().split(' ');
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => pid !== holder && !(own.includes(`${pid}`) && isSleep(pid)))
      .filter((pid) => namespaceOf(pid) === home);
  }

  #holder(host: Host | 'switch'): number {
    return Number(readFileSync(join(this.#dir, host, 'holder'), 'utf8'));
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

/** Null: it has ended. */
function useOf(pid: number): Use | null {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    let wakeUps = 0;
    let preempted = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
      wakeUps += number(/^voluntary_ctxt_switches:\s+(\d+)/m, status);
      preempted += number(/^nonvoluntary_ctxt_switches:\s+(\d+)/m, status);
    }
    // proc(5): utime, stime, cutime, cstime are the 14th to the 17th; the first two are cut off here.
    const ticks = fields.slice(11, 15).reduce((sum, n) => sum + n, 0);
    return {
      processes: 1,
      memoryKiB: number(/^Pss:\s+(\d+)/m, rollup),
      residentKiB: number(/^Rss:\s+(\d+)/m, rollup),
      ownKiB: number(/^Anonymous:\s+(\d+)/m, rollup),
      cpuMs: ticks * TICK_MS,
      wakeUps,
      preempted,
      files: readdirSync(`/proc/${pid}/fd`).length,
    };
  } catch {
    return null;
  }
}

function number(pattern: RegExp, text: string): number {
  return Number(pattern.exec(text)?.[1] ?? 0);
}

function bytesIn(dir: string): number {
  let bytes = 0;
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    const found = lstatSync(join(dir, name), { throwIfNoEntry: false });
    if (found?.isFile()) bytes += found.size;
  }
  return bytes;
}
