/**
 * Where heartbeat keeps what it keeps (host/heartbeat-state.ts says what): its generation and UUID in /var/lib/heartbeat,
 * synced before they are used; its pid file; the state file in /run/twinbeat, which does not survive a boot; what it knows of other nodes in /var/lib/twinbeat.
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
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { GENERATION_FILE, UUID_FILE } from '../heartbeat/identity.js';
import type { LivesFile, LivesFiles } from '../host/heartbeat-ports.js';
import { RunFile, readRunFile } from './run-file.js';

export const PID_FILE = '/run/heartbeat.pid';
const STATE_FILE = '/run/twinbeat/heartbeat.state';
export const PEERS_FILE = '/var/lib/twinbeat/heartbeat.peers';
export const STANDING_FILE = '/var/lib/twinbeat/heartbeat.standing';

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

/** The same by calls that nobody waits for: it is written while services run, and the disk may hang. */
class AsideFile {
  readonly #path: string;
  readonly #failed: (text: string) => void;
  #next: Uint8Array | null = null; // only the newest is worth writing
  #busy = false;

  constructor(path: string, failed: (text: string) => void) {
    this.#path = path;
    this.#failed = failed;
  }

  write(content: Uint8Array): void {
    this.#next = content.slice();
    if (!this.#busy) void this.#run();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    while (this.#next !== null) {
      const content = this.#next;
      this.#next = null;
      try {
        await this.#replace(content);
      } catch (e) {
        this.#failed(`cannot write ${this.#path}: ${(e as Error).message}`);
      }
    }
    this.#busy = false;
  }

  async #replace(content: Uint8Array): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true });
    const aside = `${this.#path}.new`;
    const file = await open(aside, 'w', 0o644);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, this.#path);
    const dir = await open(dirname(this.#path), 'r');
    try {
      await dir.sync();
    } finally {
      await dir.close();
    }
  }
}

const PATHS: Readonly<Record<LivesFile, string>> = {
  generation: GENERATION_FILE,
  uuid: UUID_FILE,
  peers: PEERS_FILE,
  standing: STANDING_FILE,
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

/** A node starts without it, too. */
function readPeers(path: string, failed: (text: string) => void): Uint8Array | null {
  try {
    const content = readOrNull(path);
    return content && new Uint8Array(content);
  } catch (e) {
    failed(`cannot read ${path}: ${(e as Error).message}`);
    return null;
  }
}

/** `failed`: what is known of other nodes could not be read or written. */
export function livesFiles(
  root: string,
  failed: (text: string) => void = () => undefined,
): LivesFiles {
  const state = new RunFile(root + PATHS.state);
  const peers = new AsideFile(root + PATHS.peers, failed);
  return {
    read(file) {
      if (file === 'state') return readRunFile(root + PATHS.state);
      if (file === 'peers') return readPeers(root + PATHS.peers, failed);
      const content = readOrNull(root + PATHS[file]);
      return content && new Uint8Array(content);
    },
    write(file, content) {
      if (file === 'state') state.write(content);
      else if (file === 'peers') peers.write(content);
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
