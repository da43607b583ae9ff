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
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { GENERATION_FILE, UUID_FILE } from '../heartbeat/identity.js';
import type { LivesFile, LivesFiles } from '../host/heartbeat-ports.js';
import { RunFile, readRunFile } from './run-file.js';
import { within } from './within.js';

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
  readonly #answers: Promise<unknown> | undefined; // whether the disk does
  #next: Uint8Array | null = null; // only the newest is worth writing
  #busy = false;

  constructor(path: string, failed: (text: string) => void, answers: Promise<unknown> | undefined) {
    this.#path = path;
    this.#failed = failed;
    this.#answers = answers;
  }

  write(content: Uint8Array): void {
    this.#next = content.slice();
    if (!this.#busy) void this.#run();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    await this.#answers;
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

/** What is read of /var/lib/twinbeat at a start. It may hang, and a node starts without it, too. */
export interface KeptFiles {
  readonly peers: Uint8Array | null;
  readonly standing: Uint8Array | null;
  /** The disk answers: nothing is written before that, since each call that hangs has one of Node's few threads. */
  readonly answers: Promise<unknown>;
}

/** A standing that cannot be read is no permission: damaged. */
const DAMAGED = new Uint8Array();
const NONE = { peers: null, standing: null };

async function readKeptFile(
  path: string,
  unreadable: Uint8Array | null,
  failed: (text: string) => void,
): Promise<Uint8Array | null> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    failed(`cannot read ${path}: ${(e as Error).message}`);
    return unreadable;
  }
}

/** For a daemon that starts: what does not answer within the time is not known. */
export async function readKept(
  root: string,
  limitMs: number,
  failed: (text: string) => void,
): Promise<KeptFiles> {
  let found: Omit<KeptFiles, 'answers'> = NONE;
  const read = async (): Promise<void> => {
    const peers = await readKeptFile(root + PEERS_FILE, null, failed);
    const standing = await readKeptFile(root + STANDING_FILE, DAMAGED, failed);
    found = { peers, standing };
  };
  const answers = read();
  if (!(await within(limitMs, answers))) {
    failed(
      `${dirname(PEERS_FILE)} does not answer: the standing of this node and the generations of others are not known`,
    );
  }
  return { ...found, answers };
}

function readKeptNow(
  path: string,
  unreadable: Uint8Array | null,
  failed: (text: string) => void,
): Uint8Array | null {
  try {
    const content = readOrNull(path);
    return content && new Uint8Array(content);
  } catch (e) {
    failed(`cannot read ${path}: ${(e as Error).message}`);
    return unreadable;
  }
}

/** `failed`: what is kept could not be read or written. `kept`: as it was read for a daemon; without it they are read when they are asked for. */
export function livesFiles(
  root: string,
  failed: (text: string) => void = () => undefined,
  kept: KeptFiles | null = null,
): LivesFiles {
  const state = new RunFile(root + PATHS.state);
  const peers = new AsideFile(root + PATHS.peers, failed, kept?.answers);
  return {
    read(file) {
      if (file === 'state') return readRunFile(root + PATHS.state);
      if (file === 'peers') {
        return kept ? kept.peers : readKeptNow(root + PATHS.peers, null, failed);
      }
      if (file === 'standing') {
        return kept ? kept.standing : readKeptNow(root + PATHS.standing, DAMAGED, failed);
      }
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
