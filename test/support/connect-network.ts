/**
 * A simulated TCP network for the connection-establishment machine: virtual time, random delays in order per direction,
 * lost dials, resets, strangers. Each node has one address, a listener or none, and streams; `Node.out` is what its
 * machine wants done.
 */
import { Prng } from '../../src/base/prng.js';
import { DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import {
  Connect,
  type ConnectEffect,
  type ConnectSettings,
  connectSettings,
} from '../../src/drbd/connect.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { encodePacket } from '../../src/wire/packets.js';

/** Settings of the two. */
export function settings(
  change: Partial<typeof DEFAULT_NET_OPTIONS> = {},
): [ConnectSettings, ConnectSettings] {
  const options = { ...DEFAULT_NET_OPTIONS, ...change };
  return [connectSettings(options), connectSettings(options)];
}

export interface NetworkOptions {
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  readonly lostDials: number; // probability
  readonly resets: number; // probability that a stream breaks within its first seconds
  readonly healMs: number; // from then on nothing is lost and nothing breaks
}

export type Established = Extract<ConnectEffect, { type: 'established' }>;

/** One end of a stream. */
export interface End {
  readonly node: TestNode | null; // null: a stranger
  readonly id: number;
  readonly wire: number; // same on both ends
  peer: End | null;
  unread: Uint8Array;
  ended: boolean; // end or error seen
  closed: boolean;
  arriveMs: number; // of the last thing sent to it: order is kept
}

export class Network {
  readonly rng: Prng;
  readonly options: NetworkOptions;
  nowMs = 0;
  #nextId = 1;
  #nextWire = 1;
  #order = 0;
  readonly #events: { atMs: number; order: number; run: () => void }[] = [];

  constructor(seed: number, options: NetworkOptions) {
    this.rng = new Prng(seed);
    this.options = options;
  }

  at(atMs: number, run: () => void): void {
    this.#events.push({ atMs, order: this.#order++, run });
  }

  delayMs(): number {
    const { minDelayMs, maxDelayMs } = this.options;
    return minDelayMs + (this.rng.u32() / 0x100000000) * (maxDelayMs - minDelayMs);
  }

  get faulty(): boolean {
    return this.nowMs < this.options.healMs;
  }

  end(node: TestNode | null, wire: number): End {
    const id = this.#nextId++;
    return {
      node,
      id,
      wire,
      peer: null,
      unread: new Uint8Array(0),
      ended: false,
      closed: false,
      arriveMs: 0,
    };
  }

  /** A SYN from `from` (null: a stranger) to `to`; `done` gets our end, or null when refused or lost. */
  dial(
    from: TestNode | null,
    to: TestNode,
    timeoutMs: number,
    done: (end: End | null) => void,
  ): void {
    if (this.faulty && this.rng.chance(this.options.lostDials)) {
      this.at(this.nowMs + timeoutMs, () => done(null));
      return;
    }
    this.at(this.nowMs + this.delayMs(), () => {
      const backMs = this.nowMs + this.delayMs();
      if (!to.listening) {
        this.at(backMs, () => done(null));
        return;
      }
      const wire = this.#nextWire++;
      const ours = this.end(from, wire);
      const theirs = this.end(to, wire);
      ours.peer = theirs;
      theirs.peer = ours;
      theirs.arriveMs = backMs; // nothing can be sent before the dialer knows
      to.accept(theirs);
      this.at(backMs, () => done(ours));
      if (from !== null && this.faulty && this.rng.chance(this.options.resets)) {
        this.at(this.nowMs + this.rng.below(3000), () => {
          this.deliverEnd(ours);
          this.deliverEnd(theirs);
        });
      }
    });
  }

  #later(to: End, run: () => void): void {
    to.arriveMs = Math.max(to.arriveMs, this.nowMs + this.delayMs());
    this.at(to.arriveMs, run);
  }

  send(from: End, bytes: Uint8Array): void {
    const to = from.peer;
    if (to === null || from.closed || from.ended) return;
    this.#later(to, () => {
      if (to.closed || to.ended) return;
      const all = new Uint8Array(to.unread.length + bytes.length);
      all.set(to.unread);
      all.set(bytes, to.unread.length);
      to.unread = all;
      to.node?.arrived(to);
    });
  }

  close(end: End): void {
    if (end.closed) return;
    end.closed = true;
    const to = end.peer;
    if (to !== null) this.#later(to, () => this.deliverEnd(to));
  }

  deliverEnd(end: End): void {
    if (end.closed || end.ended) return;
    end.ended = true;
    end.node?.ended(end);
  }

  /** Runs until `untilMs`, or until `done` holds after an event. */
  run(nodes: readonly TestNode[], untilMs: number, done: () => boolean = () => false): void {
    while (!done()) {
      let next = this.#events[0];
      for (const e of this.#events) {
        if (next === undefined || e.atMs < next.atMs) next = e;
        else if (e.atMs === next.atMs && e.order < next.order) next = e;
      }
      const tickMs = Math.min(...nodes.map((n) => n.deadlineMs));
      const atMs = Math.min(next?.atMs ?? Number.POSITIVE_INFINITY, tickMs);
      if (atMs > untilMs) break;
      this.nowMs = Math.max(this.nowMs, atMs);
      if (next !== undefined && next.atMs <= tickMs) {
        this.#events.splice(this.#events.indexOf(next), 1);
        next.run();
      } else {
        for (const n of nodes) if (n.deadlineMs <= this.nowMs) n.tick();
      }
    }
    this.nowMs = Math.max(this.nowMs, Math.min(untilMs, this.nowMs));
  }
}

