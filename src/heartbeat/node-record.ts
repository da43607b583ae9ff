/** What is known of one other node: its state, its deadtime, its links, its stream of messages. */
import type { Doubt } from './doubt.js';
import type { Incoming } from './incoming.js';

/** `init`: nothing heard yet. A node says init, up or active of itself; dead is what others say of it. */
export type NodeStatus = 'init' | 'up' | 'active' | 'dead' | 'ping' | 'join' | 'leave';

export const NODE_STATUSES: readonly NodeStatus[] = [
  'init',
  'up',
  'active',
  'dead',
  'ping',
  'join',
  'leave',
];

export interface LinkRecord {
  readonly name: string; // interface; for a ping node its own name
  status: 'up' | 'dead';
  heardMs: number;
}

export interface NodeRecord {
  readonly name: string;
  readonly kind: 'normal' | 'ping';
  readonly links: LinkRecord[];
  readonly incoming: Incoming;
  status: NodeStatus;
  uuid: Uint8Array | null;
  heard: boolean; // any packet in our life
  generation: number; // of the present life; 0: not heard in ours
  deadGeneration: number | null; // that was declared dead last
  isReturning: boolean; // it was dead when this generation began, and no status of it has come yet
  knownGeneration: number; // the highest that was heard, also in an earlier life of ours; up to it they may be replays
  readonly doubt: Doubt;
  statusMs: number; // when its last status came; our start before the first
  statusSeq: number; // of the last status, 0 after a restart; survives its death
  statusHeard: boolean; // a status of this generation came: `statusMs` is an interval's start
  asksArbiter: boolean; // its last status said what it had heard of us (rx)
  deadtimeMs: number; // what the node itself last said (dt), within bounds
  shortDtMs: number; // the last dt below them, 0: none
  askedNodes: boolean; // it sent reqnodes in this generation: it joined through us
}

/** It says of itself that it lives, and has not been silent for too long. */
export function isAlive({ status }: NodeRecord): boolean {
  return status === 'up' || status === 'active';
}

/** Members other than us that are not dead, heard or not. */
export function liveMembers(nodes: ReadonlyMap<string, NodeRecord>): NodeRecord[] {
  return [...nodes.values()].filter((n) => n.kind === 'normal' && n.status !== 'dead');
}

/** Something came from it on that link; true: the link was dead. */
export function linkUp(node: NodeRecord, name: string, nowMs: number): boolean {
  const link = node.links.find((candidate) => candidate.name === name);
  if (!link) return false;
  link.heardMs = nowMs;
  if (link.status === 'up') return false;
  link.status = 'up';
  return true;
}
