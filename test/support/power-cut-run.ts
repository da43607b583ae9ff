/**
 * Power cuts of a pair under a block-level writer, and what must hold after each: the node that goes on has every acknowledged block and
 * no torn one, and once the other is back and resynchronized both lower disks are the same. The writer's journal lies outside
 * of the nodes, so what was acknowledged is known even when the node died in the same moment.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROJECT } from '../../src/cli/pair.js';
import type { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import type { Spawned } from '../../src/cli/pair-namespace.js';
import { bootDrbd, deviceBytes, diskPair, sameDisks, until, waitAlone } from './disk-pair.js';

const WRITER = join(PROJECT, 'build', 'test', 'support', 'block-writer.js');
/** Numbers of one writer's writes: its run times this, and up. */
const NUMBERS_PER_RUN = 1_000_000;

export type Cut =
  | 'primary' // cables and processes of the Primary in the same moment; the Secondary takes over
  | 'primary-engine' // drbdd of the Primary first, its connection ends with a reset; then the node
  | 'secondary' // the Primary goes on
  | 'both'; // both at once; the crashed Primary must become the source
export const CUTS: readonly Cut[] = ['primary', 'primary-engine', 'primary', 'secondary', 'both'];

export interface CutResult {
  readonly acknowledged: number; // writes by the writer that was cut
  readonly blocks: number; // checked on the node that went on
  readonly unanswered: number; // blocks newer than acknowledged: writes that were under way
  readonly oosKiB: number; // what the node that went on had marked before the other returned
  readonly sentKiB: number; // what the return cost, with what was written meanwhile
  readonly hash: string;
}

export class PowerCutRun {
  readonly cluster: Cluster;
  readonly bytes: number;
  /** Block -> the number that it must carry at least. */
  readonly #known = new Map<number, number>();
  #run = 0;
  active: 0 | 1 = 0;

  private constructor(cluster: Cluster, bytes: number) {
    this.cluster = cluster;
    this.bytes = bytes;
  }

  static async create(diskMiB: number): Promise<PowerCutRun> {
    // An activity log of 28 MiB for a disk that is larger: extents come and go, and a resync after a crash is not of everything.
    const cluster = await diskPair({ diskMiB, alExtents: 7 });
    return new PowerCutRun(cluster, await deviceBytes(cluster, 0));
  }

  /** One cut `delayMs` after the writer has got going. Throws at the first thing that is wrong. */
  async cycle(cut: Cut, delayMs: number): Promise<CutResult> {
    const { cluster } = this;
    const old = this.active;
    const other = old === 0 ? 1 : 0;
    const writer = await this.#startWriter(old);
    await new Promise((next) => setTimeout(next, delayMs));
    const next = await this.#cut(cut, old, other);
    if (cut === 'secondary') {
      await writer.more(50);
      await waitAlone(cluster, old);
      await writer.stop();
    } else {
      await writer.ended();
    }
    const acknowledged = this.#learn(writer);
    if (cut === 'both') {
      await Promise.all([bootDrbd(cluster, 0), bootDrbd(cluster, 1)]);
      await cluster.waitInSync(next);
    }
    if (next !== old) await cluster.type(next, 'drbdadm', 'primary', RESOURCE);
    this.active = next;
    const unanswered = await this.#verify(next, cut);
    const oosKiB = (await cluster.status(next)).oosKiB;
    // The other returns under load.
    const later = await this.#startWriter(next);
    if (cut !== 'both') await bootDrbd(cluster, next === 0 ? 1 : 0);
    await later.more(50);
    await cluster.waitInSync(next);
    await later.more(50);
    await later.stop();
    this.#learn(later);
    await until(cluster, 'nothing is under way', async () =>
      / lo:0 pe:0 ua:0 ap:0 /.test(await cluster.procDrbd(next)),
    );
    const hash = await sameDisks(cluster, next, this.bytes);
    await this.#verify(next, `${cut}, both again`);
    const sentKiB = (await cluster.status(next)).sentKiB;
    return { acknowledged, blocks: this.#known.size, unanswered, oosKiB, sentKiB, hash };
  }

  /** The node that goes on. */
  async #cut(cut: Cut, old: 0 | 1, other: 0 | 1): Promise<0 | 1> {
    const { pair } = this.cluster;
    switch (cut) {
      case 'primary':
        await pair.node(old).powerCut();
        await waitAlone(this.cluster, other);
        return other;
      case 'primary-engine':
        await pair
          .node(old)
          .must(['sh', '-c', 'kill -9 $(pidof angel) $(cat /run/twinbeat/drbdd.pid)']);
        await pair.node(old).powerCut();
        await waitAlone(this.cluster, other);
        return other;
      case 'secondary':
        await pair.node(other).powerCut();
        return old;
      case 'both':
        await Promise.all([pair.node(old).powerCut(), pair.node(other).powerCut()]);
        return other;
    }
  }

