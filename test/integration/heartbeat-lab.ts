/** Two hosts in namespaces for the integration tests of heartbeat (test/lab/heartbeat/lab). */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ExecutionContext } from 'ava';

export type Host = 'node-a' | 'node-b';

export interface Ran {
  readonly status: number;
  readonly out: string;
}

const LAB = resolve('test/lab/heartbeat/lab');
const BIN = resolve('build/bin');
const ORIGINAL = '/usr/libexec/heartbeat/heartbeat';

/** What is in a host's own /run/bin stands in for the machine's programs. */
const ENV = { ...process.env, PATH: `/run/bin:${process.env['PATH']}` };

function run(command: string, args: readonly string[]): Promise<Ran> {
  return new Promise((done) => {
    execFile(command, args, { timeout: 60_000, env: ENV }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      done({ status, out: `${stdout}${stderr}` });
    });
  });
}

/** A resource that began or ceased to run on a host, by the machine's clock. */
export interface Turn {
  readonly atMs: number;
  readonly host: Host;
  readonly name: string;
  readonly on: boolean;
}

export class HeartbeatLab {
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async up(
    t: ExecutionContext,
    haCf: readonly string[],
    haresources: string,
  ): Promise<HeartbeatLab> {
    const lab = await HeartbeatLab.create(haCf, haresources);
    t.teardown(() => lab.down());
    return lab;
  }

  /** The same for whoever ends it himself, with `down`. */
  static async create(haCf: readonly string[], haresources: string): Promise<HeartbeatLab> {
    const dir = mkdtempSync(join(tmpdir(), 'heartbeat-lab-'));
    const config = join(dir, 'ha.d');
    mkdirSync(config);
    const lines = ['logfile /var/log/ha-log', ...haCf, 'node node-a', 'node node-b', ''];
    writeFileSync(join(config, 'ha.cf'), lines.join('\n'));
    writeFileSync(join(config, 'haresources'), haresources);
    writeFileSync(join(config, 'authkeys'), 'auth 1\n1 sha1 of-the-tests\n', { mode: 0o600 });
    const lab = new HeartbeatLab(dir);
    const up = await run(LAB, [dir, 'up']);
    if (up.status === 0) return lab;
    await lab.down();
    throw new Error(up.out);
  }

