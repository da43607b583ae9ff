/**
 * The streams and listeners of a simulated engine: between the kernel's socket (sim-tcp.ts) and the owner of a stream.
 *
 *     owner --send--> queue of sends --room in the window--> socket          socket --> receiver --> peek region --> owner
 */
import { assert } from '../base/assert.js';
import { ERRNO } from '../host/errno.js';
import {
  type Endpoint,
  type ListenOwner,
  STREAM_PEEK_BYTES,
  type StreamOwner,
} from '../host/io.js';
import { StreamReceiver } from '../host/stream-receiver.js';
import { sameBytes } from './disk-content.js';
import type { Timer } from './sim-clock.js';
import type { SimIoTurns } from './sim-io-turns.js';
import type { SimSocket } from './sim-tcp.js';

interface Send {
  readonly at: number;
  readonly copy: Uint8Array;
  readonly tag: number;
  taken: number;
  waited: boolean; // not taken at once: the pool may have changed meanwhile
}

interface Stream {
  readonly socket: SimSocket;
  readonly sends: Send[];
  receiver: StreamReceiver | null;
  peek: number; // -1 while not attached
  backlogBytes: number;
  early: Uint8Array[]; // arrived before the stream was attached
  owed: number; // bytes given to the receiver's chunks and not yet reported as taken
}

export class SimIoStreams {
  readonly #turns: SimIoTurns;
  readonly #pool: Uint8Array;
  readonly #streams = new Map<number, Stream>();
  readonly #listeners = new Map<number, string>();
  readonly #connecting = new Map<Timer, () => void>();
  readonly #peeks: number[] = []; // free peek regions
  readonly #closeLater: (handle: number) => void;
  connects = 0; // begun

  /** The last `count` peek regions of the pool are for streams. */
  constructor(
    turns: SimIoTurns,
    pool: Uint8Array,
    count: number,
    closeLater: (handle: number) => void,
  ) {
    this.#turns = turns;
    this.#pool = pool;
    this.#closeLater = closeLater;
    for (let i = 1; i <= count; i++) this.#peeks.push(pool.length - i * STREAM_PEEK_BYTES);
  }

  get handles(): Iterable<number> {
    return [...this.#streams.keys(), ...this.#listeners.keys()];
  }

  cancelConnects(): void {
    for (const cancel of [...this.#connecting.values()]) cancel();
  }

  listen(at: Endpoint, owner: ListenOwner): number {
    const { net, name } = this.#turns.host;
    if (this.#turns.crashed) return -ERRNO.ECANCELED; // the rest of the turn of a process that is no more
    if (at.family !== 'unix' && !net.owns(name, at.host)) return -ERRNO.EADDRNOTAVAIL;
    const handle = this.#turns.newHandle();
    const error = net.tcp.listen(name, addressText(at), (socket) => {
      const stream = this.#add(socket);
      this.#turns.later(() => {
        if (this.#listeners.has(handle)) owner.accepted(handle, stream, socket.peerName);
        else if (this.#streams.has(stream)) this.#closeLater(stream); // `destroy` may have closed it
      });
    });
    if (error !== 0) return error;
    this.#listeners.set(handle, addressText(at));
    return handle;
  }

  connect(remote: Endpoint, local: Endpoint | null, timeoutMs: number, tag: number): void {
    const { net, name, clock } = this.#turns.host;
    this.connects++;
    const from = local && local.family !== 'unix' ? local.host : null;
    this.#turns.begin(tag, (done) => {
      if (from !== null && !net.owns(name, from)) return done(-ERRNO.EADDRNOTAVAIL);
      const finish = (result: number): void => {
        clock.cancel(timer);
        this.#connecting.delete(timer);
        done(result);
      };
      const attempt = net.tcp.connect(name, addressText(remote), from, (socket, errno) => {
        finish(socket ? this.#add(socket) : -errno);
      });
      const giveUp = (errno: number): void => {
        net.tcp.cancelConnect(attempt);
        finish(-errno);
      };
      const timer = clock.after(timeoutMs, () => giveUp(ERRNO.ETIMEDOUT));
      this.#connecting.set(timer, () => giveUp(ERRNO.ECANCELED));
    });
  }

  attach(handle: number, owner: StreamOwner): void {
    const s = this.#get(handle);
    assert(s.receiver === null, 'a stream is attached once');
    const peek = this.#peeks.pop();
    if (peek === undefined) {
      this.#turns.later(() => {
        if (this.#streams.has(handle)) owner.streamEnd(handle, ERRNO.ENOBUFS);
      });
      return;
    }
    s.peek = peek;
    this.#pool.fill(0, peek, peek + STREAM_PEEK_BYTES); // memory is used again: what was there must not matter
    s.receiver = new StreamReceiver(handle, this.#pool, peek, STREAM_PEEK_BYTES, (tag, result) =>
      this.#turns.complete(tag, result),
    );
    s.receiver.attach(owner);
    for (const bytes of s.early) s.receiver.push(bytes);
    s.early = [];
    if (s.socket.ended >= 0) s.receiver.end(s.socket.ended);
    this.#turns.schedule();
  }

  send(handle: number, at: number, lengthBytes: number, tag: number): void {
    const s = this.#get(handle);
    s.backlogBytes += lengthBytes;
    this.#turns.queue(() => {
      if (s.socket.dead || s.socket.ended > 0) {
        s.backlogBytes -= lengthBytes;
        this.#turns.complete(tag, s.socket.dead ? -ERRNO.ECANCELED : -s.socket.ended);
        return;
      }
      const copy = this.#pool.slice(at, at + lengthBytes);
      s.sends.push({ at, copy, tag, taken: 0, waited: false });
      this.#pump(s);
    });
  }

