/**
 * A simulated network of TCP streams between hosts.
 *
 *     sender's queue --window--> in flight (delay, cut into pieces by the seed) --> receiver's chunks
 *
 * Bytes of one direction stay in order. A cut between two hosts loses nothing of a connection: its bytes wait, as TCP
 * repeats them, until the cut heals or somebody gives up. A host that crashed answers with a reset once it is up again,
 * or at once if it is only the process that died.
 */
import { assert } from '../base/assert.js';
import type { Prng } from '../base/prng.js';
import { ERRNO } from '../host/errno.js';
import type { SimClock } from './sim-clock.js';

export interface SimNetOptions {
  /** One way, per piece: random in [minMs, maxMs). */
  readonly delayMs: readonly [number, number];
  /** Bytes sent and not yet taken by the receiver: the sender's next bytes wait beyond. */
  readonly windowBytes: number;
  /** Largest piece; each is cut at a random place up to this. */
  readonly pieceBytes: number;
}

export const DEFAULT_SIM_NET: SimNetOptions = {
  delayMs: [0.03, 0.2],
  windowBytes: 1 << 20,
  pieceBytes: 65536,
};

/** One end of a connection. The engine of its host sets the callbacks and is called from the clock. */
export class SimSocket {
  readonly host: string;
  readonly peerName: string;
  /** Bytes arrived. */
  onData: ((bytes: Uint8Array) => void) | null = null;
  /** The stream is over: 0 or errno. */
  onEnd: ((error: number) => void) | null = null;
  /** The window has room again. */
  onRoom: (() => void) | null = null;
  other: SimSocket | null = null; // null: gone, without a word
  outstandingBytes = 0; // sent and not yet taken by the other end
  dead = false; // closed here, or failed
  ended = -1; // the end that arrived here: 0 or errno
  deliverAtMs = 0; // when the last piece sent arrives: no later one may overtake it
  readonly waiting: (() => void)[] = []; // arrivals held back by a cut

  constructor(host: string, peerName: string) {
    this.host = host;
    this.peerName = peerName;
  }
}

export interface SimListener {
  readonly host: string;
  readonly accept: (socket: SimSocket) => void;
}

export class SimNet {
  readonly #clock: SimClock;
  readonly #random: Prng;
  readonly #options: SimNetOptions;
  readonly #listeners = new Map<string, SimListener>(); // address -> who listens
  readonly #hosts = new Map<string, string>(); // IP address -> host
  readonly #down = new Set<string>();
  readonly #cuts = new Set<string>();
  readonly #sockets = new Set<SimSocket>();
  #nextPort = 40000;

  constructor(clock: SimClock, random: Prng, options: SimNetOptions = DEFAULT_SIM_NET) {
    this.#clock = clock;
    this.#random = random;
    this.#options = options;
  }

