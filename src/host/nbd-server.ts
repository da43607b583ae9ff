/**
 * An NBD export of replicated volumes: for virtual machines, qemu-img, nbdcopy, fio, and hosts without FUSE or loop.
 *
 *     listener -> connection: greeting -> client flags -> options -> GO -> requests ... -> DISC
 *
 * Requests of all connections share the slots; replies go out in the order of completion. As in FuseServer nothing is
 * allocated per request: slots are columns of typed arrays, a WRITE is received into a pool buffer that is handed to
 * the volume, a READ is sent with its header in front of the payload.
 *
 *     READ          alloc -> volume.read -> send header + payload -> free
 *     WRITE         alloc -> receive -> volume.write (buffer handed over) -> send header
 *     others        volume.flush / discard / writeZeroes [-> volume.flush for FUA] -> send header
 *
 * A request that finds no slot or buffer stays unconsumed in its stream and is looked at again each turn; only that
 * connection waits. A peer that sends garbage, or a WRITE larger than what was announced, loses its own connection and
 * nothing else. There is no authentication: bind it to a unix socket or a trusted network.
 *
 * Every acknowledged flush covers all connections (the volume is one), hence CAN_MULTI_CONN.
 */
import { assert } from '../base/assert.js';
import {
  CLIENT_FLAGS_BYTES,
  Command,
  CommandFlag,
  cookieHigh,
  cookieLow,
  decodeClientFlags,
  encodeGreeting,
  isRequest,
  nbdError,
  putReply,
  REPLY_BYTES,
  REQUEST_BYTES,
  requestFlags,
  requestLength,
  requestOffset,
  requestType,
} from '../wire/nbd.js';
import { type BlockVolume, type FrontEnd, MAX_REQUEST_BYTES } from './block.js';
import { ERRNO } from './errno.js';
import {
  type Endpoint,
  HEAD_BYTES,
  type Io,
  type IoOwner,
  type ListenOwner,
  type StreamOwner,
} from './io.js';
import { poolExhausted } from './io-error.js';
import { NbdNegotiation } from './nbd-negotiation.js';

const SLOTS = 256;
const NONE = -1;
const REPLY_STRIDE = 16;
/** Connections at a time; each may have all slots' worth of requests in work. */
const MAX_CONNECTIONS = 16;

const Phase = {
  RECEIVING: 1, // a WRITE's payload is on its way
  VOLUME: 2,
  FLUSHING: 3, // FUA of a TRIM or WRITE_ZEROES
  SENDING: 4,
} as const;

interface Connection {
  readonly stream: number;
  readonly peer: string;
  state: 'flags' | 'options' | 'requests' | 'closing';
  negotiation: NbdNegotiation | null;
  volume: BlockVolume | null; // open while set
  start: number; // peeked bytes not looked at
  end: number;
  stalled: boolean; // waits for a slot or a buffer
  receiving: boolean; // a payload is on its way: what follows is not yet peeked
  inWork: number; // slots
}

export interface NbdServerOptions {
  readonly io: Io;
  /** Export name -> volume. The empty name stands for the only export. */
  readonly exports: () => ReadonlyMap<string, BlockVolume>;
  /** One line for the log: connections refused and closed, with the reason. */
  readonly log: (text: string) => void;
}

export class NbdServer implements FrontEnd, IoOwner, ListenOwner, StreamOwner {
  readonly #io: Io;
  readonly #view: DataView;
  readonly #options: NbdServerOptions;
  readonly #tag: number;
  readonly #connections = new Map<number, Connection>();
  readonly #listeners = new Set<number>();
  readonly #repliesAt: number;
  readonly #replies: number; // pool offset of SLOTS * REPLY_STRIDE

  // Columns of the slots.
  readonly #phase = new Uint8Array(SLOTS); // 0: not in use
  readonly #command = new Uint8Array(SLOTS);
  readonly #flags = new Uint8Array(SLOTS);
  readonly #cookieHi = new Uint32Array(SLOTS);
  readonly #cookieLo = new Uint32Array(SLOTS);
  readonly #sector = new Float64Array(SLOTS);
  readonly #bytes = new Uint32Array(SLOTS);
  readonly #at = new Int32Array(SLOTS).fill(NONE);
  readonly #of: (Connection | null)[] = new Array<Connection | null>(SLOTS).fill(null);
  readonly #free = new Int32Array(SLOTS);
  #freeCount = SLOTS;
  #stalled = 0;

