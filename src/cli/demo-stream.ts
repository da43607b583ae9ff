/**
 * A TCP connection read by exact lengths or lines, each wait with a time limit. A node whose power is cut says nothing at all, so
 * nothing in a client may wait without one.
 */
import { connect, type Socket } from 'node:net';

export class StreamLostError extends Error {
  override name = 'StreamLostError';
  readonly code = 'stream-lost';
}

interface Want {
  readonly ready: () => Buffer | null;
  readonly resolve: (bytes: Buffer) => void;
  readonly reject: (error: Error) => void;
}

export class Stream {
  readonly #socket: Socket;
  #buffer: Buffer = Buffer.alloc(0);
  #want: Want | null = null;
  #lost: StreamLostError | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([this.#buffer, bytes]);
      this.#serve();
    });
    socket.on('error', (e) => this.#end(e.message));
    socket.on('close', () => this.#end('closed by the other side'));
  }

  static open(host: string, port: number, timeoutMs: number): Promise<Stream> {
    return Stream.#connect({ host, port }, `${host}:${port}`, timeoutMs);
  }

  static openUnix(path: string, timeoutMs: number): Promise<Stream> {
    return Stream.#connect({ path }, path, timeoutMs);
  }

  static #connect(
    to: { host: string; port: number } | { path: string },
    name: string,
    timeoutMs: number,
  ): Promise<Stream> {
    return new Promise((resolve, reject) => {
      const socket = connect(to);
      const fail = (why: string): void => {
        socket.destroy();
        reject(new StreamLostError(`${name}: ${why}`));
      };
      const timer = setTimeout(() => fail(`no connection within ${timeoutMs} ms`), timeoutMs);
      const refused = (e: Error): void => {
        clearTimeout(timer);
        fail(e.message);
      };
      socket.once('error', refused);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', refused);
        resolve(new Stream(socket));
      });
    });
  }

  write(bytes: Uint8Array | string): void {
    if (!this.#lost) this.#socket.write(bytes);
  }

  /** Exactly `length` bytes. */
  read(length: number, timeoutMs: number): Promise<Buffer> {
    return this.#wait(() => {
      if (this.#buffer.length < length) return null;
      return this.#take(length);
    }, timeoutMs);
  }

  /** One line, without its newline. */
  async readLine(timeoutMs: number): Promise<string> {
    const line = await this.#wait(() => {
      const end = this.#buffer.indexOf(10);
      return end < 0 ? null : this.#take(end + 1);
    }, timeoutMs);
    return line.subarray(0, -1).toString();
  }

  close(): void {
    this.#end('closed');
    this.#socket.destroy();
  }

  #take(length: number): Buffer {
    const bytes = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return bytes;
  }

  #wait(ready: () => Buffer | null, timeoutMs: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end(`no answer within ${timeoutMs} ms`), timeoutMs);
      this.#want = {
        ready,
        resolve: (bytes) => {
          clearTimeout(timer);
          resolve(bytes);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#serve();
      if (this.#lost) this.#reject(this.#lost);
    });
  }

  #serve(): void {
    const bytes = this.#want?.ready() ?? null;
    if (!bytes) return;
    const want = this.#want;
    this.#want = null;
    want?.resolve(bytes);
  }

  #end(why: string): void {
    this.#lost ??= new StreamLostError(why);
    this.#socket.destroy();
    this.#reject(this.#lost);
  }

  #reject(error: Error): void {
    const want = this.#want;
    this.#want = null;
    want?.reject(error);
  }
}
