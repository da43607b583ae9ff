/**
 * A pair with a service on it: drbd, a file system, MariaDB (or the ledger), a service address, heartbeat. Every step is what an
 * administrator does, by the same commands; the demo shows them, the soak test repeats them.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ledgerScript } from './demo-ledger-script.js';
import { CLIENT_LIMITS, CREATE_TABLE, type StoreKind } from './demo-store.js';
import { Pair, PROJECT } from './pair.js';
import { SERVICE_ADDRESS } from './pair-cable.js';
import {
  type ClusterTiming,
  DATADIR,
  DEMO_TIMING,
  DEVICE,
  LEDGER_FILE,
  MOUNT_POINT,
  MYSQL_SOCKET,
  pairFiles,
  RESOURCE,
  SERVICE_PORT,
} from './pair-config.js';
import type { Spawned } from './pair-namespace.js';
import type { PairNode } from './pair-node.js';
import { CommandError, type Ran, waitUntil } from './pair-run.js';

/** What is said of the steps: the demo's face. */
export interface Narrator {
  command(node: string, text: string): void;
  line(text: string): void;
  progress(text: string): void;
}
export const SILENT: Narrator = {
  command: () => undefined,
  line: () => undefined,
  progress: () => undefined,
};

export interface ClusterOptions {
  readonly kind: StoreKind;
  readonly diskMiB: number;
  readonly timing: ClusterTiming;
  readonly narrator: Narrator;
}

/** For what only looks: a status file whose daemon is gone answers when the next one is there. */
const QUICK = { timeoutMs: 5_000 };
const STEP_LIMIT_MS = 120_000; // nothing here takes that long on a sound machine
export const PROC_DRBD = '/run/twinbeat/proc/drbd';

export function haveMariadb(): boolean {
  const dirs = ['/usr/sbin', '/usr/bin', '/usr/local/sbin', '/usr/local/bin', '/usr/libexec'];
  return ['mariadbd', 'mariadb-install-db', 'mariadb'].every((name) =>
    dirs.some((dir) => existsSync(join(dir, name))),
  );
}

export class Cluster {
  readonly pair: Pair;
  readonly kind: StoreKind;
  readonly timing: ClusterTiming;
  readonly #tell: Narrator;

  private constructor(pair: Pair, options: ClusterOptions) {
    this.pair = pair;
    this.kind = options.kind;
    this.timing = options.timing;
    this.#tell = options.narrator;
  }

  /** The nodes with their configuration; nothing runs yet. */
  static async create(options: Partial<ClusterOptions> = {}): Promise<Cluster> {
    const whole: ClusterOptions = {
      kind: haveMariadb() ? 'mysql' : 'ledger',
      diskMiB: 512,
      timing: DEMO_TIMING,
      narrator: SILENT,
      ...options,
    };
    const names = ['alpha', 'beta'] as const;
    const service = whole.kind === 'mysql' ? `mysql::${DATADIR}` : 'ledger';
    const pair = await Pair.create({
      names,
      diskMiB: whole.diskMiB,
      files: pairFiles(names, whole.timing, service),
    });
    const cluster = new Cluster(pair, whole);
    try {
      for (const node of pair.nodes) await cluster.#installScripts(node);
    } catch (e) {
      await pair.destroy();
      throw e;
    }
    return cluster;
  }

