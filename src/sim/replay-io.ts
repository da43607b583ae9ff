/**
 * The I/O port of a replay: every answer comes from the recording, nothing is moved. What the machine asks for goes into the
 * same hash that the recorder made, and is compared with it turn by turn.
 *
 *     stream bytes as recorded: [headers and small packets][hole: payload][headers] ... ; a hole reads as zeroes
 */
import { assert } from '../base/assert.js';
import { BufferPool, type PoolCounts } from '../host/buffer-pool.js';
import { E, foldContent, foldText, mix, mixEffect } from '../host/flight-effects.js';
import { R } from '../host/flight-format.js';
import type { FlightFile } from '../host/flight-read.js';
import { decodeRuns } from '../host/flight-ring.js';
import type {
  DiskInfo,
  DiskOpen,
  Endpoint,
  FuseOwner,
  Io,
  IoOwner,
  ListenOwner,
  SocketOptions,
  StreamOwner,
} from '../host/io.js';
import type { ReplayLog } from './replay-log.js';

const KIND_SHIFT = 20;
const INDEX_MASK = 0xffffff;
const PEEK_BYTES = 1 << 18; // more than any engine peeks
const STREAMS = 256;

/** Bytes of one stream, in order; `bytes` null is a hole. */
interface Piece {
  readonly at: number; // since the stream began
  readonly length: number;
  readonly bytes: Uint8Array | null;
}

interface Content {
  readonly pieces: Piece[];
  length: number;
  closed: boolean;
}

class ReplayStream {
  readonly id: number;
  readonly owner: StreamOwner;
  base: number; // -1: closed
  consumed = 0;
  from = 0; // index of the first piece that may still be needed

  constructor(id: number, owner: StreamOwner, base: number) {
    this.id = id;
    this.owner = owner;
    this.base = base;
  }
}

/** What all streams of a recording carried, by number. */
function contentOf(file: FlightFile): Map<number, Content> {
  const all = new Map<number, Content>();
  const cursor = file.records();
  const add = (id: number, length: number, bytes: Uint8Array | null): void => {
    let c = all.get(id);
    if (!c) {
      c = { pieces: [], length: 0, closed: false };
      all.set(id, c);
    }
    if (length > 0) c.pieces.push({ at: c.length, length, bytes });
    c.length += length;
  };
  for (let r = cursor.next(); r.kind !== 0; r = cursor.next()) {
    if (r.kind === R.BYTES) add(r.a, r.bytes.length, r.bytes);
    else if (r.kind === R.TAKEN) {
      add(r.a, r.bytes.length, r.bytes);
      add(r.a, r.b, null);
    } else if (r.kind === R.HOLE) add(r.a, r.b, null);
    else if (r.kind === R.LEFT) {
      add(r.a, 0, null);
      (all.get(r.a) as Content).closed = true;
    }
  }
  return all;
}

export class ReplayIo implements Io {
  readonly pool: Uint8Array;
  readonly poolView: DataView;
  readonly #log: ReplayLog;
  readonly #buffers: BufferPool;
  readonly #content: Map<number, Content>;
  readonly #peeks: number[] = [];
  readonly #streams = new Map<number, ReplayStream>(); // by handle
  readonly #byId = new Map<number, { handle: number; stream: ReplayStream }>();
  readonly #listeners = new Map<number, ListenOwner>();
  readonly #reads = new Map<number, { at: number; length: number; paths: string }>();
  readonly #what = new Map<number, string>(); // operations under way, for people: by index of the tag
  readonly #batchEnd: (() => void)[] = [];
  #owner: IoOwner | null = null;
  #nextStream = 0;
  #allocs = 0;
  hash = 0;
  /** Where bytes of the input at hand lie, for its description. */
  data: { start: number; end: number } | null = null;

