/** Chooses the I/O engine of this process: native where it can be, else the fallback, and says why as data. */
import { DEFAULT_POOL, type PoolCounts } from '../host/buffer-pool.js';
import { errnoName } from '../host/errno.js';
import type { Io } from '../host/io.js';
import { IoError } from '../host/io-error.js';
import { FallbackIo } from './fallback-io.js';
import { NativeIo } from './native-io.js';

export interface OpenIoOptions {
  /** `native` refuses to fall back. */
  readonly engine: 'auto' | 'native' | 'fallback';
  readonly pool: PoolCounts;
  /** Streams attached at one time. */
  readonly streams: number;
}

export const DEFAULT_IO: OpenIoOptions = { engine: 'auto', pool: DEFAULT_POOL, streams: 64 };

export interface OpenedIo {
  readonly io: Io;
  readonly engine: 'native' | 'fallback';
  /** For the log: why it is not what one would wish (no io_uring, addon not built, memory not locked). */
  readonly remarks: readonly string[];
}

/** Throws an IoError when `native` was asked for and cannot be. */
export function openIo(options: OpenIoOptions): OpenedIo {
  const sizes = { pool: options.pool, streams: options.streams };
  if (options.engine === 'fallback') {
    return {
      io: new FallbackIo(sizes),
      engine: 'fallback',
      remarks: ['the fallback I/O engine is asked for'],
    };
  }
  try {
    const io = new NativeIo(sizes);
    const remarks =
      io.lockErrno === 0
        ? []
        : [
            `the buffer pool is not locked in memory (mlock: ${errnoName(io.lockErrno)}); raise LimitMEMLOCK`,
          ];
    return { io, engine: 'native', remarks };
  } catch (error) {
    if (!(error instanceof IoError) || options.engine === 'native') throw error;
    const remark = `slow I/O engine over fs and net: ${error.message}`;
    return { io: new FallbackIo(sizes), engine: 'fallback', remarks: [remark] };
  }
}
