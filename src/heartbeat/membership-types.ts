/** What goes into the membership machine and what comes out of it. Times in milliseconds, monotonic. */
import type { RandomSource } from '../base/ports.js';
import type { HaMessage } from '../wire/hamsg.js';
import type { NodeStatus } from './node-record.js';

export interface MembershipConfig {
  readonly node: string; // our own name, lower case
  readonly nodes: readonly string[]; // members, ourselves among them, in the order of ha.cf
  readonly pings: readonly string[];
  readonly links: readonly string[]; // names of the media that are not ping
  readonly uuid: Uint8Array;
  readonly generation: number;
  readonly generations: ReadonlyMap<string, number>; // of other nodes, heard in earlier lives of ours
  readonly keepaliveMs: number;
  readonly deadtimeMs: number;
  readonly warntimeMs: number;
  readonly initdeadMs: number;
  readonly deadpingMs: number;
  readonly maxRexmitDelayMs: number;
  readonly hopfudge: number;
  /** Say in each status which of the peer's was heard last (`rx`), and look for that in the peer's: an arbiter is configured. */
  readonly proves: boolean;
}

/** What messages tell of this machine, and chance. */
export interface Surroundings {
  wallSeconds(): number; // since 1970
  loadavg(): string; // the line of /proc/loadavg
  readonly random: RandomSource;
}

export type LogLevel = 'debug' | 'info' | 'WARN' | 'ERROR' | 'CRIT';

export type MembershipEffect =
  /** To every medium. Without signature. */
  | { readonly type: 'transmit'; readonly message: HaMessage }
  /** For us, ours included; not status, not NS_*. */
  | {
      readonly type: 'deliver';
      readonly from: string;
      readonly own: boolean;
      readonly message: HaMessage;
    }
  | { readonly type: 'node-status'; readonly node: string; readonly status: NodeStatus }
  /** `heard`: it had sent something since it was last dead. */
  | { readonly type: 'node-dead'; readonly node: string; readonly heard: boolean }
  | { readonly type: 'node-restarted'; readonly node: string }
  | {
      readonly type: 'link-status';
      readonly node: string;
      readonly link: string;
      readonly status: 'up' | 'dead';
    }
  /** A status of the peer, where `proves`: whether it says what it heard; and when we sent that, null: nothing of this life. */
  | {
      readonly type: 'heard-by-peer';
      readonly node: string;
      readonly proves: boolean;
      readonly sentMs: number | null;
    }
  | { readonly type: 'comm-up' }
  | { readonly type: 'partition-healed'; readonly node: string }
  | { readonly type: 'stalled'; readonly stallMs: number }
  | { readonly type: 'log'; readonly level: LogLevel; readonly text: string };
