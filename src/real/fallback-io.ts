/**
 * The I/O engine for a host without io_uring or without the addon: Node's `fs` and `net` behind the same face. Correct
 * and slow: a closure per operation, payload copied once more, no discard, no lock on the memory.
 */
import type net from 'node:net';
import { performance } from 'node:perf_hooks';
import { assert } from '../base/assert.js';
import type { BufferUse } from '../base/buffer-use.js';
import { BufferPool, DEFAULT_POOL, type PoolCounts } from '../host/buffer-pool.js';
import { DiskRequests } from '../host/disk-requests.js';
import { ERRNO } from '../host/errno.js';
import {
  type DiskInfo,
  type DiskOpen,
  type Endpoint,
  type FuseOwner,
  type Io,
  type IoOwner,
  type ListenOwner,
  type SocketOptions,
  STREAM_PEEK_BYTES,
  type StreamOwner,
} from '../host/io.js';
import { checkRequest } from '../host/io-check.js';
import { IoOwners } from '../host/io-owners.js';
import { StreamReceiver } from '../host/stream-receiver.js';
import { type Done, FallbackDisk } from './fallback-disk.js';
import { FallbackFuse } from './fallback-fuse.js';
import { connectNow, FallbackStream, listenNow, peerName } from './fallback-net.js';

const MAX_ROUNDS = 8; // batches delivered in a row before the event loop gets its turn

export interface FallbackOptions {
  readonly pool: PoolCounts;
  /** Peek regions, so streams attached at one time. */
  readonly streams: number;
}

export class FallbackIo implements Io {
  readonly pool: Uint8Array;
  readonly poolView: DataView;
  readonly #buffers: BufferPool;
  readonly #owners = new IoOwners();
  readonly #disks = new Map<
    number,
    { readonly disk: FallbackDisk; readonly requests: DiskRequests }
  >();
  readonly #streams = new Map<number, FallbackStream>();
  readonly #listeners = new Map<number, net.Server>();
  readonly #fuses = new Map<number, FallbackFuse>();
  readonly #peeks: number[] = []; // free peek regions
  readonly #peekOf = new Map<number, number>();
  readonly #closing = new Set<number>(); // close was called, submit not yet
  readonly #connecting = new Set<net.Socket>();
  readonly #batchEnd: (() => void)[] = [];
  #queue: (() => void)[] = []; // since the last submit
  #ready: (() => void)[] = []; // for the next batch
  #nextHandle = 1;
  #scheduled = false;
  #inFlight = 0; // operations begun and not yet completed
  #nowMs = performance.now();
  #destroyed: (() => void) | null = null;

  constructor(options: FallbackOptions = { pool: DEFAULT_POOL, streams: 64 }) {
    this.#buffers = new BufferPool(options.pool);
    const slots = this.#buffers.sizeBytes;
    this.pool = new Uint8Array(slots + options.streams * STREAM_PEEK_BYTES);
    this.poolView = new DataView(this.pool.buffer);
    for (let i = options.streams - 1; i >= 0; i--) {
      this.#peeks.push(slots + i * STREAM_PEEK_BYTES);
    }
  }

  register(owner: IoOwner): number {
    return this.#owners.register(owner);
  }

  alloc(payloadBytes: number, use?: BufferUse): number {
    return this.#buffers.alloc(payloadBytes, use);
  }

  free(at: number): void {
    this.#buffers.free(at);
  }

  capacity(at: number): number {
    return this.#buffers.capacity(at);
  }

