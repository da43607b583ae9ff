/**
 * A model of how the kernel's DRBD 8.4 connects, for our machine to meet in the simulated network: one thread that
 * dials, then waits for a call, and looks at nothing else meanwhile. Written from docs/PROTOCOL.md#connecting.
 */
import { COMMANDS } from '../../src/wire/constants.js';
import { newHeader, putHeader, readHeader } from '../../src/wire/hot.js';
import { encodePacket } from '../../src/wire/packets.js';
import { AFTER, type End, type Network, type TestNode } from './connect-network.js';

const CONNECT_INT_MS = 10_000;
const CHECK_MS = 500;
const PACKET_MS = 2000;
const FEATURES = encodePacket(
  {
    type: 'P_CONNECTION_FEATURES',
    volume: 0,
    body: { protocolMin: 86, features: 15, protocolMax: 101, pad: 0 },
  },
  { apv: 80, features: 0 },
);

/** What the thread waits for. It goes on when `ready` holds or at `untilMs`. */
interface Wait {
  readonly untilMs: number;
  readonly ready: () => boolean;
}

export class KernelNode implements TestNode {
  readonly network: Network;
  peer: TestNode | null = null;
  listening = false;
  resolveConflicts = false;
  established: { data: End; meta: End } | null = null;
  connections = 0;
  readonly #backlog: End[] = [];
  readonly #thread: Generator<Wait, void, void>;
  #wait: Wait | null = null;
  #data: End | null = null;
  #meta: End | null = null;

  constructor(network: Network) {
    this.network = network;
    this.#thread = this.#run();
  }

  start(): void {
    this.#resume();
  }
  get deadlineMs(): number {
    return this.#wait?.untilMs ?? Number.POSITIVE_INFINITY;
  }
  get pair(): { data: number; meta: number; heard: boolean } | null {
    const e = this.established;
    if (e === null) return null;
    const heard = [e.data, e.meta].every((end) => Buffer.from(end.unread).equals(AFTER));
    return { data: e.data.wire, meta: e.meta.wire, heard };
  }
  accept(end: End): void {
    this.#backlog.push(end);
    this.#poke();
  }
  arrived(): void {
    this.#poke();
  }
  ended(): void {
    this.#poke();
  }
  tick(): void {
    if (this.#wait !== null && this.network.nowMs >= this.#wait.untilMs) this.#resume();
  }

  #poke(): void {
    if (this.#wait?.ready()) this.#resume();
  }
  #resume(): void {
    let step = this.#thread.next();
    while (!step.done && step.value.ready()) step = this.#thread.next();
    this.#wait = step.done ? null : step.value;
  }

  #in(ms: number): number {
    return this.network.nowMs + ms;
  }
  *#sleep(ms: number): Generator<Wait, void, void> {
    yield { untilMs: this.#in(ms), ready: () => false };
  }

  *#dial(): Generator<Wait, End | null, void> {
    let result: End | null | undefined;
    if (this.peer === null) throw new Error('a node has its peer');
    this.network.dial(this, this.peer, CONNECT_INT_MS, (end) => {
      result = end;
      this.#poke();
    });
    yield { untilMs: Number.POSITIVE_INFINITY, ready: () => result !== undefined };
    return result ?? null;
  }

  *#read(end: End, bytes: number, ms: number): Generator<Wait, Uint8Array | null, void> {
    yield { untilMs: this.#in(ms), ready: () => end.ended || end.unread.length >= bytes };
    if (end.unread.length < bytes) return null;
    const got = end.unread.slice(0, bytes);
    end.unread = end.unread.slice(bytes);
    return got;
  }

  #first(end: End, command: number): void {
    const bytes = new Uint8Array(8);
    putHeader(new DataView(bytes.buffer), 0, 80, command, 0, 0);
    this.network.send(end, bytes);
  }

  #okay(end: End | null): End | null {
    if (end === null) return null;
    if (!end.ended || end.unread.length > 0) return end;
    this.network.close(end);
    return null;
  }

  *#isEstablished(): Generator<Wait, boolean, void> {
    if (this.#data === null || this.#meta === null) return false;
    yield* this.#sleep(CHECK_MS);
    this.#data = this.#okay(this.#data);
    this.#meta = this.#okay(this.#meta);
    return this.#data !== null && this.#meta !== null;
  }

  *#run(): Generator<Wait, void, void> {
    for (;;) {
      this.listening = true;
      while (!(yield* this.#attempt()));
      this.listening = false;
      for (const end of this.#backlog.splice(0)) this.network.close(end);
      const [data, meta] = [this.#data, this.#meta];
      if (data === null || meta === null) throw new Error('both are there');
      this.network.send(data, FEATURES);
      const features = yield* this.#read(data, FEATURES.length, PACKET_MS);
      if (features !== null) {
        this.established = { data, meta };
        this.connections++;
        for (const end of [data, meta]) this.network.send(end, AFTER);
        yield { untilMs: Number.POSITIVE_INFINITY, ready: () => data.ended || meta.ended };
        this.established = null;
      }
      for (const end of [data, meta]) this.network.close(end);
      this.#data = null;
      this.#meta = null;
      yield* this.#sleep(1000);
    }
  }

  /** One turn of the loop: dial, then wait for a call. */
  *#attempt(): Generator<Wait, boolean, void> {
    const dialed = yield* this.#dial();
    if (dialed !== null) {
      if (this.#data === null) {
        this.#data = dialed;
        this.#first(dialed, COMMANDS.P_INITIAL_DATA);
      } else if (this.#meta === null) {
        this.#meta = dialed;
        this.resolveConflicts = false;
        this.#first(dialed, COMMANDS.P_INITIAL_META);
      } else throw new Error('nothing was missing');
    }
    if (yield* this.#isEstablished()) return true;
    let again = true;
    while (again) {
      const jitter = this.network.rng.chance(0.5) ? 1 : -1;
      const waitMs = CONNECT_INT_MS + (jitter * CONNECT_INT_MS) / 7;
      yield { untilMs: this.#in(waitMs), ready: () => this.#backlog.length > 0 };
      const end = this.#backlog.shift();
      if (end === undefined) break;
      again = (yield* this.#call(end)) && this.network.rng.chance(0.5);
    }
    return yield* this.#isEstablished();
  }

  /** Somebody called. True when a coin is to be tossed. */
  *#call(end: End): Generator<Wait, boolean, void> {
    const bytes = yield* this.#read(end, 8, PACKET_MS);
    const header = newHeader();
    if (bytes !== null) readHeader(new DataView(bytes.buffer), 0, 8, 80, header);
    this.#data = this.#okay(this.#data);
    this.#meta = this.#okay(this.#meta);
    if (header.command === COMMANDS.P_INITIAL_DATA) {
      const crossed = this.#data;
      if (crossed !== null) this.network.close(crossed);
      this.#data = end;
      return crossed !== null;
    }
    if (header.command === COMMANDS.P_INITIAL_META) {
      this.resolveConflicts = true;
      const crossed = this.#meta;
      if (crossed !== null) this.network.close(crossed);
      this.#meta = end;
      return crossed !== null;
    }
    this.network.close(end);
    return true;
  }
}
