/**
 * Simulated TCP: what two kernels do for a connection, with the faults that a TCP connection can meet.
 *
 *     sender's queue --window--> flight (delay, cut into pieces by the seed) --> receiver's chunks
 *
 *     fault                 both ends see
 *     cut, then healed      nothing is lost: it is repeated, but the longer the cut, the longer until the next repetition
 *     reset                 ECONNRESET at both; of what was under way, bytes up to a random one still arrive
 *     half-open             ECONNRESET at one; the other hears nothing until it sends
 *     process dies          an orderly end; a reset when it had not read everything (as Linux does)
 *     power fails           nothing; a reset to whoever sends once the host is up again
 *
 * Bytes of one direction stay in order. A reset is not repeated: one that meets a cut is lost. Sources: tcp(7), RFC 9293.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';
import { ERRNO } from '../host/errno.js';
import type { SimClock, Timer } from './sim-clock.js';
import { INSIDE, NO_BYTES, type SimNetwork, type Tap, type WireRecord } from './sim-network.js';

export interface SimTcpOptions {
  /** Bytes sent and not yet taken by the receiver: the sender's next bytes wait beyond. */
  readonly windowBytes: number;
  /** Largest piece; each is cut at a random place up to this. */
  readonly pieceBytes: number;
  /** One piece in so many is cut anywhere, however short it is: a header may arrive in two parts, one packet long before the next. */
  readonly cutOneIn?: number;
}

/** Repetitions back off to this (TCP_RTO_MAX). */
const LONGEST_RETRY_MS = 120_000;
const FIRST_SYN_RETRY_MS = 1000;
export const CUT_ONE_IN = 24;

/** What is under way: bytes, or a step of the connection's life. */
interface Piece {
  readonly atMs: number;
  readonly what: 'open' | 'data' | 'close' | 'reset';
  readonly bytes: Uint8Array;
}

/** One end of a connection. The engine of its host sets the callbacks; they are called in true time. */
export class SimSocket {
  readonly host: string;
  readonly network: string;
  /** `ip:port` of the two ends; both '' for a unix socket. */
  readonly ownName: string;
  readonly peerName: string;
  /** Bytes arrived. They stay as they are. */
  onData: ((bytes: Uint8Array) => void) | null = null;
  /** The stream is over: 0 or errno. */
  onEnd: ((error: number) => void) | null = null;
  /** The window has room again. */
  onRoom: (() => void) | null = null;
  ended = -1; // the end that arrived here: 0 or errno
  dead = false; // closed by its process, which then hears nothing more
  // ---- of the kernel alone
  onOpen: (() => void) | null = null; // the third packet of the handshake arrived at the other end
  gone = false; // it knows the connection no more: whoever sends gets a reset
  other: SimSocket | null = null;
  outstandingBytes = 0; // sent and not known to be taken by the other end
  unreadBytes = 0; // arrived and not taken
  heldAckBytes = 0; // taken, but the sender could not be told
  arrivedBytes = 0;
  takenMs = Number.NEGATIVE_INFINITY; // when its process took bytes last
  readonly flight: Piece[] = []; // what it sent and what has not arrived, oldest first
  lastArrivalMs = 0; // of the last piece: no later one may overtake it
  stalledMs = -1; // since when it repeats in vain; -1: it does not

  constructor(host: string, network: string, ownName: string, peerName: string) {
    this.host = host;
    this.network = network;
    this.ownName = ownName;
    this.peerName = peerName;
  }
}

interface Listener {
  readonly host: string;
  readonly accept: (socket: SimSocket) => void;
}

/** A connection being made, for `cancelConnect`. */
export interface Connecting {
  readonly host: string;
  timer: Timer | null; // of the next SYN
  over: boolean;
}

export class SimTcp {
  /** Sees what arrives. */
  tap: Tap | null = null;
  readonly #clock: SimClock;
  readonly #random: Prng;
  readonly #network: SimNetwork;
  readonly #options: SimTcpOptions;
  readonly #listeners = new Map<string, Listener>();
  readonly #sockets = new Set<SimSocket>(); // until both its process and its flight are done
  readonly #connecting = new Set<Connecting>();
  #nextPort = 40000;

  constructor(clock: SimClock, network: SimNetwork, random: Prng, options: SimTcpOptions) {
    this.#clock = clock;
    this.#network = network;
    this.#random = random;
    this.#options = options;
  }

