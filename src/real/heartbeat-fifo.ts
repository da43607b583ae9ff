/**
 * /var/lib/heartbeat/fifo: where the original's scripts (hb_standby, hb_takeover) write messages for the cluster, in the
 * classic form without standard fields. Those that ask for something are taken, and those of types that no part of heartbeat acts upon (event scripts: host/event-scripts.ts); a script that reports what it did
 * (`resource`, `ip-request-resp`) belongs to the original's own way of running resources.
 *
 * The FIFO is opened for reading and writing, so that it does not end when a writer closes it. A system that cannot
 * make one loses this entrance only. Source: docs/HEARTBEAT.md; heartbeat 3.0.6 observed.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, constants, lstatSync, mkdirSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { dirname } from 'node:path';
import { isForeignType } from '../host/event-scripts.js';
import { decodeHaMessage, fieldOf, type HaMessage, latin1Bytes } from '../wire/hamsg.js';

export interface FifoHost {
  received(message: HaMessage): void;
  log(level: 'info' | 'WARN', text: string): void;
}

const FIFO = '/var/lib/heartbeat/fifo';
const TAKEN = new Set(['ask_resources', 'hb_takeover']);
const END = '<<<\n';
const MAX_BYTES = 64 << 10;

export class HeartbeatFifo {
  readonly #path: string;
  readonly #host: FifoHost;
  #socket: Socket | null = null;
  #text = '';

  constructor(root: string, host: FifoHost) {
    this.#path = root + FIFO;
    this.#host = host;
  }

  open(): void {
    try {
      this.#make();
      const fd = openSync(this.#path, constants.O_RDWR | constants.O_NONBLOCK);
      const socket = new Socket({ fd, readable: true, writable: false });
      socket.setEncoding('latin1');
      socket.on('data', (text: string) => this.#read(text));
      socket.on('error', (e) => this.#host.log('WARN', `${this.#path}: ${e.message}`));
      socket.unref();
      this.#socket = socket;
    } catch (e) {
      this.#host.log('WARN', `${this.#path}: ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
  }

  #make(): void {
    mkdirSync(dirname(this.#path), { recursive: true });
    try {
      if (!lstatSync(this.#path).isFIFO()) throw new Error('is there and no FIFO');
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
      const made = spawnSync('mkfifo', ['-m', '600', this.#path], { encoding: 'utf8' });
      if (made.status !== 0) throw made.error ?? new Error(made.stderr.trim());
      this.#host.log('info', `Creating FIFO ${FIFO}.`);
    }
    chmodSync(this.#path, 0o600);
  }

  #read(text: string): void {
    this.#text += text;
    for (let end = this.#text.indexOf(END); end >= 0; end = this.#text.indexOf(END)) {
      const whole = this.#text.slice(0, end + END.length);
      this.#text = this.#text.slice(end + END.length);
      this.#take(whole);
    }
    if (this.#text.length > MAX_BYTES) this.#text = '';
  }

  #take(text: string): void {
    const decoded = decodeHaMessage(latin1Bytes(text));
    const type = decoded.ok ? fieldOf(decoded.message, 't') : null;
    const isTaken = type !== null && (TAKEN.has(type) || isForeignType(type));
    if (decoded.ok && isTaken) this.#host.received(decoded.message);
    else this.#host.log('WARN', `message on ${FIFO} ignored: ${type ?? 'not a message'}`);
  }
}
