/**
 * Sockets of the fallback engine: Node's `net`. Node reads before anyone asks, so what arrives waits in chunks and the
 * socket is paused while a peek region's worth of them waits. Buffer sizes of sockets cannot be set from here.
 */
import { existsSync } from 'node:fs';
import net from 'node:net';
import { ERRNO, errnoOf } from '../host/errno.js';
import type { Endpoint } from '../host/io.js';
import type { StreamReceiver } from '../host/stream-receiver.js';

const PAUSE_BYTES = 256 << 10;
const UV_TCP_IPV6ONLY = 1;

/** A stream whose engine side is `receiver`; `wake` says that there is something to deliver. */
export class FallbackStream {
  receiver: StreamReceiver | null = null;
  backlogBytes = 0;
  readonly #socket: net.Socket;
  readonly #wake: () => void;
  #corked = false;
  #error = -1; // the socket is over: 0 or errno

  constructor(socket: net.Socket, wake: () => void) {
    this.#socket = socket;
    this.#wake = wake;
    socket.pause();
    socket.on('error', (error) => this.#over(errnoOf(error)));
    socket.on('end', () => this.#over(0));
    socket.on('close', () => this.#over(0));
    socket.on('data', (chunk) => {
      this.receiver?.push(chunk);
      if ((this.receiver?.waitingBytes ?? 0) >= PAUSE_BYTES) socket.pause();
      this.#wake();
    });
    socket.pause(); // 'data' made it flow
  }

  /** Reads on, now that there is a receiver. */
  start(): void {
    if (this.#error >= 0) this.receiver?.end(this.#error);
    this.#socket.resume();
    this.#wake();
  }

  /** After a delivery: read on when the owner has made room. */
  resume(): void {
    if (this.receiver && this.receiver.waitingBytes < PAUSE_BYTES && this.#socket.isPaused()) {
      this.#socket.resume();
    }
  }

  send(bytes: Uint8Array, done: (result: number) => void): void {
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
    }
    this.#socket.write(bytes, (error) => {
      this.backlogBytes -= bytes.length;
      // Node calls back without an error for what a destroyed socket had not written.
      if (this.#socket.destroyed) done(this.#error > 0 ? -this.#error : -ERRNO.ECANCELED);
      else if (!error) done(bytes.length);
      else done(this.#error > 0 ? -this.#error : -this.#sendErrno(error));
    });
  }

  /** Everything written in this turn leaves in one system call. */
  flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  get alive(): boolean {
    return this.#error < 0 && !this.#socket.destroyed;
  }

  close(): void {
    this.#socket.destroy();
  }

  #sendErrno(error: Error): number {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ERR_STREAM_DESTROYED') return ERRNO.ECANCELED;
    return code === 'EPIPE' || code === 'ERR_STREAM_WRITE_AFTER_END' ? ERRNO.EPIPE : errnoOf(error);
  }

  #over(error: number): void {
    if (this.#error < 0) this.#error = error;
    this.receiver?.end(this.#error);
    this.#wake();
  }
}

interface RawHandle {
  listen(backlog: number): number;
  close(): void;
}
type CreateHandle = (
  address: string,
  port: number,
  type: 4 | 6,
  fd?: number,
  flags?: number,
) => RawHandle | number;

/**
 * A listening server at once, or -errno. `net.Server.listen` reports a taken address only in a later turn, so a TCP
 * socket is bound the way Node's own cluster module does it (`net._createServerHandle`).
 */
export function listenNow(
  at: Endpoint,
  accepted: (socket: net.Socket) => void,
): net.Server | number {
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
  server.on('connection', accepted);
  server.on('error', () => {}); // a connection that was gone before it was accepted
  if (at.family === 'unix') {
    if (existsSync(at.path)) return -ERRNO.EADDRINUSE;
    server.listen(at.path);
    return server.listening ? server : -ERRNO.EACCES;
  }
  const create = (net as unknown as { _createServerHandle?: CreateHandle })._createServerHandle;
  if (!create) return -ERRNO.EOPNOTSUPP;
  const v6 = at.family === 'ipv6';
  const handle = create(at.host, at.port, v6 ? 6 : 4, undefined, v6 ? UV_TCP_IPV6ONLY : 0);
  if (typeof handle === 'number') return handle;
  const error = handle.listen(128);
  if (error !== 0) {
    handle.close();
    return error;
  }
  server.listen(handle);
  return server;
}

/** Connects within `timeoutMs`; `done` gets the socket, or null and the errno, exactly once. */
export function connectNow(
  remote: Endpoint,
  local: Endpoint | null,
  timeoutMs: number,
  done: (socket: net.Socket | null, errno: number) => void,
): net.Socket {
  const options: net.NetConnectOpts =
    remote.family === 'unix'
      ? { path: remote.path }
      : {
          host: remote.host,
          port: remote.port,
          family: remote.family === 'ipv6' ? 6 : 4,
          noDelay: true,
          ...(local && local.family !== 'unix' ? { localAddress: local.host } : {}),
        };
  const socket = new net.Socket({ allowHalfOpen: true });
  let told = false;
  const tell = (ok: boolean, errno: number): void => {
    if (told) return;
    told = true;
    clearTimeout(timer);
    socket.removeAllListeners();
    socket.on('error', () => {});
    if (!ok) socket.destroy();
    done(ok ? socket : null, errno);
  };
  const timer = setTimeout(() => tell(false, ERRNO.ETIMEDOUT), timeoutMs);
  socket.on('connect', () => tell(true, 0));
  socket.on('error', (error) => tell(false, errnoOf(error)));
  socket.on('close', () => tell(false, ERRNO.ECANCELED));
  socket.connect(options);
  return socket;
}

/** The address of the other end as `1.2.3.4:7788`, `[::1]:7788`, or `` for a unix socket. */
export function peerName(socket: net.Socket): string {
  if (!socket.remoteAddress) return '';
  const host = socket.remoteAddress;
  return host.includes(':') ? `[${host}]:${socket.remotePort}` : `${host}:${socket.remotePort}`;
}
