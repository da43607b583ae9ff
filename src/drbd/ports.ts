/**
 * What the replication engine asks of its surroundings. `DataPort` is the part of the I/O port (host/io.ts) that the
 * engine uses: its methods only queue, take effect at the end of the turn and complete by tag, so the engine stays a
 * machine: same inputs, same queue of operations. `EngineHost` carries everything rare.
 */
import type { BufferUse } from '../base/buffer-use.js';
import type { DigestSource, RandomSource } from '../base/ports.js';
import type { Dialect } from './connect.js';
import type { State } from './state.js';
import type { HandshakeInput, SyncDecision } from './sync-decision.js';
import type { ChangeContext, ChangeKind, ChangeResult } from './transition.js';

export const NO_TAG = 0xffffffff;

/** Bytes in front of each buffer's payload that the engine may use for headers. */
export const HEAD_BYTES = 4096;

export interface DiskInfo {
  readonly sizeBytes: number;
  readonly logicalBlockBytes: number;
  readonly physicalBlockBytes: number;
  readonly isBlockDevice: boolean;
  readonly canDiscard: boolean;
  readonly discardZeroes: boolean;
  /** Units in which the disk discards, and how much at once; absent or 0: not known, or without a limit. */
  readonly discardGranularityBytes?: number;
  readonly maxDiscardBytes?: number;
}

export interface StreamOwner {
  streamData(stream: number, start: number, end: number): void;
  streamEnd(stream: number, error: number): void;
}

/** Buffers, disks and streams; see host/io.ts for the contract of each method. */
export interface DataPort {
  readonly pool: Uint8Array;
  readonly poolView: DataView;
  alloc(payloadBytes: number, use?: BufferUse): number;
  free(at: number): void;
  capacity(at: number): number;
  openDisk(path: string, how: { write: boolean; exclusive: boolean }, tag: number): void;
  diskInfo(disk: number): DiskInfo;
  readDisk(disk: number, offsetBytes: number, at: number, lengthBytes: number, tag: number): void;
  writeDisk(
    disk: number,
    offsetBytes: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
    tag: number,
  ): void;
  flushDisk(disk: number, tag: number): void;
  discardDisk(disk: number, offsetBytes: number, lengthBytes: number, tag: number): void;
  zeroDisk(
    disk: number,
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    tag: number,
  ): void;
  abandonDisk(disk: number, tag: number): void;
  attachStream(stream: number, owner: StreamOwner): void;
  send(stream: number, at: number, lengthBytes: number, tag: number): void;
  sendBacklogBytes(stream: number): number;
  /** `payload`: data of an application that nobody wants. */
  consume(stream: number, count: number, payload?: boolean): void;
  receive(stream: number, skip: number, at: number, lengthBytes: number, tag: number): void;
  streamAlive(stream: number): boolean;
  close(handle: number): void;
  nowMs(): number;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Rare things: sockets being made, handlers, the log. All of it answers by a later call into the engine. */
export interface EngineHost {
  readonly random: RandomSource;
  readonly digests: DigestSource;
  /** One line in DRBD's words. `object` is "drbd0" or the resource's name. */
  log(level: LogLevel, object: string, text: string): void;
  /**
   * Run a configured handler (`fence-peer`, `split-brain`, ...); `done` gets its exit code, 0 at once when none is
   * configured. `minor` is null for events of the whole resource.
   */
  handler(
    event: string,
    resource: string,
    minor: number | null,
    done: (exit: number) => void,
  ): void;
  /**
   * The generation that a volume's users see, or (while a new one is being written) the new one and the old: kept where a successor of this process finds it (in memory of the machine, so at
   * once), since without its disk it must not take an older copy for the data in use.
   */
  exposed(minor: number, generations: readonly bigint[]): void;
  /** A volume's size became known or changed. */
  sizeChanged(minor: number): void;
  /** A successor of this process is to know: the peer has told of other options, which hold here as well now, or the role is another. */
  toBeSaved?(resource: string): void;
  /** Any state changed: for waiters, events and the status. */
  stateChanged(resource: string): void;
  /** What is offered to the peer from the next attempt to connect on; absent: everything. */
  dialect?(): Dialect;
  /** Told of each decision, refused ones included, before anything follows from it. */
  decision?(decision: Decision): void;
  /** Open a listening socket for a resource; what is accepted comes to `Resource.accepted`. Result: handle or -errno. */
  listen(resource: string, local: Endpoint): number;
  /** Dial; the answer comes to `Resource.dialed(result)`: a stream handle or -errno. */
  dial(resource: string, local: Endpoint, remote: Endpoint, timeoutMs: number): void;
}

/** A judged change or comparison, with all that it depends on: from this alone it can be judged again (flight recorder). */
export type Decision =
  | {
      readonly type: 'change';
      readonly minor: number;
      readonly old: State;
      readonly wanted: State;
      readonly how: ChangeKind;
      /** False: only asked whether it would be allowed. */
      readonly commit: boolean;
      readonly context: ChangeContext;
      readonly result: ChangeResult;
    }
  | {
      readonly type: 'sync';
      readonly minor: number;
      readonly input: HandshakeInput;
      readonly result: SyncDecision;
    };

export interface Endpoint {
  readonly family: 'ipv4' | 'ipv6';
  readonly host: string;
  readonly port: number;
}
