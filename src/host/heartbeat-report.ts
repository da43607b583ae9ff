/** What heartbeat tells of itself: the value of `status` on the control socket. */
import type { HaResourceGroup } from '../config/haresources.js';
import type { Standing } from '../resource-manager/standing.js';
import { hasArbiter } from './arbiter-config.js';
import { COMPARED } from './file-digests.js';
import type { HeartbeatReport, NodeReport } from './heartbeat-control.js';
import type { HeartbeatNode } from './heartbeat-node.js';
import type { HeartbeatConfig } from './heartbeat-ports.js';
import type { FileStates } from './node-files.js';
import { parametersOf } from './parameters.js';

const UNKNOWN = Object.fromEntries(COMPARED.map((file) => [file, 'unknown'])) as FileStates;

export const VERSION = '3.0.6'; // whose behaviour this is

export interface ReportSource {
  readonly nowMs: number;
  readonly config: HeartbeatConfig;
  readonly node: HeartbeatNode | null; // null: between two lives
  readonly links: readonly string[];
  readonly stuck: readonly string[];
  readonly stopAsked: boolean;
  readonly standing: Standing; // between two lives
  readonly pid: number;
}

export function heartbeatReport(source: ReportSource): HeartbeatReport {
  const { config, node, stuck, stopAsked, pid, standing } = source;
  const { haCf, groups } = config;
  return {
    pid,
    version: VERSION,
    node: config.node,
    generation: node?.membership.generation ?? 0,
    rscStatus: node?.resources.rscStatus ?? 'none',
    hold: node?.resources.hold ?? 'none',
    other: node?.resources.other ?? 'none',
    peerOffline: node?.resources.peerBarred ?? false,
    state: node?.resources.state ?? 'INIT',
    standby: node?.resources.standby ?? 'NOT',
    leaving: stopAsked || (node?.leaving ?? true),
    stuck: [...stuck],
    disputes: (node?.homes.disputes ?? []).map((dispute) => dispute.group.key),
    waits: node ? waitsOf(node) : [],
    witness: { own: hasArbiter(config), peer: node?.peerAsksArbiter ?? null },
    files: node?.files.states ?? UNKNOWN,
    lateMs: Math.max(0, Math.floor(source.nowMs - (node?.deadlineMs ?? source.nowMs))),
    standing: node?.health.standing ?? standing,
    health: node?.health.levels ?? [],
    gaveUp: node?.health.gaveUp ?? [],
    nodes: nodeReports(source),
    groups: groups.map((group) => groupReport(group, node)),
    current: node?.operations.current ?? null,
    parameters: parametersOf(haCf),
    keepaliveMs: haCf.keepaliveMs,
    deadtimeMs: haCf.deadtimeMs,
  };
}

/** What does not happen now, and why. */
function waitsOf({ resources, permission, peer }: HeartbeatNode): string[] {
  const failback = resources.failbackWaitsFor;
  const takeOver = resources.takeOverWaitsFor;
  const handOver = resources.handOverWaitsFor;
  return [
    ...(permission.isOpen ? [`take-over from ${peer}: it is not reset yet`] : []),
    ...(takeOver === null ? [] : [`take-over from ${peer}: ${takeOver}`]),
    ...(handOver === null ? [] : [`hand-over to ${peer}: ${handOver}`]),
    ...(failback === null ? [] : [`fail-back to ${peer}: ${failback}`]),
  ];
}

function nodeReports({ config, node, links }: ReportSource): NodeReport[] {
  const { haCf } = config;
  const records = node?.membership.nodes;
  const pings = haCf.pings.map((ping) => ping.name);
  const own = [...new Set(links)];
  return [...new Set(haCf.nodes), ...pings].map((name) => {
    const record = records?.get(name);
    const ownStatus = node?.membership.status ?? 'init';
    return {
      name,
      status: name === config.node ? ownStatus : (record?.status ?? 'init'),
      type: pings.includes(name) ? 'ping' : 'normal',
      links: record
        ? record.links.map((link) => ({ name: link.name, status: link.status }))
        : own.map((link) => ({ name: link, status: 'dead' })), // own links, as the original
    };
  });
}

function groupReport(
  group: HaResourceGroup,
  node: HeartbeatNode | null,
): HeartbeatReport['groups'][number] {
  const resources = group.resources.map((resource) => resource.text);
  const state = node?.operations.stateOf(group.key) ?? 'stopped';
  return { key: group.key, node: group.node, resources, state };
}
