/**
 * drbd-overview: one line per device, with where it is mounted and how full that is, and the bar of a resync below.
 *
 *       0:r0/0  Connected Primary/Secondary UpToDate/UpToDate C r----- /mnt ext4 5.0G 112M 4.6G 3%
 *       1:r1/0  SyncSource Primary/Secondary UpToDate/Inconsistent C r-----
 *     	[=>..................] sync'ed: 11.8% (929188/1048508)K
 *       2:r2/0  Unconfigured . .
 *
 * Source: outputs of drbd-utils 8.4 as people have published them; the program left drbd-utils with 9.6, so nothing here
 * can be compared with it. Unverified: column widths where states differ in length (only the names are padded here). Not
 * told: the uses by LVM, Xen and libvirt.
 */
import { readFileSync, realpathSync, statfsSync } from 'node:fs';
import { parseDrbdConf } from '../config/drbd-conf-parser.js';
import { localConf } from '../config/drbd-conf-resolve.js';
import { procText } from '../drbd/proc-text.js';
import type { NodeStatus, VolumeStatus } from '../drbd/status.js';
import { DEFAULT_CONF_FILES, localHost, NodeConfFiles } from './conf-files.js';
import { ask } from './drbdsetup-client.js';
import { rooted, type World } from './world.js';

export interface ConfiguredVolume {
  readonly resource: string;
  readonly volume: number;
  readonly minor: number;
}

/** Where a device is mounted. */
export interface Mount {
  readonly path: string;
  readonly type: string;
  readonly bytes: { readonly size: number; readonly used: number; readonly free: number } | null;
}

export async function main(argv: readonly string[], world: World): Promise<number> {
  if (argv.length > 0) {
    const isHelp = argv.length === 1 && (argv[0] === '-h' || argv[0] === '--help');
    const text =
      'usage: drbd-overview\nOne line per device of this node, and what it is used for.\n';
    if (isHelp) world.out(text);
    else world.err(text);
    return isHelp ? 0 : 1;
  }
  const answer = await ask(world, { verb: 'status' }, 'drbd-overview');
  if (!answer.ok) return answer.status;
  const mounts = mountsOf();
  const text = overviewText(answer.value as NodeStatus, configured(world), (v) => {
    const device = real(rooted(world.root, v.device));
    const mount = device === null ? undefined : mounts.get(device);
    return mount ? { ...mount, bytes: space(mount.path) } : null;
  });
  world.out(text);
  return 0;
}

export function overviewText(
  status: NodeStatus,
  conf: readonly ConfiguredVolume[],
  mountOf: (v: VolumeStatus) => Mount | null,
): string {
  const running = status.resources.flatMap((r) => r.volumes);
  const down = conf.filter((c) => !running.some((v) => v.minor === c.minor));
  const name = (v: ConfiguredVolume): string => `${v.resource}/${v.volume}`;
  const width = Math.max(...[...running, ...down].map((v) => name(v).length));
  const lines = [
    ...down.map((v) => ({ v, rest: ['Unconfigured . .'] })),
    ...running.map((v) => ({ v, rest: volumeLines(status, v, mountOf(v)) })),
  ].toSorted((a, b) => a.v.minor - b.v.minor);
  return lines
    .map(({ v, rest }) => {
      const start = `${String(v.minor).padStart(3)}:${name(v).padEnd(width)}  `;
      return `${start}${rest.join('\n')}\n`;
    })
    .join('');
}

/** States and flags as /proc/drbd has them, without the names of the columns; then its progress bar. */
function volumeLines(status: NodeStatus, v: VolumeStatus, mount: Mount | null): string[] {
  const one = { ...status, resources: [{ name: v.resource, connection: null, volumes: [v] }] };
  const proc = procText(one).split('\n');
  const state = /^ *\d+: (cs:.*)$/m.exec(proc.join('\n'))?.[1] ?? '';
  if (state === 'cs:Unconfigured') return ['Unconfigured . .'];
  const columns = state.split(/ +/).map((word) => word.replace(/^(cs|ro|ds):/, ''));
  const bar = proc.find((line) => line.startsWith('\t['));
  return [
    [...columns, ...(mount ? mountColumns(mount) : [])].join(' '),
    ...(bar === undefined ? [] : [bar]),
  ];
}

function mountColumns({ path, type, bytes }: Mount): string[] {
  if (!bytes) return [path, type];
  const { size, used, free } = bytes;
  const percent = used + free > 0 ? Math.ceil((used * 100) / (used + free)) : 0;
  return [path, type, ...[size, used, free].map(human), `${percent}%`];
}

/** As `df -h` rounds: up, with one decimal below ten. */
export function human(bytes: number): string {
  const units = ['', 'K', 'M', 'G', 'T', 'P', 'E'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit === 0) return `${value}`;
  const tenths = Math.ceil(value * 10) / 10;
  return `${tenths < 10 ? tenths.toFixed(1) : Math.ceil(value)}${units[unit]}`;
}

// ---- what this node has --------------------------------------------------------------------------------------------

/** drbd.conf's volumes of this host; none when it cannot be read: the overview is of what runs. */
function configured(world: World): ConfiguredVolume[] {
  const files = new NodeConfFiles(world.root);
  const path = DEFAULT_CONF_FILES.find((file) => files.read(file) !== null);
  const config = path === undefined ? null : parseDrbdConf(path, files).config;
  if (!config) return [];
  return localConf(config, localHost(world), null, 'for commands', 'script').resources.flatMap(
    (r) =>
      (r.me?.volumes ?? []).flatMap(({ vnr, minor }) =>
        minor === null ? [] : [{ resource: r.conf.name, volume: vnr, minor }],
      ),
  );
}

function real(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/** By the device's real path. The first mount of a device counts. */
function mountsOf(): ReadonlyMap<string, Omit<Mount, 'bytes'>> {
  const mounts = new Map<string, Omit<Mount, 'bytes'>>();
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [source = '', path = '', type = ''] = line.split(' ').map(unescaped);
    const device = source.startsWith('/') ? real(source) : null;
    if (device === null || mounts.has(device)) continue;
    mounts.set(device, { path, type });
  }
  return mounts;
}

/** \040 and the like. */
function unescaped(word: string): string {
  return word.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function space(path: string): Mount['bytes'] {
  try {
    const { bsize, blocks, bfree, bavail } = statfsSync(path);
    return { size: blocks * bsize, used: (blocks - bfree) * bsize, free: bavail * bsize };
  } catch {
    return null;
  }
}
