/**
 * The loop device between a FUSE file and its users: bound on promotion, released on demotion.
 *
 *     free --LOOP_CTL_GET_FREE, LOOP_CONFIGURE--> bound --autoclear and last close--> free
 *
 * All functions wait for whoever serves the file: call them from a worker thread only (device-worker.ts).
 *
 * Release does not use LOOP_CLR_FD: with one opener left (our own descriptor) it makes the device refuse I/O at
 * once, and what a buffered writer left in the page cache is lost when our descriptor closes. Instead AUTOCLEAR is set
 * and our descriptor closed: the last close, ours or another's, writes the page cache out while the device is
 * still bound and unbinds it then. Seen on Linux 6.18, test/integration/loop.test.ts.
 *
 * A loop is identified by device and inode of its file: its name is the one at configuration time, and two nodes in
 * two mount namespaces use the same names.
 */
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { ERRNO } from '../host/errno.js';
import { IoctlError, ioctl, ioctlBuffer } from './ioctl.js';

// struct loop_info64, offsets in bytes.
const LO_DEVICE = 0;
const LO_INODE = 8;
const LO_FLAGS = 52;
const LO_FILE_NAME = 56;
const LO_NAME_BYTES = 64;
/** In struct loop_config: u32 fd, u32 block_size, loop_info64. */
const CONFIG_INFO = 8;

const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_DIRECT_IO = 16;

/** Each EBUSY means that another process took the number that GET_FREE gave. */
const MAX_BIND_ATTEMPTS = 64;
/** One FUSE request carries 1 MiB; a larger bio would be split into two. */
const MAX_SECTORS_KB = '1024';

export type LoopErrorCode = 'NO_LOOP_CONTROL' | 'NO_LOOP_NODE' | 'NO_FREE_LOOP' | 'NO_DIRECT_IO';

export class LoopError extends Error {
  override name = 'LoopError';
  readonly code: LoopErrorCode;

  constructor(code: LoopErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

export interface LoopOptions {
  /** Logical block size of the device: 512 or 4096. */
  readonly blockBytes: number;
  /** Offer discard to users. Off where the disks below cannot zero cheaply: fstrim would write zeroes. */
  readonly discard: boolean;
}

/** Binds a free loop device to `file`, direct I/O, read-write. The result is its path. */
export function bindLoop(file: string, options: LoopOptions): string {
  const fileFd = openSync(file, constants.O_RDWR);
  try {
    for (let attempt = 0; attempt < MAX_BIND_ATTEMPTS; attempt++) {
      const path = `/dev/loop${freeLoopNumber()}`;
      if (!configure(path, file, fileFd, options)) continue;
      tune(path, options);
      return path;
    }
  } finally {
    closeSync(fileFd);
  }
  throw new LoopError(
    'NO_FREE_LOOP',
    `no loop device stayed free in ${MAX_BIND_ATTEMPTS} attempts`,
  );
}

/** The loop device that is bound to `file` now, or null. */
export function findLoop(file: string): string | null {
  const { dev, ino } = statSync(file, { bigint: true });
  for (const name of readdirSync('/sys/block')) {
    if (!name.startsWith('loop')) continue;
    const path = `/dev/${name}`;
    const info = loopStatus(path);
    if (info && info.device === dev && info.inode === ino) return path;
  }
  return null;
}

/** True while `path` is bound to `file`. */
export function isBound(path: string, file: string): boolean {
  const { dev, ino } = statSync(file, { bigint: true });
  const info = loopStatus(path);
  return info !== null && info.device === dev && info.inode === ino;
}

/** The file has grown: the loop device takes over its size. */
export function resizeLoop(path: string): void {
  withDevice(path, (fd) => ioctl(fd, 'LOOP_SET_CAPACITY', 0));
}

/** After a restart in the middle of a release AUTOCLEAR may be set: the device would go with its last user. */
export function keepLoop(path: string): void {
  withDevice(path, (fd) => setAutoclear(fd, false));
}

/**
 * Unbinds `path` from `file`. 'held' when somebody still has it open after `waitMs` (udev probes a device for some
 * milliseconds after each change); it is then bound as before. At once when it is mounted or claimed.
 */
export function releaseLoop(path: string, file: string, waitMs: number): 'gone' | 'held' {
  if (!isBound(path, file)) return 'gone';
  const until = performance.now() + waitMs;
  for (;;) {
    if (isClaimed(path)) return 'held';
    if (!withDevice(path, (fd) => setAutoclear(fd, true))) return 'gone';
    // That close was the last one, or somebody else has it open, or somebody else's close was the last one.
    if (!isBound(path, file)) return 'gone';
    if (!withDevice(path, (fd) => setAutoclear(fd, false))) return 'gone';
    if (performance.now() >= until) return isBound(path, file) ? 'held' : 'gone';
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
}

/**
 * Cuts loop devices off a file whose server is dead for good: their users get EIO, as they do already. By name, since
 * such a file cannot be asked for its inode; only those whose file is dead as well.
 */
export function dropDeadLoops(file: string): void {
  for (const name of readdirSync('/sys/block')) {
    if (!name.startsWith('loop')) continue;
    let backing: string;
    try {
      backing = readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trimEnd();
    } catch {
      continue; // not bound
    }
    if (backing !== file) continue;
    withDevice(`/dev/${name}`, (fd) => {
      try {
        ioctl(fd, 'LOOP_GET_STATUS64', ioctlBuffer('LOOP_GET_STATUS64'));
      } catch (error) {
        // Another node in another mount namespace uses the same name, and its file lives.
        if (error instanceof IoctlError && error.errno === ERRNO.ENOTCONN) {
          ioctl(fd, 'LOOP_CLR_FD', 0);
        }
      }
    });
  }
}

interface LoopStatus {
  readonly device: bigint;
  readonly inode: bigint;
}

function loopStatus(path: string): LoopStatus | null {
  return withDevice(path, (fd) => {
    const info = ioctlBuffer('LOOP_GET_STATUS64');
    ioctl(fd, 'LOOP_GET_STATUS64', info);
    return { device: info.readBigUInt64LE(LO_DEVICE), inode: info.readBigUInt64LE(LO_INODE) };
  });
}

/** True when it is bound. */
function setAutoclear(fd: number, on: boolean): true {
  const info = ioctlBuffer('LOOP_GET_STATUS64');
  ioctl(fd, 'LOOP_GET_STATUS64', info);
  const flags = info.readUInt32LE(LO_FLAGS);
  const wanted = on ? flags | LO_FLAGS_AUTOCLEAR : flags & ~LO_FLAGS_AUTOCLEAR;
  if (wanted !== flags) {
    info.writeUInt32LE(wanted, LO_FLAGS);
    ioctl(fd, 'LOOP_SET_STATUS64', info);
  }
  return true;
}

/** Mounted, used for swap or claimed by another driver: an exclusive open is refused. */
function isClaimed(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_EXCL));
    return false;
  } catch (error) {
    return errnoCode(error) === 'EBUSY';
  }
}

