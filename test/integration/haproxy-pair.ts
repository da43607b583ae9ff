/**
 * The pair with MariaDB behind a real HAProxy that stands on the LAN beside the client: `lb-switch` in haresources tells it who serves, and
 * it asks `twinbeat agent` of both nodes. A client commits through it all the time, and an observer asks both servers past it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Acknowledged,
  longestGap,
  lostRows,
  readJournal,
  wallMs,
  writeRoom,
} from '../../src/cli/demo-client.js';
import { PROJECT } from '../../src/cli/pair.js';
import { CLIENT_ADDRESS, nodeAddress } from '../../src/cli/pair-cable.js';
import { Cluster } from '../../src/cli/pair-cluster.js';
import { DATADIR, haresources } from '../../src/cli/pair-config.js';
import type { Spawned } from '../../src/cli/pair-namespace.js';
import { until } from '../support/until.js';

export const WANTS = [
  ...['root', 'loop', 'netns', 'fuse', 'ip', 'nsenter', 'losetup', 'mkfs.ext4'],
  ...['mariadbd', 'mariadb-install-db', 'mariadb', 'haproxy', 'perl'],
];
const RUNTIME_PORT = 9999;
const AGENT_PORT = 9998;
const MOST_CONNECTIONS = 20;
const TWINBEAT_JS = join(PROJECT, 'build', 'src', 'bin', 'twinbeat.js');
const OBSERVER = join(PROJECT, 'build', 'test', 'integration', 'observe-servers.js');
const HOLDER = join(PROJECT, 'build', 'test', 'integration', 'hold-connections.js');

const INI = '[health]\ninterval = 1\nsteps = 3\ntimeout = 3\nrestarts-per-hour = 20\n';
const MYSQL =
  `MYSQL_OPTIONS='--bind-address=0.0.0.0 --skip-name-resolve --innodb-log-file-size=16M --innodb-buffer-pool-size=64M` +
  ` --max-connections=${MOST_CONNECTIONS}'\n`;

function haproxyConf(names: readonly string[]): string {
  const server = (i: 0 | 1): string =>
    `  server ${names[i]} ${nodeAddress('lan', i)}:3306 check inter 500 fall 2 rise 1 ` +
    `agent-check agent-port ${AGENT_PORT} agent-inter 500 on-marked-down shutdown-sessions\n`;
  return `global
  stats socket ipv4@${CLIENT_ADDRESS}:${RUNTIME_PORT} level admin
defaults
  mode tcp
  timeout client 60s
  timeout server 60s
  timeout connect 1s
frontend front
  bind ${CLIENT_ADDRESS}:3306
  default_backend db
backend db
${server(0)}${server(1)}`;
}

export interface Outage {
  readonly what: string;
  readonly ms: number; // without an acknowledged row, as the client saw it
}

export class HaproxyPair {
  readonly cluster: Cluster;
  readonly #spawned: Spawned[] = [];
  readonly #journal: string;
  readonly #room: string;
  readonly #seen: string;
  #client: Spawned | null = null;
  readonly outages: Outage[] = [];

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.#journal = join(cluster.pair.dir, 'journal');
    this.#room = join(cluster.pair.dir, 'room');
    this.#pace(0);
    this.#seen = join(cluster.pair.dir, 'seen');
  }

  static async create(): Promise<HaproxyPair> {
    const cluster = await Cluster.create({ kind: 'mysql', diskMiB: 384 });
    const pair = new HaproxyPair(cluster);
    try {
      await pair.#setUp();
    } catch (e) {
      await cluster.destroy();
      throw e;
    }
    return pair;
  }

  async #setUp(): Promise<void> {
    const { cluster } = this;
    const { nodes, cable, dir } = cluster.pair;
    const names = nodes.map((node) => node.name);
    const line = haresources(names[0] ?? '', `mysql::${DATADIR}`);
    const told = `lb-switch::${CLIENT_ADDRESS}:${RUNTIME_PORT}::db`;
    for (const node of nodes) {
      await node.writeFile('/etc/ha.d/haresources', line.replace(' ', ` ${told} `));
      await node.writeFile('/etc/twinbeat.ini', INI);
      await node.writeFile('/etc/twinbeat/mysql', MYSQL);
    }
    const conf = join(dir, 'haproxy.cfg');
    writeFileSync(conf, haproxyConf(names));
    this.#spawned.push(await cable.spawn(['haproxy', '-db', '-f', conf], join(dir, 'haproxy.out')));
    for (const i of [0, 1] as const) await this.startAgent(i);
    await cluster.setUp();
    const servers = [nodeAddress('lan', 0), nodeAddress('lan', 1)];
    this.#spawned.push(await cable.spawn([process.execPath, OBSERVER, ...servers], this.#seen));
    this.#client = await cable.spawn(
      [
        ...[
          process.execPath,
          TWINBEAT_JS,
          'demo-client',
          '--kind',
          'mysql',
          '--journal',
          this.#journal,
        ],
        ...['--host', CLIENT_ADDRESS, '--port', '3306', '--room', this.#room],
      ],
      join(dir, 'client.out'),
    );
    writeFileSync(this.#journal, '', { flag: 'a' });
    await this.moreRows();
  }

  async startAgent(index: 0 | 1): Promise<void> {
    const argv = ['twinbeat', 'agent', '--agent', `0.0.0.0:${AGENT_PORT}`];
    await this.cluster.node(index).spawn(argv, 'agent');
  }

  /** Up to that row as fast as it goes, then some fifty a second: however fast the machine is, the disk is not filled by rows. */
  #pace(row: number): void {
    writeRoom(this.#room, { slow: row, stop: Number.POSITIVE_INFINITY });
  }

  /** So many rows that a full disk is felt: the server has some pages in store. */
  hurry(rows: number): void {
    this.#pace(this.rows.length + rows);
  }

  get rows(): Acknowledged[] {
    return readJournal(this.#journal);
  }

  async moreRows(count = 50): Promise<void> {
    const goal = this.rows.length + count;
    await until(
      () => this.rows.length >= goal,
      () => `${count} more rows\n${this.#tail('client.out')}${this.#tail('haproxy.out')}`,
      50,
      120_000,
    );
  }

  #tail(name: string): string {
    return readFileSync(join(this.cluster.pair.dir, name), 'utf8').slice(-2000);
  }

  /** What `trouble` costs the client. It is over when rows are acknowledged again. */
  async outage(what: string, trouble: () => Promise<void>): Promise<void> {
    await this.moreRows();
    const fromMs = wallMs();
    await trouble();
    await this.moreRows();
    const { fromMs: lastMs, toMs } = longestGap(this.rows, fromMs);
    this.outages.push({ what, ms: Math.round(toMs - lastMs) });
  }

  /** No row has been acknowledged for so long. */
  async waitSilent(ms: number): Promise<void> {
    let last = this.rows.length;
    let sinceMs = wallMs();
    await until(
      () => {
        const now = this.rows.length;
        if (now !== last) sinceMs = wallMs();
        last = now;
        return wallMs() - sinceMs >= ms;
      },
      `${ms} ms without a row`,
      20,
      120_000,
    );
  }

  /** mysqld of a node, as the node numbers it. */
  async mysqld(index: 0 | 1): Promise<string> {
    return (await this.cluster.node(index).must(['pidof', 'mariadbd'])).trim();
  }

  async signal(index: 0 | 1, signal: string): Promise<string> {
    const pid = await this.mysqld(index);
    await this.cluster.node(index).must(['kill', `-${signal}`, pid]);
    return pid;
  }

  /** Until another mysqld serves there. */
  async replaced(index: 0 | 1, pid: string): Promise<void> {
    await until(
      async () => {
        const { stdout } = await this.cluster.ask(index, 'pidof', 'mariadbd');
        return stdout.trim() !== '' && stdout.trim() !== pid;
      },
      'another mysqld',
      100,
      120_000,
    );
  }

  /** Until `twinbeat status` there has the words. */
  async status(index: 0 | 1, words: RegExp): Promise<void> {
    let shown = '';
    await until(
      async () => {
        shown = (await this.cluster.ask(index, 'twinbeat', 'status')).stdout;
        return words.test(shown);
      },
      () => `${words}\n${shown}`,
      100,
      120_000,
    );
  }

  /** Every connection that a server gives, until it is ended. */
  async holdConnections(index: 0 | 1): Promise<Spawned> {
    const { cable, dir } = this.cluster.pair;
    const argv = [process.execPath, HOLDER, nodeAddress('lan', index)];
    const holder = await cable.spawn(argv, join(dir, 'holder.out'));
    this.#spawned.push(holder);
    return holder;
  }

  /** One command to HAProxy's runtime API; what it says. */
  async balancer(command: string): Promise<string> {
    const ask = join(PROJECT, 'resource.d', '.ask');
    const ran = await this.cluster.pair.cable.exec(
      ['perl', ask, `${CLIENT_ADDRESS}:${RUNTIME_PORT}`, '5'],
      { input: `${command}\n` },
    );
    return ran.stdout;
  }

  /** srv_admin_state of a server: 0 ready, 1 maint. */
  async adminState(name: string): Promise<string | undefined> {
    const lines = (await this.balancer('show servers state db')).split('\n');
    return lines.find((line) => line.includes(` ${name} `))?.split(' ')[6];
  }

  /** Servers in the order in which they were seen to greet, each as long as no other was. */
  seen(): string[] {
    const turns: string[] = [];
    for (const line of readFileSync(this.#seen, 'utf8').split('\n').slice(0, -1)) {
      const [, host = ''] = line.split(' ');
      if (turns.at(-1) !== host) turns.push(host);
    }
    return turns;
  }

  /** The client ends. What it was promised and is not there. */
  async lost(): Promise<{ readonly acknowledged: number; readonly lost: readonly number[] }> {
    this.#client?.kill('SIGTERM');
    await this.#client?.done;
    this.#client = null;
    return { acknowledged: this.rows.length, lost: lostRows(this.rows, await this.cluster.rows()) };
  }

  async destroy(): Promise<void> {
    for (const each of this.#spawned) each.kill('SIGKILL');
    this.#client?.kill('SIGKILL');
    await this.cluster.destroy();
  }
}
