/**
 * The I/O port of the replication engine with a flight recorder in it: hands everything on, and writes down what the port
 * answers. Of bytes it keeps what the engine itself looks at (headers, small packets, meta-data), of payload the length.
 *
 * Front ends (FUSE, NBD) use the port below directly: they are no part of a replay.
 */
import { assert } from '../base/assert.js';
import type { BufferUse } from '../base/buffer-use.js';
import { KIND_COLD } from '../drbd/core.js';
import { E, foldContent, foldText } from './flight-effects.js';
import { PIECE_BYTES, R } from './flight-format.js';
import { leftBytes, packetNames, withoutResponses } from './flight-packets.js';
import type { FlightRecorder } from './flight-recorder.js';
import { encodeRuns, RUNS_BYTES } from './flight-ring.js';
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
} from './io.js';

const KIND_SHIFT = 20;
const SLOT_MASK = (1 << KIND_SHIFT) - 1;
const INDEX_MASK = 0xffffff;
// V8 reads an imported constant anew at each use (a cell, a check that it is set); one of this module is part of the code. For what is
// in the way of each write.
const { DONE_KIND, BATCH, DATA, BYTES, TAKEN } = R;
const {
  writeDisk: WRITE_DISK,
  writeFua: WRITE_FUA,
  send: SEND,
  consume: CONSUME,
  receive: RECEIVE,
} = E;
const COLD = KIND_COLD;
const MOST = PIECE_BYTES;
const fold = foldContent;

/** The handshake is over long before. */
const HANDSHAKE_BYTES = 4096;

export type Stand = (response: Uint8Array) => Uint8Array;

class RecordedStream implements StreamOwner {
  readonly #io: RecordingIo;
  readonly #owner: StreamOwner;
  readonly id: number;
  start = 0; // unconsumed bytes
  end = 0;
  consumed = 0; // since the stream began

  constructor(io: RecordingIo, owner: StreamOwner, id: number) {
    this.#io = io;
    this.#owner = owner;
    this.id = id;
  }

  streamData(stream: number, start: number, end: number): void {
    this.start = start;
    this.end = end;
    this.#io.streamData(this.id, start, end);
    try {
      this.#owner.streamData(stream, start, end);
    } catch (e) {
      this.#io.broke(this);
      throw e;
    }
  }

  streamEnd(stream: number, error: number): void {
    this.#io.streamEnd(this.id, error);
    this.#owner.streamEnd(stream, error);
  }
}

/** The engine as the port below knows it: completions are recorded on their way. */
class RecordedOwner implements IoOwner {
  readonly #recording: RecordingIo;
  readonly #io: Io;
  readonly #rec: FlightRecorder;
  readonly #owner: IoOwner;

  constructor(recording: RecordingIo, io: Io, rec: FlightRecorder, owner: IoOwner) {
    this.#recording = recording;
    this.#io = io;
    this.#rec = rec;
    this.#owner = owner;
  }

  ioDone(index: number, result: number): void {
    const rec = this.#rec;
    if (!rec.stopped) {
      const kind = index >>> KIND_SHIFT;
      const slot = index & SLOT_MASK;
      rec.begin(this.#io.nowMs(), DONE_KIND + kind, slot, result);
      if (kind === COLD) this.#recording.content(slot, result);
      const zigzag = result < 0 ? -2 * result - 1 : 2 * result;
      rec.small().put2(DONE_KIND + kind, slot, zigzag);
    }
    this.#owner.ioDone(index, result);
  }
}

export class RecordingIo implements Io {
  readonly pool: Uint8Array;
  readonly poolView: DataView;
  readonly #io: Io;
  readonly #rec: FlightRecorder;
  readonly #stand: Stand;
  readonly #streams = new Map<number, RecordedStream>();
  #lastHandle = -1; // the stream of the data path, usually: found without a look into the map
  #last: RecordedStream | undefined;
  #nextStream = 0;
  #allocs = 0;
  #registered = false;
  /** Reads of meta-data under way: slot -> where to. */
  readonly #reads = new Map<number, number>();
  readonly #batchEnd: (() => void)[] = [];
  readonly #runs = new Uint8Array(RUNS_BYTES);

