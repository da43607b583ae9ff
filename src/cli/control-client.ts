/**
 * The programs' end of drbdd's control socket: one JSON object a line, `{"id": n, "request": ...}` and back
 * `{"id": n, "reply": ...}` (host/control.ts). Replies may come in any order: a `wait-connect` does not hold up others.
 */
import { connect, type Socket } from 'node:net';
import type { ControlEvent, ControlReply, ControlRequest, EventForm } from '../host/control.js';
import { rooted } from './world.js';

export const CONTROL_SOCKET = '/run/twinbeat/drbdd.sock';
const CONNECT_TIMEOUT_MS = 5_000; // a daemon that does not accept within this is stuck
const MAX_UNHANDLED = 200; // events that were read and not printed
const MAX_LINE_BYTES = 64 << 20; // the status of thousands of volumes stays far below

/**
 * Why there is no connection. `not-running`: no socket file. `dead`: a socket file that nobody listens on, left by a
 * daemon that died. `unreachable`: it may well run (no permission, stuck): callers must not take it for not running.
 */
export interface NoDaemon {
  readonly client: null;
  readonly kind: 'not-running' | 'dead' | 'unreachable';
  readonly reason: string;
}

/** The connection ended before the reply came. Whether the request took effect is not known. */
export class ControlLostError extends Error {
  override name = 'ControlLostError';
  readonly code = 'control-lost';
}

interface Waiter {
  readonly resolve: (reply: ControlReply) => void;
  readonly reject: (error: Error) => void;
}

export class ControlClient {
  readonly #socket: Socket;
  readonly #waiters = new Map<number, Waiter>();
  readonly #streams = new Map<number, (event: ControlEvent) => Promise<void>>();
  #handling: Promise<void> = Promise.resolve();
  #unhandled = 0;
  #nextId = 1;
  #partial = '';
  #lost: ControlLostError | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#received(text));
    socket.on('error', (e) => this.#end(`the control socket failed: ${e.message}`));
    socket.on('close', () => this.#end('drbdd closed the control socket'));
  }

  /** A connection to the node's drbdd, or null when none is to be had; `open` says why. */
  static async connect(root: string): Promise<ControlClient | null> {
    return (await ControlClient.open(root)).client;
  }

  static open(root: string): Promise<{ readonly client: ControlClient } | NoDaemon> {
    const path = rooted(root, CONTROL_SOCKET);
    return new Promise((resolve) => {
      const socket = connect({ path });
      const timer = afterMs(CONNECT_TIMEOUT_MS, () => {
        socket.destroy();
        resolve({
          client: null,
          kind: 'unreachable',
          reason: `${path}: drbdd did not answer within ${CONNECT_TIMEOUT_MS / 1000} s`,
        });
      });
      const failed = (e: NodeJS.ErrnoException): void => {
        timer.cancel();
        resolve(noDaemon(path, e));
      };
      socket.once('error', failed);
      socket.once('connect', () => {
        timer.cancel();
        socket.off('error', failed);
        resolve({ client: new ControlClient(socket) });
      });
    });
  }

  /** Ask; rejects with ControlLostError when the connection ends first, or after `timeoutMs` (0: never). */
  request(request: ControlRequest, timeoutMs = 0): Promise<ControlReply> {
    if (this.#lost) return Promise.reject(this.#lost);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer =
        timeoutMs > 0
          ? afterMs(timeoutMs, () => {
              this.#waiters.delete(id);
              reject(new ControlLostError(`drbdd did not answer within ${timeoutMs} ms`));
            })
          : null;
      this.#waiters.set(id, {
        resolve: (reply) => {
          timer?.cancel();
          resolve(reply);
        },
        reject: (error) => {
          timer?.cancel();
          reject(error);
        },
      });
      this.#socket.write(`${JSON.stringify({ id, request })}\n`);
    });
  }

  /**
   * Asks for events; each is given to `handle`, one after the other. While many wait for that nothing more is read, so that a
   * reader which is slow is so to the daemon as well. `ended` settles with the connection, or rejects when `handle` fails.
   */
  async events(
    resource: string | null,
    handle: (event: ControlEvent) => Promise<void>,
    form: EventForm = 'objects',
  ): Promise<{ readonly reply: ControlReply; readonly ended: Promise<void> }> {
    const id = this.#nextId;
    const ended = new Promise<void>((resolve, reject) => {
      this.#socket.once('close', () => void this.#handling.then(resolve, reject));
      this.#streams.set(id, (event) =>
        handle(event).catch((e: unknown) => {
          reject(e instanceof Error ? e : new Error(String(e)));
          this.close();
        }),
      );
    });
    return { reply: await this.request({ verb: 'events', resource, form }), ended };
  }

  #event(id: number, event: ControlEvent): void {
    const handle = this.#streams.get(id);
    if (!handle) return;
    this.#unhandled++;
    if (this.#unhandled >= MAX_UNHANDLED) this.#socket.pause();
    this.#handling = this.#handling
      .then(() => handle(event))
      .then(() => {
        this.#unhandled--;
        if (this.#unhandled === 0) this.#socket.resume();
      });
  }

  close(): void {
    this.#end('closed');
    this.#socket.destroy();
  }

  #received(text: string): void {
    this.#partial += text;
    if (!text.includes('\n')) {
      if (this.#partial.length > MAX_LINE_BYTES) this.#protocolError('a reply without end');
      return;
    }
    const lines = this.#partial.split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) {
      const answer = parseAnswer(line);
      if (!answer) {
        this.#protocolError(`not a reply: ${line.slice(0, 200)}`);
        return;
      }
      if ('event' in answer) {
        this.#event(answer.id, answer.event);
        continue;
      }
      const waiter = this.#waiters.get(answer.id);
      this.#waiters.delete(answer.id);
      waiter?.resolve(answer.reply); // none: it was given up after its timeout
    }
  }

  #protocolError(what: string): void {
    this.#end(`drbdd does not keep to the control protocol: ${what}`);
    this.#socket.destroy();
  }

  #end(why: string): void {
    if (this.#lost) return;
    this.#lost = new ControlLostError(why);
    for (const waiter of this.#waiters.values()) waiter.reject(this.#lost);
    this.#waiters.clear();
  }
}

