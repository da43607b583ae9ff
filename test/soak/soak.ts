/**
 * make soak CYCLES=20: switch-over and power cut by turns, under a client that commits without a pause. After each: no acknowledged row
 * lost, InnoDB started without complaint, and, once in sync, both lower disks identical over the data area.
 *
 * Prints a table and ends with exit status 1 when anything was wrong.
 */
import { join } from 'node:path';
import {
  type Acknowledged,
  longestGap,
  lostRows,
  readJournal,
  wallMs,
} from '../../src/cli/demo-client.js';
import { seconds } from '../../src/cli/demo-show.js';
import { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, MOUNT_POINT } from '../../src/cli/pair-config.js';
import { waitUntil } from '../../src/cli/pair-run.js';

const ROWS_BETWEEN = 100;
const LIMIT_MS = 180_000;

function argument(name: string, fallback: number): number {
  const at = process.argv.indexOf(`--${name}`);
  const value = at < 0 ? fallback : Number(process.argv[at + 1]);
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} wants a number`);
  return value;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** sha256 of the replicated area of a node's lower disk (not its meta data), read past the page cache. */
async function dataDigest(cluster: Cluster, index: 0 | 1, sizeBytes: number): Promise<string> {
  const blocks = sizeBytes / 4096;
  const read = `dd if=/dev/sdb1 bs=4096 count=${blocks} iflag=direct,fullblock status=none | sha256sum`;
  return (await cluster.node(index).must(['sh', '-c', read])).trim();
}

/** What InnoDB complains of; a recovery is no complaint. */
async function innodbComplaints(cluster: Cluster, index: 0 | 1): Promise<string[]> {
  if (cluster.kind !== 'mysql') return [];
  const log = await cluster.node(index).exec(['cat', '/run/mysqld/mysqld.err']);
  return log.stdout.split('\n').filter((line) => /\[ERROR\]|corrupt/i.test(line));
}

class Soak {
  readonly #cluster: Cluster;
  readonly #journal: string;
  #active: 0 | 1 = 0;
  failures = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#journal = join(cluster.pair.dir, 'journal');
  }

  get journal(): string {
    return this.#journal;
  }

  rows(): Acknowledged[] {
    return readJournal(this.#journal);
  }

  async moreRows(): Promise<void> {
    const goal = this.rows().length + ROWS_BETWEEN;
    if (!(await waitUntil(() => this.rows().length >= goal, LIMIT_MS, 50))) {
      throw new Error(`the client is stuck at row ${this.rows().length + 1}`);
    }
  }

  async cycle(n: number): Promise<void> {
    const cluster = this.#cluster;
    const from = this.#active;
    const to = from === 0 ? 1 : 0;
    const planned = n % 2 === 1;
    const startMs = wallMs();
    if (planned) await cluster.type(from, 'hb_standby');
    else await cluster.node(from).powerCut();
    await cluster.waitService(to);
    await this.moreRows();
    this.#active = to;
    const gap = longestGap(this.rows(), startMs);
    const pauseMs = planned ? gap.toMs - gap.fromMs : gap.toMs - startMs;
    const changedKiB = planned ? 0 : (await cluster.status(to)).oosKiB;
    if (!planned) await cluster.boot(from);
    await cluster.waitInSync(to);
    await cluster.waitAtRest();

    const acknowledged = this.rows();
    const lost = lostRows(acknowledged, await cluster.rows());
    const complaints = await innodbComplaints(cluster, to);
    const same = await this.#identical(to);
    const good = lost.length === 0 && complaints.length === 0 && same;
    if (!good) this.failures++;
    say(
      [
        String(n).padStart(4),
        (planned ? 'switch-over' : 'power cut').padEnd(11),
        `${cluster.node(from).name} -> ${cluster.node(to).name}`.padEnd(14),
        seconds(pauseMs).padStart(7),
        String(changedKiB).padStart(9),
        String(acknowledged.length).padStart(8),
        String(lost.length).padStart(5),
        (complaints.length === 0 ? 'clean' : 'ERRORS').padEnd(7),
        same ? 'identical' : 'DIFFERENT',
      ].join('  '),
    );
    for (const line of complaints) say(`      ${line}`);
    if (lost.length > 0) say(`      lost: ${lost.slice(0, 20).join(' ')}`);
  }

  /** With the file system frozen nothing is on its way; both disks then have to be the same. */
  async #identical(active: 0 | 1): Promise<boolean> {
    const cluster = this.#cluster;
    const size = Number(await cluster.node(active).must(['blockdev', '--getsize64', DEVICE]));
    await cluster.node(active).must(['fsfreeze', '--freeze', MOUNT_POINT]);
    try {
      const digests = [await dataDigest(cluster, 0, size), await dataDigest(cluster, 1, size)];
      return digests[0] === digests[1];
    } finally {
      await cluster.node(active).must(['fsfreeze', '--unfreeze', MOUNT_POINT]);
    }
  }
}

const cycles = argument('cycles', 20);
const cluster = await Cluster.create({ diskMiB: argument('size', 256) });
process.once('SIGINT', () => void cluster.destroy().finally(() => process.exit(130)));
try {
  await cluster.setUp();
  const soak = new Soak(cluster);
  const client = await cluster.startClient(soak.journal);
  await waitUntil(() => {
    try {
      return soak.rows().length > 0;
    } catch {
      return false; // no journal yet
    }
  }, LIMIT_MS);
  await soak.moreRows();
  await cluster.waitAtRest();
  say('   #  what         from -> to      pause s  dirty KiB      rows   lost  InnoDB   disks');
  for (let n = 1; n <= cycles; n++) await soak.cycle(n);
  client.kill('SIGTERM');
  await client.done;
  const acknowledged = soak.rows();
  const lost = lostRows(acknowledged, await cluster.rows());
  say(
    `soak: ${cycles} cycles, ${acknowledged.length} rows acknowledged, ${lost.length} lost, ${soak.failures} failures`,
  );
  process.exitCode = soak.failures === 0 && lost.length === 0 ? 0 : 1;
} catch (e) {
  say(`soak: failed: ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`);
  process.exitCode = 1;
} finally {
  await cluster.destroy();
}
