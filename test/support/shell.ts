/**
 * A shell that stays: commands go in by its standard input, one at a time, and what they print and their status come back. For a
 * machine where starting one costs more than what it then does, as an emulated one behind ssh.
 *
 * Each command runs in a subshell without input; standard error goes where its output goes. A line of our own tells its end.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

export interface Said {
  readonly status: number;
  readonly out: string;
}

interface Waiting {
  readonly done: (said: Said) => void;
  readonly fail: (error: Error) => void;
}

export class Shell {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #end = `@@${Math.random().toString(36).slice(2)}@@`;
  #waiting: Waiting | null = null;
  #out = '';
  #dead: Error | null = null;

  constructor(program: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.#child = spawn(program, args, { env });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#out += text;
    });
    this.#child.stdin.on('error', () => {}); // 'close' tells
    this.#child.on('error', (error) => this.#die(error));
    this.#child.on('close', (status) => this.#die(new Error(`the shell ended: ${status}`)));
  }

  get busy(): boolean {
    return this.#waiting !== null;
  }
  get dead(): boolean {
    return this.#dead !== null;
  }

  #take(text: string): void {
    this.#out += text;
    const at = this.#out.lastIndexOf(`\n${this.#end}`);
    if (at < 0 || !this.#out.endsWith('\n')) return;
    const status = Number(this.#out.slice(at + 1 + this.#end.length));
    const said = { status, out: this.#out.slice(0, at) };
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#out = '';
    waiting?.done(said);
  }

  #die(error: Error): void {
    this.#dead ??= error;
    this.#waiting?.fail(new Error(`${error.message}\n${this.#out}`));
    this.#waiting = null;
  }

  async run(command: string): Promise<Said> {
    if (this.busy) throw new Error('one command at a time');
    return new Promise((done, fail) => {
      if (this.#dead !== null) {
        fail(this.#dead);
        return;
      }
      this.#waiting = { done, fail };
      this.#child.stdin.write(
        `(\n${command}\n) </dev/null 2>&1\nprintf '\\n%s%d\\n' '${this.#end}' $?\n`,
      );
    });
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Several of them, so that one long command does not hold up the others. */
export class Shells {
  readonly #open: () => Shell;
  #shells: Shell[] = [];

  constructor(open: () => Shell) {
    this.#open = open;
  }

  async run(command: string): Promise<Said> {
    this.#shells = this.#shells.filter((shell) => !shell.dead);
    let free = this.#shells.find((shell) => !shell.busy);
    if (free === undefined) {
      free = this.#open();
      this.#shells.push(free);
    }
    return free.run(command);
  }

  close(): void {
    for (const shell of this.#shells) shell.close();
    this.#shells = [];
  }
}
