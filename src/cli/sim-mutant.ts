/**
 * `twinbeat sim --mutant NAME`: the simulator on machines with a planted bug (sim/mutants.ts). The command runs itself once
 * more as a child process that loads the changed module; this process only waits for it.
 *
 *     twinbeat sim --mutant X ...  ->  TWINBEAT_MUTANT=X node --import sim-mutant-register.js twinbeat.js sim ...
 *
 * Worker threads of the child inherit both, and so the bug.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MUTANTS, type Mutant, mutantNamed, nearNames, plant } from '../sim/mutants.js';
import { statusOf } from './pair-run.js';
import { UsageError } from './world.js';

/** Name of the mutant of this process, for the child. */
export const MUTANT_VARIABLE = 'TWINBEAT_MUTANT';

const PROGRAM = new URL('../bin/twinbeat.js', import.meta.url);
export const PRELOAD = new URL('./sim-mutant-register.js', import.meta.url);

/** What `--mutant list` prints: one name a line. */
export function listMutants(): string {
  return MUTANTS.map(({ name }) => `${name}\n`).join('');
}

/** The mutant that this process runs, null for the machines as they are: part of the command that replays a run. */
export function plantedMutant(env: Readonly<Record<string, string | undefined>>): string | null {
  return env[MUTANT_VARIABLE] || null;
}

/** Throws a UsageError for a name that is none. */
export function mutantOrUsage(name: string): Mutant {
  const mutant = mutantNamed(name);
  if (mutant) return mutant;
  const near = nearNames(name).join(', ');
  throw new UsageError(
    `twinbeat sim: there is no mutant '${name}'; near: ${near} (all of them: --mutant list)`,
    2,
  );
}

export interface Planted {
  /** Of the module. */
  readonly url: string;
  readonly source: string;
}

/** The module with the bug in it. Throws when the machines have changed so that it is no longer there to be planted. */
export function plantedModule(mutant: Mutant): Planted {
  const url = new URL(`../${mutant.file}`, import.meta.url);
  const result = plant(mutant, readFileSync(fileURLToPath(url), 'utf8'));
  if ('error' in result) throw new UsageError(result.error, 2);
  return { url: url.href, source: result.text };
}

/**
 * Run `twinbeat sim ...argv` (without `--mutant NAME`) with the mutant; the result is its exit status. `program` is for
 * tests.
 */
export function runMutant(
  name: string,
  argv: readonly string[],
  program: readonly string[] = [fileURLToPath(PROGRAM), 'sim'],
): Promise<number> {
  plantedModule(mutantOrUsage(name)); // said here, not from a loader of the child
  const child = spawn(
    process.execPath,
    [...process.execArgv, '--import', PRELOAD.href, ...program, ...argv],
    { stdio: 'inherit', env: { ...process.env, [MUTANT_VARIABLE]: name } },
  );
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(statusOf(code, signal)));
  });
}
