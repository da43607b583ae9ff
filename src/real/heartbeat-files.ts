/**
 * Where heartbeat keeps what it keeps (host/heartbeat-state.ts says what): its generation and UUID in /var/lib/heartbeat,
 * synced before they are used; its pid file; the state file in /run/twinbeat, which does not survive a boot.
 */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { GENERATION_FILE, UUID_FILE } from '../heartbeat/identity.js';
import type { LivesFile, LivesFiles } from '../host/heartbeat-ports.js';
import { RunFile, readRunFile } from './run-file.js';

export const PID_FILE = '/run/heartbeat.pid';
const STATE_FILE = '/run/twinbeat/heartbeat.state';

function readOrNull(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw e;
  }
}

/** Written aside, synced and renamed: after a crash there is the old content or the new. */
function writeDurably(path: string, content: Uint8Array, mode: number): void {
  mkdirSync(dirname(path), { recursive: true });
  const aside = `${path}.new`;
  const fd = openSync(aside, 'w', mode);
  try {
    writeSync(fd, content);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(aside, path);
  const dir = openSync(dirname(path), 'r');
  try {
    fsyncSync(dir);
  } finally {
    closeSync(dir);
  }
}

const PATHS: Readonly<Record<LivesFile, string>> = {
  generation: GENERATION_FILE,
  uuid: UUID_FILE,
  state: STATE_FILE,
};

/**
 * The directory in which scripts keep what they remember: anybody's, and empty. Not so after a daemon that was killed: what
 * it left running is stopped by scripts that look there.
 */
export function makeRsctmp(root: string): void {
  const dir = `${root}/run/heartbeat/rsctmp`;
  if (readRunFile(root + STATE_FILE) === null) rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  chmodSync(dir, 0o1777);
}

export function livesFiles(root: string): LivesFiles {
  const state = new RunFile(root + PATHS.state);
  return {
    read(file) {
      if (file === 'state') return readRunFile(root + PATHS.state);
      const content = readOrNull(root + PATHS[file]);
      return content && new Uint8Array(content);
    },
    write(file, content) {
      if (file === 'state') state.write(content);
      else writeDurably(root + PATHS[file], content, 0o644);
    },
    remove(file) {
      if (file === 'state') {
        state.remove();
        return;
      }
      try {
        unlinkSync(root + PATHS[file]);
      } catch (e) {
        if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
      }
    },
  };
}

/** When the kernel started that process (clock ticks since boot), so that a reused pid is not mistaken. */
export function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

/** The heartbeat daemon (ours or the original) that the pid file names: running, dead, or no pid file. */
export function daemonPid(root: string): { pid: number; running: boolean } | null {
  const text =
    readOrNull(root + PID_FILE)
      ?.toString('latin1')
      .trim() ?? '';
  if (!/^\d+$/.test(text)) return null;
  const pid = Number(text);
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    return { pid, running: command.includes('heartbeat') };
  } catch {
    return { pid, running: false };
  }
}

export function writePidFile(root: string): void {
  mkdirSync(dirname(root + PID_FILE), { recursive: true });
  writeFileSync(root + PID_FILE, `${String(process.pid).padStart(10)}\n`, { mode: 0o644 });
}

export function removePidFile(root: string): void {
  if (daemonPid(root)?.pid === process.pid) unlinkSync(root + PID_FILE);
}

/** CLOCK_MONOTONIC, shared by all processes of a boot. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
