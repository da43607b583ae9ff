/**
 * The client of the demo and the soak test: commits rows 1, 2, 3, ... one after the other through the service address, and writes
 * each acknowledged one, with its time, into a journal before it sends the next. A row whose answer did not come is sent again on a
 * new connection until it is acknowledged; the journal therefore names 1..N without a gap, and every one must be found later.
 *
 *     N MILLISECONDS        acknowledged (wall clock of the machine, milliseconds since 1970, fractional)
 */
import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { Limits, Store } from './demo-store.js';

/** Between two tries while there is no connection. */
const RETRY_MS = 20;
/** The answer to a commit is waited for twice as long after each one that did not come, up to this. */
const MOST_PATIENT_MS = 8_000;

/** Between two rows while there is little room. */
const SLOW_MS = 20;

/** How far the client may go, so that its rows never fill the disk. Who removes rows moves it on. */
export interface Room {
  readonly slow: number; // from this row on with a pause before each
  readonly stop: number; // this row is not sent before there is room for it
}
export const ENDLESS: Room = { slow: Number.POSITIVE_INFINITY, stop: Number.POSITIVE_INFINITY };

/** Room in a file: two numbers. */
export function readRoom(file: string): Room {
  const [slow, stop] = readFileSync(file, 'utf8').split(' ').map(Number);
  return { slow: slow ?? Number.NaN, stop: stop ?? Number.NaN };
}

export function writeRoom(file: string, room: Room): void {
  writeFileSync(`${file}.new`, `${room.slow} ${room.stop}`);
  renameSync(`${file}.new`, file);
}

export interface ClientOptions {
  readonly open: (limits: Limits) => Promise<Store>;
  readonly journal: string;
  readonly limits: Limits; // CLIENT_LIMITS, unless late answers are what is measured
  readonly room: () => Room; // asked again before each row behind `slow`
  readonly stopped: () => boolean;
  /** Every failed try, in words. */
  readonly complain: (row: number, why: string) => void;
}

export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

export async function runClient(options: ClientOptions): Promise<void> {
  const journal = openSync(options.journal, 'a');
  let store: Store | null = null;
  let answerMs = options.limits.answerMs;
  let row = (readJournal(options.journal).at(-1)?.row ?? 0) + 1;
  let room = options.room();
  try {
    while (!options.stopped()) {
      if (row >= room.slow) {
        await sleep(SLOW_MS);
        room = options.room();
        if (row >= room.stop) continue;
      }
      try {
        store ??= await options.open({ ...options.limits, answerMs });
        await store.commit(row);
        answerMs = options.limits.answerMs;
        writeSync(journal, `${row} ${wallMs().toFixed(3)}\n`);
        row++;
      } catch (e) {
        options.complain(row, e instanceof Error ? e.message : String(e));
        // Only an answer that is late calls for patience, not a server that is not there.
        if (store) answerMs = Math.max(answerMs, Math.min(answerMs * 2, MOST_PATIENT_MS));
        store?.close();
        store = null;
        await sleep(RETRY_MS);
      }
    }
  } finally {
    store?.close();
    closeSync(journal);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

export interface Acknowledged {
  readonly row: number;
  readonly atMs: number;
}

/** What the client has acknowledged so far. A last line that is being written is left out. */
export function readJournal(file: string): Acknowledged[] {
  return parseJournal(readFileSync(file, 'utf8').split('\n').slice(0, -1));
}

function parseJournal(lines: readonly string[]): Acknowledged[] {
  return lines.map((line) => {
    const [row, atMs] = line.split(' ').map(Number);
    return { row: row ?? Number.NaN, atMs: atMs ?? Number.NaN };
  });
}

const READ_BYTES = 1 << 16;

/** A journal read while it grows: what is new since the last time. */
export class JournalReader {
  readonly #file: string;
  readonly #buffer = Buffer.alloc(READ_BYTES);
  #fd: number | null = null;
  #partial = ''; // the last line is being written

  constructor(file: string) {
    this.#file = file;
  }

  /** Throws ENOENT until the client has made it. */
  more(): Acknowledged[] {
    this.#fd ??= openSync(this.#file, 'r');
    let text = this.#partial;
    for (;;) {
      const length = readSync(this.#fd, this.#buffer);
      if (length === 0) break;
      text += this.#buffer.toString('latin1', 0, length);
    }
    const lines = text.split('\n');
    this.#partial = lines.pop() ?? '';
    return parseJournal(lines);
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }
}

export interface Gap {
  readonly fromMs: number; // the last commit before it
  readonly toMs: number; // the first one after it
}

/** The longest time without an acknowledged commit that overlaps [fromMs, now]: what a user sees of an outage. */
export function longestGap(rows: readonly Acknowledged[], fromMs: number): Gap {
  let longest: Gap = { fromMs, toMs: fromMs };
  for (const [i, { atMs }] of rows.entries()) {
    const before = rows[i - 1]?.atMs ?? atMs;
    if (atMs >= fromMs && atMs - before > longest.toMs - longest.fromMs) {
      longest = { fromMs: before, toMs: atMs };
    }
  }
  return longest;
}

/** Acknowledged rows that are not among the rows found. */
export function lostRows(rows: readonly Acknowledged[], found: readonly number[]): number[] {
  const there = new Set(found);
  return rows.map((r) => r.row).filter((row) => !there.has(row));
}
