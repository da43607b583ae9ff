/**
 * What a program sees of its surroundings. Every `main(argv, world)` in cli/ writes, asks and reads the environment
 * through it, so that tests call programs in-process; the launchers in bin/ give the real one to `run`.
 */
import { createInterface, type Interface } from 'node:readline';

export interface Stdin {
  readonly isTTY: boolean;
  /** The next line without its newline; null at the end of input. */
  readLine(): Promise<string | null>;
}

export interface World {
  /** To standard output, exactly as given: no newline is added. */
  out(text: string): void;
  /** Settles when standard output has taken what it was given; absent: it takes everything at once. */
  readonly written?: () => Promise<void>;
  /** To standard error, exactly as given. */
  err(text: string): void;
  readonly stdin: Stdin;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** TWINBEAT_ROOT without trailing slashes: '' on a real node. Put before /etc, /run, /var and /dev/drbd*. */
  readonly root: string;
}

/** `argv` is without the interpreter and the program: ['0', 'v08', ...]. The result is the exit status. */
export type Main = (argv: readonly string[], world: World) => Promise<number>;

/** A path of the node under its root: `rooted(world.root, '/run/twinbeat/drbdd.sock')`. */
export function rooted(root: string, path: string): string {
  return root.replace(/\/+$/, '') + path;
}

/** A wrong call: the program prints the message, then exits with `status`. No stack. */
export class UsageError extends Error {
  override name = 'UsageError';
  readonly status: number;
  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

/** Lines of standard input, read only when first asked for: a program that never asks leaves the input alone. */
class RealStdin implements Stdin {
  readonly isTTY = process.stdin.isTTY === true;
  #lines: AsyncIterator<string> | null = null;
  #reader: Interface | null = null;

  async readLine(): Promise<string | null> {
    if (!this.#lines) {
      this.#reader = createInterface({ input: process.stdin, terminal: false });
      this.#lines = this.#reader[Symbol.asyncIterator]();
    }
    const next = await this.#lines.next();
    return next.done ? null : next.value;
  }

  close(): void {
    this.#reader?.close();
    if (this.#reader) process.stdin.destroy();
  }
}

/**
 * Run a program and exit with its status once all output is written. A reader that went away (`| head`) ends the
 * program quietly; an error that escapes `main` is a bug: stack and status 111.
 */
export function run(main: Main): void {
  const stdin = new RealStdin();
  process.stdout.on('error', (e: NodeJS.ErrnoException) =>
    process.exit(e.code === 'EPIPE' ? 0 : 1),
  );
  process.stderr.on('error', () => process.exit(1));
  const world: World = {
    out: (text) => void process.stdout.write(text),
    written: () => new Promise((resolve) => process.stdout.write('', () => resolve())),
    err: (text) => void process.stderr.write(text),
    stdin,
    env: process.env,
    root: (process.env['TWINBEAT_ROOT'] ?? '').replace(/\/+$/, ''),
  };
  main(process.argv.slice(2), world).then(
    (status) => finish(stdin, status),
    (e: unknown) => {
      if (e instanceof UsageError) {
        world.err(`${e.message}\n`);
        finish(stdin, e.status);
      } else {
        world.err(`${e instanceof Error ? (e.stack ?? e.message) : String(e)}\n`);
        finish(stdin, 111);
      }
    },
  );
}

/** Write out what is buffered (pipes are asynchronous), then exit even when a handle was left open. */
function finish(stdin: RealStdin, status: number): void {
  stdin.close();
  process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
}
