/**
 * A node for doctor: files in a directory of its own, and a machine that a test makes up. As it is nothing is to be found.
 */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import type { ExecutionContext } from 'ava';
import { CHECKS } from '../../src/cli/doctor-checks.js';
import { type Finding, findings } from '../../src/cli/doctor-finding.js';
import { gather } from '../../src/cli/doctor-gather.js';
import type { Machine } from '../../src/cli/doctor-machine.js';
import type { HeartbeatReport } from '../../src/host/heartbeat-control.js';

export const GOOD_HA_CF = `logfacility local0
keepalive 500ms
deadtime 10
warntime 5
initdead 30
bcast eth0
bcast eth1
auto_failback off
watchdog /dev/watchdog
stonith_host node-a external/ipmi node-b 10.0.0.12 admin secret lan
stonith_host node-b external/ipmi node-a 10.0.0.11 admin secret lan
node node-a node-b
`;

export const GOOD_DRBD_CONF = `resource r0 {
  net { protocol C; }
  disk { fencing resource-only; }
  handlers { fence-peer "/usr/local/sbin/drbd-peer-outdater -t 10"; }
  on node-a { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.1:7788; meta-disk internal; }
  on node-b { device /dev/drbd0; disk /dev/sdb1; address 10.0.0.2:7788; meta-disk internal; }
}
`;

export const GOOD_FILES: Readonly<Record<string, string>> = {
  '/etc/ha.d/ha.cf': GOOD_HA_CF,
  '/etc/ha.d/haresources':
    'node-a drbddisk::r0 Filesystem::/dev/drbd0::/data::ext4 10.0.0.10 mysql\n',
  '/etc/ha.d/authkeys': 'auth 1\n1 sha1 of-the-tests\n',
  '/etc/drbd.conf': GOOD_DRBD_CONF,
};

export const GOOD_MACHINE: Machine = {
  node: 'node-a',
  drbdHost: { name: 'node-a', addresses: new Set(['10.0.0.1']) },
  haCf: {
    ownNode: 'node-a',
    defaultUdpPort: 694,
    userExists: () => true,
    isExecutable: () => true,
    isStonithType: () => true,
    hasStonithConfig: () => true,
    interfaceError: () => null,
  },
  exists: () => true,
  hasProgram: async () => true,
  resolves: async () => true,
  carrier: (device) => device,
  networks: (device) => (device.startsWith('eth') ? [`10.0.${device.at(-1)}.0/24`] : []),
  sysctl: () => 10,
  kernelDrbd: () => 'absent',
  bootUnits: () => [{ name: 'cron', file: '/etc/cron.service', text: '' }],
  report: async () => null,
};

/** Of a heartbeat with which all is well. */
export const GOOD_REPORT: HeartbeatReport = {
  pid: 1,
  version: '3.0.6',
  node: 'node-a',
  generation: 7,
  rscStatus: 'local',
  hold: 'local',
  other: 'none',
  peerOffline: false,
  files: {
    'ha.cf': 'same',
    haresources: 'same',
    'twinbeat.ini': 'same',
    'drbd.conf': 'same',
    authkeys: 'same',
  },
  lateMs: 0,
  state: 'STABLE',
  standby: 'NOT',
  leaving: false,
  stuck: [],
  disputes: [],
  waits: [],
  witness: { own: false, peer: false },
  standing: { state: 'ok' },
  health: [],
  gaveUp: [],
  nodes: [
    { name: 'node-a', status: 'active', type: 'normal', links: [] },
    {
      name: 'node-b',
      status: 'active',
      type: 'normal',
      links: [
        { name: 'eth0', status: 'up' },
        { name: 'eth1', status: 'up' },
      ],
    },
  ],
  groups: [],
  current: null,
  parameters: {},
  keepaliveMs: 500,
  deadtimeMs: 10_000,
};

export interface DoctorNode {
  /** Null takes a file away. */
  readonly files?: Readonly<Record<string, string | null>>;
  readonly authkeysMode?: number;
  readonly machine?: Partial<Machine>;
}

/** Writes the files; the directory goes with the test. */
export async function doctorRoot(
  t: ExecutionContext,
  { files = {}, authkeysMode = 0o600 }: DoctorNode,
): Promise<string> {
  const root = await mkdtemp(`${tmpdir()}/doctor-`);
  t.teardown(() => rm(root, { recursive: true, force: true }));
  for (const [path, text] of Object.entries({ ...GOOD_FILES, ...files })) {
    if (text === null) continue;
    await mkdir(dirname(root + path), { recursive: true });
    await writeFile(root + path, text);
  }
  if ({ ...GOOD_FILES, ...files }['/etc/ha.d/authkeys'] !== null) {
    await chmod(`${root}/etc/ha.d/authkeys`, authkeysMode);
  }
  return root;
}

/** What is found there. */
export async function examine(t: ExecutionContext, node: DoctorNode): Promise<readonly Finding[]> {
  const root = await doctorRoot(t, node);
  const { facts } = await gather(root, { ...GOOD_MACHINE, ...node.machine }, null);
  return findings(CHECKS, facts);
}
