/** What the soak tests share: arguments, the client's journal, and the comparison of both lower disks. */
import { cpSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type Acknowledged, lostRows, readJournal } from '../../src/cli/demo-client.js';
import { PROJECT } from '../../src/cli/pair.js';
import type { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, MOUNT_POINT } from '../../src/cli/pair-config.js';
import type { Spawned } from '../../src/cli/pair-namespace.js';
import type { PairNode } from '../../src/cli/pair-node.js';
import { childrenOf, waitUntil } from '../../src/cli/pair-run.js';

export const LIMIT_MS = 180_000;

export function argument(name: string, fallback: number): number {
  const at = process.argv.indexOf(`--${name}`);
  const value = at < 0 ? fallback : Number(process.argv[at + 1]);
  if (!Number.isInteger(value) || value < 0) throw new Error(`--${name} wants a number`);
  return value;
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The committing client of a cluster and what it has written down. */
export class Committer {
  readonly #cluster: Cluster;
  readonly #journal: string;
  #client: Spawned | null = null;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#journal = join(cluster.pair.dir, 'journal');
  }

  async start(answerMs?: number): Promise<void> {
    this.#client = await this.#cluster.startClient(this.#journal, answerMs);
    await this.more(1);
  }

  rows(): Acknowledged[] {
    try {
      return readJournal(this.#journal);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') return []; // its first moment
      throw e;
    }
  }

  /** Until so many more rows are acknowledged. */
  async more(count: number): Promise<Acknowledged[]> {
    const goal = this.rows().length + count;
    if (!(await waitUntil(() => this.rows().length >= goal, LIMIT_MS, 25))) {
      throw new Error(`the client is stuck at row ${this.rows().length + 1}`);
    }
    return this.rows();
  }

  async stop(): Promise<void> {
    this.#client?.kill('SIGTERM');
    await this.#client?.done;
  }

  async lost(): Promise<number[]> {
    const acknowledged = this.rows();
    return lostRows(acknowledged, await this.#cluster.rows());
  }
}

/**
 * Whether both lower disks are the same over the replicated area (not the meta data behind it), read past the page cache, with the
 * file system frozen: nothing is on its way then.
 */
export async function identicalDisks(cluster: Cluster, active: 0 | 1): Promise<boolean> {
  const size = Number(await cluster.node(active).must(['blockdev', '--getsize64', DEVICE]));
  const read = `dd if=/dev/sdb1 bs=4096 count=${size / 4096} iflag=direct,fullblock status=none | sha256sum`;
  await cluster.node(active).must(['fsfreeze', '--freeze', MOUNT_POINT]);
  try {
    const [a, b] = await Promise.all(cluster.pair.nodes.map((n) => n.must(['sh', '-c', read])));
    return a === b;
  } finally {
    await cluster.node(active).must(['fsfreeze', '--unfreeze', MOUNT_POINT]);
  }
}

/** What InnoDB complains of; a recovery is no complaint. */
export async function innodbComplaints(cluster: Cluster, index: 0 | 1): Promise<string[]> {
  if (cluster.kind !== 'mysql') return [];
  const log = await cluster.node(index).exec(['cat', '/run/mysqld/mysqld.err']);
  return log.stdout.split('\n').filter((line) => /\[ERROR\]|corrupt/i.test(line));
}

/** Logs and recordings as they are now, where a failure can be looked at later. */
export function keepTraces(cluster: Cluster, n: number): string {
  const to = join(PROJECT, 'build', 'soak-failed', `${process.pid}-${n}`);
  for (const node of cluster.pair.nodes) {
    for (const from of ['log', 'lib/twinbeat/flight']) {
      const filter = (path: string): boolean => !lstatSync(path).isCharacterDevice();
      cpSync(join(node.dir, from), join(to, node.name, from), { recursive: true, filter });
    }
  }
  return to;
}

/** min / median / max. */
export function spread(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (i: number): string => (sorted[i] ?? Number.NaN).toFixed(0);
  return `${at(0)} / ${at(Math.floor(sorted.length / 2))} / ${at(sorted.length - 1)} ms`;
}

/** The process of drbdd itself on a node, as the machine numbers it: the child of the angel. */
export function engineOf(node: PairNode): number {
  const first = node.first;
  if (!first) throw new Error(`${node.name} is switched off`);
  // Daemons that were started by nsenter are no children of the node's first process, but share its namespaces.
  const home = readlinkSync(`/proc/${first.pid}/ns/mnt`);
  for (const name of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    try {
      if (readlinkSync(`/proc/${name}/ns/mnt`) !== home) continue;
      if (readFileSync(`/proc/${name}/comm`, 'utf8').trim() !== 'angel') continue;
      if (!readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('drbdd')) continue;
      const [engine] = childrenOf(Number(name));
      if (engine !== undefined) return engine;
    } catch {
      // The process ended while it was looked at.
    }
  }
  throw new Error(`there is no drbdd with an angel on ${node.name}`);
}
