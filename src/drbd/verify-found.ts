/**
 * What an online verify found, as lines of the log: neighbours make one line, as they do in the original. A disk that differs in every
 * second block would fill the log; beyond a bound only the bitmap says where.
 */
const MOST_LINES = 1000;

export class VerifyFound {
  readonly #log: (text: string) => void;
  #start = 0;
  #end = 0; // of what is not told yet; nothing if equal
  #lines = 0;

  constructor(log: (text: string) => void) {
    this.#log = log;
  }

  /** A verify begins. */
  begin(): void {
    this.#start = 0;
    this.#end = 0;
    this.#lines = 0;
  }

  differs(sector: number, endSector: number): void {
    if (sector !== this.#end || this.#end === this.#start) {
      this.tell();
      this.#start = sector;
    }
    this.#end = endSector;
  }

  /** The next block is equal, or there is none. */
  tell(): void {
    if (this.#end === this.#start) return;
    const size = this.#end - this.#start;
    this.#lines++;
    if (this.#lines <= MOST_LINES) {
      this.#log(`Out of sync: start=${this.#start}, size=${size} (sectors)`);
    } else if (this.#lines === MOST_LINES + 1) {
      this.#log(`Out of sync: more than ${MOST_LINES} places; the rest is in the bitmap only`);
    }
    this.#end = this.#start;
  }
}
