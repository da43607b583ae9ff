/** What doctor looks for in what a boot does: nobody but heartbeat starts, mounts or promotes what is in haresources. */
import { managed } from './doctor-drbd.js';
import { FSTAB, groupAt, type Placed, placed } from './doctor-facts.js';
import type { Check, Found } from './doctor-finding.js';

/** Units that are the same service as a script. */
const UNITS: Readonly<Record<string, readonly string[]>> = {
  mysql: ['mysql', 'mysqld', 'mariadb'],
  mysqld: ['mysql', 'mysqld', 'mariadb'],
  mariadb: ['mysql', 'mysqld', 'mariadb'],
  apache: ['apache2', 'httpd'],
  pgsql: ['postgresql'],
};
/** Scripts that are no service of their own, whatever a unit is called. */
const NO_SERVICE = new Set([
  'Xinetd', // xinetd itself has to run
  'drbddisk',
  'Filesystem',
  'IPaddr',
  'IPaddr2',
  'LVM',
  'Delay',
  'MailTo',
]);

function unitsOf({ kind, script, args }: Placed['resource']): readonly string[] {
  if (kind === 'systemd') return [script.replace(/\.service$/, '')];
  const ofOcf = script === 'OCF' ? args[0] : script.split(':')[1]; // OCF::TYPE::INSTANCE
  const name = kind === 'ocf' || script === 'OCF' ? (ofOcf ?? '') : script;
  if (NO_SERVICE.has(name)) return [];
  return UNITS[name.toLowerCase()] ?? [name, name.toLowerCase()];
}

function disableCommand(name: string, file: string): string {
  return /\/rc\d\.d\//.test(file) ? `$ update-rc.d ${name} disable` : `$ systemctl disable ${name}`;
}

const startedAtBoot: Check = {
  name: 'started-at-boot',
  level: 'error',
  rule: 'What heartbeat starts nobody else may start: a service that is enabled runs on both nodes after a boot.',
  look: ({ groups, bootUnits }) =>
    placed(groups).flatMap(({ group, resource }) => {
      const names = unitsOf(resource);
      return bootUnits
        .filter(({ name }) => names.includes(name) || names.includes(name.split('@')[0] ?? ''))
        .map(
          ({ name, file }): Found => ({
            at: groupAt(group),
            evidence: `${resource.text} is started at the boot, too, by ${file}.`,
            next: [
              'On both nodes (it stays as it is until the next boot):',
              disableCommand(name, file),
            ],
          }),
        );
    }),
};

const mountedAtBoot: Check = {
  name: 'mounted-at-boot',
  level: 'error',
  rule: 'A file system that heartbeat mounts is not for the boot: on a Secondary it cannot be mounted, and the boot waits or ends in a rescue shell; on a shared disk it is mounted twice.',
  look: ({ groups, mounts }) =>
    placed(groups).flatMap(({ group, resource }) => {
      const [device = '', directory = ''] = resource.args;
      if (resource.kind !== 'heartbeat' || resource.script !== 'Filesystem') return [];
      return mounts
        .filter((mount) => mount.device === device || mount.directory === directory)
        .map(
          ({ line }): Found => ({
            at: { file: FSTAB, line },
            evidence: `${resource.text} is a line of fstab without noauto (haresources:${group.line}).`,
            next: ['Take the line out of /etc/fstab, or add the option noauto; on both nodes.'],
          }),
        );
    }),
};

const becomePrimaryOn: Check = {
  name: 'become-primary-on',
  level: 'error',
  rule: 'Who is Primary is for heartbeat to say. A node that promotes itself at its boot can do so on old data while the other one serves.',
  look: (facts) =>
    managed(facts)
      .filter(({ conf }) => (conf.becomePrimaryOn ?? []).length > 0)
      .map(({ conf }) => ({
        at: { file: conf.place.file, line: conf.place.line },
        evidence: `Resource ${conf.name} is in haresources and has become-primary-on ${conf.becomePrimaryOn?.join(' ')}.`,
        next: ['Take become-primary-on out of its startup section (or of common), on both nodes.'],
      })),
};

/** Debian's heartbeat; the first path is that of other distributions. */
const ORIGINAL = /\/usr\/(lib|lib64|libexec)\/heartbeat\/heartbeat\b/;

const originalHeartbeatEnabled: Check = {
  name: 'original-heartbeat-enabled',
  level: 'error',
  rule: 'Heartbeat 3 and twinbeat have the same pid file and the same port: after a boot the one that was first runs, and the other does not start.',
  look: ({ bootUnits }) =>
    bootUnits
      .filter(({ name, text }) => name === 'heartbeat' && ORIGINAL.test(text))
      .map(({ file }) => ({
        at: null,
        evidence: `${file} starts the original.`,
        next: [
          'If this node is to be of twinbeat (docs/MIGRATION.md), enable its unit in that place:',
          disableCommand('heartbeat', file),
        ],
      })),
};

const kernelDrbdLoaded: Check = {
  name: 'kernel-drbd-loaded',
  level: 'warning',
  rule: 'The module drbd and drbdd want the same ports, lower disks and /dev/drbdN. One of them has to be away.',
  look: ({ kernelDrbd }) =>
    kernelDrbd === 'absent'
      ? []
      : [
          {
            at: null,
            evidence: `The module is loaded${kernelDrbd === 'in use' ? ', and /proc/drbd has devices' : ''}.`,
            next: [
              'docs/MIGRATION.md says how a node changes over. Where it has no device any more:',
              '$ rmmod drbd',
            ],
          },
        ],
};

export const BOOT_CHECKS: readonly Check[] = [
  startedAtBoot,
  mountedAtBoot,
  becomePrimaryOn,
  originalHeartbeatEnabled,
  kernelDrbdLoaded,
];
