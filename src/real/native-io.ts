/**
 * The I/O engine on one io_uring (native/). TypeScript writes commands into a shared array and decides where received
 * bytes go; the addon moves them. One call into here per batch of completions; the commands queued meanwhile are
 * submitted when it returns.
 *
 * Receiving: a stream has a peek region of PEEK_BYTES that is mapped twice in a row, so the unconsumed bytes are
 * contiguous without ever being moved. At most one receive is in the ring: into the free part of the peek region, or
 * into the rest of a `receive`'s target (and behind it into the peek region, which is empty then).
 */
import { performance } from 'node:perf_hooks';
import { assert } from '../base/assert.js';
import type { BufferUse } from '../base/buffer-use.js';
import { BufferPool, DEFAULT_POOL, type PoolCounts } from '../host/buffer-pool.js';
import { errnoName } from '../host/errno.js';
import {
  type DiskInfo,
  type DiskOpen,
  type Endpoint,
  type FuseOwner,
  type Io,
  type IoOwner,
  type ListenOwner,
  NO_TAG,
  type SocketOptions,
  type StreamOwner,
} from '../host/io.js';
import { checkRequest } from '../host/io-check.js';
import { IoError } from '../host/io-error.js';
import { IoOwners } from '../host/io-owners.js';
import {
  COMMAND_FIELD as C,
  COMMAND,
  COMMAND_BYTES,
  EVENT,
  EVENT_BYTES,
  HANDLE_SLOT_MASK,
  loadAddon,
  type NativeAddon,
  type NativeEngine,
} from './native-addon.js';
import { PEEK_BYTES, StreamTable } from './native-streams.js';

const MAX_COMMANDS = 4096; // when they are full they are submitted at once
const MAX_EVENTS = 1024; // per call; the rest comes in the next call
const FAMILY = { ipv4: 4, ipv6: 6, unix: 1 } as const;

export interface NativeOptions {
  readonly pool: PoolCounts;
  /** Peek regions, so streams attached at one time. */
  readonly streams: number;
}

export class NativeIo implements Io {
  readonly pool: Uint8Array;
  readonly poolView: DataView;
  /** 0, or the errno of mlock: the pool may then be swapped out. */
  readonly lockErrno: number;
  readonly #addon: NativeAddon;
  readonly #engine: NativeEngine;
  readonly #buffers: BufferPool;
  readonly #owners = new IoOwners();
  readonly #commands = new Int32Array(MAX_COMMANDS * (COMMAND_BYTES / 4));
  readonly #offsets = new Float64Array(this.#commands.buffer);
  readonly #events = new Int32Array(MAX_EVENTS * (EVENT_BYTES / 4));
  readonly #backlog = new Int32Array(HANDLE_SLOT_MASK + 1);
  readonly #facts = new Float64Array(8);
  readonly #streams: StreamTable;
  readonly #listeners = new Map<number, ListenOwner>();
  readonly #fuses = new Map<number, FuseOwner>();
  readonly #blockBytes = new Int32Array(HANDLE_SLOT_MASK + 1); // of disks, by slot; 0 until asked
  readonly #open = new Set<number>();
  readonly #deferred: (() => void)[] = []; // run in the next batch
  readonly #deferredTag: number;
  readonly #closing = new Set<number>();
  readonly #abandoned = new Set<number>(); // disks that are not waited for
  readonly #batchEnd: (() => void)[] = [];
  #count = 0; // commands queued
  #inBatch = false;
  #nowMs = performance.now();
  #destroyed: (() => void) | null = null;
  #stopped = false;