  async down(): Promise<void> {
    await run(LAB, [this.#dir, 'down']);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Of the host's first process, or of the switch's. */
  #pid(host: Host | 'switch'): string {
    return readFileSync(join(this.#dir, host, 'holder'), 'utf8').trim();
  }

  /** The host's files, seen from this machine: our programs take it as TWINBEAT_ROOT. */
  root(host: Host): string {
    return `/proc/${this.#pid(host)}/root`;
  }

  /** How this machine runs a command on the host. */
  inside(host: Host): readonly string[] {
    return ['nsenter', '-t', this.#pid(host), '-m', '-p', '-u', '-n', '-i', '--wdns=/', '--'];
  }

  /** How this machine runs a command beside the switch: it has its own files, and only the network of the lab. */
  outside(): readonly string[] {
    return ['nsenter', '-t', this.#pid('switch'), '-n', '--'];
  }

  exec(host: Host, ...command: readonly string[]): Promise<Ran> {
    const [program = '', ...words] = this.inside(host);
    return run(program, [...words, ...command]);
  }

  async link(state: 'cut' | 'heal', number: 1 | 2 = 1): Promise<void> {
    await run(LAB, [this.#dir, state, String(number)]);
  }

  /** The host's own cable: it loses its carrier. */
  async cable(host: Host, number: 1 | 2, state: 'up' | 'down'): Promise<void> {
    const { status, out } = await run(LAB, [this.#dir, 'cable', host, String(number), state]);
    if (status !== 0) throw new Error(out);
  }

  async crash(host: Host): Promise<void> {
    await run(LAB, [this.#dir, 'crash', host]);
  }

  /** One of our programs. */
  ours(host: Host, program: string, ...args: readonly string[]): Promise<Ran> {
    return this.exec(host, join(BIN, program), ...args);
  }

  /** Debian's daemon. */
  async original(host: Host, ...args: readonly string[]): Promise<Ran> {
    return this.exec(host, 'env', `LD_PRELOAD=${await this.#nosync()}`, ORIGINAL, ...args);
  }

  /** At its start it calls sync(2), for all file systems of the machine: minutes beside tests that write. */
  async #nosync(): Promise<string> {
    const library = join(this.#dir, 'nosync.so');
    if (existsSync(library)) return library;
    const source = join(this.#dir, 'nosync.c');
    writeFileSync(source, 'void sync(void) {}\n');
    // Two hosts may want it at once: it appears whole.
    const mine = join(this.#dir, `nosync.${randomUUID()}`);
    await run('cc', ['-shared', '-fPIC', '-o', mine, source]);
    renameSync(mine, library);
    return library;
  }

  /** The groups' resources that run there. */
  running(host: Host): string {
    return ['one', 'two', 'three']
      .filter((name) => existsSync(join(this.#dir, host, 'lib/labres', `on-${name}`)))
      .join(' ');
  }

  /** Start and stop calls so far, in order. */
  calls(host: Host): string[] {
    const path = join(this.#dir, host, 'lib/labres/trace');
    if (!existsSync(path)) return [];
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    return lines
      .map((line) => line.split(' ').slice(1).join(' '))
      .filter((c) => !c.endsWith('status'));
  }

  /** What ran when, oldest first. */
  turns(): Turn[] {
    const found = (['node-a', 'node-b'] as const).flatMap((host) => {
      const path = join(this.#dir, host, 'lib/labres/life');
      const lines = existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n') : [];
      return lines.map((line) => {
        const [at = '', name = '', state] = line.split(' ');
        return { atMs: Number(at) * 1000, host, name, on: state === 'on' };
      });
    });
    return found.sort((x, y) => x.atMs - y.atMs);
  }

  log(host: Host): string {
    const path = join(this.#dir, host, 'log/ha-log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** The groups' resources that run on both hosts: what node-a gave up between two looks does not. */
  #onBoth(): string {
    const [before, other, after] = [
      this.running('node-a').split(' '),
      this.running('node-b').split(' '),
      this.running('node-a').split(' '),
    ];
    return before.filter((n) => n && other.includes(n) && after.includes(n)).join(' ');
  }

  #logs(): string {
    const traces = (['node-a', 'node-b'] as const).map(
      (host) => `${host}:\n${this.log(host)}\n${this.calls(host).join('\n')}`,
    );
    return traces.join('\n');
  }

  /** Until `ready`; fails with both logs. */
  async until(
    t: ExecutionContext,
    what: string,
    ready: () => Promise<boolean> | boolean,
  ): Promise<void> {
    const limitMs = performance.now() + 90_000;
    for (;;) {
      // Nothing may ever run on both hosts: the tests here keep the link whole.
      const both = this.#onBoth();
      if (both !== '') {
        t.log(this.#logs());
        t.fail(`${both} on both nodes`);
      }
      if (await ready()) return;
      if (performance.now() > limitMs) {
        throw new Error(`${what} did not come about\n${this.#logs()}`);
      }
      await new Promise((done) => setTimeout(done, 100));
    }
  }

  /** Until these run there and cl_status (of ours, where ours runs) says so. */
  async untilRunning(t: ExecutionContext, a: string, b: string): Promise<void> {
    await this.until(t, `[${a}] on node-a and [${b}] on node-b`, () => {
      return this.running('node-a') === a && this.running('node-b') === b;
    });
  }

  async untilSays(
    t: ExecutionContext,
    host: Host,
    which: 'ours' | 'original',
    args: readonly string[],
    wanted: string,
  ): Promise<void> {
    await this.until(t, `cl_status ${args.join(' ')} on ${host}: ${wanted}`, async () => {
      const said =
        which === 'ours'
          ? await this.ours(host, 'cl_status', ...args)
          : await this.exec(host, '/usr/bin/cl_status', ...args);
      return said.out.trim() === wanted;
    });
  }
}
