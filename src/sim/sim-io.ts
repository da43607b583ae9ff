/**
 * The I/O engine of a simulated node: disks with a write cache, a network of hosts, virtual time, all from a seed.
 *
 * It checks its users too: a range of the pool that a write or a send was given must not have changed when it is done
 * (on a real engine those bytes might be the ones that reach the disk).
 */
import { assert } from '../base/assert.js';
import { BufferPool, type PoolCounts } from '../host/buffer-pool.js';
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
import { sameBytes } from './disk-content.js';
import type { Clock } from './node-clock.js';
import type { Timer } from './sim-clock.js';
import type { SimDisk } from './sim-disk.js';
import type { SimNet } from './sim-net.js';
import type { SimSocket } from './sim-tcp.js';

export interface SimHost {
  readonly name: string;
  readonly clock: Clock;
  readonly net: SimNet;
  /** Path -> disk. Disks outlive the engine, as they outlive a crash. */
  readonly disks: ReadonlyMap<string, SimDisk>;
  readonly pool: PoolCounts;
  readonly streams: number;
  /** Called before each operation takes effect: a process may be killed between any two of them. */
  readonly beforeOperation?: () => void;
}

interface OpenDisk {
  readonly disk: SimDisk;
  readonly path: string;
  readonly write: boolean;
  readonly exclusive: boolean;
}

interface Send {
  readonly at: number;
  readonly copy: Uint8Array;
  readonly tag: number;
  taken: number;
  waited: boolean; // not taken at once: the pool may have changed meanwhile
}

interface Stream {
  readonly socket: SimSocket;
  readonly sends: Send[];
  receiver: StreamReceiver | null;
  peek: number; // -1 while not attached
  backlogBytes: number;
  early: Uint8Array[]; // arrived before the stream was attached
  owed: number; // bytes given to the receiver's chunks and not yet reported as taken
}

/** A write, or (without bytes) a discard or zeroing, that was begun and is not done. */
interface Writing {
  readonly disk: SimDisk;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly bytes: Uint8Array | null;
}

/** Of the head in front of a freed buffer's payload: where headers lie. */
const POISONED_HEAD_BYTES = 128;

export class SimIo implements Io {
  readonly pool: Uint8Array;
  readonly poolView: DataView;
  readonly #host: SimHost;
  readonly #buffers: BufferPool;
  readonly #owners = new IoOwners();
  readonly #disks = new Map<number, OpenDisk>();
  readonly #streams = new Map<number, Stream>();
  readonly #listeners = new Map<number, string>();
  readonly #peeks: number[] = [];
  readonly #connecting = new Map<Timer, () => void>();
  readonly #writing = new Set<Writing>();
  readonly #closing = new Set<number>();
  readonly #batchEnd: (() => void)[] = [];
  #queue: (() => void)[] = [];
  #ready: (() => void)[] = [];
  #nextHandle = 1;
  #inFlight = 0;
  #scheduled = false;
  #nowMs: number;
  #crashed = false;
  #destroyed: (() => void) | null = null;

  constructor(host: SimHost) {
    this.#host = host;
    this.#nowMs = host.clock.nowMs;
    this.#buffers = new BufferPool(host.pool);
    const slots = this.#buffers.sizeBytes;
    this.pool = new Uint8Array(slots + host.streams * STREAM_PEEK_BYTES);
    this.poolView = new DataView(this.pool.buffer);
    for (let i = host.streams - 1; i >= 0; i--) this.#peeks.push(slots + i * STREAM_PEEK_BYTES);
  }

  /** Buffers handed out and not freed. */
  get buffersInUse(): number {
    return this.#buffers.inUse;
  }

