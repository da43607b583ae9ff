/** The configuration of the simulated cluster's heartbeat: real texts, read by the real parsers. */
import { assert } from '../base/assert.js';
import { parseAuthKeys } from '../config/authkeys.js';
import { parseHaCf } from '../config/ha-cf.js';
import { parseHaResources } from '../config/haresources.js';
import { DEFAULT_TWINBEAT_INI, type TwinbeatIni } from '../config/twinbeat-ini.js';
import type { ConfigMessage, HeartbeatConfig } from '../host/heartbeat-ports.js';
import { type ClusterConfig, NODES, type NodeName } from './config.js';

export const HEARTBEAT_PORT = 694;

/** One group; it stops from right to left. */
export const HARESOURCES =
  'alpha drbddisk::r0 Filesystem::/dev/drbd0::/data::ext4 IPaddr::10.9.0.1 service\n';

/** The files of /etc/ha.d, the same on both nodes, and settings of twinbeat.ini. */
export interface HeartbeatTexts {
  readonly haCf: string;
  readonly haresources: string;
  readonly authkeys: string;
  readonly scriptTimeoutS: number; // 0: a script is never killed
  readonly health: TwinbeatIni['health'];
  readonly witness: TwinbeatIni['witness'];
  readonly fence: TwinbeatIni['fence'];
  readonly failbackDelayS: number;
  readonly movesPerHour: number;
  readonly stopFailure: TwinbeatIni['heartbeat']['stopFailure'];
}

type Timed = Pick<ClusterConfig, 'heartbeat' | 'autoFailback' | 'heartbeatNetworks'>;

export function heartbeatTexts(cluster: Timed, haresources = HARESOURCES): HeartbeatTexts {
  const timing = cluster.heartbeat;
  assert(timing, 'a cluster with heartbeat');
  const haCf = [
    `keepalive ${timing.keepaliveMs}ms`,
    `warntime ${timing.warntimeMs}ms`,
    `deadtime ${timing.deadtimeMs}ms`,
    `initdead ${timing.initdeadMs}ms`,
    `udpport ${HEARTBEAT_PORT}`,
    ...cluster.heartbeatNetworks.map((network) => `bcast ${network}`),
    `auto_failback ${cluster.autoFailback}`,
    ...NODES.map((node) => `node ${node}`),
    '',
  ].join('\n');
  // crc finds what the network corrupts and costs no cryptography.
  const { health, witness, fence, heartbeat } = DEFAULT_TWINBEAT_INI;
  return {
    haCf,
    haresources,
    authkeys: 'auth 1\n1 crc\n',
    scriptTimeoutS: 20,
    stopFailure: 'reboot',
    failbackDelayS: heartbeat.failbackDelayS,
    movesPerHour: heartbeat.movesPerHour,
    health,
    witness,
    fence,
  };
}

/** As real/heartbeat-config reads them; `config` is null when they are refused. */
export function readHeartbeatTexts(
  node: NodeName,
  texts: HeartbeatTexts,
): { readonly config: HeartbeatConfig | null; readonly messages: readonly ConfigMessage[] } {
  const haCf = parseHaCf(texts.haCf, 'ha.cf', {
    ownNode: node,
    defaultUdpPort: HEARTBEAT_PORT,
    userExists: () => true,
    isExecutable: () => true,
    isStonithType: () => true,
    hasStonithConfig: () => true,
    interfaceError: () => null,
  });
  const keys = parseAuthKeys(texts.authkeys, 'authkeys', 0o600);
  const resources = parseHaResources(texts.haresources, 'haresources', NODES);
  const messages = [...haCf.messages, ...keys.messages, ...resources.messages];
  if (!haCf.config || !keys.authkeys || !resources.groups) return { config: null, messages };
  const { heartbeat } = DEFAULT_TWINBEAT_INI;
  const ini = {
    ...DEFAULT_TWINBEAT_INI,
    heartbeat: {
      ...heartbeat,
      scriptTimeoutS: texts.scriptTimeoutS,
      stopFailure: texts.stopFailure,
      failbackDelayS: texts.failbackDelayS,
      movesPerHour: texts.movesPerHour,
    },
    health: texts.health,
    witness: texts.witness,
    fence: texts.fence,
  };
  const config = {
    node,
    haCf: haCf.config,
    groups: resources.groups,
    authkeys: keys.authkeys,
    ini,
  };
  return { config, messages };
}
