/**
 * From nothing to a connection: two TCP streams between two nodes that dial and listen at the same time, one for data
 * and one for acknowledgements (meta), both to the same port. Ends before P_PROTOCOL.
 *
 *     start -> dialing -> accepting -> dialing ...          until both streams are there
 *     both there -> checking (T_check) -> asking -> handshake -> established
 *     handshake lost or damaged -> resting (1 s, 2 s, 4 s ... 10 s) -> start;   refused -> standAlone
 *
 * The first stream that a node dials becomes its data stream, the second its meta stream; the first packet says so to
 * whoever accepts. Any mixture is right. When both nodes dial the same one at the same time ("crossed"), one of
 * the two streams has to go. The kernel always closes its own and takes the peer's; two kernels then are left with none.
 * Here a node keeps its own: with a kernel as peer that is the one both keep. Two of us close both, toss coins and
 * dial again within about T_check; of 500 such pairs the slowest needed 1.2 s, like with any rule that was tried.
 *
 * A stream is taken for the peer by its first packet alone; only the HMAC proves it (8.4 has no address check). What is
 * wrong or silent is closed without touching the attempt. The listener exists only while connecting.
 * Source: docs/PROTOCOL.md#connecting, #crossing.
 */
import { assert } from '../base/assert.js';
import type { DigestSource, RandomSource } from '../base/ports.js';
import type { NetOptions } from '../config/drbd-options.js';
import {
  APV_BEFORE_FEATURES,
  COMMANDS,
  FEATURES_ALL,
  PROTOCOL_MAX,
  PROTOCOL_MIN,
  SHARED_SECRET_MAX_BYTES,
} from '../wire/constants.js';
import { headerBytes, newHeader, putHeader, readHeader } from '../wire/hot.js';
import { ConnectHandshake } from './connect-handshake.js';

export type StandAloneReason =
  | 'listen' // no listening socket: the address is not ours, or used by another program
  | 'features' // the peer says something else than its features
  | 'version' // no common protocol version
  | 'authentication';

export type ConnectEffect =
  /** Answered by `accepted`, any number of times, or by `listenFailed`. */
  | { readonly type: 'listen' }
  | { readonly type: 'stopListen' }
  /** Answered by `dialed` or `dialFailed`, once. Never two at a time. */
  | { readonly type: 'dial'; readonly timeoutMs: number }
  | { readonly type: 'send'; readonly stream: number; readonly bytes: Uint8Array }
  /** The first `bytes` of what has not been consumed of the stream are done with. */
  | { readonly type: 'consume'; readonly stream: number; readonly bytes: number }
  | { readonly type: 'close'; readonly stream: number }
  /** Answered by `alive` for each: a peek that finds neither end nor error. */
  | { readonly type: 'askAlive'; readonly streams: readonly number[] }
  | { readonly type: 'cstate'; readonly conn: 'WFConnection' | 'Unconnected' }
  | {
      readonly type: 'established';
      readonly dataStream: number;
      readonly metaStream: number;
      readonly apv: number;
      readonly features: number;
      readonly resolveConflicts: boolean; // we accepted the meta stream, the peer dialed it
      /** Bytes of each stream that were consumed in all; what is behind them is the connection's. */
      readonly dataConsumed: number;
      readonly metaConsumed: number;
    }
  | { readonly type: 'standAlone'; readonly reason: StandAloneReason }
  | { readonly type: 'log'; readonly level: 'info' | 'warn' | 'error'; readonly text: string };

export interface ConnectSettings {
  readonly connectIntMs: number; // for a dial, and between two of them
  readonly checkMs: number; // T_check: how long both streams must have been there
  readonly packetTimeoutMs: number; // for each packet up to P_PROTOCOL
  readonly protocolMin: number;
  readonly protocolMax: number;
  readonly features: number;
  readonly cramHmacAlg: string; // '': no authentication
  readonly sharedSecret: Uint8Array;
}

/** What this node offers to speak. All it knows, but where an older peer is tried out. */
export interface Dialect {
  readonly protocolMax: number;
  readonly features: number;
}

export const FULL_DIALECT: Dialect = { protocolMax: PROTOCOL_MAX, features: FEATURES_ALL };