  /**
   * The process dies: nothing is told any more. With `power` the host goes too: its peers hear nothing and its disks lose
   * or tear what was not stable.
   */
  crash(power: boolean): void {
    if (this.#crashed) return;
    this.#crashed = true;
    this.#host.net.crash(this.#host.name, power);
    for (const disk of new Set(this.#host.disks.values())) {
      const unfinished = [...this.#writing]
        .filter((w) => w.disk === disk && w.offsetBytes + w.lengthBytes <= disk.sizeBytes)
        .map((w) => ({
          offsetBytes: w.offsetBytes,
          bytes: w.bytes ?? new Uint8Array(w.lengthBytes),
        }));
      if (power) disk.powerCut(unfinished);
      else disk.abandon(unfinished);
    }
    this.#writing.clear();
  }

  register(owner: IoOwner): number {
    return this.#owners.register(owner);
  }

  alloc(payloadBytes: number): number {
    return this.#buffers.alloc(payloadBytes);
  }

  /** Whoever looks at a buffer after it was freed finds noise, not by luck what was there. */
  free(at: number): void {
    this.#buffers.free(at);
    const poisoned = Math.min(this.#buffers.capacity(at), 4096);
    this.pool.fill(0xdb, at - POISONED_HEAD_BYTES, at + poisoned);
  }

  capacity(at: number): number {
    return this.#buffers.capacity(at);
  }

  openDisk(path: string, how: DiskOpen, tag: number): void {
    this.#begin(tag, (done) =>
      this.#host.clock.after(0.1, () => {
        const disk = this.#host.disks.get(path);
        if (!disk) return done(-ERRNO.ENOENT);
        const claimed = [...this.#disks.values()].some((o) => o.path === path && o.exclusive);
        if (how.exclusive && (claimed || disk.isClaimed)) return done(-ERRNO.EBUSY);
        const handle = this.#nextHandle++;
        this.#disks.set(handle, { disk, path, ...how });
        done(handle);
      }),
    );
  }

  diskInfo(disk: number): DiskInfo {
    return this.#disk(disk).disk.info;
  }

  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void {
    const { disk: d } = this.#disk(disk);
    const wrong = checkRequest(d.options.logicalBlockBytes, offsetBytes, at, lengthBytes);
    this.#diskOp(tag, d, wrong, d.options.latencyMs, () => {
      if (offsetBytes + lengthBytes > d.sizeBytes) return -ERRNO.EIO;
      if (d.chance(d.faults.readChance)) return -ERRNO.EIO;
      return d.read(offsetBytes, this.pool.subarray(at, at + lengthBytes))
        ? lengthBytes
        : -ERRNO.EIO;
    });
  }

  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void {
    const { disk: d, write } = this.#disk(disk);
    const aligned = checkRequest(d.options.logicalBlockBytes, offsetBytes, at, lengthBytes);
    const wrong = write ? aligned : -ERRNO.EBADF;
    let bytes: Uint8Array;
    const begin = () => {
      bytes = this.pool.slice(at, at + lengthBytes);
      return { disk: d, offsetBytes, lengthBytes, bytes };
    };
    this.#changeDisk(tag, d, wrong, begin, () => {
      this.#unchanged(at, bytes);
      if (offsetBytes + lengthBytes > d.sizeBytes) return -ERRNO.ENOSPC;
      if (d.chance(d.faults.writeChance)) {
        d.failWrite(offsetBytes, bytes);
        return -ERRNO.EIO;
      }
      d.write(offsetBytes, bytes, fua);
      return lengthBytes;
    });
  }

  flushDisk(disk: number, tag: number): void {
    const { disk: d } = this.#disk(disk);
    let order = 0;
    this.#diskOp(
      tag,
      d,
      0,
      d.options.flushLatencyMs,
      () => {
        if (d.chance(d.faults.flushChance)) return -ERRNO.EIO;
        d.flushEnd(order);
        return 0;
      },
      () => {
        order = d.flushBegin();
      },
    );
  }

  discardDisk(disk: number, offsetBytes: number, lengthBytes: number, tag: number): void {
    const { disk: d, write } = this.#disk(disk);
    const aligned = checkRequest(d.options.logicalBlockBytes, offsetBytes, 0, lengthBytes);
    const wrong = d.options.canDiscard ? aligned : -ERRNO.EOPNOTSUPP;
    const begin = () => ({ disk: d, offsetBytes, lengthBytes, bytes: null });
    this.#changeDisk(tag, d, write ? wrong : -ERRNO.EBADF, begin, () => {
      if (offsetBytes + lengthBytes > d.sizeBytes) return -ERRNO.EIO;
      if (d.chance(d.faults.writeChance)) return -ERRNO.EIO;
      d.discard(offsetBytes, lengthBytes);
      return 0;
    });
  }

  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    _mayUnmap: boolean,
    tag: number,
  ): void {
    const { disk: d, write } = this.#disk(disk);
    const aligned = checkRequest(d.options.logicalBlockBytes, offsetBytes, 0, lengthBytes);
    const begin = () => ({ disk: d, offsetBytes, lengthBytes, bytes: null });
    this.#changeDisk(tag, d, write ? aligned : -ERRNO.EBADF, begin, () => {
      if (offsetBytes + lengthBytes > d.sizeBytes) return -ERRNO.ENOSPC;
      if (d.chance(d.faults.writeChance)) return -ERRNO.EIO;
      d.zero(offsetBytes, lengthBytes);
      return 0;
    });
  }

  listen(at: Endpoint, _options: SocketOptions, owner: ListenOwner): number {
    const { net, name } = this.#host;
    if (this.#crashed) return -ERRNO.ECANCELED; // the rest of the turn of a process that is no more
    if (at.family !== 'unix' && !net.owns(name, at.host)) return -ERRNO.EADDRNOTAVAIL;
    const handle = this.#nextHandle++;
    const error = net.tcp.listen(name, addressText(at), (socket) => {
      const stream = this.#addStream(socket);
      this.#later(() => {
        if (this.#listeners.has(handle)) owner.accepted(handle, stream, socket.peerName);
        else this.close(stream);
      });
    });
    if (error !== 0) return error;
    this.#listeners.set(handle, addressText(at));
    return handle;
  }

  connect(
    remote: Endpoint,
    local: Endpoint | null,
    timeoutMs: number,
    _options: SocketOptions,
    tag: number,
  ): void {
    const { net, name, clock } = this.#host;
    const from = local && local.family !== 'unix' ? local.host : null;
    this.#begin(tag, (done) => {
      if (from !== null && !net.owns(name, from)) return done(-ERRNO.EADDRNOTAVAIL);
      const finish = (result: number): void => {
        clock.cancel(timer);
        this.#connecting.delete(timer);
        done(result);
      };
      const attempt = net.tcp.connect(name, addressText(remote), from, (socket, errno) => {
        finish(socket ? this.#addStream(socket) : -errno);
      });
      const giveUp = (errno: number): void => {
        net.tcp.cancelConnect(attempt);
        finish(-errno);
      };
      const timer = clock.after(timeoutMs, () => giveUp(ERRNO.ETIMEDOUT));
      this.#connecting.set(timer, () => giveUp(ERRNO.ECANCELED));
    });
  }

  attachStream(stream: number, owner: StreamOwner): void {
    const s = this.#stream(stream);
    assert(s.receiver === null, 'a stream is attached once');
    const peek = this.#peeks.pop();
    if (peek === undefined) {
      this.#later(() => {
        if (this.#streams.has(stream)) owner.streamEnd(stream, ERRNO.ENOBUFS);
      });
      return;
    }
    s.peek = peek;
    const complete = (tag: number, result: number) =>
      this.#later(() => this.#owners.done(tag, result));
    s.receiver = new StreamReceiver(stream, this.pool, peek, STREAM_PEEK_BYTES, complete);
    s.receiver.attach(owner);
    for (const bytes of s.early) s.receiver.push(bytes);
    s.early = [];
    if (s.socket.ended >= 0) s.receiver.end(s.socket.ended);
    this.#schedule();
  }

  send(stream: number, at: number, lengthBytes: number, tag: number): void {
    const s = this.#stream(stream);
    s.backlogBytes += lengthBytes;
    this.#begin(tag, (done, ownTag) => {
      if (s.socket.dead || s.socket.ended > 0) {
        s.backlogBytes -= lengthBytes;
        return done(s.socket.dead ? -ERRNO.ECANCELED : -s.socket.ended);
      }
      this.#inFlight--; // its completion is counted by the queue of sends
      s.sends.push({
        at,
        copy: this.pool.slice(at, at + lengthBytes),
        tag: ownTag,
        taken: 0,
        waited: false,
      });
      this.#pump(s);
    });
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
    return this.#stream(stream).socket.ended < 0;
  }

  close(handle: number): void {
    assert(!this.#closing.has(handle), 'a handle is closed once');
    this.#closing.add(handle);
    this.#queue.push(() => this.#close(handle));
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
    this.#nowMs = this.#host.clock.nowMs;
    while (this.#queue.length > 0 && !this.#crashed) {
      const queue = this.#queue;
      this.#queue = [];
      for (const run of queue) {
        this.#host.beforeOperation?.();
        if (this.#crashed) return;
        run();
      }
    }
  }

  nowMs(): number {
    return this.#nowMs;
  }

  /** Resolves when the clock has run what is in flight. */
  destroy(): Promise<void> {
    if (this.#crashed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#destroyed = resolve;
      for (const cancel of [...this.#connecting.values()]) cancel();
      for (const map of [this.#disks, this.#streams, this.#listeners]) {
        for (const handle of map.keys()) if (!this.#closing.has(handle)) this.close(handle);
      }
      this.submit();
      this.#schedule();
    });
  }

  // ---- inside

  /** Queues `start` for the next submit; what it reports goes to `tag` in a batch after that. */
  #begin(tag: number, start: (done: (result: number) => void, tag: number) => void): void {
    this.#inFlight++;
    this.#queue.push(() =>
      start((result) => {
        this.#inFlight--;
        this.#later(() => this.#owners.done(tag, result));
      }, tag),
    );
  }

  /** A request that takes the disk's time; `wrong` < 0 is its result at once. */
  #diskOp(
    tag: number,
    disk: SimDisk,
    wrong: number,
    latencyMs: readonly [number, number],
    finish: () => number,
    begin: () => void = () => {},
  ): void {
    this.#begin(tag, (done) => {
      if (wrong !== 0) return done(wrong);
      begin();
      this.#host.clock.after(disk.latency(latencyMs), () => {
        disk.whenAnswering(() => {
          if (!this.#crashed) done(finish());
        });
      });
    });
  }

  /** The same of one that changes the disk: until it is done, a crash leaves open how much of it happens. */
  #changeDisk(
    tag: number,
    disk: SimDisk,
    wrong: number,
    begin: () => Writing,
    finish: () => number,
  ): void {
    let writing: Writing;
    this.#diskOp(
      tag,
      disk,
      wrong,
      disk.options.latencyMs,
      () => {
        this.#writing.delete(writing);
        return finish();
      },
      () => {
        writing = begin();
        this.#writing.add(writing);
      },
    );
  }

  #unchanged(at: number, copy: Uint8Array): void {
    const same = sameBytes(this.pool.subarray(at, at + copy.length), copy);
    assert(same, 'a range of the pool does not change while the engine has it');
  }

  #later(run: () => void): void {
    this.#ready.push(run);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#host.clock.after(0, () => this.#deliver());
  }

  #deliver(): void {
    this.#scheduled = false;
    if (this.#crashed) return;
    this.#nowMs = this.#host.clock.nowMs;
    const ready = this.#ready;
    this.#ready = [];
    for (const run of ready) {
      if (this.#crashed) return;
      run();
    }
    for (const s of this.#streams.values()) {
      if (this.#crashed) return;
      if (s.receiver?.deliver()) this.#schedule();
      this.#report(s);
    }
    if (this.#crashed) return;
    for (const handler of this.#batchEnd) handler();
    this.submit(); // what the batch led to, as the native engine does
    if (!this.#destroyed || this.#inFlight > 0 || this.#ready.length > 0) return;
    const resolve = this.#destroyed;
    this.#destroyed = null;
    resolve();
  }

  #addStream(socket: SimSocket): number {
    const handle = this.#nextHandle++;
    const s: Stream = {
      socket,
      sends: [],
      receiver: null,
      peek: -1,
      backlogBytes: 0,
      early: [],
      owed: 0,
    };
    this.#streams.set(handle, s);
    socket.onData = (bytes) => {
      if (s.receiver) s.receiver.push(bytes);
      else s.early.push(bytes);
      s.owed += bytes.length;
      this.#schedule();
    };
    socket.onEnd = (error) => {
      s.receiver?.end(error);
      if (error > 0) this.#failSends(s, error);
      this.#schedule();
    };
    socket.onRoom = () => this.#pump(s);
    return handle;
  }

  /** Tells the network what the peek region or a target has taken: only that makes room in the window. */
  #report(s: Stream): void {
    if (!s.receiver) return;
    const taken = s.owed - s.receiver.waitingBytes;
    if (taken === 0) return;
    s.owed -= taken;
    this.#host.net.tcp.taken(s.socket, taken);
  }

  #pump(s: Stream): void {
    const { net } = this.#host;
    while (!s.socket.dead && s.sends.length > 0) {
      const send = s.sends[0] as Send;
      const n = Math.min(net.tcp.room(s.socket), send.copy.length - send.taken);
      if (n === 0 && send.copy.length > 0) break;
      net.tcp.send(s.socket, send.copy.subarray(send.taken, send.taken + n));
      send.taken += n;
      s.backlogBytes -= n;
      if (send.taken < send.copy.length) break;
      s.sends.shift();
      if (send.waited) this.#unchanged(send.at, send.copy);
      this.#later(() => this.#owners.done(send.tag, send.copy.length));
    }
    for (const send of s.sends) send.waited = true;
  }

  #failSends(s: Stream, errno: number): void {
    for (const send of s.sends.splice(0)) {
      s.backlogBytes -= send.copy.length - send.taken;
      this.#later(() => this.#owners.done(send.tag, -errno));
    }
  }

  #close(handle: number): void {
    this.#closing.delete(handle);
    const stream = this.#streams.get(handle);
    const address = this.#listeners.get(handle);
    assert(stream ?? address ?? this.#disks.get(handle), 'an open handle is closed');
    if (stream) {
      this.#streams.delete(handle);
      stream.receiver?.fail(ERRNO.ECANCELED);
      this.#failSends(stream, ERRNO.ECANCELED);
      if (stream.peek >= 0) this.#peeks.push(stream.peek);
      stream.socket.onData = null;
      stream.socket.onEnd = null;
      stream.socket.onRoom = null;
      this.#host.net.tcp.close(stream.socket);
    }
    if (address !== undefined) {
      this.#listeners.delete(handle);
      this.#host.net.tcp.unlisten(this.#host.name, address);
    }
    this.#disks.delete(handle);
  }

  #disk(handle: number): OpenDisk {
    const disk = this.#disks.get(handle);
    assert(disk, 'an open disk');
    return disk;
  }

  #stream(handle: number): Stream {
    const stream = this.#streams.get(handle);
    assert(stream, 'an open stream');
    return stream;
  }

  #receiver(handle: number): StreamReceiver {
    const { receiver } = this.#stream(handle);
    assert(receiver, 'an attached stream');
    return receiver;
  }
}

function addressText(at: Endpoint): string {
  return at.family === 'unix' ? `unix:${at.path}` : `${at.host}:${at.port}`;
}

function assertNoFuse(): never {
  assert(false, 'the simulator has devices of its own instead of FUSE');
}
