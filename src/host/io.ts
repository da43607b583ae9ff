/**
 * The I/O port: everything that moves bytes for drbdd. Three engines implement it: `real/native-io` (one
 * io_uring, the addon in native/), `real/fallback-io` (fs and net, where io_uring is missing) and
 * `sim/sim-io` (a seed, virtual time). One conformance suite runs over all of them.
 *
 * Rules that hold for every engine
 * - Bytes live in `pool`; an operation names (at, length): byte offsets into it. Nothing per I/O is allocated: no
 *   promise, closure, object or Buffer. `tag` says who is told: owner index * 2^24 + an index of the owner's own.
 *   `NO_TAG` means nobody.
 * - Methods only queue. They take effect at `submit()`, which the loop calls once at the end of each turn.
 * - Completions arrive between turns, in batches: `ioDone` per operation, then `batchEnd` once per batch.
 *   A completion never arrives inside the call that queued it.
 * - `result` is >= 0 for success (bytes moved, or a handle) and -errno for failure.
 * - A range of the pool that an operation names belongs to the engine until the operation is done.
 * - Closing a handle completes its operations in flight first (with -ECANCELED where they can be cancelled).
 */

import type { BufferUse } from '../base/buffer-use.js';

export const NO_TAG = 0xffffffff;
export const TAG_INDEX_BITS = 24;

/** Bytes in front of each buffer's payload, for headers that must be contiguous with it (FUSE, DRBD, NBD). */
export const HEAD_BYTES = 4096;

export interface IoOwner {
  /** An operation with this owner's tag is done. `index` is the low 24 bits of its tag. */
  ioDone(index: number, result: number): void;
}

export interface StreamOwner {
  /**
   * `pool[start, end)` holds the bytes received and not yet consumed (a header peek). Called again when more
   * arrive, always with all unconsumed bytes. The region is at least STREAM_PEEK_BYTES long, so any header fits.
   */
  streamData(stream: number, start: number, end: number): void;
  /** The peer closed (error 0) or the stream failed (errno > 0). Called once; the owner then closes the handle. */
  streamEnd(stream: number, error: number): void;
}

export const STREAM_PEEK_BYTES = 65536;

export interface ListenOwner {
  /** A connection was accepted. The owner calls `attachStream` or `close`. */
  accepted(listener: number, stream: number, peer: string): void;
}

export interface FuseOwner {
  /** A request was read: its 40-byte in-header begins at pool[at - 80], so that WRITE data is at `at`. */
  fuseRequest(fuse: number, at: number, lengthBytes: number): void;
  /** The connection is over: unmounted or aborted (errno, ENODEV for an orderly end). */
  fuseEnd(fuse: number, error: number): void;
}

/** A TCP endpoint (`host` is a numeric address) or a unix socket. */
export type Endpoint =
  | { readonly family: 'ipv4' | 'ipv6'; readonly host: string; readonly port: number }
  | { readonly family: 'unix'; readonly path: string };

/** What is known of an open disk. Sizes in bytes. */
export interface DiskInfo {
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number; // smallest aligned unit of an O_DIRECT request
  readonly physicalBlockBytes: number;
  readonly isBlockDevice: boolean;
  readonly canDiscard: boolean;
  readonly discardZeroes: boolean; // a discarded range is known to read back as zeroes
  /** Units in which the disk discards, and how much at once; absent or 0: not known, or without a limit. */
  readonly discardGranularityBytes?: number;
  readonly maxDiscardBytes?: number;
}

export interface DiskOpen {
  readonly write: boolean;
  readonly exclusive: boolean; // O_EXCL: refused with EBUSY while mounted or claimed
}

export interface SocketOptions {
  readonly sendBufferBytes: number; // 0: the system's choice
  readonly receiveBufferBytes: number;
}

export interface Io {
  /** All buffers; page-aligned, resident and locked in the native engine. */
  readonly pool: Uint8Array;
  readonly poolView: DataView;

  /** Register who is told; the result is the first tag of the owner (owner index << 24). */
  register(owner: IoOwner): number;

  /**
   * A buffer for at least `payloadBytes` (0 to 1 MiB) of payload: the page-aligned offset of the payload, with
   * HEAD_BYTES of its own in front. -1 when that size class is exhausted: the caller waits for a `free`. Each use has a few that
   * others do not get; without one it is a request of a device.
   */
  alloc(payloadBytes: number, use?: BufferUse): number;
  free(at: number): void;
  /** Usable payload bytes of a buffer from `alloc`. */
  capacity(at: number): number;

