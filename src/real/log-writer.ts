/**
 * Writes the lines of a log by a program of its own. A log that takes nothing (a hung file system, a FIFO that nobody
 * reads, a syslog that does not answer) then holds up that program and nobody else.
 *
 *     add(line) -> queue of MAX_LINES -> pipe -> sh: printf >>FILE | cat >&2 | logger
 *                  full: lines are counted; room again: one line says how many are missing
 *
 * A process, not a thread: a thread that hangs in the kernel would keep a killed daemon from ending, and its successor
 * from starting. What the pipe has taken is also written when the daemon dies at once.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Writable } from 'node:stream';

/** What takes the lines on its standard input. */
export interface LogTarget {
  readonly program: string;
  readonly args: readonly string[];
  readonly toStderr: boolean; // its standard output is our standard error, otherwise nothing
}

/** Lines that wait: some minutes of a busy node, and less than a megabyte. */
export const MAX_LINES = 1000;
const CHUNK_LINES = 100;
const RESTART_MS = 5000;
/** The last lines have so long at the end of the daemon. */
const END_MS = 2000;

/** The file is opened for each line, as the original does: a log may be rotated by renaming it. */
const APPEND = 'while IFS= read -r line; do printf "%s\\n" "$line" >>"$0" || :; done';

export function fileTarget(path: string): LogTarget {
  return { program: '/bin/sh', args: ['-c', APPEND, path], toStderr: false };
}

export const STDERR_TARGET: LogTarget = { program: 'cat', args: [], toStderr: true };

/** logger(1): `<N>` in front of each line names facility and severity. */
export function syslogTarget(tag: string): LogTarget {
  return { program: 'logger', args: ['-t', tag, '--prio-prefix'], toStderr: false };
}

export class LogWriter {
  readonly #target: LogTarget;
  readonly #missing: (count: number) => string;
  readonly #queue: string[] = [];
  #inFlight = 0; // lines that the pipe has not taken whole
  #lost = 0;
  #child: ChildProcess | null = null;
  #startedMs = Number.NEGATIVE_INFINITY;
  #restart: NodeJS.Timeout | null = null;
  #idle: (() => void) | null = null;
  #ended = false;

  /** `missing`: the line that says so of `count` lines. */
  constructor(target: LogTarget, missing: (count: number) => string) {
    this.#target = target;
    this.#missing = missing;
  }

  /** A whole line with its newline. Never waits, never throws. */
  add(line: string): void {
    if (this.#ended) return;
    if (this.#queue.length + this.#inFlight >= MAX_LINES) this.#lost++;
    else this.#queue.push(line);
    this.#pump();
  }

  /** Nothing is added any more. True when every line was taken; after END_MS the program is killed. */
  async end(): Promise<boolean> {
    this.#ended = true;
    if (this.#queue.length + this.#inFlight === 0 && !this.#child) return true;
    let limit: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((done) => {
      limit = setTimeout(done, END_MS, false);
    });
    const isWritten = await Promise.race([this.#drain(), late]);
    clearTimeout(limit);
    if (this.#restart) clearTimeout(this.#restart);
    this.#restart = null;
    this.#queue.length = 0;
    if (!isWritten) this.#child?.kill('SIGKILL');
    return isWritten;
  }

  async #drain(): Promise<boolean> {
    if (this.#queue.length + this.#inFlight > 0) {
      await new Promise<void>((done) => {
        this.#idle = done;
        this.#pump();
      });
    }
    const child = this.#child;
    if (!child) return true;
    const gone = new Promise<boolean>((done) => child.on('exit', () => done(true)));
    child.stdin?.end();
    return gone;
  }

  #pump(): void {
    if (this.#inFlight > 0 || this.#queue.length === 0) return;
    const pipe = this.#pipe();
    if (!pipe) return;
    const lines = this.#queue.splice(0, CHUNK_LINES);
    this.#inFlight = lines.length;
    pipe.write(lines.join(''), (e) => {
      this.#inFlight = 0;
      if (e) this.#lost += lines.length;
      // Behind what waits: that was said before the lines that are missing.
      if (this.#lost > 0) this.#queue.push(this.#missing(this.#lost));
      this.#lost = 0;
      if (this.#queue.length > 0) this.#pump();
      else this.#idle?.();
    });
  }

  /** Null: the program ended a moment ago, and is started again later. */
  #pipe(): Writable | null {
    if (this.#child) return this.#child.stdin;
    if (this.#restart) return null;
    const waitMs = this.#startedMs + RESTART_MS - performance.now();
    if (waitMs > 0) {
      this.#restart = setTimeout(() => {
        this.#restart = null;
        this.#pump();
      }, waitMs);
      this.#restart.unref();
      return null;
    }
    this.#startedMs = performance.now();
    return this.#start().stdin;
  }

  #start(): ChildProcess {
    const { program, args, toStderr } = this.#target;
    const child = spawn(program, args, {
      stdio: ['pipe', toStderr ? 2 : 'ignore', 'ignore'],
      cwd: '/',
      detached: true, // an interrupt from the terminal is for the daemon, which has last lines to say
    });
    const gone = (): void => {
      if (this.#child === child) this.#child = null;
      child.stdin?.destroy();
    };
    child.on('error', gone);
    child.on('exit', gone);
    child.stdin?.on('error', gone);
    child.unref();
    this.#child = child;
    return child;
  }
}
