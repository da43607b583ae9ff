/** What doctor looks for on the machine, and what the running heartbeat says: scripts, kernel, watchdog, disputes, links. */
import type { ComparedFile } from '../host/file-digests.js';
import {
  AUTHKEYS,
  groupAt,
  HA_CF,
  HARESOURCES,
  haCfAt,
  type Placed,
  TWINBEAT_INI,
} from './doctor-facts.js';
import type { Check, Found } from './doctor-finding.js';
import { asksWitness, RELOAD, RELOAD_GROUPS } from './doctor-ha.js';

const FILE_PATHS: Readonly<Record<ComparedFile, string>> = {
  'ha.cf': HA_CF,
  haresources: HARESOURCES,
  authkeys: AUTHKEYS,
  'twinbeat.ini': TWINBEAT_INI,
  'drbd.conf': '/etc/drbd.conf',
};

const scriptMissing: Check = {
  name: 'script-missing',
  level: 'error',
  rule: 'Each resource is a program on both nodes: a group with one that is missing does not start.',
  look: ({ missingResources }) =>
    missingResources.map(({ group, resource }) => ({
      at: groupAt(group),
      evidence: `${resource.text}: there is no ${programText(resource)}.`,
      next: [
        'Install what it belongs to, or mend its name. The same has to be there on the other node.',
      ],
    })),
};

function programText({ kind, script }: Placed['resource']): string {
  if (kind === 'systemd') return `unit ${script}`;
  if (kind === 'ocf') return `/usr/lib/ocf/resource.d/${script.replace(':', '/')}`;
  return `${script} in /etc/ha.d/resource.d, twinbeat's resource.d or /etc/init.d that can be run`;
}

const duplicateCheckOff: Check = {
  name: 'duplicate-check-off',
  level: 'warning',
  rule: 'Before an address is taken the network is asked who has it. Without that two machines may have it, each with a part of the clients.',
  look: ({ duplicateChecksOff }) =>
    duplicateChecksOff.map((at) => ({
      at,
      evidence: 'DUPLICATE_CHECK is no.',
      next: [
        'Take the line out (docs/RESOURCES-ADDRESSES.md); it holds from the next start of the address.',
      ],
    })),
};

/** Now, and at each boot. */
function sysctlCommands(setting: string): readonly string[] {
  return [`$ sysctl -w ${setting}`, `$ echo ${setting} >> /etc/sysctl.d/60-cluster.conf`];
}

const panicStays: Check = {
  name: 'panic-stays',
  level: 'warning',
  rule: 'A kernel that panicked stands still until somebody comes, and its node is missing; with kernel.panic it boots by itself (MySQL 5.0 manual, 14.2.4).',
  look: ({ kernelPanicS }) =>
    kernelPanicS !== 0
      ? []
      : [
          {
            at: null,
            evidence: 'kernel.panic is 0: it waits for ever.',
            next: sysctlCommands('kernel.panic=10'),
          },
        ],
};

const oopsGoesOn: Check = {
  name: 'oops-goes-on',
  level: 'warning',
  rule: 'After an oops a part of the kernel is broken, and the node goes on, half alive: it answers heartbeats, and its service hangs (MySQL 5.0 manual, 14.2.4).',
  look: ({ panicOnOops }) =>
    panicOnOops !== 0
      ? []
      : [
          {
            at: null,
            evidence: 'kernel.panic_on_oops is 0.',
            next: sysctlCommands('kernel.panic_on_oops=1'),
          },
        ],
};

const noWatchdog: Check = {
  name: 'no-watchdog',
  level: 'warning',
  rule: 'A node that stands still, or whose heartbeat died, goes on with its services while the other takes over. A watchdog resets it.',
  look: (facts) =>
    !facts.haCf || facts.haCf.watchdog !== null
      ? []
      : [
          {
            at: { file: HA_CF, line: null },
            evidence: asksWitness(facts)
              ? 'ha.cf has no `watchdog`: a daemon that stands still has no lease, and stops nothing, while the other node serves.'
              : 'ha.cf has no `watchdog`.',
            next: [
              'Add `watchdog /dev/watchdog` to ha.cf (docs/FENCING.md). Without such hardware:',
              '$ modprobe softdog',
            ],
          },
        ],
};

