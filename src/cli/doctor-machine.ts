/** The part of doctor that looks at the machine: kernel, interfaces, units, programs, names. It changes nothing. */
import { lookup } from 'node:dns/promises';
import { constants, existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { LocalHost } from '../config/drbd-conf-resolve.js';
import type { HaCfSystem } from '../config/ha-cf.js';
import type { HaResource } from '../config/haresources.js';
import type { HeartbeatReport } from '../host/heartbeat-control.js';
import { haCfSystem, ownNodeName } from '../real/heartbeat-config.js';
import { allInterfaces } from '../real/interfaces.js';
import { findScript } from '../real/resource-command.js';
import { within } from '../real/within.js';
import { localHost } from './conf-files.js';
import type { BootUnit, Facts } from './doctor-facts.js';
import { heartbeatReport } from './heartbeat-client.js';
import type { World } from './world.js';

export interface Machine {
  readonly node: string;
  readonly drbdHost: LocalHost;
  readonly haCf: HaCfSystem;
  exists(path: string): boolean;
  hasProgram(resource: HaResource): Promise<boolean>;
  resolves(name: string): Promise<boolean>;
  carrier(device: string): string;
  networks(device: string): readonly string[];
  /** Null: it cannot be read. */
  sysctl(name: 'kernel.panic' | 'kernel.panic_on_oops'): number | null;
  kernelDrbd(): Facts['kernelDrbd'];
  bootUnits(): readonly BootUnit[];
  report(): Promise<HeartbeatReport | null>;
}

const RESOLVE_LIMIT_MS = 3000;
/** VLANs on a bridge on a bond: no machine has more. */
const MAX_CARRIERS = 8;
const UNIT_DIRS = ['etc', 'run', 'usr/local/lib', 'usr/lib', 'lib'].map(
  (dir) => `/${dir}/systemd/system`,
);

export function realMachine(world: World): Machine {
  const { root } = world;
  const node = ownNodeName(root);
  return {
    node,
    drbdHost: localHost(world),
    haCf: haCfSystem(root, node),
    exists: (path) => existsSync(root + path) || existsSync(path),
    hasProgram: (resource) => hasProgram(root, resource),
    resolves,
    carrier: (device) => carrierOf('/sys/class/net', device),
    networks: networksOf,
    sysctl(name) {
      const text = textOf(`/proc/sys/${name.replace('.', '/')}`).trim();
      return /^-?\d+$/.test(text) ? Number(text) : null;
    },
    kernelDrbd() {
      if (!existsSync('/sys/module/drbd')) return 'absent';
      const hasDevice = /^ *\d+: cs:(?!Unconfigured)/m.test(textOf('/proc/drbd'));
      return hasDevice ? 'in use' : 'loaded';
    },
    bootUnits: () => bootUnits(root),
    report: async () => (await heartbeatReport(root)).report,
  };
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function entries(path: string): readonly string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}

async function resolves(name: string): Promise<boolean> {
  if (isIP(name.replace(/%.*/, '')) !== 0) return true;
  let found = false;
  const look = lookup(name).then(
    () => {
      found = true;
    },
    () => undefined,
  );
  await within(RESOLVE_LIMIT_MS, look);
  return found;
}

/** The interface that carries a VLAN or a bridge of one port. One with several below it (a bond) is itself. */
export function carrierOf(sysNet: string, device: string): string {
  let at = device;
  for (let i = 0; i < MAX_CARRIERS; i++) {
    const [lower, ...more] = entries(join(sysNet, at)).filter((name) => name.startsWith('lower_'));
    if (lower === undefined || more.length > 0) break;
    at = lower.slice('lower_'.length);
  }
  return at;
}

function networksOf(device: string): readonly string[] {
  return allInterfaces()
    .filter(([name, family]) => name === device && family === 4)
    .map(([, , address, netmask]) => networkOf(address, netmask));
}

/** '10.1.2.3', '255.255.255.0' -> '10.1.2.0/24'. */
export function networkOf(address: string, netmask: string): string {
  const mask = netmask.split('.').map(Number);
  const network = address.split('.').map((part, i) => Number(part) & (mask[i] ?? 255));
  const bits = mask.map((part) => part.toString(2).replaceAll('0', '').length);
  return `${network.join('.')}/${bits.reduce((sum, count) => sum + count, 0)}`;
}

async function hasProgram(root: string, resource: HaResource): Promise<boolean> {
  const { kind, script } = resource;
  if (kind === 'heartbeat') return (await findScript(root, script)) !== null;
  if (kind === 'systemd') {
    const unit = script.includes('.') ? script : `${script}.service`;
    const names = [unit, unit.replace(/@.*\./, '@.')];
    return UNIT_DIRS.some((dir) =>
      names.some((name) => existsSync(root + join(dir, name)) || existsSync(join(dir, name))),
    );
  }
  const [provider = '', type = ''] = script.split(':');
  for (const dir of [root, '']) {
    const path = join(`${dir}/usr/lib/ocf/resource.d`, provider, type);
    try {
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile()) return true;
    } catch {
      // not here
    }
  }
  return false;
}

/** What is enabled: links in *.wants and *.requires of systemd, and those of init scripts that have no unit. */
export function bootUnits(root: string): readonly BootUnit[] {
  const etc = `${root}/etc/systemd/system`;
  const units = entries(etc)
    .filter((name) => /\.(wants|requires)$/.test(name))
    .flatMap((dir) => entries(join(etc, dir)).map((name) => `${dir}/${name}`))
    .filter((path) => path.endsWith('.service'))
    .flatMap((path): BootUnit[] => {
      const unit = path.split('/').at(-1) ?? '';
      if (linkOf(join(etc, unit)) === '/dev/null') return []; // masked
      const file = `/etc/systemd/system/${path}`;
      return [{ name: unit.slice(0, -'.service'.length), file, text: textOfUnit(root, path) }];
    });
  const scripts = [2, 3, 4, 5]
    .flatMap((level) =>
      entries(`${root}/etc/rc${level}.d`).map((name) => `/etc/rc${level}.d/${name}`),
    )
    .filter((path) => /\/S\d\d[^/]+$/.test(path))
    .flatMap((file): BootUnit[] => {
      const name = file.replace(/.*\/S\d\d/, '');
      const hasUnit = UNIT_DIRS.some((dir) => linkOrFile(`${root}${dir}/${name}.service`));
      return hasUnit ? [] : [{ name, file, text: textOf(`${root}/etc/init.d/${name}`) }];
    });
  return [...new Map([...scripts.reverse(), ...units].map((unit) => [unit.name, unit])).values()];
}

function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function linkOrFile(path: string): boolean {
  return existsSync(path) || linkOf(path) !== null;
}

/** An administrator's own file goes before the one that the link names. */
function textOfUnit(root: string, path: string): string {
  const etc = `${root}/etc/systemd/system`;
  const own = textOf(join(etc, path.split('/').at(-1) ?? ''));
  const target = linkOf(join(etc, path)) ?? '';
  return own || textOf(root + target) || textOf(join(etc, path));
}
