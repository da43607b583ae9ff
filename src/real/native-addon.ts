/**
 * The addon in native/ as TypeScript sees it: its functions with checked arguments, and errors with errno names. The
 * numbers of COMMAND and EVENT, and the layout of both records, are those of native/src/records.h.
 */
import { createRequire } from 'node:module';
import { ERRNO, errnoName } from '../host/errno.js';
import { IoError } from '../host/io-error.js';

export const COMMAND = {
  read: 1,
  write: 2,
  flush: 3,
  discard: 4,
  zero: 5,
  send: 6,
  receive: 7,
  close: 8,
  fuseFeed: 9,
  complete: 10,
  abandon: 11,
} as const;
export const COMMAND_BYTES = 64;
/** Index of a field in a command, seen as 16 Int32 (or, for the last two, as 8 Float64). */
export const COMMAND_FIELD = {
  kind: 0,
  handle: 1,
  at: 2,
  length: 3,
  tag: 4,
  flags: 5,
  at2: 10,
  length2: 11,
  offset: 3,
  wideLength: 4,
} as const;

export const EVENT = {
  done: 1,
  received: 2,
  accepted: 3,
  fuseRequest: 4,
  fuseEnd: 5,
  closed: 6,
  unused: 7,
  abandoned: 8,
  returned: 9,
} as const;
export const EVENT_BYTES = 24;

export const HANDLE_SLOT_MASK = 4095;

/** An engine object made by `create`; its functions are called with it as `this`. */
export interface NativeEngine {
  readonly memory: ArrayBuffer;
  readonly lockErrno: number;
  readonly fixedBuffers: boolean;
}

/** Name, family (4, 6, or 0: it is there), address, netmask, broadcast address. */
export type NativeInterface = readonly [string, number, string, string, string];

export interface NativeAddon {
  create(
    slotBytes: number,
    peekCount: number,
    peekBytes: number,
    commands: ArrayBuffer,
    events: ArrayBuffer,
    backlog: ArrayBuffer,
    batch: (events: number) => number,
  ): NativeEngine;
  submit(this: NativeEngine, commands: number): void;
  openDisk(this: NativeEngine, path: string, write: boolean, exclusive: boolean, tag: number): void;
  connect(
    this: NativeEngine,
    family: number,
    host: string,
    port: number,
    localFamily: number,
    localHost: string,
    timeoutMs: number,
    sendBytes: number,
    receiveBytes: number,
    tag: number,
    localPort: number,
  ): void;
  listen(
    this: NativeEngine,
    family: number,
    host: string,
    port: number,
    sendBytes: number,
    receiveBytes: number,
  ): number;
  attachFuse(this: NativeEngine, descriptor: number): number;
  fuseReply(this: NativeEngine, fuse: number, at: number, lengthBytes: number): number;
  diskFacts(this: NativeEngine, disk: number, facts: ArrayBuffer): number;
  isDirect(this: NativeEngine, disk: number): boolean;
  streamAlive(this: NativeEngine, stream: number): boolean;
  peerName(this: NativeEngine, stream: number): string;
  cancelUnowned(this: NativeEngine): void;
  inFlight(this: NativeEngine): number;
  stop(this: NativeEngine): void;
  mountFuse(descriptor: number, path: string, source: string): number;
  unmount(path: string, lazy: boolean): number;
  openDescriptor(path: string, flags: number): number;
  closeDescriptor(descriptor: number): number;
  setCloseOnExec(descriptor: number): number;
  exec(argv: readonly string[]): number;
  mapFile(path: string, bytes: number): ArrayBuffer | number;
  memoryFile(): number;
  lockCode(): number;
  setRealtime(priority: number): number;
  exitNow(status: number): never;
  interfaces(): readonly NativeInterface[] | number;
  peerCredentials(descriptor: number): readonly [number, number, number] | number;
  setIoFlusher(): number;
  haveIoUring(): readonly [number, string];
}

/** Where `make native` leaves the addon, seen from build/src/real. */
const ADDON = '../../native/twinbeat.node';

