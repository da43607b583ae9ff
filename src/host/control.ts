/**
 * The control socket of drbdd, /run/twinbeat/drbdd.sock: one JSON object a line, `{"id": n, "request": ...}` and back
 * `{"id": n, "reply": ...}`. Verbs are drbdsetup's. drbdadm, drbdsetup and twinbeat speak it; drbdd checks every field
 * again, since anybody with access to the socket can write to it.
 */

import type { DiskOptions, Handlers, NetOptions, ResourceOptions } from '../config/drbd-options.js';
import type { StatusEvent } from '../drbd/events.js';
import type { ProgressEvent, StatesEvent } from '../drbd/old-events.js';

export interface Address {
  readonly family: 'ipv4' | 'ipv6';
  readonly host: string; // numeric
  readonly port: number;
}

export type EventForm = 'objects' | 'states';

export type MetaIndex = 'internal' | 'flexible' | number;

export type ControlRequest =
  | { readonly verb: 'new-resource'; readonly resource: string; readonly options: ResourceOptions }
  | {
      readonly verb: 'new-minor';
      readonly resource: string;
      readonly minor: number;
      readonly volume: number;
      readonly device: string; // '/dev/drbd0'
    }
  | {
      readonly verb: 'attach';
      readonly minor: number;
      readonly disk: string;
      readonly metaDisk: string;
      readonly metaIndex: MetaIndex;
      readonly options: DiskOptions;
      readonly lowerSectors?: number; // by a successor: see RunningVolume
    }
  | {
      readonly verb: 'connect';
      readonly resource: string;
      readonly local: Address;
      readonly remote: Address;
      readonly options: NetOptions;
      readonly discardMyData: boolean;
      readonly tentative: boolean;
    }
  | { readonly verb: 'disconnect'; readonly resource: string; readonly force: boolean }
  | { readonly verb: 'detach'; readonly minor: number; readonly force: boolean }
  | { readonly verb: 'primary'; readonly minor: number; readonly force: boolean }
  | { readonly verb: 'secondary'; readonly minor: number }
  | {
      readonly verb:
        | 'invalidate'
        | 'invalidate-remote'
        | 'outdate'
        | 'pause-sync'
        | 'resume-sync'
        | 'suspend-io'
        | 'resume-io'
        | 'del-minor';
      readonly minor: number;
    }
  | { readonly verb: 'new-current-uuid'; readonly minor: number; readonly clearBitmap: boolean }
  | {
      readonly verb: 'verify';
      readonly minor: number;
      readonly startSector: number | null;
      readonly stopSector: number | null;
    }
  | {
      readonly verb: 'resize';
      readonly minor: number;
      readonly sizeSectors: number; // 0: all of the smaller disk
      readonly assumePeerHasSpace: boolean;
      readonly assumeClean: boolean;
      /** Another layout of the activity log; null: as it is. */
      readonly alStripes: number | null;
      readonly alStripeSizeKib: number | null;
    }
  | { readonly verb: 'disk-options'; readonly minor: number; readonly options: DiskOptions }
  | { readonly verb: 'net-options'; readonly resource: string; readonly options: NetOptions }
  | {
      readonly verb: 'resource-options';
      readonly resource: string;
      readonly options: ResourceOptions;
    }
  /** Handlers and their environment: what the kernel leaves to its usermode helper. */
  | {
      readonly verb: 'set-handlers';
      readonly resource: string;
      readonly handlers: Handlers;
      readonly environment: Readonly<Record<string, string>>; // DRBD_CONF, DRBD_PEER, DRBD_PEERS
      /** By minor, as in the file: DRBD_LL_DISK, also of a disk that is detached. Absent: of drbdadm before this was there. */
      readonly lowerDisks?: Readonly<Record<string, string>>;
    }
  | { readonly verb: 'down' | 'del-resource'; readonly resource: string }
  /** Its devices, connection and users stay as they are. */
  | { readonly verb: 'rename-resource'; readonly resource: string; readonly name: string }
  /**
   * Answered with a `WaitEnd` once the peer is there (wait-sync: and no resync runs), or nobody tries to connect any more;
   * with `afterSb` the latter only when it happens while waiting.
   */
  | {
      readonly verb: 'wait-connect' | 'wait-sync';
      readonly minor: number;
      readonly timeoutS: number; // 0: for ever
      readonly afterSb: boolean;
    }
  /** Which of the three start-up timeouts holds now: the answer is its name (drbd/attach-decision.ts WaitTimeoutType). */
  | { readonly verb: 'timeout-type'; readonly minor: number }
  | { readonly verb: 'get-gi'; readonly minor: number }
  /** At a restart, before attach: the generations that the users of the device may have seen last, in hex digits. */
  | {
      readonly verb: 'expose';
      readonly minor: number;
      readonly generations: readonly string[];
      readonly users: boolean; // who have seen them outlive the engine
    }
  /**
   * Answered at once; from then on each thing that happens comes as a line `{"id": n, "event": ...}` (`ControlEvent`), until the
   * connection is closed. `resource` null: of all.
   */
  | {
      readonly verb: 'events';
      readonly resource: string | null;
      /** Absent: objects. `states`: whole volumes and the progress of resyncs, for drbdsetup events. */
      readonly form?: EventForm;
    }
  /** The whole status as data; role, cstate, dstate, status and /proc/drbd are rendered from it. */
  | { readonly verb: 'status' }
  /** What runs, for `adjust` and `show`. */
  | { readonly verb: 'running' }
  /** Orderly hand-over: stop taking requests, save the state, exit with the restart code. Needs the angel. */
  | { readonly verb: 'restart' }
  | { readonly verb: 'shutdown' };