/** A time limit that does not blame the daemon for our own slowness: what has arrived by then is looked at first. */
function afterMs(ms: number, expired: () => void): { cancel(): void } {
  let cancelled = false;
  const timer = setTimeout(() => {
    setImmediate(() => {
      if (!cancelled) expired();
    });
  }, ms);
  return {
    cancel() {
      cancelled = true;
      clearTimeout(timer);
    },
  };
}

function noDaemon(path: string, e: NodeJS.ErrnoException): NoDaemon {
  switch (e.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return { client: null, kind: 'not-running', reason: `drbdd is not running (no ${path})` };
    case 'ECONNREFUSED':
      return {
        client: null,
        kind: 'dead',
        reason: `${path} is left over: the drbdd that made it is dead`,
      };
    default:
      return { client: null, kind: 'unreachable', reason: `${path}: ${e.message}` };
  }
}

type Answer =
  | { readonly id: number; readonly reply: ControlReply }
  | { readonly id: number; readonly event: ControlEvent };

function parseAnswer(line: string): Answer | null {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || !('id' in value)) return null;
    const { id } = value;
    if (typeof id === 'number' && 'event' in value) {
      const { event } = value;
      if (typeof event !== 'object' || event === null || !('action' in event)) return null;
      return { id, event: event as ControlEvent };
    }
    if (!('reply' in value)) return null;
    const { reply } = value;
    if (typeof id !== 'number' || typeof reply !== 'object' || reply === null) return null;
    if (!('ok' in reply) || typeof reply.ok !== 'boolean') return null;
    return { id, reply: reply as ControlReply };
  } catch {
    return null;
  }
}
