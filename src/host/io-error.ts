/**
 * Errors of the I/O engines in words. A completion carries only `-errno`; these functions say with a stable `code`
 * and one sentence what it means and what to do. Errors thrown by an engine are IoErrors.
 */
import { ERRNO, errnoName } from './errno.js';
import type { DiskInfo } from './io.js';

export type IoErrorCode =
  | 'NO_IO_URING'
  | 'POOL_EXHAUSTED'
  | 'SHORT_DEVICE'
  | 'MISALIGNED'
  | 'EIO'
  | 'ENOSPC'
  | 'DEVICE_GONE'
  | 'SYSTEM';

export class IoError extends Error {
  override name = 'IoError';
  readonly code: IoErrorCode;
  /** 0 when the system said nothing. */
  readonly errno: number;

  constructor(code: IoErrorCode, message: string, errno: number, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.errno = errno;
  }
}

/** `alloc` gave -1 where waiting is no answer (start-up, one-off work). */
export function poolExhausted(payloadBytes: number): IoError {
  return new IoError(
    'POOL_EXHAUSTED',
    `no free buffer for ${payloadBytes} bytes; give the pool more buffers of that size`,
    ERRNO.ENOBUFS,
  );
}

/** What a failed disk request (result < 0) means. `info` is the disk's, null when it is not known. */
export function explainDisk(
  result: number,
  offsetBytes: number,
  lengthBytes: number,
  info: DiskInfo | null,
): IoError {
  const errno = -result;
  const where = `${lengthBytes} bytes at ${offsetBytes}`;
  const align = info?.logicalBlockBytes ?? 512;
  if (errno === ERRNO.ENXIO || errno === ERRNO.ENODEV || info?.sizeBytes === 0) {
    return new IoError('DEVICE_GONE', `the disk has gone (${errnoName(errno)}), ${where}`, errno);
  }
  if (errno === ERRNO.EINVAL && (offsetBytes % align !== 0 || lengthBytes % align !== 0)) {
    const text = `${where}: not a multiple of the disk's block of ${align} bytes`;
    return new IoError('MISALIGNED', text, errno);
  }
  if (info && offsetBytes + lengthBytes > info.sizeBytes) {
    const text = `${where}: beyond the end of the disk (${info.sizeBytes} bytes); did it shrink?`;
    return new IoError('SHORT_DEVICE', text, errno);
  }
  if (errno === ERRNO.ENOSPC) {
    const text = `${where}: no space left below the disk (thin volume or sparse file full)`;
    return new IoError('ENOSPC', text, errno);
  }
  if (errno === ERRNO.EIO) return new IoError('EIO', `${where}: input/output error`, errno);
  return new IoError('SYSTEM', `${where}: ${errnoName(errno)}`, errno);
}
