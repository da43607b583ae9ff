/** A picture of what a node's volumes are doing: plain data, from which /proc/drbd, role, status ... are rendered. */
import type { LruCounts } from './extent-counts.js';
import type { State } from './state.js';

/** Counters of /proc/drbd. Sectors where the printed field is KiB; docs/STATES.md. */
export interface Counters {
  readonly sendSectors: number; // ns
  readonly receiveSectors: number; // nr
  readonly writeSectors: number; // dw
  readonly readSectors: number; // dr
  readonly alTransactions: number; // al
  readonly bitmapWrites: number; // bm
  readonly localPending: number; // lo
  readonly peerPending: number; // pe
  readonly unacked: number; // ua
  readonly applicationPending: number; // ap
  readonly epochs: number; // ep
  readonly outOfSyncBits: number; // oos
}

/** Progress of a resync or verify. Bits are 4 KiB. Times are monotonic milliseconds of the same clock as nowMs. */
export interface SyncProgress {
  readonly totalBits: number;
  readonly leftBits: number; // still to do (verify: not yet compared)
  readonly failedBits: number;
  readonly startMs: number;
  readonly pausedMs: number; // time spent paused
  readonly marks: readonly { readonly timeMs: number; readonly leftBits: number }[]; // 8
  readonly lastMark: number; // index of the newest
  readonly wantKiBps: number; // the controller's rate
}

/** What a kernel shows with proc_details. */
export interface VolumeDetails {
  readonly resync: LruCounts;
  readonly actLog: LruCounts;
  readonly blockedOnLog: number; // application requests that wait for the activity log
  readonly positionBits: number; // of the resync or verify
  readonly totalBits: number; // of the device
  readonly stopSector: number; // of a verify; 0: none
}

export interface VolumeStatus {
  readonly resource: string;
  readonly volume: number;
  readonly minor: number;
  readonly device: string;
  readonly lowerDisk: string; // '' while diskless
  readonly state: State;
  readonly sizeSectors: number;
  readonly protocol: 'A' | 'B' | 'C' | null; // null: no network configuration
  readonly alSuspended: boolean;
  readonly writeOrdering: 'b' | 'f' | 'd' | 'n';
  readonly congested: boolean;
  readonly openers?: number; // of the device; left out: not known
  readonly counters: Counters;
  readonly details?: VolumeDetails | null; // null: no disk; left out: not known
  readonly progress: SyncProgress | null; // in SyncSource, SyncTarget, VerifyS, VerifyT
  readonly uuids: readonly [string, string, string, string]; // 16 upper-case hex digits each
}

export interface ResourceStatus {
  readonly name: string;
  readonly connection: number | null; // conn number of the connection object; null: none configured
  readonly volumes: readonly VolumeStatus[];
}

export interface NodeStatus {
  readonly version: string; // of twinbeat
  readonly nowMs: number;
  readonly resources: readonly ResourceStatus[];
}
