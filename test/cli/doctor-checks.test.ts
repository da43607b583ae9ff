/** Each finding of doctor: a configuration that has it, with its place and its evidence, and near ones that have not. */
import test from 'ava';
import { CHECKS } from '../../src/cli/doctor-checks.js';
import {
  type DoctorNode,
  examine,
  GOOD_DRBD_CONF,
  GOOD_HA_CF,
  GOOD_MACHINE,
  GOOD_REPORT,
} from '../support/doctor-node.js';

interface Case {
  readonly name: string;
  readonly has: DoctorNode;
  readonly at: string | null; // FILE:LINE
  readonly evidence: RegExp;
  /** Nothing at all is found. */
  readonly hasNot: readonly DoctorNode[];
}

const HA_CF = '/etc/ha.d/ha.cf';
const HARESOURCES = '/etc/ha.d/haresources';
const AUTHKEYS = '/etc/ha.d/authkeys';

/** ha.cf with a line in place of another one. */
function haCf(line: string | RegExp, by: string): DoctorNode {
  const text = GOOD_HA_CF.replace(line, by);
  if (text === GOOD_HA_CF) throw new Error(`${line} is not in the file`);
  return { files: { [HA_CF]: text } };
}
function drbd(part: string, by: string): DoctorNode {
  const text = GOOD_DRBD_CONF.replace(part, by);
  if (text === GOOD_DRBD_CONF) throw new Error(`${part} is not in the file`);
  return { files: { '/etc/drbd.conf': text } };
}
function haresources(text: string): DoctorNode {
  return { files: { [HARESOURCES]: text } };
}
const INI = '/etc/twinbeat.ini';
/** What makes a [witness] whole, and a key or two in place of those. */
function witness(keys: string, more = ''): DoctorNode {
  const text = `[witness]\n${keys}\ncluster = shop\nkey = 0123456789abcdef\n${more}`;
  return { files: { [INI]: text } };
}
const WITNESS = 'address = 192.0.2.7:6940';
const asks = (own: boolean, peer: boolean | null): DoctorNode => ({
  machine: { report: async () => ({ ...GOOD_REPORT, witness: { own, peer } }) },
});
const differs = (file: string): DoctorNode => ({
  machine: {
    report: async () => ({ ...GOOD_REPORT, files: { ...GOOD_REPORT.files, [file]: 'differs' } }),
  },
});
const STONITH = /^(stonith_host .*\n)+/m;
const FENCING = 'disk { fencing resource-only; }';
const HANDLER = '  handlers { fence-peer "/usr/local/sbin/drbd-peer-outdater -t 10"; }\n';
const unit = (name: string, text = ''): DoctorNode => ({
  machine: { bootUnits: () => [{ name, file: `/etc/wants/${name}.service`, text }] },
});

