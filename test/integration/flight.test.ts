/**
 * The flight recorder of a running drbdd: what SIGKILL leaves is completed by the next life and replays, old lives go, and
 * where nothing can be written the daemon says so once and serves all the same.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { ControlClient } from '../../src/cli/control-client.js';
import { twinbeat } from '../../src/cli/twinbeat.js';
import { DEFAULT_DISK_OPTIONS, DEFAULT_RESOURCE_OPTIONS } from '../../src/config/drbd-options.js';
import type { ControlRequest } from '../../src/host/control.js';
import { createMeta } from '../support/engines.js';
import { memoryWorld } from '../support/memory-world.js';
import { until } from '../support/until.js';

const DRBDD = join(dirname(fileURLToPath(import.meta.url)), '../../src/bin/drbdd.js');

class Node {
  readonly root: string;
  readonly disk: string;
  log: string[] = [];
  #process: ChildProcess | null = null;

  constructor(t: ExecutionContext, ini = '') {
    this.root = mkdtempSync(join(tmpdir(), 'twinbeat-flight-'));
    this.disk = join(this.root, 'disk');
    mkdirSync(join(this.root, 'etc'));
    writeFileSync(
      join(this.root, 'etc/twinbeat.ini'),
      `[drbdd]\ndevice-driver = export\npool-mib = 16\n[flight]\nsize-mib = 4\n${ini}`,
    );
    createMeta(this.disk, 8 << 20);
    t.teardown(async () => {
      await this.end('SIGKILL');
      rmSync(this.root, { recursive: true, force: true });
    });
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [DRBDD], {
      env: { ...process.env, TWINBEAT_ROOT: this.root, __DRBD_NODE__: 'alpha' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = child;
    this.log = [];
    const lines = createInterface({ input: child.stderr as NodeJS.ReadableStream });
    await new Promise<void>((ready, fail) => {
      lines.on('line', (line) => {
        this.log.push(line);
        if (line.includes('volumes are exported')) ready();
      });
      child.once('exit', (code) => fail(new Error(`exit ${code}\n${this.log.join('\n')}`)));
    });
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  async configure(): Promise<void> {
    let found = await ControlClient.connect(this.root);
    const listens = async (): Promise<boolean> => {
      found ??= await ControlClient.connect(this.root);
      return found !== null;
    };
    await until(listens, 'the control socket');
    const client = found;
    if (!client) throw new Error('no control socket');
    const must = async (request: ControlRequest): Promise<void> => {
      const reply = await client.request(request, 10_000);
      if (!reply.ok) throw new Error(reply.text);
    };
    await must({ verb: 'new-resource', resource: 'r0', options: DEFAULT_RESOURCE_OPTIONS });
    const device = '/dev/drbd0';
    await must({ verb: 'new-minor', resource: 'r0', volume: 0, minor: 0, device });
    const { disk } = this;
    const options = DEFAULT_DISK_OPTIONS;
    await must({ verb: 'attach', minor: 0, disk, metaDisk: disk, metaIndex: 'internal', options });
    await must({ verb: 'primary', minor: 0, force: true });
    client.close();
  }

  list(dir: 'run' | 'lib'): string[] {
    const path = dir === 'run' ? 'run/twinbeat/flight' : 'var/lib/twinbeat/flight';
    return readdirSync(join(this.root, path))
      .sort()
      .map((name) => join(this.root, path, name));
  }
}

async function replay(...files: readonly string[]): Promise<{ status: number; text: string }> {
  const world = memoryWorld({ root: '' });
  const status = await twinbeat(['replay', ...files], world);
  return { status, text: world.stdout() };
}

test('a killed daemon leaves its recording to the next life; the newest few are kept', async (t) => {
  const node = new Node(t, 'lives = 2\n');
  await node.start();
  await node.configure();
  await node.end('SIGKILL');
  const [live = ''] = node.list('run');
  t.regex(live, /drbdd-\d{8}T\d{6}\.\d{3}Z-\d+\.live$/);
  t.is(statSync(live).mode & 0o777, 0o600);
  const killed = await replay(live);
  t.is(killed.status, 0, killed.text);
  t.regex(killed.text, /role\( Secondary -> Primary \)/);
  t.regex(killed.text, /it runs still, or was killed/);

  await node.start();
  await node.configure();
  await node.end('SIGTERM'); // completes the copies, its own and that of the life before
  t.deepEqual(node.list('run'), []);
  const [first = '', second = ''] = node.list('lib');
  t.true(first.includes(live.slice(live.lastIndexOf('/') + 1, -'.live'.length)));
  const both = await replay(first, second);
  t.is(both.status, 0, both.text);
  t.is([...both.text.matchAll(/role\( Secondary -> Primary \)/g)].length, 2);
  t.regex(both.text, /the same, \d+ inputs; end: stopped/);

  await node.start();
  await node.configure();
  await node.end('SIGTERM');
  t.is(node.list('lib').length, 2);
  t.false(node.list('lib').includes(first));
});

test('no place for recordings: said once, and the daemon serves', async (t) => {
  const node = new Node(t);
  mkdirSync(join(node.root, 'var/lib/twinbeat'), { recursive: true });
  writeFileSync(join(node.root, 'var/lib/twinbeat/flight'), 'in the way');
  await node.start();
  await node.configure();
  const copy = node.log.filter((l) => l.includes('flight recorder'));
  t.is(copy.length, 1, node.log.join('\n'));
  t.regex(copy[0] ?? '', /no copy in .*var\/lib\/twinbeat\/flight/);
  await node.end('SIGTERM');
  // What could not be copied stays where it was written.
  t.is((await replay(...node.list('run'))).status, 0);

  rmSync(join(node.root, 'run/twinbeat/flight'), { recursive: true });
  writeFileSync(join(node.root, 'run/twinbeat/flight'), 'in the way');
  await node.start();
  await node.configure();
  const off = node.log.filter((l) => l.includes('flight recorder'));
  t.is(off.length, 1);
  t.regex(off[0] ?? '', /flight recorder: off: /);
  await node.end('SIGTERM');
});

test('switched off: nothing is written', async (t) => {
  const node = new Node(t, 'enabled = no\n');
  await node.start();
  await node.configure();
  await node.end('SIGTERM');
  t.throws(() => node.list('run'), { message: /ENOENT/ });
  t.throws(() => node.list('lib'), { message: /ENOENT/ });
  t.is(readFileSync(join(node.root, 'etc/twinbeat.ini'), 'utf8').includes('enabled = no'), true);
});
