/** What doctor looks for where drbd.conf and haresources meet: devices and resources by name, fencing, protocol, fail-back. */
import type { ConfOption } from '../config/drbd-conf-model.js';
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import type { HaResource } from '../config/haresources.js';
import { type Facts, groupAt, haCfAt, nodesOf, placed } from './doctor-facts.js';
import type { Check, Found, FoundAt } from './doctor-finding.js';
import { RELOAD, RELOAD_GROUPS } from './doctor-ha.js';

const NO_CONF = [
  'Write /etc/drbd.conf, the same on both nodes (docs/CONFIGURATION.md), or, where this service has no replicated disk, take the resource out of haresources.',
];
const ADJUST = '$ drbdadm adjust all     # on both nodes';

/** Of `drbddisk::r0` r0, of `drbddisk` every resource; null: it is another script. */
export function drbdNamesOf(
  { kind, script, args }: HaResource,
  drbd: readonly LocalResource[],
): readonly string[] | null {
  if (kind !== 'heartbeat' || script !== 'drbddisk') return null;
  const [name] = args;
  return name === undefined ? drbd.filter(({ me }) => me).map(({ conf }) => conf.name) : [name];
}

function optionOf(options: readonly ConfOption[], name: string): ConfOption | null {
  return options.findLast((option) => option.name === name) ?? null;
}

/** In drbd.conf; without an option where the resource begins. */
function drbdAt({ conf }: LocalResource, option: ConfOption | null = null): FoundAt {
  const { file, line } = option?.place ?? conf.place;
  return { file, line };
}

/** Resources of this host whose drbddisk is in haresources. */
export function managed({ drbd, groups }: Facts): readonly LocalResource[] {
  const names = new Set(
    placed(groups).flatMap(({ resource }) => drbdNamesOf(resource, drbd) ?? []),
  );
  return drbd.filter(({ conf, me }) => me !== null && names.has(conf.name));
}

function drbdText(drbd: readonly LocalResource[]): string {
  const names = drbd.map(({ conf }) => conf.name);
  return names.length === 0 ? 'it has no resource' : `it has ${names.join(', ')}`;
}

function hostsText(drbd: readonly LocalResource[]): string {
  const names = drbd.flatMap(({ conf }) => conf.hosts.flatMap((host) => host.names));
  return `it has ${[...new Set(names)].join(', ')}`;
}

const drbddiskUnknown: Check = {
  name: 'drbddisk-unknown',
  level: 'error',
  rule: 'drbddisk::NAME makes the resource NAME of drbd.conf Primary. Without that resource the group does not start.',
  look({ groups, drbd, drbdConf, drbdHost, refusals }) {
    if (refusals.some(({ at }) => at.file === drbdConf)) return []; // that is the finding
    return placed(groups).flatMap(({ group, resource }): Found[] => {
      const names = drbdNamesOf(resource, drbd);
      if (names === null) return [];
      const wanted = names[0] ?? resource.args[0];
      const found = drbd.filter(({ conf }) => wanted === undefined || conf.name === wanted);
      if (found.some(({ me }) => me)) return [];
      const why =
        drbdConf === null
          ? 'there is no drbd.conf'
          : found.length === 0
            ? `${drbdConf} has no such resource: ${drbdText(drbd)}`
            : `no section for this host, ${drbdHost}, in ${drbdConf}: ${hostsText(found)}`;
      return [
        {
          at: groupAt(group),
          evidence: `${resource.text}: ${why}.`,
          next:
            drbdConf === null
              ? NO_CONF
              : ['Make the two names the same, on both nodes:', '$ drbdadm dump all'],
        },
      ];
    });
  },
};

/** The resource that a Filesystem is mounted from: null when it is not a drbd device, undefined when nobody has it. */
function backing(
  { script, args, kind }: HaResource,
  drbd: readonly LocalResource[],
): LocalResource | null | undefined {
  const [device = ''] = args;
  if (kind !== 'heartbeat' || script !== 'Filesystem' || !device.startsWith('/dev/drbd'))
    return null;
  const [, minor] = /^\/dev\/drbd_?(\d+)$/.exec(device) ?? [];
  const [, name] = /^\/dev\/drbd\/by-res\/([^/]+)/.exec(device) ?? [];
  if (name !== undefined) return drbd.find(({ conf, me }) => me && conf.name === name);
  return drbd.find(({ me }) =>
    me?.volumes.some((volume) => volume.device === device || `${volume.minor}` === minor),
  );
}

