/**
 * Who has a block device or file open or mounted: the evidence for "held open by". Read from /proc of all processes
 * that this one may see (all of them for root, also in other mount namespaces) and from /sys.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';

export type Holder =
  | { readonly kind: 'process'; readonly pid: number; readonly name: string }
  /** `pid` and `name`: one process of the mount namespace. */
  | {
      readonly kind: 'mount';
      readonly mountPoint: string;
      readonly pid: number;
      readonly name: string;
    }
  | { readonly kind: 'swap' }
  /** Another block device is built on it (device-mapper, md). */
  | { readonly kind: 'device'; readonly name: string };

/** Holders of the device or file at `path`, which is no link. This process is left out. */
export function findHolders(path: string): Holder[] {
  const target = statSync(path);
  const isBlock = target.isBlockDevice();
  const major = Math.floor(target.rdev / 256) & 0xfff;
  const minor = (target.rdev & 0xff) | (Math.floor(target.rdev / 4096) & 0xfff00);
  const holders: Holder[] = [];
  const mountNamespaces = new Set<string>();
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const name = commandName(pid);
    const open = descriptors(pid).some((fd) => {
      // Only what has the right name is looked at: stat of a file on a FUSE or NFS whose server hangs would hang too.
      const link = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`));
      if (link === null) return false;
      if (!isBlock) return link === path && sameMountNamespace(pid);
      if (basename(link) !== basename(path)) return false;
      const found = attempt(() => statSync(`/proc/${pid}/fd/${fd}`));
      return found?.isBlockDevice() === true && found.rdev === target.rdev;
    });
    if (open) holders.push({ kind: 'process', pid, name });
    if (!isBlock) continue;
    const namespace = attempt(() => String(statSync(`/proc/${pid}/ns/mnt`).ino));
    if (namespace === null || mountNamespaces.has(namespace)) continue;
    mountNamespaces.add(namespace);
    for (const mountPoint of mountPoints(pid, `${major}:${minor}`)) {
      holders.push({ kind: 'mount', mountPoint, pid, name });
    }
  }
  if (isBlock) holders.push(...kernelHolders(path, `${major}:${minor}`));
  return holders;
}

/** One line for a person: `mounted on /srv (mysqld, pid 12)`. */
export function describeHolder(holder: Holder): string {
  switch (holder.kind) {
    case 'process':
      return `open in ${holder.name} (pid ${holder.pid})`;
    case 'mount':
      return `mounted on ${holder.mountPoint} (seen by ${holder.name}, pid ${holder.pid})`;
    case 'swap':
      return 'used as swap space';
    case 'device':
      return `used by the block device ${holder.name}`;
  }
}

/** Mount points of the device in the text of a mountinfo file. Octal escapes are undone. */
export function mountPointsOf(mountinfo: string, device: string): string[] {
  const found = new Set<string>();
  for (const line of mountinfo.split('\n')) {
    const [, , majorMinor, , mountPoint] = line.split(' ');
    if (majorMinor !== device || mountPoint === undefined) continue;
    found.add(
      mountPoint.replace(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    );
  }
  return [...found];
}

function mountPoints(pid: number, device: string): string[] {
  const text = attempt(() => readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  return text === null ? [] : mountPointsOf(text, device);
}

function kernelHolders(path: string, device: string): Holder[] {
  const holders: Holder[] = [];
  const above = attempt(() => readdirSync(`/sys/dev/block/${device}/holders`)) ?? [];
  for (const name of above) holders.push({ kind: 'device', name });
  const swaps = attempt(() => readFileSync('/proc/swaps', 'utf8')) ?? '';
  const rdev = statSync(path).rdev;
  for (const line of swaps.split('\n').slice(1)) {
    const file = line.split(/\s/)[0];
    if (file && attempt(() => statSync(file))?.rdev === rdev) holders.push({ kind: 'swap' });
  }
  return holders;
}

function sameMountNamespace(pid: number): boolean {
  const ours = attempt(() => readlinkSync('/proc/self/ns/mnt'));
  return ours === attempt(() => readlinkSync(`/proc/${pid}/ns/mnt`));
}

function commandName(pid: number): string {
  return attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) ?? '?';
}

function descriptors(pid: number): string[] {
  return attempt(() => readdirSync(`/proc/${pid}/fd`)) ?? [];
}

/** Processes come and go while we look. */
function attempt<T>(look: () => T): T | null {
  try {
    return look();
  } catch {
    return null;
  }
}
