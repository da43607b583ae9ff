/**
 * A FUSE descriptor served with `fs`: one read at a time, which occupies a thread of Node's pool while it waits, or
 * asks again every few milliseconds when the descriptor is non-blocking. Rules: fuse(4), and docs/ on the device.
 */
import { close, read, writeSync } from 'node:fs';
import { MAX_PAYLOAD_BYTES } from '../host/buffer-pool.js';
import { ERRNO, errnoOf } from '../host/errno.js';
import { FUSE_HEADER_BYTES, FuseFeed } from '../host/fuse-feed.js';
import type { FuseOwner } from '../host/io.js';

const RETRY_MS = 2;

export interface FuseEvents {
  request(fuse: FallbackFuse, at: number, lengthBytes: number): void;
  end(fuse: FallbackFuse, error: number): void;
}

export class FallbackFuse {
  readonly handle: number;
  readonly owner: FuseOwner;
  readonly #fd: number;
  readonly #pool: Uint8Array;
  readonly #events: FuseEvents;
  readonly #feed = new FuseFeed();
  #reading = -1; // the large buffer being read into
  #over = false;
  #closing: ((unused: readonly number[]) => void) | null = null;
  #closed = false;

  constructor(handle: number, fd: number, pool: Uint8Array, owner: FuseOwner, events: FuseEvents) {
    this.handle = handle;
    this.owner = owner;
    this.#fd = fd;
    this.#pool = pool;
    this.#events = events;
  }

  feed(at: number, capacityBytes: number): void {
    this.#feed.add(at, capacityBytes);
    this.#read();
  }

  /** 0 or -errno. ENOENT is no error: the request was interrupted or aborted meanwhile. */
  reply(at: number, lengthBytes: number): number {
    if (this.#closed || this.#over) return 0;
    try {
      writeSync(this.#fd, this.#pool, at, lengthBytes);
      return 0;
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === ERRNO.ENODEV) this.#end(errno);
      return errno === ERRNO.ENOENT || errno === ERRNO.ENODEV ? 0 : -errno;
    }
  }

  /** Stops. `done` gets the buffers that were fed and not used, when no read is in flight any more. */
  close(done: (unused: readonly number[]) => void): void {
    this.#closing = done;
    this.#over = true;
    if (this.#reading < 0) this.#finishClose();
  }

  #read(): void {
    if (this.#reading >= 0 || this.#over) return;
    const at = this.#feed.takeLarge();
    if (at < 0) return;
    this.#reading = at;
    this.#ask(at);
  }

  #ask(at: number): void {
    const from = at - FUSE_HEADER_BYTES;
    read(
      this.#fd,
      this.#pool,
      from,
      MAX_PAYLOAD_BYTES + FUSE_HEADER_BYTES,
      null,
      (error, count) => {
        const errno = error ? errnoOf(error) : 0;
        if (!this.#over && errno === ERRNO.EAGAIN) {
          setTimeout(() => (this.#over ? this.#stopped(at) : this.#ask(at)), RETRY_MS);
          return;
        }
        if (!this.#over && (errno === ERRNO.EINTR || errno === ERRNO.ENOENT)) return this.#ask(at);
        if (errno !== 0 || this.#over) {
          // A request read while closing is not answered: a successor gets it by NOTIFY_RESEND.
          this.#stopped(at);
          if (!this.#closing) this.#end(errno);
          return;
        }
        this.#took(at, count);
        this.#reading = -1;
        this.#read();
      },
    );
  }

  #took(at: number, lengthBytes: number): void {
    const fitting = this.#feed.takeFitting(lengthBytes);
    if (fitting >= 0) {
      const from = at - FUSE_HEADER_BYTES;
      this.#pool.copyWithin(fitting - FUSE_HEADER_BYTES, from, from + lengthBytes);
      this.#feed.giveBack(at);
    }
    this.#events.request(this, fitting >= 0 ? fitting : at, lengthBytes);
  }

  #stopped(at: number): void {
    this.#reading = -1;
    this.#feed.giveBack(at);
    if (this.#closing) this.#finishClose();
  }

  #end(error: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.end(this, error);
  }

  #finishClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.#fd, () => {});
    this.#closing?.(this.#feed.drain());
  }
}
