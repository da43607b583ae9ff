/**
 * What heartbeat keeps in files, as content: its generation and UUID (as the original writes them), and its state.
 *
 * `peers` has the generation of the other node that was heard last, `NODE GENERATION` a line: what it sent in an older life is not
 * believed after a restart of ours either.
 *
 * The state file tells a successor of a killed daemon what still runs here: what was claimed, when the last keepalive
 * went out, and the script that was running. It is removed when a daemon ends in good order. /run does not survive a
 * boot, so neither does the claim.
 */
import type { RandomSource } from '../base/ports.js';
import { formatGeneration, nextGeneration, UUID_BYTES } from '../heartbeat/identity.js';
import { type Hold, parseHold } from '../resource-manager/hold.js';
import { parseStanding, type Standing } from '../resource-manager/standing.js';
import { latin1Bytes, latin1Text } from '../wire/hamsg.js';
import type { LivesFiles, ScriptProcess } from './heartbeat-ports.js';

export interface SavedState {
  readonly hold: Hold;
  readonly aliveMs: number; // monotonic time of the last keepalive
  readonly script: ScriptProcess | null;
  /** Until when what is claimed may run, by the proof and the lease (resource-manager/lease.ts); null: no arbiter is asked. */
  readonly serveUntilMs: number | null;
}

/** The generation of this start, already on disk. `isFirst`: there was no file. */
export function takeGeneration(
  files: LivesFiles,
  wallMs: number,
): { readonly generation: number; readonly isFirst: boolean } {
  const content = files.read('generation');
  const text = content && latin1Text(content);
  const generation = nextGeneration(text, Math.floor(wallMs / 1000));
  files.write('generation', latin1Bytes(formatGeneration(generation)), true);
  return { generation, isFirst: text === null };
}

export function takeUuid(
  files: LivesFiles,
  random: RandomSource,
): { readonly uuid: Uint8Array; readonly isFirst: boolean } {
  const stored = files.read('uuid');
  if (stored && stored.length >= UUID_BYTES) {
    return { uuid: stored.slice(0, UUID_BYTES), isFirst: false };
  }
  const uuid = random.bytes(UUID_BYTES);
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x40; // version 4, RFC 4122
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  files.write('uuid', uuid, true);
  return { uuid, isFirst: true };
}

/** Generations of other nodes that were heard, by name. Null: the file is damaged. */
export function loadPeers(files: LivesFiles): Map<string, number> | null {
  const peers = new Map<string, number>();
  const content = files.read('peers');
  for (const line of content ? latin1Text(content).trim().split('\n') : []) {
    const [, node, generation] = /^(\S+) (\d{1,15})$/.exec(line) ?? [];
    if (node === undefined) return null;
    peers.set(node, Number(generation));
  }
  return peers;
}

export function savePeers(files: LivesFiles, peers: ReadonlyMap<string, number>): void {
  const lines = [...peers].map(([node, generation]) => `${node} ${generation}\n`);
  files.write('peers', latin1Bytes(lines.join('')), true);
}

/** What an operator has not ended yet, whatever happened to the machine. */
export function loadStanding(files: LivesFiles): Standing {
  const content = files.read('standing');
  return parseStanding(content && new TextDecoder().decode(content));
}

export function saveState(files: LivesFiles, state: SavedState): void {
  const { hold, script, serveUntilMs } = state;
  const aliveMs = Math.floor(state.aliveMs);
  // JSON has no -Infinity: long ago.
  const until =
    serveUntilMs === null ? {} : { serveUntilMs: Math.max(0, Math.floor(serveUntilMs)) };
  const text = JSON.stringify({ hold, aliveMs, script, ...until });
  files.write('state', latin1Bytes(`${text}\n`), false);
}

/** Null: the last daemon ended in good order, or there was none since the machine booted. */
export function loadState(files: LivesFiles): SavedState | null {
  const content = files.read('state');
  if (!content) return null;
  try {
    const text = new TextDecoder().decode(content);
    const { hold, aliveMs, script, serveUntilMs } = JSON.parse(text) as Record<string, unknown>;
    const known = parseHold(typeof hold === 'string' ? hold : null);
    if (!known || typeof aliveMs !== 'number') throw new Error('fields');
    const until = typeof serveUntilMs === 'number' ? serveUntilMs : null;
    return { hold: known, aliveMs, script: parseScript(script), serveUntilMs: until };
  } catch {
    // Damaged: take the worst for granted.
    return { hold: 'all', aliveMs: Number.NEGATIVE_INFINITY, script: null, serveUntilMs: null };
  }
}

function parseScript(value: unknown): ScriptProcess | null {
  if (typeof value !== 'object' || value === null) return null;
  const { pid, start } = value as Record<string, unknown>;
  return typeof pid === 'number' && typeof start === 'string' ? { pid, start } : null;
}