/** The value of a `running` reply is a list of these: what is configured now, in the engine's units. */
export interface RunningResource {
  readonly name: string;
  readonly options: ResourceOptions;
  readonly net: {
    readonly local: Address;
    readonly remote: Address;
    readonly options: NetOptions;
  } | null; // null: no connection object
  readonly volumes: readonly RunningVolume[];
}

export interface RunningVolume {
  readonly volume: number;
  readonly minor: number;
  readonly device: string;
  readonly disk: {
    readonly disk: string;
    readonly metaDisk: string;
    readonly metaIndex: MetaIndex;
    readonly options: DiskOptions;
    /** The meta-data device had that size when internal meta-data were last known at its end. */
    readonly lowerSectors?: number;
  } | null; // null: diskless
  /** By an operator (suspend-io); absent: not. */
  readonly suspended?: true;
}

/** The value of a `wait-connect` or `wait-sync` reply. */
export interface WaitEnd {
  readonly over: 'there' | 'given-up';
  readonly resource: string;
  readonly volume: number;
  readonly cstate: string; // 'StandAlone' or 'Disconnecting' when given up
}

/** The value of a `get-gi` reply. */
export interface RunningGeneration {
  readonly uuids: readonly [string, string, string, string]; // 16 upper-case hex digits each
  readonly flags: number; // MDF_* of the metadata (md/superblock)
  readonly deviceUuid: string; // hex digits: of the meta-data themselves
}

/**
 * Of an `events` request: first `exists` for all objects and `initial`. `skipped`: so many things happened while the reader
 * was too slow; what follows leads from what it was told last to what is.
 */
export type ControlEvent =
  | StatusEvent
  | StatesEvent
  | ProgressEvent
  | { readonly action: 'initial' }
  | { readonly action: 'skipped'; readonly count: number };

export type ControlReply = { readonly ok: true; readonly value: unknown } | ControlFailure;

/**
 * A refusal. `kind` failure is drbdsetup's "Failure: (code) text" (exit 10), state is "State change failed: (code)
 * text" (exit 11; 16 for -4, 17 for -2, 5 for -16). `info` are further lines: the rule and the evidence; `next` is the
 * command to try.
 */
export interface ControlFailure {
  readonly ok: false;
  readonly kind: 'failure' | 'state' | 'usage' | 'timeout';
  readonly code: number;
  readonly text: string;
  readonly info: readonly string[];
  readonly next: readonly string[];
}

const STATE_EXITS: ReadonlyMap<number, number> = new Map([
  [-4, 16],
  [-2, 17],
  [-16, 5],
]);

/** drbdsetup's exit status for a refusal. */
export function exitOf(failure: ControlFailure): number {
  switch (failure.kind) {
    case 'failure':
      return 10;
    case 'state':
      return STATE_EXITS.get(failure.code) ?? 11;
    case 'timeout':
      return 5;
    case 'usage':
      return 20;
  }
}
