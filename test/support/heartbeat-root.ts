/**
 * One node of a heartbeat cluster below a directory, without rights: the other node is never heard. Its one group is a real
 * process, `service`, which is started, stopped and looked at by a script.
 */
import { readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { ExecutionContext } from 'ava';
import { type CommandResult, launch } from './command.js';
import { until } from './until.js';

/** Where `make install` puts the programs, and where they are here. */
const INSTALLED = /^\/usr\/local\/sbin\//;
export const BUILT = resolve('build/bin');

const SERVICE = `#!/bin/sh
pid=$TWINBEAT_ROOT/run/service.pid
running() { [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; }
case "$1" in
start) running || { sleep 600 >/dev/null 2>&1 & echo $! >"$pid"; } ;;
stop) running && kill "$(cat "$pid")"; rm -f "$pid" ;;
status) if running; then echo running; else echo stopped; fi ;;
esac
`;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === 'object' && address ? address.port : 0;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.[0] !== 'Z';
  } catch {
    return false;
  }
}

export class HeartbeatRoot {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** A directory with a configuration in which the node is alone after two seconds. */
  static async create(t: ExecutionContext): Promise<HeartbeatRoot> {
    const root = new HeartbeatRoot(await mkdtemp(join(tmpdir(), 'heartbeat-root-')));
    t.teardown(async () => {
      await root.run(join(BUILT, 'heartbeat'), '-k');
      await root.run(root.path('/etc/ha.d/resource.d/service'), 'stop'); // one that no daemon holds
      await rm(root.dir, { recursive: true, force: true });
    });
    const port = await freePort();
    await root.write(
      '/etc/ha.d/ha.cf',
      'logfile /var/log/ha-log\nkeepalive 200ms\ndeadtime 2\nwarntime 1\ninitdead 2\n' +
        `udpport ${port}\nucast lo 127.0.0.1\nauto_failback off\nnode node-a node-b\n`,
    );
    await root.write('/etc/ha.d/nodeinfo', 'node-a\n');
    await root.write('/etc/ha.d/haresources', 'node-a service\n');
    await root.write('/etc/ha.d/authkeys', 'auth 1\n1 sha1 of-the-tests\n', 0o600);
    await root.write('/etc/ha.d/resource.d/service', SERVICE, 0o755);
    for (const dir of ['/run', '/var/log']) await mkdir(root.path(dir), { recursive: true });
    return root;
  }

  path(path: string): string {
    return this.dir + path;
  }

  async write(path: string, text: string, mode = 0o644): Promise<void> {
    await mkdir(dirname(this.path(path)), { recursive: true });
    await writeFile(this.path(path), text);
    await chmod(this.path(path), mode);
  }

  async remove(path: string): Promise<void> {
    await rm(this.path(path));
  }

  /** '' when there is none. */
  read(path: string): string {
    try {
      return readFileSync(this.path(path), 'utf8');
    } catch {
      return '';
    }
  }

  /** Of what is installed in /usr/local/sbin the one that was built. */
  launch(program: string, ...args: readonly string[]) {
    const path = program.replace(INSTALLED, `${BUILT}/`);
    return launch('env', `TWINBEAT_ROOT=${this.dir}`, path, ...args);
  }

  run(program: string, ...args: readonly string[]): Promise<CommandResult> {
    return this.launch(program, ...args).result;
  }

  /** The daemon's process, null when none runs. */
  daemon(): number | null {
    const pid = Number(this.read('/run/heartbeat.pid'));
    return pid > 0 && isAlive(pid) ? pid : null;
  }

  /** The same, where one has to run. */
  running(): number {
    const pid = this.daemon();
    if (pid === null) throw new Error(`no daemon runs\n${this.read('/var/log/ha-log')}`);
    return pid;
  }

  /** The service's process, null when it does not run. */
  service(): number | null {
    const pid = Number(this.read('/run/service.pid'));
    return pid > 0 && isAlive(pid) ? pid : null;
  }

  async untilServing(): Promise<number> {
    await until(
      () => this.service() !== null,
      () => `the service\n${this.read('/var/log/ha-log')}`,
    );
    return this.service() ?? 0;
  }
}
