/**
 * How often groups may move by themselves in an hour: fail-back, and what did not start here. A death, and what an operator asks
 * for, are neither refused nor counted: the first is no choice, the second is his. Pure.
 */
const HOUR_MS = 3_600_000;

export class Moves {
  perHour: number; // 0: no limit
  #atMs: number[] = []; // of the last hour, oldest first

  constructor(perHour: number) {
    this.perHour = perHour;
  }

  moved(nowMs: number): void {
    this.#forget(nowMs);
    this.#atMs.push(nowMs);
    if (this.perHour > 0) this.#atMs = this.#atMs.slice(-this.perHour);
  }

  may(nowMs: number): boolean {
    this.#forget(nowMs);
    return this.perHour === 0 || this.#atMs.length < this.perHour;
  }

  /** When `may` is true again. */
  freeMs(nowMs: number): number {
    if (this.may(nowMs)) return nowMs;
    // There are more of them than may be when a reload has made it fewer.
    const last = this.#atMs[this.#atMs.length - this.perHour];
    return (last ?? nowMs) + HOUR_MS;
  }

  /** Within the last hour. */
  count(nowMs: number): number {
    this.#forget(nowMs);
    return this.#atMs.length;
  }

  #forget(nowMs: number): void {
    this.#atMs = this.#atMs.filter((atMs) => nowMs - atMs < HOUR_MS);
  }
}
