/**
 * The kernel's side of /dev/fuse in memory, and the part of the I/O port that a FuseServer uses. Requests are handed out
 * as the engines do it: read into a 1 MiB buffer, moved to the smallest fed buffer that fits.
 */
import { BufferPool, type PoolCounts } from '../../src/host/buffer-pool.js';
import type { FuseOwner, Io } from '../../src/host/io.js';

export interface Answer {
  readonly unique: bigint;
  readonly error: number; // 0 or negative errno
  readonly result: Uint8Array; // behind the out-header
}

/** What FuseServer may call; the rest of Io is not for it. */
type FuseIo = Pick<
  Io,
  | 'pool'
  | 'poolView'
  | 'alloc'
  | 'free'
  | 'capacity'
  | 'attachFuse'
  | 'fuseFeed'
  | 'fuseReply'
  | 'close'
  | 'submit'
>;

export class FuseKernel {
  readonly buffers: BufferPool;
  readonly io: Io;
  readonly connections: Connection[] = [];

  constructor(counts: PoolCounts) {
    const buffers = new BufferPool(counts);
    this.buffers = buffers;
    const pool = new Uint8Array(buffers.sizeBytes);
    const at = (fuse: number) => this.connections[fuse] as Connection;
    const io: FuseIo = {
      pool,
      poolView: new DataView(pool.buffer),
      alloc: (bytes) => buffers.alloc(bytes),
      free: (where) => {
        pool.fill(0xdb, where, where + buffers.capacity(where)); // who still uses it, sees it
        buffers.free(where);
      },
      capacity: (where) => buffers.capacity(where),
      attachFuse: (_descriptor, owner) => {
        this.connections.push(new Connection(this.connections.length, owner, io));
        return this.connections.length - 1;
      },
      fuseFeed: (fuse, where) => at(fuse).fed.push(where),
      fuseReply: (fuse, where, length) => at(fuse).reply(where, length),
      close: (fuse) => at(fuse).close(),
      submit: () => {},
    };
    this.io = new Proxy(io, {
      get(target, name) {
        if (name in target) return target[name as keyof FuseIo];
        throw new Error(`a FUSE front end does not use Io.${String(name)}`);
      },
    }) as unknown as Io;
  }
}

export class Connection {
  readonly fed: number[] = [];
  readonly answers: Answer[] = [];
  readonly log: string[] = []; // 'notify 7', 'read', 'close' in order
  closed = false;
  readonly #fuse: number;
  readonly #owner: FuseOwner;
  readonly #io: FuseIo;
  readonly #queue: Uint8Array[] = [];

  constructor(fuse: number, owner: FuseOwner, io: FuseIo) {
    this.#fuse = fuse;
    this.#owner = owner;
    this.#io = io;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  send(opcode: number, unique: bigint, args: Uint8Array, uid = 0): void {
    const bytes = new Uint8Array(40 + args.length);
    const v = new DataView(bytes.buffer);
    v.setUint32(0, bytes.length, true);
    v.setUint32(4, opcode, true);
    v.setBigUint64(8, unique, true);
    v.setBigUint64(16, 1n, true);
    v.setUint32(24, uid, true);
    bytes.set(args, 40);
    this.#queue.push(bytes);
  }

  /** READ and WRITE (with `data`). */
  transfer(
    opcode: number,
    unique: bigint,
    offset: number,
    size: number,
    data = new Uint8Array(0),
  ): void {
    const args = new Uint8Array(40 + data.length);
    const v = new DataView(args.buffer);
    v.setBigUint64(8, BigInt(offset), true);
    v.setUint32(16, size, true);
    args.set(data, 40);
    this.send(opcode, unique, args);
  }

  /** Hands out what there are buffers for; true when something was handed out. */
  deliver(): boolean {
    let any = false;
    while (!this.closed && this.#queue.length > 0) {
      const large = this.fed.find((at) => this.#io.capacity(at) >= 1 << 20);
      if (large === undefined) return any;
      const message = this.#queue.shift() as Uint8Array;
      this.log.push('read');
      const fits = this.fed.filter((at) => message.length <= 80 + this.#io.capacity(at));
      fits.sort((a, b) => this.#io.capacity(a) - this.#io.capacity(b));
      const at = fits[0] as number;
      this.fed.splice(this.fed.indexOf(at), 1);
      this.#io.pool.set(message, at - 80);
      this.#owner.fuseRequest(this.#fuse, at, message.length);
      any = true;
    }
    return any;
  }

  end(error: number): void {
    this.#owner.fuseEnd(this.#fuse, error);
  }

  reply(at: number, length: number): void {
    const v = this.#io.poolView;
    if (v.getUint32(at, true) !== length) throw new Error('the length of an answer');
    const unique = v.getBigUint64(at + 8, true);
    const error = v.getInt32(at + 4, true);
    if (unique === 0n) this.log.push(`notify ${error}`);
    else this.answers.push({ unique, error, result: this.#io.pool.slice(at + 16, at + length) });
  }

  close(): void {
    this.closed = true;
    this.log.push('close');
    for (const at of this.fed.splice(0)) this.#io.free(at);
  }
}
