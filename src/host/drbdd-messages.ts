/** What the two threads of drbdd say to each other: control (sockets, files, devices) and engine (all I/O). */
import type { ProgressEvent } from '../drbd/old-events.js';
import type { ResourceStatus } from '../drbd/status.js';
import type { ControlReply, ControlRequest } from './control.js';

export interface EngineSettings {
  readonly version: string;
  readonly poolMiB: number;
  readonly engine: 'auto' | 'native' | 'fallback';
  readonly runDirectory: string; // /run/twinbeat under TWINBEAT_ROOT
  readonly procFormat: '8.4' | '8.0';
  readonly procDetails: 0 | 1 | 2;
  readonly buildTag: string;
  readonly flight: FlightPlan | null; // null: no flight recorder
}

/** What the engine thread needs to make its flight recorder. */
export interface FlightPlan {
  readonly path: string; // of the live file; '' without the addon
  readonly shared: SharedArrayBuffer | null; // then this
  readonly coldBlocks: number;
  readonly hotBlocks: number;
  readonly node: string;
  readonly life: string;
}

/** A FUSE descriptor to serve. minor -1: the status file. */
export interface ServeMessage {
  readonly type: 'serve';
  readonly id: number;
  readonly minor: number;
  readonly descriptor: number;
  readonly successor: boolean;
  readonly reused: boolean;
  readonly openWriters: number;
}

export type ToEngine =
  | { readonly type: 'request'; readonly id: number; readonly request: ControlRequest }
  | ServeMessage
  | { readonly type: 'export'; readonly id: number; readonly listen: string }
  | { readonly type: 'resume-primary'; readonly id: number; readonly minor: number }
  | { readonly type: 'proc'; readonly id: number }
  /** Somebody listens to events: answered with the NodeStatus, and `status` follows each change. Or nobody does. */
  | { readonly type: 'watch'; readonly id: number; readonly on: boolean }
  | { readonly type: 'handler-done'; readonly id: number; readonly exit: number }
  /** Stop serving: answer what was read, then `drained`. */
  | { readonly type: 'drain'; readonly id: number }
  | { readonly type: 'stop'; readonly id: number };

export type FromEngine =
  | {
      readonly type: 'ready';
      readonly engine: string;
      readonly remarks: readonly string[];
      readonly recording: boolean;
    }
  | { readonly type: 'reply'; readonly id: number; readonly reply: ControlReply }
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly object: string;
      readonly text: string;
    }
  | {
      readonly type: 'handler';
      readonly id: number;
      readonly event: string;
      readonly resource: string;
      readonly minor: number | null;
    }
  | { readonly type: 'size-changed'; readonly minor: number; readonly sizeSectors: number }
  | { readonly type: 'to-be-saved'; readonly resource: string }
  /** While it is watched. Null: the resource is not there. */
  | { readonly type: 'status'; readonly resource: string; readonly status: ResourceStatus | null }
  /** While it is watched: a resync has done some blocks. */
  | { readonly type: 'progress'; readonly progress: ProgressEvent }
  | { readonly type: 'fuse-ended'; readonly minor: number; readonly error: number };
