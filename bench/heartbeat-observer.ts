/** Who looks on while the power is cut: at the address, from outside, and at the lines of the other node's log. */
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Hosts } from './heartbeat-hosts.js';

const ASK_S = 0.005;

/** When an address answered: ping(8) at the switch, which learns by the announcement alone that it has moved. */
export class Answers {
  readonly #ping: ChildProcess;
  readonly #atMs: number[] = [];

  constructor(hosts: Hosts, address: string) {
    this.#ping = hosts.atSwitch(['ping', '-D', '-n', '-i', `${ASK_S}`, address], 'ignore');
    const out = this.#ping.stdout;
    if (!out) throw new Error('ping without its output');
    createInterface({ input: out }).on('line', (line) => {
      const atMs = answeredMs(line);
      if (atMs !== null) this.#atMs.push(atMs);
    });
  }

  get atMs(): readonly number[] {
    return this.#atMs;
  }

  end(): void {
    this.#ping.kill('SIGKILL');
  }
}

/** The first answer from then on that comes after so much silence; null: none yet. */
export function answerAfterSilence(
  answersMs: readonly number[],
  fromMs: number,
  silenceMs: number,
): number | null {
  let lastMs = fromMs;
  for (const atMs of answersMs) {
    if (atMs < fromMs) continue;
    if (atMs - lastMs >= silenceMs) return atMs;
    lastMs = atMs;
  }
  return null;
}

/** When the answer came that a line of `ping -D` is about; null: it is about none. */
export function answeredMs(line: string): number | null {
  const [, seconds] = /^\[(\d+\.\d+)\] \d+ bytes from /.exec(line) ?? [];
  return seconds === undefined ? null : Number(seconds) * 1000;
}

export interface LogLine {
  readonly atMs: number; // when it was seen: the log itself tells seconds
  readonly text: string;
}

/** The lines that come into a log from now on. */
export class Lines {
  readonly #path: string;
  readonly lines: LogLine[] = [];
  #bytes: number;
  #rest = '';

  constructor(path: string) {
    this.#path = path;
    this.#bytes = statSync(path).size;
  }

  /** Reads what has come, and finds the first line with these words. */
  find(words: string | RegExp): LogLine | null {
    const bytes = statSync(this.#path).size - this.#bytes;
    if (bytes > 0) {
      const chunk = Buffer.alloc(bytes);
      const file = openSync(this.#path, 'r');
      const read = readSync(file, chunk, 0, bytes, this.#bytes);
      closeSync(file);
      this.#bytes += read;
      const parts = (this.#rest + chunk.toString('utf8', 0, read)).split('\n');
      this.#rest = parts.pop() ?? '';
      const atMs = Date.now();
      for (const text of parts) this.lines.push({ atMs, text });
    }
    const has = (text: string): boolean =>
      typeof words === 'string' ? text.includes(words) : words.test(text);
    return this.lines.find(({ text }) => has(text)) ?? null;
  }
}
