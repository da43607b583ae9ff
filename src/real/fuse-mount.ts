/**
 * Mounting a /dev/fuse descriptor on a regular file, and getting rid of such a mount. The port is FuseMounts; the addon
 * does it with one system call, `mountByProgram` with mount(8) where there is no addon.
 *
 * The root inode is then the file itself: no directory, no lookups. mount(2) returns at once; INIT waits in the
 * queue until somebody serves the descriptor, and every stat of the file waits with it.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { IoError } from '../host/io-error.js';
import { loadAddon, mountFuse, unmount } from './native-addon.js';

export interface FuseMounts {
  mount(descriptor: number, file: string, source: string): Promise<void>;
  /** Lazy: users of the mount keep it until they are done. */
  unmount(file: string): Promise<void>;
}

export class MountError extends Error {
  override name = 'MountError';
  readonly code = 'MOUNT';
}

/** By the addon: one system call, and no other process holds the descriptor meanwhile. */
const mountByAddon: FuseMounts = {
  mount: async (descriptor, file, source) => mountFuse(descriptor, file, source),
  unmount: async (file) => unmount(file, { lazy: true }),
};

/** What can be had here. */
export function fuseMounts(): FuseMounts {
  return loadAddon() instanceof IoError ? mountByProgram : mountByAddon;
}

const OPTIONS = 'rootmode=100000,user_id=0,group_id=0,allow_other,nosuid,nodev';

export const mountByProgram: FuseMounts = {
  // -i: no mount.fuse helper, which would open a descriptor of its own; -n: nothing is written to mtab.
  mount: (descriptor, file, source) =>
    run(
      'mount',
      ['-i', '-n', '-t', 'fuse', '-o', `fd=3,${OPTIONS}`, source, file],
      `mount of the FUSE file ${file}`,
      descriptor,
    ),
  // -c: the path is not resolved first, which would ask our own server.
  unmount: (file) => run('umount', ['-i', '-n', '-c', '-l', file], `umount of ${file}`, null),
};

/** The FUSE mounts of this mount namespace at or below `directory`. */
export function fuseMountsBelow(directory: string): string[] {
  const found: string[] = [];
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const mountPoint = before.split(' ')[4] ?? '';
    const type = after.split(' ')[0] ?? '';
    if (type.startsWith('fuse') && mountPoint.startsWith(`${directory}/`)) found.push(mountPoint);
  }
  return found;
}

function run(
  program: string,
  args: readonly string[],
  what: string,
  descriptor: number | null,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe', descriptor === null ? 'ignore' : descriptor],
    });
    let text = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.on('error', (error) => reject(new MountError(`${what}: ${error.message}`)));
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new MountError(`${what}: ${text.trim() || `exit status ${code}`}`));
    });
  });
}
