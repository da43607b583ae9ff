/** Whether this node has an arbiter, and what its configuration says of it: `[witness]` of twinbeat.ini. */
import type { HeartbeatConfig } from './heartbeat-ports.js';

export type ArbiterFiles = Pick<HeartbeatConfig, 'ini' | 'haCf'>;

/** A witness, or etcd in its place; null: nobody is asked. */
export function arbiterOf({ ini, haCf }: ArbiterFiles): 'witness' | 'etcd' | null {
  const { address, endpoints } = ini.witness;
  if (new Set(haCf.nodes).size < 2) return null;
  if (address !== '') return 'witness';
  return endpoints === '' ? null : 'etcd';
}

export function hasArbiter(files: ArbiterFiles): boolean {
  return arbiterOf(files) !== null;
}

/** A watchdog has to take the machine down within half of stop-limit. Null: it has no time to keep but its own. */
export function watchdogLimitMs(config: ArbiterFiles): number | null {
  return hasArbiter(config) ? (config.ini.witness.stopLimitS * 1000) / 2 : null;
}

/** Why a configuration with an arbiter cannot be: null, it can. */
export function arbiterRefusal(config: ArbiterFiles): string | null {
  const { watchdog, keepaliveMs } = config.haCf;
  const limitMs = watchdogLimitMs(config);
  // It is fed with each status, and would take the machine down between two of them.
  if (limitMs === null || watchdog === null || limitMs >= 3 * keepaliveMs + 1000) return null;
  return `stop-limit = ${config.ini.witness.stopLimitS}: expected 6 x keepalive (${keepaliveMs} ms) and 2 s at least, beside a watchdog`;
}

/** What such a configuration does not protect from. */
export function arbiterWarnings(config: ArbiterFiles): string[] {
  if (!hasArbiter(config) || config.haCf.watchdog !== null) return [];
  return [
    '[witness] without a watchdog: a daemon that stands still or is killed does not stop what runs here',
  ];
}