const CASES: readonly Case[] = [
  {
    name: 'file-refused',
    has: haCf('keepalive 500ms', 'keepalive 500msec\nkeepalive 5sec'),
    at: `${HA_CF}:3`,
    evidence: /ha\.cf:3:11: keepalive: expected a time above 0.*got '5sec'/,
    hasNot: [{}],
  },
  {
    name: 'file-refused',
    has: drbd('protocol C;', 'protocol C; allow-two-primaries;'),
    at: '/etc/drbd.conf:1',
    evidence: /in resource r0: allow-two-primaries is not supported/,
    hasNot: [drbd('protocol C;', 'protocol C; ping-int 5;')],
  },
  {
    name: 'file-refused',
    has: { machine: { drbdHost: { name: 'node-a', addresses: new Set(['10.0.0.9']) } } },
    at: '/etc/drbd.conf:5',
    evidence: /IP 10\.0\.0\.1 not found on this host/,
    hasNot: [{}],
  },
  {
    name: 'file-doubtful',
    has: { files: { [AUTHKEYS]: 'auth 1\n1 sha256 word\n' } },
    at: `${AUTHKEYS}:2`,
    evidence: /sha256 is known to twinbeat only/,
    hasNot: [{}],
  },
  {
    name: 'own-node-missing',
    has: { machine: { node: 'node-c', haCf: { ...GOOD_MACHINE.haCf, ownNode: 'node-c' } } },
    at: `${HA_CF}:12`,
    evidence: /^This machine is node-c; ha\.cf has node-a and node-b\.$/,
    hasNot: [haCf('node node-a node-b', 'node NODE-A\nnode node-b')],
  },
  {
    name: 'node-unknown',
    has: haresources('# two\n\nnode-c mysql\n'),
    at: `${HARESOURCES}:3`,
    evidence: /line of mysql begins with node-c/,
    hasNot: [haresources('NODE-B drbddisk::r0 mysql\n')],
  },
  {
    name: 'name-does-not-resolve',
    has: {
      ...haCf('bcast eth1', 'ucast eth1 other-node'),
      machine: { resolves: async (name) => name !== 'other-node' },
    },
    at: `${HA_CF}:7`,
    evidence: /^other-node has no address here/,
    hasNot: [haCf('bcast eth1', 'ucast eth1 other-node\nping gw')],
  },
  {
    name: 'can-run-twice',
    has: haCf(STONITH, ''),
    at: HA_CF,
    evidence: /^Nothing resets the other node for node-a and node-b:/,
    hasNot: [
      haCf(STONITH, 'stonith_host * external/ipmi x\n'),
      {
        files: {
          [HA_CF]: GOOD_HA_CF.replace(STONITH, ''),
          '/etc/twinbeat.ini': '[fence]\nagent = fence_ipmilan\n',
        },
      },
      {
        files: { [HA_CF]: GOOD_HA_CF.replace(STONITH, ''), ...witness(WITNESS).files },
      },
      {
        files: {
          [HA_CF]: GOOD_HA_CF.replace(STONITH, ''),
          [INI]: '[witness]\nendpoints = http://192.0.2.7:2379\ncluster = shop\n',
        },
      },
      {
        files: {
          [HA_CF]: GOOD_HA_CF.replace(STONITH, '')
            .replace(' node-b', '')
            .replace('bcast eth1\n', ''),
          '/etc/drbd.conf': GOOD_DRBD_CONF.replace(HANDLER, '').replace(FENCING, ''),
        },
      },
    ],
  },
  {
    name: 'fence-unproven',
    has: haCf(STONITH, 'stonith_host * external/ssh node-a node-b\n'),
    at: `${HA_CF}:10`,
    evidence: /^external\/ssh is for tests/,
    hasNot: [haCf(STONITH, 'stonith_host * null x\nstonith_host * external/ipmi x\n')],
  },
  {
    name: 'authkeys-mode',
    has: { authkeysMode: 0o640 },
    at: AUTHKEYS,
    evidence: /^Its mode is 640: heartbeat does not start/,
    hasNot: [{ authkeysMode: 0o400 }],
  },
  {
    name: 'authkeys-mode',
    has: { authkeysMode: 0o620 },
    at: AUTHKEYS,
    evidence: /^Its mode is 620\.$/,
    hasNot: [{ authkeysMode: 0o600 }],
  },
  {
    name: 'authkeys-crc',
    has: { files: { [AUTHKEYS]: 'auth 2\n1 sha1 word\n2 crc\n' } },
    at: AUTHKEYS,
    evidence: /^`auth 2` signs with crc/,
    hasNot: [
      { files: { [AUTHKEYS]: 'auth 1\n1 sha1 word\n2 crc\n' } },
      {
        files: {
          [HA_CF]: GOOD_HA_CF.replace('bcast eth0\nbcast eth1', 'serial /dev/ttyS0 /dev/ttyS1'),
          [AUTHKEYS]: 'auth 2\n2 crc\n',
        },
      },
    ],
  },
  {
    name: 'hang-without-limit',
    has: { files: { '/etc/twinbeat.ini': '[health]\ninterval = 10\n' } },
    at: '/etc/twinbeat.ini',
    evidence: /^\[health\] checks every 10 s/,
    hasNot: [
      {
        files: {
          '/etc/twinbeat.ini': '[health]\ninterval = 10\n[heartbeat]\nscript-timeout = 60\n',
        },
      },
    ],
  },
  {
    name: 'witness-on-a-node',
    has: witness('address = 10.0.0.2:6940'), // of the other node, in drbd.conf
    at: INI,
    evidence: /^10\.0\.0\.2 is an address of the nodes/,
    hasNot: [witness(WITNESS)],
  },
  {
    name: 'witness-on-a-node',
    has: {
      files: {
        ...haCf('bcast eth1', 'ucast eth1 10.9.9.9').files,
        [INI]: '[witness]\nendpoints = http://10.9.9.9:2379 http://NODE-B:2379\ncluster = shop\n',
      },
    },
    at: INI,
    evidence: /^10\.9\.9\.9, node-b are all addresses/,
    hasNot: [
      // A majority of a member on each node and one elsewhere is not of one node.
      {
        files: {
          [INI]:
            '[witness]\nendpoints = http://node-a:2379 http://node-b:2379 http://192.0.2.7:2379\ncluster = shop\n',
        },
      },
    ],
  },
  {
    name: 'witness-on-a-node',
    has: witness('address = 10.0.0.10:6940'), // in haresources
    at: INI,
    evidence: /^10\.0\.0\.10 is an address of the nodes or of what they serve/,
    hasNot: [witness(WITNESS)],
  },
  {
    name: 'witness-on-a-node',
    has: witness('address = [::1]:6940'),
    at: INI,
    evidence: /^::1 is/,
    hasNot: [witness('address = [2001:db8::7]:6940')],
  },
  {
    name: 'witness-alone',
    has: { ...witness(WITNESS), ...asks(true, false) },
    at: INI,
    evidence: /^This node asks a witness, the other one does not/,
    hasNot: [
      { ...witness(WITNESS), ...asks(true, true) },
      { ...witness(WITNESS), ...asks(true, null) }, // not heard: nobody knows
    ],
  },
  {
    name: 'witness-alone',
    has: asks(false, true),
    at: INI,
    evidence: /^The other node asks a witness, this one does not/,
    hasNot: [asks(false, false)],
  },
  {
    name: 'witness-times',
    has: witness(`${WITNESS}\nlease = 300`),
    at: INI,
    evidence:
      /^lease is 300 s, so it is asked for each 10 s; half of deadtime is 5 s: time for 1 request\.$/,
    hasNot: [witness(`${WITNESS}\nlease = 50`), { files: { [INI]: '[witness]\nlease = 300\n' } }],
  },
  {
    name: 'witness-times',
    has: {
      files: {
        ...haCf('keepalive 500ms', 'keepalive 2500ms').files,
        ...witness(WITNESS).files,
      },
    },
    at: INI,
    evidence: /^deadtime is 10 s, keepalive 2\.5 s: the other node's word/,
    hasNot: [
      {
        files: { ...haCf('keepalive 500ms', 'keepalive 2400ms').files, ...witness(WITNESS).files },
      },
    ],
  },
  {
    name: 'witness-times',
    has: witness(WITNESS, '[heartbeat]\nscript-timeout = 30\n'),
    at: INI,
    evidence: /^script-timeout is 30 s, stop-limit 60 s: the machine goes down before/,
    hasNot: [
      witness(WITNESS, '[heartbeat]\nscript-timeout = 29\n'),
      { files: { [INI]: '[heartbeat]\nscript-timeout = 600\n' } },
    ],
  },
  {
    name: 'file-refused',
    has: {
      files: {
        ...haCf('keepalive 500ms', 'keepalive 2').files,
        ...witness(`${WITNESS}\nstop-limit = 11`).files,
      },
    },
    at: INI,
    evidence: /^\[witness\] stop-limit = 11: expected 6 x keepalive \(2000 ms\)/,
    hasNot: [witness(`${WITNESS}\nstop-limit = 11`)],
  },
  {
    name: 'one-link',
    // To both nodes, so that the file is the same on both.
    has: haCf('bcast eth0\nbcast eth1', 'ucast eth0 10.0.0.1\nucast eth0 10.0.0.2'),
    at: `${HA_CF}:6`,
    evidence: /^The only link is ucast eth0/,
    hasNot: [haCf('bcast eth1', 'serial /dev/ttyS0')],
  },
  {
    name: 'one-link',
    has: {
      files: { ...haCf('bcast eth0\nbcast eth1', 'bcast eth0').files, ...witness(WITNESS).files },
    },
    at: `${HA_CF}:6`,
    evidence: /^The only link is bcast eth0\. When it fails the witness says who serves/,
    hasNot: [witness(WITNESS)],
  },
  {
    name: 'links-on-one-network',
    has: { machine: { networks: () => ['10.0.0.0/24'] } },
    at: `${HA_CF}:7`,
    evidence: /^eth0 and eth1 are both in 10\.0\.0\.0\/24/,
    hasNot: [{ machine: { networks: () => [] } }],
  },
  {
    name: 'links-on-one-network',
    has: haCf('bcast eth1', 'mcast eth0 239.0.0.1 694 1 0'),
    at: `${HA_CF}:7`,
    evidence: /^All links leave by eth0: bcast eth0, mcast eth0/,
    hasNot: [haCf('bcast eth1', 'mcast eth0 239.0.0.1 694 1 0\nbcast eth1')],
  },
  {
    name: 'links-on-one-network',
    has: {
      ...haCf('bcast eth0\nbcast eth1', 'bcast eth0.10 eth0.11'),
      machine: { carrier: (device) => device.split('.')[0] ?? '', networks: () => [] },
    },
    at: `${HA_CF}:6`,
    evidence: /^All links leave by eth0: bcast eth0\.10, bcast eth0\.11/,
    hasNot: [{}],
  },
  {
    name: 'deadtime-short',
    has: haCf('keepalive 500ms', 'keepalive 4'),
    at: `${HA_CF}:3`,
    evidence: /^deadtime is 10 s, keepalive 4 s/,
    hasNot: [haCf('keepalive 500ms', 'keepalive 3')],
  },
  {
    name: 'initdead-short',
    has: haCf('deadtime 10\nwarntime 5\ninitdead 30', 'deadtime 5\ninitdead 9'),
    at: `${HA_CF}:4`,
    evidence: /Initial dead time \[9000 ms\] may be too small/,
    hasNot: [haCf('deadtime 10\nwarntime 5\ninitdead 30', 'deadtime 5\ninitdead 10')],
  },
  {
    name: 'warntime-useless',
    has: haCf('warntime 5', 'warntime 10'),
    at: `${HA_CF}:4`,
    evidence: /no warning comes before/,
    hasNot: [haCf('warntime 5\n', '')],
  },
  {
    name: 'warntime-useless',
    has: haCf('warntime 5', 'warntime 500ms'),
    at: `${HA_CF}:4`,
    evidence: /every heartbeat is late/,
    hasNot: [haCf('warntime 5', 'warntime 600ms')],
  },
  {
    name: 'drbddisk-unknown',
    has: haresources('node-a drbddisk::r1 mysql\n'),
    at: `${HARESOURCES}:1`,
    evidence: /^drbddisk::r1: \/etc\/drbd\.conf has no such resource: it has r0/,
    hasNot: [haresources('node-a drbddisk mysql\n')],
  },
  {
    name: 'drbddisk-unknown',
    has: {
      files: { [HARESOURCES]: 'node-a drbddisk::r0 mysql\n', '/etc/drbd.conf': null },
    },
    at: `${HARESOURCES}:1`,
    evidence: /there is no drbd\.conf/,
    hasNot: [{ files: { [HARESOURCES]: 'node-a mysql\n', '/etc/drbd.conf': null } }],
  },
  {
    name: 'drbddisk-unknown',
    has: {
      ...haresources('node-a drbddisk::r0 mysql\n'),
      machine: { drbdHost: { name: 'elsewhere', addresses: new Set() } },
    },
    at: `${HARESOURCES}:1`,
    evidence: /no section for this host, elsewhere, in \/etc\/drbd\.conf: it has node-a, node-b/,
    hasNot: [haresources('node-a drbddisk::r0 mysql\n')],
  },
  {
    name: 'filesystem-device-unknown',
    has: haresources('node-a drbddisk::r0 Filesystem::/dev/drbd1::/data mysql\n'),
    at: `${HARESOURCES}:1`,
    evidence: /Filesystem::\/dev\/drbd1::\/data: \/dev\/drbd0 is r0/,
    hasNot: [
      haresources('node-a drbddisk::r0 Filesystem::/dev/drbd/by-res/r0::/data mysql\n'),
      haresources('node-a Filesystem::/dev/sdc1::/data mysql\n'),
    ],
  },
  {
    name: 'filesystem-before-drbddisk',
    has: haresources('node-a Filesystem::/dev/drbd0::/data drbddisk::r0 mysql\n'),
    at: `${HARESOURCES}:1`,
    evidence: /^No drbddisk::r0 left of Filesystem/,
    hasNot: [haresources('node-a drbddisk Filesystem::/dev/drbd0::/data mysql\n')],
  },
  {
    name: 'fencing-without-handler',
    has: drbd(HANDLER, ''),
    at: '/etc/drbd.conf:3',
    evidence: /^Resource r0 has fencing resource-only and no fence-peer handler\.$/,
    hasNot: [drbd(`${FENCING}\n${HANDLER}`, '\n')],
  },
  {
    name: 'handler-without-fencing',
    has: drbd(FENCING, 'disk { fencing dont-care; }'),
    at: '/etc/drbd.conf:4',
    evidence: /^Resource r0 has a fence-peer handler that is never called/,
    hasNot: [drbd(FENCING, 'disk { fencing resource-and-stonith; }')],
  },
  {
    name: 'handler-missing',
    has: { machine: { exists: (path) => path !== '/usr/local/sbin/drbd-peer-outdater' } },
    at: '/etc/drbd.conf:4',
    evidence: /outdater is not on this machine\. twinbeat has it as drbd-peer-outdater/,
    hasNot: [
      {
        ...drbd('"/usr/local/sbin/drbd-peer-outdater -t 10"', '"logger x; drbd-peer-outdater"'),
        machine: { exists: (path) => path === '/dev/watchdog' },
      },
    ],
  },
  {
    name: 'dopd-cannot-ask',
    has: drbd('on node-b', 'on db-two'),
    at: '/etc/drbd.conf:4',
    evidence: /^Resource r0 would ask about db-two; ha\.cf has node-a, node-b/,
    hasNot: [
      {
        files: {
          '/etc/drbd.conf': GOOD_DRBD_CONF.replace('on node-b', 'on db-two').replace(
            /\/usr\S*/,
            '/root/fence',
          ),
        },
      },
    ],
  },
  {
    name: 'protocol-not-c',
    has: drbd('net { protocol C; }', 'protocol A;'),
    at: '/etc/drbd.conf:2',
    evidence: /protocol A/,
    hasNot: [
      {
        files: {
          '/etc/drbd.conf': GOOD_DRBD_CONF.replace('protocol C', 'protocol B'),
          [HARESOURCES]: 'node-a mysql\n',
        },
      },
    ],
  },
  {
    name: 'failback-at-once',
    has: haCf('auto_failback off', 'auto_failback on'),
    at: `${HA_CF}:8`,
    evidence: /^auto_failback is on, and the group drbddisk::r0/,
    hasNot: [
      {
        files: {
          [HA_CF]: GOOD_HA_CF.replace('auto_failback off', 'auto_failback on'),
          '/etc/twinbeat.ini': '[heartbeat]\nfailback-delay = 600\n',
        },
      },
      {
        files: {
          [HA_CF]: GOOD_HA_CF.replace('auto_failback off', 'auto_failback on'),
          [HARESOURCES]: 'node-a mysql\n',
        },
      },
    ],
  },
  {
    name: 'failback-at-once',
    has: haCf('auto_failback off\n', ''),
    at: HA_CF,
    evidence: /^auto_failback is legacy/,
    hasNot: [{}],
  },
  {
    name: 'started-at-boot',
    has: { ...haresources('node-a OCF::apache::web\n'), ...unit('apache2') },
    at: `${HARESOURCES}:1`,
    evidence: /^OCF::apache::web is started/,
    hasNot: [{ ...haresources('node-a Xinetd::pop3\n'), ...unit('xinetd') }],
  },
  {
    name: 'started-at-boot',
    has: unit('mariadb'),
    at: `${HARESOURCES}:1`,
    evidence: /^mysql is started at the boot, too, by \/etc\/wants\/mariadb\.service/,
    hasNot: [unit('apache2'), unit('drbddisk')],
  },
  {
    name: 'started-at-boot',
    has: {
      ...haresources('node-a systemd::postgresql@15-main.service\n'),
      ...unit('postgresql@15-main'),
    },
    at: `${HARESOURCES}:1`,
    evidence: /by \/etc\/wants\/postgresql@15-main/,
    hasNot: [
      { ...haresources('node-a systemd::postgresql@15-main\n'), ...unit('postgresql@14-x') },
    ],
  },
  {
    name: 'started-at-boot',
    has: { ...haresources('node-a ocf::heartbeat:apache\n'), ...unit('apache2') },
    at: `${HARESOURCES}:1`,
    evidence: /^ocf::heartbeat:apache is started/,
    hasNot: [{ ...haresources('node-a ocf::heartbeat:apache\n'), ...unit('nginx') }],
  },
  {
    name: 'mounted-at-boot',
    has: {
      files: {
        '/etc/fstab': '# a\n/dev/sda1 / ext4 defaults 0 1\n/dev/drbd0 /data ext4 defaults 0 0\n',
      },
    },
    at: '/etc/fstab:3',
    evidence: /^Filesystem::\/dev\/drbd0::\/data::ext4 is a line of fstab without noauto/,
    hasNot: [
      {
        files: {
          '/etc/fstab': '#/dev/drbd0 /data ext4\n/dev/drbd0 /data ext4 noatime,noauto 0 0\n',
        },
      },
      { files: { '/etc/fstab': '/dev/drbd1 /other ext4 defaults 0 0\n' } },
    ],
  },
  {
    name: 'become-primary-on',
    has: drbd('resource r0 {', 'common { startup { become-primary-on node-a; } }\nresource r0 {'),
    at: '/etc/drbd.conf:2',
    evidence: /^Resource r0 is in haresources and has become-primary-on node-a/,
    hasNot: [
      {
        files: {
          '/etc/drbd.conf': GOOD_DRBD_CONF.replace(
            'resource r0 {',
            'resource r0 { startup { become-primary-on node-a; }',
          ),
          [HARESOURCES]: 'node-a mysql\n',
        },
      },
    ],
  },
  {
    name: 'original-heartbeat-enabled',
    has: unit('heartbeat', 'ExecStart=/usr/libexec/heartbeat/heartbeat -f\n'),
    at: null,
    evidence: /heartbeat\.service starts the original/,
    hasNot: [unit('heartbeat', 'ExecStart=/usr/local/sbin/heartbeat -f --keepalive\n')],
  },
  {
    name: 'kernel-drbd-loaded',
    has: { machine: { kernelDrbd: () => 'in use' } },
    at: null,
    evidence: /^The module is loaded, and \/proc\/drbd has devices/,
    hasNot: [{}],
  },
  {
    name: 'script-missing',
    has: { machine: { hasProgram: async ({ script }) => script !== 'mysql' } },
    at: `${HARESOURCES}:1`,
    evidence: /^mysql: there is no mysql in \/etc\/ha\.d\/resource\.d/,
    hasNot: [{}],
  },
  {
    name: 'duplicate-check-off',
    has: { files: { '/etc/twinbeat/IPaddr': 'NO_CARRIER=take\nDUPLICATE_CHECK="no"\n' } },
    at: '/etc/twinbeat/IPaddr:2',
    evidence: /^DUPLICATE_CHECK is no/,
    hasNot: [
      { files: { '/etc/twinbeat/IPaddr': '# DUPLICATE_CHECK=no\n' } },
      { files: { '/etc/twinbeat/IPaddr2': 'DUPLICATE_CHECK=no\n' } },
      { files: { '/etc/twinbeat/IPaddr': 'DUPLICATE_CHECK=no\nDUPLICATE_CHECK=yes\n' } },
    ],
  },
  {
    name: 'panic-stays',
    has: { machine: { sysctl: (name) => (name === 'kernel.panic' ? 0 : 1) } },
    at: null,
    evidence: /^kernel\.panic is 0/,
    hasNot: [{ machine: { sysctl: () => null } }],
  },
  {
    name: 'oops-goes-on',
    has: { machine: { sysctl: (name) => (name === 'kernel.panic' ? 10 : 0) } },
    at: null,
    evidence: /^kernel\.panic_on_oops is 0/,
    hasNot: [{ machine: { sysctl: () => 1 } }],
  },
  {
    name: 'no-watchdog',
    has: haCf('watchdog /dev/watchdog\n', ''),
    at: HA_CF,
    evidence: /has no `watchdog`/,
    hasNot: [{}],
  },
  {
    name: 'no-watchdog',
    has: {
      files: { ...haCf('watchdog /dev/watchdog\n', '').files, ...witness(WITNESS).files },
    },
    at: HA_CF,
    evidence: /a daemon that stands still has no lease, and stops nothing/,
    hasNot: [witness(WITNESS)],
  },
  {
    name: 'watchdog-missing',
    has: { machine: { exists: (path) => path !== '/dev/watchdog' } },
    at: `${HA_CF}:9`,
    evidence: /^\/dev\/watchdog is not on this machine/,
    hasNot: [{}],
  },
  {
    name: 'files-differ',
    has: { machine: { report: async () => ({ ...GOOD_REPORT, disputes: ['drbddisk::r0'] }) } },
    at: `${HARESOURCES}:1`,
    evidence: /^The other node's file has drbddisk::r0/,
    hasNot: [{ machine: { report: async () => GOOD_REPORT } }],
  },
  {
    name: 'other-files-differ',
    has: differs('ha.cf'),
    at: HA_CF,
    evidence: /^It says something else on the other node\.$/,
    hasNot: [{ machine: { report: async () => GOOD_REPORT } }],
  },
  {
    name: 'other-files-differ',
    has: differs('twinbeat.ini'),
    at: INI,
    evidence: /^Its \[witness\] says something else/,
    hasNot: [{ machine: { report: async () => GOOD_REPORT } }],
  },
  {
    name: 'link-dead',
    has: {
      machine: {
        report: async () => ({
          ...GOOD_REPORT,
          nodes: GOOD_REPORT.nodes.map((node) => ({
            ...node,
            links: node.links.map((link) =>
              link.name === 'eth1' ? { ...link, status: 'dead' } : link,
            ),
          })),
        }),
      },
    },
    at: HA_CF,
    evidence: /^node-b is not heard on eth1/,
    hasNot: [
      // A node that is off.
      {
        machine: {
          report: async () => ({
            ...GOOD_REPORT,
            nodes: GOOD_REPORT.nodes.map((node) => ({
              ...node,
              links: node.links.map((link) => ({ ...link, status: 'dead' })),
            })),
          }),
        },
      },
    ],
  },
  {
    name: 'needs-somebody',
    has: {
      machine: {
        report: async () => ({
          ...GOOD_REPORT,
          standing: { state: 'FAILED_OFFLINE', why: 'mysql: does not answer' },
        }),
      },
    },
    at: null,
    evidence: /^this node is FAILED_OFFLINE: mysql: does not answer/,
    hasNot: [{ machine: { report: async () => GOOD_REPORT } }],
  },
];

