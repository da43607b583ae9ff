/** The three that bench-heartbeat measures: ours, Debian's heartbeat and keepalived, each with the same group in the same two hosts. */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { HOSTS, type Host, type Hosts, other, run } from './heartbeat-hosts.js';

/** The group is this address and LabRes::one. */
export const ADDRESS = '192.168.77.10';
export const ADDRESS_RESOURCE = `IPaddr::${ADDRESS}/24/eth0`;
const SCRIPT = '/etc/ha.d/resource.d/LabRes one';

/** Of all three: an interval, and after how many of them without a word a node is dead. */
export interface Timing {
  readonly keepaliveMs: number;
  readonly deadAfter: number;
}

export interface Program {
  readonly name: string;
  /** What is missing here; '' when it can run. */
  readonly missing: () => Promise<string>;
  readonly prepare: (hosts: Hosts, timing: Timing) => Promise<void>;
  readonly start: (hosts: Hosts, host: Host) => Promise<void>;
  /** This host knows the other one, and nothing is on its way. */
  readonly isAtRest: (hosts: Hosts, host: Host) => Promise<boolean>;
  readonly log: string;
  readonly detected: (peer: Host) => string;
}

/** Without its nodes and log. The medium is the one that all three have: multicast. */
export function haCf({ keepaliveMs, deadAfter }: Timing): string[] {
  const deadMs = keepaliveMs * deadAfter;
  return [
    `keepalive ${keepaliveMs}ms`,
    `deadtime ${deadMs}ms`,
    `warntime ${Math.round(deadMs / 2)}ms`,
    `initdead ${2 * deadMs}ms`,
    'auto_failback off',
    'mcast eth0 239.77.0.1 694 1 0',
  ];
}

/**
 * VRRP 3, which alone has intervals below a second. Its master-down interval is deadAfter intervals and the skew of (256 - priority) / 256
 * of one: 255 is the least, and would own the address, so 254.
 */
export function keepalivedConf({ keepaliveMs, deadAfter }: Timing): string {
  return `global_defs {
  script_user root
}
vrrp_instance one {
  version 3
  state BACKUP
  nopreempt
  interface eth0
  virtual_router_id 51
  priority ${PRIORITY}
  advert_int ${keepaliveMs / 1000}
  down_timer_adverts ${deadAfter}
  virtual_ipaddress {
    ${ADDRESS}/24
  }
  notify_master "${SCRIPT} start"
  notify_backup "${SCRIPT} stop"
}
`;
}

const PRIORITY = 254;

/** When keepalived's backup takes over, counted from the last advertisement. RFC 5798, 6.1. */
export function masterDownMs({ keepaliveMs, deadAfter }: Timing): number {
  return deadAfter * keepaliveMs + ((256 - PRIORITY) * keepaliveMs) / 256;
}

async function settled(hosts: Hosts, host: Host, clStatus: string): Promise<boolean> {
  const peer = await hosts.exec(host, clStatus, 'nodestatus', other(host));
  if (peer.out.trim() !== 'active') return false;
  const resources = await hosts.exec(host, clStatus, 'rscstatus');
  return /^(all|none|local|foreign)$/.test(resources.out.trim());
}

async function begun(hosts: Hosts, host: Host, ...command: readonly string[]): Promise<void> {
  const ran = await hosts.exec(host, ...command);
  if (ran.status !== 0) throw new Error(`${command.join(' ')} on ${host}: ${ran.out}`);
}

/** As after a boot. The address goes with the power; in the namespaces it would stay, and the cable is out. */
async function booted(hosts: Hosts, host: Host): Promise<void> {
  await hosts.exec(host, 'ip', 'addr', 'del', `${ADDRESS}/24`, 'dev', 'eth0');
  await hosts.exec(host, 'rm', '-rf', '/run/keepalived', '/run/keepalived.pid', '/run/vrrp.pid');
  hosts.cable(host, 'up');
}

const ours: Program = {
  name: 'ours',
  missing: async () => '',
  prepare: async (hosts) => {
    // Ours, and not that of a Debian package which the lab has copied.
    for (const host of HOSTS)
      rmSync(hosts.path(host, 'ha.d', 'resource.d/IPaddr'), { force: true });
  },
  start: async (hosts, host) => {
    await booted(hosts, host);
    await begun(hosts, host, resolve('build/bin/heartbeat'), '--keepalive');
  },
  isAtRest: (hosts, host) => settled(hosts, host, resolve('build/bin/cl_status')),
  log: 'ha-log',
  detected: (peer) => `node ${peer}: is dead`,
};

const DEBIAN = '/usr/libexec/heartbeat/heartbeat';
const debian: Program = {
  name: "Debian's",
  missing: async () => (existsSync(DEBIAN) ? '' : DEBIAN),
  prepare: async (hosts) => {
    // At its start it calls sync(2), for all file systems of the machine.
    for (const host of HOSTS) {
      const source = hosts.path(host, 'lib', 'nosync.c');
      writeFileSync(source, 'void sync(void) {}\n');
      const library = hosts.path(host, 'lib', 'nosync.so');
      const built = await run('cc', ['-shared', '-fPIC', '-o', library, source]);
      if (built.status !== 0) throw new Error(built.out);
    }
  },
  start: async (hosts, host) => {
    await booted(hosts, host);
    await begun(hosts, host, 'env', 'LD_PRELOAD=/var/lib/heartbeat/nosync.so', DEBIAN);
  },
  isAtRest: (hosts, host) => settled(hosts, host, '/usr/bin/cl_status'),
  log: 'ha-log',
  detected: (peer) => `node ${peer}: is dead`,
};

const KEEPALIVED = process.env['KEEPALIVED'] ?? 'keepalived';
const keepalived: Program = {
  name: 'keepalived',
  missing: async () => ((await run(KEEPALIVED, ['--version'])).status === 0 ? '' : 'keepalived'),
  prepare: async (hosts, timing) => {
    for (const host of HOSTS) {
      const path = hosts.path(host, 'ha.d', 'keepalived.conf');
      writeFileSync(path, keepalivedConf(timing), { mode: 0o644 });
    }
  },
  start: async (hosts, host) => {
    writeFileSync(hosts.path(host, 'log', 'keepalived'), '');
    const command = `"$0" --dont-fork --log-console --vrrp --use-file /etc/ha.d/keepalived.conf </dev/null >>/var/log/keepalived 2>&1 &`;
    await booted(hosts, host);
    await begun(hosts, host, 'sh', '-c', command, KEEPALIVED);
  },
  isAtRest: async (hosts, host) =>
    /Entering (MASTER|BACKUP) STATE/.test(hosts.text(host, 'log', 'keepalived')),
  log: 'keepalived',
  detected: () => 'Entering MASTER STATE',
};

export const PROGRAMS: readonly (readonly [string, Program])[] = [
  ['ours', ours],
  ['debian', debian],
  ['keepalived', keepalived],
];

const ASK_MS = 250; // each time programs are started

/** The active node, when the group runs on one and both know each other. */
export async function atRest(hosts: Hosts, program: Program): Promise<Host> {
  const rests = async (): Promise<boolean> => {
    if (hosts.active().length !== 1) return false;
    for (const host of HOSTS) if (!(await program.isAtRest(hosts, host))) return false;
    return true;
  };
  await hosts.until(`${program.name} is at rest`, rests, ASK_MS);
  const [active] = hosts.active();
  if (!active) throw new Error('the resource is nowhere');
  return active;
}
