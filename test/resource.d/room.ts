/**
 * A room of its own for a test: private mounts, network, host name and processes. Whatever a test leaves behind in it goes with
 * its first process, which dies with the test, and takes its directory with it, also when the test itself was killed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ExecutionContext } from 'ava';
import { LET_GO } from '../../src/cli/pair-namespace.js';

export interface Ran {
  readonly status: number; // 128 + signal when killed
  readonly out: string; // both streams
}

export class Room {
  readonly dir: string; // seen from inside and outside
  readonly pid: number; // its first process, as the machine numbers it
  readonly #outer: ChildProcess;

  private constructor(dir: string, pid: number, outer: ChildProcess) {
    this.dir = dir;
    this.pid = pid;
    this.#outer = outer;
  }

  static async open(t: ExecutionContext): Promise<Room> {
    const dir = mkdtempSync(join(tmpdir(), 'twinbeat-room-'));
    // `cat` ends with our end of the pipe: the room cannot outlive the test process.
    const setUp = `${LET_GO}
      mount -t tmpfs tmpfs /run && ip link set lo up && echo up && exec 3<&0 && cat <&3 >/dev/null
      rm -rf --one-file-system "$1"`;
    const outer = spawn(
      'unshare',
      [
        ...['--mount', '--net', '--uts', '--ipc', '--pid', '--fork', '--kill-child'],
        ...['--mount-proc', '--propagation', 'private', 'sh', '-c', setUp, 'init', dir],
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    let complaint = '';
    outer.stderr?.on('data', (text: Buffer) => {
      complaint += text.toString();
    });
    await new Promise<void>((done, failed) => {
      outer.stdout?.once('data', () => done());
      outer.once('exit', (code) =>
        failed(new Error(`the room did not open: exit ${code} ${complaint}`)),
      );
    });
    const [pid = ''] = readFileSync(`/proc/${outer.pid}/task/${outer.pid}/children`, 'utf8').split(
      ' ',
    );
    const room = new Room(dir, Number(pid), outer);
    t.teardown(() => room.close());
    return room;
  }

  /** Run to its end; the environment is added to the test's own. */
  run(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Ran {
    const done = spawnSync('nsenter', this.#argv(argv), {
      env: { ...process.env, ...env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 120_000,
    });
    return { status: done.status ?? 255, out: done.stdout + done.stderr };
  }

  /** Run; its output when it succeeds, an error with it when not. */
  must(...argv: readonly string[]): string {
    const done = this.run(argv);
    if (done.status !== 0) throw new Error(`${argv.join(' ')}: exit ${done.status}\n${done.out}`);
    return done.out;
  }

  /** `stderr`: shown, or for the caller to read. */
  spawn(argv: readonly string[], stderr: 'inherit' | 'pipe' = 'inherit'): ChildProcess {
    return spawn('nsenter', this.#argv(argv), { stdio: ['ignore', 'pipe', stderr] });
  }

  /** A veth pair: `here` in this room, `there` in the other one. From outside, where both processes are visible. */
  wire(here: string, other: Room, there: string): void {
    const done = spawnSync('nsenter', [
      ...['-t', String(this.pid), '-n', 'ip', 'link', 'add', here],
      ...['type', 'veth', 'peer', 'name', there, 'netns', String(other.pid)],
    ]);
    if (done.status !== 0) throw new Error(`no veth pair: ${done.stderr}`);
  }

  script(name: string, ...args: readonly string[]): Ran {
    return this.run([script(name), ...args]);
  }

  #argv(argv: readonly string[]): string[] {
    return ['-t', String(this.pid), '-m', '-u', '-i', '-n', '-p', '--', ...argv];
  }

  async close(): Promise<void> {
    const gone = new Promise<void>((done) => {
      if (this.#outer.exitCode !== null || this.#outer.signalCode !== null) done();
      else this.#outer.once('exit', () => done());
    });
    process.kill(this.pid, 'SIGKILL');
    await gone;
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export function script(name: string): string {
  return resolve('resource.d', name);
}

/** What heartbeat makes of the output of `status`; the exit code does not count (heartbeat's calling convention). */
export function judged(out: string): 'running' | 'stopped' {
  if (/not running|stopped/i.test(out)) return 'stopped';
  return /running|Running|OK/.test(out) ? 'running' : 'stopped';
}

/** Poll until `ready` holds; false after `limitMs`. */
export async function until(ready: () => boolean, limitMs = 20_000): Promise<boolean> {
  const end = Date.now() + limitMs;
  while (!ready()) {
    if (Date.now() > end) return false;
    await new Promise((done) => setTimeout(done, 20));
  }
  return true;
}

/** A loop device on a fresh file of the room's directory; detached again at the end. */
export function loopDevice(t: ExecutionContext, dir: string, sizeMiB: number): string {
  const file = join(dir, `disk-${Math.random().toString(36).slice(2)}.img`);
  const run = (program: string, ...args: string[]): string => {
    const done = spawnSync(program, args, { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`${program}: ${done.stderr}`);
    return done.stdout.trim();
  };
  run('truncate', '-s', `${sizeMiB}M`, file);
  const device = run('losetup', '--find', '--show', file);
  t.teardown(() => void spawnSync('losetup', ['-d', device]));
  return device;
}
