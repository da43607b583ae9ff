/**
 * Loop devices, which all nodes of a machine share: /dev/loopN numbers and `losetup -a` know no namespaces. A loop is known by
 * the device and inode of its file, never by the file's name, which both nodes have in common (docs/DEMO.md).
 */
import { closeSync, constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { must, run, waitUntil } from './pair-run.js';

export interface Loop {
  readonly device: string; // '/dev/loop3'
  readonly minor: number;
  readonly backDevice: string; // 'MAJOR:MINOR' of the file system of its file
  readonly backInode: string;
  readonly backFile: string; // as it was called when the loop was set up
}

export async function loops(): Promise<Loop[]> {
  const text = await must([
    ...['losetup', '--list', '--json', '--output'],
    'NAME,MAJ:MIN,BACK-MAJ:MIN,BACK-INO,BACK-FILE',
  ]);
  if (text.trim() === '') return [];
  const parsed: unknown = JSON.parse(text);
  const rows = (parsed as { loopdevices?: Record<string, unknown>[] }).loopdevices ?? [];
  return rows.map((row) => ({
    device: String(row['name']),
    minor: Number(String(row['maj:min']).split(':')[1]),
    backDevice: String(row['back-maj:min']).replaceAll(' ', ''),
    backInode: String(row['back-ino']),
    backFile: String(row['back-file']),
  }));
}

/** A loop device with direct I/O on a file, to be a node's lower disk. */
export async function attachLoop(file: string): Promise<{ device: string; minor: number }> {
  // Another process may take the free number first: losetup tries again by itself, but gives up early.
  let device = '';
  for (let attempt = 0; device === ''; attempt++) {
    const ran = await run(['losetup', '--find', '--show', '--direct-io=on', file]);
    if (ran.status === 0) device = ran.stdout.trim();
    else if (attempt === 5) throw new Error(`no loop device for ${file}: ${ran.stderr}`);
  }
  return { device, minor: Number(device.replace(/^\D+/, '')) };
}

/** Detach, and wait until it is really gone (a loop that is open goes at its last close). */
export async function detachLoop(loop: Pick<Loop, 'device' | 'backInode'>): Promise<void> {
  const current = async (): Promise<boolean> =>
    (await loops()).some((l) => l.device === loop.device && l.backInode === loop.backInode);
  let ran = { status: 0, stdout: '', stderr: '' };
  const gone = await waitUntil(async () => {
    if (!(await current())) return true;
    ran = await run(['losetup', '-d', loop.device], { timeoutMs: 30_000 });
    return !(await current());
  }, 30_000);
  if (!gone) throw new Error(`${loop.device} cannot be detached: ${ran.stderr}`);
}

/** True when nobody holds the device exclusively any more (a killed daemon's ring is closed a little later). */
export function isFree(device: string): boolean {
  try {
    closeSync(openSync(device, constants.O_RDWR | constants.O_EXCL));
    return true;
  } catch {
    return false;
  }
}

/** 'MAJOR:MINOR' of every FUSE mount that the process sees. */
export function fuseMounts(pid: number | 'self'): Set<string> {
  const found = new Set<string>();
  let text = '';
  try {
    text = readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  } catch {
    return found; // gone
  }
  for (const line of text.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const kind = after.split(' ')[0] ?? '';
    if (kind === 'fuse' || kind.startsWith('fuse.')) found.add(before.split(' ')[2] ?? '');
  }
  return found;
}

/** Loops on FUSE files of twinbeat that no process has mounted any more: their daemon and its mounts are dead. */
export async function orphanedLoops(): Promise<Loop[]> {
  const candidates = (await loops()).filter(
    (l) => l.backDevice.startsWith('0:') && l.backFile.includes('/twinbeat/'),
  );
  if (candidates.length === 0) return [];
  const mounted = new Set<string>();
  for (const pid of readdirSync('/proc')) {
    if (/^\d+$/.test(pid)) for (const device of fuseMounts(Number(pid))) mounted.add(device);
  }
  return candidates.filter((l) => !mounted.has(l.backDevice));
}