function devicesText(drbd: readonly LocalResource[]): string {
  const devices = drbd.flatMap(({ conf, me }) =>
    (me?.volumes ?? []).map(({ device }) => `${device} is ${conf.name}`),
  );
  return devices.length === 0 ? 'it has no device of this host' : devices.join(', ');
}

const filesystemDeviceUnknown: Check = {
  name: 'filesystem-device-unknown',
  level: 'error',
  rule: 'Filesystem::/dev/drbdN mounts a device of drbd.conf. Without it the group does not start.',
  look({ groups, drbd, drbdConf, refusals }) {
    if (refusals.some(({ at }) => at.file === drbdConf)) return [];
    return placed(groups)
      .filter(({ resource }) => backing(resource, drbd) === undefined)
      .map(({ group, resource }) => ({
        at: groupAt(group),
        evidence: `${resource.text}: ${drbdConf === null ? 'there is no drbd.conf' : devicesText(drbd)}.`,
        next:
          drbdConf === null
            ? NO_CONF
            : ['Write the device of the resource, on both nodes:', '$ drbdadm sh-dev all'],
      }));
  },
};

const filesystemBeforeDrbddisk: Check = {
  name: 'filesystem-before-drbddisk',
  level: 'error',
  rule: 'A group starts from left to right, and a Secondary cannot be mounted: drbddisk of its resource stands left of Filesystem.',
  look({ groups, drbd }) {
    return placed(groups).flatMap(({ group, resource }): Found[] => {
      const from = backing(resource, drbd);
      if (!from) return [];
      const left = group.resources.slice(0, group.resources.indexOf(resource));
      const names = left.flatMap((each) => drbdNamesOf(each, drbd) ?? []);
      if (names.includes(from.conf.name)) return [];
      const { text } = resource;
      return [
        {
          at: groupAt(group),
          evidence: `No drbddisk::${from.conf.name} left of ${text}.`,
          next: [
            `Write drbddisk::${from.conf.name} left of it, in the file of both nodes, then`,
            ...RELOAD_GROUPS,
          ],
        },
      ];
    });
  },
};

/** The fencing option that holds for the resource, and how. */
function fencingOf({ conf, me }: LocalResource): ConfOption | null {
  const options = [...conf.disk, ...(me?.volumes ?? []).flatMap((volume) => volume.diskOptions)];
  return options.findLast(({ name, value }) => name === 'fencing' && value !== 'dont-care') ?? null;
}

const fencingWithoutHandler: Check = {
  name: 'fencing-without-handler',
  level: 'error',
  rule: 'With fencing a node goes on without its peer when the fence-peer handler says that the peer is out. Without a handler nobody says so: a take-over of a dead node is refused.',
  look: ({ drbd }) =>
    drbd.flatMap((resource): Found[] => {
      const fencing = resource.me && fencingOf(resource);
      if (!fencing || optionOf(resource.conf.handlers, 'fence-peer')) return [];
      const { name } = resource.conf;
      const frozen = fencing.value === 'resource-and-stonith' ? '; its I/O freezes, too' : '';
      return [
        {
          at: drbdAt(resource, fencing),
          evidence: `Resource ${name} has fencing ${fencing.value} and no fence-peer handler${frozen}.`,
          next: [
            'With heartbeat add `fence-peer "/usr/local/sbin/drbd-peer-outdater -t 10";` to its handlers section (docs/IPFAIL.md, dopd), then',
            ADJUST,
            'See what happens without:',
            '$ twinbeat doctor --show fencing-without-handler',
          ],
        },
      ];
    }),
};

const handlerWithoutFencing: Check = {
  name: 'handler-without-fencing',
  level: 'warning',
  rule: 'fence-peer is called with fencing resource-only or resource-and-stonith. With dont-care, the default, old data can become Primary.',
  look: ({ drbd }) =>
    drbd.flatMap((resource): Found[] => {
      const handler = optionOf(resource.conf.handlers, 'fence-peer');
      if (!resource.me || !handler || fencingOf(resource)) return [];
      return [
        {
          at: drbdAt(resource, handler),
          evidence: `Resource ${resource.conf.name} has a fence-peer handler that is never called.`,
          next: ['Add `fencing resource-only;` to its disk section on both nodes, then', ADJUST],
        },
      ];
    }),
};

