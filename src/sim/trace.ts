/** What happened, one line each in fixed columns: `   12.345678 alpha drbd0     conn( ... )`. The newest are kept for reports. */

const KEPT = 4000;

export class Trace {
  readonly #sink: ((line: string) => void) | null;
  #lines: string[] = [];
  #dropped = 0;
  /** FNV-1a over all lines: two runs with the same value did the same. */
  hash = 0x811c9dc5;

  /** `sink` gets every line. */
  constructor(sink: ((line: string) => void) | null) {
    this.#sink = sink;
  }

  line(timeMs: number, node: string, object: string, text: string): void {
    const time = (timeMs / 1000).toFixed(6).padStart(12);
    const line = `${time} ${node.padEnd(5)} ${object.padEnd(9)} ${text}`;
    for (let i = 0; i < line.length; i++) {
      this.hash = Math.imul(this.hash ^ line.charCodeAt(i), 0x01000193) >>> 0;
    }
    this.#sink?.(line);
    this.#lines.push(line);
    if (this.#lines.length >= 2 * KEPT) {
      this.#lines = this.#lines.slice(-KEPT);
      this.#dropped += KEPT;
    }
  }

  get count(): number {
    return this.#dropped + this.#lines.length;
  }

  last(count: number): readonly string[] {
    return this.#lines.slice(-count);
  }
}
