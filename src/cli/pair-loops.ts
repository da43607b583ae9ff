/**
 * Loop devices, which all nodes of a machine share: their numbers know no namespaces.
 *
 * Only sysfs is asked. `losetup --list` asks each loop for the inode of its file, and a loop on a FUSE file whose daemon is
 * being restarted answers when the daemon is back: every harness on the machine would wait for somebody else's daemon.
 * sysfs tells the file's name without asking the file: '/' for a FUSE file whose mount is gone everywhere.
 */
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { run, waitUntil } from './pair-run.js';

const LOOP_MAJOR = 7;
/** How sysfs calls a FUSE file (a mount of its own) that is mounted nowhere any more. */
const MOUNTED_NOWHERE = '/';

export interface Loop {
  readonly device: string; // '/dev/loop3'
  readonly backFile: string; // as sysfs calls it
}

/** What sysfs says of a loop device; '' when it is not bound. */
export function backFileOf(device: string): string {
  try {
    const name = device.slice('/dev/'.length);
    return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim();
  } catch {
    return '';
  }
}

export function loops(): Loop[] {
  return readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .map((name) => ({ device: `/dev/${name}`, backFile: backFileOf(`/dev/${name}`) }))
    .filter((loop) => loop.backFile !== '');
}

/** A loop device with direct I/O on a file, to be a node's lower disk. */
export async function attachLoop(file: string): Promise<{ device: string; minor: number }> {
  // Another process may take the free number first: losetup tries again by itself, but gives up early.
  for (let attempt = 0; ; attempt++) {
    const ran = await run(['losetup', '--find', '--show', '--direct-io=on', file]);
    const device = ran.stdout.trim();
    if (ran.status === 0) return { device, minor: Number(device.replace(/^\D+/, '')) };
    if (attempt === 5) throw new Error(`no loop device for ${file}: ${ran.stderr}`);
  }
}

/** Detach, and wait until it is really gone (a loop that is open goes at its last close). */
export async function detachLoop(loop: Loop): Promise<void> {
  let said = '';
  const gone = await waitUntil(async () => {
    // Its name changes when its mount goes; any other name is somebody else's new loop.
    const now = backFileOf(loop.device);
    if (now !== loop.backFile && now !== MOUNTED_NOWHERE) return true;
    const ran = await run(['losetup', '-d', loop.device], { timeoutMs: 30_000 });
    said = ran.stderr;
    return backFileOf(loop.device) === '';
  }, 30_000);
  if (!gone) throw new Error(`${loop.device} (${loop.backFile}) cannot be detached: ${said}`);
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

/**
 * The loop devices that a node uses: what its /dev/drbd* point at, what it has mounted, what its processes have open. `first` is the
 * first process of its pid namespace.
 */
export function loopsOf(first: number): Loop[] {
  const minors = new Set<number>();
  const note = (path: string): void => {
    const minor = /^\/dev\/loop(\d+)$/.exec(path)?.[1];
    if (minor !== undefined) minors.add(Number(minor));
  };
  for (const name of list(`/proc/${first}/root/dev`)) {
    if (name.startsWith('drbd')) note(target(`/proc/${first}/root/dev/${name}`));
  }
  for (const line of text(`/proc/${first}/mountinfo`).split('\n')) {
    const [major, minor] = (line.split(' ')[2] ?? '').split(':').map(Number);
    if (major === LOOP_MAJOR && minor !== undefined) minors.add(minor);
  }
  // By namespace, not by descent: what nsenter started is nsenter's child.
  const home = target(`/proc/${first}/ns/pid`);
  for (const pid of list('/proc')) {
    if (!/^\d+$/.test(pid) || target(`/proc/${pid}/ns/pid`) !== home) continue;
    for (const fd of list(`/proc/${pid}/fd`)) note(target(`/proc/${pid}/fd/${fd}`));
  }
  return [...minors]
    .map((minor) => `/dev/loop${minor}`)
    .map((device) => ({ device, backFile: backFileOf(device) }))
    .filter((loop) => loop.backFile !== '');
}

/** Loops on FUSE files that are mounted nowhere and whose daemon is dead: a read fails at once. */
export async function orphanedLoops(): Promise<Loop[]> {
  const orphans: Loop[] = [];
  for (const loop of loops()) {
    if (loop.backFile !== MOUNTED_NOWHERE) continue;
    const read = ['dd', `if=${loop.device}`, 'of=/dev/null', 'bs=4096', 'count=1', 'iflag=direct'];
    const ran = await run(read, { timeoutMs: 2_000 });
    if (ran.status === 1) orphans.push(loop); // not 137: somebody may still answer
  }
  return orphans;
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return []; // gone
  }
}
function target(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
