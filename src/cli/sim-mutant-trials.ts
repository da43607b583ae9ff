/** The process that runs a mutant's trials (sim-mutant-trial.ts), from outside: asked one by one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Trial } from '../sim/mutants.js';
import { MUTANT_VARIABLE, PRELOAD } from './sim-mutant.js';
import type { TrialResult } from './sim-mutant-trial.js';

const PROGRAM = fileURLToPath(new URL('./sim-mutant-trial.js', import.meta.url));
/** A run takes a fraction of a second; a mutant may make it one that does not end. */
const LONGEST_MS = 60_000;

/** A mutant may keep its machines busy for ever: nobody noticed then. */
export class TrialWithoutEnd extends Error {
  override name = 'TrialWithoutEnd';
}

export class MutantTrials {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  /** null: the machines as they are. */
  constructor(mutant: string | null) {
    const preload = mutant === null ? [] : ['--import', PRELOAD.href];
    this.#child = spawn(process.execPath, [...preload, PROGRAM, 'trials'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, [MUTANT_VARIABLE]: mutant ?? '' },
    });
    const { stdout } = this.#child;
    if (!stdout) throw new Error('no standard output');
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  async run(trial: Trial): Promise<TrialResult> {
    this.#child.stdin?.write(`${JSON.stringify(trial)}\n`);
    const late = setTimeout(() => this.#child.kill('SIGKILL'), LONGEST_MS);
    try {
      const { value, done } = await this.#lines.next();
      if (done) throw new TrialWithoutEnd(`the run of ${JSON.stringify(trial)} did not end`);
      return JSON.parse(value) as TrialResult;
    } finally {
      clearTimeout(late);
    }
  }

  end(): void {
    this.#child.stdin?.end();
  }
}