  async #startWriter(index: 0 | 1): Promise<Writer> {
    const run = ++this.#run;
    const node = this.cluster.node(index);
    const name = `writer${run}`;
    const spawned = await node.spawn(
      [
        ...['env', 'UV_THREADPOOL_SIZE=16', process.execPath, WRITER, 'write'],
        ...[DEVICE, String(this.bytes), String(run * NUMBERS_PER_RUN + 1)],
      ],
      name,
    );
    const writer = new Writer(this.cluster, spawned, node.log(name));
    await writer.more(100);
    return writer;
  }

  /** Takes over what a writer had acknowledged; the number of its writes. */
  #learn(writer: Writer): number {
    const lines = writer.lines();
    for (const line of lines) {
      const [verb, block, count, number] = line.split(' ');
      if (verb !== 'w') {
        // The node's end may be seen as an error before it is felt; a write that failed promises nothing.
        if (verb === 'e' && !writer.stopped) continue;
        throw new Error(`the writer says: ${line}`);
      }
      for (let i = 0; i < Number(count); i++) this.#know(Number(block) + i, Number(number));
    }
    return lines.length;
  }

  #know(block: number, number: number): void {
    if (number > (this.#known.get(block) ?? 0)) this.#known.set(block, number);
  }

  /** Every known block is on the node, and whole. What is found there counts as known from now on. */
  async #verify(index: 0 | 1, what: string): Promise<number> {
    const node = this.cluster.node(index);
    const argv = [process.execPath, WRITER, 'read', DEVICE, String(this.bytes)];
    const found = new Map<number, number>();
    for (const line of (await node.must(argv, { timeoutMs: 60_000 })).split('\n')) {
      if (line === '') continue;
      const [block, number] = line.split(' ');
      if (number === 'torn')
        throw new Error(`after ${what}: block ${block} is torn on ${node.name}`);
      found.set(Number(block), Number(number));
    }
    const lost: string[] = [];
    for (const [block, number] of this.#known) {
      const there = found.get(block) ?? 0;
      if (there < number) lost.push(`${block} (${there} for ${number})`);
    }
    if (lost.length > 0) {
      throw new Error(
        `after ${what}: ${lost.length} blocks lost on ${node.name}: ${lost.slice(0, 10).join(', ')}`,
      );
    }
    let newer = 0;
    for (const [block, number] of found) {
      if (number > (this.#known.get(block) ?? 0)) newer++;
      this.#know(block, number);
    }
    return newer;
  }

  destroy(): Promise<void> {
    return this.cluster.destroy();
  }
}

class Writer {
  readonly #cluster: Cluster;
  readonly #spawned: Spawned;
  readonly #journal: string;
  #over = false;
  stopped = false;

  constructor(cluster: Cluster, spawned: Spawned, journal: string) {
    this.#cluster = cluster;
    this.#spawned = spawned;
    this.#journal = journal;
    void spawned.done.then(() => {
      this.#over = true;
    });
  }

  /** Whole lines only. */
  lines(): string[] {
    const text = readFileSync(this.#journal, 'utf8');
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .slice(0, -1);
  }

  async more(count: number): Promise<void> {
    const goal = this.lines().length + count;
    await until(this.#cluster, `${count} more writes`, async () => {
      if (this.#over) throw new Error(`the writer ended: ${this.lines().slice(-3).join('; ')}`);
      return this.lines().length >= goal;
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.#spawned.kill('SIGTERM');
    await this.#spawned.done;
  }

  async ended(): Promise<void> {
    await this.#spawned.done;
  }
}