export function connectSettings(options: NetOptions, dialect = FULL_DIALECT): ConnectSettings {
  const pingTimeoutMs = options.pingTimeoutDs * 100;
  const sharedSecret = new TextEncoder().encode(options.sharedSecret);
  return {
    connectIntMs: options.connectIntS * 1000,
    checkMs:
      options.socketCheckTimeoutDs === 0 ? pingTimeoutMs : options.socketCheckTimeoutDs * 100,
    packetTimeoutMs: 4 * pingTimeoutMs,
    protocolMin: PROTOCOL_MIN,
    protocolMax: dialect.protocolMax,
    features: dialect.features,
    cramHmacAlg: options.cramHmacAlg,
    sharedSecret: sharedSecret.subarray(0, SHARED_SECRET_MAX_BYTES - 1),
  };
}

/**
 * Rest after the `count`th attempt in a row that got as far as a handshake: a peer that ends each of them would otherwise be
 * met many times a second, with a page of log each time.
 */
export function restMs(count: number): number {
  return Math.min(1000 * 2 ** (count - 1), 10_000);
}

function checked(settings: ConnectSettings): ConnectSettings {
  assert(settings.cramHmacAlg === '' || settings.sharedSecret.length > 0, 'a secret is set');
  return settings;
}

/** Accepted streams without a first packet; the oldest goes when one more comes, so that idlers do not lock us. */
const MAX_CANDIDATES = 16;
/** Kept of the data stream: more than the longest packet of the handshake (16 + 128). */
const KEEP_BYTES = 512;
/** A dial that is never answered does not stop the loop. */
const DIAL_GRACE_MS = 1000;
/** More than any crossing: something between the nodes ends each stream behind its first packet. Who is dialed does not dial back at once then. */
const MANY_LOST = 16;
const INITIAL_BYTES = 8;
const EAGAIN = 11;
const EINTR = 4;

interface Stream {
  readonly id: number;
  readonly accepted: boolean; // the peer dialed it
  readonly sinceMs: number;
  readonly consumed: number; // its first packet, where we accepted it
}

type Kind = 'data' | 'meta';
type Phase = 'idle' | 'dialing' | 'accepting' | 'checking' | 'asking' | 'handshake' | 'resting';

const NEVER = Number.POSITIVE_INFINITY;

export class Connect {
  #settings: ConnectSettings;
  readonly #random: RandomSource;
  readonly #digests: DigestSource;
  #phase: Phase = 'idle';
  #phaseEndMs = NEVER;
  readonly #streams: { data: Stream | null; meta: Stream | null } = { data: null, meta: null };
  readonly #candidates = new Map<number, number>(); // accepted stream -> when its first packet is late
  readonly #unanswered = new Set<number>(); // streams asked for in `asking`
  #dialing = false; // a dial has not been answered, in whatever phase
  #kept: Uint8Array = new Uint8Array(0); // first unconsumed bytes of the data stream
  #dataConsumed = 0; // by the handshake
  #handshake: ConnectHandshake | null = null;
  #rests = 0; // in a row
  #lost = 0; // streams, since both were there last

  constructor(settings: ConnectSettings, random: RandomSource, digests: DigestSource) {
    this.#settings = checked(settings);
    this.#random = random;
    this.#digests = digests;
  }

  /** Other settings, for what is begun from now on. */
  configure(settings: ConnectSettings): void {
    this.#settings = checked(settings);
  }

