/** Two hosts in namespaces for the integration tests of heartbeat (test/lab/heartbeat/lab). */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

function run(command: string, args: readonly string[]): Promise<Ran> {
  return new Promise((done) => {
    execFile(command, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      done({ status, out: `${stdout}${stderr}` });
    });
  });
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
    const dir = mkdtempSync(join(tmpdir(), 'heartbeat-lab-'));
    const config = join(dir, 'ha.d');
    mkdirSync(config);
    const lines = ['logfile /var/log/ha-log', ...haCf, 'node node-a', 'node node-b', ''];
    writeFileSync(join(config, 'ha.cf'), lines.join('\n'));
    writeFileSync(join(config, 'haresources'), haresources);
    writeFileSync(join(config, 'authkeys'), 'auth 1\n1 sha1 of-the-tests\n', { mode: 0o600 });
    t.teardown(async () => {
      await run(LAB, [dir, 'down']);
      rmSync(dir, { recursive: true, force: true });
    });
    const lab = new HeartbeatLab(dir);
    const up = await run(LAB, [dir, 'up']);
    if (up.status !== 0) throw new Error(up.out);
    return lab;
  }

  exec(host: Host, ...command: readonly string[]): Promise<Ran> {
    return run(LAB, [this.#dir, 'exec', host, ...command]);
  }

  async link(state: 'cut' | 'heal'): Promise<void> {
    await run(LAB, [this.#dir, state]);
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
    const library = join(this.#dir, 'nosync.so');
    if (!existsSync(library)) {
      // At its start it calls sync(2), for all file systems of the machine: minutes beside tests that write.
      const source = join(this.#dir, 'nosync.c');
      writeFileSync(source, 'void sync(void) {}\n');
      await run('cc', ['-shared', '-fPIC', '-o', library, source]);
    }
    return this.exec(host, 'env', `LD_PRELOAD=${library}`, ORIGINAL, ...args);
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