/** Loads the addon, or says why it cannot be. Node itself caches a loaded addon. */
export function loadAddon(): NativeAddon | IoError {
  try {
    return createRequire(import.meta.url)(ADDON) as NativeAddon;
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    const text = `the native addon is not there (${why}); build it with: make native`;
    return new IoError('SYSTEM', text, ERRNO.ENOENT, error);
  }
}

function addon(): NativeAddon {
  const loaded = loadAddon();
  if (loaded instanceof IoError) throw loaded;
  return loaded;
}

/** `result` when it is not negative, else an IoError naming the call. */
function checked(result: number, what: string): number {
  if (result >= 0) return result;
  throw new IoError('SYSTEM', `${what}: ${errnoName(result)}`, -result);
}

/** Whether an engine can be made here; if not, why. */
export function haveIoUring(): { readonly ok: boolean; readonly reason: string } {
  const loaded = loadAddon();
  if (loaded instanceof IoError) return { ok: false, reason: loaded.message };
  const [errno, step] = loaded.haveIoUring();
  return errno === 0
    ? { ok: true, reason: '' }
    : { ok: false, reason: `${step}: ${errnoName(errno)}` };
}

/** mount(2) of an open /dev/fuse on the regular file `path`; options as in the spec of the device. */
export function mountFuse(descriptor: number, path: string, source: string): void {
  checked(addon().mountFuse(descriptor, path, source), `mount of FUSE on ${path}`);
}

export function unmount(path: string, how: { readonly lazy: boolean }): void {
  checked(addon().unmount(path, how.lazy), `umount ${path}`);
}

/** open(2) with O_CLOEXEC. */
export function openDescriptor(path: string, flags: number): number {
  return checked(addon().openDescriptor(path, flags), `open ${path}`);
}

export function closeDescriptor(descriptor: number): void {
  checked(addon().closeDescriptor(descriptor), `close ${descriptor}`);
}

export function setCloseOnExec(descriptor: number): void {
  checked(addon().setCloseOnExec(descriptor), `close-on-exec of ${descriptor}`);
}

/** execv(2): this process becomes `argv[0]`; returns only to throw. Descriptors but 0, 1, 2 are closed (Node's are). */
export function replaceProcess(argv: readonly string[]): never {
  const result = addon().exec(argv);
  throw new IoError('SYSTEM', `exec ${argv[0]}: ${errnoName(result)}`, -result);
}

/** A new file of zeros whose bytes are the memory that is given: what is written there outlives the process. */
export function mapFile(path: string, bytes: number): Uint8Array {
  const mapped = addon().mapFile(path, bytes);
  if (typeof mapped === 'number') checked(mapped, `map ${path}`);
  return new Uint8Array(mapped as ArrayBuffer);
}

/** memfd_create(2): the descriptor of a file without a name that no full file system keeps anybody from writing. */
export function memoryFile(): number {
  return checked(addon().memoryFile(), 'memfd_create');
}

/** mlock(2) of the code and the constants of this program and its libraries. Not of data: V8 could not bear it. */
export function lockCode(): void {
  checked(addon().lockCode(), 'mlock');
}

/** SCHED_FIFO for the calling thread; children are not. */
export function setRealtime(priority: number): void {
  checked(addon().setRealtime(priority), 'sched_setscheduler');
}

/** Ends the process without waiting for its threads (_exit); without the addon, as process.exit does. */
export function exitNow(status: number): never {
  const loaded = loadAddon();
  if (!(loaded instanceof IoError)) loaded.exitNow(status);
  process.exit(status);
}

/** Who connected to a UNIX socket, as the kernel noted it then (SO_PEERCRED). */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Throws for what is no UNIX socket with a peer. */
export function peerCredentials(descriptor: number): PeerCredentials {
  const found = addon().peerCredentials(descriptor);
  if (typeof found === 'number') {
    throw new IoError('SYSTEM', `SO_PEERCRED: ${errnoName(found)}`, -found);
  }
  const [pid, uid, gid] = found;
  return { pid, uid, gid };
}

/** prctl(PR_SET_IO_FLUSHER): writeback never waits for this process's own device. Needs CAP_SYS_RESOURCE. */
export function setIoFlusher(): void {
  checked(addon().setIoFlusher(), 'prctl PR_SET_IO_FLUSHER');
}
