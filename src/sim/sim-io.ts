/**
 * The I/O engine of a simulated process: disks with a write cache, a network of hosts, virtual time, all from a seed.
 *
 *     sim-io-turns.ts    what takes effect when, and who is told
 *     sim-io-disks.ts    open disks and their requests
 *     sim-io-streams.ts  listeners, streams, sends
 *
 * It checks its users too: a range of the pool that a write or a send was given must not have changed when it is done
 * (on a real engine those bytes might be the ones that reach the disk), and a buffer that was freed holds noise.
 */
import { assert } from '../base/assert.js';
import type { BufferUse } from '../base/buffer-use.js';
import { BufferPool, type PoolCounts } from '../host/buffer-pool.js';
import {
  type DiskInfo,
  type DiskOpen,
  type Endpoint,
  type FuseOwner,
  HEAD_BYTES,
  type Io,
  type IoOwner,
  type ListenOwner,
  type SocketOptions,
  STREAM_PEEK_BYTES,
  type StreamOwner,
} from '../host/io.js';
import { takeMemory } from './engine-memory.js';
import { SimIoDisks } from './sim-io-disks.js';
import { SimIoStreams } from './sim-io-streams.js';
import { type SimHost, SimIoTurns } from './sim-io-turns.js';

export type { SimHost } from './sim-io-turns.js';

export interface SimIoOptions extends SimHost {
  readonly pool: PoolCounts;
  readonly streams: number;
}

const NOISE = 0xdb;
/** Of a freed buffer, so much in front of its payload (where headers lie) and at its beginning becomes noise. */
const FREED_HEAD_BYTES = 128;
const FREED_PAYLOAD_BYTES = 4096;

export class SimIo implements Io {
  readonly pool: Uint8Array;
  readonly poolView: DataView;
  readonly #buffers: BufferPool;
  readonly #turns: SimIoTurns;
  readonly #disks: SimIoDisks;
  readonly #streams: SimIoStreams;
  readonly #givenOut = new Set<number>(); // buffers that have been noise at least once
  readonly #closing = new Set<number>();
  readonly #batchEnd: (() => void)[] = [];
  #destroyed: (() => void) | null = null;

