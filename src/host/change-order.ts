/**
 * In which order drbdd does what changes something: per resource one after the other, as it was asked; resources do not wait
 * for each other.
 *
 *     ordinary    waits for all that was asked before, and everything asked later waits for it
 *     patient     the same, but it may take long: it waits for a handler (a promotion for fence-peer, invalidate for
 *                 before-resync-target, detach for local-io-error) or for I/O that is frozen (secondary)
 *     overtaking  may begin while those under way are patient: it is the way out of them (resume-io, disconnect, down)
 *
 * The kernel's locks do the like: a promotion there waits for its handler holding nothing but the lock of its own resource.
 * Here one that hangs can be ended by the operator as well. Nothing overtakes another of its own kind, and nothing overtakes
 * what is in the middle of a change of objects (attach, connect, new-minor).
 *
 * A machine of callbacks, so that the simulated control thread is the same one.
 */
import type { ControlRequest } from './control.js';

export interface Change {
  /** Its resource. */
  readonly key: string;
  readonly verb: string;
  /** Called once, when it is its turn; calls `done` once, at once or later. */
  readonly begin: (done: () => void) => void;
}

const PATIENT: ReadonlySet<string> = new Set<ControlRequest['verb']>([
  'primary',
  'secondary',
  'detach',
  'invalidate',
  'invalidate-remote',
  'down',
]);
const OVERTAKING: ReadonlySet<string> = new Set<ControlRequest['verb']>([
  'resume-io',
  'disconnect',
  'down',
]);

interface Lane {
  readonly waiting: Change[];
  readonly underWay: Change[];
}

export class ChangeOrder {
  readonly #lanes = new Map<string, Lane>();
  readonly #whenIdle: (() => void)[] = [];

  add(change: Change): void {
    const lane = this.#lanes.get(change.key) ?? { waiting: [], underWay: [] };
    this.#lanes.set(change.key, lane);
    lane.waiting.push(change);
    this.#look(change.key, lane);
  }

  /** Nothing is under way and nothing waits. */
  get idle(): boolean {
    return this.#lanes.size === 0;
  }

  /** Once, when it is idle: at once if it is. */
  whenIdle(then: () => void): void {
    if (this.idle) then();
    else this.#whenIdle.push(then);
  }

  #look(key: string, lane: Lane): void {
    for (let next = mayBegin(lane); next >= 0; next = mayBegin(lane)) {
      const [change] = lane.waiting.splice(next, 1);
      if (change) this.#begin(lane, change);
    }
    if (lane.underWay.length > 0 || lane.waiting.length > 0 || this.#lanes.get(key) !== lane)
      return;
    this.#lanes.delete(key);
    if (this.idle) for (const then of this.#whenIdle.splice(0)) then();
  }

  #begin(lane: Lane, change: Change): void {
    lane.underWay.push(change);
    let isOver = false;
    change.begin(() => {
      if (isOver) return;
      isOver = true;
      lane.underWay.splice(lane.underWay.indexOf(change), 1);
      this.#look(change.key, lane);
    });
  }
}

/** The index of the waiting change that may begin now, or -1. */
function mayBegin({ waiting, underWay }: Lane): number {
  if (underWay.length === 0) return waiting.length > 0 ? 0 : -1;
  if (!underWay.every(({ verb }) => PATIENT.has(verb) || OVERTAKING.has(verb))) return -1;
  return waiting.findIndex(
    ({ verb }) => OVERTAKING.has(verb) && underWay.every((other) => other.verb !== verb),
  );
}
