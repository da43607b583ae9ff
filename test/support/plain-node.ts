/**
 * A plain-daemon (with or without the angel) as a test sees it: start, wait for events, give commands, clean up.
 * Whatever the test left - mounts, loop devices, processes - is gone after `t.teardown`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { command, succeed } from './command.js';

export const ANGEL = fileURLToPath(new URL('../../native/angel', import.meta.url));
const DAEMON = fileURLToPath(new URL('./plain-daemon.js', import.meta.url));

type Line = Readonly<Record<string, unknown>>;

export interface PlainNodeOptions {
  readonly sizeBytes: number;
  readonly angel: boolean;
  readonly engine: 'auto' | 'fallback';
  /** Its /run is a tmpfs of its own that is full as soon as the device is there. */
  readonly fullRun?: boolean;
}

export class PlainNode {
  readonly dir: string;
  readonly disk: string;
  readonly root: string;
  readonly lines: Line[] = [];
  errors = '';
  readonly #options: PlainNodeOptions;
  #process: ChildProcess | null = null;
  #ended: Promise<number | null> = Promise.resolve(null);
  #wake: (() => void)[] = [];

  private constructor(options: PlainNodeOptions) {
    this.#options = options;
    this.dir = mkdtempSync(join(tmpdir(), 'twinbeat-node-'));
    this.disk = join(this.dir, 'disk');
    this.root = join(this.dir, 'root');
    writeFileSync(this.disk, '');
    truncateSync(this.disk, options.sizeBytes);
  }

  /** Starts and waits until the device is there. */
  static async start(t: ExecutionContext, options: PlainNodeOptions): Promise<PlainNode> {
    const node = new PlainNode(options);
    t.teardown(() => node.#cleanUp());
    const run = join(node.root, 'run');
    if (options.fullRun === true) {
      mkdirSync(run, { recursive: true });
      await succeed('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', run);
    }
    await node.run();
    if (options.fullRun === true) {
      const filled = await command('sh', '-c', 'cat /dev/zero >"$0"', join(run, 'log'));
      if (!filled.stderr.includes('No space left')) throw new Error(filled.stderr);
    }
    return node;
  }

  get device(): string {
    return join(this.root, 'dev/drbd0');
  }

  /** The FUSE file. */
  get file(): string {
    return join(this.root, 'run/twinbeat/dev/drbd0');
  }

  get statusFile(): string {
    return join(this.root, 'run/twinbeat/proc/drbd');
  }

  get loop(): string {
    return String(this.lines.findLast((line) => line['event'] === 'ready')?.['loop']);
  }

  /** Process id of the daemon that serves now. */
  get daemonPid(): number {
    return Number(this.lines.findLast((line) => line['event'] === 'ready')?.['pid']);
  }

  get angelPid(): number {
    return this.#process?.pid ?? 0;
  }

  async run(): Promise<void> {
    const daemon = [process.execPath, DAEMON, this.root, this.disk];
    const argv = this.#options.angel
      ? [ANGEL, '--fuse', '4', '--quick', '10', '--', ...daemon]
      : daemon;
    const child = spawn(argv[0] ?? '', argv.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, TWINBEAT_ENGINE: this.#options.engine },
    });
    this.#process = child;
    this.#ended = new Promise((resolve) => child.on('close', resolve));
    child.stdin?.on('error', () => {}); // it may be killed while we write
    child.stderr?.on('data', (chunk: Buffer) => {
      this.errors += chunk.toString();
    });
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on(
      'line',
      (line) => {
        if (line.startsWith('{')) this.lines.push(JSON.parse(line) as Line);
        for (const wake of this.#wake.splice(0)) wake();
      },
    );
    void this.#ended.then(() => {
      for (const wake of this.#wake.splice(0)) wake();
    });
    const before = this.lines.length;
    await this.line((line, index) => index >= before && line['event'] === 'ready');
  }

  /** The first line that fits, now or later. Fails when the daemon ends first. */
  async line(fits: (line: Line, index: number) => boolean): Promise<Line> {
    let over = false;
    void this.#ended.then(() => {
      over = true;
    });
    for (;;) {
      const found = this.lines.find(fits);
      if (found) return found;
      if (over) throw new Error(`the daemon ended:\n${this.errors}${JSON.stringify(this.lines)}`);
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** The incarnation of that number serves. Fails when it died by itself before. */
  async incarnation(number: number): Promise<Line> {
    const line = await this.line(
      (l) => l['event'] === 'ready' && Number(l['incarnation']) >= number,
    );
    if (line['incarnation'] === number) return line;
    throw new Error(`incarnation ${number} died before it served:\n${this.errors}`);
  }

  /** One command of plain-daemon and its answer. */
  ask(text: string): Promise<Line> {
    const before = this.lines.length;
    this.#process?.stdin?.write(`${text}\n`);
    return this.line((line, index) => index >= before && line['answer'] === text);
  }

  tell(text: string): void {
    this.#process?.stdin?.write(`${text}\n`);
  }

  signalAngel(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  ended(): Promise<number | null> {
    return this.#ended;
  }

  async #cleanUp(): Promise<void> {
    this.#process?.kill('SIGKILL');
    const pid = this.daemonPid;
    try {
      if (pid > 0 && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(DAEMON)) {
        process.kill(pid, 'SIGKILL');
      }
    } catch {
      // It has ended.
    }
    // Nobody holds the descriptors now: what still waits gets EIO, and the loop device can be taken away.
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((path) => path.startsWith(this.dir));
    for (const path of mounts.reverse()) {
      if (!path.startsWith(this.root)) await command('umount', '-l', path);
    }
    for (const name of readdirSync('/sys/block').filter((n) => n.startsWith('loop'))) {
      try {
        const backing = readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8');
        if (backing.startsWith(this.dir)) await command('losetup', '-d', `/dev/${name}`);
      } catch {
        // Not bound.
      }
    }
    for (const path of mounts) {
      if (path.startsWith(this.root)) await command('umount', '-l', path);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}
