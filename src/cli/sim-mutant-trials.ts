/** The process that runs a mutant's trials (sim-mutant-trial.ts), from outside: asked one by one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Trial } from '../sim/mutants.js';
import { MUTANT_VARIABLE, PRELOAD } from './sim-mutant.js';
import type { TrialResult } from './sim-mutant-trial.js';

const PROGRAM = fileURLToPath(new URL('./sim-mutant-trial.js', import.meta.url));
/** A run takes a fraction of a second of processor time; a mutant may make it one that does not end. */
const LONGEST_CPU_S = 60;
const LOOK_MS = 1000;
/** USER_HZ, in which /proc/PID/stat counts: 100 on every architecture that Debian has (proc(5)). */
const TICKS_PER_S = 100;

/** Processor time of a process, user and system, in seconds; 0 when it is gone. */
function cpuSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Behind the name, which may contain anything: state is field 3, utime 14, stime 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
  } catch {
    return 0;
  }
}

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
    const { pid } = this.#child;
    const before = pid === undefined ? 0 : cpuSeconds(pid);
    const look = setInterval(() => {
      if (pid !== undefined && cpuSeconds(pid) - before > LONGEST_CPU_S)
        this.#child.kill('SIGKILL');
    }, LOOK_MS);
    try {
      const { value, done } = await this.#lines.next();
      if (done) throw new TrialWithoutEnd(`the run of ${JSON.stringify(trial)} did not end`);
      return JSON.parse(value) as TrialResult;
    } finally {
      clearInterval(look);
    }
  }

  end(): void {
    this.#child.stdin?.end();
  }
}
