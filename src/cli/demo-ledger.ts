/**
 * The ledger: a service that only writes numbers down, for machines without a database. It answers `ok N` when N is on the disk, and
 * never before: in a file (fdatasync), or on bare blocks through an NBD export (demo-nbd.ts) where nothing can be mounted.
 *
 * The file holds one number a line. A torn last line, of a write that was never answered, is cut off at the start. Rows are removed
 * by a new file that takes the place of the old one, so that a power cut finds either.
 */
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';

export interface LedgerBook {
  /** The row is durable when this returns; an error of the disk is thrown. */
  commit(row: number): Promise<void>;
  rows(): Promise<number[]>;
  /** Rows `from` to `to`, both included, are gone for good when it returns. */
  remove(from: number, to: number): Promise<void>;
}

export class FileBook implements LedgerBook {
  readonly #file: string;
  readonly #rows: Set<number>;
  #fd: number;

  constructor(file: string) {
    this.#file = file;
    this.#fd = openSync(file, 'a+', 0o644);
    const text = readFileSync(this.#fd, 'utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole.length < text.length) ftruncateSync(this.#fd, Buffer.byteLength(whole));
    fdatasyncSync(this.#fd);
    this.#rows = new Set(whole.split('\n').filter(Boolean).map(Number));
  }

  async commit(row: number): Promise<void> {
    if (this.#rows.has(row)) return;
    writeFileSync(this.#fd, `${row}\n`); // whole, or an error: writeSync may stop half way on a full disk
    fdatasyncSync(this.#fd);
    this.#rows.add(row);
  }

  async rows(): Promise<number[]> {
    return [...this.#rows];
  }

  async remove(from: number, to: number): Promise<void> {
    const left = [...this.#rows].filter((row) => row < from || row > to);
    const fd = openSync(`${this.#file}.new`, 'w+', 0o644);
    writeFileSync(fd, left.map((row) => `${row}\n`).join(''));
    fdatasyncSync(fd);
    renameSync(`${this.#file}.new`, this.#file);
    const dir = openSync(dirname(this.#file), 'r');
    fsyncSync(dir);
    closeSync(dir);
    closeSync(this.#fd);
    this.#fd = fd;
    this.#rows.clear();
    for (const row of left) this.#rows.add(row);
  }
}

/** The answer to one line. A ledger that cannot write has to end, so errors of the book are thrown. */
export async function ledgerAnswer(book: LedgerBook, line: string): Promise<string> {
  if (line === 'list') {
    return [...(await book.rows()).map(String), 'end', ''].join('\n');
  }
  const [, from, to] = /^remove (\d{1,15}) (\d{1,15})$/.exec(line) ?? [];
  if (from && to) {
    await book.remove(Number(from), Number(to));
    return `removed ${from} ${to}\n`;
  }
  const row = Number(line);
  if (!/^\d+$/.test(line) || !Number.isSafeInteger(row)) return 'not a number\n';
  await book.commit(row);
  return `ok ${row}\n`;
}

const MAX_LINE_BYTES = 4096;

/** `failed` is told of an error of the book, once. */
export function serveLedger(
  book: LedgerBook,
  host: string,
  port: number,
  failed: (error: unknown) => void,
): Server {
  const server = createServer((socket) => {
    let partial = '';
    let turn: Promise<void> = Promise.resolve();
    socket.setNoDelay(true);
    socket.setEncoding('utf8').on('data', (text: string) => {
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      if (partial.length > MAX_LINE_BYTES) socket.destroy();
      for (const line of lines) {
        turn = turn.then(() => reply(book, socket, line.trim())).catch(failed);
      }
    });
    socket.on('error', () => undefined);
  });
  server.listen(port, host);
  return server;
}

async function reply(book: LedgerBook, socket: Socket, line: string): Promise<void> {
  const answer = await ledgerAnswer(book, line);
  if (!socket.destroyed) socket.write(answer);
}
