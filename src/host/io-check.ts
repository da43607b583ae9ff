/** The alignment that every engine asks of a disk request, so that what works on one works on all. */
import { ERRNO } from './errno.js';

/** Pool offsets of disk requests: what O_DIRECT asks of memory on common hosts. */
const MEMORY_ALIGN = 512;

/** 0, or -EINVAL for a request that is empty or not aligned to the disk's logical block. */
export function checkRequest(
  logicalBlockBytes: number,
  offsetBytes: number,
  at: number,
  lengthBytes: number,
): number {
  const aligned =
    offsetBytes % logicalBlockBytes === 0 &&
    lengthBytes % logicalBlockBytes === 0 &&
    at % MEMORY_ALIGN === 0;
  return aligned && lengthBytes > 0 && offsetBytes >= 0 ? 0 : -ERRNO.EINVAL;
}
