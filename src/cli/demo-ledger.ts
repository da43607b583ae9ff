/**
 * The ledger: a service that only writes numbers down, for machines without a database. It answers `ok N` when N is on the disk
 * (fdatasync), and never before.
 *
 * The file holds one number a line. A torn last line, of a write that was never answered, is cut off at the start.
 */
import { fdatasyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createServer, type Server } from 'node:net';

export class Ledger {
  readonly #fd: number;
  readonly #rows: Set<number>;

  constructor(file: string) {
    this.#fd = openSync(file, 'a+', 0o644);
    const text = readFileSync(this.#fd, 'utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole.length < text.length) ftruncateSync(this.#fd, Buffer.byteLength(whole));
    fdatasyncSync(this.#fd);
    this.#rows = new Set(whole.split('\n').filter(Boolean).map(Number));
  }

  /** The answer to one line. An error of the disk is thrown: a ledger that cannot write has to end. */
  answer(line: string): string {
    if (line === 'list')
      return `${[...this.#rows].join('\n')}${this.#rows.size > 0 ? '\n' : ''}end\n`;
    const row = Number(line);
    if (!/^\d+$/.test(line) || !Number.isSafeInteger(row)) return 'not a number\n';
    if (!this.#rows.has(row)) {
      writeSync(this.#fd, `${row}\n`);
      fdatasyncSync(this.#fd);
      this.#rows.add(row);
    }
    return `ok ${row}\n`;
  }
}

const MAX_LINE_BYTES = 4096;

export function serveLedger(ledger: Ledger, port: number): Server {
  const server = createServer((socket) => {
    let partial = '';
    socket.setNoDelay(true);
    socket.setEncoding('utf8').on('data', (text: string) => {
      const lines = (partial + text).split('\n');
      partial = lines.pop() ?? '';
      if (partial.length > MAX_LINE_BYTES) socket.destroy();
      for (const line of lines) socket.write(ledger.answer(line.trim()));
    });
    socket.on('error', () => undefined);
  });
  server.listen(port, '0.0.0.0');
  return server;
}
