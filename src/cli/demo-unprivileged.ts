/**
 * The demo without root: both nodes on the loopback interface, told apart by TWINBEAT_ROOT, with the NBD export in place of a block
 * device and a ledger on bare blocks in place of a mounted file system with MariaDB on it. Replication, heartbeat, switch-over,
 * take-over and resync are the real ones; the same daemons, the same commands, the same files.
 *
 * Left out, and said so: mount and file system, MariaDB, the service address (the client tries both nodes' exports), a cable that can
 * be cut (processes that are killed leave their TCP connections closed, where a power cut leaves silence).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { longestGap, lostRows, readJournal, wallMs } from './demo-client.js';
import { ledgerScript } from './demo-ledger-script.js';
import { type Show, seconds } from './demo-show.js';
import { openStore, PATIENT_LIMITS } from './demo-store.js';
import { PROJECT } from './pair.js';
import { type DrbdStatus, parseProcDrbd } from './pair-cluster.js';
import { kill, must, type Ran, run, waitUntil } from './pair-run.js';

const NAMES = ['alpha', 'beta'] as const;
const DISK_MIB = 64;
const DEADTIME_S = 4;
const RESOURCE = 'r0';
const ROWS_BETWEEN = 200;
const LIMIT_MS = 120_000;
const EXPORT_SOCKET = '/run/twinbeat/export.sock';
const BIN = join(PROJECT, 'build', 'bin');

interface Ports {
  readonly drbd: readonly [number, number];
  readonly ledger: readonly [number, number];
  readonly heartbeat: number;
}

/** A node: a root directory and the processes that have it in their environment. */
class SmallNode {
  readonly name: string;
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;

  constructor(dir: string, index: 0 | 1) {
    this.name = NAMES[index];
    this.root = join(dir, this.name);
    const system = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    this.env = {
      PATH: `${BIN}:${dirname(process.execPath)}:${system}`,
      HOME: process.env['HOME'] ?? '/',
      LANG: 'C.UTF-8',
      TWINBEAT_ROOT: this.root,
      __DRBD_NODE__: this.name, // as drbdadm calls it; heartbeat reads /etc/ha.d/nodeinfo
      DRBDADM: join(BIN, 'drbdadm'),
    };
  }

  path(path: string): string {
    return `${this.root}${path}`;
  }

  run(...argv: readonly string[]): Promise<Ran> {
    return run(argv, { env: this.env, timeoutMs: LIMIT_MS });
  }

  must(...argv: readonly string[]): Promise<string> {
    return must(argv, { env: this.env, timeoutMs: LIMIT_MS });
  }

  start(...argv: readonly string[]): ChildProcess {
    const [program = '', ...args] = argv;
    const log = openSync(this.path(`/var/log/${program}.out`), 'a');
    const child = spawn(join(BIN, program), args, {
      stdio: ['ignore', log, log],
      env: this.env,
      detached: true,
    });
    closeSync(log);
    return child;
  }

  /** Every process that was started on this node, by whomever. */
  processes(): number[] {
    const mark = `TWINBEAT_ROOT=${this.root}`;
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number)
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark);
        } catch {
          return false; // gone, or not ours
        }
      });
  }

  /** SIGKILL to all of them, until there is none. */
  async powerCut(): Promise<void> {
    const gone = await waitUntil(
      () => {
        const all = this.processes();
        for (const pid of all) kill(pid);
        return all.length === 0;
      },
      LIMIT_MS,
      5,
    );
    if (!gone) throw new Error(`processes of ${this.name} cannot be killed`);
    rmSync(this.path('/run'), { recursive: true, force: true });
    mkdirSync(this.path('/run/twinbeat'), { recursive: true });
  }

  /** The status file; without FUSE a copy that drbdd renews every second. */
  async status(): Promise<DrbdStatus> {
    const text = readFileSync(this.path('/run/twinbeat/proc/drbd'), 'utf8');
    return parseProcDrbd(text);
  }
}

function write(node: SmallNode, path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(node.path(path)), { recursive: true });
  writeFileSync(node.path(path), text);
  chmodSync(node.path(path), mode);
}

