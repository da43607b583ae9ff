/** Heartbeat's end of its control socket (host/heartbeat-control.ts): one JSON object a line, replies carry the id. */
import { chmodSync, existsSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import {
  HEARTBEAT_SOCKET,
  type HeartbeatReply,
  type HeartbeatRequest,
  parseHeartbeatRequest,
} from '../host/heartbeat-control.js';

/** A request is a few dozen bytes; a client that sends more without a newline is not one of ours. */
const MAX_LINE_BYTES = 64 << 10;

export type Answer = (request: HeartbeatRequest) => Promise<HeartbeatReply>;

/** False when another process listens on the socket: a second daemon. */
export async function isSocketFree(root: string): Promise<boolean> {
  const path = root + HEARTBEAT_SOCKET;
  if (!existsSync(path)) return true;
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
}

export class HeartbeatControlServer {
  readonly #path: string;
  readonly #answer: Answer;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;

  constructor(root: string, answer: Answer) {
    this.#path = root + HEARTBEAT_SOCKET;
    this.#answer = answer;
  }

  async listen(): Promise<void> {
    mkdirSync(dirname(this.#path), { recursive: true });
    if (existsSync(this.#path)) unlinkSync(this.#path); // left over: isSocketFree was asked before
    const server = createServer((socket) => this.#serve(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#path, () => {
        server.off('error', reject);
        resolve();
      });
    });
    chmodSync(this.#path, 0o660);
    this.#server = server;
  }

  close(): void {
    this.#server?.close(); // removes the socket file
    this.#server = null;
    for (const socket of this.#sockets) socket.end();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    let partial = '';
    socket.setEncoding('utf8');
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (text: string) => {
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      if (partial.length > MAX_LINE_BYTES) socket.destroy();
      for (const line of lines) void this.#handle(socket, line);
    });
  }

  async #handle(socket: Socket, line: string): Promise<void> {
    let id: unknown = null;
    let request: HeartbeatRequest | null = null;
    try {
      const value = JSON.parse(line) as { id?: unknown; request?: unknown };
      id = value.id;
      request = parseHeartbeatRequest(value.request);
    } catch {
      // answered below
    }
    const reply: HeartbeatReply = request
      ? await this.#answer(request)
      : { ok: false, text: 'not a request' };
    if (!socket.destroyed) socket.write(`${JSON.stringify({ id, reply })}\n`);
  }
}
