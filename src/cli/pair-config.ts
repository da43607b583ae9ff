/** The configuration of a pair as an administrator would write it: identical files on both nodes, at their usual paths. */
import type { PairFile } from './pair.js';
import { INTERFACE, nodeAddress, SERVICE_ADDRESS } from './pair-cable.js';
import { LOWER_DISK } from './pair-node.js';

export const RESOURCE = 'r0';
export const DEVICE = '/dev/drbd0';
export const MOUNT_POINT = '/drbd';
export const SERVICE_PORT = 3306;
export const DATADIR = `${MOUNT_POINT}/mysql`;
export const MYSQL_SOCKET = '/run/mysqld/mysqld.sock';
export const LEDGER_FILE = `${MOUNT_POINT}/ledger`;

export interface ClusterTiming {
  readonly keepaliveMs: number;
  readonly deadtimeS: number;
  readonly initdeadS: number;
}
export const DEMO_TIMING: ClusterTiming = { keepaliveMs: 500, deadtimeS: 4, initdeadS: 20 };

export function drbdConf(names: readonly [string, string]): string {
  const host = (i: 0 | 1): string =>
    `    on ${names[i]} {\n        address ${nodeAddress('link', i)}:7788;\n    }\n`;
  return `global {
    usage-count no;
}

resource ${RESOURCE} {
    protocol C;
    device    ${DEVICE} minor 0;
    disk      ${LOWER_DISK};
    meta-disk internal;
    net {
        ping-int 2;    # a dead peer is noticed before deadtime is over
        connect-int 3;
        cram-hmac-alg sha1;
        shared-secret "two hearts";
    }
    disk {
        c-max-rate 500M;
        resync-rate 200M;
        c-fill-target 8M;
    }
${host(0)}${host(1)}}
`;
}

export function haCf(names: readonly [string, string], timing: ClusterTiming): string {
  return `logfile /var/log/ha-log
debugfile /var/log/ha-debug
keepalive ${timing.keepaliveMs}ms
warntime ${timing.deadtimeS / 2}
deadtime ${timing.deadtimeS}
initdead ${timing.initdeadS}
udpport 694
mcast ${INTERFACE.lan} 239.77.0.1 694 1 0
ucast ${INTERFACE.link} ${nodeAddress('link', 0)}
ucast ${INTERFACE.link} ${nodeAddress('link', 1)}
auto_failback off
node ${names[0]}
node ${names[1]}
`;
}

/** One group: the replicated device, the file system, the service, its address; it stops from right to left. */
export function haresources(home: string, service: string): string {
  const address = `IPaddr::${SERVICE_ADDRESS}/24/${INTERFACE.lan}`;
  return `${home} drbddisk::${RESOURCE} Filesystem::${DEVICE}::${MOUNT_POINT}::ext4::noatime ${service} ${address}\n`;
}

export function pairFiles(
  names: readonly [string, string],
  timing: ClusterTiming,
  service: string,
): Record<string, PairFile> {
  const file = (text: string, mode = 0o644): PairFile => ({ text, mode });
  return {
    '/etc/drbd.conf': file(drbdConf(names)),
    '/etc/ha.d/ha.cf': file(haCf(names, timing)),
    '/etc/ha.d/haresources': file(haresources(names[0], service)),
    '/etc/ha.d/authkeys': file('auth 1\n1 sha1 twoHeartsOneBeat\n', 0o600),
    // Small, so that the first start is quick; everything that makes a commit durable stays at its default.
    '/etc/twinbeat/mysql': file(
      `MYSQL_OPTIONS='--bind-address=0.0.0.0 --skip-name-resolve --innodb-log-file-size=16M --innodb-buffer-pool-size=64M'\n`,
    ),
  };
}