for (const [i, { name, has, at, evidence, hasNot }] of CASES.entries()) {
  test(`${i + 1}: ${name}`, async (t) => {
    const found = await examine(t, has);
    t.deepEqual(
      found.map((finding) => finding.name),
      [name],
    );
    const [finding] = found;
    t.regex(finding?.evidence ?? '', evidence);
    const line = finding?.line === null ? '' : `:${finding?.line}`;
    t.is(finding?.file === null ? null : `${finding?.file}${line}`, at);
    t.true((finding?.next.length ?? 0) > 0);
    for (const node of hasNot) t.deepEqual(await examine(t, node), []);
  });
}

test('every check has a case, and no name is there twice', (t) => {
  const names = CHECKS.map(({ name }) => name);
  t.is(new Set(names).size, names.length);
  t.deepEqual([...new Set(CASES.map(({ name }) => name))], names);
});

// The next command has to be one that is taken: a reload with changed groups is refused while they are held, and without a drbd.conf
// drbdadm has nothing to say.
test('what comes next is possible as things are', async (t) => {
  const next = async (node: DoctorNode, name: string): Promise<string> =>
    (await examine(t, node)).find((finding) => finding.name === name)?.next.join('\n') ?? '';
  const mounted = 'node-a Filesystem::/dev/drbd0::/data::ext4 drbddisk::r0 mysql\n';
  const handedOver = /hb_standby all[\s\S]*\$ heartbeat -r$/;
  t.regex(await next(haresources(mounted), 'filesystem-before-drbddisk'), handedOver);
  const report = { ...GOOD_REPORT, disputes: ['drbddisk::r0'] };
  t.regex(await next({ machine: { report: async () => report } }, 'files-differ'), handedOver);

  const noConf: DoctorNode = { files: { '/etc/drbd.conf': null } };
  for (const name of ['drbddisk-unknown', 'filesystem-device-unknown']) {
    t.regex(await next(noConf, name), /^Write \/etc\/drbd\.conf/);
    t.notRegex(await next(noConf, name), /drbdadm/);
  }
  const offline = { ...GOOD_REPORT, standing: { state: 'FAILED_OFFLINE', why: 'x' } } as const;
  t.regex(
    await next({ machine: { report: async () => offline } }, 'needs-somebody'),
    /\$ twinbeat recover node-a$/,
  );
});
