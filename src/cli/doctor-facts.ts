/**
 * What doctor knows of a node: its files as read, and what the machine and a running heartbeat say. The checks see nothing else.
 *
 * A file that is refused is read once more as if the machine had everything that it names, so that one mistake does not hide the others.
 */
import type { AuthKeys } from '../config/authkeys.js';
import { firstWord } from '../config/blanks.js';
import type { LocalResource } from '../config/drbd-conf-resolve.js';
import type { HaCf, HaCfMessage, Medium } from '../config/ha-cf.js';
import type { HaResource, HaResourceGroup } from '../config/haresources.js';
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import type { HeartbeatReport } from '../host/heartbeat-control.js';
import type { FoundAt } from './doctor-finding.js';

export const HA_CF = '/etc/ha.d/ha.cf';
export const HARESOURCES = '/etc/ha.d/haresources';
export const AUTHKEYS = '/etc/ha.d/authkeys';
export const TWINBEAT_INI = '/etc/twinbeat.ini';

export const FSTAB = '/etc/fstab';

/** A line of ha.cf: 'node', 'a b', 7. */
export interface HaCfLine {
  readonly name: string;
  readonly value: string;
  readonly line: number;
}

/** What a file was refused for, in its parser's words. */
export interface Refusal {
  readonly at: FoundAt;
  readonly text: string;
}

/** What is started at a boot, by systemd or by an init script. */
export interface BootUnit {
  readonly name: string; // 'mysql', without .service
  readonly file: string; // the link that does it
  readonly text: string; // of the unit or script
}

/** A line of fstab that is mounted at a boot. */
export interface BootMount {
  readonly device: string;
  readonly directory: string;
  readonly line: number;
}

/** A resource and the group it is in. */
export interface Placed {
  readonly group: HaResourceGroup;
  readonly resource: HaResource;
}

export interface Facts {
  readonly node: string; // this one
  readonly refusals: readonly Refusal[];
  /** What a parser takes, and warns of. */
  readonly remarks: readonly Refusal[];
  readonly haCfLines: readonly HaCfLine[];
  readonly haCfMessages: readonly HaCfMessage[];
  readonly haCf: HaCf | null;
  readonly groups: readonly HaResourceGroup[];
  readonly authkeys: AuthKeys | null;
  readonly authkeysMode: number | null; // permission bits
  readonly ini: TwinbeatIni | null;
  /** The devices that a node may use to reset the other one, by node of ha.cf. */
  readonly stonithTypes: ReadonlyMap<string, readonly string[]>;
  readonly drbdConf: string | null; // its path; null: there is none
  readonly drbdHost: string; // as drbd.conf calls this host: uname -n
  readonly ownAddresses: ReadonlySet<string>; // of this machine's interfaces
  readonly drbd: readonly LocalResource[]; // with what is inherited
  /** Lines in the settings of address scripts that haresources has. */
  readonly duplicateChecksOff: readonly FoundAt[];
  /** Of the programs and devices that the files name, those that are not on this machine. */
  readonly missingPaths: ReadonlySet<string>;
  readonly missingResources: readonly Placed[];
  readonly unresolvedNames: ReadonlySet<string>;
  /** By interface: the one below it (of a VLAN), or itself. */
  readonly carriers: ReadonlyMap<string, string>;
  readonly networks: ReadonlyMap<string, readonly string[]>; // 10.0.0.0/24 of an interface
  readonly kernelPanicS: number | null; // null: cannot be read
  readonly panicOnOops: number | null;
  readonly kernelDrbd: 'absent' | 'loaded' | 'in use';
  readonly bootUnits: readonly BootUnit[];
  readonly mounts: readonly BootMount[];
  readonly report: HeartbeatReport | null; // of the running heartbeat
}

/** Lines of ha.cf that say something, in their order. */
export function haCfLines(text: string): readonly HaCfLine[] {
  return text.split('\n').flatMap((raw, index) => {
    const first = firstWord(raw.split('#', 1)[0] ?? '');
    return first ? [{ name: first.word, value: first.rest, line: index + 1 }] : [];
  });
}

/** fstab(5): device, directory, type, options. */
export function bootMounts(text: string): readonly BootMount[] {
  return text.split('\n').flatMap((raw, index) => {
    const [device = '', directory = '', , options = ''] = raw.trim().split(/\s+/);
    const isMounted = !device.startsWith('#') && directory.startsWith('/');
    const isAuto = isMounted && !options.split(',').includes('noauto');
    return isAuto ? [{ device, directory, line: index + 1 }] : [];
  });
}

export function nodesOf(lines: readonly HaCfLine[]): readonly string[] {
  const names = lines
    .filter(({ name }) => name === 'node')
    .flatMap(({ value }) => value.split(/[ \t\r\f,]+/));
  return [...new Set(names.filter((name) => name !== '').map((name) => name.toLowerCase()))];
}

/** The last line with one of these directives, which is the one in force; without one, the file. */
export function haCfAt({ haCfLines }: Facts, ...names: readonly string[]): FoundAt {
  const line = haCfLines.findLast(({ name }) => names.includes(name))?.line ?? null;
  return { file: HA_CF, line };
}

export function placed(groups: readonly HaResourceGroup[]): readonly Placed[] {
  return groups.flatMap((group) => group.resources.map((resource) => ({ group, resource })));
}

export function groupAt(group: HaResourceGroup): FoundAt {
  return { file: HARESOURCES, line: group.line };
}

/** Addresses that one of the two nodes has, or serves on, as far as the files say. */
export function nodeAddresses(facts: Facts): readonly string[] {
  const links = (facts.haCf?.media ?? []).flatMap((medium) =>
    hasHost(medium) ? [medium.host] : [],
  );
  const disks = facts.drbd.flatMap(({ me, peer }) => [me?.address?.host, peer?.address?.host]);
  const services = placed(facts.groups)
    .filter(({ resource }) => /^(IPaddr2?|IPv6addr)$/.test(resource.script))
    .map(({ resource }) => resource.args[0]?.replace(/\/.*/, ''));
  const all = [...facts.ownAddresses, ...links, ...disks, ...services];
  return all.flatMap((address) => (address === undefined ? [] : [address.toLowerCase()]));
}

/** Names in ha.cf that somebody has to look up. */
export function namesToResolve(haCf: HaCf): readonly string[] {
  const hosts = haCf.media.flatMap((medium) => (hasHost(medium) ? [medium.host] : []));
  const members = haCf.pings.flatMap((ping) => ping.members);
  return [...new Set([...hosts, ...members])];
}

function hasHost(medium: Medium): medium is Medium & { readonly host: string } {
  return 'host' in medium;
}
