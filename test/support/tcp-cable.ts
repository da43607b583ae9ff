/**
 * A cable in front of a listening port: passes bytes on until it is cut, and can be set to break in the middle of a packet, after
 * so many bytes, or to stop there and go on later. A cut is seen by both ends at once, as a reset or an orderly end.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class TcpCable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #up = true;
  #breakAfter = Number.POSITIVE_INFINITY;
  #holdAfter = Number.POSITIVE_INFINITY; // of each direction of each connection
  readonly #passed = new Map<Socket, number>(); // since holdAfter
  readonly #held: (() => void)[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async before(host: string, port: number): Promise<TcpCable> {
    const server = createServer();
    const cable = new TcpCable(server);
    server.on('connection', (socket) => cable.#join(socket, host, port));
    await new Promise<void>((done) => server.listen(0, host, () => done()));
    return cable;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #join(inner: Socket, host: string, port: number): void {
    if (!this.#up) {
      inner.destroy();
      return;
    }
    const outer = connect({ host, port });
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      from.setNoDelay(true);
      this.#sockets.add(from);
      from.on('data', (bytes) => this.#pass(bytes, from, to));
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      to.on('drain', () => from.resume());
    }
  }

  #pass(bytes: Buffer, from: Socket, to: Socket): void {
    if (bytes.length >= this.#breakAfter) {
      to.end(bytes.subarray(0, this.#breakAfter));
      this.#breakAfter = Number.POSITIVE_INFINITY;
      setImmediate(() => this.cut());
      return;
    }
    this.#breakAfter -= bytes.length;
    const passed = this.#passed.get(from) ?? 0;
    this.#passed.set(from, passed + bytes.length);
    if (passed + bytes.length > this.#holdAfter) {
      const now = Math.max(0, this.#holdAfter - passed);
      to.write(bytes.subarray(0, now));
      from.pause();
      this.#held.push(() => {
        to.write(bytes.subarray(now));
        from.resume();
      });
      return;
    }
    if (!to.write(bytes)) from.pause();
  }

  /** Each direction of a connection stops after so many more bytes; `goOn` lets it go on. */
  holdAfter(bytes: number): void {
    this.#passed.clear();
    this.#holdAfter = bytes;
  }

  goOn(): void {
    this.#holdAfter = Number.POSITIVE_INFINITY;
    for (const pass of this.#held.splice(0)) pass();
  }

  /** Break when so many more bytes have passed. */
  breakAfter(bytes: number): void {
    this.#breakAfter = bytes;
  }

  /** Every connection through it ends now; with `keepUp` false no new ones are let through. */
  cut(keepUp = true): void {
    this.#up = keepUp;
    this.#breakAfter = Number.POSITIVE_INFINITY;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#up = true;
    this.#breakAfter = Number.POSITIVE_INFINITY;
  }

  close(): void {
    this.cut(false);
    this.#server.close();
  }
}
