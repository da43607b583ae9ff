/**
 * The FUSE messages of /dev/fuse, as far as one regular file needs them: where each field lies, and how answers are
 * built, in place, in the I/O pool. Little-endian (the kernel speaks the machine's own order; only little-endian
 * machines are supported).
 *
 *     request: in-header 40 bytes | arguments | WRITE data at byte 80
 *     answer:  out-header 16 bytes | result
 *
 * Source: <linux/fuse.h> 7.45 and the measurements in docs/DEVICE.md. `unique` is never interpreted: it is two
 * u32, given back as received, bit 63 (set on a resent request) included.
 */

export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
/** From the beginning of a WRITE request to its data. */
export const WRITE_DATA_OFFSET = 80;
/** Largest WRITE and READ: 256 pages, the default ceiling `fs.fuse.max_pages_limit`. */
export const MAX_WRITE_BYTES = 1 << 20;
export const ROOT_INODE = 1;

export const Opcode = {
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  FLUSH: 25,
  INIT: 26,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
} as const;

/** INIT flags, low word. */
const INIT_ASYNC_READ = 1 << 0;
const INIT_BIG_WRITES = 1 << 5;
const INIT_ASYNC_DIO = 1 << 15;
const INIT_MAX_PAGES = 1 << 22;
const INIT_EXT = 1 << 30;
/** INIT flags, high word (bit 39). */
const INIT2_HAS_RESEND = 1 << 7;
// Not asked for: WRITEBACK_CACHE (a cache of its own would be stale), OVER_IO_URING (cannot be restarted under load),
// PASSTHROUGH (the data must pass the daemon).
const WANTED = INIT_ASYNC_READ | INIT_BIG_WRITES | INIT_ASYNC_DIO | INIT_MAX_PAGES | INIT_EXT;
const WANTED2 = INIT2_HAS_RESEND;

const MAX_BACKGROUND = 128; // the loop device's nr_requests
const CONGESTION_THRESHOLD = 96;
const MAX_PAGES = 256;

const OPEN_DIRECT_IO = 1;
const OPEN_PARALLEL_DIRECT_WRITES = 64;

const NOTIFY_INVAL_INODE = 2;
const NOTIFY_RESEND = 7;

/** fallocate(2) modes. */
export const FALLOC_KEEP_SIZE = 0x01;
export const FALLOC_PUNCH_HOLE = 0x02;
export const FALLOC_ZERO_RANGE = 0x10;

const O_ACCMODE = 3;
const O_DSYNC = 0o10000;
const S_IFREG = 0o100000;

/** A u64 as a number. Above 2^53 it is only approximate, which every user here refuses or clips. */
function u64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 0x100000000 + view.getUint32(at, true);
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x100000000), true);
}

// Requests. `at` is the beginning of the in-header.

export const messageBytes = (v: DataView, at: number): number => v.getUint32(at, true);
export const opcodeOf = (v: DataView, at: number): number => v.getUint32(at + 4, true);
export const uniqueLow = (v: DataView, at: number): number => v.getUint32(at + 8, true);
export const uniqueHigh = (v: DataView, at: number): number => v.getUint32(at + 12, true);
export const uidOf = (v: DataView, at: number): number => v.getUint32(at + 24, true);

/** OPEN and its counterpart: both carry the flags of open(2), at different places. */
export const openForWrite = (v: DataView, at: number): boolean =>
  (v.getUint32(at + 40, true) & O_ACCMODE) !== 0;
export const releaseForWrite = (v: DataView, at: number): boolean =>
  (v.getUint32(at + 48, true) & O_ACCMODE) !== 0;
/** The file handle of READ, WRITE, RELEASE ...: what the answer to OPEN said. */
export const handleOf = (v: DataView, at: number): number => v.getUint32(at + 40, true);

export const ioOffset = (v: DataView, at: number): number => u64(v, at + 48);
export const ioBytes = (v: DataView, at: number): number => v.getUint32(at + 56, true);
/** The descriptor was opened O_DSYNC or O_SYNC: the answer to this WRITE promises durability. */
export const writeIsSync = (v: DataView, at: number): boolean =>
  (v.getUint32(at + 72, true) & O_DSYNC) !== 0;

export const fallocateOffset = (v: DataView, at: number): number => u64(v, at + 48);
export const fallocateBytes = (v: DataView, at: number): number => u64(v, at + 56);
export const fallocateMode = (v: DataView, at: number): number => v.getUint32(at + 64, true);

/** The smallest valid message of an operation: what its arguments need. */
export function minimumBytes(opcode: number): number {
  switch (opcode) {
    case Opcode.READ:
    case Opcode.WRITE:
      return 80;
    case Opcode.FALLOCATE:
      return 72;
    case Opcode.RELEASE:
      return 64;
    case Opcode.INIT:
      return 56;
    case Opcode.OPEN:
      return 48;
    default:
      return IN_HEADER_BYTES;
  }
}

// Answers. Each function writes a whole answer at `at` and returns its length in bytes.

/** The out-header alone: the answer to an operation without a result. `error` is a positive errno or 0. */
export function putStatus(
  v: DataView,
  at: number,
  error: number,
  uniqueLo: number,
  uniqueHi: number,
): number {
  return putHeader(v, at, 0, error, uniqueLo, uniqueHi);
}