/** What a network drives: our machine, or a model of another one. */
export interface TestNode {
  readonly listening: boolean;
  readonly deadlineMs: number;
  accept(end: End): void;
  arrived(end: End): void;
  ended(end: End): void;
  tick(): void;
}

/** What each end says first on both streams of an established connection: P_PROTOCOL, as the original does. */
export const AFTER = encodePacket(
  {
    type: 'P_PROTOCOL',
    volume: 0,
    body: {
      protocol: 3,
      afterSb0p: 0,
      afterSb1p: 0,
      afterSb2p: 0,
      connFlags: 0,
      twoPrimaries: 0,
      integrityAlg: '',
    },
  },
  { apv: 101, features: 0xf },
);

/** A node that runs our machine and, as drbdd does, starts over when a connection ends. */
export class OurNode implements TestNode {
  readonly network: Network;
  readonly machine: Connect;
  readonly logs: string[] = [];
  peer: TestNode | null = null;
  listening = false;
  standAlone: string | null = null;
  established: Established | null = null;
  connections = 0;
  problems: string[] = [];
  readonly #ends = new Map<number, End>();
  readonly #consumed = new Map<number, number>();
  readonly #heard = new Set<number>(); // streams of the connection on which AFTER arrived
  #restartMs = Number.POSITIVE_INFINITY;

  constructor(network: Network, settings: ConnectSettings) {
    this.network = network;
    const random = { u32: () => network.rng.u32(), bytes: (n: number) => this.#bytes(n) };
    this.machine = new Connect(settings, random, nodeDigests);
  }

  #bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.network.rng.below(256));
  }

  get deadlineMs(): number {
    return Math.min(this.#restartMs, this.machine.deadlineMs);
  }
  get openStreams(): number {
    return this.#ends.size;
  }
  /** Wires of data and meta stream, and whether the other side has been heard on both behind the handshake. */
  get pair(): { data: number; meta: number; heard: boolean } | null {
    if (this.established === null) return null;
    const { dataStream, metaStream } = this.established;
    const data = this.#ends.get(dataStream)?.wire ?? 0;
    const meta = this.#ends.get(metaStream)?.wire ?? 0;
    return { data, meta, heard: this.#heard.has(dataStream) && this.#heard.has(metaStream) };
  }

  start(): void {
    this.#call((out) => this.machine.start(this.network.nowMs, out));
  }
  stop(): void {
    this.#call((out) => this.machine.stop(out));
  }
  tick(): void {
    if (this.network.nowMs >= this.#restartMs) {
      this.#restartMs = Number.POSITIVE_INFINITY;
      this.start();
    } else this.#call((out) => this.machine.tick(this.network.nowMs, out));
  }
  accept(end: End): void {
    this.#ends.set(end.id, end);
    this.#call((out) => this.machine.accepted(end.id, this.network.nowMs, out));
  }
  arrived(end: End): void {
    if (this.#ofConnection(end.id)) this.#hear(end);
    else {
      this.#call((out) => this.machine.received(end.id, end.unread, this.network.nowMs, out));
    }
  }
  ended(end: End): void {
    if (this.#ofConnection(end.id)) this.#fail();
    else this.#call((out) => this.machine.streamEnded(end.id, this.network.nowMs, out));
  }

  #ofConnection(id: number): boolean {
    const e = this.established;
    return e !== null && (e.dataStream === id || e.metaStream === id);
  }

  #hear(end: End): void {
    if (end.unread.length < AFTER.length) return;
    if (!Buffer.from(end.unread).equals(AFTER)) {
      this.problems.push(`leftover ${Buffer.from(end.unread).toString('hex')}`);
    }
    this.#heard.add(end.id);
  }

  #fail(): void {
    const e = this.established;
    if (e === null) return;
    this.established = null;
    for (const id of [e.dataStream, e.metaStream]) this.#close(id);
    this.#restartMs = this.network.nowMs + 1000;
  }

  #close(id: number): void {
    const end = this.#ends.get(id);
    if (end === undefined) {
      this.problems.push(`close of stream ${id}, which is not open`);
      return;
    }
    this.#ends.delete(id);
    this.network.close(end);
  }