  /** `stand`: what is recorded in place of an answer to a challenge. */
  constructor(io: Io, recorder: FlightRecorder, stand: Stand) {
    this.#io = io;
    this.#rec = recorder;
    this.#stand = stand;
    this.pool = io.pool;
    this.poolView = io.poolView;
    io.onBatchEnd(() => {
      const rec = this.#rec;
      if (!rec.stopped) {
        rec.begin(io.nowMs(), BATCH, 0, 0);
        const r = rec.record(BATCH, 8);
        r.u32(rec.hash);
        r.commit();
      }
      for (const handler of this.#batchEnd) handler();
    });
  }

  /** What the input at hand is, for people. */
  describeInput(): string {
    const { kind, a, b, text } = this.#rec.input;
    if (kind === R.DATA) return `from the peer: ${packetNames(this.poolView, a, b) || 'bytes'}`;
    if (kind === R.END) return `the peer's stream ended (errno ${b})`;
    if (kind >= R.DONE_KIND && kind < R.DONE_KIND + 16) return `I/O completed with ${b}`;
    if (kind === R.TIMER) return 'a time was reached';
    if (kind === R.HANDLER_DONE) return `a handler ended with ${b}`;
    if (kind === R.REQUEST) return `asked: ${text}`;
    if (kind === R.RESUME) return `Primary again after a restart: minor ${a}`;
    if (kind === R.ACCEPT) return 'a connection was accepted';
    if (kind >= R.READ && kind <= R.RELEASE) return 'the device was used';
    return 'the end of a turn';
  }

  register(owner: IoOwner): number {
    assert(!this.#registered, 'one owner is recorded');
    this.#registered = true;
    return this.#io.register(new RecordedOwner(this, this.#io, this.#rec, owner));
  }

  /** What a read of meta-data has brought. */
  content(slot: number, result: number): void {
    const at = this.#reads.get(slot);
    if (at === undefined) return;
    this.#reads.delete(slot);
    for (let done = 0; done < result; done += PIECE_BYTES) {
      const count = Math.min(PIECE_BYTES, result - done);
      const encoded = encodeRuns(this.pool, at + done, at + done + count, this.#runs);
      const r = this.#rec.record(R.CONTENT, encoded + 16);
      r.number(count);
      r.number(encoded);
      for (let i = 0; i < encoded; i += PIECE_BYTES) {
        r.bytes(this.#runs, i, Math.min(encoded, i + PIECE_BYTES));
      }
      r.commit();
    }
  }

  alloc(payloadBytes: number, use?: BufferUse): number {
    const at = this.#io.alloc(payloadBytes, use);
    this.#allocs++;
    if (at < 0 && !this.#rec.stopped) {
      const r = this.#rec.record(R.NO_BUFFER, 16);
      r.number(this.#allocs);
      r.commit();
    }
    return at;
  }

  free(at: number): void {
    this.#io.free(at);
  }

  capacity(at: number): number {
    return this.#io.capacity(at);
  }

  // ---- disks

  openDisk(path: string, how: DiskOpen, tag: number): void {
    const rec = this.#rec;
    rec.fold(E.openDisk);
    foldText(rec, path);
    rec.fold(tag & INDEX_MASK);
    this.#io.openDisk(path, how, tag);
  }

  diskInfo(disk: number): DiskInfo {
    try {
      const info = this.#io.diskInfo(disk);
      this.#answer(R.INFO, JSON.stringify(info));
      return info;
    } catch (e) {
      this.#answer(R.INFO, JSON.stringify({ error: e instanceof Error ? e.message : String(e) }));
      throw e;
    }
  }

  #answer(kind: number, text: string): void {
    if (this.#rec.stopped) return;
    const r = this.#rec.record(kind, Math.min(text.length * 3, PIECE_BYTES) + 16);
    r.text(text);
    r.commit();
  }

  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void {
    const rec = this.#rec;
    rec.effect(E.readDisk, disk, offsetBytes, lengthBytes, tag);
    const index = tag & INDEX_MASK;
    if (index >>> KIND_SHIFT === KIND_COLD) this.#reads.set(index & SLOT_MASK, at);
    this.#io.readDisk(disk, offsetBytes, at, lengthBytes, tag);
  }

  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void {
    const rec = this.#rec;
    rec.effect(fua ? WRITE_FUA : WRITE_DISK, disk, offsetBytes, lengthBytes, tag);
    fold(rec, this.poolView, WRITE_DISK, tag, at, lengthBytes);
    this.#io.writeDisk(disk, offsetBytes, at, lengthBytes, fua, tag);
  }

  flushDisk(disk: number, tag: number): void {
    const rec = this.#rec;
    rec.effect(E.flushDisk, disk, 0, 0, tag);
    this.#io.flushDisk(disk, tag);
  }

  abandonDisk(disk: number, tag: number): void {
    this.#rec.effect(E.abandonDisk, disk, 0, 0, tag);
    this.#io.abandonDisk(disk, tag);
  }

  discardDisk(disk: number, offsetBytes: number, lengthBytes: number, tag: number): void {
    const rec = this.#rec;
    rec.effect(E.discardDisk, disk, offsetBytes, lengthBytes / 512, tag);
    this.#io.discardDisk(disk, offsetBytes, lengthBytes, tag);
  }

  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    tag: number,
  ): void {
    const rec = this.#rec;
    rec.effect(mayUnmap ? E.zeroUnmap : E.zeroDisk, disk, offsetBytes, lengthBytes / 512, tag);
    this.#io.zeroDisk(disk, offsetBytes, lengthBytes, mayUnmap, tag);
  }

  // ---- streams

  listen(at: Endpoint, options: SocketOptions, owner: ListenOwner): number {
    const rec = this.#rec;
    const result = this.#io.listen(at, options, {
      accepted: (listener, stream, peer) => {
        if (!rec.stopped) {
          rec.begin(this.#io.nowMs(), R.ACCEPT, listener, stream);
          const r = rec.record(R.ACCEPT, PIECE_BYTES + 24);
          r.number(listener);
          r.number(stream);
          r.text(peer);
          r.commit();
        }
        owner.accepted(listener, stream, peer);
      },
    });
    if (!rec.stopped) {
      const r = rec.record(R.LISTEN, 16);
      r.signed(result);
      r.commit();
    }
    return result;
  }

  connect(
    remote: Endpoint,
    local: Endpoint | null,
    timeoutMs: number,
    options: SocketOptions,
    tag: number,
  ): void {
    const rec = this.#rec;
    rec.effect(E.connect, 0, 0, timeoutMs, tag);
    this.#io.connect(remote, local, timeoutMs, options, tag);
  }

  attachStream(stream: number, owner: StreamOwner): void {
    this.#rec.fold(E.attachStream);
    this.#rec.fold(stream);
    const recorded = new RecordedStream(this, owner, this.#nextStream++);
    this.#streams.set(stream, recorded);
    this.#lastHandle = -1;
    this.#io.attachStream(stream, recorded);
  }

  #stream(handle: number): RecordedStream | undefined {
    if (handle === this.#lastHandle) return this.#last;
    this.#last = this.#streams.get(handle);
    this.#lastHandle = handle;
    return this.#last;
  }

  streamData(id: number, start: number, end: number): void {
    const rec = this.#rec;
    if (rec.stopped) return;
    rec.begin(this.#io.nowMs(), DATA, start, end);
    rec.small().put2(DATA, id, end - start);
  }

  streamEnd(id: number, error: number): void {
    const rec = this.#rec;
    if (rec.stopped) return;
    rec.begin(this.#io.nowMs(), R.END, id, error);
    const r = rec.record(R.END, 16);
    r.number(id);
    r.number(error);
    r.commit();
  }

  send(stream: number, at: number, lengthBytes: number, tag: number): void {
    const rec = this.#rec;
    rec.effect(SEND, stream, 0, lengthBytes, tag);
    fold(rec, this.poolView, SEND, tag, at, lengthBytes);
    this.#io.send(stream, at, lengthBytes, tag);
  }

  sendBacklogBytes(stream: number): number {
    const bytes = this.#io.sendBacklogBytes(stream);
    if (!this.#rec.stopped) {
      const r = this.#rec.record(R.BACKLOG, 16);
      r.number(bytes);
      r.commit();
    }
    return bytes;
  }

  consume(stream: number, count: number, payload = false): void {
    const rec = this.#rec;
    rec.effect(CONSUME, 0, 0, count, 0);
    const s = this.#stream(stream);
    if (s && !rec.stopped) {
      if (payload) {
        const r = rec.record(R.HOLE, 16);
        r.number(s.id);
        r.number(count);
        r.commit();
      } else this.#bytes(BYTES, s, count);
      s.start += count;
      s.consumed += count;
    }
    this.#io.consume(stream, count, payload);
  }

  /** The next bytes of a stream, as they may be recorded. */
  #bytes(kind: number, s: RecordedStream, count: number): void {
    let from = this.poolView;
    let at = s.start;
    if (s.consumed < HANDSHAKE_BYTES) {
      const changed = withoutResponses(this.poolView, at, at + count, this.#stand);
      if (changed) {
        from = new DataView(changed.buffer);
        at = 0;
      }
    }
    for (let done = 0; done < count; done += MOST) {
      const piece = Math.min(MOST, count - done);
      const r = this.#rec.record(kind, piece + 24);
      r.number(s.id);
      r.number(piece);
      r.words(from, at + done, at + done + piece);
      r.commit();
    }
  }

  receive(stream: number, skip: number, at: number, lengthBytes: number, tag: number): void {
    const rec = this.#rec;
    rec.effect(RECEIVE, skip, 0, lengthBytes, tag);
    const s = this.#stream(stream);
    if (s && !rec.stopped) {
      let left = skip;
      if (left > 256) {
        const before = left - (left % 256);
        this.#bytes(R.BYTES, s, before);
        s.start += before;
        left -= before;
      }
      const { start } = s;
      rec.small(left).putBytes(TAKEN, s.id, lengthBytes, this.poolView, start, start + left);
      s.start = Math.min(s.end, s.start + left + lengthBytes);
      s.consumed += skip + lengthBytes;
    }
    this.#io.receive(stream, skip, at, lengthBytes, tag);
  }

  streamAlive(stream: number): boolean {
    const alive = this.#io.streamAlive(stream);
    if (!this.#rec.stopped) {
      const r = this.#rec.record(R.ALIVE, 8);
      r.byte(alive ? 1 : 0);
      r.commit();
    }
    return alive;
  }

  close(handle: number): void {
    const rec = this.#rec;
    rec.fold(E.close);
    rec.fold(handle);
    const s = this.#streams.get(handle);
    if (s) {
      this.#streams.delete(handle);
      this.#lastHandle = -1;
      if (!rec.stopped) this.#left(s);
    }
    this.#io.close(handle);
  }

  /** Bytes that were looked at and never consumed. The record is made even without any: the stream is over. */
  #left(s: RecordedStream): void {
    const count = s.end > s.start ? leftBytes(this.poolView, s.start, s.end) : 0;
    if (count > 0) this.#bytes(R.BYTES, s, count);
    const r = this.#rec.record(R.LEFT, 16);
    r.number(s.id);
    r.number(count);
    r.commit();
  }

  /** The machine broke while it dealt with these bytes: a replay needs them. */
  broke(s: RecordedStream): void {
    if (!this.#rec.stopped) this.#left(s);
  }

  // ---- front ends have the port below

  attachFuse(_descriptor: number, _owner: FuseOwner): number {
    assert(false, 'front ends are not recorded');
  }
  fuseFeed(_fuse: number, _at: number): void {
    assert(false, 'front ends are not recorded');
  }
  fuseReply(_fuse: number, _at: number, _lengthBytes: number): void {
    assert(false, 'front ends are not recorded');
  }

  // ---- the wheel

  onBatchEnd(handler: () => void): void {
    this.#batchEnd.push(handler);
  }

  submit(): void {
    this.#io.submit();
    if (!this.#rec.stopped) this.#rec.submitted(this.#io.nowMs());
  }

  nowMs(): number {
    return this.#rec.stopped ? this.#io.nowMs() : this.#rec.nowMs;
  }

  /** What comes from outside is recorded with the clock of now (recording-hooks.ts). */
  refresh(): void {
    if (this.#rec.stopped) this.#io.refresh();
  }

  destroy(): Promise<void> {
    this.#rec.stop('the port is closed');
    return this.#io.destroy();
  }
}
