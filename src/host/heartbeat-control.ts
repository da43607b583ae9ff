/**
 * The control socket of heartbeat, /run/twinbeat/heartbeat.sock: one JSON object a line, `{"id": n, "request": ...}` and
 * back `{"id": n, "reply": ...}`. hb_standby, hb_takeover, cl_status, drbd-peer-outdater and `twinbeat` speak it. The
 * daemon checks every field again, since anybody with access to the socket can write to it.
 */
import type { OperationKind } from '../resource-manager/group-operation.js';
import type { ResourceHealth } from '../resource-manager/health.js';
import type { Hold } from '../resource-manager/hold.js';
import type { GroupState } from '../resource-manager/operations.js';
import type { Standing } from '../resource-manager/standing.js';
import type { FileStates } from './node-files.js';

export const HEARTBEAT_SOCKET = '/run/twinbeat/heartbeat.sock';

export type HeartbeatRequest =
  | { readonly verb: 'status' }
  /** How long an outage may last; the reply's value is Bound[] (host/bound.ts). */
  | { readonly verb: 'bound' }
  | { readonly verb: 'standby'; readonly resources: Hold }
  | { readonly verb: 'takeover'; readonly resources: Hold | 'failback' }
  /** A node that is FAILED_OFFLINE may run resources again; `node` may be the other one. */
  | {
      readonly verb: 'recover';
      readonly node: string;
      readonly activatePrimary: boolean; // and takes the groups of its own lines
      readonly force: boolean; // although a check fails there
    }
  /** dopd: outdate `resource` on `peer`; the reply's value is the exit status of drbd-peer-outdater. */
  | {
      readonly verb: 'outdate';
      readonly peer: string;
      readonly resource: string;
      readonly timeoutMs: number;
    }
  /** Of the daemon's own client API, not of the socket: a program is there, or not any more; the other node may ask. */
  | { readonly verb: 'client'; readonly client: string; readonly online: boolean }
  /** The reply's value is `online` or `offline`, null: no answer in time. */
  | {
      readonly verb: 'clientstatus';
      readonly node: string;
      readonly client: string;
      readonly timeoutMs: number;
    };

export type HeartbeatReply =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly text: string };

export interface NodeReport {
  readonly name: string;
  readonly status: string; // init up active dead ping
  readonly type: 'normal' | 'ping';
  readonly links: readonly { readonly name: string; readonly status: 'up' | 'dead' }[];
}

/** The value of `status`. Nodes are in the order of ha.cf. */
export interface HeartbeatReport {
  readonly pid: number;
  readonly version: string;
  readonly node: string;
  readonly generation: number;
  readonly rscStatus: Hold | 'transition';
  readonly hold: Hold;
  readonly other: Hold; // what the other node claims, in its terms
  readonly peerOffline: boolean; // it said that it is FAILED_OFFLINE
  readonly state: string;
  readonly standby: string;
  readonly leaving: boolean;
  readonly stuck: readonly string[]; // keys of groups that could not be stopped
  readonly disputes: readonly string[]; // keys of groups that the other node's haresources has at home elsewhere
  readonly waits: readonly string[]; // what does not happen now, and why
  /** Who asks a witness or etcd; `peer`: null, it is not heard. */
  readonly witness: { readonly own: boolean; readonly peer: boolean | null };
  readonly files: FileStates; // whether the other node's say the same
  readonly lateMs: number; // what was due so long ago is not done yet: the machine or the daemon stood still
  readonly standing: Standing;
  readonly health: readonly ResourceHealth[]; // of what runs here, with [health] in twinbeat.ini
  readonly gaveUp: readonly { readonly key: string; readonly why: string }[]; // stopped: nobody took it
  readonly nodes: readonly NodeReport[];
  readonly groups: readonly {
    readonly key: string;
    readonly node: string;
    readonly resources: readonly string[];
    readonly state: GroupState; // on this node
  }[];
  readonly current: { readonly key: string; readonly kind: OperationKind } | null;
  readonly parameters: Readonly<Record<string, string>>;
  readonly keepaliveMs: number;
  readonly deadtimeMs: number;
}

const NODE = /^[\w.-]{1,128}$/;
const HOLDS = ['all', 'local', 'foreign'] as const;

/** Null for anything that is no request. */
export function parseHeartbeatRequest(value: unknown): HeartbeatRequest | null {
  if (typeof value !== 'object' || value === null) return null;
  const { verb, resources, peer, resource, timeoutMs, node, client, activatePrimary, force } =
    value as Record<string, unknown>;
  switch (verb) {
    case 'status':
    case 'bound':
      return { verb };
    case 'standby': {
      const hold = HOLDS.find((word) => word === resources);
      return hold ? { verb, resources: hold } : null;
    }
    case 'takeover': {
      const hold = [...HOLDS, 'failback' as const].find((word) => word === resources);
      return hold ? { verb, resources: hold } : null;
    }
    case 'recover':
      return typeof node === 'string' && NODE.test(node)
        ? { verb, node, activatePrimary: activatePrimary === true, force: force === true }
        : null;
    case 'outdate':
      return typeof peer === 'string' &&
        typeof resource === 'string' &&
        typeof timeoutMs === 'number' &&
        /^[A-Za-z0-9_.+-]{1,128}$/.test(resource) // goes to a command line on the peer
        ? { verb, peer, resource, timeoutMs: Math.min(Math.max(timeoutMs, 0), 3_600_000) }
        : null;
    case 'clientstatus':
      return typeof node === 'string' &&
        typeof client === 'string' &&
        typeof timeoutMs === 'number' &&
        /^[A-Za-z0-9_.+-]{1,64}$/.test(client) // goes into a message
        ? { verb, node, client, timeoutMs: Math.min(Math.max(timeoutMs, 0), 60_000) }
        : null;
    default:
      return null;
  }
}
