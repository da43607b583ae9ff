/**
 * Programs that are run one after the other and have one time together. What exceeds it is killed with everything that it started, and
 * what would come after it is not begun.
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { inputFile, outputFile, readOutput } from './child-output.js';
import { killGroup, spawnAside } from './spawn-aside.js';

export interface RunEnd {
  readonly status: number | null; // null: killed, or not run at all
  readonly out: string;
  readonly err: string;
}

/** A program that cannot even be killed (it hangs in the kernel) is left to itself after this. */
const KILLED_MS = 2000;
const SBIN = '/usr/sbin:/sbin';

/** Where programs are looked for that have no path. */
export function programPath(): string {
  return `${process.env['PATH'] ?? '/usr/bin:/bin'}:${SBIN}`;
}

export class LimitedRun {
  readonly #root: string;
  readonly #limit: NodeJS.Timeout;
  #isLate = false;
  #kill: (() => void) | null = null; // of the program that runs

  constructor(root: string, limitMs: number) {
    this.#root = root;
    this.#limit = setTimeout(() => {
      this.#isLate = true;
      this.#kill?.();
    }, limitMs);
  }

  get isLate(): boolean {
    return this.#isLate;
  }

  /** Never throws. `input`: its stdin, which is for nobody else to see; null: nothing. */
  async run(program: string, args: readonly string[], input: string | null): Promise<RunEnd> {
    if (this.#isLate) return { status: null, out: '', err: '' };
    const files: number[] = [];
    try {
      files.push(outputFile(this.#root));
      files.push(outputFile(this.#root));
      if (input !== null) files.push(inputFile(this.#root, input));
      const [out = 'ignore', err = 'ignore', told = 'ignore'] = files;
      const child = spawnAside(program, args, {
        cwd: '/',
        env: { ...process.env, PATH: programPath() },
        stdio: [told, out, err],
        detached: true,
      });
      return await this.#ended(child, files);
    } catch (e) {
      // No descriptors, no memory: it has not run, and the daemon goes on.
      return { status: null, out: '', err: e instanceof Error ? e.message : String(e) };
    } finally {
      for (const fd of files) closeSync(fd);
    }
  }

  #ended(child: ChildProcess, [out = -1, err = -1]: readonly number[]): Promise<RunEnd> {
    return new Promise((resolve) => {
      let isOver = false;
      const end = (status: number | null, why: string): void => {
        if (isOver) return;
        isOver = true;
        this.#kill = null;
        resolve({ status, out: readOutput(out), err: readOutput(err) + why });
      };
      this.#kill = () => {
        if (child.pid !== undefined) killGroup(child.pid, 'SIGKILL');
        setTimeout(end, KILLED_MS, null, '');
      };
      child.on('error', (e) => end(null, e.message));
      child.on('exit', (status) => end(this.#isLate ? null : status, ''));
    });
  }

  /** No more of it. */
  end(): void {
    clearTimeout(this.#limit);
  }
}
