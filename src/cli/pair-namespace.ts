/**
 * A set of namespaces with a first process that holds them: a node of the pair, or the switch between the nodes. Processes in it
 * are numbered by its own pid namespace, so that killing the first one kills every one at once, as a power cut does.
 *
 * The first process reads its standard input, our pipe: when this program ends, however it ends, the pipe closes and the
 * namespaces go with everything in them. The word `keep` on the pipe makes them stay.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import {
  CommandError,
  childrenOf,
  kill,
  killTree,
  type ProcessName,
  processName,
  type Ran,
  type RunOptions,
  run,
  statusOf,
} from './pair-run.js';

/**
 * Other programs' file systems on FUSE and loop devices, copied into the new mount namespace, would be kept alive by it: their
 * umount would not be the last one, and ours, at our end, could wait for a daemon that is long dead. So they are let go first.
 * Not what our own paths lie on ($1...).
 */
export const LET_GO = `
awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^fuse/ || $(i + 2) ~ /^\\/dev\\/(loop|nbd|drbd)/) print $5 }' /proc/self/mountinfo |
  tac | while read -r point; do
    point=$(printf '%b' "$point")
    keep=
    for own in "$@"; do case $own/ in "\${point%/}"/*) keep=1 ;; esac; done
    if [ -z "$keep" ]; then umount -l "$point" 2>/dev/null || true; fi
  done
`;

/** Sourced after the caller's script. `read` and `wait` also reap what is orphaned in here. */
const HOLD = `
echo ready
kept=
while read -r word; do if [ "$word" = keep ]; then kept=1; fi; done
trap 'exit 0' TERM
while [ -n "$kept" ]; do sleep 3600 & wait $!; done
`;

/** A process that is killed may have to wait for a disk first. */
const KILL_LIMIT_MS = 60_000;

export type NamespaceKind = 'mount' | 'net' | 'uts' | 'ipc' | 'pid';

/** A program started in a namespace and still, or no longer, running. */
export interface Spawned {
  /** As the machine numbers it; 0 when it ended before it could be seen. */
  readonly pid: number;
  readonly done: Promise<number>; // exit status
  kill(signal: NodeJS.Signals): void;
}

export class Namespace {
  readonly #outer: ChildProcess; // unshare, which waits for the first process
  readonly #first: ProcessName;
  readonly #kinds: readonly NamespaceKind[];
  readonly #env: Readonly<Record<string, string>>;

  private constructor(
    outer: ChildProcess,
    first: ProcessName,
    kinds: readonly NamespaceKind[],
    env: Readonly<Record<string, string>>,
  ) {
    this.#outer = outer;
    this.#first = first;
    this.#kinds = kinds;
    this.#env = env;
  }

  /** Make the namespaces, run the bash `script` in them with `args` as $1..., and hold them. */
  static async open(
    kinds: readonly NamespaceKind[],
    script: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<Namespace> {
    const outer = spawn(
      'unshare',
      [
        ...kinds.map((kind) => `--${kind}`),
        ...(kinds.includes('mount') ? ['--propagation', 'private'] : []),
        ...[
          '--fork',
          '--kill-child',
          'bash',
          '-c',
          `set -eu\n${kinds.includes('mount') ? LET_GO : ''}\n${script}\n${HOLD}`,
          'init',
          ...args,
        ],
      ],
      { stdio: ['pipe', 'pipe', 'pipe'], env, detached: true }, // detached: Ctrl-C is for us alone
    );
    let said = '';
    outer.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-8_000);
    });
    await new Promise<void>((resolve, reject) => {
      let out = '';
      outer.stdout?.setEncoding('utf8').on('data', (text: string) => {
        out += text;
        if (/^ready$/m.test(out)) resolve();
      });
      outer.once('error', reject);
      outer.once('close', (code) => {
        reject(new Error(`the namespaces could not be made (exit ${code}): ${said.trim()}`));
      });
    });
    const [pid] = outer.pid === undefined ? [] : childrenOf(outer.pid);
    if (pid === undefined) throw new Error(`the first process is gone: ${said.trim()}`);
    return new Namespace(outer, processName(pid), kinds, env);
  }

  get first(): ProcessName {
    return this.#first;
  }

  /** The command that runs `argv` in here. */
  enter(argv: readonly string[]): string[] {
    return [...enterArgv(this.#first.pid, this.#kinds), ...argv];
  }

  /** Run a program in here to its end. */
  exec(argv: readonly string[], options: Partial<RunOptions> = {}): Promise<Ran> {
    return run(this.enter(argv), { ...options, env: { ...this.#env, ...options.env } });
  }

  async must(argv: readonly string[], options: Partial<RunOptions> = {}): Promise<string> {
    const ran = await this.exec(argv, options);
    if (ran.status !== 0) throw new CommandError(argv, ran);
    return ran.stdout;
  }

  /** Start a program in here; its output is appended to `logFile`. */
  async spawn(
    argv: readonly string[],
    logFile: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<Spawned> {
    const log = openSync(logFile, 'a');
    const [program = '', ...args] = this.enter(argv);
    const child = spawn(program, args, {
      stdio: ['ignore', log, log],
      env: { ...this.#env, ...env },
      detached: true,
    });
    closeSync(log);
    const done = new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(statusOf(code, signal)));
    });
    let pid = 0;
    // nsenter forks once it is inside the pid namespace.
    while (pid === 0 && child.exitCode === null && child.signalCode === null) {
      pid = child.pid === undefined ? 0 : (childrenOf(child.pid)[0] ?? 0);
      if (pid === 0) await new Promise((next) => setTimeout(next, 2));
    }
    return {
      pid,
      done,
      kill: (signal) => {
        if (signal === 'SIGKILL') killTree(child);
        else if (pid) kill(pid, signal);
      },
    };
  }

  /** Everything in here dies at once; returns when it has. */
  async kill(): Promise<void> {
    const gone = new Promise<void>((resolve, reject) => {
      if (this.#outer.exitCode !== null || this.#outer.signalCode !== null) resolve();
      else this.#outer.once('exit', () => resolve());
      this.#outer.once('error', reject);
    });
    kill(this.#first.pid);
    const late = setTimeout(() => {
      const problem = `${KILL_LIMIT_MS / 1000} s after SIGKILL process ${this.#first.pid} is still there`;
      this.#outer.emit('error', new Error(problem));
    }, KILL_LIMIT_MS);
    try {
      await gone;
    } finally {
      clearTimeout(late);
    }
  }

  /** Let it outlive this program. */
  keep(): void {
    this.#outer.stdin?.write('keep\n');
    this.#outer.stdin?.end();
    this.#outer.unref();
    for (const pipe of [this.#outer.stdout, this.#outer.stderr]) pipe?.destroy();
  }
}

export function enterArgv(pid: number, kinds: readonly NamespaceKind[]): string[] {
  return ['nsenter', '--target', String(pid), ...kinds.map((kind) => `--${kind}`), '--'];
}
