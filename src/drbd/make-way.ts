/**
 * c-min-rate: a resync makes way for other I/O on the disk while it is faster than that. On both sides, each by what it sees itself:
 *
 * - the target asks for nothing more in this turn (Resync), and looks again in the next;
 * - the source waits RESYNC_TURN_MS before it reads for one request, one after the other. Not while the peer is Primary: its users
 *   wait for these blocks.
 *
 * Other I/O is what goes to the disk of the volume and is no block of a resync: reads and writes of the application here or there.
 * When it slows down and by how much is ResyncThrottle's (rate.ts). Facts: docs/CONFIGURATION.md, resync rate.
 */
import type { Core } from './core.js';
import type { Link } from './link.js';
import type { PeerRequest } from './peer-request.js';
import { RESYNC_TURN_MS, ResyncThrottle } from './rate.js';
import { Roles } from './state.js';
import type { Volume } from './volume.js';

export class MakeWay {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #serve: (p: PeerRequest) => void;
  readonly #throttle = new ResyncThrottle();
  /** Requests of the peer's resync that have to wait, in their order; the first one's time is running. */
  readonly #delayed: PeerRequest[] = [];

  /** `serve`: read for this request now. */
  constructor(core: Core, volume: Volume, serve: (p: PeerRequest) => void) {
    this.#core = core;
    this.#volume = volume;
    this.#serve = serve;
  }

  /** Should the resync, of whichever side, do less just now? Each call takes note of what there was of other I/O. */
  slowsDown(): boolean {
    const v = this.#volume;
    const minRateKiBps = v.diskOptions.cMinRateKiBps;
    const progress = minRateKiBps === 0 ? null : v.resync.progress;
    if (!progress) return false;
    const other = v.readSectors + v.writeSectors - v.resyncSectors;
    const now = this.#core.port.nowMs();
    return this.#throttle.slowDown(minRateKiBps, other, v.log.isWaitedFor, progress, now);
  }

  /** True: `serve` is called for it later. */
  delays(p: PeerRequest): boolean {
    const { state } = this.#volume;
    if (this.#delayed.length === 0) {
      if (state.peer === Roles.Primary || !this.slowsDown()) return false;
      this.#later();
    }
    this.#delayed.push(p);
    return true;
  }

  #later(): void {
    this.#volume.resource.after(RESYNC_TURN_MS, () => this.#next());
  }

  /** The first one has waited; each further one is judged when it is its turn. */
  #next(): void {
    const first = this.#delayed.shift();
    if (first) this.#serve(first);
    while (this.#delayed.length > 0) {
      if (this.#volume.state.peer !== Roles.Primary && this.slowsDown()) {
        this.#later();
        return;
      }
      const p = this.#delayed.shift();
      if (p) this.#serve(p);
    }
  }

  /** What waits of this connection, which is over. */
  take(link: Link): PeerRequest[] {
    const all = this.#delayed.filter((p) => p.link === link);
    // The timer that runs finds those of a later connection, or none.
    this.#delayed.splice(0, this.#delayed.length, ...this.#delayed.filter((p) => p.link !== link));
    return all;
  }
}