  /** Throws an IoError (NO_IO_URING, SYSTEM) where there can be no such engine. */
  constructor(options: NativeOptions = { pool: DEFAULT_POOL, streams: 64 }) {
    const addon = loadAddon();
    if (addon instanceof IoError) throw addon;
    this.#addon = addon;
    this.#buffers = new BufferPool(options.pool);
    const slotBytes = this.#buffers.sizeBytes;
    try {
      this.#engine = addon.create(
        slotBytes,
        options.streams,
        PEEK_BYTES,
        this.#commands.buffer,
        this.#events.buffer,
        this.#backlog.buffer,
        (events) => this.#batch(events),
      );
    } catch (error) {
      const { errno } = error as { readonly errno?: number };
      if (errno === undefined) throw error;
      const text = `no io_uring here: ${(error as Error).message}: ${errnoName(errno)}`;
      throw new IoError('NO_IO_URING', text, errno, error);
    }
    this.lockErrno = this.#engine.lockErrno;
    this.pool = new Uint8Array(this.#engine.memory);
    this.poolView = new DataView(this.#engine.memory);
    this.#streams = new StreamTable(this.pool, slotBytes, options.streams, {
      receive: (stream, at, lengthBytes, at2, length2) => {
        const i = this.#command(COMMAND.receive, stream, at, lengthBytes, NO_TAG);
        this.#commands[i + C.at2] = at2;
        this.#commands[i + C.length2] = length2;
      },
      complete: (tag, result) => this.#command(COMMAND.complete, 0, 0, result, tag),
      done: (tag, result) => this.#owners.done(tag, result),
      endLater: (stream, owner, error) => {
        this.#deferred.push(() => {
          if (this.#open.has(stream) && !this.#closing.has(stream)) owner.streamEnd(stream, error);
        });
        this.#command(COMMAND.complete, 0, 0, 0, this.#deferredTag);
      },
    });
    this.#deferredTag = this.#owners.register({ ioDone: () => this.#deferred.shift()?.() });
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
    this.#addon.openDisk.call(this.#engine, path, how.write, how.exclusive, tag);
  }

  diskInfo(disk: number): DiskInfo {
    const f = this.#facts;
    const result = this.#addon.diskFacts.call(this.#engine, disk, f.buffer);
    if (result < 0) {
      const text = `the disk cannot be examined: ${errnoName(result)}`;
      throw new IoError('DEVICE_GONE', text, -result);
    }
    return {
      sizeBytes: f[0] as number,
      logicalBlockBytes: f[1] as number,
      physicalBlockBytes: f[2] as number,
      isBlockDevice: f[3] === 1,
      canDiscard: f[4] === 1,
      discardZeroes: f[5] === 1,
      discardGranularityBytes: f[6] as number,
      maxDiscardBytes: f[7] as number,
    };
  }

  /** Whether the disk was opened O_DIRECT. */
  isDirect(disk: number): boolean {
    return this.#addon.isDirect.call(this.#engine, disk);
  }

  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void {
    this.#transfer(COMMAND.read, disk, offsetBytes, at, lengthBytes, 0, tag);
  }

  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void {
    this.#transfer(COMMAND.write, disk, offsetBytes, at, lengthBytes, fua ? 1 : 0, tag);
  }

  flushDisk(disk: number, tag: number): void {
    this.#command(COMMAND.flush, disk, 0, 0, tag);
  }

  discardDisk(disk: number, offsetBytes: number, lengthBytes: number, tag: number): void {
    this.#range(COMMAND.discard, disk, offsetBytes, lengthBytes, 0, tag);
  }

  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    tag: number,
  ): void {
    this.#range(COMMAND.zero, disk, offsetBytes, lengthBytes, mayUnmap ? 1 : 0, tag);
  }

  abandonDisk(disk: number, tag: number): void {
    this.#abandoned.add(disk);
    this.#command(COMMAND.abandon, disk, 0, 0, tag);
  }

  listen(at: Endpoint, options: SocketOptions, owner: ListenOwner): number {
    const { sendBufferBytes, receiveBufferBytes } = options;
    const [family, host, port] = endpoint(at);
    const handle = this.#addon.listen.call(
      this.#engine,
      family,
      host,
      port,
      sendBufferBytes,
      receiveBufferBytes,
    );
    if (handle < 0) return handle;
    this.#open.add(handle);
    this.#listeners.set(handle, owner);
    return handle;
  }

  connect(
    remote: Endpoint,
    local: Endpoint | null,
    timeoutMs: number,
    options: SocketOptions,
    tag: number,
  ): void {
    const [family, host, port] = endpoint(remote);
    const [localFamily, localHost, localPort] = local ? endpoint(local) : [0, '', 0];
    this.#addon.connect.call(
      this.#engine,
      family,
      host,
      port,
      localFamily,
      localHost,
      timeoutMs,
      options.sendBufferBytes,
      options.receiveBufferBytes,
      tag,
      localPort,
    );
  }

  attachStream(stream: number, owner: StreamOwner): void {
    this.#streams.attach(stream, owner);
  }

  send(stream: number, at: number, lengthBytes: number, tag: number): void {
    const slot = stream & HANDLE_SLOT_MASK;
    this.#backlog[slot] = (this.#backlog[slot] as number) + lengthBytes;
    this.#command(COMMAND.send, stream, at, lengthBytes, tag);
  }

  sendBacklogBytes(stream: number): number {
    return this.#backlog[stream & HANDLE_SLOT_MASK] as number;
  }

  consume(stream: number, count: number): void {
    this.#streams.consume(stream, count);
  }

  receive(stream: number, skip: number, at: number, lengthBytes: number, tag: number): void {
    this.#streams.receive(stream, skip, at, lengthBytes, tag);
  }

  streamAlive(stream: number): boolean {
    return this.#addon.streamAlive.call(this.#engine, stream);
  }

  close(handle: number): void {
    assert(this.#open.has(handle), 'an open handle is closed');
    assert(!this.#closing.has(handle), 'a handle is closed once');
    this.#closing.add(handle);
    this.#listeners.delete(handle);
    this.#fuses.delete(handle);
    this.#streams.closing(handle);
    this.#command(COMMAND.close, handle, 0, 0, NO_TAG);
  }

  attachFuse(descriptor: number, owner: FuseOwner): number {
    const handle = this.#addon.attachFuse.call(this.#engine, descriptor);
    if (handle < 0) {
      const text = `descriptor ${descriptor} cannot be served: ${errnoName(handle)}`;
      throw new IoError('SYSTEM', text, -handle);
    }
    this.#open.add(handle);
    this.#fuses.set(handle, owner);
    return handle;
  }

  fuseFeed(fuse: number, at: number): void {
    this.#command(COMMAND.fuseFeed, fuse, at, this.#buffers.capacity(at), NO_TAG);
  }

  /** Written at once, so that the caller may use the range for the next answer of the same turn. */
  fuseReply(fuse: number, at: number, lengthBytes: number): void {
    const result = this.#addon.fuseReply.call(this.#engine, fuse, at, lengthBytes);
    // Once per request: the words are made only when they are needed.
    if (result !== 0) assert(false, `an answer that FUSE accepts (${errnoName(result)})`);
  }

  onBatchEnd(handler: () => void): void {
    this.#batchEnd.push(handler);
  }

  submit(): void {
    if (this.#inBatch || this.#stopped) return; // submitted when the batch returns
    this.#nowMs = performance.now();
    this.#streams.arm();
    this.#flush();
  }

  nowMs(): number {
    return this.#nowMs;
  }

  refresh(): void {
    if (!this.#inBatch) this.#nowMs = performance.now();
  }

  destroy(): Promise<void> {
    return new Promise((resolve) => {
      this.#destroyed = resolve;
      for (const handle of this.#open) if (!this.#closing.has(handle)) this.close(handle);
      this.#addon.cancelUnowned.call(this.#engine);
      if (this.#inBatch) return;
      this.submit();
      this.#maybeStop();
    });
  }

  #transfer(
    kind: number,
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    flags: number,
    tag: number,
  ): void {
    const wrong = checkRequest(this.#blockOf(disk), offsetBytes, at, lengthBytes);
    if (wrong !== 0) {
      this.#command(COMMAND.complete, 0, 0, wrong, tag);
      return;
    }
    const i = this.#command(kind, disk, at, lengthBytes, tag);
    this.#commands[i + C.flags] = flags;
    this.#offsets[i / 2 + C.offset] = offsetBytes;
  }

  #range(
    kind: number,
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    flags: number,
    tag: number,
  ): void {
    const wrong = checkRequest(this.#blockOf(disk), offsetBytes, 0, lengthBytes);
    if (wrong !== 0) {
      this.#command(COMMAND.complete, 0, 0, wrong, tag);
      return;
    }
    const i = this.#command(kind, disk, 0, 0, tag);
    this.#commands[i + C.flags] = flags;
    this.#offsets[i / 2 + C.offset] = offsetBytes;
    this.#offsets[i / 2 + C.wideLength] = lengthBytes;
  }

  #blockOf(disk: number): number {
    const slot = disk & HANDLE_SLOT_MASK;
    const known = this.#blockBytes[slot] as number;
    if (known !== 0) return known;
    const asked = this.diskInfo(disk).logicalBlockBytes;
    this.#blockBytes[slot] = asked;
    return asked;
  }

  /** Queues a command; the result is its first index in the Int32 view. */
  #command(kind: number, handle: number, at: number, lengthBytes: number, tag: number): number {
    if (this.#count === MAX_COMMANDS) this.#flush();
    const i = this.#count * (COMMAND_BYTES / 4);
    const c = this.#commands;
    c[i + C.kind] = kind;
    c[i + C.handle] = handle;
    c[i + C.at] = at;
    c[i + C.length] = lengthBytes;
    c[i + C.tag] = tag;
    this.#count++;
    return i;
  }

  #flush(): void {
    const count = this.#count;
    this.#count = 0;
    this.#addon.submit.call(this.#engine, count);
  }

  /** Called by the addon with `count` events in the shared array; gives back how many commands are queued. */
  #batch(count: number): number {
    this.#inBatch = true;
    this.#nowMs = performance.now();
    try {
      for (let i = 0; i < count; i++) this.#event(i * (EVENT_BYTES / 4));
      for (const handler of this.#batchEnd) handler();
    } finally {
      this.#inBatch = false;
    }
    this.#streams.arm();
    this.#maybeStop();
    // Submitted here, not by the addon afterwards: between this return and the addon's next step promises are
    // resolved, and what they queue would take the place of commands that have not been submitted yet.
    if (this.#count > 0) this.#flush();
    return 0;
  }

  #event(i: number): void {
    const e = this.#events;
    const handle = e[i + 1] as number;
    const result = e[i + 3] as number;
    switch (e[i]) {
      case EVENT.done:
        if (handle > 0) this.#open.add(handle); // of openDisk or connect
        this.#owners.done(e[i + 2] as number, result);
        if (handle > 0 && this.#destroyed) this.close(handle);
        return;
      case EVENT.received:
        this.#streams.received(handle, result);
        return;
      case EVENT.accepted:
        this.#accepted(handle, result);
        return;
      case EVENT.fuseRequest: {
        const at = e[i + 4] as number;
        const owner = this.#fuses.get(handle);
        if (owner) owner.fuseRequest(handle, at, result);
        else this.#buffers.free(at);
        return;
      }
      case EVENT.fuseEnd:
        this.#fuses.get(handle)?.fuseEnd(handle, result);
        return;
      case EVENT.unused:
        this.#buffers.free(e[i + 4] as number);
        return;
      case EVENT.abandoned: {
        const at = e[i + 4] as number;
        if (at >= 0) this.#buffers.hold(at);
        this.#owners.done(e[i + 2] as number, result);
        return;
      }
      case EVENT.returned: {
        const at = e[i + 4] as number;
        if (at >= 0) this.#buffers.release(at);
        return;
      }
      case EVENT.closed:
        this.#open.delete(handle);
        this.#abandoned.delete(handle);
        this.#closing.delete(handle);
        this.#blockBytes[handle & HANDLE_SLOT_MASK] = 0;
        this.#streams.closed(handle);
        return;
      default:
        assert(false, `an event of the addon (${e[i]})`);
    }
  }

  #accepted(listener: number, stream: number): void {
    this.#open.add(stream);
    const owner = this.#listeners.get(listener);
    if (owner) owner.accepted(listener, stream, this.#addon.peerName.call(this.#engine, stream));
    else this.close(stream);
  }

  #maybeStop(): void {
    if (!this.#destroyed || this.#stopped || this.#count > 0) return;
    const awaited = this.#open.size - this.#abandoned.size;
    if (this.#addon.inFlight.call(this.#engine) > 0 || awaited > 0) return;
    this.#stopped = true;
    const resolve = this.#destroyed;
    setImmediate(() => {
      this.#addon.stop.call(this.#engine);
      resolve();
    });
  }
}

function endpoint(at: Endpoint): readonly [number, string, number] {
  return at.family === 'unix' ? [1, at.path, 0] : [FAMILY[at.family], at.host, at.port];
}
