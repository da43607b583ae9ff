/**
 * A serial line (a null modem cable): heartbeat's `serial DEVICE`, at the `baud` of ha.cf, raw, with the settings of the original
 * (stty(1)). Written to and read from without ever waiting: a line that takes nothing (no cable: RTS/CTS) loses messages, which are
 * asked for again, and old keepalives are worth nothing. One that cannot be opened, or fails, is tried again every five seconds.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { isatty, ReadStream } from 'node:tty';
import type { Medium } from '../config/ha-cf.js';
import { SerialFrames, serialForm } from '../wire/hamsg-serial.js';
import { spawnAside } from './spawn-aside.js';
import type { MediumHost } from './udp-medium.js';

export type SerialConfig = Extract<Medium, { readonly type: 'serial' }>;

const RETRY_MS = 5000;
/** The rest of a message that the line took in part; 4 kB of a terminal's buffer leave in 2 s at 19200 baud. */
const REST_MS = 50;
const SAY_AGAIN_MS = 60_000;
/** What the original's lines have, observed. */
const SETTINGS = ['raw', '-echo', 'cs8', '-parenb', '-cstopb', 'cread', 'clocal', 'crtscts'];

interface Opened {
  readonly fd: number; // for writing, non-blocking
  readonly reader: ReadStream;
}

export class SerialMedium {
  readonly #config: SerialConfig;
  readonly #host: MediumHost;
  #opened: Opened | null = null;
  #rest: Uint8Array = new Uint8Array(0);
  #isPart = false; // of the message in #rest something is on the line
  #timer: NodeJS.Timeout | null = null;
  #opening = false;
  #closed = false;
  #isStarted = false; // said
  #fails = false; // said
  #fullMs = Number.NEGATIVE_INFINITY; // said

  constructor(config: SerialConfig, host: MediumHost) {
    this.#config = config;
    this.#host = host;
  }

  get link(): string {
    return this.#config.device;
  }

  get place(): string {
    return `serial ${this.#config.device}`;
  }

  /** The first attempt, or once more; later ones follow by themselves. */
  async open(): Promise<void> {
    if (this.#closed || this.#opening) return;
    this.#opening = true;
    const { device, baud } = this.#config;
    try {
      await this.#set();
      if (this.#closed) return;
      this.#release();
      this.#opened = this.#openDevice();
      if (this.#fails || !this.#isStarted) {
        this.#host.log('info', `Starting serial heartbeat on tty ${device} (${baud} baud)`);
      }
      this.#isStarted = true;
      this.#fails = false;
    } catch (e) {
      this.#failed(e instanceof Error ? e.message : String(e));
    } finally {
      this.#opening = false;
    }
  }

  /** Never waits. What the line does not take at all is lost. */
  send(datagram: Uint8Array): void {
    if (!this.#opened) return;
    let isTaken = false;
    if (this.#flush()) {
      this.#rest = serialForm(datagram);
      isTaken = this.#write();
    }
    if (!isTaken && performance.now() - this.#fullMs > SAY_AGAIN_MS) {
      this.#fullMs = performance.now();
      this.#host.log('WARN', `${this.place}: the line takes nothing, messages are lost`);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#release();
  }

  /** True when nothing of the last message is left. */
  #flush(): boolean {
    if (this.#rest.length > 0) this.#write();
    return this.#rest.length === 0;
  }

  /** False: not a byte of it. Of a part the rest follows. */
  #write(): boolean {
    const opened = this.#opened;
    if (!opened) return false;
    let written = 0;
    try {
      written = writeSync(opened.fd, this.#rest);
    } catch (e) {
      const { code, message } = e as NodeJS.ErrnoException;
      if (code !== 'EAGAIN') this.#failed(message);
    }
    if (written === 0 && !this.#isPart) {
      this.#rest = new Uint8Array(0);
      return false;
    }
    this.#rest = this.#rest.subarray(written);
    this.#isPart = this.#rest.length > 0;
    if (this.#isPart) setTimeout(() => this.#flush(), REST_MS).unref();
    return true;
  }

  #set(): Promise<void> {
    const { device, baud } = this.#config;
    const child = spawnAside('stty', ['-F', device, String(baud), ...SETTINGS], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr?.on('data', (text: Buffer) => {
      said += text.toString();
    });
    return new Promise((done, fail) => {
      child.on('error', fail);
      child.on('close', (status) => {
        if (status === 0) done();
        else fail(new Error(said.trim() || `stty ended with ${status}`));
      });
    });
  }

  #openDevice(): Opened {
    const { device } = this.#config;
    const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
    // Two descriptors: Node may set the one that it reads from to blocking.
    const fd = openSync(device, flags);
    try {
      if (!isatty(fd)) throw new Error('is no terminal');
      const reader = new ReadStream(openSync(device, flags));
      const frames = new SerialFrames();
      reader.on('data', (bytes: Buffer) => {
        for (const frame of frames.push(bytes)) this.#host.received(frame, device, false);
      });
      const ended = (why: string) => {
        if (this.#opened?.reader === reader) this.#failed(why);
      };
      reader.on('error', (e) => ended(e.message));
      reader.on('end', () => ended('hung up'));
      return { fd, reader };
    } catch (e) {
      closeSync(fd);
      throw e;
    }
  }

  #failed(why: string): void {
    if (!this.#fails) this.#host.log('ERROR', `${this.place}: ${why}; trying again`);
    this.#fails = true;
    this.#release();
    if (this.#closed) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.open(), RETRY_MS);
  }

  #release(): void {
    const opened = this.#opened;
    this.#opened = null;
    this.#rest = new Uint8Array(0);
    this.#isPart = false;
    if (!opened) return;
    opened.reader.destroy();
    closeSync(opened.fd);
  }
}