  constructor(file: FlightFile, log: ReplayLog, counts: PoolCounts) {
    this.#log = log;
    this.#content = contentOf(file);
    // Front ends of the recorded node had buffers of the same pool: twice as many are enough for both.
    this.#buffers = new BufferPool({
      head: counts.head * 2,
      small: counts.small * 2,
      medium: counts.medium * 2,
      large: Math.min(counts.large * 2, 512),
    });
    this.pool = new Uint8Array(this.#buffers.sizeBytes + STREAMS * PEEK_BYTES);
    this.poolView = new DataView(this.pool.buffer);
    for (let i = STREAMS - 2; i >= 0; i--) {
      this.#peeks.push(this.#buffers.sizeBytes + i * PEEK_BYTES);
    }
  }

  fold(value: number): void {
    this.hash = mix(this.hash, value);
  }

  effect(kind: number, handle: number, offsetBytes: number, length: number, tag: number): void {
    this.hash = mixEffect(this.hash, kind, handle, offsetBytes, length, tag);
  }

  /** What the machine has done must be what was done then. */
  compare(recorded: number): void {
    if (recorded === this.hash >>> 0) return;
    throw this.#log.differs('other reads, writes or packets', 'these');
  }

  // ---- inputs

  /** What an operation that completes was; '' when it is of the data path. */
  whatOf(index: number): string {
    return this.#what.get(index) ?? '';
  }

  done(kind: number, slot: number, result: number): void {
    const index = (kind << KIND_SHIFT) | slot;
    this.#what.delete(index);
    this.#reads.delete(slot);
    this.#owner?.ioDone(index, result);
  }

  /** CONTENT records before a DONE: all of them, with the slot of that. */
  content(pieces: readonly { count: number; bytes: Uint8Array }[], slot: number): void {
    const read = this.#reads.get(slot);
    if (!read) throw this.#log.differs('a read of meta-data', 'no such read');
    let at = read.at;
    for (const piece of pieces) {
      const bytes = decodeRuns(piece.bytes, piece.count);
      if (!bytes || at + piece.count > read.at + read.length) {
        throw this.#log.differs('what was read from meta-data', 'a shorter read');
      }
      this.pool.set(bytes, at);
      at += piece.count;
    }
  }

  streamData(id: number, lengthRecorded: number): void {
    const { stream, handle } = this.#stream(id);
    if (stream.base < 0) {
      // Told after `close`, which takes effect at the end of a turn: nobody looks at the bytes.
      const scratch = this.#buffers.sizeBytes + (STREAMS - 1) * PEEK_BYTES;
      this.pool.fill(0, scratch, scratch + lengthRecorded);
      stream.owner.streamData(handle, scratch, scratch + lengthRecorded);
      return;
    }
    const c = this.#content.get(id);
    const known = (c?.length ?? 0) - stream.consumed;
    // At the end of a recording the last bytes may have been looked at only: they are not in it.
    const length = c?.closed ? lengthRecorded : Math.min(lengthRecorded, known);
    const start = stream.base;
    this.#fill(stream, c, lengthRecorded);
    this.data = { start, end: start + length };
    if (length <= 0) return;
    stream.owner.streamData(handle, start, start + length);
  }

  #fill(stream: ReplayStream, c: Content | undefined, length: number): void {
    this.pool.fill(0, stream.base, stream.base + length);
    if (!c) return;
    const from = stream.consumed;
    const to = from + length;
    while (stream.from < c.pieces.length) {
      const p = c.pieces[stream.from] as Piece;
      if (p.at + p.length > from) break;
      stream.from++;
    }
    for (let i = stream.from; i < c.pieces.length; i++) {
      const p = c.pieces[i] as Piece;
      if (p.at >= to) break;
      if (!p.bytes) continue;
      const first = Math.max(from, p.at);
      const last = Math.min(to, p.at + p.length);
      this.pool.set(p.bytes.subarray(first - p.at, last - p.at), stream.base + first - from);
    }
  }

  streamEnd(id: number, error: number): void {
    const { stream, handle } = this.#stream(id);
    stream.owner.streamEnd(handle, error);
  }

  accepted(listener: number, handle: number, peer: string): void {
    const owner = this.#listeners.get(listener);
    if (!owner) throw this.#log.differs('a connection', 'nobody listens');
    owner.accepted(listener, handle, peer);
  }

  batchEnd(): void {
    for (const handler of this.#batchEnd) handler();
  }

  #stream(id: number): { handle: number; stream: ReplayStream } {
    const found = this.#byId.get(id);
    if (!found) throw this.#log.differs(`bytes of stream ${id}`, 'no such stream');
    return found;
  }

  // ---- front ends of the replay

  frontAlloc(bytes: number): number {
    const at = this.#buffers.alloc(bytes, 'spare');
    assert(at >= 0, 'a replay has buffers for what the node had');
    return at;
  }

  // ---- the port

  register(owner: IoOwner): number {
    this.#owner = owner;
    return 0;
  }

  alloc(payloadBytes: number): number {
    this.#allocs++;
    const { rec } = this.#log;
    if (rec.kind === R.NO_BUFFER && rec.a === this.#allocs) {
      this.#log.advance();
      return -1;
    }
    return this.frontAlloc(payloadBytes);
  }

  free(at: number): void {
    this.#buffers.free(at);
  }

  capacity(at: number): number {
    return this.#buffers.capacity(at);
  }

  #began(tag: number, what: string): void {
    this.#what.set(tag & INDEX_MASK, what);
  }

  openDisk(path: string, _how: DiskOpen, tag: number): void {
    this.fold(E.openDisk);
    foldText(this, path);
    this.fold(tag & INDEX_MASK);
    this.#began(tag, `open of ${path}`);
  }

  diskInfo(_disk: number): DiskInfo {
    const { text } = this.#log.expect(R.INFO, 'the size of a disk is asked for');
    this.#log.advance();
    const info = JSON.parse(text) as DiskInfo & { readonly error?: string };
    if (info.error !== undefined) throw new Error(info.error);
    return info;
  }

  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void {
    this.effect(E.readDisk, disk, offsetBytes, lengthBytes, tag);
    const index = tag & INDEX_MASK;
    const slot = index & ((1 << KIND_SHIFT) - 1);
    if (index >>> KIND_SHIFT === 6) this.#reads.set(slot, { at, length: lengthBytes, paths: '' });
    this.#began(tag, `read of ${lengthBytes} bytes at sector ${offsetBytes / 512}`);
  }

  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void {
    this.effect(fua ? E.writeFua : E.writeDisk, disk, offsetBytes, lengthBytes, tag);
    foldContent(this, this.poolView, E.writeDisk, tag, at, lengthBytes);
    this.#began(tag, `write of ${lengthBytes} bytes at sector ${offsetBytes / 512}`);
  }

  flushDisk(disk: number, tag: number): void {
    this.effect(E.flushDisk, disk, 0, 0, tag);
    this.#began(tag, 'flush of the disk');
  }

  abandonDisk(disk: number, tag: number): void {
    this.effect(E.abandonDisk, disk, 0, 0, tag);
    this.#began(tag, 'a disk that is given up');
  }

  discardDisk(disk: number, offsetBytes: number, lengthBytes: number, tag: number): void {
    this.effect(E.discardDisk, disk, offsetBytes, lengthBytes / 512, tag);
    this.#began(tag, `discard of ${lengthBytes} bytes at sector ${offsetBytes / 512}`);
  }

  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    tag: number,
  ): void {
    this.effect(mayUnmap ? E.zeroUnmap : E.zeroDisk, disk, offsetBytes, lengthBytes / 512, tag);
    this.#began(tag, `zeroing of ${lengthBytes} bytes at sector ${offsetBytes / 512}`);
  }

  listen(_at: Endpoint, _options: SocketOptions, owner: ListenOwner): number {
    const { a } = this.#log.expect(R.LISTEN, 'it listens');
    this.#log.advance();
    if (a >= 0) this.#listeners.set(a, owner);
    return a;
  }

  connect(
    remote: Endpoint,
    _local: Endpoint | null,
    timeoutMs: number,
    _options: SocketOptions,
    tag: number,
  ): void {
    this.effect(E.connect, 0, 0, timeoutMs, tag);
    const to = remote.family === 'unix' ? remote.path : `${remote.host}:${remote.port}`;
    this.#began(tag, `dialing ${to}`);
  }

  attachStream(handle: number, owner: StreamOwner): void {
    this.fold(E.attachStream);
    this.fold(handle);
    const base = this.#peeks.pop();
    assert(base !== undefined, 'a replay has room for all streams');
    const stream = new ReplayStream(this.#nextStream++, owner, base);
    this.#streams.set(handle, stream);
    this.#byId.set(stream.id, { handle, stream });
  }

  send(handle: number, at: number, lengthBytes: number, tag: number): void {
    this.effect(E.send, handle, 0, lengthBytes, tag);
    foldContent(this, this.poolView, E.send, tag, at, lengthBytes);
    this.#began(tag, `sending ${lengthBytes} bytes`);
  }

  sendBacklogBytes(_stream: number): number {
    const { a } = this.#log.expect(R.BACKLOG, 'it asks what waits to be sent');
    this.#log.advance();
    return a;
  }

  consume(handle: number, count: number, payload = false): void {
    this.effect(E.consume, 0, 0, count, 0);
    const stream = this.#streams.get(handle);
    if (!stream) return;
    if (payload) {
      const r = this.#log.expect(R.HOLE, `${count} bytes of payload are dropped`);
      this.#log.same(R.HOLE, r.b, count, 'bytes dropped');
      this.#log.advance();
    } else this.#consumed(stream, count);
    stream.consumed += count;
  }

  #consumed(stream: ReplayStream, count: number): void {
    for (let done = 0; done < count; ) {
      const r = this.#log.expect(R.BYTES, `${count} bytes of stream ${stream.id} are consumed`);
      this.#log.same(R.BYTES, r.a, stream.id, 'stream');
      done += r.bytes.length;
      if (done > count) this.#log.same(R.BYTES, done, count, 'bytes consumed');
      this.#log.advance();
    }
  }

  receive(handle: number, skip: number, _at: number, lengthBytes: number, tag: number): void {
    this.effect(E.receive, skip, 0, lengthBytes, tag);
    const stream = this.#streams.get(handle);
    if (!stream) return;
    const before = skip > 256 ? skip - (skip % 256) : 0;
    this.#consumed(stream, before);
    const r = this.#log.expect(R.TAKEN, `${lengthBytes} bytes of payload are received`);
    this.#log.same(R.TAKEN, r.b, lengthBytes, 'bytes of payload');
    this.#log.same(R.TAKEN, r.bytes.length, skip - before, 'bytes before the payload');
    this.#log.advance();
    stream.consumed += skip + lengthBytes;
  }

  streamAlive(_stream: number): boolean {
    const { a } = this.#log.expect(R.ALIVE, 'it asks whether a stream is alive');
    this.#log.advance();
    return a === 1;
  }

  close(handle: number): void {
    this.fold(E.close);
    this.fold(handle);
    this.#listeners.delete(handle);
    const stream = this.#streams.get(handle);
    if (!stream) return;
    this.#streams.delete(handle);
    this.#peeks.push(stream.base);
    stream.base = -1;
    this.#left(stream);
  }

  /** What was looked at and not consumed. */
  #left(stream: ReplayStream): void {
    const { rec } = this.#log;
    while (rec.kind === R.BYTES && rec.a === stream.id) this.#log.advance();
    this.#log.expect(R.LEFT, `stream ${stream.id} is closed`);
    this.#log.advance();
  }

  attachFuse(_descriptor: number, _owner: FuseOwner): number {
    assert(false, 'front ends are not replayed');
  }
  fuseFeed(_fuse: number, _at: number): void {
    assert(false, 'front ends are not replayed');
  }
  fuseReply(_fuse: number, _at: number, _lengthBytes: number): void {
    assert(false, 'front ends are not replayed');
  }

  onBatchEnd(handler: () => void): void {
    this.#batchEnd.push(handler);
  }

  submit(): void {
    const r = this.#log.expect(R.SUBMIT, 'the turn ends');
    this.compare(r.b);
    this.#log.advance();
  }

  nowMs(): number {
    return this.#log.us / 1000;
  }

  refresh(): void {}

  destroy(): Promise<void> {
    return Promise.resolve();
  }
}