/** What `use` returns, or null when the device is not bound or has no node. Read-only: no udev event at close. */
function withDevice<T>(path: string, use: (fd: number) => T): T | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch (error) {
    if (['ENXIO', 'ENOENT', 'ENODEV'].includes(errnoCode(error))) return null;
    throw error;
  }
  try {
    return use(fd);
  } catch (error) {
    if (error instanceof IoctlError && error.errno === ERRNO.ENXIO) return null;
    throw error;
  } finally {
    closeSync(fd);
  }
}

function freeLoopNumber(): number {
  let control: number;
  try {
    control = openSync('/dev/loop-control', constants.O_RDWR);
  } catch (error) {
    const text =
      'cannot open /dev/loop-control: load the loop module, or give the container that node';
    throw new LoopError('NO_LOOP_CONTROL', text, error);
  }
  try {
    return ioctl(control, 'LOOP_CTL_GET_FREE', 0);
  } finally {
    closeSync(control);
  }
}

/** False when somebody else took it meanwhile. */
function configure(path: string, file: string, fileFd: number, options: LoopOptions): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR);
  } catch (error) {
    if (errnoCode(error) !== 'ENOENT') throw error;
    const number = path.slice('/dev/loop'.length);
    const text = `${path} is free but has no node here: mknod ${path} b 7 ${number}`;
    throw new LoopError('NO_LOOP_NODE', text, error);
  }
  try {
    const config = ioctlBuffer('LOOP_CONFIGURE');
    config.writeUInt32LE(fileFd, 0);
    config.writeUInt32LE(options.blockBytes === 512 ? 0 : options.blockBytes, 4);
    config.writeUInt32LE(LO_FLAGS_DIRECT_IO, CONFIG_INFO + LO_FLAGS);
    // A shortened name is shown by losetup for longer paths, as losetup itself does.
    config.write(file.slice(0, LO_NAME_BYTES - 1), CONFIG_INFO + LO_FILE_NAME);
    ioctl(fd, 'LOOP_CONFIGURE', config);
    const info = ioctlBuffer('LOOP_GET_STATUS64');
    ioctl(fd, 'LOOP_GET_STATUS64', info);
    if ((info.readUInt32LE(LO_FLAGS) & LO_FLAGS_DIRECT_IO) === 0) {
      // Through the page cache the daemon could wait for writeback of its own device.
      ioctl(fd, 'LOOP_CLR_FD', 0);
      throw new LoopError('NO_DIRECT_IO', `${path} does not take direct I/O on ${file}`);
    }
    return true;
  } catch (error) {
    if (error instanceof IoctlError && error.errno === ERRNO.EBUSY) return false;
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Settings in /sys, which may be read-only in a container: the device works without, a little slower. */
function tune(path: string, options: LoopOptions): void {
  const queue = `/sys/block/${path.slice('/dev/'.length)}/queue`;
  const settings = [['max_sectors_kb', MAX_SECTORS_KB]];
  if (!options.discard) settings.push(['discard_max_bytes', '0']);
  for (const [name, value] of settings) {
    try {
      writeFileSync(`${queue}/${name}`, value ?? '');
    } catch {
      // Nothing depends on it.
    }
  }
}

function errnoCode(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}
