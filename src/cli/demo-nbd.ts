/**
 * A ledger on bare blocks, through an NBD export: what the demo commits to where nothing can be mounted. Also its NBD client:
 * fixed newstyle, one request at a time, simple replies (source: doc/proto.md of the nbd project; numbers in wire/nbd.ts).
 *
 *     row N  ->  block N mod BLOCKS, written with FUA: acknowledged when it is durable on every node that has to have it
 *
 * The device is a ring: a later row overwrites the one that is BLOCKS before it, which then counts as found.
 */
import {
  Command,
  CommandFlag,
  encodeOption,
  Option,
  OptionReply,
  putRequest,
  REPLY_BYTES,
  REQUEST_BYTES,
} from '../wire/nbd.js';
import type { Limits, Store } from './demo-store.js';
import { Stream } from './demo-stream.js';

const BLOCK_BYTES = 4096;
const INFO_EXPORT = 0;
const CLIENT_FLAGS = 3; // fixed newstyle, no zeroes
const MAGIC = 'twinbeat row ';
const READ_BYTES = 1 << 20;

export class NbdError extends Error {
  override name = 'NbdError';
  readonly errno: number;
  constructor(what: string, errno: number) {
    super(`${what}: error ${errno}`);
    this.errno = errno;
  }
}

export class NbdClient {
  readonly sizeBytes: number;
  readonly #stream: Stream;
  readonly #timeoutMs: number;
  readonly #request = new DataView(new ArrayBuffer(REQUEST_BYTES));
  #cookie = 0;

  private constructor(stream: Stream, sizeBytes: number, timeoutMs: number) {
    this.#stream = stream;
    this.sizeBytes = sizeBytes;
    this.#timeoutMs = timeoutMs;
  }

  static async connect(path: string, exportName: string, limits: Limits): Promise<NbdClient> {
    const stream = await Stream.openUnix(path, limits.connectMs);
    try {
      const sizeBytes = await go(stream, exportName, limits.answerMs);
      return new NbdClient(stream, sizeBytes, limits.answerMs);
    } catch (e) {
      stream.close();
      throw e;
    }
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    this.#send(Command.READ, 0, offsetBytes, lengthBytes);
    await this.#answer('read');
    return this.#stream.read(lengthBytes, this.#timeoutMs);
  }

  /** Durable when it returns. */
  async write(offsetBytes: number, data: Uint8Array): Promise<void> {
    this.#send(Command.WRITE, CommandFlag.FUA, offsetBytes, data.length);
    this.#stream.write(data);
    await this.#answer('write');
  }

  close(): void {
    this.#send(Command.DISC, 0, 0, 0);
    this.#stream.close();
  }

  #send(type: number, flags: number, offsetBytes: number, lengthBytes: number): void {
    putRequest(this.#request, 0, type, flags, 0, ++this.#cookie, offsetBytes, lengthBytes);
    this.#stream.write(Buffer.from(this.#request.buffer.slice(0)));
  }

  async #answer(what: string): Promise<void> {
    const reply = await this.#stream.read(REPLY_BYTES, this.#timeoutMs);
    if (reply.readUInt32BE(12) !== this.#cookie) throw new Error('an answer to another request');
    const errno = reply.readUInt32BE(4);
    if (errno !== 0) throw new NbdError(what, errno);
  }
}

/** Greeting, flags, GO: the size of the export. */
async function go(stream: Stream, exportName: string, timeoutMs: number): Promise<number> {
  const greeting = await stream.read(18, timeoutMs);
  if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('no NBD server');
  const flags = Buffer.alloc(4);
  flags.writeUInt32BE(CLIENT_FLAGS);
  stream.write(flags);
  const name = Buffer.from(exportName);
  const query = Buffer.alloc(4 + name.length + 2); // no information requests
  query.writeUInt32BE(name.length, 0);
  name.copy(query, 4);
  stream.write(encodeOption(Option.GO, query));
  let sizeBytes = 0;
  for (;;) {
    const head = await stream.read(20, timeoutMs);
    const reply = head.readUInt32BE(12);
    const data = await stream.read(head.readUInt32BE(16), timeoutMs);
    if (reply === OptionReply.ACK) return sizeBytes;
    if (reply !== OptionReply.INFO) throw new Error(`no export: ${data.toString() || reply}`);
    if (data.readUInt16BE(0) === INFO_EXPORT) sizeBytes = Number(data.readBigUInt64BE(2));
  }
}

function blockOf(row: number): Buffer {
  return Buffer.from(`${MAGIC}${row}\n`.padEnd(BLOCK_BYTES, '.'));
}

function rowIn(block: Buffer): number {
  const text = block.toString('latin1', 0, 64);
  if (!text.startsWith(MAGIC)) return 0;
  const row = Number(text.slice(MAGIC.length, text.indexOf('\n')));
  // Torn or foreign blocks are no rows: every byte has to be as written.
  return block.equals(blockOf(row)) ? row : 0;
}

/** The ledger on whichever of the exports is to be had: a Secondary does not hand out its own. */
export async function openBlocks(
  paths: readonly string[],
  exportName: string,
  limits: Limits,
): Promise<Store> {
  let client: NbdClient | null = null;
  let why: unknown = null;
  for (const path of paths) {
    try {
      client = await NbdClient.connect(path, exportName, limits);
      break;
    } catch (e) {
      why = e;
    }
  }
  if (!client) throw why;
  const nbd = client;
  const blocks = Math.floor(nbd.sizeBytes / BLOCK_BYTES);
  return {
    commit: (row) => nbd.write((row % blocks) * BLOCK_BYTES, blockOf(row)),
    async rows() {
      const rows: number[] = [];
      for (let at = 0; at < blocks * BLOCK_BYTES; at += READ_BYTES) {
        const length = Math.min(READ_BYTES, blocks * BLOCK_BYTES - at);
        const bytes = await nbd.read(at, length);
        for (let i = 0; i < length; i += BLOCK_BYTES) {
          const row = rowIn(bytes.subarray(i, i + BLOCK_BYTES));
          if ((at + i) / BLOCK_BYTES !== row % blocks) continue;
          for (let n = row; n > 0; n -= blocks) rows.push(n);
        }
      }
      return rows.sort((a, b) => a - b);
    },
    remove: () => Promise.reject(new Error('a ring of blocks makes room by itself')),
    close: () => nbd.close(),
  };
}
