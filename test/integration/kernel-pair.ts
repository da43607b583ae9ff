/**
 * A pair of which one node is a kernel's DRBD in a virtual machine and the other an engine of ours in this process, on a
 * file. The test brings them up, breaks them and compares the two disks past both programs.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { createMeta, GONE, NO_BUFFER, type NodeOptions, TestNode } from '../support/engines.js';
import { until } from '../support/until.js';
import { DISK_BYTES, type KernelConfig, KernelVm } from './kernel-vm.js';

let machine: Promise<KernelVm> | null = null;

/** When all tests of a file are over. */
export async function removeMachine(): Promise<void> {
  await (await machine)?.remove();
}

/** Bytes that tell a sector from every other and a seed from every other. */
export function pattern(seed: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  for (let i = 0; i < lengthBytes; i++) bytes[i] = (seed * 31 + i * 7 + (i >> 9)) & 255;
  return bytes;
}

/** Both sides with new meta-data on disks of one size, not connected yet. */
export class KernelPair {
  readonly vm: KernelVm;
  us: TestNode;
  readonly #options: NodeOptions;

  private constructor(vm: KernelVm, us: TestNode, options: NodeOptions) {
    this.vm = vm;
    this.us = us;
    this.#options = options;
  }

  static async create(
    t: ExecutionContext,
    options: NodeOptions = {},
    config: KernelConfig = {},
    diskBytes = DISK_BYTES,
  ): Promise<KernelPair> {
    machine ??= KernelVm.start();
    const vm = await machine;
    const dir = mkdtempSync(join(tmpdir(), 'twinbeat-kernel-'));
    const disk = join(dir, 'host.img');
    createMeta(disk, diskBytes);
    const pair = new KernelPair(vm, new TestNode('host', disk, options), options);
    t.teardown(async () => {
      await pair.us.kill();
      if (!t.passed) t.log(pair.us.shown, pair.us.log, await vm.report());
      rmSync(dir, { recursive: true });
    });
    await vm.fresh(config);
    await pair.us.attach();
    return pair;
  }

  dial(discardMyData = false): void {
    const { us, vm } = this;
    const net = {
      ...DEFAULT_NET_OPTIONS,
      pingTimeoutDs: 50, // emulated, the kernel may be slow to answer
      connectIntS: 1,
      socketCheckTimeoutDs: 1,
      ...this.#options.net,
    };
    const at = (port: number) => ({ family: 'ipv4', host: '127.0.0.1', port }) as const;
    us.loop.enter(() =>
      us.resource.connect(at(vm.ourPort), at(vm.kernelPort), net, discardMyData, false),
    );
  }
  async kernelDials(): Promise<void> {
    await this.vm.sh('drbdadm connect r0');
  }

  async both(ours: RegExp, kernels: string): Promise<void> {
    await this.us.until(ours);
    await this.vm.until(kernels);
  }

  async connected(): Promise<void> {
    await this.both(/cs:Connected /, 'cs:Connected ');
  }

  async disconnected(): Promise<void> {
    await this.vm.sh('drbdadm disconnect r0');
    await this.us.until(/cs:WFConnection/);
  }

