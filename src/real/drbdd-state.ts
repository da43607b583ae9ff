/**
 * The file in which drbdd keeps what a successor must know (host/drbdd-resume.ts), replaced as a whole after each change. It
 * is believed only under the same angel (a later incarnation); a fresh start begins with nothing configured, as a freshly
 * loaded kernel module does.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { SavedState } from '../host/drbdd-resume.js';

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
