/**
 * What a node and its processes know of time.
 *
 *     SimClock (true time) --drift--> NodeClock (monotonic, pauses; wall time with jumps) --end--> ProcessClock
 *
 * A pause is a machine that stands still (a stopped virtual machine, a stalled host) or a process under SIGSTOP: time goes
 * on without it, nothing of its own runs, and afterwards what is overdue runs in its order, with beliefs of before.
 * CLOCK_MONOTONIC drifts with the oscillator and never goes back; the wall clock may be set by anybody.
 */
import { assert } from '../base/assert.js';
import type { SimClock, Timer } from './sim-clock.js';

/** Time as the simulated code sees it. `Timers` of the host layer is a part of it. */
export interface Clock {
  /** Monotonic milliseconds, fractional. */
  readonly nowMs: number;
  /** Runs `run` at `timeMs` or a little later, never inside this call; then `nowMs` >= `timeMs`. */
  at(timeMs: number, run: () => void): Timer;
  after(delayMs: number, run: () => void): Timer;
  /** Harmless when it has run or was cancelled. */
  cancel(timer: Timer): void;
}

/** The wall clock of a node at true time 0: 2024-01-01, so that seconds look like seconds of today. */
const WALL_START_MS = 1_704_067_200_000;

/** A timer of a clock that can stand still. */
interface Armed {
  run: (() => void) | null; // null: done or cancelled
  readonly timeMs: number; // in the time of its own clock
  inner: Timer | null; // of the clock below
}

/** Holds back what becomes due while its clock stands still. */
class Gate {
  paused = false;
  #held: Armed[] = [];

  /** True when it may run now. */
  pass(armed: Armed): boolean {
    if (this.paused) this.#held.push(armed);
    return !this.paused;
  }

  open(again: (armed: Armed) => void): void {
    this.paused = false;
    const held = this.#held;
    this.#held = [];
    for (const armed of held) if (armed.run) again(armed);
  }

  clear(): void {
    this.#held = [];
  }
}

export class NodeClock implements Clock {
  readonly #world: SimClock;
  readonly #rate: number; // own milliseconds per true millisecond
  readonly #gate = new Gate();
  #reachedMs = 0; // the latest own time that a timer was told has come
  #wallOffsetMs = WALL_START_MS;

  /** `ratePpm`: how much faster (or, negative, slower) than true time, in parts per million. */
  constructor(world: SimClock, ratePpm: number) {
    assert(Math.abs(ratePpm) < 500_000, 'a clock that goes about as fast as time');
    this.#world = world;
    this.#rate = 1 + ratePpm / 1e6;
  }

  get nowMs(): number {
    // Conversion rounds: without the maximum, a timer would find that its time has not quite come.
    return Math.max(this.#world.nowMs * this.#rate, this.#reachedMs);
  }

  at(timeMs: number, run: () => void): Timer {
    const armed: Armed = { run, timeMs, inner: null };
    armed.inner = this.#world.at(timeMs / this.#rate, () => this.#due(armed));
    return armed as unknown as Timer;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.at(this.nowMs + Math.max(0, delayMs), run);
  }

  cancel(timer: Timer): void {
    const armed = timer as unknown as Armed;
    armed.run = null;
    if (armed.inner) this.#world.cancel(armed.inner);
  }

  /** Milliseconds since 1970 as this node believes. */
  get wallMs(): number {
    return this.#wallOffsetMs + this.nowMs;
  }

  /** Somebody, or ntpd, sets the wall clock: forward, or back when negative. */
  jumpWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  get paused(): boolean {
    return this.#gate.paused;
  }

  /** The machine stands still. */
  pause(): void {
    this.#gate.paused = true;
  }

  resume(): void {
    if (!this.#gate.paused) return;
    this.#gate.open((armed) => {
      armed.inner = this.#world.after(0, () => this.#due(armed));
    });
  }

  /** The time of a new process. */
  process(): ProcessClock {
    return new ProcessClock(this);
  }

  #due(armed: Armed): void {
    if (!armed.run || !this.#gate.pass(armed)) return;
    this.#reachedMs = Math.max(this.#reachedMs, armed.timeMs);
    const { run } = armed;
    armed.run = null;
    run();
  }
}

/** The time of one process: when it ends, everything that it armed is void, and what it still arms never runs. */
export class ProcessClock implements Clock {
  readonly #node: NodeClock;
  readonly #gate = new Gate();
  #ended = false;

  constructor(node: NodeClock) {
    this.#node = node;
  }

  get nowMs(): number {
    return this.#node.nowMs;
  }

  get wallMs(): number {
    return this.#node.wallMs;
  }

  get ended(): boolean {
    return this.#ended;
  }

  at(timeMs: number, run: () => void): Timer {
    const armed: Armed = { run, timeMs, inner: null };
    if (!this.#ended) armed.inner = this.#node.at(timeMs, () => this.#due(armed));
    return armed as unknown as Timer;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.at(this.nowMs + Math.max(0, delayMs), run);
  }

  cancel(timer: Timer): void {
    const armed = timer as unknown as Armed;
    armed.run = null;
    if (armed.inner) this.#node.cancel(armed.inner);
  }

  get paused(): boolean {
    return this.#gate.paused;
  }

  /** SIGSTOP: this process alone stands still. */
  pause(): void {
    this.#gate.paused = true;
  }

  /** SIGCONT. */
  resume(): void {
    if (!this.#gate.paused) return;
    this.#gate.open((armed) => {
      armed.inner = this.#node.after(0, () => this.#due(armed));
    });
  }

  /** The process is dead. */
  end(): void {
    this.#ended = true;
    this.#gate.clear();
  }

  #due(armed: Armed): void {
    if (this.#ended || !armed.run || !this.#gate.pass(armed)) return;
    const { run } = armed;
    armed.run = null;
    run();
  }
}