  /** 0 or -errno. `address` is `ip:port`, or `unix:` and a path. */
  listen(host: string, address: string, accept: (socket: SimSocket) => void): number {
    const key = listenKey(host, address);
    if (this.#listeners.has(key)) return -ERRNO.EADDRINUSE;
    this.#listeners.set(key, { host, accept });
    return 0;
  }

  unlisten(host: string, address: string): void {
    this.#listeners.delete(listenKey(host, address));
  }

  /** `done` gets the socket or an errno; while nothing comes back, SYN is repeated after 1, 2, 4 ... seconds. */
  connect(
    host: string,
    address: string,
    fromIp: string | null,
    done: (socket: SimSocket | null, errno: number) => void,
  ): Connecting {
    const attempt: Connecting = { host, timer: null, over: false };
    this.#connecting.add(attempt);
    const way = this.#wayTo(host, address);
    const finish = (socket: SimSocket | null, errno: number): void => {
      this.cancelConnect(attempt);
      done(socket, errno);
    };
    const syn = (retryMs: number): void => {
      attempt.timer = this.#clock.after(retryMs, () => syn(retryMs * 2));
      if (way === null) return; // an address that is nobody's
      this.#clock.after(this.#delay(way.network), () => {
        if (attempt.over || !this.#network.passes(way.network, host, way.host)) return;
        const listener = this.#listeners.get(listenKey(way.host, address));
        this.#clock.after(this.#delay(way.network), () => {
          if (attempt.over || !this.#network.passes(way.network, way.host, host)) return;
          if (!listener) finish(null, ERRNO.ECONNREFUSED);
          else finish(this.#open(host, address, fromIp, way, listener), 0);
        });
      });
    };
    syn(FIRST_SYN_RETRY_MS);
    return attempt;
  }

  /** `done` will not be called. */
  cancelConnect(attempt: Connecting): void {
    attempt.over = true;
    if (attempt.timer) this.#clock.cancel(attempt.timer);
    this.#connecting.delete(attempt);
  }

