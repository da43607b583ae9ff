/**
 * Serves one replicated volume as one FUSE file: turns requests of /dev/fuse into calls of a BlockVolume, and answers.
 *
 *     fed -> slot taken --WRITE---> volume.write (buffer handed over) --blockDone--> answer from the slot's own bytes
 *                       --READ----> [waits for a buffer] -> volume.read --blockDone--> out-header before the payload
 *                       --FSYNC, FALLOCATE-> volume.flush / writeZeroes --blockDone--> answer
 *                       --others--> answer at once
 *
 * Invariants
 * - fed + slots in use <= SLOTS, so a request that arrives always finds a slot.
 * - Nothing is allocated per request: slots are columns of typed arrays, buffers come from the pool.
 * - A slot and its buffer are free as soon as they are answered (`Io.fuseReply` writes at once). Keeping them until a
 *   later turn would stop all devices once the large buffers lie in answered slots and nothing more arrives.
 * - Back-pressure is by not feeding: without a free buffer nothing is read, the kernel keeps the requests in order.
 *   A READ that got its request but no payload buffer waits in arrival order, and nothing is fed meanwhile. One
 *   1 MiB buffer is kept back for reads, so a read always makes progress.
 * - No state behind a file handle, so that a successor has nothing to take over (docs/DEVICE.md, restart).
 *
 * FALLOC_FL_PUNCH_HOLE becomes write-zeroes with permission to unmap, not a discard: the loop driver sends the same
 * request for a discard and for a write-zeroes that may unmap (ext4's lazy inode tables), and the second must read
 * back as zeroes.
 */
import { assert } from '../base/assert.js';
import {
  decodeInit,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  fallocateBytes,
  fallocateMode,
  fallocateOffset,
  IN_HEADER_BYTES,
  ioBytes,
  ioOffset,
  MAX_WRITE_BYTES,
  messageBytes,
  minimumBytes,
  Opcode,
  OUT_HEADER_BYTES,
  offersResend,
  opcodeOf,
  openForWrite,
  putAttributes,
  putHeader,
  putInit,
  putNotifyResend,
  putOpened,
  putStatfs,
  putStatus,
  putWritten,
  releaseForWrite,
  uidOf,
  uniqueHigh,
  uniqueLow,
  WRITE_DATA_OFFSET,
  writeIsSync,
} from '../wire/fuse.js';
import type { BlockVolume, FrontEnd } from './block.js';
import { ERRNO } from './errno.js';
import { type FuseOwner, HEAD_BYTES, type Io } from './io.js';
import { poolExhausted } from './io-error.js';

/** Requests in work: the kernel keeps up to 128 in the background, the rest are synchronous ones. */
const SLOTS = 256;
const NONE = -1;
/** Bytes of a slot's own, for the answer to a WRITE, whose buffer belongs to the volume: 24 used. */
const ANSWER_BYTES = 32;
const PERMISSIONS = 0o600;

/** How many buffers are kept fed, smallest first. The sum bounds how many requests one batch can bring. */
export interface FuseFeed {
  readonly small: number; // 4 KiB
  readonly medium: number; // 64 KiB
  readonly large: number; // 1 MiB
}

export const DEFAULT_FEED: FuseFeed = { small: 48, medium: 6, large: 2 };
const FEED_BYTES = [4096, 65536, MAX_WRITE_BYTES] as const;
/** 1 MiB buffers that one idle device holds: what it feeds, and the reserve for reads. */
export const LARGE_BUFFERS_PER_DEVICE = DEFAULT_FEED.large + 1;

export interface FuseServerOptions {
  readonly io: Io;
  /** An open /dev/fuse descriptor, mounted on a regular file. */
  readonly descriptor: number;
  /** null: no volume behind the file (yet); an open gets ENXIO. */
  readonly volume: BlockVolume | null;
  /** The descriptor was served by a process that died or handed over: its requests are asked for again. */
  readonly successor: boolean;
  /** Opens for writing that the predecessor left (the bound loop device is one), so that releases add up. */
  readonly openWriters: number;
  /** Who may open the file; the kernel does not check its mode (no `default_permissions`). */
  readonly ownerUid: number;
  readonly feed: FuseFeed;
  /** The connection is over: ENODEV after an umount, another errno otherwise. Called once. */
  readonly ended: (error: number) => void;
}

type Phase = 'idle' | 'serving' | 'draining' | 'closed' | 'ended';

