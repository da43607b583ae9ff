/**
 * One run of a resource script as a process of the node: it has a clock of its own, can be killed, and dies with the
 * machine's power, but not with the heartbeat that started it.
 *
 *     running -> (exit) over
 *             -> (in the kernel: mount, umount) a signal waits until the kernel is done -> over
 *
 * What a step has set going (a mount, a starting service, drbdadm's command) goes on when the script is killed.
 */
import type { Action, ScriptOutcome } from '../resource-manager/group-operation.js';
import type { ProcessClock } from './node-clock.js';

export class ScriptProcess {
  readonly pid: number;
  readonly text: string; // the resource, as in haresources
  readonly action: Action;
  readonly #clock: ProcessClock;
  readonly #ended: (outcome: ScriptOutcome) => void;
  #output = '';
  #over = false;
  #inKernel = false;
  #signal: string | null = null; // to be taken when the kernel is done

  constructor(
    pid: number,
    text: string,
    action: Action,
    clock: ProcessClock,
    ended: (outcome: ScriptOutcome) => void,
  ) {
    this.pid = pid;
    this.text = text;
    this.action = action;
    this.#clock = clock;
    this.#ended = ended;
  }

  get over(): boolean {
    return this.#over;
  }

  get nowMs(): number {
    return this.#clock.nowMs;
  }

  say(line: string): void {
    this.#output += `${line}\n`;
  }

  sleep(ms: number, next: () => void): void {
    this.#clock.after(ms, next);
  }

  /** Something that goes on whatever becomes of the script; `next` only while it lives. */
  wait<T extends readonly unknown[]>(
    begin: (done: (...result: T) => void) => void,
    next: (...result: T) => void,
  ): void {
    begin((...result) => {
      if (!this.#over) this.#clock.after(0, () => next(...result));
    });
  }

  /** The same in the kernel, where no signal reaches the script. */
  waitInKernel<T extends readonly unknown[]>(
    begin: (done: (...result: T) => void) => void,
    next: (...result: T) => void,
  ): void {
    this.#inKernel = true;
    begin((...result) => {
      if (this.#over) return;
      this.#inKernel = false;
      if (this.#signal) this.#kill(this.#signal);
      else this.#clock.after(0, () => next(...result));
    });
  }

  exit(status: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#clock.end();
    this.#ended({ exitStatus: status, output: this.#output, failure: null });
  }

  kill(signal: string): void {
    if (this.#over) return;
    if (this.#inKernel) this.#signal = signal;
    else this.#kill(signal);
  }

  /** The power is gone: nobody learns of it. */
  vanish(): void {
    this.#over = true;
    this.#clock.end();
  }

  #kill(signal: string): void {
    this.#over = true;
    this.#clock.end();
    this.#ended({ exitStatus: null, output: `${this.#output}${signal}`, failure: 'killed' });
  }
}
