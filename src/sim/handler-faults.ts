/**
 * What may be wrong with a handler of drbd.conf on a simulated node, by event: it hangs (until drbdd's limit, or until somebody
 * kills it), ends with a status and does nothing, does its work and says so late, or halts the node, as many of them are there to do.
 */
import type { NodeClock } from './node-clock.js';

export const HANDLER_EVENTS = [
  'after-resync-target',
  'before-resync-source',
  'before-resync-target',
  'fence-peer',
  'initial-split-brain',
  'local-io-error',
  'out-of-sync',
  'pri-lost',
  'pri-lost-after-sb',
  'pri-on-incon-degr',
  'split-brain',
  'unfence-peer',
] as const;

export type HandlerFault =
  | { readonly kind: 'hangs' }
  | { readonly kind: 'exits'; readonly exit: number }
  | { readonly kind: 'takes'; readonly ms: number }
  | { readonly kind: 'halts' };

/** Of one that is killed, or can not be started. */
export const BROKEN_EXIT = 127;
/** handler-timeout of twinbeat.ini. */
const LIMIT_MS = 300_000;

type Answer = (exit: number) => void;

export class HandlerFaults {
  readonly #clock: NodeClock;
  readonly #faults = new Map<string, HandlerFault>();
  readonly #hanging = new Set<() => void>();
  readonly #running = new Set<{ readonly event: string }>();

  constructor(clock: NodeClock) {
    this.#clock = clock;
  }

  /** From now on; null: it works again. One that hangs already goes on hanging. */
  set(event: string, fault: HandlerFault | null): void {
    if (fault) this.#faults.set(event, fault);
    else this.#faults.delete(event);
  }

  of(event: string): HandlerFault | null {
    return this.#faults.get(event) ?? null;
  }

  /** One has begun, and not ended. */
  isRunning(event: string): boolean {
    return [...this.#running].some((run) => run.event === event);
  }

  /** Somebody finds those that hang, and kills them; all work again. */
  heal(): void {
    this.#faults.clear();
    for (const kill of [...this.#hanging]) kill();
  }

  /** The power is gone: nothing of it goes on. */
  powerCut(): void {
    this.#hanging.clear();
    this.#running.clear();
  }

  /** Runs one, `works` where nothing is wrong with it. */
  run(event: string, works: (answer: Answer) => void, halt: () => void, ended: Answer): void {
    const fault = this.#faults.get(event);
    const run = { event };
    this.#running.add(run);
    const answer = (exit: number): void => {
      this.#running.delete(run);
      ended(exit);
    };
    switch (fault?.kind) {
      case undefined:
        works(answer);
        return;
      case 'hangs': {
        const kill = (): void => {
          if (this.#hanging.delete(kill)) answer(BROKEN_EXIT);
        };
        this.#hanging.add(kill);
        this.#clock.after(LIMIT_MS, kill);
        return;
      }
      case 'exits':
        this.#clock.after(1, () => answer(fault.exit));
        return;
      case 'takes':
        works((exit) => this.#clock.after(fault.ms, () => answer(exit)));
        return;
      case 'halts':
        this.#clock.after(1, halt);
        return;
    }
  }
}