export class FuseServer implements FuseOwner, FrontEnd {
  readonly #io: Io;
  readonly #view: DataView;
  readonly #options: FuseServerOptions;
  readonly #feedTarget: Int32Array;
  readonly #fed = new Int32Array(FEED_BYTES.length);
  #volume: BlockVolume | null;
  #fuse = NONE;
  #phase: Phase = 'idle';
  #drained: (() => void) | null = null;
  #restartable = false;
  #readers = 0;
  #writers: number;

  // Columns of the slots.
  readonly #opcode = new Uint8Array(SLOTS); // 0: not in use
  readonly #uniqueLo = new Uint32Array(SLOTS);
  readonly #uniqueHi = new Uint32Array(SLOTS);
  readonly #at = new Int32Array(SLOTS).fill(NONE); // the buffer that is freed with the slot
  readonly #bytes = new Uint32Array(SLOTS);
  readonly #sector = new Float64Array(SLOTS);
  readonly #free = new Int32Array(SLOTS);
  #freeCount = SLOTS;
  #atVolume = 0; // slots that wait for blockDone
  // READs without a payload buffer, in order of arrival: a ring of slots.
  readonly #waiting = new Int32Array(SLOTS);
  #waitingFirst = 0;
  #waitingCount = 0;
  #answers = NONE; // pool offset of SLOTS * ANSWER_BYTES
  #answersAt = NONE; // the buffer they lie in
  #reserveAt = NONE; // 1 MiB for a read that finds no other buffer; NONE while in use