  /** Effects in order; what they cause here is called after all of them, as the host does. */
  #call(input: (out: ConnectEffect[]) => void): void {
    const out: ConnectEffect[] = [];
    input(out);
    for (const effect of out) this.#carryOut(effect);
  }

  #carryOut(effect: ConnectEffect): void {
    switch (effect.type) {
      case 'listen':
        if (this.listening) this.problems.push('listening twice');
        this.listening = true;
        return;
      case 'stopListen':
        if (!this.listening) this.problems.push('stopListen without listener');
        this.listening = false;
        return;
      case 'dial':
        this.#dial(effect.timeoutMs);
        return;
      case 'send': {
        const end = this.#ends.get(effect.stream);
        if (end === undefined) this.problems.push('send on a stream that is not open');
        else this.network.send(end, effect.bytes);
        return;
      }
      case 'consume': {
        const end = this.#ends.get(effect.stream);
        if (end === undefined || end.unread.length < effect.bytes) {
          this.problems.push('consumed more than there is');
          return;
        }
        end.unread = end.unread.slice(effect.bytes);
        this.#consumed.set(end.id, (this.#consumed.get(end.id) ?? 0) + effect.bytes);
        return;
      }
      case 'close':
        this.#close(effect.stream);
        return;
      case 'askAlive':
        for (const id of effect.streams) {
          const end = this.#ends.get(id);
          const isAlive = end !== undefined && !end.ended;
          this.network.at(this.network.nowMs, () =>
            this.#call((out) => this.machine.alive(id, isAlive, this.network.nowMs, out)),
          );
        }
        return;
      case 'established':
        this.#begin(effect);
        return;
      case 'standAlone':
        this.standAlone = effect.reason;
        return;
      case 'log':
        this.logs.push(effect.text);
        return;
      case 'cstate':
        return;
    }
  }

  #dial(timeoutMs: number): void {
    const { peer, network } = this;
    if (peer === null) throw new Error('a node has its peer');
    network.dial(this, peer, timeoutMs, (end) => {
      if (end === null) this.#call(() => this.machine.dialFailed(111, network.nowMs));
      else {
        this.#ends.set(end.id, end);
        this.#call((out) => this.machine.dialed(end.id, network.nowMs, out));
      }
    });
  }

  #begin(effect: Established): void {
    this.established = effect;
    this.connections++;
    this.#heard.clear();
    for (const [id, consumed] of [
      [effect.dataStream, effect.dataConsumed],
      [effect.metaStream, effect.metaConsumed],
    ] as const) {
      if (consumed !== (this.#consumed.get(id) ?? 0)) this.problems.push('consumed: wrong account');
      const end = this.#ends.get(id);
      if (end === undefined) this.problems.push('established on a stream that is not open');
      else {
        this.network.send(end, AFTER);
        this.#hear(end); // what came early
      }
    }
    for (const id of [effect.dataStream, effect.metaStream]) {
      // An end that was seen before belongs to the connection now.
      if (this.#ends.get(id)?.ended) this.#fail();
    }
  }
}

/** For strangers: a dial that says `bytes` and nothing else. */
export function stranger(network: Network, to: TestNode, bytes: Uint8Array): void {
  network.dial(null, to, 1000, (end) => {
    if (end === null) return;
    network.send(end, bytes);
    if (network.rng.chance(0.5))
      network.at(network.nowMs + network.rng.below(5000), () => network.close(end));
  });
}
