/**
 * Where recordings live. While a process runs, its rings are memory that the kernel keeps when the process dies:
 *
 *     /run/twinbeat/flight/drbdd-LIFE.live      mapped file in tmpfs, written by the thread that is recorded; never waits
 *     /var/lib/twinbeat/flight/drbdd-LIFE.flight   a copy, brought up to date every COPY_MS by another thread; the newest few kept
 *
 * A copy that lies behind (SIGKILL) is completed from the live file by the next life. Nothing here may harm the daemon: the
 * first thing that goes wrong is said once, and then there is no recorder, or no copy. /var may hang: nobody waits for it.
 */
import { constants, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { FlightPlan } from '../host/drbdd-messages.js';
import {
  AT,
  BLOCK_BYTES,
  BLOCK_HEAD_BYTES,
  BLOCK_MAGIC,
  blocksFor,
  type Daemon,
  fileBytes,
  HEAD_BYTES,
  SUM_FROM,
} from '../host/flight-format.js';
import type { FlightMemory } from '../host/flight-recorder.js';
import type { Checksum } from '../host/flight-ring.js';
import { IoError } from '../host/io-error.js';
import { loadAddon, mapFile } from './native-addon.js';

export const flightChecksum: Checksum = (bytes) => crc32(bytes);

const COPY_MS = 2000;
/** Whole blocks are copied so many at a time: each read and write is a way to another thread and back. */
const COPY_BLOCKS = 8;

export interface FlightOptions {
  readonly root: string;
  readonly daemon: Daemon;
  readonly node: string;
  readonly sizeMiB: number;
  readonly lives: number;
  readonly wallMs: number;
  readonly pid: number;
  readonly warn: (text: string) => void;
}

/** The memory of a plan, for the thread that writes. Throws where it cannot be had. */
export function flightMemory(plan: FlightPlan): FlightMemory {
  const { coldBlocks, hotBlocks, shared } = plan;
  const memory = shared
    ? new Uint8Array(shared)
    : mapFile(plan.path, fileBytes(coldBlocks, hotBlocks));
  return { memory, coldBlocks, hotBlocks, checksum: flightChecksum, wallMs: Date.now };
}

/** Reads a recording that is being written. */
interface Source {
  read(into: Uint8Array, at: number): Promise<void>;
  close(): Promise<void>;
}

function ofMemory(shared: SharedArrayBuffer): Source {
  const bytes = new Uint8Array(shared);
  return {
    read: async (into, at) => into.set(bytes.subarray(at, at + into.length)),
    close: async () => {},
  };
}

async function ofFile(path: string): Promise<Source> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  return {
    read: async (into, at) => {
      const { bytesRead } = await file.read(into, 0, into.length, at);
      if (bytesRead !== into.length) throw new Error(`${path}: ends at byte ${at + bytesRead}`);
    },
    close: () => file.close(),
  };
}

/** One ring, as far as it has been copied. */
interface Copied {
  readonly first: number;
  readonly blocks: number;
  number: number; // of the block that was copied last
  used: number; // bytes of it
}

/** Keeps a copy up to date. */
class Copier {
  readonly #source: Source;
  readonly #to: FileHandle;
  readonly #rings: readonly Copied[];
  readonly #blocks = new Uint8Array(COPY_BLOCKS * BLOCK_BYTES);
  readonly #block = this.#blocks.subarray(0, BLOCK_BYTES);
  readonly #head = new Uint8Array(BLOCK_HEAD_BYTES);

