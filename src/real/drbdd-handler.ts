/** Runs a configured handler (`fence-peer`, `split-brain`, ...), as the kernel's usermode helper would. */
import { spawn } from 'node:child_process';

/** A handler that runs longer is killed and counts as broken: it must not hold up the engine for ever. */
const HANDLER_LIMIT_MS = 300_000;

/** Exit code of a handler; 127 when it cannot be started or takes too long. */
export function runHandler(
  command: string,
  env: Readonly<Record<string, string>>,
): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', command], { env, stdio: 'ignore', detached: true });
    const limit = setTimeout(() => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }, HANDLER_LIMIT_MS);
    child.on('error', () => {
      clearTimeout(limit);
      resolve(127);
    });
    child.on('exit', (code) => {
      clearTimeout(limit);
      resolve(code ?? 127);
    });
  });
}
