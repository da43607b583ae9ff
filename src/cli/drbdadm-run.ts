/**
 * How drbdadm runs drbdsetup and drbdmeta: in this process, through their `main`. `-d` prints the command line instead,
 * `-v` prints it and runs it. A failure from 10 upwards is reported with the command, as the original does.
 */
import { spawn } from 'node:child_process';
import { type Command, DRBDMETA, DRBDSETUP, shellEscape } from './drbdadm-commands.js';
import type { Main, World } from './world.js';

/** What becomes of the standard error of a command: shown, dropped, or kept for the caller to decide. */
export type Stderr = 'show' | 'drop' | 'keep';

/** How long a command may take: cmd-timeout-short, -medium, -long, or without limit. */
export type Patience = 'short' | 'medium' | 'long' | 'forever';

export interface Programs {
  readonly drbdsetup: Main;
  readonly drbdmeta: Main;
}

export interface RunOptions {
  readonly dryRun: boolean;
  readonly verbose: boolean;
  readonly shVarname: string | null;
  readonly drbdsetup: string; // the names to print
  readonly drbdmeta: string;
  readonly timeoutsS: Readonly<Record<Patience, number>>; // 0: no limit
}

export const EXIT_EXEC_ERROR = 20;

export class Runner {
  readonly #world: World;
  readonly #programs: Programs;
  readonly options: RunOptions;
  /** While it is set, what commands complain about goes there instead of standard error. */
  #complaints: string[] | null = null;
  #failed: string | null = null; // the verb of the last command that failed

  constructor(world: World, programs: Programs, options: RunOptions) {
    this.#world = world;
    this.#programs = programs;
    this.options = options;
  }

  async run(
    command: Command,
    resource: string,
    patience: Patience = 'short',
    stderr: Stderr = 'show',
  ): Promise<number> {
    return (await this.runKept(command, resource, patience, stderr)).status;
  }

  /** Also gives the standard error when it was to be kept. */
  async runKept(
    command: Command,
    resource: string,
    patience: Patience,
    stderr: Stderr,
  ): Promise<{ readonly status: number; readonly stderr: string }> {
    const shown = this.#shown(command);
    this.#print(shown, resource);
    if (this.options.dryRun) return { status: 0, stderr: '' };

    let kept = '';
    const complain = this.#complain();
    const world: World = {
      out: (text) => this.#world.out(text),
      err: (text) => {
        if (stderr === 'show') complain(text);
        else kept += text;
      },
      stdin: this.#world.stdin,
      env: { ...this.#world.env, DRBD_RESOURCE: resource },
      root: this.#world.root,
    };
    const limitS = this.options.timeoutsS[patience];
    const status = await withLimit(this.#main(command)(command.slice(1), world), limitS);
    if (status !== 0) this.#failed = verbOf(command);
    if (status === null) {
      complain(`Command '${shown.join(' ')}' did not terminate within ${limitS} seconds\n`);
      return { status: EXIT_EXEC_ERROR, stderr: kept };
    }
    if (status >= 10 && stderr === 'show' && patience !== 'forever') {
      complain(`Command '${shown.join(' ')}' terminated with exit code ${status}\n`);
    }
    return { status, stderr: kept };
  }

  #complain(): (text: string) => void {
    const complaints = this.#complaints;
    return complaints ? (text) => void complaints.push(text) : (text) => this.#world.err(text);
  }

  /**
   * `work` with what its commands complain about put into `complaints`, and which of its commands failed (null: none, it
   * failed without one).
   */
  async quietly(
    work: () => Promise<number>,
    complaints: string[],
  ): Promise<{ readonly status: number; readonly command: string | null }> {
    this.#complaints = complaints;
    this.#failed = null;
    try {
      return { status: await work(), command: this.#failed };
    } finally {
      this.#complaints = null;
    }
  }

  /** What a command prints, without showing the call or what it complains about. Nothing with -d. */
  async capture(command: Command): Promise<string> {
    if (this.options.dryRun) return '';
    let out = '';
    const { stdin, env, root } = this.#world;
    const world: World = {
      out: (text) => {
        out += text;
      },
      err: () => {},
      stdin,
      env,
      root,
    };
    await this.#main(command)(command.slice(1), world);
    return out;
  }

  #main(command: Command): Main {
    return command[0] === DRBDMETA ? this.#programs.drbdmeta : this.#programs.drbdsetup;
  }

  /** A handler: a shell command with the handler's environment added. */
  async shell(
    line: string,
    resource: string,
    environment: Readonly<Record<string, string>>,
  ): Promise<number> {
    const command = ['/bin/sh', '-c', line];
    this.#print(command, resource);
    if (this.options.dryRun) return 0;
    const child = spawn('/bin/sh', ['-c', line], {
      env: { ...this.#world.env, ...environment },
      stdio: ['inherit', 'pipe', 'pipe'],
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.#world.out(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#world.err(text));
    const status = await new Promise<number>((resolve) => {
      child.once('error', () => resolve(EXIT_EXEC_ERROR));
      child.once('close', (code) => resolve(code ?? EXIT_EXEC_ERROR));
    });
    if (status >= 10) {
      this.#world.err(`Command '${command.join(' ')}' terminated with exit code ${status}\n`);
    }
    return status;
  }

  #shown(command: Command): readonly string[] {
    const [program = '', ...args] = command;
    if (program === DRBDSETUP) return [this.options.drbdsetup, ...args];
    return program === DRBDMETA ? [this.options.drbdmeta, ...args] : command;
  }

  #print(command: readonly string[], resource: string): void {
    if (!this.options.dryRun && !this.options.verbose) return;
    const { shVarname } = this.options;
    if (shVarname !== null) this.#world.out(`${shVarname}=${shellEscape(resource)}\n`);
    this.#world.out(`${command.map(shellEscape).join(' ')}\n`);
  }
}

/** drbdsetup VERB ..., drbdmeta MINOR v08 DEVICE INDEX VERB ... */
function verbOf(command: Command): string | null {
  return command[command[0] === DRBDMETA ? 5 : 1] ?? null;
}

/** Null when it takes longer; what was begun is left running, as the original leaves its child. */
async function withLimit(work: Promise<number>, limitS: number): Promise<number | null> {
  if (limitS === 0) return work;
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), limitS * 1000);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
