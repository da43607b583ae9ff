/**
 * The client's side of the MySQL protocol, as much as the demo needs: log in with a password (mysql_native_password), send one
 * statement, read its answer, with a time limit on every wait. Source: MariaDB's "Client/Server Protocol" pages (handshake v10,
 * COM_QUERY, text result sets). Integers are little-endian.
 *
 *     server: handshake   client: login   server: OK | ERR | auth switch   ...   client: COM_QUERY   server: OK | ERR | result set
 */
import { createHash } from 'node:crypto';
import { Stream } from './demo-stream.js';

/** The server refused a statement. The connection is still good. */
export class SqlError extends Error {
  override name = 'SqlError';
  readonly errno: number;
  constructor(errno: number, message: string) {
    super(`${errno}: ${message}`);
    this.errno = errno;
  }
}
export const ER_DUP_ENTRY = 1062;

const CAPABILITIES =
  0x1 | // long password
  0x200 | // protocol 4.1
  0x2000 | // transactions: status flags in OK
  0x8000 | // secure connection
  0x80000; // authentication plug-ins
const MAX_PACKET_BYTES = 1 << 24;
const UTF8MB4 = 45;
const NATIVE_PASSWORD = 'mysql_native_password';

export interface Login {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

export type Row = readonly (string | null)[];

export class MysqlClient {
  readonly #stream: Stream;
  readonly #timeoutMs: number;
  #sequence = 0;

  private constructor(stream: Stream, timeoutMs: number) {
    this.#stream = stream;
    this.#timeoutMs = timeoutMs;
  }

  static async connect(
    login: Login,
    connectTimeoutMs: number,
    timeoutMs: number,
  ): Promise<MysqlClient> {
    const stream = await Stream.open(login.host, login.port, connectTimeoutMs);
    const client = new MysqlClient(stream, timeoutMs);
    try {
      await client.#logIn(login);
      return client;
    } catch (e) {
      stream.close();
      throw e;
    }
  }

  /** Rows of a result set; empty for a statement without one. Under autocommit it is committed when this returns. */
  async query(sql: string): Promise<Row[]> {
    this.#sequence = 0;
    this.#send(Buffer.concat([Buffer.from([0x03]), Buffer.from(sql)]));
    const head = await this.#receive();
    if (head[0] === 0x00) return [];
    const columns = lengthAt(head, 0)[0] ?? 0;
    for (let i = 0; i < columns; i++) await this.#receive(); // column definitions
    await this.#receive(); // EOF
    const rows: Row[] = [];
    for (;;) {
      const packet = await this.#receive();
      if (packet[0] === 0xfe && packet.length < 9) return rows;
      rows.push(textRow(packet, columns));
    }
  }

  close(): void {
    this.#stream.close();
  }

  async #logIn(login: Login): Promise<void> {
    const hello = await this.#receive();
    if (hello[0] !== 10) throw new Error(`not a MySQL server: protocol ${hello[0]}`);
    const version = hello.indexOf(0, 1);
    const at = version + 1 + 4; // behind the connection id
    const nonce = Buffer.concat([
      hello.subarray(at, at + 8),
      hello.subarray(at + 27, at + 27 + 12), // behind filler, capabilities, charset, status, length, 10 reserved
    ]);
    const proof = scramble(login.password, nonce);
    const head = Buffer.alloc(32);
    head.writeUInt32LE(CAPABILITIES, 0);
    head.writeUInt32LE(MAX_PACKET_BYTES - 1, 4);
    head[8] = UTF8MB4;
    this.#send(
      Buffer.concat([
        head,
        Buffer.from(`${login.user}\0`),
        Buffer.from([proof.length]),
        proof,
        Buffer.from(`${NATIVE_PASSWORD}\0`),
      ]),
    );
    const answer = await this.#receive();
    if (answer[0] === 0x00) return;
    const end = answer.indexOf(0, 1);
    const plugin = answer.subarray(1, end).toString();
    if (answer[0] !== 0xfe || plugin !== NATIVE_PASSWORD) {
      throw new Error(`the server wants ${plugin || 'an old password'}, not ${NATIVE_PASSWORD}`);
    }
    this.#send(scramble(login.password, answer.subarray(end + 1, end + 21)));
    await this.#receive();
  }

  #send(payload: Buffer): void {
    const header = Buffer.alloc(4);
    header.writeUIntLE(payload.length, 0, 3);
    header[3] = this.#sequence++;
    this.#stream.write(Buffer.concat([header, payload]));
  }

  /** The next packet; an ERR packet is thrown. */
  async #receive(): Promise<Buffer> {
    const header = await this.#stream.read(4, this.#timeoutMs);
    this.#sequence = (header[3] ?? 0) + 1;
    const payload = await this.#stream.read(header.readUIntLE(0, 3), this.#timeoutMs);
    if (payload[0] !== 0xff) return payload;
    const text = payload.subarray(3).toString();
    throw new SqlError(payload.readUInt16LE(1), text.startsWith('#') ? text.slice(6) : text);
  }
}

function sha1(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha1');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** SHA1(password) xor SHA1(nonce, SHA1(SHA1(password))). */
export function scramble(password: string, nonce: Uint8Array): Buffer {
  if (password === '') return Buffer.alloc(0);
  const once = sha1(Buffer.from(password));
  const mask = sha1(nonce, sha1(once));
  return Buffer.from(once.map((byte, i) => byte ^ (mask[i] ?? 0)));
}

/** A length-encoded integer and the offset behind it; null for SQL NULL. */
function lengthAt(packet: Buffer, at: number): [number | null, number] {
  const first = packet[at] ?? 0;
  if (first < 0xfb) return [first, at + 1];
  if (first === 0xfb) return [null, at + 1];
  const bytes = first === 0xfc ? 2 : first === 0xfd ? 3 : 6; // 8 on the wire; nothing here comes near 2^48
  return [packet.readUIntLE(at + 1, bytes), at + 1 + (first === 0xfe ? 8 : bytes)];
}

function textRow(packet: Buffer, columns: number): Row {
  const row: (string | null)[] = [];
  let at = 0;
  for (let i = 0; i < columns; i++) {
    const [length, from] = lengthAt(packet, at);
    at = from + (length ?? 0);
    row.push(length === null ? null : packet.subarray(from, at).toString());
  }
  return row;
}