  constructor(options: FuseServerOptions) {
    this.#io = options.io;
    this.#view = options.io.poolView;
    this.#options = options;
    this.#volume = options.volume;
    this.#writers = options.openWriters;
    this.#feedTarget = Int32Array.of(
      options.feed.small,
      options.feed.medium,
      Math.max(1, options.feed.large),
    );
    for (let slot = 0; slot < SLOTS; slot++) this.#free[slot] = SLOTS - 1 - slot;
  }

  /** Attaches the descriptor and feeds it; the caller submits. Throws IoError when there are no buffers. */
  start(): void {
    assert(this.#phase === 'idle', 'a server is started once');
    // Head and payload of a 4 KiB buffer together are exactly the answers of all slots.
    assert(SLOTS * ANSWER_BYTES <= HEAD_BYTES + 4096, 'answers fit');
    this.#answersAt = this.#io.alloc(4096, 'spare');
    if (this.#answersAt < 0) throw poolExhausted(4096);
    this.#answers = this.#answersAt - HEAD_BYTES;
    this.#reserveAt = this.#io.alloc(MAX_WRITE_BYTES);
    if (this.#reserveAt < 0) {
      this.#io.free(this.#answersAt);
      throw poolExhausted(MAX_WRITE_BYTES);
    }
    this.#fuse = this.#io.attachFuse(this.#options.descriptor, this);
    this.#phase = 'serving';
    if (this.#options.successor) {
      // Before the first read: a request that this process already reads would be handed out a second time.
      const length = putNotifyResend(this.#view, this.#answers);
      this.#io.fuseReply(this.#fuse, this.#answers, length);
    }
    this.#feed();
  }

  /** The kernel offered to resend (seen in INIT, so false in a successor, which gets no INIT). */
  get restartable(): boolean {
    return this.#restartable;
  }

  get openReaders(): number {
    return this.#readers;
  }

  get openWriters(): number {
    return this.#writers;
  }

  /** Requests read and not answered. */
  get inFlight(): number {
    return this.#atVolume + this.#waitingCount;
  }

  /**
   * Another volume, or none, behind the same file (a removed minor keeps its mount, so that a new one needs no new
   * descriptor). False, and nothing changed, while somebody has it open or a request is in work.
   */
  setVolume(volume: BlockVolume | null): boolean {
    if (this.inFlight > 0 || this.#readers > 0 || this.#writers > 0) return false;
    this.#volume = volume;
    return true;
  }

  /** Once per turn of the loop, before `Io.submit`: serves waiting reads with what became free, feeds. */
  turn(): void {
    if (this.#phase === 'idle' || this.#phase === 'closed') return;
    if (this.#phase === 'ended') {
      this.#finishEnded();
      return;
    }
    this.#serveWaiting();
    if (this.#phase === 'draining') this.#finishDrain();
    else this.#feed();
  }

  /**
   * Orderly hand-over: nothing new is fed, what was read is answered, then the descriptor is closed and `done` is
   * called. What the engine had read and not yet delivered is resent to the successor.
   */
  drain(done: () => void): void {
    if (this.#phase !== 'serving') {
      done();
      return;
    }
    this.#phase = 'draining';
    this.#drained = done;
  }

  fuseRequest(_fuse: number, at: number, lengthBytes: number): void {
    const cls = this.#feedClass(at);
    this.#fed[cls] = (this.#fed[cls] as number) - 1;
    assert((this.#fed[cls] as number) >= 0, 'a request lies in a buffer that was fed');
    if (this.#phase !== 'serving' && this.#phase !== 'draining') {
      this.#io.free(at); // not executed, not answered: the successor gets it again
      return;
    }
    const view = this.#view;
    const head = at - WRITE_DATA_OFFSET;
    const opcode = opcodeOf(view, head);
    switch (opcode) {
      case Opcode.FORGET:
      case Opcode.BATCH_FORGET:
      case Opcode.INTERRUPT:
        this.#io.free(at); // these have no answer
        return;
    }
    const slot = this.#take(opcode, at);
    if (messageBytes(view, head) !== lengthBytes || lengthBytes < minimumBytes(opcode)) {
      this.#answerError(slot, ERRNO.EIO);
      return;
    }
    switch (opcode) {
      case Opcode.WRITE:
        this.#write(slot, at, lengthBytes);
        return;
      case Opcode.READ:
        this.#read(slot, at);
        return;
      case Opcode.FSYNC:
        if (!this.#volume) {
          this.#answerError(slot, ERRNO.ENXIO);
          return;
        }
        this.#atVolume++;
        this.#volume.flush(this, slot);
        return;
      case Opcode.FALLOCATE:
        this.#fallocate(slot, head);
        return;
      default:
        this.#control(slot, opcode, head);
    }
  }

  fuseEnd(_fuse: number, error: number): void {
    if (this.#phase === 'closed' || this.#phase === 'ended') return;
    const drained = this.#drained;
    this.#drained = null;
    this.#phase = 'ended';
    while (this.#waitingCount > 0) this.#freeSlot(this.#nextWaiting());
    for (; this.#readers > 0; this.#readers--) this.#volume?.release(false);
    for (; this.#writers > 0; this.#writers--) this.#volume?.release(true);
    this.#options.ended(error);
    drained?.();
  }

  bufferMoved(slot: number, at: number): void {
    this.#at[slot] = at;
  }

  blockDone(slot: number, error: number): void {
    const opcode = this.#opcode[slot] as number;
    assert(opcode !== 0, 'an answer to a request in work');
    this.#atVolume--;
    if (this.#phase === 'ended') {
      this.#freeSlot(slot);
      return;
    }
    const view = this.#view;
    const lo = this.#uniqueLo[slot] as number;
    const hi = this.#uniqueHi[slot] as number;
    const bytes = this.#bytes[slot] as number;
    const at = this.#at[slot] as number;
    // Of a WRITE the buffer is the volume's; of the others it is still here and the answer goes before its payload.
    const answerAt =
      opcode === Opcode.WRITE ? this.#answers + slot * ANSWER_BYTES : at - OUT_HEADER_BYTES;
    let length: number;
    if (error !== 0) length = putStatus(view, answerAt, error, lo, hi);
    else if (opcode === Opcode.READ) length = putHeader(view, answerAt, bytes, 0, lo, hi);
    else if (opcode === Opcode.WRITE) length = putWritten(view, answerAt, bytes, lo, hi);
    else length = putStatus(view, answerAt, 0, lo, hi);
    this.#io.fuseReply(this.#fuse, answerAt, length);
    this.#freeSlot(slot);
  }

  // ---- requests

  #write(slot: number, at: number, lengthBytes: number): void {
    const view = this.#view;
    const head = at - WRITE_DATA_OFFSET;
    const volume = this.#volume;
    const offset = ioOffset(view, head);
    const bytes = ioBytes(view, head);
    if (!volume) {
      this.#answerError(slot, ERRNO.ENXIO);
      return;
    }
    if (bytes !== lengthBytes - WRITE_DATA_OFFSET || bytes > this.#io.capacity(at)) {
      this.#answerError(slot, ERRNO.EIO);
      return;
    }
    if (bytes === 0 || misaligned(volume, offset, bytes)) {
      this.#answerError(slot, ERRNO.EINVAL);
      return;
    }
    if (offset + bytes > volume.sizeSectors * 512) {
      this.#answerError(slot, ERRNO.ENOSPC);
      return;
    }
    this.#at[slot] = NONE; // the volume's from here on
    this.#bytes[slot] = bytes;
    this.#atVolume++;
    volume.write(this, slot, offset / 512, at, bytes, writeIsSync(view, head));
  }

  #read(slot: number, at: number): void {
    const view = this.#view;
    const head = at - WRITE_DATA_OFFSET;
    const volume = this.#volume;
    const offset = ioOffset(view, head);
    if (!volume) {
      this.#answerError(slot, ERRNO.ENXIO);
      return;
    }
    const wanted = ioBytes(view, head);
    const left = volume.sizeSectors * 512 - offset;
    const bytes = Math.min(wanted, Math.max(0, left)); // the end of the device is the end of the file
    if (misaligned(volume, offset, wanted) || wanted > MAX_WRITE_BYTES) {
      this.#answerError(slot, ERRNO.EINVAL);
      return;
    }
    if (bytes === 0) {
      this.#answer(slot, at, this.#putStatus(slot, head, 0));
      return;
    }
    this.#bytes[slot] = bytes;
    this.#sector[slot] = offset / 512;
    if (bytes <= this.#io.capacity(at)) {
      this.#startRead(slot, at);
      return;
    }
    this.#waiting[(this.#waitingFirst + this.#waitingCount) % SLOTS] = slot;
    this.#waitingCount++;
    this.#serveWaiting();
  }

  #startRead(slot: number, at: number): void {
    const volume = this.#volume;
    assert(volume !== null, 'a volume does not go with reads in flight');
    this.#at[slot] = at;
    this.#atVolume++;
    volume.read(this, slot, this.#sector[slot] as number, at, this.#bytes[slot] as number);
  }

  #serveWaiting(): void {
    while (this.#waitingCount > 0) {
      const slot = this.#waiting[this.#waitingFirst] as number;
      let at = this.#io.alloc(this.#bytes[slot] as number);
      if (at < 0) {
        if (this.#reserveAt < 0) return;
        at = this.#reserveAt;
        this.#reserveAt = NONE;
      }
      this.#nextWaiting();
      this.#io.free(this.#at[slot] as number); // the request's own buffer
      this.#startRead(slot, at);
    }
  }

  #nextWaiting(): number {
    const slot = this.#waiting[this.#waitingFirst] as number;
    this.#waitingFirst = (this.#waitingFirst + 1) % SLOTS;
    this.#waitingCount--;
    return slot;
  }

  #fallocate(slot: number, head: number): void {
    const view = this.#view;
    const volume = this.#volume;
    const mode = fallocateMode(view, head);
    const punch = mode === (FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE);
    if (!punch && mode !== (FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE)) {
      this.#answerError(slot, ERRNO.EOPNOTSUPP);
      return;
    }
    if (!volume) {
      this.#answerError(slot, ERRNO.ENXIO);
      return;
    }
    const offset = fallocateOffset(view, head);
    const wanted = fallocateBytes(view, head);
    const size = volume.sizeSectors * 512;
    const bytes = Math.min(wanted, size - offset); // what lies beyond the end is kept away, as block devices do
    if (bytes <= 0 || misaligned(volume, offset, bytes)) {
      this.#answerError(slot, ERRNO.EINVAL);
      return;
    }
    this.#atVolume++;
    volume.writeZeroes(this, slot, offset / 512, bytes / 512, punch);
  }

  /** Everything that is answered at once. Arguments are read before the answer overwrites them. */
  #control(slot: number, opcode: number, head: number): void {
    const view = this.#view;
    const lo = this.#uniqueLo[slot] as number;
    const hi = this.#uniqueHi[slot] as number;
    const at = head + WRITE_DATA_OFFSET;
    const size = (this.#volume?.sizeSectors ?? 0) * 512;
    switch (opcode) {
      case Opcode.GETATTR:
        this.#answer(slot, at, putAttributes(view, head, size, PERMISSIONS, lo, hi));
        return;
      case Opcode.OPEN: {
        const error = this.#open(openForWrite(view, head), uidOf(view, head));
        if (error !== 0) this.#answerError(slot, error);
        else this.#answer(slot, at, putOpened(view, head, 0, lo, hi));
        return;
      }
      case Opcode.RELEASE:
        this.#release(releaseForWrite(view, head));
        this.#answerError(slot, 0);
        return;
      case Opcode.FLUSH:
      case Opcode.DESTROY:
        this.#answerError(slot, 0);
        return;
      case Opcode.STATFS:
        this.#answer(slot, at, putStatfs(view, head, size, lo, hi));
        return;
      case Opcode.INIT: {
        const offer = decodeInit(view, head);
        if (offer.major < 7) {
          this.#answerError(slot, ERRNO.EIO);
          return;
        }
        this.#restartable = offersResend(offer);
        this.#answer(slot, at, putInit(view, head, offer, lo, hi));
        return;
      }
      case Opcode.SETATTR:
        this.#answerError(slot, ERRNO.EPERM); // the size is the volume's, the mode is ours
        return;
      default:
        this.#answerError(slot, ERRNO.ENOSYS); // the kernel falls back and mostly stops asking
    }
  }

  #open(write: boolean, uid: number): number {
    if (uid !== 0 && uid !== this.#options.ownerUid) return ERRNO.EACCES;
    if (!this.#volume) return ERRNO.ENXIO;
    const error = this.#volume.open(write);
    if (error !== 0) return error;
    if (write) this.#writers++;
    else this.#readers++;
    return 0;
  }

  /** A release without an open here belongs to an open that a dead predecessor answered. */
  #release(write: boolean): void {
    if (write ? this.#writers === 0 : this.#readers === 0) return;
    if (write) this.#writers--;
    else this.#readers--;
    this.#volume?.release(write);
  }

  // ---- slots, buffers, answers

  #take(opcode: number, at: number): number {
    assert(this.#freeCount > 0, 'a request finds a slot');
    this.#freeCount--;
    const slot = this.#free[this.#freeCount] as number;
    const head = at - WRITE_DATA_OFFSET;
    this.#opcode[slot] = opcode & 0xff || 0xff;
    this.#uniqueLo[slot] = uniqueLow(this.#view, head);
    this.#uniqueHi[slot] = uniqueHigh(this.#view, head);
    this.#at[slot] = at;
    return slot;
  }

  #putStatus(slot: number, where: number, error: number): number {
    const lo = this.#uniqueLo[slot] as number;
    return putStatus(this.#view, where, error, lo, this.#uniqueHi[slot] as number);
  }

  /** The answer lies where the request was, at the in-header of the slot's buffer. */
  #answer(slot: number, at: number, lengthBytes: number): void {
    this.#io.fuseReply(this.#fuse, at - WRITE_DATA_OFFSET, lengthBytes);
    this.#freeSlot(slot);
  }

  /** `error` 0 for operations without a result. */
  #answerError(slot: number, error: number): void {
    const at = this.#at[slot] as number;
    this.#answer(slot, at, this.#putStatus(slot, at - WRITE_DATA_OFFSET, error));
  }

  #freeSlot(slot: number): void {
    const at = this.#at[slot] as number;
    this.#opcode[slot] = 0;
    if (at !== NONE) this.#freeBuffer(at);
    this.#at[slot] = NONE;
    this.#free[this.#freeCount] = slot;
    this.#freeCount++;
  }

  #freeBuffer(at: number): void {
    if (this.#reserveAt < 0 && this.#io.capacity(at) >= MAX_WRITE_BYTES) this.#reserveAt = at;
    else this.#io.free(at);
  }

  get #fedTotal(): number {
    return (this.#fed[0] as number) + (this.#fed[1] as number) + (this.#fed[2] as number);
  }

  #feedClass(at: number): number {
    const capacity = this.#io.capacity(at);
    return capacity >= FEED_BYTES[2] ? 2 : capacity >= FEED_BYTES[1] ? 1 : 0;
  }

  /** Large first: without one nothing can be read at all, so it must not be the one that finds no slot. */
  #feed(): void {
    if (this.#waitingCount > 0) return;
    let room = this.#freeCount - this.#fedTotal;
    for (let cls = FEED_BYTES.length - 1; cls >= 0; cls--) {
      while (room > 0 && (this.#fed[cls] as number) < (this.#feedTarget[cls] as number)) {
        const at = this.#io.alloc(FEED_BYTES[cls] as number);
        if (at < 0) break;
        this.#io.fuseFeed(this.#fuse, at);
        this.#fed[cls] = (this.#fed[cls] as number) + 1;
        room--;
      }
    }
  }

  #finishDrain(): void {
    if (this.inFlight > 0) return;
    const done = this.#drained;
    this.#drained = null;
    this.#closeAll();
    done?.();
  }

  #finishEnded(): void {
    if (this.#atVolume === 0) this.#closeAll();
  }

  /** Buffers that are still fed go with the handle (the rule of `Io.close`). */
  #closeAll(): void {
    this.#phase = 'closed';
    this.#io.close(this.#fuse);
    this.#io.free(this.#answersAt);
    if (this.#reserveAt >= 0) this.#io.free(this.#reserveAt);
    this.#reserveAt = NONE;
  }
}

function misaligned(volume: BlockVolume, offsetBytes: number, lengthBytes: number): boolean {
  const block = volume.logicalBlockBytes;
  return offsetBytes % block !== 0 || lengthBytes % block !== 0;
}

assert(IN_HEADER_BYTES + 40 === WRITE_DATA_OFFSET, 'the arguments of WRITE are 40 bytes');
