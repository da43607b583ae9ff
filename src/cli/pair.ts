/**
 * Two nodes on this machine: what `twinbeat demo`, the soak test and the integration tests run on. Needs root.
 *
 *     const pair = await Pair.create({ files: { '/etc/drbd.conf': { text, mode: 0o644 } } });
 *     await pair.node(0).spawn(['drbdd'], 'drbdd');
 *     await pair.node(0).powerCut();
 *     await pair.destroy();
 *
 * All state is in one directory under the temporary directory, with a note (pair.json) of what has to be cleared away. `create` first
 * clears what earlier harnesses left that died, unless they left it on purpose (`keep`).
 */
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Cable } from './pair-cable.js';
import { detachLoop, type Loop, loops, loopsOf, orphanedLoops } from './pair-loops.js';
import { PairNode } from './pair-node.js';
import { isAlive, kill, type ProcessName, processName, startTicks, waitUntil } from './pair-run.js';

const DIRECTORY = 'twinbeat-pair-';
const NOTE = 'pair.json';

export interface PairFile {
  readonly text: string;
  readonly mode: number;
}

export interface PairOptions {
  readonly names: readonly [string, string];
  readonly diskMiB: number;
  /** Files of both nodes, at their real paths. */
  readonly files: Readonly<Record<string, PairFile>>;
  /** Directory of the programs, first in the nodes' PATH. */
  readonly bin: string;
  /** More environment for everything that runs on the nodes. */
  readonly env: Readonly<Record<string, string>>;
}

/** The directory of the project: two above build/src/cli/, or where it is installed. */
export const PROJECT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

export const DEFAULT_PAIR: PairOptions = {
  names: ['alpha', 'beta'],
  diskMiB: 256,
  files: {},
  bin: join(PROJECT, 'build', 'bin'),
  env: {},
};

interface Note {
  readonly harness: ProcessName;
  readonly keep: boolean;
  readonly holders: readonly ProcessName[];
}

export class Pair {
  readonly dir: string;
  readonly cable: Cable;
  readonly #nodes: readonly [PairNode, PairNode];
  #keep = false;

  private constructor(dir: string, cable: Cable, nodes: readonly [PairNode, PairNode]) {
    this.dir = dir;
    this.cable = cable;
    this.#nodes = nodes;
  }

  static async create(options: Partial<PairOptions> = {}): Promise<Pair> {
    const { names, diskMiB, files, bin, env: more } = { ...DEFAULT_PAIR, ...options };
    await Pair.clearLeftOvers();
    const dir = mkdtempSync(join(tmpdir(), DIRECTORY));
    chmodSync(dir, 0o755); // services run as users of their own
    const system = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    const env = {
      PATH: `${bin}:${dirname(process.execPath)}:${system}`,
      HOME: '/root',
      LANG: 'C.UTF-8',
      ...more,
    };
    writeNote(dir, { harness: processName(process.pid), keep: false, holders: [] });
    let cable: Cable | null = null;
    const nodes: PairNode[] = [];
    try {
      cable = await Cable.create(env);
      for (const index of [0, 1] as const) {
        const own = { name: names[index], index, dir: join(dir, `node${index}`) };
        nodes.push(await PairNode.create({ ...own, diskMiB, env, project: PROJECT }, cable));
      }
      const [a, b] = nodes;
      if (!a || !b) throw new Error('two nodes were to be made');
      const pair = new Pair(dir, cable, [a, b]);
      for (const node of pair.nodes) {
        await pair.powerOn(node.index);
        const hosts = names.map((name, i) => `10.77.0.${i + 1} ${name}\n`).join('');
        await node.writeFile('/etc/hosts', `127.0.0.1 localhost\n${hosts}`);
        for (const [path, file] of Object.entries(files)) {
          await node.writeFile(path, file.text, file.mode);
        }
      }
      return pair;
    } catch (e) {
      for (const node of nodes) await node.destroy().catch(() => undefined);
      await cable?.destroy().catch(() => undefined);
      rmSync(dir, { recursive: true, force: true });
      throw e;
    }
  }

