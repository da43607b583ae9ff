/**
 * drbdd's end of the control socket: one JSON object a line (host/control.ts), any number of clients, answers in any order. One that
 * has asked for events gets them on the same connection, as fast as it reads.
 */
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type {
  ControlEvent,
  ControlFailure,
  ControlReply,
  ControlRequest,
  EventForm,
} from '../host/control.js';
import { notUnderstood, wrongField } from '../host/control-check.js';
import type { Listener } from '../host/event-feed.js';

const MAX_LINE_BYTES = 1 << 20;
/** Events for a client that does not read, beside what the kernel keeps for it. */
const MAX_UNREAD_BYTES = 64 << 10;

export interface ControlOwner {
  handle(request: ControlRequest): Promise<ControlReply>;
  /** A listener to events; it is told when it may be sent more, and when it has gone. */
  listen(listener: Listener): Promise<void>;
  read(listener: Listener): void;
  gone(listener: Listener): void;
}

/** Another drbdd serves this node. */
export class AlreadyRunningError extends Error {
  override name = 'AlreadyRunningError';
}

/** A second daemon on the same node would write the same disks. */
export function refuseSecond(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      reject(new AlreadyRunningError(`another drbdd answers at ${path}`));
    });
    socket.once('error', () => resolve());
  });
}

export class ControlSocket {
  readonly #path: string;
  readonly #owner: ControlOwner;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();

  constructor(path: string, owner: ControlOwner) {
    this.#path = path;
    this.#owner = owner;
    this.#server = createServer((socket) => this.#client(socket));
  }

  /** Only root may speak to it. A socket that a dead daemon left is replaced. */
  listen(): Promise<void> {
    rmSync(this.#path, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#path, () => {
        chmodSync(this.#path, 0o600);
        resolve();
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#clients) socket.destroy();
    rmSync(this.#path, { force: true });
  }

  #client(socket: Socket): void {
    this.#clients.add(socket);
    socket.setEncoding('utf8');
    let partial = '';
    socket.on('data', (chunk: string) => {
      partial += chunk;
      if (partial.length > MAX_LINE_BYTES) {
        socket.destroy();
        return;
      }
      const lines = partial.split('\n');
      partial = lines.pop() ?? '';
      for (const line of lines) void this.#line(socket, line);
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#clients.delete(socket));
  }

  async #line(socket: Socket, line: string): Promise<void> {
    let id = 0;
    let reply: ControlReply;
    try {
      const message = JSON.parse(line) as { readonly id: number; readonly request: ControlRequest };
      id = message.id;
      const { request } = message;
      const wrong = wrongField(request);
      if (wrong === null && request.verb === 'events') {
        await this.#events(socket, id, request.resource, request.form ?? 'objects');
        return;
      }
      reply = wrong === null ? await this.#owner.handle(request) : notUnderstood(wrong);
    } catch (e) {
      reply = usage(`not a request: ${e instanceof Error ? e.message : String(e)}`);
    }
    if (!socket.destroyed) socket.write(`${JSON.stringify({ id, reply })}\n`);
  }

  async #events(
    socket: Socket,
    id: number,
    resource: string | null,
    form: EventForm,
  ): Promise<void> {
    const say = (what: { reply: ControlReply } | { event: ControlEvent }): void => {
      if (!socket.destroyed) socket.write(`${JSON.stringify({ id, ...what })}\n`);
    };
    const listener: Listener = {
      resource,
      form,
      send: (event) => say({ event }),
      isFull: () => socket.writableLength > MAX_UNREAD_BYTES,
    };
    say({ reply: { ok: true, value: null } });
    socket.on('drain', () => this.#owner.read(listener));
    await this.#owner.listen(listener);
    if (socket.destroyed) this.#owner.gone(listener);
    else socket.once('close', () => this.#owner.gone(listener));
  }
}

function usage(what: string): ControlFailure {
  return { ok: false, kind: 'usage', code: 0, text: what, info: [], next: [] };
}
