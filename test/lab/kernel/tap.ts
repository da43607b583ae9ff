/**
 * A process in the middle of a DRBD connection: each caller is connected on to the other side, bytes pass as they are, and the
 * highest protocol version and the feature flags that a node offers can be lowered on the way, so that a kernel of today speaks the
 * dialect of an old one.
 *
 * What is known of the wire here: the first packet of each side has the 8-byte header of the oldest version; P_INITIAL_DATA is
 * followed by P_CONNECTION_FEATURES, whose 72 bytes begin with the lowest version, the flags and the highest version
 * (docs/PROTOCOL.md, "Connecting"). Everything behind them is left alone.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { COMMANDS } from '../../../src/wire/constants.js';

const MAGIC = 0x83740267;
const HEADER_BYTES = 8;
const FEATURES_BYTES = HEADER_BYTES + 72;
const FLAGS_AT = HEADER_BYTES + 4;
const MAX_AT = HEADER_BYTES + 8;

export interface Dialect {
  readonly protocolMax: number;
  /** A mask over the flags that a node offers. */
  readonly features: number;
}

export const NEWEST: Dialect = { protocolMax: 101, features: 0xffffffff };

/** One direction of one connection, as long as its first packets have not passed. */
export class Lowering {
  readonly #dialect: Dialect;
  #held = Buffer.alloc(0);
  #done = false;

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
  }

  /** What may go on now. */
  pass(chunk: Buffer): Buffer {
    if (this.#done) return chunk;
    this.#held = Buffer.concat([this.#held, chunk]);
    const ready: Buffer[] = [];
    const take = (lengthBytes: number): Buffer => {
      const head = this.#held.subarray(0, lengthBytes);
      this.#held = this.#held.subarray(lengthBytes);
      ready.push(head);
      return head;
    };
    while (!this.#done && this.#held.length >= HEADER_BYTES) {
      const command = this.#held.readUInt32BE(0) === MAGIC ? this.#held.readUInt16BE(4) : -1;
      if (command === COMMANDS.P_INITIAL_DATA) {
        take(HEADER_BYTES);
      } else if (command === COMMANDS.P_CONNECTION_FEATURES) {
        if (this.#held.length < FEATURES_BYTES) break;
        this.#lower(take(FEATURES_BYTES));
        this.#done = true;
      } else this.#done = true;
    }
    if (this.#done) take(this.#held.length);
    return Buffer.concat(ready);
  }

  #lower(packet: Buffer): void {
    const { protocolMax, features } = this.#dialect;
    packet.writeUInt32BE((packet.readUInt32BE(FLAGS_AT) & features) >>> 0, FLAGS_AT);
    packet.writeUInt32BE(Math.min(packet.readUInt32BE(MAX_AT), protocolMax), MAX_AT);
  }
}

export class Tap {
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  /** For connections that begin from now on. */
  dialect: Dialect = NEWEST;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.#targetPort = targetPort;
    server.on('connection', (socket) => this.#join(socket));
  }

  /** Listens on a port of its own of 127.0.0.1. */
  static async before(targetPort: number): Promise<Tap> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', () => done()));
    return new Tap(server, targetPort);
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return address.port;
  }

  #join(caller: Socket): void {
    const called = connect({ port: this.#targetPort, host: '127.0.0.1', allowHalfOpen: true });
    for (const [from, to] of [
      [caller, called],
      [called, caller],
    ] as const) {
      const lowering = new Lowering(this.dialect);
      this.#sockets.add(from);
      from.setNoDelay(true);
      from.on('data', (chunk) => {
        const ready = lowering.pass(chunk);
        if (ready.length > 0 && !to.write(ready)) from.pause();
      });
      to.on('drain', () => from.resume());
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }

  /** Every connection through it is reset now. New ones get through. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  close(): void {
    this.#server.close();
    this.reset();
  }
}