function configure(nodes: readonly SmallNode[], ports: Ports): void {
  const hosts = nodes
    .map(
      (node, i) =>
        `    on ${node.name} {\n        disk    ${node.path('/disk.img')};\n` +
        `        address 127.0.0.1:${ports.drbd[i]};\n    }\n`,
    )
    .join('');
  for (const [i, node] of nodes.entries()) {
    mkdirSync(node.path('/run/twinbeat'), { recursive: true });
    mkdirSync(node.path('/var/log'), { recursive: true });
    mkdirSync(node.path('/var/lib/heartbeat'), { recursive: true });
    mkdirSync(node.path('/etc/ha.d/resource.d'), { recursive: true });
    writeFileSync(node.path('/disk.img'), '');
    truncateSync(node.path('/disk.img'), DISK_MIB << 20);
    write(
      node,
      '/etc/drbd.conf',
      `global { usage-count no; disable-ip-verification; }\n` +
        `resource ${RESOURCE} {\n    protocol C;\n    device /dev/drbd0 minor 0;\n    meta-disk internal;\n` +
        `    net { ping-int 2; connect-int 3; }\n    disk { c-max-rate 500M; resync-rate 200M; }\n${hosts}}\n`,
    );
    write(node, '/etc/twinbeat.ini', '[drbdd]\ndevice-driver = export\npool-mib = 16\n');
    write(
      node,
      '/etc/ha.d/ha.cf',
      `logfile /var/log/ha-log\nkeepalive 500ms\nwarntime 2\ndeadtime ${DEADTIME_S}\ninitdead 20\nrealtime off\n` +
        `mcast lo 239.77.0.1 ${ports.heartbeat} 0 1\nauto_failback off\nnode ${NAMES.join(' ')}\n`,
    );
    write(node, '/etc/ha.d/nodeinfo', `${node.name}\n`);
    write(node, '/etc/ha.d/haresources', `${NAMES[0]} drbddisk::${RESOURCE} ledger\n`);
    write(node, '/etc/ha.d/authkeys', 'auth 1\n1 sha1 twoHeartsOneBeat\n', 0o600);
    const service = `--export ${node.path(EXPORT_SOCKET)} --name ${RESOURCE} --host 127.0.0.1 --port ${ports.ledger[i]}`;
    write(node, '/etc/ha.d/resource.d/ledger', ledgerScript(node.root, service), 0o755);
    symlinkSync(
      join(PROJECT, 'resource.d', 'drbddisk'),
      node.path('/etc/ha.d/resource.d/drbddisk'),
    );
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === 'object' && address ? address.port : 0;
}

export async function unprivilegedDemo(show: Show): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-demo-'));
  const nodes = [new SmallNode(dir, 0), new SmallNode(dir, 1)] as const;
  const clean = async (): Promise<void> => {
    for (const node of nodes) await node.powerCut();
    rmSync(dir, { recursive: true, force: true });
  };
  const interrupt = (): void => void clean().finally(() => process.exit(130));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    return await play(show, nodes, dir);
  } catch (e) {
    show.end(`demo: failed: ${e instanceof Error ? e.message : String(e)}`);
    for (const node of nodes) {
      for (const log of ['drbdd.out', 'heartbeat.out', 'ledger.out', 'ha-log']) {
        const file = node.path(`/var/log/${log}`);
        if (existsSync(file))
          show.line(`${node.name} ${log}: ${readFileSync(file, 'utf8').slice(-1_500)}`);
      }
    }
    return 1;
  } finally {
    await clean();
  }
}

