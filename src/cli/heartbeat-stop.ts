/**
 * `heartbeat -k`: an orderly end, waited for. Where there is an angel it is the one that is told: a daemon that dies while it
 * stops is started again by it, and told again, until everything is released.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { daemonPid, livesFiles } from '../real/heartbeat-files.js';
import type { World } from './world.js';

/** Written and locked by the angel. */
export const ANGEL_PID_FILE = '/run/twinbeat/heartbeat-angel.pid';
/** What the angel is called in its log, and on its command line. */
export const ANGEL_NAME = 'heartbeat angel';
const POLL_MS = 100;

/** The angel's process, null when none lives: its file stays. */
function angelPid(root: string): number | null {
  try {
    const text = readFileSync(root + ANGEL_PID_FILE, 'latin1').trim();
    if (!/^[1-9]\d*$/.test(text)) return null;
    const words = readFileSync(`/proc/${text}/cmdline`, 'latin1').split('\0');
    return words.includes(ANGEL_NAME) ? Number(text) : null;
  } catch {
    return null;
  }
}

function terminate(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'ESRCH') throw e; // it has just ended
  }
}

/** The exit status: 0 stopped, or there was nothing to stop; 1 it died before it had released everything. */
export async function stopHeartbeat(world: World): Promise<number> {
  const angel = angelPid(world.root);
  if (angel !== null) {
    terminate(angel);
    while (angelPid(world.root) === angel) await pause(POLL_MS);
  }
  const daemon = daemonPid(world.root);
  if (daemon?.running) {
    terminate(daemon.pid);
    for (;;) {
      const now = daemonPid(world.root);
      if (!now?.running || now.pid !== daemon.pid) break;
      await pause(POLL_MS);
    }
  } else if (angel === null) {
    world.out('INFO: Heartbeat already stopped.\n');
    return 0;
  }
  if (livesFiles(world.root).read('state') === null) return 0;
  world.err('heartbeat: it died before it had released everything: start it again\n');
  return 1;
}