const watchdogMissing: Check = {
  name: 'watchdog-missing',
  level: 'error',
  rule: 'A watchdog that cannot be opened resets nobody; heartbeat says so at its start and runs without.',
  look(facts) {
    const device = facts.haCf?.watchdog ?? null;
    if (device === null || !facts.missingPaths.has(device)) return [];
    return [
      {
        at: haCfAt(facts, 'watchdog'),
        evidence: `${device} is not on this machine.`,
        next: [
          'Load the driver of the hardware, or the software one, at each boot, too:',
          '$ modprobe softdog && echo softdog > /etc/modules-load.d/softdog.conf',
        ],
      },
    ];
  },
};

const filesDiffer: Check = {
  name: 'files-differ',
  level: 'error',
  rule: 'haresources is the same on both nodes. A group that the two files give to different nodes is started by neither.',
  look: ({ report, groups }) =>
    (report?.disputes ?? []).map((key) => ({
      at: {
        file: HARESOURCES,
        line: groups.find((group) => group.key === key)?.line ?? null,
      },
      evidence: `The other node's file has ${key}, or a resource of its group, at home elsewhere.`,
      next: [
        'Compare, and make them the same:',
        `$ ssh OTHER-NODE cat ${HARESOURCES} | diff ${HARESOURCES} -`,
        'Then,',
        ...RELOAD_GROUPS,
      ],
    })),
};

const otherFilesDiffer: Check = {
  name: 'other-files-differ',
  level: 'warning',
  rule: 'Both nodes are one cluster by files that say the same: times, fail-back, media, keys, the witness, disks. With files that differ they do different things when one of them is needed.',
  look: ({ report }) =>
    Object.entries(report?.files ?? {})
      .filter(([, state]) => state === 'differs')
      .map(([name]): Found => {
        const file = FILE_PATHS[name as ComparedFile];
        return {
          at: { file, line: null },
          evidence:
            name === 'twinbeat.ini'
              ? 'Its [witness] says something else on the other node.'
              : 'It says something else on the other node.',
          next: [
            'Compare, and make them the same; interfaces, log files and devices that reset are not compared:',
            `$ ssh OTHER-NODE cat ${file} | diff ${file} -`,
            'Then,',
            ...(name === 'haresources' ? RELOAD_GROUPS : [RELOAD]),
          ],
        };
      }),
};

const linkDead: Check = {
  name: 'link-dead',
  level: 'warning',
  rule: 'While one link lives nobody notices that another is dead; the next one that fails is a partition.',
  look({ report }) {
    const others = (report?.nodes ?? []).filter(
      ({ name, type, links }) =>
        name !== report?.node && type === 'normal' && links.some(({ status }) => status === 'up'),
    );
    return others.flatMap(({ name, links }) =>
      links
        .filter(({ status }) => status === 'dead')
        .map(
          (link): Found => ({
            at: { file: HA_CF, line: null },
            evidence: `${name} is not heard on ${link.name}.`,
            next: [
              'Look at the cable, the switch, the address and the packet filter of both ends:',
              `$ cl_status hblinkstatus ${name} ${link.name}`,
            ],
          }),
        ),
    );
  },
};

const needsSomebody: Check = {
  name: 'needs-somebody',
  level: 'error',
  rule: 'What heartbeat gave up, or may not run, waits for an operator.',
  look({ report }) {
    if (!report) return [];
    const { node, standing, stuck, gaveUp } = report;
    const isOffline = standing.state !== 'ok';
    const what = [
      ...(isOffline ? [`this node is ${standing.state}: ${standing.why}`] : []),
      ...stuck.map((key) => `${key} cannot be stopped`),
      ...gaveUp.map(({ key, why }) => `${key} is stopped: ${why}`),
    ];
    const recover = ['When what failed is mended:', `$ twinbeat recover ${node}`];
    return what.map((evidence) => ({
      at: null,
      evidence: `${evidence}.`,
      next: [
        'docs/HEALTH.md says what may be done:',
        '$ twinbeat status',
        ...(isOffline ? recover : []),
      ],
    }));
  },
};

export const NODE_CHECKS: readonly Check[] = [
  scriptMissing,
  duplicateCheckOff,
  panicStays,
  oopsGoesOn,
  noWatchdog,
  watchdogMissing,
  filesDiffer,
  otherFilesDiffer,
  linkDead,
  needsSomebody,
];
