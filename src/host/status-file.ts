/**
 * Serves a read-only text, rendered when it is read, as one FUSE file: /run/twinbeat/proc/drbd in place of /proc/drbd.
 *
 * Rendered at each open and at each read from offset 0; further reads of the same open continue in that text, so that
 * a long text is one picture. The size is 0, as of files in /proc; direct I/O lets the kernel read all the same.
 * A handful of reads a second: allocating here does no harm.
 */
import { assert } from '../base/assert.js';
import {
  decodeInit,
  handleOf,
  ioBytes,
  ioOffset,
  minimumBytes,
  Opcode,
  opcodeOf,
  openForWrite,
  putAttributes,
  putHeader,
  putInit,
  putNotifyResend,
  putOpened,
  putStatfs,
  putStatus,
  uniqueHigh,
  uniqueLow,
  WRITE_DATA_OFFSET,
} from '../wire/fuse.js';
import { ERRNO } from './errno.js';
import type { FuseOwner, Io } from './io.js';
import { poolExhausted } from './io-error.js';

const PERMISSIONS = 0o444;
const BUFFER_BYTES = 1 << 20; // what the kernel asks of whoever reads requests: max_write and a header
/** Opens whose text is kept; a reader beyond them gets a fresh text at each read. */
const MAX_TEXTS = 64;

export interface StatusFileOptions {
  readonly io: Io;
  readonly descriptor: number;
  readonly successor: boolean;
  /** Called on the engine thread. */
  readonly render: () => string;
  readonly ended: (error: number) => void;
}

export class StatusFile implements FuseOwner {
  readonly #io: Io;
  readonly #options: StatusFileOptions;
  readonly #texts = new Map<number, Uint8Array>(); // handle -> text, oldest first
  #fuse = -1;
  #nextHandle = 1;
  #phase: 'idle' | 'serving' | 'ended' = 'idle';

  constructor(options: StatusFileOptions) {
    this.#io = options.io;
    this.#options = options;
  }

  /** Attaches and feeds; the caller submits. */
  start(): void {
    assert(this.#phase === 'idle', 'a status file is started once');
    const at = this.#io.alloc(BUFFER_BYTES, 'spare');
    if (at < 0) throw poolExhausted(BUFFER_BYTES);
    this.#fuse = this.#io.attachFuse(this.#options.descriptor, this);
    this.#phase = 'serving';
    if (this.#options.successor) {
      const length = putNotifyResend(this.#io.poolView, at);
      this.#io.fuseReply(this.#fuse, at, length);
    }
    this.#io.fuseFeed(this.#fuse, at);
  }

  /** As of every front end; nothing waits here. */
  turn(): void {}

  fuseEnd(_fuse: number, error: number): void {
    this.#phase = 'ended';
    this.#texts.clear();
    this.#io.close(this.#fuse);
    this.#options.ended(error);
  }

  fuseRequest(_fuse: number, at: number, lengthBytes: number): void {
    const view = this.#io.poolView;
    const head = at - WRITE_DATA_OFFSET;
    const opcode = opcodeOf(view, head);
    const lo = uniqueLow(view, head);
    const hi = uniqueHigh(view, head);
    if (this.#phase !== 'serving') {
      this.#io.free(at);
      return;
    }
    let length = 0;
    switch (opcode) {
      case Opcode.FORGET:
      case Opcode.BATCH_FORGET:
      case Opcode.INTERRUPT:
        this.#io.fuseFeed(this.#fuse, at);
        return;
    }
    if (lengthBytes < minimumBytes(opcode)) length = putStatus(view, head, ERRNO.EIO, lo, hi);
    else {
      switch (opcode) {
        case Opcode.INIT:
          length = putInit(view, head, decodeInit(view, head), lo, hi);
          break;
        case Opcode.GETATTR:
          length = putAttributes(view, head, 0, PERMISSIONS, lo, hi);
          break;
        case Opcode.OPEN:
          if (openForWrite(view, head)) length = putStatus(view, head, ERRNO.EACCES, lo, hi);
          else length = putOpened(view, head, this.#open(), lo, hi);
          break;
        case Opcode.READ:
          length = this.#read(head, lo, hi);
          break;
        case Opcode.RELEASE:
          this.#texts.delete(handleOf(view, head));
          length = putStatus(view, head, 0, lo, hi);
          break;
        case Opcode.STATFS:
          length = putStatfs(view, head, 0, lo, hi);
          break;
        case Opcode.FLUSH:
        case Opcode.FSYNC:
        case Opcode.DESTROY:
          length = putStatus(view, head, 0, lo, hi);
          break;
        case Opcode.WRITE:
        case Opcode.FALLOCATE:
        case Opcode.SETATTR:
          length = putStatus(view, head, ERRNO.EPERM, lo, hi);
          break;
        default:
          length = putStatus(view, head, ERRNO.ENOSYS, lo, hi);
      }
    }
    this.#io.fuseReply(this.#fuse, head, length);
    this.#io.fuseFeed(this.#fuse, at); // the next request, into the same buffer
  }

  #open(): number {
    const handle = this.#nextHandle++;
    this.#render(handle);
    return handle;
  }

  #read(head: number, lo: number, hi: number): number {
    const view = this.#io.poolView;
    const handle = handleOf(view, head);
    const offset = ioOffset(view, head);
    const kept = offset === 0 ? undefined : this.#texts.get(handle);
    const text = kept ?? this.#render(handle);
    const room = Math.min(ioBytes(view, head), BUFFER_BYTES);
    const part = text.subarray(Math.min(offset, text.length), Math.min(offset + room, text.length));
    this.#io.pool.set(part, head + 16);
    return putHeader(view, head, part.length, 0, lo, hi);
  }

  #render(handle: number): Uint8Array {
    const text = new TextEncoder().encode(this.#options.render());
    this.#texts.delete(handle);
    this.#texts.set(handle, text);
    const oldest = this.#texts.keys().next();
    if (this.#texts.size > MAX_TEXTS && !oldest.done) this.#texts.delete(oldest.value);
    return text;
  }
}