  /** When `tick` has work; infinite when there is none. */
  get deadlineMs(): number {
    let deadlineMs = Math.min(this.#phaseEndMs, this.#handshake?.deadlineMs ?? NEVER);
    for (const lateMs of this.#candidates.values()) deadlineMs = Math.min(deadlineMs, lateMs);
    return deadlineMs;
  }

  /** Working on a connection: neither established, refused, stopped nor new. */
  get running(): boolean {
    return this.#phase !== 'idle';
  }

  /** Begin, or begin again after the end of a connection; maybe after a rest. */
  start(nowMs: number, out: ConnectEffect[], afterMs = 0): void {
    assert(this.#phase === 'idle', 'one attempt at a time');
    if (afterMs > 0) {
      this.#enter('resting', nowMs + afterMs);
      return;
    }
    out.push({ type: 'cstate', conn: 'WFConnection' }, { type: 'listen' });
    this.#dial(nowMs, out);
  }

  /** Give up: disconnect was asked for. */
  stop(out: ConnectEffect[]): void {
    this.#end(out);
  }

  listenFailed(errno: number, nowMs: number, out: ConnectEffect[]): void {
    if (!this.#looping) return;
    out.push({ type: 'log', level: 'error', text: `bind before listen failed, err = -${errno}` });
    if (errno === EAGAIN || errno === EINTR) this.#rest(nowMs, out);
    else this.#standAlone('listen', out);
  }

  dialed(stream: number, nowMs: number, out: ConnectEffect[]): void {
    this.#dialing = false;
    const open = this.#phase === 'dialing' || this.#phase === 'accepting';
    const kind = this.#missing;
    if (!open || kind === null) {
      out.push({ type: 'close', stream }); // accepted ones were quicker; nothing was sent on it
      return;
    }
    this.#streams[kind] = { id: stream, accepted: false, sinceMs: nowMs, consumed: 0 };
    const command = kind === 'data' ? COMMANDS.P_INITIAL_DATA : COMMANDS.P_INITIAL_META;
    const bytes = new Uint8Array(INITIAL_BYTES);
    putHeader(new DataView(bytes.buffer), 0, APV_BEFORE_FEATURES, command, 0, 0);
    out.push({ type: 'send', stream, bytes });
    if (this.#missing === null) this.#check(nowMs);
    else if (this.#phase === 'dialing') this.#accept(nowMs + this.#connectIntMs());
  }

  /** Every error is borne: the peer may come up, the network may heal. A wrong address of ours fails in `listen`. */
  dialFailed(_errno: number, nowMs: number): void {
    this.#dialing = false;
    if (this.#phase === 'dialing') this.#accept(nowMs + this.#connectIntMs());
  }

  accepted(stream: number, nowMs: number, out: ConnectEffect[]): void {
    if (!this.#looping) {
      out.push({ type: 'close', stream });
      return;
    }
    if (this.#candidates.size >= MAX_CANDIDATES) {
      const [oldest] = this.#candidates.keys();
      if (oldest !== undefined) this.#dropCandidate(oldest, out);
    }
    this.#candidates.set(stream, nowMs + this.#settings.packetTimeoutMs);
  }

  /** Bytes arrived: `bytes` are all that have not been consumed, from the first on. They are copied where kept. */
  received(stream: number, bytes: Uint8Array, nowMs: number, out: ConnectEffect[]): void {
    if (this.#candidates.has(stream)) this.#firstPacket(stream, bytes, nowMs, out);
    else if (stream === this.#streams.data?.id) {
      this.#kept = bytes.slice(0, KEEP_BYTES);
      if (this.#handshake !== null) this.#feed(this.#handshake, nowMs, out);
    }
    // The meta stream's bytes wait for the connection; those of closed streams are nobody's.
  }

  /** The peer closed the stream, or it failed. */
  streamEnded(stream: number, nowMs: number, out: ConnectEffect[]): void {
    if (this.#candidates.has(stream)) {
      this.#dropCandidate(stream, out);
      return;
    }
    const { data, meta } = this.#streams;
    if (stream !== data?.id && stream !== meta?.id) return;
    if (this.#phase === 'handshake') {
      const text =
        stream === data?.id ? 'sock was shut down by peer' : 'meta connection shut down by peer.';
      out.push({ type: 'log', level: 'warn', text });
      this.#rest(nowMs, out);
      return;
    }
    this.#lose(stream, nowMs, out);
  }

  /** The answer to `askAlive` for one stream. */
  alive(stream: number, isAlive: boolean, nowMs: number, out: ConnectEffect[]): void {
    if (this.#phase !== 'asking' || !this.#unanswered.delete(stream)) return;
    if (!isAlive) this.#lose(stream, nowMs, out);
    else if (this.#unanswered.size === 0) this.#greet(nowMs, out);
  }

  /** Time passed. Calling late, or twice, is harmless. */
  tick(nowMs: number, out: ConnectEffect[]): void {
    for (const [stream, lateMs] of this.#candidates) {
      if (nowMs < lateMs) continue;
      out.push({ type: 'log', level: 'warn', text: 'Error receiving initial packet' });
      this.#dropCandidate(stream, out);
    }
    if (this.#handshake !== null) {
      this.#handshake.tick(nowMs);
      this.#conclude(this.#handshake, nowMs, out);
      return;
    }
    if (nowMs < this.#phaseEndMs) return;
    if (this.#phase === 'dialing') this.#accept(nowMs + this.#connectIntMs());
    else if (this.#phase === 'accepting') this.#dial(nowMs, out);
    else if (this.#phase === 'checking') this.#ask(nowMs, out);
    else if (this.#phase === 'asking')
      this.#check(nowMs); // not answered: ask again
    else if (this.#phase === 'resting') {
      this.#phase = 'idle';
      this.start(nowMs, out);
    }
  }

  // ---- the loop

  get #looping(): boolean {
    return this.#phase !== 'idle' && this.#phase !== 'handshake' && this.#phase !== 'resting';
  }

  /** What a stream that we dial now would become. */
  get #missing(): Kind | null {
    if (this.#streams.data === null) return 'data';
    return this.#streams.meta === null ? 'meta' : null;
  }

  #enter(phase: Phase, endMs: number): void {
    this.#phase = phase;
    this.#phaseEndMs = endMs;
  }

  #dial(nowMs: number, out: ConnectEffect[]): void {
    const timeoutMs = this.#settings.connectIntMs;
    this.#enter('dialing', nowMs + timeoutMs + DIAL_GRACE_MS);
    if (this.#dialing) return; // one of an earlier round is still on its way and will do
    this.#dialing = true;
    out.push({ type: 'dial', timeoutMs });
  }

  #accept(untilMs: number): void {
    assert(this.#missing !== null, 'there is something to wait for');
    this.#enter('accepting', untilMs);
  }

  /** Both are there. From now on they must stay for T_check: one that the peer gave up is seen to end within it. */
  #check(nowMs: number): void {
    this.#enter('checking', nowMs + this.#settings.checkMs);
    this.#unanswered.clear();
  }

  #ask(nowMs: number, out: ConnectEffect[]): void {
    const { data, meta } = this.#streams;
    assert(data !== null && meta !== null, 'both streams are there while they are checked');
    this.#enter('asking', nowMs + this.#settings.checkMs);
    this.#unanswered.add(data.id).add(meta.id);
    out.push({ type: 'askAlive', streams: [data.id, meta.id] });
  }

  /** connect-int plus or minus a seventh, so that two nodes that started together do not stay together. */
  #connectIntMs(): number {
    const { connectIntMs } = this.#settings;
    return connectIntMs + ((this.#coin() ? 1 : -1) * connectIntMs) / 7;
  }

  /** After a stream was lost or given up: around T_check, and never at the same time on both nodes. */
  #soon(nowMs: number): number {
    return nowMs + this.#settings.checkMs * (0.5 + this.#random.u32() / 0x100000000);
  }

  #coin(): boolean {
    return (this.#random.u32() & 1) === 1;
  }

  #firstPacket(stream: number, bytes: Uint8Array, nowMs: number, out: ConnectEffect[]): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const header = newHeader();
    const size = readHeader(view, 0, bytes.length, APV_BEFORE_FEATURES, header);
    if (size === 0) return;
    const isData = header.command === COMMANDS.P_INITIAL_DATA;
    const isMeta = header.command === COMMANDS.P_INITIAL_META;
    if (size < 0 || header.length !== 0 || !(isData || isMeta)) {
      out.push({ type: 'log', level: 'warn', text: 'Error receiving initial packet' });
      this.#dropCandidate(stream, out);
      return;
    }
    this.#candidates.delete(stream);
    out.push({ type: 'consume', stream, bytes: size });
    const taken = { id: stream, accepted: true, sinceMs: nowMs, consumed: size };
    this.#take(isData ? 'data' : 'meta', taken, bytes.slice(size, size + KEEP_BYTES), nowMs, out);
  }

  /** The peer says: this one is for `kind`. */
  #take(kind: Kind, theirs: Stream, rest: Uint8Array, nowMs: number, out: ConnectEffect[]): void {
    const ours = this.#streams[kind];
    const crossed = ours !== null;
    if (ours !== null) {
      const text = `initial packet ${kind === 'data' ? 'S' : 'M'} crossed`;
      out.push({ type: 'log', level: 'warn', text });
      // The peer dials again: what we had of it is history. So is ours when it is older than a crossing takes.
      const stale = ours.accepted || nowMs - ours.sinceMs > this.#settings.packetTimeoutMs;
      if (!stale) {
        out.push({ type: 'close', stream: theirs.id });
        if (this.#phase === 'accepting') this.#toss(nowMs, out);
        return;
      }
      out.push({ type: 'close', stream: ours.id });
    }
    this.#streams[kind] = theirs;
    if (kind === 'data') this.#kept = rest;
    if (this.#missing === null) this.#check(nowMs);
    else if (this.#phase === 'accepting') {
      if (crossed) this.#toss(nowMs, out);
      else if (this.#lost > MANY_LOST) this.#accept(this.#soon(nowMs));
      else this.#dial(nowMs, out); // the other one is ours to dial
    }
  }

  #toss(nowMs: number, out: ConnectEffect[]): void {
    if (this.#coin()) this.#accept(this.#soon(nowMs));
    else this.#dial(nowMs, out);
  }

  #dropCandidate(stream: number, out: ConnectEffect[]): void {
    this.#candidates.delete(stream);
    out.push({ type: 'close', stream });
  }

  #lose(stream: number, nowMs: number, out: ConnectEffect[]): void {
    const kind = stream === this.#streams.data?.id ? 'data' : 'meta';
    this.#streams[kind] = null;
    this.#lost++;
    if (kind === 'data') this.#kept = new Uint8Array(0);
    out.push({ type: 'close', stream });
    if (this.#phase === 'dialing') return;
    const soonMs = this.#soon(nowMs);
    this.#accept(this.#phase === 'accepting' ? Math.min(soonMs, this.#phaseEndMs) : soonMs);
  }

  // ---- both streams are there

  #greet(nowMs: number, out: ConnectEffect[]): void {
    const { data } = this.#streams;
    assert(data !== null, 'both streams are there when they are alive');
    this.#lost = 0;
    this.#enter('handshake', NEVER);
    for (const stream of [...this.#candidates.keys()]) this.#dropCandidate(stream, out);
    out.push({ type: 'stopListen' });
    this.#dataConsumed = 0;
    this.#handshake = new ConnectHandshake(
      data.id,
      this.#settings,
      this.#random,
      this.#digests,
      nowMs,
      out,
    );
    this.#feed(this.#handshake, nowMs, out); // the peer may have been first
  }

  #feed(handshake: ConnectHandshake, nowMs: number, out: ConnectEffect[]): void {
    const { data } = this.#streams;
    assert(data !== null, 'the handshake has its stream');
    const consumed = handshake.receive(this.#kept, nowMs, out);
    if (consumed > 0) {
      this.#kept = this.#kept.slice(consumed);
      this.#dataConsumed += consumed;
      out.push({ type: 'consume', stream: data.id, bytes: consumed });
    }
    this.#conclude(handshake, nowMs, out);
  }

  #conclude(handshake: ConnectHandshake, nowMs: number, out: ConnectEffect[]): void {
    const { outcome } = handshake;
    if (outcome === null) return;
    if (outcome.type === 'stand-alone') {
      this.#standAlone(outcome.reason, out);
      return;
    }
    if (outcome.type === 'retry') {
      this.#rest(nowMs, out);
      return;
    }
    const { data, meta } = this.#streams;
    assert(data !== null && meta !== null, 'the handshake has its streams');
    this.#handshake = null;
    this.#rests = 0;
    this.#streams.data = null; // they belong to the connection now
    this.#streams.meta = null;
    this.#enter('idle', NEVER);
    out.push({
      type: 'established',
      dataStream: data.id,
      metaStream: meta.id,
      apv: outcome.apv,
      features: outcome.features,
      resolveConflicts: meta.accepted,
      dataConsumed: data.consumed + this.#dataConsumed,
      metaConsumed: meta.consumed,
    });
  }

  #standAlone(reason: StandAloneReason, out: ConnectEffect[]): void {
    this.#end(out);
    out.push({ type: 'log', level: 'warn', text: 'Discarding network configuration.' });
    out.push({ type: 'standAlone', reason });
  }

  #rest(nowMs: number, out: ConnectEffect[]): void {
    this.#end(out);
    this.#rests++;
    this.#enter('resting', nowMs + restMs(this.#rests));
    out.push({ type: 'cstate', conn: 'Unconnected' });
  }

  /** Closes everything. A dial that is still on its way is closed when it is answered. */
  #end(out: ConnectEffect[]): void {
    if (this.#looping) out.push({ type: 'stopListen' });
    for (const stream of [...this.#candidates.keys()]) this.#dropCandidate(stream, out);
    for (const kind of ['data', 'meta'] as const) {
      const stream = this.#streams[kind];
      if (stream !== null) out.push({ type: 'close', stream: stream.id });
      this.#streams[kind] = null;
    }
    this.#handshake = null;
    this.#kept = new Uint8Array(0);
    this.#enter('idle', NEVER);
  }
}

assert(headerBytes(APV_BEFORE_FEATURES, 0) === INITIAL_BYTES, 'the first packet is one old header');
