/**
 * A mount namespace for file systems on the devices of a test. Without it, any `unshare --mount` elsewhere on the machine
 * (another test, a container) takes a copy of the mount along, and the device stays in use after the umount.
 */
import { spawn } from 'node:child_process';
import type { ExecutionContext } from 'ava';

/** What to put before a command so that it runs there. Ends, with all its mounts, at teardown. */
export async function mountNamespace(t: ExecutionContext): Promise<readonly [string, ...string[]]> {
  const args = ['--mount', '--propagation', 'private', 'sh', '-c', 'echo ready; read line'];
  const holder = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'ignore'] });
  const closed = new Promise<void>((resolve) => holder.once('close', () => resolve()));
  t.teardown(async () => {
    holder.kill('SIGKILL');
    await closed;
  });
  await new Promise<void>((resolve, reject) => {
    holder.stdout.once('data', () => resolve());
    holder.once('error', reject);
  });
  return ['nsenter', '-t', String(holder.pid), '-m', '--'];
}
