/** What the soak tests share: arguments, the client's journal, and the comparison of both lower disks. */
import { cpSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Acknowledged,
  ENDLESS,
  JournalReader,
  lostRows,
  type Room,
  writeRoom,
} from '../../src/cli/demo-client.js';
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

/**
 * What the disk is asked to hold for one row. It is about 250 bytes long; as much again for half-empty pages, undo logs, and what is
 * removed but not purged.
 */
const ROW_BYTES = 512;

export interface Verdict {
  readonly lost: readonly number[]; // acknowledged, never removed, and not found
  readonly back: readonly number[]; // removed, and found again
}

/**
 * The committing client of a cluster and what it has written down. Its rows must not fill the disk, however fast the machine is and
 * however long a cycle lasts, so it is given room for half of what fits at each check, and the checks take rows away:
 *
 *     1 ........ removed | ........ found by one check | ........ not checked | slow ........ stop
 *
 * A row is removed when two checks have found it: it has been through a switch-over and a power cut. From then on it must not be
 * found. A row that a check does not find is said once and counted for ever.
 */
export class Committer {
  readonly #cluster: Cluster;
  readonly #journal: JournalReader;
  readonly #files: { readonly journal: string; readonly room: string };
  readonly #rows: Acknowledged[] = []; // not removed
  #client: Spawned | null = null;
  #roomRows = 0; // between two checks
  #room: Room = ENDLESS;
  #acknowledged = 0; // the last row; rows are numbered from 1 without a gap
  #checked = 0; // the last row of the last check
  #removable = 0; // the last row of the one before
  #removed = 0; // rows 1 to this one
  #lost = 0;

  constructor(cluster: Cluster) {
    const file = join(cluster.pair.dir, 'journal');
    this.#cluster = cluster;
    this.#files = { journal: file, room: `${file}.room` };
    this.#journal = new JournalReader(file);
  }

  /** The service runs on `active`. `roomRows` between two checks, when less is wanted than the disk allows. */
  async start(
    active: 0 | 1,
    answerMs?: number,
    roomRows = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const free = await this.#cluster.node(active).must(['stat', '-f', '-c', '%a %S', MOUNT_POINT]);
    const [blocks = 0, blockBytes = 0] = free.split(' ').map(Number);
    this.#roomRows = Math.min(roomRows, Math.floor((blocks * blockBytes) / ROW_BYTES / 2));
    this.#giveRoom();
    const { journal, room } = this.#files;
    this.#client = await this.#cluster.startClient(journal, answerMs, room);
    await this.more(1);
  }

  /** Rows acknowledged so far, with those that are removed. */
  get acknowledged(): number {
    this.#read();
    return this.#acknowledged;
  }

  /** Rows that any check did not find. */
  get lostRows(): number {
    return this.#lost;
  }

  /** More than half of the room is used: a check is due. */
  get isSlow(): boolean {
    return this.acknowledged >= this.#room.slow;
  }

  /** Until so many more rows are acknowledged. Those that are not removed, the newest last. */
  async more(count: number): Promise<readonly Acknowledged[]> {
    const goal = this.acknowledged + count;
    if (!(await waitUntil(() => this.acknowledged >= goal, LIMIT_MS, 25))) {
      const why = goal >= this.#room.stop ? ': its room is used up, no check made more' : '';
      throw new Error(`the client is stuck at row ${this.acknowledged + 1}${why}`);
    }
    return this.#rows;
  }

  async stop(): Promise<void> {
    this.#client?.kill('SIGTERM');
    await this.#client?.done;
  }

  /** Whether every row acknowledged until now is there, and none that was removed. */
  async check(): Promise<Verdict> {
    const last = this.acknowledged;
    const known = this.#rows.slice();
    const found = await this.#cluster.rows();
    const lost = lostRows(known, found);
    const back = found.filter((row) => row <= this.#removed);
    this.#lost += lost.length;
    this.#forget(new Set(lost));
    this.#removable = this.#checked;
    this.#checked = last;
    return { lost, back };
  }

  /** After a check: rows that two checks have found are removed, and the client may go further. */
  async makeRoom(): Promise<void> {
    if (this.#removable > this.#removed) {
      await this.#cluster.removeRows(this.#removed + 1, this.#removable);
      this.#removed = this.#removable;
      const kept = this.#rows.findIndex(({ row }) => row > this.#removed);
      this.#rows.splice(0, kept < 0 ? this.#rows.length : kept);
    }
    this.#giveRoom();
  }

  /** At most two times #roomRows are in the table: those since the last check but one. */
  #giveRoom(): void {
    const stop = this.#checked + this.#roomRows;
    this.#room = { slow: stop - Math.floor(this.#roomRows / 2), stop };
    writeRoom(this.#files.room, this.#room);
  }

  #forget(lost: ReadonlySet<number>): void {
    if (lost.size === 0) return;
    const kept = this.#rows.filter(({ row }) => !lost.has(row));
    this.#rows.splice(0, this.#rows.length, ...kept);
  }

  #read(): void {
    try {
      for (const row of this.#journal.more()) {
        if (row.row !== this.#acknowledged + 1)
          throw new Error(`journal: row ${row.row} is no next`);
        this.#acknowledged = row.row;
        this.#rows.push(row);
      }
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e; // its first moment
    }
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