  constructor(options: SimIoOptions) {
    this.#buffers = new BufferPool(options.pool);
    const sizeBytes = this.#buffers.sizeBytes + options.streams * STREAM_PEEK_BYTES;
    this.pool = takeMemory(options.net, sizeBytes);
    this.poolView = new DataView(this.pool.buffer);
    this.#turns = new SimIoTurns(options, () => this.#batch());
    this.#disks = new SimIoDisks(this.#turns, this.pool, {
      hold: (at) => this.#buffers.hold(at),
      release: (at) => {
        const freed = this.#buffers.release(at);
        if (freed >= 0) this.#spoil(freed);
      },
    });
    this.#streams = new SimIoStreams(this.#turns, this.pool, options.streams, (h) => this.close(h));
  }

  /** Buffers handed out and not freed. */
  get buffersInUse(): number {
    return this.#buffers.inUse - this.#buffers.owed;
  }

  /** TCP connections that it began to make. */
  get connects(): number {
    return this.#streams.connects;
  }

  /** What a process handed to its sockets, and the sockets have no room for yet. */
  get unsent(): Iterable<Uint8Array> {
    return this.#streams.unsent();
  }

  get crashed(): boolean {
    return this.#turns.crashed;
  }

  /**
   * The process dies: nothing is told any more. With `power` the host goes too: its peers hear nothing and its disks lose
   * or tear what was not stable.
   */
  crash(power: boolean): void {
    if (this.#turns.crashed) return;
    this.#turns.crashed = true;
    const { net, name } = this.#turns.host;
    net.crash(name, power);
    this.#disks.crash(power);
  }

  register(owner: IoOwner): number {
    return this.#turns.owners.register(owner);
  }

  /** A buffer holds noise when it is given out for the first time. */
  alloc(payloadBytes: number, use?: BufferUse): number {
    const at = this.#buffers.alloc(payloadBytes, use);
    if (at >= 0 && !this.#givenOut.has(at)) {
      this.#givenOut.add(at);
      this.pool.fill(NOISE, at - HEAD_BYTES, at + this.#buffers.capacity(at));
    }
    return at;
  }

  /** Whoever looks at a buffer after it was freed finds noise, not by luck what was there. */
  free(at: number): void {
    if (this.#buffers.free(at)) this.#spoil(at);
  }

  #spoil(at: number): void {
    const payload = Math.min(this.#buffers.capacity(at), FREED_PAYLOAD_BYTES);
    this.pool.fill(NOISE, at - FREED_HEAD_BYTES, at + payload);
  }

  capacity(at: number): number {
    return this.#buffers.capacity(at);
  }

  openDisk(path: string, how: DiskOpen, tag: number): void {
    this.#disks.open(path, how, tag);
  }

  /** No other program can open it exclusively. */
  claims(path: string): boolean {
    return this.#disks.claims(path);
  }

  diskInfo(disk: number): DiskInfo {
    return this.#disks.info(disk);
  }

  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void {
    this.#disks.read(disk, offsetBytes, at, lengthBytes, tag);
  }

  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void {
    this.#disks.write(disk, offsetBytes, at, lengthBytes, fua, tag);
  }

  flushDisk(disk: number, tag: number): void {
    this.#disks.flush(disk, tag);
  }

  abandonDisk(disk: number, tag: number): void {
    this.#disks.abandon(disk, tag);
  }

  discardDisk(disk: number, offsetBytes: number, lengthBytes: number, tag: number): void {
    this.#disks.discard(disk, offsetBytes, lengthBytes, tag);
  }

  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    _mayUnmap: boolean,
    tag: number,
  ): void {
    this.#disks.zero(disk, offsetBytes, lengthBytes, tag);
  }

  listen(at: Endpoint, _options: SocketOptions, owner: ListenOwner): number {
    return this.#streams.listen(at, owner);
  }

  connect(
    remote: Endpoint,
    local: Endpoint | null,
    timeoutMs: number,
    _options: SocketOptions,
    tag: number,
  ): void {
    this.#streams.connect(remote, local, timeoutMs, tag);
  }

  attachStream(stream: number, owner: StreamOwner): void {
    this.#streams.attach(stream, owner);
  }

  send(stream: number, at: number, lengthBytes: number, tag: number): void {
    this.#streams.send(stream, at, lengthBytes, tag);
  }

  sendBacklogBytes(stream: number): number {
    return this.#streams.backlogBytes(stream);
  }

  consume(stream: number, count: number): void {
    this.#streams.consume(stream, count);
  }

  receive(stream: number, skip: number, at: number, lengthBytes: number, tag: number): void {
    this.#streams.receive(stream, skip, at, lengthBytes, tag);
  }

  streamAlive(stream: number): boolean {
    return this.#streams.isAlive(stream);
  }

  close(handle: number): void {
    assert(!this.#closing.has(handle), 'a handle is closed once');
    this.#closing.add(handle);
    this.#turns.queue(() => {
      this.#closing.delete(handle);
      const closed = this.#streams.close(handle) || this.#disks.close(handle);
      assert(closed, 'an open handle is closed');
    });
  }

  attachFuse(_descriptor: number, _owner: FuseOwner): number {
    return assertNoFuse();
  }

  fuseFeed(_fuse: number, _at: number): void {
    assertNoFuse();
  }

  fuseReply(_fuse: number, _at: number, _lengthBytes: number): void {
    assertNoFuse();
  }

  onBatchEnd(handler: () => void): void {
    this.#batchEnd.push(handler);
  }

  submit(): void {
    this.#turns.submit();
  }

  nowMs(): number {
    return this.#turns.nowMs;
  }

  refresh(): void {
    this.#turns.refresh();
  }

  /** Resolves when the clock has run what is in flight. */
  destroy(): Promise<void> {
    if (this.#turns.crashed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#destroyed = resolve;
      this.#streams.cancelConnects();
      for (const handle of [...this.#disks.handles, ...this.#streams.handles]) {
        if (!this.#closing.has(handle)) this.close(handle);
      }
      this.submit();
      this.#turns.schedule();
    });
  }

  #batch(): void {
    this.#streams.deliver();
    if (this.#turns.crashed) return;
    for (const handler of this.#batchEnd) handler();
    this.submit(); // what the batch led to, as the native engine does
    if (!this.#destroyed || !this.#turns.isIdle) return;
    const resolve = this.#destroyed;
    this.#destroyed = null;
    resolve();
  }
}

function assertNoFuse(): never {
  assert(false, 'the simulator has devices of its own instead of FUSE');
}
