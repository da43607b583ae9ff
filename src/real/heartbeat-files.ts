/**
 * What heartbeat keeps on disk: its generation and UUID (/var/lib/heartbeat, as the original writes them, synced before
 * they are used), its pid file, and the state file of /run/twinbeat.
 *
 * The state file tells a successor of a killed daemon what still runs here: what was claimed, when the last keepalive
 * went out (CLOCK_MONOTONIC, shared by all processes of a boot; /run does not survive one), and the script that was
 * running. It is removed when a daemon ends in good order.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import {
  formatGeneration,
  GENERATION_FILE,
  nextGeneration,
  UUID_BYTES,
  UUID_FILE,
} from '../heartbeat/identity.js';
import { type Hold, parseHold } from '../resource-manager/hold.js';
import { nodeRandom } from './node-ports.js';

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
function writeDurably(path: string, content: string | Uint8Array, mode: number): void {
  mkdirSync(dirname(path), { recursive: true });
  const aside = `${path}.new`;
  const fd = openSync(aside, 'w', mode);
  try {
    if (typeof content === 'string') writeSync(fd, content);
    else writeSync(fd, content);
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

/** The generation of this start, already on disk. `isFirst`: there was no usable file. */
export function takeGeneration(root: string): { generation: number; isFirst: boolean } {
  const path = root + GENERATION_FILE;
  const text = readOrNull(path)?.toString('latin1') ?? null;
  const wallSeconds = Math.floor(Date.now() / 1000);
  const generation = nextGeneration(text, wallSeconds);
  writeDurably(path, formatGeneration(generation), 0o644);
  return { generation, isFirst: text === null };
}

export function takeUuid(root: string): { uuid: Uint8Array; isFirst: boolean } {
  const path = root + UUID_FILE;
  const stored = readOrNull(path);
  if (stored && stored.length >= UUID_BYTES) {
    return { uuid: new Uint8Array(stored.subarray(0, UUID_BYTES)), isFirst: false };
  }
  const uuid = nodeRandom.bytes(UUID_BYTES);
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x40; // version 4, RFC 4122
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  writeDurably(path, uuid, 0o644);
  return { uuid, isFirst: true };
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

export interface SavedState {
  readonly hold: Hold;
  readonly aliveMs: number; // monotonic time of the last keepalive
  readonly script: { readonly pid: number; readonly start: string } | null;
}

export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

export function saveState(root: string, state: SavedState): void {
  const path = root + STATE_FILE;
  if (!existsSync(dirname(path))) mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function loadState(root: string): SavedState | null {
  const text = readOrNull(root + STATE_FILE)?.toString('utf8');
  if (text === undefined) return null;
  try {
    const { hold, aliveMs, script } = JSON.parse(text) as Record<string, unknown>;
    const known = parseHold(typeof hold === 'string' ? hold : null);
    if (!known || typeof aliveMs !== 'number') throw new Error('fields');
    return { hold: known, aliveMs, script: script as SavedState['script'] };
  } catch {
    return { hold: 'all', aliveMs: 0, script: null }; // damaged: take the worst for granted
  }
}

export function removeState(root: string): void {
  try {
    unlinkSync(root + STATE_FILE);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
  }
}