  /** Completes with a disk handle. The disk is opened O_DIRECT where that works. */
  openDisk(path: string, how: DiskOpen, tag: number): void;
  /** Of an open disk; read again at each call, so that a grown device is seen. */
  diskInfo(disk: number): DiskInfo;
  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void;
  /** `fua`: durable before completion. A short write is an error (-EIO), not a result. */
  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void;
  /** Everything completed before this call is durable when it completes. */
  flushDisk(disk: number, tag: number): void;
  /** -EOPNOTSUPP where the disk cannot. Contents afterwards are undefined unless discardZeroes. */
  discardDisk(disk: number, offsetBytes: number, lengthBytes: number, tag: number): void;
  /** Reads back as zeroes afterwards, on any disk (written, where the disk has no such command). */
  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    tag: number,
  ): void;

  /**
   * The disk does not answer, and is not waited for any more: all that is under way on it completes with -ETIMEDOUT, what
   * comes later at once. The memory stays the disk's until it gives it back, whether or not it is freed meanwhile: writes may
   * still happen, with what it holds then, so nothing else is put there. The descriptor stays open as long, even when the
   * handle is closed. Completes when everything is back.
   */
  abandonDisk(disk: number, tag: number): void;

  /** A listening socket, or -errno at once (EADDRINUSE, EADDRNOTAVAIL ...). SO_REUSEADDR is set. */
  listen(at: Endpoint, options: SocketOptions, owner: ListenOwner): number;
  /** Completes with a stream handle. `local` (port 0) is the address to come from, or null. */
  connect(
    remote: Endpoint,
    local: Endpoint | null,
    timeoutMs: number,
    options: SocketOptions,
    tag: number,
  ): void;
  /** From now on `owner` is told of received bytes. TCP_NODELAY is set on every TCP stream. */
  attachStream(stream: number, owner: StreamOwner): void;
  /** Queue bytes behind what was queued before; completes when the kernel has taken all of them. */
  send(stream: number, at: number, lengthBytes: number, tag: number): void;
  /** Bytes queued by `send` and not yet taken by the kernel. */
  sendBacklogBytes(stream: number): number;
  /** Drop `count` of the peeked bytes. `payload`: they are data of an application, which no recording may have. */
  consume(stream: number, count: number, payload?: boolean): void;
  /**
   * Drop `skip` peeked bytes, then move the next `lengthBytes` of the stream to pool[at...]: those already
   * received are copied by the engine, the rest arrives there directly. Completes with lengthBytes. Further peeked
   * bytes are reported only after completion. When everything was already there, it completes in the next batch
   * all the same, but the bytes after it may be consumed at once: `streamData` is not called again for them.
   * Queued operations take effect in their order: a `receive` whose bytes were all peeked has copied them before
   * an operation that is queued behind it in the same turn starts. So `receive(..., NO_TAG)` followed by `writeDisk`
   * of the same buffer is right, and costs no extra wake-up.
   */
  receive(stream: number, skip: number, at: number, lengthBytes: number, tag: number): void;
  /** True while the peer has neither closed nor reset (a non-blocking peek). */
  streamAlive(stream: number): boolean;
  /** Close a disk, listener, stream or FUSE connection (the descriptor only; nothing is unmounted). */
  close(handle: number): void;

  /** Serve requests of an open, mounted /dev/fuse descriptor. */
  attachFuse(descriptor: number, owner: FuseOwner): number;
  /**
   * Give a free buffer (from `alloc`) for one future request; the smallest fed buffer that fits is used. Nothing is
   * read while no buffer is fed. `close` frees the buffers that were fed and not used.
   */
  fuseFeed(fuse: number, at: number): void;
  /**
   * Write one answer: pool[at, at + lengthBytes) begins with the 16-byte out-header. Unlike all else it is done at once
   * (a write to /dev/fuse never waits): the range is the caller's again when the call returns. An answer that waited
   * for `submit` would keep buffers that another device may need to go on, and nothing would wake that device.
   */
  fuseReply(fuse: number, at: number, lengthBytes: number): void;

  /** Called once after the completions of a batch have been delivered. */
  onBatchEnd(handler: () => void): void;
  /** Hand everything queued since the last call to the system. */
  submit(): void;
  /** Monotonic milliseconds (fractional). Cached: refreshed at the start of each batch, by `submit` and by `refresh`. */
  nowMs(): number;
  /** Something begins that is no batch: the clock may have stood for long. */
  refresh(): void;
  /** Stop: everything in flight is completed or cancelled, then all handles are closed. */
  destroy(): Promise<void>;
}
