/** Programs run by tests: without blocking, since the test itself may serve what they use, and with a time limit. */
import { type ChildProcess, spawn } from 'node:child_process';

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LIMIT_MS = 120_000;

/** Runs to the end, whatever the exit status. */
export function command(program: string, ...args: readonly string[]): Promise<CommandResult> {
  return launch(program, ...args).result;
}

/** The same for a program that the test itself ends: by `child.kill`. */
export function launch(
  program: string,
  ...args: readonly string[]
): { readonly child: ChildProcess; readonly result: Promise<CommandResult> } {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const result = new Promise<CommandResult>((resolve, reject) => {
    const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(limit);
      resolve({ code, stdout, stderr });
    });
  });
  return { child, result };
}

/** Runs to success; anything else throws with what the program said. Returns its standard output. */
export async function succeed(program: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await command(program, ...args);
  if (code !== 0) {
    throw new Error(`${program} ${args.join(' ')}: status ${code}\n${stdout}${stderr}`);
  }
  return stdout;
}