  *unsent(): Iterable<Uint8Array> {
    for (const s of this.#streams.values()) {
      for (const send of s.sends) yield send.copy.subarray(send.taken);
    }
  }

  backlogBytes(handle: number): number {
    return this.#get(handle).backlogBytes;
  }

  consume(handle: number, count: number): void {
    this.#receiver(handle).consume(count);
    this.#turns.schedule();
  }

  receive(handle: number, skip: number, at: number, lengthBytes: number, tag: number): void {
    this.#receiver(handle).receive(skip, at, lengthBytes, tag);
    this.#turns.schedule();
  }

  isAlive(handle: number): boolean {
    return this.#get(handle).socket.ended < 0;
  }

  /** Tells the owners what arrived. */
  deliver(): void {
    for (const s of this.#streams.values()) {
      if (this.#turns.crashed) return;
      if (!s.receiver) continue;
      if (s.receiver.deliver()) this.#turns.schedule();
      // Only what the peek region or a target has taken makes room in the window.
      const taken = s.owed - s.receiver.waitingBytes;
      if (taken === 0) continue;
      s.owed -= taken;
      this.#turns.host.net.tcp.taken(s.socket, taken);
    }
  }

  /** False when it is neither a stream nor a listener of ours. */
  close(handle: number): boolean {
    const { net, name } = this.#turns.host;
    const address = this.#listeners.get(handle);
    if (address !== undefined) {
      this.#listeners.delete(handle);
      net.tcp.unlisten(name, address);
      return true;
    }
    const s = this.#streams.get(handle);
    if (!s) return false;
    this.#streams.delete(handle);
    s.receiver?.fail(ERRNO.ECANCELED);
    this.#failSends(s, ERRNO.ECANCELED);
    if (s.peek >= 0) this.#peeks.push(s.peek);
    s.socket.onData = null;
    s.socket.onEnd = null;
    s.socket.onRoom = null;
    net.tcp.close(s.socket);
    return true;
  }

  // ---- inside

  #add(socket: SimSocket): number {
    const handle = this.#turns.newHandle();
    const s: Stream = {
      socket,
      sends: [],
      receiver: null,
      peek: -1,
      backlogBytes: 0,
      early: [],
      owed: 0,
    };
    this.#streams.set(handle, s);
    socket.onData = (bytes) => {
      if (s.receiver) s.receiver.push(bytes);
      else s.early.push(bytes);
      s.owed += bytes.length;
      this.#turns.schedule();
    };
    socket.onEnd = (error) => {
      s.receiver?.end(error);
      if (error > 0) this.#failSends(s, error);
      this.#turns.schedule();
    };
    socket.onRoom = () => this.#pump(s);
    return handle;
  }

  #pump(s: Stream): void {
    const { tcp } = this.#turns.host.net;
    while (!s.socket.dead && s.sends.length > 0) {
      const send = s.sends[0] as Send;
      const n = Math.min(tcp.room(s.socket), send.copy.length - send.taken);
      if (n === 0 && send.copy.length > 0) break;
      tcp.send(s.socket, send.copy.subarray(send.taken, send.taken + n));
      send.taken += n;
      s.backlogBytes -= n;
      if (send.taken < send.copy.length) break;
      s.sends.shift();
      if (send.waited) this.#unchanged(send);
      this.#turns.complete(send.tag, send.copy.length);
    }
    for (const send of s.sends) send.waited = true;
  }

  #unchanged({ at, copy }: Send): void {
    const same = sameBytes(this.#pool.subarray(at, at + copy.length), copy);
    assert(same, 'a range of the pool does not change while it is being sent');
  }

  #failSends(s: Stream, errno: number): void {
    for (const send of s.sends.splice(0)) {
      s.backlogBytes -= send.copy.length - send.taken;
      this.#turns.complete(send.tag, -errno);
    }
  }

  #get(handle: number): Stream {
    const stream = this.#streams.get(handle);
    assert(stream, 'an open stream');
    return stream;
  }

  #receiver(handle: number): StreamReceiver {
    const { receiver } = this.#get(handle);
    assert(receiver, 'an attached stream');
    return receiver;
  }
}

function addressText(at: Endpoint): string {
  return at.family === 'unix' ? `unix:${at.path}` : `${at.host}:${at.port}`;
}
