/**
 * Turns the wheel of the replication engine: completions of the I/O port, time, and requests from outside each make one
 * turn; at its end answers are given, small packets leave, and everything queued is submitted.
 */
import type { DigestSource, RandomSource } from '../base/ports.js';
import { type Dialect, FULL_DIALECT } from '../drbd/connect.js';
import { Engine } from '../drbd/engine.js';
import type { Decision, Endpoint, EngineHost, LogLevel } from '../drbd/ports.js';
import type { Io } from './io.js';
import type { TimerId, Timers } from './timers.js';

/** What the engine cannot do itself. */
export interface DrbdHooks {
  readonly random: RandomSource;
  readonly digests: DigestSource;
  readonly timers: Timers;
  log(level: LogLevel, object: string, text: string): void;
  /** Run a configured handler; `done` gets its exit code, 0 when none is configured. */
  handler(
    event: string,
    resource: string,
    minor: number | null,
    done: (exit: number) => void,
  ): void;
  exposed(minor: number, generations: readonly bigint[]): void;
  sizeChanged(minor: number): void;
  stateChanged(resource: string): void;
  toBeSaved?(resource: string): void;
  decision?(decision: Decision): void;
  /** For tests and simulations of older peers. */
  dialect?(): Dialect;
}

/** A front end that works once per turn (feeds, takes buffers back). */
export interface FrontPart {
  turn(): void;
}

/** A timer that fires this much too early or late is as good. */
const SLACK_MS = 1;
const LONGEST_MS = 60_000;

export class DrbdLoop {
  readonly io: Io;
  readonly engine: Engine;
  /** For whoever else waits on the engine's thread. */
  readonly timers: Timers;
  #timer: TimerId | null = null;
  #armedMs = Number.POSITIVE_INFINITY;
  #depth = 0;
  #stopped = false;
  readonly #fronts: FrontPart[] = [];

  constructor(io: Io, hooks: DrbdHooks) {
    this.io = io;
    this.timers = hooks.timers;
    const engineOf = (): Engine => this.engine;
    const tagBase = io.register({
      ioDone: (index, result) => {
        // The port is being destroyed: what it still completes must not begin anything.
        if (!this.#stopped) engineOf().ioDone(index, result);
      },
    });
    this.engine = new Engine(io, this.#host(hooks), tagBase);
    io.onBatchEnd(() => this.#endOfTurn());
  }

  #host(hooks: DrbdHooks): EngineHost {
    // Asked when it begins: by the time of the answer it may have another name, or another one may have its name.
    const connectorOf = (name: string) => {
      const asked = this.engine.resource(name);
      return () => (asked && this.engine.resource(asked.name) === asked ? asked.connector : null);
    };
    const buffers = (name: string) => {
      const options = this.engine.resource(name)?.netOptions;
      return {
        sendBufferBytes: options?.sndbufBytes ?? 0,
        receiveBufferBytes: options?.rcvbufBytes ?? 0,
      };
    };
    return {
      random: hooks.random,
      digests: hooks.digests,
      log: (level, object, text) => hooks.log(level, object, text),
      handler: (event, resource, minor, done) => {
        hooks.handler(event, resource, minor, (exit) => {
          if (!this.#stopped) this.enter(() => done(exit));
        });
      },
      exposed: (minor, generations) => hooks.exposed(minor, generations),
      sizeChanged: (minor) => hooks.sizeChanged(minor),
      stateChanged: (resource) => hooks.stateChanged(resource),
      toBeSaved: (resource) => hooks.toBeSaved?.(resource),
      decision: (decision) => hooks.decision?.(decision),
      dialect: () => hooks.dialect?.() ?? FULL_DIALECT,
      listen: (resource, local) => {
        const connector = connectorOf(resource);
        return this.io.listen(local, buffers(resource), {
          accepted: (_listener, stream) => {
            const owner = connector();
            if (owner) owner.accepted(stream);
            else this.io.close(stream);
          },
        });
      },
      dial: (resource, local: Endpoint, remote: Endpoint, timeoutMs) => {
        const connector = connectorOf(resource);
        const tag = this.engine.core.cold((result) => {
          const owner = connector();
          if (owner) owner.dialed(result);
          else if (result >= 0) this.io.close(result);
        });
        this.io.connect(remote, { ...local, port: 0 }, timeoutMs, buffers(resource), tag);
      },
    };
  }

  /** Do something in the engine from outside: a turn of its own, or part of the one under way. */
  enter<T>(work: () => T): T {
    // Nothing may have happened for long: by the clock of then, what is begun now would be late already.
    if (this.#depth === 0) this.io.refresh();
    this.#depth++;
    try {
      return work();
    } finally {
      this.#depth--;
      // A destroyed port's descriptor may be somebody else's by now.
      if (this.#depth === 0 && !this.#stopped) {
        this.#endOfTurn();
        this.io.submit();
      }
    }
  }

  #endOfTurn(): void {
    if (this.#stopped) return;
    this.engine.turnEnd();
    if (this.#fronts.length > 0) {
      for (let i = 0; i < this.#fronts.length; i++) (this.#fronts[i] as FrontPart).turn();
      this.engine.turnEnd(); // what they asked for may have produced packets
    }
    this.#arm();
  }

  addFront(part: FrontPart): void {
    this.#fronts.push(part);
  }

  removeFront(part: FrontPart): void {
    const i = this.#fronts.indexOf(part);
    if (i >= 0) this.#fronts.splice(i, 1);
  }

  #arm(): void {
    const now = this.io.nowMs();
    const deadlineMs = Math.min(this.engine.deadlineMs, now + LONGEST_MS);
    // An earlier alarm does no harm: it looks and arms again. Only a later one must be moved.
    if (this.#timer !== null && deadlineMs >= this.#armedMs - SLACK_MS) return;
    if (this.#timer !== null) this.timers.cancel(this.#timer);
    this.#armedMs = deadlineMs;
    this.#timer = this.timers.after(Math.max(0, Math.ceil(deadlineMs - now)), () => this.#alarm());
  }

  #alarm(): void {
    this.#timer = null;
    this.#armedMs = Number.POSITIVE_INFINITY;
    if (this.#stopped) return;
    this.io.submit(); // refreshes the clock
    this.enter(() => this.engine.tick(this.io.nowMs()));
  }

  /** No more turns; the caller destroys the port. */
  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) this.timers.cancel(this.#timer);
    this.#timer = null;
  }
}
