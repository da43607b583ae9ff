/**
 * Between a front end (FUSE, NBD export, a test) and a replicated volume.
 *
 * Sectors are 512 bytes. `tag` is the front end's own and comes back in `blockDone`. All calls are made on the
 * engine thread; `blockDone` is never called inside the call that asked.
 *
 * Buffers: for a write the volume takes the buffer over (from `Io.alloc`; payload at `at`, the head in front is
 * free for headers) and frees it when disk and network are done with it, which may be after `blockDone`. For a
 * read the buffer stays the front end's; it must not be touched until `blockDone`.
 */

export interface FrontEnd {
  /** `error` is 0 or a positive errno (EIO, EROFS, ENOSPC ...). */
  blockDone(tag: number, error: number): void;
  /** A read goes on in another buffer, which is the front end's now; the one before is not. */
  bufferMoved(tag: number, at: number): void;
}

export interface BlockVolume {
  readonly minor: number;
  /** Current size; 0 while unknown. */
  readonly sizeSectors: number;
  readonly logicalBlockBytes: number;
  read(front: FrontEnd, tag: number, sector: number, at: number, lengthBytes: number): void;
  write(
    front: FrontEnd,
    tag: number,
    sector: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
  ): void;
  /** Everything answered before is durable on every node that has to have it. */
  flush(front: FrontEnd, tag: number): void;
  discard(front: FrontEnd, tag: number, sector: number, lengthSectors: number): void;
  writeZeroes(
    front: FrontEnd,
    tag: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void;
  /** 0, or the errno that an open of the device gets: EROFS or EMEDIUMTYPE on a Secondary. Counts openers. */
  open(write: boolean): number;
  release(write: boolean): void;
}

export const MAX_REQUEST_BYTES = 1 << 20;
