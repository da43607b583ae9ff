/**
 * The socket of the client API, /run/heartbeat/register (host/client-api.ts decides). The kernel says who is at the other end.
 *
 * Anybody on the machine may connect, and nobody may hold the daemon up: frames, what waits to be written, connections and what a client
 * may send in a moment have bounds. Nothing here waits for a client; one that does not read is dropped.
 */
import { chmodSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { ClientApi, type ClientEffect } from '../host/client-api.js';
import type { ClientView } from '../host/client-queries.js';
import { type ClientRights, clientRights } from '../host/client-rights.js';
import { builtInClients } from '../host/heartbeat-clients.js';
import type { HeartbeatReport } from '../host/heartbeat-control.js';
import type { HeartbeatNode } from '../host/heartbeat-node.js';
import type { HeartbeatConfig } from '../host/heartbeat-ports.js';
import { VERSION } from '../host/heartbeat-report.js';
import type { NodeLogLevel } from '../host/node-ports.js';
import { parametersOf } from '../host/parameters.js';
import { encodeFrame, FrameReader } from '../wire/client-frame.js';
import type { HaMessage } from '../wire/hamsg.js';
import { peerCredentials } from './native-addon.js';

export const REGISTER = '/run/heartbeat/register';
/** Of them those that have signed on stay; for a new one the oldest of the others goes. */
const MOST_CONNECTIONS = 100;
/** Answers and messages that a client has not read. */
const MOST_UNREAD_BYTES = 1 << 20;
/** Frames of one client in one turn; what is more waits. */
const TURN_FRAMES = 100;
const TURN_MS = 100;
/** One that is told to go has that long to read what it was told. */
const CLOSE_MS = 2000;

const FACILITIES = (
  'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - ' +
  'local0 local1 local2 local3 local4 local5 local6 local7'
).split(' ');

export interface ClientApiHost {
  readonly root: string;
  log(level: NodeLogLevel, text: string): void;
  /** As a program of this node. */
  send(message: HaMessage): void;
  clientOnline(client: string, online: boolean): void;
  node(): HeartbeatNode | null;
  report(): HeartbeatReport;
}

interface Connection {
  readonly id: number;
  readonly socket: Socket;
  readonly reader: FrameReader;
  frames: number; // in this turn
  waits: NodeJS.Timeout | null; // until the next turn
}

export class ClientApiServer {
  readonly #host: ClientApiHost;
  readonly #path: string;
  readonly #machine: ClientApi;
  readonly #connections = new Map<number, Connection>();
  #config: HeartbeatConfig;
  #server: Server | null = null;
  #nextId = 1;
  #warned = false;

  constructor(host: ClientApiHost, config: HeartbeatConfig) {
    this.#host = host;
    this.#path = host.root + REGISTER;
    this.#config = config;
    this.#machine = new ClientApi(this.#view(), this.#rights());
  }

  configure(config: HeartbeatConfig): void {
    this.#config = config;
    this.#machine.setRights(this.#rights());
  }

  #rights(): ClientRights {
    const look = (file: string, name: string): number | null => {
      const lines = readLines(file).map((line) => line.split(':'));
      const [, , number] = lines.find(([first]) => first === name) ?? [];
      return number ? Number(number) : null;
    };
    return clientRights(
      this.#config.haCf.apiauths,
      { user: (name) => look('/etc/passwd', name), group: (name) => look('/etc/group', name) },
      (client, what) => this.#host.log('WARN', `apiauth ${client}: there is no ${what}`),
    );
  }

  #view(): ClientView {
    const host = this.#host;
    const config = () => this.#config;
    return {
      node: config().node,
      signOn: () => signOnFields(config()),
      nodes: () => host.report().nodes,
      rscStatus: () => host.report().rscStatus,
      parameter: (name) => {
        const parameters = parametersOf(config().haCf);
        return Object.hasOwn(parameters, name) ? (parameters[name] ?? null) : null;
      },
      uuidOf: (name) => host.node()?.membership.nodes.get(name)?.uuid ?? null,
      isBuiltIn: (client) =>
        client === 'dopd' || builtInClients(config().haCf.respawns).some((one) => one === client),
    };
  }

  /** Communication is up. */
  active(): void {
    if (this.#server) this.#do((out) => this.#machine.active(out));
    else this.#listen();
  }

  #listen(): void {
    const server = createServer((socket) => this.#connected(socket));
    this.#server = server;
    const failed = (e: unknown) => {
      if (this.#server === server) this.#server = null; // the next life tries again
      const why = e instanceof Error ? e.message : String(e);
      this.#host.log('WARN', `${this.#path}: no client API: ${why}`);
    };
    server.on('error', failed);
    try {
      mkdirSync(dirname(this.#path), { recursive: true });
      rmSync(this.#path, { force: true }); // of a daemon that is gone: two do not run
      server.listen(this.#path, () => {
        try {
          chmodSync(this.#path, 0o777); // who may what is asked at each sign-on
        } catch (e) {
          failed(e);
        }
      });
    } catch (e) {
      failed(e);
    }
  }

  /** Everybody is sent away. */
  close(): void {
    this.#server?.close(); // removes the socket
    this.#server = null;
    for (const { id, socket } of [...this.#connections.values()]) {
      this.#gone(id, 'died');
      end(socket);
    }
  }

  heard(message: HaMessage): void {
    this.#resume();
    if (this.#connections.size > 0) this.#do((out) => this.#machine.heard(message, out));
  }

  nodeDead(node: string): void {
    this.#resume();
    this.#do((out) => this.#machine.nodeDead(node, out));
  }

  link(node: string, link: string, status: 'up' | 'dead'): void {
    this.#do((out) => this.#machine.link(node, link, status, out));
  }

  #connected(socket: Socket): void {
    let credentials: ReturnType<typeof peerCredentials>;
    try {
      credentials = peerCredentials(descriptorOf(socket));
    } catch (e) {
      const why = e instanceof Error ? e.message : String(e);
      if (!this.#warned) this.#host.log('WARN', `${REGISTER}: who connects is not known: ${why}`);
      this.#warned = true;
      socket.destroy();
      return;
    }
    if (!this.#makeRoom()) {
      socket.destroy();
      return;
    }
    const id = this.#nextId++;
    const connection = { id, socket, reader: new FrameReader(), frames: 0, waits: null };
    this.#connections.set(id, connection);
    this.#machine.connected(id, credentials);
    socket.on('data', (bytes) => {
      connection.reader.push(bytes);
      this.#read(connection);
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#gone(id, 'died'));
  }

  /** False: all have signed on. */
  #makeRoom(): boolean {
    if (this.#connections.size < MOST_CONNECTIONS) return true;
    for (const { id, socket } of this.#connections.values()) {
      if (this.#machine.isSignedOn(id)) continue;
      this.#gone(id, 'died');
      socket.destroy();
      return true;
    }
    return false;
  }

  #read(connection: Connection): void {
    const { id, socket, reader } = connection;
    for (;;) {
      if (!this.#connections.has(id)) return;
      const isPaused = this.#host.node()?.membership.clientsPaused ?? false;
      if (isPaused || connection.frames >= TURN_FRAMES) {
        socket.pause();
        return;
      }
      const frame = reader.next();
      if (frame === null) {
        if (socket.isPaused()) socket.resume();
        return;
      }
      if (!frame.ok) {
        this.#host.log('WARN', `${REGISTER}: ${frame.text}: connection closed`);
        this.#gone(id, 'died');
        socket.destroy();
        return;
      }
      connection.frames++;
      connection.waits ??= setTimeout(() => {
        connection.waits = null;
        connection.frames = 0;
        this.#read(connection);
      }, TURN_MS);
      this.#do((out) => this.#machine.received(id, frame.message, out));
    }
  }

  /** Flow control may have ended. */
  #resume(): void {
    for (const connection of this.#connections.values()) {
      if (connection.socket.isPaused() && connection.waits === null) this.#read(connection);
    }
  }

  #gone(id: number, why: string): void {
    const connection = this.#connections.get(id);
    if (!connection) return;
    this.#connections.delete(id);
    if (connection.waits) clearTimeout(connection.waits);
    this.#do((out) => this.#machine.closed(id, why, out));
  }

  #do(work: (out: ClientEffect[]) => void): void {
    const out: ClientEffect[] = [];
    work(out);
    for (const effect of out) this.#carryOut(effect);
  }

  #carryOut(effect: ClientEffect): void {
    switch (effect.type) {
      case 'answer':
        this.#write(effect.connection, effect.message);
        break;
      case 'close': {
        const { socket } = this.#connections.get(effect.connection) ?? {};
        this.#gone(effect.connection, 'signoff');
        if (socket) end(socket);
        break;
      }
      case 'send':
        this.#host.send(effect.message);
        break;
      case 'client':
        this.#host.clientOnline(effect.client, effect.online);
        break;
      case 'log':
        this.#host.log(effect.level, effect.text);
        break;
    }
  }

  #write(id: number, message: HaMessage): void {
    const { socket } = this.#connections.get(id) ?? {};
    if (!socket || socket.destroyed) return;
    socket.write(encodeFrame(message));
    if (socket.writableLength <= MOST_UNREAD_BYTES) return;
    this.#host.log('WARN', `${REGISTER}: a client does not read: connection closed`);
    this.#gone(id, 'died');
    socket.destroy();
  }
}

/** What is written is written; who does not read it is cut off. */
function end(socket: Socket): void {
  socket.pause();
  socket.removeAllListeners('data');
  socket.end();
  const timer = setTimeout(() => socket.destroy(), CLOSE_MS);
  timer.unref();
  socket.on('finish', () => {
    clearTimeout(timer);
    socket.destroy();
  });
}

function signOnFields({ node, haCf }: HeartbeatConfig): Readonly<Record<string, string>> {
  const facility = FACILITIES.indexOf(haCf.logfacility ?? 'none');
  return {
    deadtime: haCf.deadtimeMs.toString(16),
    keepalive: haCf.keepaliveMs.toString(16),
    node,
    hbversion: `${VERSION} (twinbeat)`,
    pacemaker: 'false',
    ...(facility < 0 ? {} : { logfacility: String(facility << 3) }),
  };
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}

/** Node does not name the descriptor of a socket in its interface. */
function descriptorOf(socket: Socket): number {
  return (socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
}
