/**
 * Programs that heartbeat runs beside the resource scripts: drbdadm for dopd, and what takes the machine down. A file system
 * that hangs holds up them, and not the node.
 */
import { DRBDADM_LIMIT_MS } from '../host/dopd.js';
import type { RebootWay } from '../host/heartbeat-ports.js';
import { NOT_RUN, spawnAside } from './spawn-aside.js';

/** `ended` gets the exit status, or null: it did not end by itself, or could not be run (`failed` says why). */
export function runDrbdadmOutdate(
  resource: string,
  failed: (text: string) => void,
  ended: (status: number | null) => void,
): void {
  const child = spawnAside('drbdadm', ['outdate', resource], { stdio: 'ignore', cwd: '/' });
  const timer = setTimeout(() => child.kill('SIGKILL'), DRBDADM_LIMIT_MS);
  let isOver = false;
  const finish = (status: number | null) => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    ended(status);
  };
  child.on('error', (e) => {
    failed(`cannot run drbdadm: ${e.message}`);
    finish(null);
  });
  child.on('exit', (status) => {
    // drbdadm itself never ends so.
    const isMissing = status !== null && NOT_RUN.has(status);
    if (isMissing) failed('cannot run drbdadm: is it there, and executable?');
    finish(isMissing ? null : status);
  });
}

export function runReboot(way: RebootWay, ended: (worked: boolean) => void): void {
  const child = spawnAside(way.program, way.args, { stdio: 'ignore' });
  let isOver = false;
  const finish = (worked: boolean) => {
    if (!isOver) ended(worked);
    isOver = true;
  };
  child.on('error', () => finish(false));
  child.on('exit', (status) => finish(status === 0));
}
