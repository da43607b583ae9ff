/** A World for programs called in-process: what they print is kept, input is a list of lines. */
import type { World } from '../../src/cli/world.js';

export interface MemoryWorld extends World {
  readonly stdout: () => string;
  readonly stderr: () => string;
}

export function memoryWorld(options: {
  readonly root: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: readonly string[];
}): MemoryWorld {
  let stdout = '';
  let stderr = '';
  const input = [...(options.input ?? [])];
  return {
    out: (text) => {
      stdout += text;
    },
    err: (text) => {
      stderr += text;
    },
    stdin: { isTTY: false, readLine: async () => input.shift() ?? null },
    env: options.env ?? {},
    root: options.root,
    stdout: () => stdout,
    stderr: () => stderr,
  };
}