  async #installScripts(node: PairNode): Promise<void> {
    const dir = join(PROJECT, 'resource.d');
    const links = readdirSync(dir).map(
      (name) => `ln -sf ${dir}/${name} /etc/ha.d/resource.d/${name}`,
    );
    await node.must(['sh', '-c', ['mkdir -p /etc/ha.d/resource.d', ...links].join(' && ')]);
    if (this.kind !== 'ledger') return;
    const text = ledgerScript('', `--file ${LEDGER_FILE} --port ${SERVICE_PORT}`);
    await node.writeFile('/etc/ha.d/resource.d/ledger', text, 0o755);
  }

  node(index: 0 | 1): PairNode {
    return this.pair.node(index);
  }

  /** Type a command on a node: shown, run, has to succeed. */
  async type(index: 0 | 1, ...argv: readonly string[]): Promise<string> {
    const node = this.pair.node(index);
    this.#tell.command(node.name, argv.join(' '));
    return node.must(argv, { timeoutMs: STEP_LIMIT_MS });
  }

  async ask(index: 0 | 1, ...argv: readonly string[]): Promise<Ran> {
    return this.pair.node(index).exec(argv, QUICK);
  }

  /** drbdd with its angel, and the resource up. */
  async startDrbd(index: 0 | 1): Promise<Spawned> {
    const node = this.pair.node(index);
    this.#tell.command(node.name, 'drbdd --keepalive &');
    const daemon = await node.spawn(['drbdd', '--keepalive'], 'drbdd');
    let ended: number | null = null;
    void daemon.done.then((status) => {
      ended = status;
    });
    await this.#until(`drbdd answers on ${node.name}`, async () => {
      if (ended !== null) {
        const log = await node.must(['tail', '-n', '20', '/var/log/drbdd.out']);
        throw new Error(`drbdd on ${node.name} ended with ${ended}:\n${log}`);
      }
      return (await this.ask(index, 'drbdsetup', 'status')).status === 0;
    });
    return daemon;
  }

  async createMetaData(index: 0 | 1): Promise<void> {
    await this.type(index, 'drbdadm', 'create-md', '--force', RESOURCE);
  }

  async up(index: 0 | 1): Promise<void> {
    await this.type(index, 'drbdadm', 'up', RESOURCE);
  }

  async startHeartbeat(index: 0 | 1): Promise<void> {
    await this.type(index, 'heartbeat');
  }

  /** A node that was switched on comes into service as its init scripts would bring it. */
  async boot(index: 0 | 1): Promise<void> {
    await this.pair.powerOn(index);
    await this.startDrbd(index);
    await this.up(index);
    await this.startHeartbeat(index);
  }

  async procDrbd(index: 0 | 1): Promise<string> {
    return this.pair.node(index).must(['cat', PROC_DRBD], QUICK);
  }

  /** `cs`, `ro`, `ds` and counters of minor 0 in /proc/drbd, and the line with the progress bar when there is one. */
  async status(index: 0 | 1): Promise<DrbdStatus> {
    return parseProcDrbd(await this.procDrbd(index));
  }

  /**
   * Until both disks are UpToDate and nothing is left to send; tells the progress as /proc/drbd shows it. A large disk on a slow
   * machine takes long: given up is only what gets no further.
   */
  async waitInSync(index: 0 | 1): Promise<void> {
    let leastKiB = Number.POSITIVE_INFINITY;
    await this.#until('both disks are UpToDate', async (advanced) => {
      const status = await this.status(index);
      this.#tell.progress(status.progress || `${status.cs} ${status.ds}`);
      // 0 is also what a node says that has no peer to count for yet.
      if (status.oosKiB > 0 && status.oosKiB < leastKiB) {
        leastKiB = status.oosKiB;
        advanced();
      }
      return status.cs === 'Connected' && status.ds === 'UpToDate/UpToDate' && status.oosKiB === 0;
    });
  }

  /** File system and data on the device, which is Primary on `index` and mounted there by hand; left Secondary. */
  async makeData(index: 0 | 1): Promise<void> {
    await this.type(index, 'mkfs.ext4', '-q', DEVICE);
    await this.type(index, 'mkdir', '-p', MOUNT_POINT);
    await this.type(index, 'mount', DEVICE, MOUNT_POINT);
    if (this.kind === 'mysql') {
      // Its temporary tables are named by pid, which other nodes on this machine may have as well.
      const temporary = `${MOUNT_POINT}/tmp`;
      await this.type(index, 'install', '-d', '-o', 'mysql', temporary);
      await this.type(
        index,
        ...['mariadb-install-db', '--user=mysql', `--datadir=${DATADIR}`, '--skip-test-db'],
        `--tmpdir=${temporary}`,
        ...['--auth-root-authentication-method=normal', '--innodb-log-file-size=16M'],
      );
      const script = '/etc/ha.d/resource.d/mysql';
      await this.type(index, script, DATADIR, 'start');
      this.#tell.command(this.node(index).name, `mariadb <create-table.sql`);
      await this.node(index).must(['mariadb', '-u', 'root', '-S', MYSQL_SOCKET], {
        input: CREATE_TABLE,
      });
      await this.type(index, script, DATADIR, 'stop');
    } else {
      await this.type(index, 'touch', LEDGER_FILE);
    }
    await this.type(index, 'umount', MOUNT_POINT);
    await this.type(index, 'drbdadm', 'secondary', RESOURCE);
  }

  /** From empty disks to a running service on node 0. */
  async setUp(): Promise<void> {
    for (const i of [0, 1] as const) await this.createMetaData(i);
    for (const i of [0, 1] as const) {
      await this.startDrbd(i);
      await this.up(i);
    }
    await this.type(0, 'drbdadm', 'primary', '--force', RESOURCE);
    await this.waitInSync(0);
    await this.makeData(0);
    for (const i of [0, 1] as const) await this.startHeartbeat(i);
    await this.waitService(0);
  }

  /** Until the whole group runs on `index` and both heartbeats are at rest. */
  async waitService(index: 0 | 1): Promise<void> {
    await this.#until(`the service runs on ${this.node(index).name}`, async () => {
      this.#tell.progress('waiting for heartbeat and the service');
      return this.hasService(index);
    });
  }

  /** The last resource of the group, its address, is here. */
  async hasService(index: 0 | 1): Promise<boolean> {
    const shown = await this.ask(index, 'ip', '-o', 'addr', 'show', 'to', SERVICE_ADDRESS);
    return shown.stdout.trim() !== '';
  }

  /** Until every node that is on says that no resource is changing hands. */
  async waitAtRest(): Promise<void> {
    await this.#until('heartbeat is at rest', async () => {
      this.#tell.progress('waiting until heartbeat is at rest');
      for (const node of this.pair.nodes.filter((n) => n.isOn)) {
        const peer = this.pair.node(node.index === 0 ? 1 : 0);
        const { stdout } = await this.ask(node.index, 'cl_status', 'rscstatus');
        if (!/^(all|none|local|foreign)$/.test(stdout.trim())) return false;
        if (!peer.isOn) continue;
        const active = await this.ask(node.index, 'cl_status', 'nodestatus', peer.name);
        if (active.stdout.trim() !== 'active') return false;
      }
      return true;
    });
  }

  /** All rows of the service, asked through its address as the client does, from beside the nodes. */
  async rows(): Promise<number[]> {
    const text = await this.#atService('demo-rows');
    return text.split('\n').filter(Boolean).map(Number);
  }

  /** Rows `from` to `to` are taken away, for good. */
  async removeRows(from: number, to: number): Promise<void> {
    await this.#atService('demo-remove', '--from', `${from}`, '--to', `${to}`);
  }

  async #atService(part: string, ...args: readonly string[]): Promise<string> {
    const ran = await this.pair.cable.exec([...this.#part(part), ...args], {
      timeoutMs: STEP_LIMIT_MS,
    });
    if (ran.status !== 0) throw new CommandError([part, ...args], ran);
    return ran.stdout;
  }

  /** A program of the demo that talks to the service address. */
  #part(name: string): string[] {
    const program = join(PROJECT, 'build', 'src', 'bin', 'twinbeat.js');
    const service = ['--host', SERVICE_ADDRESS, '--port', `${SERVICE_PORT}`];
    return [process.execPath, program, name, '--kind', this.kind, ...service];
  }

  /** The client, committing through the service address from beside the nodes; as far as the file `room` says, if any. */
  startClient(
    journal: string,
    answerMs = CLIENT_LIMITS.answerMs,
    room: string | null = null,
  ): Promise<Spawned> {
    const args = ['--journal', journal, '--patience', `${answerMs}`];
    if (room !== null) args.push('--room', room);
    const out = join(this.pair.dir, 'client.out');
    return this.pair.cable.spawn([...this.#part('demo-client'), ...args], out);
  }

  async #until(what: string, ready: (advanced: () => void) => Promise<boolean>): Promise<void> {
    if (await waitUntil(ready, STEP_LIMIT_MS, 100)) return;
    const states: string[] = [];
    for (const node of this.pair.nodes) {
      if (!node.isOn) continue;
      const proc = (await node.exec(['cat', PROC_DRBD], QUICK)).stdout;
      const log = (await node.exec(['tail', '-n', '15', '/var/log/ha-log'], QUICK)).stdout;
      const drbdd = (await node.exec(['tail', '-n', '25', '/var/log/drbdd.out'], QUICK)).stdout;
      states.push(`--- ${node.name}\n${proc}${drbdd}${log}`);
    }
    throw new Error(`for ${STEP_LIMIT_MS / 1000} s still not: ${what}\n${states.join('')}`);
  }

  destroy(): Promise<void> {
    return this.pair.destroy();
  }
}

export interface DrbdStatus {
  readonly cs: string;
  readonly ro: string;
  readonly ds: string;
  readonly oosKiB: number;
  readonly sentKiB: number;
  readonly progress: string; // '' when nothing is being synchronised
}

/** Minor 0 of the 8.4 format (docs: proc-drbd). */
export function parseProcDrbd(text: string): DrbdStatus {
  const field = (name: string): string =>
    new RegExp(`^ *0: .*?\\b${name}:(\\S+)`, 'm').exec(text)?.[1] ?? '';
  const counter = (name: string): number =>
    Number(new RegExp(`\\b${name}:(\\d+)`).exec(text.slice(text.indexOf(' 0: cs:')))?.[1] ?? 0);
  return {
    cs: field('cs'),
    ro: field('ro'),
    ds: field('ds'),
    oosKiB: counter('oos'),
    sentKiB: counter('ns'),
    progress: /^\s*(\[[=>.]+\].*)$/m.exec(text)?.[1] ?? '',
  };
}
