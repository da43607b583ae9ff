/**
 * What every I/O engine must do, whatever is below it: one suite, run over the native, the fallback and the simulated
 * engine. A `Rig` hides what differs: how time passes, where disks and addresses come from.
 */
import type { ExecutionContext } from 'ava';
import type { Endpoint, Io, IoOwner, StreamOwner } from '../../src/host/io.js';
import { diskConformance } from './io-conformance-disk.js';
import { lifeConformance } from './io-conformance-life.js';
import { streamConformance } from './io-conformance-stream.js';

export interface Rig {
  readonly io: Io;
  /** Lets the world go on until `ready()`, or throws. */
  until(ready: () => boolean, what: string): Promise<void>;
  /** A fresh disk of zeroes; its path. */
  disk(sizeBytes: number): string;
  /** Makes a disk larger behind the engine's back. */
  growDisk(path: string, sizeBytes: number): void;
  /** A TCP address on which nobody listens yet. */
  tcp(): Promise<Endpoint & { readonly family: 'ipv4' }>;
  /** An address that does not answer, not even with a refusal. */
  blackHole(): Promise<Endpoint>;
  /** A second local address to come from, and one that is nobody's. */
  readonly secondHost: string;
  readonly foreignHost: string;
  /** A fresh path for a unix socket. */
  unixPath(): string;
  close(): Promise<void>;
}

export type MakeRig = (t: ExecutionContext) => Promise<Rig>;

export const PLAIN = { sendBufferBytes: 0, receiveBufferBytes: 0 };

/** Collects completions: `op()` gives a tag, `result(tag)` waits for what came of it. */
export class Probe implements IoOwner {
  readonly #rig: Rig;
  readonly #first: number;
  readonly results = new Map<number, number>();
  /** Indices in the order of their completion. */
  readonly order: number[] = [];
  #next = 0;

  constructor(rig: Rig) {
    this.#rig = rig;
    this.#first = rig.io.register(this);
  }

  ioDone(index: number, result: number): void {
    if (this.results.has(index)) throw new Error(`operation ${index} is done twice`);
    this.results.set(index, result);
    this.order.push(index);
  }

  op(): number {
    return this.#first + this.#next++;
  }

  async result(tag: number): Promise<number> {
    const index = tag - this.#first;
    this.#rig.io.submit();
    await this.#rig.until(() => this.results.has(index), `operation ${index}`);
    return this.results.get(index) as number;
  }

  /** Waits until all operations so far are done; their results in the order of `op`. */
  async all(): Promise<number[]> {
    this.#rig.io.submit();
    await this.#rig.until(() => this.results.size === this.#next, 'all operations');
    return Array.from({ length: this.#next }, (_, i) => this.results.get(i) as number);
  }
}

/** A stream owner whose reaction to bytes is given by the test. */
export class Reader implements StreamOwner {
  /** Set by the test; without it bytes stay unconsumed. */
  onData: ((stream: number, start: number, end: number) => void) | null = null;
  calls = 0;
  start = 0;
  end = 0;
  error = -1; // -1 until the end was told
  ends = 0;

  streamData(stream: number, start: number, end: number): void {
    this.calls++;
    this.start = start;
    this.end = end;
    this.onData?.(stream, start, end);
  }

  streamEnd(_stream: number, error: number): void {
    this.error = error;
    this.ends++;
  }
}

/** Both ends of a fresh connection, not attached. */
export interface Pair {
  readonly client: number;
  readonly server: number;
  readonly listener: number;
  readonly peer: string;
}

export async function connected(
  rig: Rig,
  probe: Probe,
  at?: Endpoint,
  local: Endpoint | null = null,
): Promise<Pair> {
  const where = at ?? (await rig.tcp());
  let server = -1;
  let peer = '';
  const listener = rig.io.listen(where, PLAIN, {
    accepted: (_listener, stream, name) => {
      server = stream;
      peer = name;
    },
  });
  if (listener < 0) throw new Error(`listen: ${listener}`);
  const tag = probe.op();
  rig.io.connect(where, local, 5_000, PLAIN, tag);
  const client = await probe.result(tag);
  if (client < 0) throw new Error(`connect: ${client}`);
  await rig.until(() => server >= 0, 'accepted');
  return { client, server, listener, peer };
}

export function take(rig: Rig, payloadBytes: number): number {
  const at = rig.io.alloc(payloadBytes);
  if (at < 0) throw new Error(`no buffer for ${payloadBytes}`);
  return at;
}

/** A byte that differs by position and by `seed`, so that what is misplaced shows. */
export function pattern(seed: number, position: number): number {
  return (Math.imul(position + 1, 2654435761) ^ Math.imul(seed + 1, 40503)) >>> 24;
}

export function fill(rig: Rig, at: number, lengthBytes: number, seed: number, position = 0): void {
  for (let i = 0; i < lengthBytes; i++) rig.io.pool[at + i] = pattern(seed, position + i);
}

/** Index of the first byte that differs from the pattern, or -1. */
export function differs(
  rig: Rig,
  at: number,
  lengthBytes: number,
  seed: number,
  position = 0,
): number {
  for (let i = 0; i < lengthBytes; i++) {
    if (rig.io.pool[at + i] !== pattern(seed, position + i)) return i;
  }
  return -1;
}

/** The whole suite; `name` goes before each title. */
export function ioConformance(name: string, make: MakeRig): void {
  const withRig = (run: (t: ExecutionContext, rig: Rig, probe: Probe) => Promise<void>) => {
    return async (t: ExecutionContext): Promise<void> => {
      const rig = await make(t);
      try {
        await run(t, rig, new Probe(rig));
      } finally {
        await rig.close();
      }
    };
  };
  diskConformance(name, withRig);
  streamConformance(name, withRig);
  lifeConformance(name, withRig);
}

export type WithRig = (
  run: (t: ExecutionContext, rig: Rig, probe: Probe) => Promise<void>,
) => (t: ExecutionContext) => Promise<void>;
