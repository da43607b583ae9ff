/**
 * The tree of drbd.conf seen from one host: which section is mine, which the peer's, what is inherited, and what does
 * not fit together. drbdadm validates all resources before it touches one.
 *
 *     1. common -> resource: options that the resource does not have, in front (so in reverse order)
 *     2. resource disk {} -> each volume of each host, likewise
 *     3. resource-level volume N { disk {} } -> the host's volume, only where still missing: it does not override 1 and 2
 *
 * Source: drbd.conf(5), drbdadm 9.22 observed, docs/CONFIGURATION.md.
 */
import {
  type ConfHost,
  type ConfOption,
  type ConfResource,
  type ConfVolume,
  type DrbdConf,
  hostNames,
  placeText,
} from './drbd-conf-model.js';

export interface LocalHost {
  readonly name: string; // `uname -n`, or __DRBD_NODE__
  readonly addresses: ReadonlySet<string>; // of the interfaces; IPv6 in its canonical short form
}

export interface LocalResource {
  readonly conf: ConfResource;
  readonly me: ConfHost | null; // null: not for this host, ignored
  readonly peer: ConfHost | null; // null: none, or which one is not known
}

export interface LocalConf {
  readonly conf: DrbdConf;
  readonly resources: readonly LocalResource[];
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Who reads the errors. A `resync-after` whose resource is gone is an error to somebody at a terminal. A script (boot, a
 * cluster manager) goes on without it, with a warning: what was forgotten when a resource was removed would otherwise
 * keep every other one from being promoted, on both nodes. The originals do the same.
 */
export type Reader = 'terminal' | 'script';

/** How much is worked out: `expanded` inherits, `for commands` also turns names into what drbdsetup takes. */
export type Detail = 'as written' | 'expanded' | 'for commands';

export function localConf(
  conf: DrbdConf,
  host: LocalHost,
  peerName: string | null,
  detail: Detail,
  reader: Reader,
): LocalConf {
  const errors: string[] = [];
  const warnings: string[] = [];
  const expanded = detail === 'as written' ? conf : expandConf(conf);
  const all = expanded.resources.map((r) => {
    const me = findMe(r, host, errors);
    return { conf: r, me, peer: me ? findPeer(r, me, peerName) : null };
  });
  const stale = reader === 'script' ? warnings : errors;
  const named = byName(all);
  const resources = all.map((r) => ({ ...r, conf: withoutStale(r.conf, named, stale) }));
  for (const resource of resources) validate(resource, errors);
  if (detail === 'for commands' && errors.length === 0) {
    const last = byName(resources);
    for (const resource of resources) convertForHost(resource, last, host, errors, stale);
  }
  return { conf: expanded, resources, errors, warnings: [...new Set(warnings)] };
}

type ByName = ReadonlyMap<string, LocalResource>;

function byName(resources: readonly LocalResource[]): ByName {
  return new Map(resources.map((r) => [r.conf.name, r]));
}

/** Without the `resync-after` of resources that are not there. */
function withoutStale(r: ConfResource, all: ByName, stale: string[]): ConfResource {
  const disk = r.disk.filter((option) => {
    if (option.name !== 'resync-after') return true;
    const name = option.value.split('/', 1)[0] ?? '';
    const after = all.get(name);
    if (after?.me) return true;
    stale.push(staleText(r, option, after !== undefined));
    return false;
  });
  return { ...r, disk };
}

function staleText(r: ConfResource, option: ConfOption, isElsewhere: boolean): string {
  const where = isElsewhere ? ' on this host' : '';
  return `${placeText(r.place)}: in resource ${r.name}: resource '${option.value}' mentioned in 'resync-after' option is not known${where}.`;
}

function findMe(r: ConfResource, host: LocalHost, errors: string[]): ConfHost | null {
  let me: ConfHost | null = null;
  for (const h of r.hosts) {
    const isMe = h.floating
      ? h.address !== null && isLocalAddress(h.address.host, h.address.family, host)
      : h.names.includes(host.name) || h.names[0] === '_this_host';
    if (!isMe) continue;
    if (me) {
      errors.push(
        `${placeText(h.place)}: in resource ${r.name}, on ${hostNames(me)} { ... } ... on ${hostNames(h)} { ... }: There are multiple host sections for this node.`,
      );
    }
    me = h;
  }
  return me;
}

/** Other families cannot be looked up, so they match. */
function isLocalAddress(address: string, family: string, host: LocalHost): boolean {
  if (host.name === address || (family !== 'ipv4' && family !== 'ipv6')) return true;
  return host.addresses.has(address.toLowerCase().replace(/%.*/, ''));
}

function findPeer(r: ConfResource, me: ConfHost, peerName: string | null): ConfHost | null {
  const others = r.hosts.filter((h) => h !== me);
  if (others.length <= 1) return others[0] ?? null;
  const named = others.filter((h) => peerName !== null && h.names.includes(peerName));
  return named.length === 1 ? (named[0] ?? null) : null;
}

/** Why a command that needs the peer cannot have it; null when it is known. */
export function peerProblem(r: LocalResource, peerName: string | null): string | null {
  if (r.peer) return null;
  const at = `${placeText(r.conf.place)}: in resource ${r.conf.name}:`;
  if (r.conf.hosts.length < 2) return `${at} Missing section 'on <PEER> { ... }'.`;
  if (peerName === null) {
    return `${at} There are multiple host sections for the peer node. Use the --peer option to select which peer section to use.`;
  }
  return `${at} No host ('on' or 'floating') section matches --peer '${peerName}'`;
}

/** The address of my section is not one of this host's; null when it is, or when that is not to be checked. */
export function addressProblem(conf: DrbdConf, r: LocalResource, host: LocalHost): string | null {
  const address = r.me?.address;
  if (conf.global.disableIpVerification || !r.me || !address) return null;
  if (isLocalAddress(address.host, address.family, host)) return null;
  return `${placeText(address.place)}: in resource ${r.conf.name}, on ${hostNames(r.me)}:\n\tIP ${address.host} not found on this host.`;
}

function validate({ conf: r, me, peer }: LocalResource, errors: string[]): void {
  const say = (text: string) =>
    errors.push(`${placeText(r.place)}: in resource ${r.name}: ${text}`);
  if (!me) return;
  const known = peer ? [...me.names, ...peer.names] : null;
  const discard = r.net.find((o) => o.name === 'after-sb-0pri')?.value;
  const isNamed = !me.floating && peer?.floating !== true; // an address is no node name
  const node = discard?.startsWith('discard-node-') ? discard.slice(13) : null;
  if (node !== null && isNamed && known && !known.includes(node)) {
    say(
      `the nodename in the '${discard}' option is not known. valid nodenames are: '${known.join(' ')}'.`,
    );
  }
  const becomePrimary = r.becomePrimaryOn ?? [];
  if (becomePrimary.includes('both') && !r.net.some((o) => o.name === 'allow-two-primaries')) {
    say('become-primary-on is set to both, but allow-two-primaries is not set.');
  }
  for (const name of becomePrimary) {
    if (!known || name === 'both' || known.includes(name)) continue;
    say(`become-primary-on contains '${name}', which is not named with the 'on' sections.`);
  }
}

// Inheritance

function inherit(from: readonly ConfOption[], to: readonly ConfOption[]): ConfOption[] {
  const result = [...to];
  for (const option of from) {
    if (!result.some((o) => o.name === option.name)) result.unshift(option);
  }
  return result;
}

/** What is inherited of a section in which an option may stand again and again: the first of each. */
function firsts(options: readonly ConfOption[]): ConfOption[] {
  const seen = new Set<string>();
  return options.filter(({ name }) => !seen.has(name) && seen.add(name));
}

function expandConf(conf: DrbdConf): DrbdConf {
  const c = conf.common;
  const common = c && {
    ...c,
    disk: firsts(c.disk),
    net: firsts(c.net),
    startup: firsts(c.startup),
    handlers: firsts(c.handlers),
    options: firsts(c.options),
    proxy: { ...c.proxy, options: firsts(c.proxy.options) },
  };
  return { ...conf, resources: conf.resources.map((r) => expandResource(r, common)) };
}

function expandResource(r: ConfResource, common: ConfResource | null): ConfResource {
  const c = common;
  const disk = c ? inherit(c.disk, r.disk) : r.disk;
  const inherited = firsts(disk);
  const ofResource = new Map<number, ConfOption[][]>();
  for (const { vnr, diskOptions } of r.volumes) {
    const same = ofResource.get(vnr);
    if (same) same.push(firsts(diskOptions));
    else ofResource.set(vnr, [firsts(diskOptions)]);
  }
  const expandVolume = (volume: ConfVolume): ConfVolume => {
    const own = ofResource.get(volume.vnr) ?? [];
    const base = inherit(inherited, volume.diskOptions);
    return {
      ...volume,
      device: volume.device ?? `/dev/drbd${volume.minor}`,
      diskOptions: own.reduce((options, more) => inherit(more, options), base),
    };
  };
  const expanded: ConfResource = {
    ...r,
    disk,
    hosts: r.hosts.map((host) => ({ ...host, volumes: host.volumes.map(expandVolume) })),
  };
  if (!c) return expanded;
  return {
    ...expanded,
    net: inherit(c.net, r.net),
    startup: inherit(c.startup, r.startup),
    handlers: inherit(c.handlers, r.handlers),
    options: inherit(c.options, r.options),
    proxy: {
      options: inherit(c.proxy.options, r.proxy.options),
      plugins:
        r.proxy.plugins.length > 0 ? r.proxy.plugins : [...new Set(c.proxy.plugins)].reverse(),
    },
    stackedTimeouts: r.stackedTimeouts || c.stackedTimeouts,
    becomePrimaryOn: r.becomePrimaryOn ?? c.becomePrimaryOn,
  };
}

/** Names that only drbdadm knows become what drbdsetup takes: a minor, discard-local or discard-remote. */
function convertForHost(
  { conf: r }: LocalResource,
  all: ByName,
  host: LocalHost,
  errors: string[],
  stale: string[],
): void {
  const index = r.net.findIndex((o) => o.name === 'after-sb-0pri');
  const discard = r.net[index];
  if (discard?.value.startsWith('discard-node-')) {
    const value =
      discard.value === `discard-node-${host.name}` ? 'discard-local' : 'discard-remote';
    r.net = r.net.with(index, { ...discard, value });
  }
  for (const volume of r.hosts.flatMap((h) => h.volumes)) {
    volume.diskOptions = volume.diskOptions.flatMap((option) => {
      if (option.name !== 'resync-after') return [option];
      const [name = '', number] = option.value.split('/');
      const volumes = all.get(name)?.me?.volumes ?? [];
      const found = number === undefined ? volumes : volumes.filter((v) => `${v.vnr}` === number);
      if (found.length === 1) return [{ ...option, value: `${found[0]?.minor}` }];
      if (found.length === 0) stale.push(staleText(r, option, false));
      else {
        errors.push(
          `${placeText(r.place)}: in resource ${r.name}: resync-after contains '${option.value}', which is ambiguous, since it contains ${found.length} volumes`,
        );
      }
      return [];
    });
  }
}
