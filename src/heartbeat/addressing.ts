/** Whose message it is, and for whom: uuids count before names, which may have changed. Source: docs/HEARTBEAT.md, transport. */
import { bytesOf, fieldOf, type HaMessage } from '../wire/hamsg.js';
import type { MembershipConfig } from './membership-types.js';
import type { NodeRecord } from './node-record.js';

/** The member that sent it, under the name `source` or another one; null: none that we know. */
export function senderOf(
  nodes: ReadonlyMap<string, NodeRecord>,
  message: HaMessage,
  source: string,
): NodeRecord | null {
  const uuid = bytesOf(message, 'srcuuid');
  for (const node of nodes.values()) {
    if (uuid && node.uuid && node.kind === 'normal' && isSameUuid(uuid, node.uuid)) return node;
  }
  const node = nodes.get(source);
  return node?.kind === 'normal' ? node : null;
}

/** For this node, or for everybody. */
export function isForUs(message: HaMessage, us: Pick<MembershipConfig, 'node' | 'uuid'>): boolean {
  const uuid = bytesOf(message, 'destuuid');
  if (uuid) return isSameUuid(uuid, us.uuid);
  const dest = fieldOf(message, 'dest');
  return dest === null || dest === us.node;
}

/** Of the same node. */
export function isSameUuid(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