async function play(
  show: Show,
  nodes: readonly [SmallNode, SmallNode],
  dir: string,
): Promise<number> {
  const [alpha, beta] = nodes;
  show.step('Not root: both nodes on the loopback interface');
  show.line(
    'Real: replication, heartbeat, the commands, the configuration files (below a root each).',
  );
  show.line(
    'Left out: block device and mount (an NBD export and a ledger on bare blocks instead),',
  );
  show.line(
    'MariaDB, the service address (the client tries both nodes), cables. As root the demo has them all.',
  );
  const ports = {
    drbd: [await freePort(), await freePort()],
    ledger: [await freePort(), await freePort()],
    heartbeat: await freePort(),
  } as const;
  configure(nodes, ports);
  const type = async (node: SmallNode, ...argv: readonly string[]): Promise<string> => {
    show.command(node.name, argv.join(' '));
    return node.must(...argv);
  };
  const until = async (what: string, ready: () => boolean | Promise<boolean>): Promise<void> => {
    if (!(await waitUntil(ready, LIMIT_MS, 100))) throw new Error(`still not: ${what}`);
  };
  const start = async (node: SmallNode): Promise<void> => {
    show.command(node.name, 'drbdd &');
    node.start('drbdd');
    await until(`drbdd answers on ${node.name}`, async () => {
      return (await node.run('drbdsetup', 'status')).status === 0;
    });
    await type(node, 'drbdadm', 'up', RESOURCE);
  };
  const inSync = (node: SmallNode): Promise<void> =>
    until('both disks UpToDate', async () => {
      const dstate = (await node.run('drbdadm', 'dstate', RESOURCE)).stdout.trim();
      const cstate = (await node.run('drbdadm', 'cstate', RESOURCE)).stdout.trim();
      show.progress((await node.status()).progress || `${cstate} ${dstate}`);
      return dstate === 'UpToDate/UpToDate' && cstate === 'Connected';
    });
  const isPrimary = (node: SmallNode): Promise<boolean> =>
    node.run('drbdadm', 'role', RESOURCE).then((ran) => ran.stdout.startsWith('Primary/'));
  const atRest = async (node: SmallNode): Promise<boolean> =>
    /^(all|none|local|foreign)$/.test((await node.run('cl_status', 'rscstatus')).stdout.trim());

  show.step('Meta data, engines, initial sync');
  for (const node of nodes) await type(node, 'drbdadm', 'create-md', '--force', RESOURCE);
  for (const node of nodes) await start(node);
  await type(alpha, 'drbdadm', 'primary', '--force', RESOURCE);
  await inSync(alpha);
  await type(alpha, 'drbdadm', 'secondary', RESOURCE);

  show.step('Heartbeat makes its home node Primary');
  for (const node of nodes) await type(node, 'heartbeat');
  await until(`${alpha.name} is Primary`, () => isPrimary(alpha));

  show.step('A client commits one block after the other');
  const journal = join(dir, 'journal');
  const service = [
    '--kind',
    'ledger',
    '--host',
    '127.0.0.1,127.0.0.1',
    '--port',
    ports.ledger.join(','),
  ];
  const client = spawn(
    process.execPath,
    [
      ...[join(PROJECT, 'build', 'src', 'bin', 'twinbeat.js'), 'demo-client', ...service],
      ...['--journal', journal],
    ],
    { stdio: 'ignore', env: clientEnvironment() },
  );
  const count = (): number => (existsSync(journal) ? readJournal(journal).length : 0);
  const moreRows = async (): Promise<void> => {
    const goal = count() + ROWS_BETWEEN;
    await until('more rows acknowledged', () => {
      show.progress(`${count()} rows acknowledged`);
      return count() >= goal;
    });
  };
  try {
    await moreRows();
    for (const node of nodes) await until('heartbeat is at rest', () => atRest(node));

    show.step(`Planned: ${alpha.name} goes to standby`);
    const switchMs = wallMs();
    await type(alpha, 'hb_standby');
    await until(`${beta.name} is Primary`, () => isPrimary(beta));
    await moreRows();
    const pause = longestGap(readJournal(journal), switchMs);
    const switchoverMs = pause.toMs - pause.fromMs;
    show.line(`the client waited ${seconds(switchoverMs)} s`);
    for (const node of nodes) await until('heartbeat is at rest', () => atRest(node));

    show.step(`Everything on ${beta.name} gets SIGKILL`);
    const cutMs = wallMs();
    await beta.powerCut();
    await until(`${alpha.name} is Primary`, () => isPrimary(alpha));
    await moreRows();
    const failoverMs = longestGap(readJournal(journal), cutMs).toMs - cutMs;
    show.line(`the client waited ${seconds(failoverMs)} s`);

    show.step(`${beta.name} returns`);
    const { oosKiB } = await alpha.status();
    await start(beta);
    await inSync(alpha);
    await type(beta, 'heartbeat');
    show.line(`${oosKiB} of ${DISK_MIB * 1024} KiB were out of sync and have been sent`);

    show.step('The count');
    await moreRows();
    const ended = new Promise((done) => client.once('exit', done));
    client.kill('SIGTERM');
    await ended;
    const acknowledged = readJournal(journal);
    const store = await openStore('ledger', '127.0.0.1', ports.ledger[0], PATIENT_LIMITS);
    const lost = lostRows(acknowledged, await store.rows());
    store.close();
    show.end('');
    show.end(
      `demo: ${acknowledged.length} rows acknowledged, ${acknowledged.length - lost.length} found, ` +
        `${lost.length} lost; switchover ${seconds(switchoverMs)} s; ` +
        `failover ${seconds(failoverMs)} s (deadtime ${DEADTIME_S} s)`,
    );
    return lost.length === 0 ? 0 : 1;
  } finally {
    client.kill('SIGKILL');
  }
}

/** The client's: ours, without a root, so that it belongs to no node. */
function clientEnvironment(): NodeJS.ProcessEnv {
  const { TWINBEAT_ROOT: _root, ...env } = process.env;
  return env;
}
