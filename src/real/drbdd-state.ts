/**
 * The file in which drbdd keeps what a successor must know (host/drbdd-resume.ts), replaced after each change. It
 * is believed only under the same angel (a later incarnation); a fresh start begins with nothing configured, as a freshly
 * loaded kernel module does.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Exposed, SavedState } from '../host/drbdd-resume.js';
import { isExposed } from '../host/exposed.js';
import { RunFile, readRunFile } from './run-file.js';

export function saveState(file: RunFile, state: SavedState): void {
  file.write(Buffer.from(JSON.stringify(state)));
}

/** Null: there is none. Throws when it cannot be read: a guess could serve the wrong disk. */
export function loadState(path: string): SavedState | null {
  const content = readRunFile(path);
  if (!content) return null;
  const state = JSON.parse(Buffer.from(content).toString()) as SavedState;
  if (state.version !== 1)
    throw new Error(`${path}: of another version (${String(state.version)})`);
  return state;
}

/**
 * The generations that the users of a minor may have seen last, in a file of their own: written by the engine thread at once, before
 * anything of a new generation is answered (/run is memory: that takes microseconds, and happens once per lost connection).
 */
export class ExposedFiles {
  readonly #dir: string;
  readonly #files = new Map<number, RunFile>();

  /** `run`: the directory. */
  constructor(run: string) {
    this.#dir = join(run, 'exposed');
  }

  save(minor: number, generations: readonly bigint[]): void {
    const file = this.#files.get(minor) ?? new RunFile(join(this.#dir, String(minor)));
    this.#files.set(minor, file);
    file.write(Buffer.from(generations.map((uuid) => uuid.toString(16).toUpperCase()).join(' ')));
  }
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
    const content = readRunFile(join(dir, name));
    const generations = Buffer.from(content ?? [])
      .toString('latin1')
      .split(' ');
    if (isExposed(generations)) exposed[name] = generations;
  }
  return exposed;
}
