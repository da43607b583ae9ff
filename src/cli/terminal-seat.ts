/**
 * The place of an operator at boot: a clock, and the terminal that a question can be asked on. Standard input and output
 * when both are a terminal, else the machine's console. In an interface of its own because a test must be able to sit there.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { isatty, ReadStream } from 'node:tty';

export interface Terminal {
  write(text: string): void;
  /** The next line without its newline; null at the end of the input, after which there may be more. */
  readLine(): Promise<string | null>;
  /** A boot splash gives the screen free, and what is typed is seen. */
  prepare(): void;
  close(): void;
}

export interface Seat {
  readonly pid: number;
  nowMs(): number; // monotonic
  sleep(ms: number): { readonly done: Promise<void>; cancel(): void };
  /** Null: standard input or output is no terminal. */
  openOwn(): Terminal | null;
  /** Or why there is none. */
  openConsole(): Terminal | string;
}

const CONSOLE = '/dev/console';

export class RealSeat implements Seat {
  readonly pid = process.pid;

  nowMs(): number {
    return performance.now();
  }

  sleep(ms: number): { readonly done: Promise<void>; cancel(): void } {
    let timer: NodeJS.Timeout | undefined;
    const done = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    return { done, cancel: () => clearTimeout(timer) };
  }

  openOwn(): Terminal | null {
    return isatty(0) && isatty(1) ? new DeviceTerminal('/proc/self/fd/0', 1) : null;
  }

  openConsole(): Terminal | string {
    try {
      const out = openSync(CONSOLE, constants.O_WRONLY | constants.O_NOCTTY);
      return new DeviceTerminal(CONSOLE, out);
    } catch (e) {
      return e instanceof Error ? e.message : String(e);
    }
  }
}

/** A terminal by its path. Each end of input (Ctrl-D) ends one stream; the next line is read from a new one. */
class DeviceTerminal implements Terminal {
  readonly #path: string;
  readonly #out: number;
  #input: ReadStream | null = null;
  #lines: AsyncIterator<string> | null = null;

  constructor(path: string, out: number) {
    this.#path = path;
    this.#out = out;
  }

  write(text: string): void {
    let rest = Buffer.from(text);
    while (rest.length > 0) {
      try {
        rest = rest.subarray(writeSync(this.#out, rest));
      } catch (e) {
        if ((e as NodeJS.ErrnoException).code === 'EAGAIN') continue;
        return; // the terminal went away; the waiting goes on
      }
    }
  }

  async readLine(): Promise<string | null> {
    try {
      if (!this.#lines) {
        this.#input = new ReadStream(
          openSync(this.#path, constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK),
        );
        this.#input.on('error', () => {}); // hung up: the same as the end
        this.#lines = createInterface({ input: this.#input, terminal: false })[
          Symbol.asyncIterator
        ]();
      }
      const next = await this.#lines.next();
      if (!next.done) return next.value;
    } catch {
      // no terminal any more
    }
    this.#closeInput();
    return null;
  }

  #closeInput(): void {
    this.#input?.destroy();
    this.#input = null;
    this.#lines = null;
  }

  prepare(): void {
    let input: number;
    try {
      input = openSync(this.#path, constants.O_RDONLY | constants.O_NOCTTY);
    } catch {
      return;
    }
    // Either may be missing; neither is needed.
    spawnSync('plymouth', ['quit'], { stdio: 'ignore', timeout: 5_000 });
    spawnSync('stty', ['echo', 'icanon', 'icrnl'], { stdio: [input, 'ignore', 'ignore'] });
    closeSync(input);
  }

  close(): void {
    this.#closeInput();
    if (this.#out !== 1) closeSync(this.#out);
  }
}
