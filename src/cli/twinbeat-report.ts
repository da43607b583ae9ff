/**
 * twinbeat report NODE: one word of a node, for checks by programs (LVS's ldirectord and the like), by the heartbeat of this machine:
 *
 *     OK/ACTIVE 0     it runs resources          OK/STANDBY 1     it lives, and runs none
 *     FAILED_OFFLINE 2   DEAD 3   IN_TRANSIT 4   UNKNOWN 5 (also: heartbeat is not running here)
 *
 * Of the other node this is what it last said. A partition makes it DEAD here.
 */
import type { HeartbeatReport } from '../host/heartbeat-control.js';
import { heartbeatReport } from './heartbeat-client.js';
import type { World } from './world.js';

export const REPORTS = [
  'OK/ACTIVE',
  'OK/STANDBY',
  'FAILED_OFFLINE',
  'DEAD',
  'IN_TRANSIT',
  'UNKNOWN',
] as const;
export type NodeWord = (typeof REPORTS)[number];

export function nodeWord(report: HeartbeatReport, name: string): NodeWord {
  const own = name === report.node;
  const status = report.nodes.find((node) => node.name === name && node.type === 'normal')?.status;
  if (status === undefined) return 'UNKNOWN';
  if (!own && status === 'dead') return 'DEAD';
  if (own && report.standing.state !== 'ok') return 'FAILED_OFFLINE';
  if (!own && report.peerOffline) return 'FAILED_OFFLINE';
  if (status !== 'active' || (own && report.leaving)) return 'IN_TRANSIT';
  if (own) {
    const states = report.groups.map((group) => group.state);
    if (states.includes('starts') || states.includes('stops')) return 'IN_TRANSIT';
    return states.includes('runs') ? 'OK/ACTIVE' : 'OK/STANDBY';
  }
  return report.other === 'none' ? 'OK/STANDBY' : 'OK/ACTIVE';
}

export async function reportMain(name: string, world: World): Promise<number> {
  const { report, ...no } = await heartbeatReport(world.root);
  if (!report)
    world.err(`twinbeat report: ${'reason' in no ? no.reason : 'heartbeat is not running'}\n`);
  const word = report ? nodeWord(report, name.toLowerCase()) : 'UNKNOWN';
  world.out(`${word}\n`);
  return REPORTS.indexOf(word);
}