  /** How many more bytes the socket takes now. */
  room(socket: SimSocket): number {
    return Math.max(0, this.#options.windowBytes - socket.outstandingBytes);
  }

  /** Sends `bytes`, at most `room` of them. They must not change any more. */
  send(socket: SimSocket, bytes: Uint8Array): void {
    assert(bytes.length <= this.room(socket), 'no more than the window');
    socket.outstandingBytes += bytes.length;
    for (let from = 0; from < bytes.length; ) {
      const n = this.#pieceLength(bytes.length - from);
      this.#carry(socket, 'data', bytes.subarray(from, from + n));
      from += n;
    }
  }

  /** The receiver has taken `count` bytes that it was given. */
  taken(socket: SimSocket, count: number): void {
    socket.unreadBytes -= count;
    socket.takenMs = this.#clock.nowMs;
    socket.heldAckBytes += count;
    this.#acknowledge(socket);
  }

  /** When a host took bytes last that had arrived over the network, by a connection that it still has; -Infinity: never. */
  takenMs(host: string, network: string): number {
    const own = [...this.#sockets].filter((s) => s.host === host && s.network === network);
    return Math.max(...own.map((s) => s.takenMs));
  }

  /** Of a process. What was sent still arrives, then the end; or a reset when it had not read everything. */
  close(socket: SimSocket): void {
    if (socket.dead) return;
    socket.dead = true;
    if (socket.gone) return;
    const lost = socket.unreadBytes > 0;
    this.#carry(socket, lost ? 'reset' : 'close', NO_BYTES);
    if (lost) socket.gone = true;
  }

  /** Both ends of every connection over the network fail with ECONNRESET. */
  reset(network: string): void {
    const sockets = [...this.#sockets].filter((s) => s.network === network);
    for (const s of sockets) this.#breakOff(s);
    for (const s of sockets) {
      this.#record('reset', s, NO_BYTES);
      this.#forget(s, ERRNO.ECONNRESET);
    }
  }

  /** The same for the ends of one host; the others hear nothing until they send. */
  resetOneEnd(network: string, host: string): void {
    for (const s of [...this.#sockets]) {
      if (s.network !== network || s.host !== host) continue;
      this.#breakOff(s);
      this.#forget(s, ERRNO.ECONNRESET);
    }
  }

  /** A way is open again: what waits for it is repeated, sooner or later. */
  repeat(): void {
    for (const s of [...this.#sockets]) {
      this.#acknowledge(s);
      if (s.stalledMs < 0) continue;
      const longestMs = Math.min(this.#clock.nowMs - s.stalledMs, LONGEST_RETRY_MS);
      this.#clock.after((this.#random.u32() / 0x100000000) * longestMs, () => {
        if (s.stalledMs < 0 || !s.other) return;
        if (!this.#network.passes(s.network, s.host, s.other.host)) return; // a later `repeat`
        s.stalledMs = -1;
        this.#deliver(s);
      });
    }
  }

  /** The process of a host is gone, or with `power` the host itself. */
  crash(host: string, power: boolean): void {
    for (const [key, listener] of [...this.#listeners]) {
      if (listener.host === host) this.#listeners.delete(key);
    }
    for (const attempt of [...this.#connecting]) {
      if (attempt.host === host) this.cancelConnect(attempt);
    }
    for (const s of [...this.#sockets]) {
      if (s.host !== host) continue;
      s.onData = null;
      s.onEnd = null;
      s.onRoom = null;
      if (!power) {
        this.close(s);
        continue;
      }
      s.dead = true;
      this.#breakOff(s);
      this.#forget(s, 0);
    }
  }

  // ---- inside

  /** The SYN of the other side was answered: this end is connected, the other accepts when the third packet comes. */
  #open(
    host: string,
    address: string,
    fromIp: string | null,
    way: { readonly host: string; readonly network: string },
    listener: Listener,
  ): SimSocket {
    const unix = address.startsWith('unix:');
    const ip = fromIp ?? this.#network.addressOf(host, way.network) ?? '127.0.0.1';
    const own = unix ? '' : `${ip}:${this.#nextPort++}`;
    const near = new SimSocket(host, way.network, own, unix ? '' : address);
    const far = new SimSocket(way.host, way.network, unix ? '' : address, own);
    near.other = far;
    far.other = near;
    this.#sockets.add(near);
    this.#sockets.add(far);
    const key = listenKey(way.host, address);
    near.onOpen = () => {
      near.onOpen = null;
      if (this.#listeners.get(key) !== listener) far.gone = true;
      else listener.accept(far);
    };
    this.#carry(near, 'open', NO_BYTES);
    return near;
  }

  #pieceLength(leftBytes: number): number {
    const { pieceBytes, cutOneIn = CUT_ONE_IN } = this.#options;
    const most = this.#random.below(cutOneIn) === 0 ? leftBytes : pieceBytes;
    return Math.min(leftBytes, 1 + this.#random.below(most));
  }

  /** Lets something happen at the other end after the delay, behind everything sent before. */
  #carry(s: SimSocket, what: Piece['what'], bytes: Uint8Array): void {
    const atMs = Math.max(s.lastArrivalMs, this.#clock.nowMs + this.#delay(s.network));
    s.lastArrivalMs = atMs;
    s.flight.push({ atMs, what, bytes });
    this.#clock.at(atMs, () => {
      if (s.stalledMs < 0) this.#deliver(s);
    });
  }

  /** Everything arrives whose time has come. */
  #deliver(s: SimSocket): void {
    const { other } = s;
    while (other && s.flight.length > 0) {
      const piece = s.flight[0] as Piece;
      if (piece.atMs > this.#clock.nowMs) break;
      if (!this.#network.passes(s.network, s.host, other.host)) {
        if (s.gone)
          s.flight.length = 0; // nobody repeats it
        else s.stalledMs = this.#clock.nowMs;
        break;
      }
      s.flight.shift();
      this.#arrive(s, other, piece);
    }
    this.#tidy(s);
  }

  #arrive(s: SimSocket, other: SimSocket, piece: Piece): void {
    this.#record(piece.what, s, piece.bytes);
    if (piece.what === 'open') s.onOpen?.();
    if (piece.what === 'reset') {
      other.gone = true;
      this.#over(other, ERRNO.ECONNRESET);
      this.#tidy(other);
    } else if (other.gone || (other.dead && piece.what === 'data')) {
      this.#refuse(s, other);
    } else if (piece.what === 'data') {
      other.unreadBytes += piece.bytes.length;
      other.arrivedBytes += piece.bytes.length;
      other.onData?.(piece.bytes);
      const most = this.#network.faultsOf(s.network).resetAfterBytes;
      if (most !== undefined && other.arrivedBytes > most) this.#resetSoon(s, other);
    } else if (piece.what === 'close') {
      this.#over(other, 0);
    }
  }

  /** Something between the two ends it. */
  #resetSoon(s: SimSocket, other: SimSocket): void {
    this.#clock.after(0, () => {
      for (const end of [s, other]) {
        if (!end.gone) this.#record('reset', end, NO_BYTES);
        this.#forget(end, ERRNO.ECONNRESET);
      }
    });
  }

  /** The other end knows nothing of this connection (any more) and says so. */
  #refuse(s: SimSocket, other: SimSocket): void {
    s.flight.length = 0;
    other.gone = true;
    this.#clock.after(this.#delay(s.network), () => {
      if (this.#network.passes(s.network, other.host, s.host)) {
        if (!s.gone) this.#record('reset', other, NO_BYTES);
        this.#forget(s, ERRNO.ECONNRESET);
      } else if (!s.gone && s.stalledMs < 0) {
        // The answer is lost: as nothing was acknowledged, it is asked again.
        s.flight.unshift({ atMs: this.#clock.nowMs, what: 'data', bytes: NO_BYTES });
        s.stalledMs = this.#clock.nowMs;
      }
    });
  }

  /** Of what is under way, the bytes up to a random one arrive now; the rest is lost. */
  #breakOff(s: SimSocket): void {
    const flight = s.flight.splice(0);
    const { other } = s;
    if (!other || s.stalledMs >= 0 || !this.#network.passes(s.network, s.host, other.host)) return;
    const bytes = flight.reduce((sum, piece) => sum + piece.bytes.length, 0);
    let left = this.#random.below(bytes + 1);
    for (const piece of flight) {
      if (left === 0) return;
      const part = piece.bytes.subarray(0, Math.min(left, piece.bytes.length));
      left -= part.length;
      this.#arrive(s, other, { ...piece, bytes: part });
    }
  }

  /** The kernel of its host knows the connection no more. */
  #forget(s: SimSocket, error: number): void {
    if (error > 0 && !s.gone) this.#over(s, error);
    s.gone = true;
    s.flight.length = 0;
    this.#tidy(s);
  }