  private constructor(source: Source, to: FileHandle, coldBlocks: number, hotBlocks: number) {
    this.#source = source;
    this.#to = to;
    const hotAt = HEAD_BYTES + coldBlocks * BLOCK_BYTES;
    this.#rings = [
      { first: HEAD_BYTES, blocks: coldBlocks, number: 0, used: 0 },
      { first: hotAt, blocks: hotBlocks, number: 0, used: 0 },
    ];
  }

  static async create(
    source: Source,
    path: string,
    blocks: { readonly coldBlocks: number; readonly hotBlocks: number },
  ): Promise<Copier> {
    const flags = constants.O_CREAT | constants.O_RDWR | constants.O_NOFOLLOW;
    const to = await open(path, flags, 0o600);
    await to.truncate(fileBytes(blocks.coldBlocks, blocks.hotBlocks));
    const copier = new Copier(source, to, blocks.coldBlocks, blocks.hotBlocks);
    const head = new Uint8Array(HEAD_BYTES);
    await source.read(head, 0);
    await to.write(head, 0, HEAD_BYTES, 0);
    return copier;
  }

  /** Everything that was written since the last time. */
  async copy(): Promise<void> {
    for (const ring of this.#rings) await this.#ring(ring);
  }

  async close(): Promise<void> {
    await this.#source.close();
    await this.#to.close();
  }

  async #ring(ring: Copied): Promise<void> {
    for (;;) {
      const found = await this.#number(ring, ring.number);
      if (found !== ring.number) {
        // Overtaken by a whole round: go on with the oldest that is there.
        const oldest = await this.#oldest(ring);
        if (oldest < 0) return;
        ring.number = oldest;
        ring.used = 0;
        continue;
      }
      const whole = await this.#copyWhole(ring);
      if (whole > 0) {
        ring.number += whole;
        ring.used = 0;
        continue;
      }
      // Asked before it is read: a block whose successor was begun does not change any more.
      const followed = (await this.#number(ring, ring.number + 1)) === ring.number + 1;
      await this.#copyBlock(ring);
      if (!followed) return;
      ring.number++;
      ring.used = 0;
    }
  }

  /** Many blocks at once, with the checksums that they have: how many; 0: there are not so many whole ones, or they lie at the end. */
  async #copyWhole(ring: Copied): Promise<number> {
    const { number } = ring;
    if ((number % ring.blocks) + COPY_BLOCKS > ring.blocks) return 0;
    if ((await this.#number(ring, number + COPY_BLOCKS)) !== number + COPY_BLOCKS) return 0;
    const place = this.#place(ring, number);
    await this.#source.read(this.#blocks, place);
    // Blocks are overwritten in their order: while the first one is there, all are.
    if ((await this.#number(ring, number)) !== number) return 0;
    const view = new DataView(this.#blocks.buffer);
    for (let i = 0; i < COPY_BLOCKS; i++) {
      const at = i * BLOCK_BYTES;
      const used = view.getUint32(at + AT.used, true);
      if (view.getUint32(at + AT.number, true) !== number + i) return 0;
      if (used < BLOCK_HEAD_BYTES || used > BLOCK_BYTES) return 0;
      if (view.getUint32(at + AT.sealed, true) !== used) return 0;
    }
    await this.#to.write(this.#blocks, 0, this.#blocks.length, place);
    return COPY_BLOCKS;
  }

  #place(ring: Copied, number: number): number {
    return ring.first + (number % ring.blocks) * BLOCK_BYTES;
  }

  /** Number of the block that lies where block `number` belongs; -1: none. */
  async #number(ring: Copied, number: number): Promise<number> {
    await this.#source.read(this.#head, this.#place(ring, number));
    const view = new DataView(this.#head.buffer);
    if (view.getUint32(AT.magic, true) !== BLOCK_MAGIC) return -1;
    return view.getUint32(AT.number, true);
  }

  async #oldest(ring: Copied): Promise<number> {
    let oldest = -1;
    for (let slot = 0; slot < ring.blocks; slot++) {
      const number = await this.#number(ring, slot);
      if (number > ring.number && (oldest < 0 || number < oldest)) oldest = number;
    }
    return oldest;
  }

  /** The block with a checksum of its own: that of the live file may be in the middle of a change. */
  async #copyBlock(ring: Copied): Promise<void> {
    const place = this.#place(ring, ring.number);
    await this.#source.read(this.#block, place);
    const view = new DataView(this.#block.buffer);
    const used = view.getUint32(AT.used, true);
    if (view.getUint32(AT.number, true) !== ring.number || used === ring.used) return;
    if (used < BLOCK_HEAD_BYTES || used > BLOCK_BYTES) return;
    // Overtaken while it was read?
    if ((await this.#number(ring, ring.number)) !== ring.number) return;
    view.setUint32(AT.sealed, used, true);
    view.setUint32(AT.sum, flightChecksum(this.#block.subarray(SUM_FROM, used)), true);
    ring.used = used;
    await this.#to.write(this.#block, 0, used, place);
  }
}

function text(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}

/** The name of a life: its start in UTC, so that names sort by time, and the process number. */
function lifeName(wallMs: number, pid: number): string {
  return `${new Date(wallMs).toISOString().replace(/[-:]/g, '')}-${pid}`;
}

/** Recordings of one daemon of this node: of this life and of those before. */
export class FlightKeeper {
  readonly plan: FlightPlan;
  readonly #options: FlightOptions;
  readonly #run: string;
  readonly #lib: string;
  #copier: Copier | null = null;
  #timer: NodeJS.Timeout | null = null;
  #copying: Promise<void> | null = null;
  #warned = false;
  #started: Promise<void> = Promise.resolve();

  private constructor(options: FlightOptions, run: string, lib: string, plan: FlightPlan) {
    this.#options = options;
    this.#run = run;
    this.#lib = lib;
    this.plan = plan;
  }

  /** Null, with a warning, when there can be none. */
  static prepare(options: FlightOptions): FlightKeeper | null {
    const run = join(options.root, '/run/twinbeat/flight');
    const lib = join(options.root, '/var/lib/twinbeat/flight');
    const { daemon, node, wallMs, pid } = options;
    const life = lifeName(wallMs, pid);
    const blocks = blocksFor(options.sizeMiB);
    try {
      mkdirSync(run, { recursive: true, mode: 0o700 });
      const native = !(loadAddon() instanceof IoError);
      const plan: FlightPlan = {
        path: native ? join(run, `${daemon}-${life}.live`) : '',
        shared: native
          ? null
          : new SharedArrayBuffer(fileBytes(blocks.coldBlocks, blocks.hotBlocks)),
        ...blocks,
        node,
        life,
      };
      return new FlightKeeper(options, run, lib, plan);
    } catch (e) {
      options.warn(`flight recorder: off: ${text(e)}`);
      return null;
    }
  }

  get #file(): string {
    return join(this.#lib, `${this.#options.daemon}-${this.plan.life}.flight`);
  }

  /** The recorder writes: from now on there is a copy of it, and what a predecessor left is completed. */
  start(): Promise<void> {
    this.#started = this.#begin();
    return this.#started;
  }

  async #begin(): Promise<void> {
    try {
      await mkdir(this.#lib, { recursive: true, mode: 0o700 });
      await this.#salvage();
      const source = this.plan.shared ? ofMemory(this.plan.shared) : await ofFile(this.plan.path);
      this.#copier = await Copier.create(source, this.#file, this.plan);
      await this.#prune();
    } catch (e) {
      this.#warn(e);
      return;
    }
    this.#timer = setInterval(() => void this.copy(), COPY_MS);
    this.#timer.unref();
    await this.copy();
  }

  /** Brings the copy up to date; one at a time. */
  copy(): Promise<void> {
    this.#copying ??= this.#copyNow().finally(() => {
      this.#copying = null;
    });
    return this.#copying;
  }

  async #copyNow(): Promise<void> {
    try {
      await this.#copier?.copy();
    } catch (e) {
      this.#warn(e);
      await this.#stopCopying();
    }
  }

  async #stopCopying(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    const copier = this.#copier;
    this.#copier = null;
    await copier?.close().catch(() => {});
  }

  /** An orderly end: the copy is whole, the live file goes. */
  async end(): Promise<void> {
    await this.#started;
    await this.copy();
    const whole = this.#copier !== null;
    await this.#stopCopying();
    if (whole && this.plan.path !== '') rmSync(this.plan.path, { force: true });
  }

  #warn(e: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#options.warn(`flight recorder: no copy in ${this.#lib}: ${text(e)}`);
  }

  /** Live files of lives that have ended: their copies are completed. */
  async #salvage(): Promise<void> {
    const { daemon } = this.#options;
    for (const name of readdirSync(this.#run)) {
      const path = join(this.#run, name);
      if (!name.startsWith(`${daemon}-`) || !name.endsWith('.live')) continue;
      if (path === this.plan.path) continue;
      const to = join(this.#lib, `${name.slice(0, -'.live'.length)}.flight`);
      try {
        await this.#complete(path, to);
      } catch (e) {
        this.#options.warn(`flight recorder: ${path} can not be kept: ${text(e)}`);
      }
      rmSync(path, { force: true });
    }
  }

  async #complete(path: string, to: string): Promise<void> {
    const source = await ofFile(path);
    const head = new Uint8Array(HEAD_BYTES);
    await source.read(head, 0);
    const blocks = blocksOf(head);
    if (blocks === null) {
      await source.close();
      throw new Error('its head is damaged');
    }
    const copier = await Copier.create(source, to, blocks);
    await copier.copy();
    await copier.close();
  }

  async #prune(): Promise<void> {
    const { daemon, lives } = this.#options;
    const mine = (await readdir(this.#lib))
      .filter((name) => name.startsWith(`${daemon}-`) && name.endsWith('.flight'))
      .sort();
    for (const name of mine.slice(0, Math.max(0, mine.length - lives))) {
      await rm(join(this.#lib, name), { force: true });
    }
  }
}

/** Sizes of the rings as a head says them. */
function blocksOf(head: Uint8Array): { coldBlocks: number; hotBlocks: number } | null {
  const found = /"coldBlocks":(\d+),"hotBlocks":(\d+)/.exec(Buffer.from(head).toString('latin1'));
  if (!found) return null;
  return { coldBlocks: Number(found[1]), hotBlocks: Number(found[2]) };
}