/** The out-header in front of `resultBytes` bytes that are there already. */
export function putHeader(
  v: DataView,
  at: number,
  resultBytes: number,
  error: number,
  uniqueLo: number,
  uniqueHi: number,
): number {
  v.setUint32(at, OUT_HEADER_BYTES + resultBytes, true);
  v.setInt32(at + 4, error === 0 ? 0 : -error, true);
  v.setUint32(at + 8, uniqueLo, true);
  v.setUint32(at + 12, uniqueHi, true);
  return OUT_HEADER_BYTES + resultBytes;
}

export function putWritten(
  v: DataView,
  at: number,
  writtenBytes: number,
  uniqueLo: number,
  uniqueHi: number,
): number {
  v.setUint32(at + 16, writtenBytes, true);
  v.setUint32(at + 20, 0, true);
  return putHeader(v, at, 8, 0, uniqueLo, uniqueHi);
}

/** OPEN: every read and write comes here (no page cache), writes in parallel. */
export function putOpened(
  v: DataView,
  at: number,
  handle: number,
  uniqueLo: number,
  uniqueHi: number,
): number {
  putU64(v, at + 16, handle);
  v.setUint32(at + 24, OPEN_DIRECT_IO | OPEN_PARALLEL_DIRECT_WRITES, true);
  v.setUint32(at + 28, 0, true);
  return putHeader(v, at, 16, 0, uniqueLo, uniqueHi);
}

/** GETATTR: valid for 0 seconds, so that a resize is seen at once. `permissions` such as 0o600. */
export function putAttributes(
  v: DataView,
  at: number,
  sizeBytes: number,
  permissions: number,
  uniqueLo: number,
  uniqueHi: number,
): number {
  for (let i = 16; i < 120; i += 4) v.setUint32(at + i, 0, true);
  const attr = at + 32;
  putU64(v, attr, ROOT_INODE);
  putU64(v, attr + 8, sizeBytes);
  putU64(v, attr + 16, Math.ceil(sizeBytes / 512));
  v.setUint32(attr + 60, S_IFREG | permissions, true);
  v.setUint32(attr + 64, 1, true); // links
  v.setUint32(attr + 80, 4096, true); // preferred I/O size
  return putHeader(v, at, 104, 0, uniqueLo, uniqueHi);
}

export function putStatfs(
  v: DataView,
  at: number,
  sizeBytes: number,
  uniqueLo: number,
  uniqueHi: number,
): number {
  for (let i = 16; i < 96; i += 4) v.setUint32(at + i, 0, true);
  putU64(v, at + 16, Math.floor(sizeBytes / 4096)); // blocks, none of them free
  putU64(v, at + 40, 1); // files
  v.setUint32(at + 56, 4096, true); // bsize
  v.setUint32(at + 60, 255, true); // namelen
  v.setUint32(at + 64, 4096, true); // frsize
  return putHeader(v, at, 80, 0, uniqueLo, uniqueHi);
}

/** What the kernel offers in INIT, read before the answer overwrites it. */
export interface InitOffer {
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
}

export function decodeInit(v: DataView, at: number): InitOffer {
  const flags = v.getUint32(at + 52, true);
  const extended = (flags & INIT_EXT) !== 0 && messageBytes(v, at) >= 60;
  return {
    major: v.getUint32(at + 40, true),
    minor: v.getUint32(at + 44, true),
    maxReadahead: v.getUint32(at + 48, true),
    flags,
    flags2: extended ? v.getUint32(at + 56, true) : 0,
  };
}

/** The kernel (6.9 or newer) can hand out again what a dead daemon read and did not answer. */
export function offersResend(offer: InitOffer): boolean {
  return (offer.flags2 & INIT2_HAS_RESEND) !== 0;
}

export function putInit(
  v: DataView,
  at: number,
  offer: InitOffer,
  uniqueLo: number,
  uniqueHi: number,
): number {
  for (let i = 16; i < 80; i += 4) v.setUint32(at + i, 0, true);
  v.setUint32(at + 16, 7, true);
  v.setUint32(at + 20, offer.minor, true);
  v.setUint32(at + 24, offer.maxReadahead, true);
  v.setUint32(at + 28, offer.flags & WANTED, true);
  v.setUint16(at + 32, MAX_BACKGROUND, true);
  v.setUint16(at + 34, CONGESTION_THRESHOLD, true);
  v.setUint32(at + 36, MAX_WRITE_BYTES, true);
  v.setUint32(at + 40, 1, true); // time granularity in ns
  v.setUint16(at + 44, MAX_PAGES, true);
  v.setUint32(at + 48, offer.flags2 & WANTED2, true);
  return putHeader(v, at, 64, 0, uniqueLo, uniqueHi);
}

/** Hand out again every request that was read and not answered. Valid only before the first read. */
export function putNotifyResend(v: DataView, at: number): number {
  v.setUint32(at, OUT_HEADER_BYTES, true);
  v.setInt32(at + 4, NOTIFY_RESEND, true);
  putU64(v, at + 8, 0);
  return OUT_HEADER_BYTES;
}

/** Drop what the kernel cached of the file's attributes and pages. */
export function putNotifyInvalInode(v: DataView, at: number): number {
  v.setUint32(at, 40, true);
  v.setInt32(at + 4, NOTIFY_INVAL_INODE, true);
  putU64(v, at + 8, 0);
  putU64(v, at + 16, ROOT_INODE);
  putU64(v, at + 24, 0); // offset
  putU64(v, at + 32, 0); // length 0: to the end
  return 40;
}
