/**
 * The file in which drbdd keeps what a successor must know (host/drbdd-resume.ts), replaced as a whole after each change. It
 * is believed only under the same angel (a later incarnation); a fresh start begins with nothing configured, as a freshly
 * loaded kernel module does.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Exposed, SavedState } from '../host/drbdd-resume.js';

export function saveState(path: string, state: SavedState): void {
  writeFileSync(`${path}.new`, JSON.stringify(state), { mode: 0o600 }); // it holds the shared secret
  renameSync(`${path}.new`, path);
}

/** Null: there is none. Throws when it cannot be read: a guess could serve the wrong disk. */
export function loadState(path: string): SavedState | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw e;
  }
  const state = JSON.parse(text) as SavedState;
  if (state.version !== 1)
    throw new Error(`${path}: of another version (${String(state.version)})`);
  return state;
}

/**
 * The generations that the users of a minor may have seen last, in a file of their own: written by the engine thread at once, before
 * anything of a new generation is answered (/run is memory: that takes microseconds, and happens once per lost connection).
 */
export function saveExposed(run: string, minor: number, generations: readonly bigint[]): void {
  const dir = join(run, 'exposed');
  mkdirSync(dir, { recursive: true });
  const text = generations.map((uuid) => uuid.toString(16).toUpperCase()).join(' ');
  writeFileSync(join(dir, `${minor}.new`), text);
  renameSync(join(dir, `${minor}.new`), join(dir, String(minor)));
}

/** A file that is none of ours counts as not there. */
export function loadExposed(run: string): Exposed {
  const dir = join(run, 'exposed');
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw e;
  }
  const exposed: Record<string, readonly string[]> = {};
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue;
    const generations = readFileSync(join(dir, name), 'latin1').split(' ');
    const right = generations.length <= 2 && generations.every((g) => /^[0-9A-F]{1,16}$/.test(g));
    if (right) exposed[name] = generations;
  }
  return exposed;
}