  /** From here on our node is a new process, on the disk that the old one left. */
  async restartUs(): Promise<void> {
    await this.us.kill();
    this.us = new TestNode('host', this.us.disk, this.#options);
    await this.us.attach();
  }

  /** Our disk, before anybody is connected. */
  fillOurs(seed: number): void {
    const fd = openSync(this.us.disk, 'r+');
    const bytes = pattern(seed, this.us.volume.sizeSectors * 512);
    writeSync(fd, bytes, 0, bytes.length, 0);
    closeSync(fd);
  }

  /** Neither has a bit set, both disks hold the same. */
  async same(t: ExecutionContext): Promise<void> {
    await this.vm.until('oos:0$');
    t.is(this.us.volume.bitmap?.count, 0);
    t.is(this.firstDifference(), null);
  }

  firstDifference(): number | null {
    const sectors = this.us.volume.sizeSectors;
    const x = this.us.onDisk(0, sectors * 512);
    const y = this.vm.onDisk(0, sectors * 512);
    return Buffer.compare(x, y) === 0
      ? null
      : Math.floor(x.findIndex((byte, i) => byte !== y[i]) / 512);
  }

  // ---- what operators do

  async promoteUs(force = false): Promise<void> {
    const outcome = await this.us.ask((v, done) => setPrimary(v, force, done));
    if (outcome.kind !== 'ok') throw new Error(`primary: ${JSON.stringify(outcome)}`);
  }
  async demoteUs(): Promise<void> {
    const outcome = await this.us.ask((v, done) => setSecondary(v, done));
    if (outcome.kind !== 'ok') throw new Error(`secondary: ${JSON.stringify(outcome)}`);
  }
  async promoteKernel(force = false): Promise<void> {
    await this.vm.sh(`drbdadm primary ${force ? '--force' : ''} r0`);
  }
  async demoteKernel(): Promise<void> {
    await this.vm.sh('drbdadm secondary r0');
  }

  /** Connected, and all of one node's disk copied to the other's; that one stays Primary. */
  async synced(from: 'host' | 'kernel'): Promise<void> {
    await this.kernelDials();
    this.dial();
    await this.connected();
    if (from === 'host') await this.promoteUs(true);
    else await this.promoteKernel(true);
    await this.settled();
  }

  /** Connected, nothing to synchronize. */
  async settled(): Promise<void> {
    await this.both(
      /cs:Connected .* ds:UpToDate\/UpToDate/,
      'cs:Connected .* ds:UpToDate/UpToDate',
    );
  }

  /** The kernel's device is written as a program would, past its cache. */
  async kernelWrites(sector: number, bytes: Uint8Array): Promise<void> {
    if (sector % 8 !== 0) throw new Error('whole blocks of 4 KiB');
    const size = Math.min(bytes.length, 1 << 20);
    await this.vm.write('/dev/drbd0', sector * 512, size, bytes);
  }

  /** Waits until that much more has come from the kernel. */
  async received(sectors: number): Promise<void> {
    const goal = this.us.volume.receiveSectors + sectors;
    await until(() => this.us.volume.receiveSectors >= goal, `${goal} sectors`);
  }

  /** Random writes of ours, never two on one block. */
  load(seed: number, depth = 8): Load {
    return new Load(this.us, seed, depth);
  }

  /** Every write that was answered well, and not written over since, is on both disks. */
  holds(t: ExecutionContext, load: Load): void {
    for (const [sector, bytes] of load.answered) {
      const where = `sector ${sector}, ${bytes.length} bytes`;
      t.true(Buffer.compare(this.us.onDisk(sector, bytes.length), bytes) === 0, `ours, ${where}`);
      t.true(
        Buffer.compare(this.vm.onDisk(sector, bytes.length), bytes) === 0,
        `kernel's, ${where}`,
      );
    }
  }
}

const CHUNK_SECTORS = 64;

export class Load {
  readonly #node: TestNode;
  readonly #random: Prng;
  readonly #busy = new Set<number>();
  readonly #writers: Promise<void>[];
  readonly #waiting: { count: number; done: () => void }[] = [];
  #running = true;
  /** Sector -> what it holds: the last write there was answered, and none is under way. */
  readonly answered = new Map<number, Uint8Array>();
  written = 0;
  failed = 0;

  constructor(node: TestNode, seed: number, depth: number) {
    this.#node = node;
    this.#random = new Prng(seed);
    this.#writers = Array.from({ length: depth }, () => this.#write());
  }

  async #write(): Promise<void> {
    const chunks = Math.floor(this.#node.volume.sizeSectors / CHUNK_SECTORS);
    while (this.#running && !this.#node.dead) {
      const sector = this.#random.below(chunks) * CHUNK_SECTORS;
      if (this.#busy.has(sector)) continue;
      this.#busy.add(sector);
      this.answered.delete(sector);
      const bytes = pattern(
        this.#random.below(1 << 20),
        512 * (1 + this.#random.below(CHUNK_SECTORS)),
      );
      const result = await this.#node.write(sector, bytes, this.#random.below(8) === 0);
      this.#busy.delete(sector);
      if (result === 0) {
        this.answered.set(sector, bytes);
        this.#count();
      } else if (result !== GONE && result !== NO_BUFFER) this.failed++;
    }
  }

  #count(): void {
    this.written++;
    for (const w of this.#waiting) if (this.written >= w.count) w.done();
  }

  /** So many more have been answered. */
  async more(count: number): Promise<void> {
    await new Promise<void>((done) => this.#waiting.push({ count: this.written + count, done }));
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#writers);
  }
}