  /** An orderly end may still be followed by a failure of the direction that was left. */
  #over(s: SimSocket, error: number): void {
    if (s.dead || s.ended > 0 || s.ended === error) return;
    s.ended = error;
    s.onEnd?.(error);
  }

  #acknowledge(s: SimSocket): void {
    const sender = s.other;
    if (s.heldAckBytes === 0 || !sender) return;
    if (!this.#network.passes(s.network, s.host, sender.host)) return;
    sender.outstandingBytes -= s.heldAckBytes;
    s.heldAckBytes = 0;
    sender.onRoom?.();
  }

  #tidy(s: SimSocket): void {
    if ((s.dead || s.gone) && s.flight.length === 0) this.#sockets.delete(s);
  }

  #record(what: Piece['what'], s: SimSocket, bytes: Uint8Array): void {
    if (!this.tap || s.network === INSIDE || (what === 'data' && bytes.length === 0)) return;
    const kind: WireRecord['kind'] = `tcp-${what}`;
    const [from, fromPort] = splitName(s.ownName);
    const [to, toPort] = splitName(s.peerName);
    const { network } = s;
    this.tap({ timeMs: this.#clock.nowMs, kind, network, from, fromPort, to, toPort, bytes });
  }

  #delay(network: string): number {
    return this.#network.delay(network, this.#random);
  }

  #wayTo(host: string, address: string): { host: string; network: string } | null {
    if (isInside(address)) return { host, network: INSIDE };
    const owner = this.#network.ownerOf(splitName(address)[0]);
    return owner && this.#network.addressOf(host, owner.network) !== null ? owner : null;
  }
}

function isInside(address: string): boolean {
  return address.startsWith('127.') || address.startsWith('unix:');
}

/** Loopback addresses and unix sockets are of one host only. */
function listenKey(host: string, address: string): string {
  return isInside(address) ? `${host} ${address}` : address;
}

function splitName(name: string): [string, number] {
  const colon = name.lastIndexOf(':');
  return [name.slice(0, colon), Number(name.slice(colon + 1))];
}
