/**
 * ioctl(2) by name, with checked argument sizes and errno as a number. Package ioctl-napi trusts the length of the
 * buffer it is given and throws errors whose code is errno as text; nothing else in the project calls it.
 *
 * An ioctl on a device that this very process serves deadlocks on the thread that must answer it: call these from a
 * worker thread (device-worker.ts) only. A watchdog is nobody's but the kernel's.
 *
 * Numbers and sizes: <linux/loop.h>, <linux/fs.h>, <linux/watchdog.h>, for 64-bit machines.
 */
import { createRequire } from 'node:module';
import { assert } from '../base/assert.js';
import { errnoName } from '../host/errno.js';

/** Name -> request number and size of the argument in bytes; size 0: the argument is a number. */
const REQUESTS = {
  LOOP_CLR_FD: [0x4c01, 0],
  LOOP_SET_STATUS64: [0x4c04, 232],
  LOOP_GET_STATUS64: [0x4c05, 232],
  LOOP_SET_CAPACITY: [0x4c07, 0],
  LOOP_CONFIGURE: [0x4c0a, 304],
  LOOP_CTL_GET_FREE: [0x4c82, 0],
  BLKGETSIZE64: [0x80081272, 8],
  BLKSSZGET: [0x1268, 4],
  BLKPBSZGET: [0x127b, 4],
  BLKDISCARDZEROES: [0x127c, 4],
  WDIOC_SETTIMEOUT: [0xc0045706, 4],
} as const;

export type IoctlName = keyof typeof REQUESTS;

export class IoctlError extends Error {
  override name = 'IoctlError';
  readonly code: string; // 'EBUSY'
  readonly errno: number; // positive

  constructor(request: IoctlName, errno: number, cause: unknown) {
    super(`${request}: ${errnoName(errno)}`, { cause });
    this.code = errnoName(errno);
    this.errno = errno;
  }
}

type NativeIoctl = (fd: number, request: number, argument: number | Buffer) => number;
let native: NativeIoctl | null = null;

/** The result of ioctl(2), 0 or more. Throws IoctlError. */
export function ioctl(fd: number, request: IoctlName, argument: number | Buffer): number {
  const [number, bytes] = REQUESTS[request];
  if (bytes === 0) assert(typeof argument === 'number', `${request} takes a number`);
  else
    assert(
      typeof argument !== 'number' && argument.length === bytes,
      `${request} takes ${bytes} bytes`,
    );
  native ??= createRequire(import.meta.url)('ioctl-napi') as NativeIoctl;
  try {
    return native(fd, number, argument);
  } catch (error) {
    const errno = Number((error as { readonly code?: unknown }).code);
    if (!Number.isInteger(errno) || errno <= 0) throw error;
    throw new IoctlError(request, errno, error);
  }
}

/** An empty argument of the right size. */
export function ioctlBuffer(request: IoctlName): Buffer {
  return Buffer.alloc(REQUESTS[request][1]);
}
