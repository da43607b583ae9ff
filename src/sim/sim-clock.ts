/**
 * Virtual time. Events are run in the order of their time and, at one time, in the order in which they were asked for;
 * so a run is a function of its seed.
 */
import { assert } from '../base/assert.js';

interface Event {
  readonly timeMs: number;
  readonly seq: number;
  run: (() => void) | null; // null: cancelled
}

/** Of `at`, for `cancel`. */
export type Timer = { readonly event: unique symbol } & object;

export class SimClock {
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #seq = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** When the next event is due; infinity when there is none. */
  get nextMs(): number {
    const heap = this.#heap;
    while (heap.length > 0 && (heap[0] as Event).run === null) this.#pop();
    return heap[0]?.timeMs ?? Number.POSITIVE_INFINITY;
  }

  /** Runs `run` at `timeMs`; a time that has passed means now, after what is already due. */
  at(timeMs: number, run: () => void): Timer {
    const event: Event = { timeMs: Math.max(timeMs, this.#nowMs), seq: this.#seq++, run };
    this.#push(event);
    return event as unknown as Timer;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.at(this.#nowMs + delayMs, run);
  }

  /** Harmless when it has run or was cancelled. */
  cancel(timer: Timer): void {
    (timer as unknown as Event).run = null;
  }

  /** Runs the next event. False when there is none. */
  step(): boolean {
    for (;;) {
      const event = this.#pop();
      if (!event) return false;
      if (!event.run) continue;
      this.#nowMs = event.timeMs;
      const { run } = event;
      event.run = null;
      run();
      return true;
    }
  }

  /** Runs everything up to and including `timeMs`; then it is `timeMs`. */
  runUntil(timeMs: number): void {
    for (let next = this.#heap[0]; next && next.timeMs <= timeMs; next = this.#heap[0]) {
      if (next.run) this.step();
      else this.#pop(); // cancelled: not a step, which would go on to the next event, whenever that is
    }
    this.#nowMs = Math.max(this.#nowMs, timeMs);
  }

  /** Runs until nothing is left. `maxEvents` bounds a world that never rests. */
  runUntilIdle(maxEvents: number): void {
    for (let i = 0; this.step(); i++) assert(i < maxEvents, 'the simulated world comes to rest');
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(event);
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(event, heap[up] as Event)) break;
      heap[i] = heap[up] as Event;
      i = up;
    }
    heap[i] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (!top || !last || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event))
        child++;
      if (!before(heap[child] as Event, last)) break;
      heap[i] = heap[child] as Event;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

function before(a: Event, b: Event): boolean {
  return a.timeMs !== b.timeMs ? a.timeMs < b.timeMs : a.seq < b.seq;
}