  openDisk(path: string, how: DiskOpen, tag: number): void {
    this.#begin(
      (done) =>
        FallbackDisk.open(path, how, (disk, error) => {
          if (!disk) return done(-error);
          const handle = this.#nextHandle++;
          this.#disks.set(handle, { disk, requests: new DiskRequests(this.#buffers) });
          done(handle);
        }),
      tag,
    );
  }

  diskInfo(disk: number): DiskInfo {
    return this.#disk(disk).disk.info();
  }

  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void {
    const wrong = this.#wrong(disk, offsetBytes, at, lengthBytes);
    const bytes = this.pool.subarray(at, at + lengthBytes);
    this.#onDisk(disk, at, wrong, tag, (d, done) => d.read(bytes, offsetBytes, done));
  }

  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void {
    const wrong = this.#wrong(disk, offsetBytes, at, lengthBytes);
    const bytes = this.pool.subarray(at, at + lengthBytes);
    this.#onDisk(disk, at, wrong, tag, (d, done) => d.write(bytes, offsetBytes, fua, done));
  }

  flushDisk(disk: number, tag: number): void {
    this.#onDisk(disk, -1, 0, tag, (d, done) => d.flush(done));
  }

  discardDisk(disk: number, _offsetBytes: number, _lengthBytes: number, tag: number): void {
    this.#disk(disk);
    this.#begin((done) => done(-ERRNO.EOPNOTSUPP), tag);
  }

  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    _mayUnmap: boolean,
    tag: number,
  ): void {
    const wrong = this.#wrong(disk, offsetBytes, 0, lengthBytes);
    this.#onDisk(disk, -1, wrong, tag, (d, done) => d.zero(offsetBytes, lengthBytes, done));
  }

  abandonDisk(disk: number, tag: number): void {
    const { requests } = this.#disk(disk);
    this.#begin((done) => requests.abandon(() => done(0)), tag);
  }

  listen(at: Endpoint, _options: SocketOptions, owner: ListenOwner): number {
    const handle = this.#nextHandle++;
    const server = listenNow(at, (socket) => {
      const peer = peerName(socket);
      const stream = this.#addStream(socket);
      this.#later(() => {
        if (this.#listeners.has(handle)) owner.accepted(handle, stream, peer);
        else if (this.#streams.has(stream)) this.close(stream); // not where `destroy` has closed it
      });
    });
    if (typeof server === 'number') return server;
    this.#listeners.set(handle, server);
    return handle;
  }

  connect(
    remote: Endpoint,
    local: Endpoint | null,
    timeoutMs: number,
    _options: SocketOptions,
    tag: number,
  ): void {
    this.#begin((done) => {
      const connecting = connectNow(remote, local, timeoutMs, (socket, errno) => {
        this.#connecting.delete(connecting);
        done(socket ? this.#addStream(socket) : -errno);
      });
      this.#connecting.add(connecting);
    }, tag);
  }

  attachStream(stream: number, owner: StreamOwner): void {
    const s = this.#stream(stream);
    const peek = this.#peeks.pop();
    if (peek === undefined) {
      this.#later(() => this.#streams.has(stream) && owner.streamEnd(stream, ERRNO.ENOBUFS));
      return;
    }
    this.#peekOf.set(stream, peek);
    const complete = (tag: number, result: number) =>
      this.#later(() => this.#owners.done(tag, result));
    const receiver = new StreamReceiver(stream, this.pool, peek, STREAM_PEEK_BYTES, complete);
    receiver.attach(owner);
    s.receiver = receiver;
    this.#queue.push(() => s.start());
  }

  send(stream: number, at: number, lengthBytes: number, tag: number): void {
    const s = this.#stream(stream);
    s.backlogBytes += lengthBytes;
    const bytes = this.pool.subarray(at, at + lengthBytes);
    this.#begin((done) => s.send(bytes, done), tag);
  }

  sendBacklogBytes(stream: number): number {
    return this.#stream(stream).backlogBytes;
  }

  consume(stream: number, count: number): void {
    this.#receiver(stream).consume(count);
    this.#schedule();
  }

  receive(stream: number, skip: number, at: number, lengthBytes: number, tag: number): void {
    this.#receiver(stream).receive(skip, at, lengthBytes, tag);
    this.#schedule();
  }

  streamAlive(stream: number): boolean {
    return this.#stream(stream).alive;
  }

  close(handle: number): void {
    assert(!this.#closing.has(handle), 'a handle is closed once');
    this.#closing.add(handle);
    this.#queue.push(() => this.#close(handle));
  }

  attachFuse(descriptor: number, owner: FuseOwner): number {
    const handle = this.#nextHandle++;
    const events = {
      request: (f: FallbackFuse, at: number, lengthBytes: number) =>
        this.#later(() => {
          if (this.#fuses.has(handle)) f.owner.fuseRequest(handle, at, lengthBytes);
          else this.#buffers.free(at);
        }),
      end: (f: FallbackFuse, error: number) =>
        this.#later(() => this.#fuses.has(handle) && f.owner.fuseEnd(handle, error)),
    };
    this.#fuses.set(handle, new FallbackFuse(handle, descriptor, this.pool, owner, events));
    return handle;
  }

  fuseFeed(fuse: number, at: number): void {
    const f = this.#fuse(fuse);
    this.#queue.push(() => f.feed(at, this.#buffers.capacity(at)));
  }

  fuseReply(fuse: number, at: number, lengthBytes: number): void {
    const result = this.#fuse(fuse).reply(at, lengthBytes);
    assert(result === 0, `an answer that FUSE accepts (${result})`);
  }

  onBatchEnd(handler: () => void): void {
    this.#batchEnd.push(handler);
  }

  submit(): void {
    this.#nowMs = performance.now();
    while (this.#queue.length > 0) {
      const queue = this.#queue;
      this.#queue = [];
      for (const run of queue) run();
    }
    for (const s of this.#streams.values()) s.flush();
  }

  nowMs(): number {
    return this.#nowMs;
  }

  refresh(): void {
    this.#nowMs = performance.now();
  }

  destroy(): Promise<void> {
    return new Promise((resolve) => {
      this.#destroyed = resolve;
      for (const socket of this.#connecting) socket.destroy();
      const handles = [this.#disks, this.#streams, this.#listeners, this.#fuses];
      for (const map of handles) {
        for (const handle of map.keys()) if (!this.#closing.has(handle)) this.close(handle);
      }
      this.submit();
      this.#schedule();
    });
  }

  /** Queues `start` for the next submit; what it reports goes to `tag` in a batch after that. */
  #begin(start: (done: (result: number) => void) => void, tag: number): void {
    this.#inFlight++;
    this.#queue.push(() =>
      start((result) => {
        this.#inFlight--;
        this.#later(() => this.#owners.done(tag, result));
      }),
    );
  }

  #later(run: () => void): void {
    this.#ready.push(run);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#deliver());
  }

  /** One batch, and those that follow at once from it. */
  #deliver(): void {
    this.#scheduled = false;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      this.#nowMs = performance.now();
      const ready = this.#ready;
      this.#ready = [];
      for (const run of ready) run();
      let more = false;
      for (const s of this.#streams.values()) {
        if (s.receiver?.deliver()) more = true;
        s.resume();
      }
      for (const handler of this.#batchEnd) handler();
      this.submit(); // what the batch led to, as the native engine does
      if (this.#ready.length === 0 && !more) break;
      if (round === MAX_ROUNDS - 1) this.#schedule();
    }
    if (this.#destroyed && this.#inFlight === 0 && this.#ready.length === 0) {
      const resolve = this.#destroyed;
      this.#destroyed = null;
      resolve();
    }
  }

  #addStream(socket: net.Socket): number {
    const handle = this.#nextHandle++;
    this.#streams.set(handle, new FallbackStream(socket, () => this.#schedule()));
    return handle;
  }

  #close(handle: number): void {
    this.#closing.delete(handle);
    const stream = this.#streams.get(handle);
    const disk = this.#disks.get(handle);
    const listener = this.#listeners.get(handle);
    const fuse = this.#fuses.get(handle);
    assert(stream ?? disk ?? listener ?? fuse, 'an open handle is closed');
    if (stream) {
      this.#streams.delete(handle);
      stream.receiver?.fail(ERRNO.ECANCELED);
      stream.flush(); // what was queued before the close is offered to the kernel first
      stream.close();
      const peek = this.#peekOf.get(handle);
      if (peek !== undefined) this.#peeks.push(peek);
      this.#peekOf.delete(handle);
    }
    if (disk) {
      this.#disks.delete(handle);
      disk.disk.close();
    }
    if (listener) {
      this.#listeners.delete(handle);
      listener.close();
    }
    if (fuse) {
      this.#fuses.delete(handle);
      fuse.close((unused) => {
        for (const at of unused) this.#buffers.free(at);
      });
    }
  }

  #wrong(disk: number, offsetBytes: number, at: number, lengthBytes: number): number {
    const { logicalBlockBytes } = this.#disk(disk).disk;
    return checkRequest(logicalBlockBytes, offsetBytes, at, lengthBytes);
  }

  /** `wrong`: the result at once. */
  #onDisk(
    handle: number,
    at: number,
    wrong: number,
    tag: number,
    start: (disk: FallbackDisk, done: Done) => void,
  ): void {
    const { disk, requests } = this.#disk(handle);
    this.#begin((done) => {
      if (wrong !== 0) done(wrong);
      else if (requests.abandoned) done(-ERRNO.ETIMEDOUT);
      else start(disk, requests.begin(at, done));
    }, tag);
  }

  #disk(handle: number): { readonly disk: FallbackDisk; readonly requests: DiskRequests } {
    const disk = this.#disks.get(handle);
    assert(disk, 'an open disk');
    return disk;
  }

  #stream(handle: number): FallbackStream {
    const stream = this.#streams.get(handle);
    assert(stream, 'an open stream');
    return stream;
  }

  #receiver(handle: number): StreamReceiver {
    const receiver = this.#stream(handle).receiver;
    assert(receiver, 'a stream with bytes to receive');
    return receiver;
  }

  #fuse(handle: number): FallbackFuse {
    const fuse = this.#fuses.get(handle);
    assert(fuse, 'an open FUSE connection');
    return fuse;
  }
}
