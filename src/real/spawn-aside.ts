/**
 * Starts a program without waiting until its file is read. Node's spawn returns when exec(2) has worked or failed: of a program or an
 * interpreter on a file system that hangs, never. Here a shell, which is in memory, stands between: it becomes the
 * program, with the same process number, and what hangs is that process.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';

/** In front of the shell's message when it cannot become the program. */
const NAME = 'twinbeat-exec';
/** The shell's statuses for it. A program may end with them, too. */
export const NOT_RUN: ReadonlySet<number> = new Set([126, 127]);

export function spawnAside(
  program: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  return spawn('/bin/sh', ['-c', 'exec "$@"', NAME, program, ...args], options);
}

/** Whether the program could not be run at all: missing, not executable, its interpreter missing. `output`: stdout and stderr. */
export function couldNotRun(status: number | null, output: string): boolean {
  return status !== null && NOT_RUN.has(status) && output.startsWith(`${NAME}: `);
}

/** To a program that was started `detached`, and to all that it started. */
export function killGroup(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // gone
  }
}