  constructor(options: NbdServerOptions) {
    this.#io = options.io;
    this.#view = options.io.poolView;
    this.#options = options;
    this.#tag = options.io.register(this);
    assert(SLOTS * REPLY_STRIDE <= HEAD_BYTES, 'replies of all slots fit');
    this.#repliesAt = this.#io.alloc(0, 'spare');
    if (this.#repliesAt < 0) throw poolExhausted(0);
    this.#replies = this.#repliesAt - HEAD_BYTES;
    for (let slot = 0; slot < SLOTS; slot++) this.#free[slot] = SLOTS - 1 - slot;
  }

  /** 0, or -errno. */
  listen(at: Endpoint): number {
    const options = { sendBufferBytes: 0, receiveBufferBytes: 0 };
    const listener = this.#io.listen(at, options, this);
    if (listener < 0) return listener;
    this.#listeners.add(listener);
    return 0;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Once per turn of the loop, before `Io.submit`. */
  turn(): void {
    if (this.#stalled === 0) return;
    for (const c of this.#connections.values()) {
      if (!c.stalled) continue;
      this.#stall(c, false);
      this.#look(c);
    }
  }

  /** Stops listening and ends all connections. Requests in work are finished by their volumes. */
  close(): void {
    for (const listener of this.#listeners) this.#io.close(listener);
    this.#listeners.clear();
    for (const c of [...this.#connections.values()]) this.#end(c, 'the server stops');
  }

  accepted(_listener: number, stream: number, peer: string): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      this.#options.log(`nbd: ${peer}: refused, ${MAX_CONNECTIONS} connections are open`);
      this.#io.close(stream);
      return;
    }
    const c: Connection = {
      stream,
      peer,
      state: 'flags',
      negotiation: null,
      volume: null,
      start: 0,
      end: 0,
      stalled: false,
      receiving: false,
      inWork: 0,
    };
    this.#connections.set(stream, c);
    this.#io.attachStream(stream, this);
    this.#say(c, encodeGreeting());
  }

  streamData(stream: number, start: number, end: number): void {
    const c = this.#connections.get(stream);
    if (!c || c.state === 'closing') return;
    c.start = start;
    c.end = end;
    this.#look(c);
  }

  streamEnd(stream: number, error: number): void {
    const c = this.#connections.get(stream);
    if (c) this.#end(c, error === 0 ? null : `connection lost, errno ${error}`);
  }

  ioDone(slot: number, result: number): void {
    const c = this.#of[slot];
    if (!c) return; // a handshake answer, see #say
    if (this.#phase[slot] === Phase.RECEIVING) {
      c.receiving = false;
      if (result < 0) this.#release(slot);
      else this.#startWrite(c, slot);
      return;
    }
    assert(this.#phase[slot] === Phase.SENDING, 'a reply was sent');
    this.#release(slot);
  }

  bufferMoved(slot: number, at: number): void {
    this.#at[slot] = at;
  }

  blockDone(slot: number, error: number): void {
    const c = this.#of[slot];
    assert(c, 'an answer to a request in work');
    const command = this.#command[slot];
    const thenFlush =
      error === 0 &&
      this.#phase[slot] === Phase.VOLUME &&
      (command === Command.TRIM || command === Command.WRITE_ZEROES) &&
      ((this.#flags[slot] as number) & CommandFlag.FUA) !== 0;
    if (thenFlush && c.volume) {
      this.#phase[slot] = Phase.FLUSHING;
      c.volume.flush(this, slot);
      return;
    }
    if (c.state === 'closing') {
      this.#release(slot);
      return;
    }
    this.#reply(c, slot, error);
  }

  // ---- the stream

  /** Goes through what is peeked. Every byte looked at is consumed or received. */
  #look(c: Connection): void {
    for (;;) {
      if (c.stalled || c.receiving) return;
      const length = c.end - c.start;
      switch (c.state) {
        case 'flags':
          if (length < CLIENT_FLAGS_BYTES) return;
          this.#clientFlags(c);
          break;
        case 'options':
          if (!this.#option(c)) return;
          break;
        case 'requests':
          if (length < REQUEST_BYTES) return;
          this.#request(c);
          break;
        case 'closing':
          return;
      }
    }
  }

  #consume(c: Connection, count: number): void {
    this.#io.consume(c.stream, count);
    c.start += count;
  }

  #clientFlags(c: Connection): void {
    const flags = decodeClientFlags(this.#view, c.start);
    if (flags === null) {
      this.#end(c, 'it asks for handshake flags that are not known');
      return;
    }
    this.#consume(c, CLIENT_FLAGS_BYTES);
    c.negotiation = new NbdNegotiation(flags, this.#options.exports);
    c.state = 'options';
  }

  /** False: more bytes are needed. */
  #option(c: Connection): boolean {
    assert(c.negotiation !== null, 'options come after the flags');
    const step = c.negotiation.option(this.#io.pool, this.#view, c.start, c.end);
    if (step === 'more') return false;
    if (step.consumed > 0) this.#consume(c, step.consumed);
    c.volume = step.volume; // before the answers: when one cannot be sent, the volume is released with the rest
    for (const answer of step.answers) this.#say(c, answer);
    if (step.end !== null) this.#end(c, step.end === '' ? null : step.end);
    else if (step.volume && c.state === 'options') c.state = 'requests';
    return true;
  }

  #request(c: Connection): void {
    const view = this.#view;
    const head = c.start;
    if (!isRequest(view, head)) {
      this.#end(c, 'it sent what is no request');
      return;
    }
    const type = requestType(view, head);
    const bytes = requestLength(view, head);
    if (type === Command.DISC) {
      this.#end(c, null);
      return;
    }
    if (type === Command.WRITE && bytes > MAX_REQUEST_BYTES) {
      this.#end(c, `a write of ${bytes} bytes, ${MAX_REQUEST_BYTES} is the announced maximum`);
      return;
    }
    if (this.#freeCount === 0) {
      this.#stall(c, true);
      return;
    }
    const volume = c.volume;
    assert(volume !== null, 'requests come after GO');
    const offset = requestOffset(view, head);
    const error = this.#check(volume, type, offset, bytes);
    const payload = type === Command.WRITE || (type === Command.READ && error === 0) ? bytes : 0;
    let at = NONE;
    if (payload > 0) {
      at = this.#io.alloc(payload);
      if (at < 0) {
        this.#stall(c, true);
        return;
      }
    }
    const slot = this.#take(c, head, at);
    this.#sector[slot] = offset / 512;
    this.#bytes[slot] = bytes;
    if (type === Command.WRITE && bytes > 0) {
      this.#receive(c, slot, at, bytes);
      return;
    }
    this.#consume(c, REQUEST_BYTES);
    if (error !== 0 || bytes === 0) {
      if (error === 0 && type === Command.FLUSH) volume.flush(this, slot);
      else this.#reply(c, slot, error);
      return;
    }
    this.#perform(volume, slot, type);
  }

  /** What is wrong with a request: an errno, or 0. The payload of a refused WRITE is taken all the same. */
  #check(volume: BlockVolume, type: number, offset: number, bytes: number): number {
    if (type === Command.FLUSH) return bytes === 0 && offset === 0 ? 0 : ERRNO.EINVAL;
    const known =
      type === Command.READ ||
      type === Command.WRITE ||
      type === Command.TRIM ||
      type === Command.WRITE_ZEROES;
    if (!known || (type === Command.READ && bytes > MAX_REQUEST_BYTES)) return ERRNO.EINVAL;
    const block = volume.logicalBlockBytes;
    if (offset % block !== 0 || bytes % block !== 0) return ERRNO.EINVAL;
    if (offset + bytes <= volume.sizeSectors * 512) return 0;
    return type === Command.READ ? ERRNO.EINVAL : ERRNO.ENOSPC;
  }

  #receive(c: Connection, slot: number, at: number, bytes: number): void {
    // What is peeked already is copied in its place in the queue; then the rest of the peek can be looked at now.
    const peeked = c.end - c.start - REQUEST_BYTES;
    this.#phase[slot] = Phase.RECEIVING;
    this.#io.receive(c.stream, REQUEST_BYTES, at, bytes, this.#tag + slot);
    if (peeked >= bytes) c.start += REQUEST_BYTES + bytes;
    else {
      c.start = 0;
      c.end = 0;
      c.receiving = true;
    }
  }

  #startWrite(c: Connection, slot: number): void {
    if (c.state === 'closing' || !c.volume) {
      this.#release(slot);
      return;
    }
    const bytes = this.#bytes[slot] as number;
    const error = this.#check(c.volume, Command.WRITE, (this.#sector[slot] as number) * 512, bytes);
    if (error !== 0) {
      this.#reply(c, slot, error);
      return;
    }
    const at = this.#at[slot] as number;
    this.#at[slot] = NONE; // the volume's from here on
    this.#phase[slot] = Phase.VOLUME;
    const fua = ((this.#flags[slot] as number) & CommandFlag.FUA) !== 0;
    c.volume.write(this, slot, this.#sector[slot] as number, at, bytes, fua);
  }

  #perform(volume: BlockVolume, slot: number, type: number): void {
    const sector = this.#sector[slot] as number;
    const bytes = this.#bytes[slot] as number;
    this.#phase[slot] = Phase.VOLUME;
    if (type === Command.READ) {
      volume.read(this, slot, sector, this.#at[slot] as number, bytes);
    } else if (type === Command.TRIM) {
      volume.discard(this, slot, sector, bytes / 512);
    } else {
      const mayUnmap = ((this.#flags[slot] as number) & CommandFlag.NO_HOLE) === 0;
      volume.writeZeroes(this, slot, sector, bytes / 512, mayUnmap);
    }
  }

  #reply(c: Connection, slot: number, error: number): void {
    const withPayload =
      error === 0 && this.#command[slot] === Command.READ && this.#at[slot] !== NONE;
    const at = withPayload
      ? (this.#at[slot] as number) - REPLY_BYTES
      : this.#replies + slot * REPLY_STRIDE;
    const number = error === 0 ? 0 : nbdError(error);
    const hi = this.#cookieHi[slot] as number;
    let length = putReply(this.#view, at, number, hi, this.#cookieLo[slot] as number);
    if (withPayload) length += this.#bytes[slot] as number;
    this.#phase[slot] = Phase.SENDING;
    this.#io.send(c.stream, at, length, this.#tag + slot);
  }

  /** A handshake answer: rare and small, from a buffer of its own that is freed when it is sent. */
  #say(c: Connection, bytes: Uint8Array): void {
    if (c.state === 'closing') return;
    const at = this.#freeCount > 0 ? this.#io.alloc(bytes.length) : -1;
    if (at < 0) {
      this.#end(c, 'no buffer for the handshake');
      return;
    }
    this.#io.pool.set(bytes, at);
    this.#freeCount--;
    const slot = this.#free[this.#freeCount] as number;
    this.#phase[slot] = Phase.SENDING;
    this.#at[slot] = at;
    this.#of[slot] = c;
    c.inWork++;
    this.#io.send(c.stream, at, bytes.length, this.#tag + slot);
  }

  // ---- connections and slots

  #stall(c: Connection, stalled: boolean): void {
    if (c.stalled === stalled) return;
    c.stalled = stalled;
    this.#stalled += stalled ? 1 : -1;
  }

  /** `reason` null: an orderly end. The volume is released when its last request is done. */
  #end(c: Connection, reason: string | null): void {
    if (c.state === 'closing') return;
    if (reason !== null) this.#options.log(`nbd: ${c.peer}: closed: ${reason}`);
    c.state = 'closing';
    this.#stall(c, false);
    this.#connections.delete(c.stream);
    this.#io.close(c.stream);
    this.#releaseVolume(c);
  }

  #releaseVolume(c: Connection): void {
    if (c.state !== 'closing' || c.inWork > 0 || !c.volume) return;
    const volume = c.volume;
    c.volume = null;
    volume.release(true);
  }

  #take(c: Connection, head: number, at: number): number {
    this.#freeCount--;
    const slot = this.#free[this.#freeCount] as number;
    this.#phase[slot] = Phase.VOLUME;
    this.#command[slot] = requestType(this.#view, head) & 0xff;
    this.#flags[slot] = requestFlags(this.#view, head) & 0xff;
    this.#cookieHi[slot] = cookieHigh(this.#view, head);
    this.#cookieLo[slot] = cookieLow(this.#view, head);
    this.#at[slot] = at;
    this.#of[slot] = c;
    c.inWork++;
    return slot;
  }

  #release(slot: number): void {
    const c = this.#of[slot];
    const at = this.#at[slot] as number;
    if (at !== NONE) this.#io.free(at);
    this.#at[slot] = NONE;
    this.#phase[slot] = 0;
    this.#command[slot] = 0;
    this.#of[slot] = null;
    this.#free[this.#freeCount] = slot;
    this.#freeCount++;
    if (!c) return;
    c.inWork--;
    this.#releaseVolume(c);
  }
}