/** The program of a handler that is a path. */
export function handlerPath(value: string): string | null {
  return /^\s*(\/[^\s;|&<>"'$`]+)/.exec(value)?.[1] ?? null;
}

const handlerMissing: Check = {
  name: 'handler-missing',
  level: 'error',
  rule: 'A fence-peer handler that cannot be run has fenced nobody: a take-over of a dead node is refused.',
  look: ({ drbd, missingPaths }) =>
    drbd.flatMap((resource): Found[] => {
      const handler = optionOf(resource.conf.handlers, 'fence-peer');
      const path = handler && handlerPath(handler.value);
      if (!resource.me || !handler || !path || !missingPaths.has(path)) return [];
      const base = path.split('/').at(-1) ?? '';
      const ours =
        base === 'drbd-peer-outdater' ? ' twinbeat has it as drbd-peer-outdater, in sbin.' : '';
      return [
        {
          at: drbdAt(resource, handler),
          evidence: `Resource ${resource.conf.name}: ${path} is not on this machine.${ours}`,
          next: [
            'Find it and write its path on both nodes, then adjust:',
            `$ command -v ${base}`,
            ADJUST,
          ],
        },
      ];
    }),
};

const dopdCannotAsk: Check = {
  name: 'dopd-cannot-ask',
  level: 'error',
  rule: 'drbd-peer-outdater asks by heartbeat, and so by the names of ha.cf: the hosts of the resource in drbd.conf have to be its nodes.',
  look(facts) {
    const nodes = nodesOf(facts.haCfLines);
    return facts.drbd.flatMap((resource): Found[] => {
      const handler = optionOf(resource.conf.handlers, 'fence-peer');
      if (!resource.me || !handler?.value.includes('drbd-peer-outdater')) return [];
      const peer = resource.peer?.names[0]?.toLowerCase();
      const { name } = resource.conf;
      if (peer !== undefined && nodes.includes(peer)) return [];
      const who = peer === undefined ? 'a peer without a name' : peer;
      const where =
        nodes.length === 0 ? 'no ha.cf has nodes here' : `ha.cf has ${nodes.join(', ')}`;
      return [
        {
          at: drbdAt(resource, handler),
          evidence: `Resource ${name} would ask about ${who}; ${where}.`,
          next: [
            'Write the same names in both files, those of `uname -n`, on both nodes, then',
            ADJUST,
          ],
        },
      ];
    });
  },
};

const protocolNotC: Check = {
  name: 'protocol-not-c',
  level: 'warning',
  rule: 'With protocol A or B a write is answered before it is on the disk of both: what the dead node had answered last is lost at a take-over.',
  look: (facts) =>
    managed(facts).flatMap((resource): Found[] => {
      const protocol = optionOf(resource.conf.net, 'protocol');
      if (!protocol || protocol.value === 'C') return [];
      return [
        {
          at: drbdAt(resource, protocol),
          evidence: `Resource ${resource.conf.name} is in haresources and has protocol ${protocol.value}.`,
          next: [
            'Unless the distance asks for it, write `protocol C;` on both nodes, then',
            ADJUST,
          ],
        },
      ];
    }),
};

const OFF = 'Write `auto_failback off`, and switch back by hand when all is well (`hb_standby`)';
/** By what `auto_failback` is now. */
const FAILBACK_NEXT = {
  on: [`${OFF}, or set \`failback-delay\` of twinbeat.ini; on both nodes, then`, RELOAD],
  legacy: [
    `${OFF}. A node with legacy and one without do not agree on who has what: stop both first, and start them after the change on both:`,
    '$ heartbeat -k',
  ],
};

const failbackAtOnce: Check = {
  name: 'failback-at-once',
  level: 'warning',
  rule: 'A node that died once may die again: without a delay each of its returns interrupts the service. With legacy (the default) nobody even looks whether its disk is in sync.',
  look(facts) {
    const { haCf, ini, groups, drbd } = facts;
    if (!haCf || !ini || haCf.autoFailback === 'off' || haCf.nodes.length < 2) return [];
    if (haCf.autoFailback === 'on' && ini.heartbeat.failbackDelayS > 0) return [];
    const group = groups.find(({ resources }) => resources.some((r) => drbdNamesOf(r, drbd)));
    if (!group) return [];
    return [
      {
        at: haCfAt(facts, 'auto_failback', 'nice_failback'),
        evidence: `auto_failback is ${haCf.autoFailback}, and the group ${group.key} is on replicated data.`,
        next: FAILBACK_NEXT[haCf.autoFailback],
      },
    ];
  },
};

export const DRBD_CHECKS: readonly Check[] = [
  drbddiskUnknown,
  filesystemDeviceUnknown,
  filesystemBeforeDrbddisk,
  fencingWithoutHandler,
  handlerWithoutFencing,
  handlerMissing,
  dopdCannotAsk,
  protocolNotC,
  failbackAtOnce,
];
