/**
 * c-min-rate: a resync, or an online verify, makes way for other I/O on the disk while it is faster than that. On both sides, each by
 * what it sees itself:
 *
 * - who asks (SyncTarget, VerifyS) asks for nothing more in this turn, and looks again in the next;
 * - who answers (SyncSource, VerifyT) waits RESYNC_TURN_MS before it reads for one request, one after the other. Not while the peer is
 *   Primary: its users wait for these blocks.
 *
 * Other I/O is what goes to the disk of the volume and is no block of either: reads and writes of the application here or there.
 * When it slows down and by how much is ResyncThrottle's (rate.ts). Facts: docs/CONFIGURATION.md, resync rate.
 */
import type { Core } from './core.js';
import type { Link } from './link.js';
import { RESYNC_TURN_MS, ResyncThrottle } from './rate.js';
import { Roles } from './state.js';
import type { Volume } from './volume.js';

/** A question of the peer's that waits. */
interface Delayed {
  readonly link: Link;
  /** Read for it now. */
  readonly serve: () => void;
  /** Nobody wants the answer any more. */
  readonly drop: () => void;
}

export class MakeWay {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #throttle = new ResyncThrottle();
  /** In their order; the first one's time is running. */
  readonly #delayed: Delayed[] = [];

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  /** Should the resync or verify, of whichever side, do less just now? Each call takes note of what there was of other I/O. */
  slowsDown(): boolean {
    const v = this.#volume;
    const minRateKiBps = v.diskOptions.cMinRateKiBps;
    const progress = minRateKiBps === 0 ? null : (v.resync.progress ?? v.verify.progress);
    if (!progress) return false;
    const other = v.readSectors + v.writeSectors - v.resyncSectors;
    const now = this.#core.port.nowMs();
    return this.#throttle.slowDown(minRateKiBps, other, v.log.isWaitedFor, progress, now);
  }

  /** True: one of the two is called for it later. */
  delays(request: Delayed): boolean {
    const { state } = this.#volume;
    if (this.#delayed.length === 0) {
      if (state.peer === Roles.Primary || !this.slowsDown()) return false;
      this.#later();
    }
    this.#delayed.push(request);
    return true;
  }

  #later(): void {
    this.#volume.resource.after(RESYNC_TURN_MS, () => this.#next());
  }

  /** The first one has waited; each further one is judged when it is its turn. */
  #next(): void {
    this.#delayed.shift()?.serve();
    while (this.#delayed.length > 0) {
      if (this.#volume.state.peer !== Roles.Primary && this.slowsDown()) {
        this.#later();
        return;
      }
      this.#delayed.shift()?.serve();
    }
  }

  /** What waits of this connection, which is over. */
  drop(link: Link): void {
    const all = this.#delayed.filter((d) => d.link === link);
    // The timer that runs finds those of a later connection, or none.
    this.#delayed.splice(0, this.#delayed.length, ...this.#delayed.filter((d) => d.link !== link));
    for (const d of all) d.drop();
  }
}
