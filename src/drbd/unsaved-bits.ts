/**
 * Bits of a resync's target that are not in the bitmap on disk: P_OUT_OF_SYNC came when that had been written. A block that is only in
 * the disk's cache would be lost with the power, and nobody would know: the source clears its bit at the answer.
 *
 *     set --next turn: written--> saved        set --an exchange of bitmaps writes all--> saved
 */
import { Conns, type State } from './state.js';
import type { Volume } from './volume.js';

/** The target of a resync, or about to be one. */
const becomesTarget = (conn: number): boolean =>
  conn === Conns.SyncTarget ||
  conn === Conns.PausedSyncT ||
  conn === Conns.WFBitMapT ||
  conn === Conns.WFSyncUUID ||
  conn === Conns.Behind;

export class UnsavedBits {
  readonly #volume: Volume;
  #marks = 0; // how often bits were set
  #savedMarks = 0; // and so many of these are in the bitmap on disk
  #saving = false;

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Bits were set here. */
  marked(): void {
    if (becomesTarget(this.#volume.state.conn)) this.#marks++;
  }

  /** There are some. */
  get some(): boolean {
    return this.#marks > this.#savedMarks;
  }

  /** A resync that is over leaves none behind. */
  stateChanged(next: State): void {
    if (!becomesTarget(next.conn)) this.#savedMarks = this.#marks; // an exchange writes the bitmap
  }

  /** Another one: a write for an earlier one is not waited for. */
  resyncBegins(): void {
    this.#saving = false;
  }

  /** They are written, if they are not on their way already. */
  save(): void {
    const marks = this.#marks;
    if (marks === this.#savedMarks || this.#saving) return;
    this.#saving = true;
    this.#volume.writeBitmap((result) => {
      this.#saving = false;
      if (result < 0) this.#volume.metaFailed(-result);
      else this.#savedMarks = Math.max(this.#savedMarks, marks);
    });
  }
}