  /** A host with its addresses. Addresses in 127/8 are every host's own. */
  addHost(host: string, addresses: readonly string[]): void {
    for (const address of addresses) {
      assert(!this.#hosts.has(address), 'an address belongs to one host');
      this.#hosts.set(address, host);
    }
  }

  owns(host: string, address: string): boolean {
    return address.startsWith('127.') || this.#hosts.get(address) === host;
  }

  /** 0 or -errno. `address` is `ip:port`, or `unix:` and a path. */
  listen(host: string, address: string, accept: (socket: SimSocket) => void): number {
    const key = this.#key(host, address);
    if (this.#listeners.has(key)) return -ERRNO.EADDRINUSE;
    this.#listeners.set(key, { host, accept });
    return 0;
  }

  unlisten(host: string, address: string): void {
    this.#listeners.delete(this.#key(host, address));
  }

  /** `done` gets the socket or -errno after a round trip; nothing at all while the way is cut. */
  connect(
    host: string,
    address: string,
    fromIp: string | null,
    done: (socket: SimSocket | null, errno: number) => void,
  ): void {
    const target = this.#hostOf(host, address);
    this.#clock.after(this.#delay(), () => {
      if (target === null || this.#isCut(host, target) || this.#down.has(target)) return;
      const listener = this.#listeners.get(this.#key(target, address));
      if (!listener) {
        this.#clock.after(this.#delay(), () => done(null, ERRNO.ECONNREFUSED));
        return;
      }
      const unix = address.startsWith('unix:');
      const own = fromIp ?? this.#addressOf(host, address);
      const near = new SimSocket(host, unix ? '' : address);
      const far = new SimSocket(listener.host, unix ? '' : `${own}:${this.#nextPort++}`);
      near.other = far;
      far.other = near;
      this.#sockets.add(near);
      this.#sockets.add(far);
      listener.accept(far);
      this.#clock.after(this.#delay(), () => done(near, 0));
    });
  }

  /** How many more bytes the socket takes now. */
  room(socket: SimSocket): number {
    return Math.max(0, this.#options.windowBytes - socket.outstandingBytes);
  }

  /** Sends a copy of `bytes`, at most `room` of them. */
  send(socket: SimSocket, bytes: Uint8Array): void {
    assert(bytes.length <= this.room(socket), 'no more than the window');
    socket.outstandingBytes += bytes.length;
    for (let from = 0; from < bytes.length; ) {
      const n = Math.min(bytes.length - from, 1 + this.#random.below(this.#options.pieceBytes));
      const piece = bytes.slice(from, from + n);
      this.#carry(socket, (other) => other.onData?.(piece));
      from += n;
    }
  }

  /** The receiver has taken `count` bytes that it was given. */
  taken(socket: SimSocket, count: number): void {
    const sender = socket.other;
    if (!sender) return;
    sender.outstandingBytes -= count;
    sender.onRoom?.();
  }

  /** Orderly: what was sent still arrives, then the end. */
  close(socket: SimSocket): void {
    if (socket.dead) return;
    socket.dead = true;
    this.#carry(socket, (other) => this.#over(other, 0));
    this.#sockets.delete(socket);
  }

  /** Both ends fail with ECONNRESET; what was under way is lost. */
  reset(socket: SimSocket): void {
    const { other } = socket;
    socket.other = null;
    this.#over(socket, ERRNO.ECONNRESET);
    if (other) {
      other.other = null;
      this.#over(other, ERRNO.ECONNRESET);
    }
  }

  /** Resets every connection between two hosts. */
  resetBetween(a: string, b: string): void {
    for (const socket of [...this.#sockets]) {
      if (socket.host === a && socket.other?.host === b) this.reset(socket);
    }
  }

  /** No byte passes between the two hosts any more. */
  cut(a: string, b: string): void {
    this.#cuts.add(pair(a, b));
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(pair(a, b));
    for (const socket of [...this.#sockets]) {
      if (pair(socket.host, socket.other?.host ?? '') === pair(a, b)) this.#release(socket);
    }
  }

  /**
   * The process (or the power) of a host is gone: its sockets and listeners with it. With `silent` the others hear nothing
   * (no power); otherwise the kernel resets their connections.
   */
  crash(host: string, silent: boolean): void {
    for (const [key, listener] of this.#listeners) {
      if (listener.host === host) this.#listeners.delete(key);
    }
    for (const socket of [...this.#sockets]) {
      if (socket.host !== host) continue;
      const { other } = socket;
      socket.dead = true;
      socket.onData = null;
      socket.onEnd = null;
      socket.onRoom = null;
      this.#sockets.delete(socket);
      if (!silent && other) this.#carry(socket, () => this.reset(other));
    }
    if (silent) this.#down.add(host);
  }

  /** The host has power again: it resets what others still send to its former connections. */
  boot(host: string): void {
    this.#down.delete(host);
    for (const socket of this.#sockets) {
      const { other } = socket;
      if (other?.dead && other.host === host && socket.outstandingBytes > 0) {
        this.#resetLater(socket);
      }
    }
  }

  // ---- inside

  /** Lets something happen at the other end after the delay, behind everything sent before. */
  #carry(socket: SimSocket, arrive: (other: SimSocket) => void): void {
    const at = Math.max(socket.deliverAtMs, this.#clock.nowMs + this.#delay());
    socket.deliverAtMs = at;
    this.#clock.at(at, () => {
      socket.waiting.push(() => {
        const { other } = socket;
        if (other?.dead && !this.#down.has(other.host)) this.#resetLater(socket);
        else if (other && !other.dead) arrive(other);
      });
      this.#release(socket);
    });
  }

  #release(socket: SimSocket): void {
    const { other } = socket;
    if (other && this.#isCut(socket.host, other.host)) return;
    while (socket.waiting.length > 0) socket.waiting.shift()?.();
  }

  /** The other end is no more and says so. */
  #resetLater(socket: SimSocket): void {
    if (socket.dead) return; // nobody is left to hear it
    this.#clock.after(this.#delay(), () => {
      const { other } = socket;
      if (!other || !this.#isCut(socket.host, other.host)) this.#over(socket, ERRNO.ECONNRESET);
    });
  }

  /** An orderly end may still be followed by a failure of the direction that was left. */
  #over(socket: SimSocket, error: number): void {
    if (socket.dead || socket.ended > 0 || socket.ended === error) return;
    socket.ended = error;
    if (error > 0) this.#sockets.delete(socket);
    socket.onEnd?.(error);
  }

  #delay(): number {
    const [min, max] = this.#options.delayMs;
    return min + (this.#random.u32() / 0x100000000) * (max - min);
  }

  #isCut(a: string, b: string): boolean {
    return this.#cuts.has(pair(a, b));
  }

  #key(host: string, address: string): string {
    // Loopback addresses and unix sockets are of one host only.
    const own = address.startsWith('127.') || address.startsWith('unix:');
    return own ? `${host} ${address}` : address;
  }

  #hostOf(host: string, address: string): string | null {
    if (address.startsWith('127.') || address.startsWith('unix:')) return host;
    return this.#hosts.get(address.slice(0, address.lastIndexOf(':'))) ?? null;
  }

  #addressOf(host: string, towards: string): string {
    if (towards.startsWith('127.')) return '127.0.0.1';
    for (const [address, owner] of this.#hosts) if (owner === host) return address;
    return '127.0.0.1';
  }
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