  get nodes(): readonly [PairNode, PairNode] {
    return this.#nodes;
  }

  node(index: 0 | 1): PairNode {
    return this.#nodes[index];
  }

  /** Switch a node on and remember what has to be cleared away. `node.powerOn()` alone does not survive a crash of ours. */
  async powerOn(index: 0 | 1): Promise<void> {
    await this.#nodes[index].powerOn();
    this.#write();
  }

  #write(): void {
    const holders = [this.cable.first, ...this.#nodes.map((n) => n.first)];
    writeNote(this.dir, {
      harness: processName(process.pid),
      keep: this.#keep,
      holders: holders.filter((h) => h !== null),
    });
  }

  /** Leave everything running when this program ends. `Pair.remove(dir)` ends it. */
  keep(): void {
    this.#keep = true;
    this.#write();
    for (const node of this.#nodes) if (node.isOn) node.keep();
    const script = join(this.dir, 'client');
    const words = this.cable.enter([]).join(' ');
    writeFileSync(script, `#!/bin/sh\n# Runs a command beside the nodes.\nexec ${words} "$@"\n`);
    chmodSync(script, 0o755);
    this.cable.keep();
  }

  /** Ends everything and removes it; the errors of all steps are thrown as one, after the last step. */
  async destroy(): Promise<void> {
    if (this.#keep) return;
    const errors: unknown[] = [];
    for (const step of [
      () => this.#nodes[0].destroy(),
      () => this.#nodes[1].destroy(),
      () => this.cable.destroy(),
    ]) {
      await step().catch((e: unknown) => errors.push(e));
    }
    if (errors.length > 0)
      throw new AggregateError(errors, `not all of ${this.dir} is cleared away`);
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Directories of pairs that were left running on purpose. */
  static kept(): string[] {
    return directories().filter((dir) => readNote(dir)?.keep === true);
  }

  /** What harnesses left behind that are dead. Returns the directories that were removed. */
  static async clearLeftOvers(): Promise<string[]> {
    const removed: string[] = [];
    for (const dir of directories()) {
      const note = readNote(dir);
      if (note ? note.keep || isAlive(note.harness) : isYoung(dir)) continue;
      await Pair.remove(dir);
      removed.push(dir);
    }
    for (const loop of await orphanedLoops()) await detachLoop(loop);
    return removed;
  }

  /** End a pair by its directory: one that was kept, or one whose harness died. */
  static async remove(dir: string): Promise<void> {
    const note = readNote(dir);
    const bound: Loop[] = [];
    for (const holder of note?.holders ?? []) {
      if (!isAlive(holder)) continue;
      bound.push(...loopsOf(holder.pid));
      kill(holder.pid);
    }
    for (const holder of note?.holders ?? []) {
      const gone = await waitUntil(() => startTicks(holder.pid) !== holder.startTicks, 30_000);
      if (!gone) throw new Error(`process ${holder.pid} of ${dir} cannot be ended`);
    }
    for (const loop of bound) await detachLoop(loop);
    for (const loop of loops()) {
      // Files under the directory are the lower disks; "(deleted)" may follow.
      if (loop.backFile.startsWith(`${dir}/`)) await detachLoop(loop);
    }
    rmSync(dir, { recursive: true, force: true });
  }
}

function directories(): string[] {
  return readdirSync(tmpdir())
    .filter((name) => name.startsWith(DIRECTORY))
    .map((name) => join(tmpdir(), name));
}

function writeNote(dir: string, note: Note): void {
  writeFileSync(join(dir, NOTE), `${JSON.stringify(note)}\n`);
}

/** A directory without a note may be another harness's first moment. */
function isYoung(dir: string): boolean {
  const stat = statSync(dir, { throwIfNoEntry: false });
  return stat === undefined || Date.now() - stat.mtimeMs < 60_000;
}

/** Null when there is none or it is not whole: the harness died in its first moment. */
function readNote(dir: string): Note | null {
  try {
    const note: unknown = JSON.parse(readFileSync(join(dir, NOTE), 'utf8'));
    return note as Note; // our own file
  } catch {
    return null;
  }
}
