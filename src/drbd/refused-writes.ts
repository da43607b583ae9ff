/**
 * Writes that the peer has refused (P_NEG_ACK) and that are not answered yet. It says on the other socket what has become of its disk.
 * Until that is known here, a new generation has not begun, and nobody but the peer could tell later that its copy lacks an answered
 * write.
 *
 *     refused --P_STATE: its disk is another one, or the connection is over--> advanced
 *             --REFUSED_MS--> advanced
 */
import type { AppRequest } from './app-request.js';
import { peerSpeaksOfItsDisk } from './enough.js';
import type { Volume } from './volume.js';

/** The P_STATE that goes with a P_NEG_ACK is on its way; a peer that has none to send is not waited for longer. */
const REFUSED_MS = 1000;

export class RefusedWrites {
  readonly #volume: Volume;
  readonly #waiting: AppRequest[] = [];

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** The peer has refused it, and is to say more. */
  wait(r: AppRequest): void {
    r.refused = true;
    this.#waiting.push(r);
    const nth = ++r.refusals; // the record may be that of another request by then
    this.#volume.resource.after(REFUSED_MS, () => {
      if (r.refusals === nth) this.#goOn(r);
    });
  }

  /** The peer may have said what has become of its disk. */
  stateChanged(): void {
    if (this.#waiting.length === 0 || peerSpeaksOfItsDisk(this.#volume)) return;
    for (const r of [...this.#waiting]) this.#goOn(r);
  }

  #goOn(r: AppRequest): void {
    const i = this.#waiting.indexOf(r);
    if (i < 0) return;
    this.#waiting.splice(i, 1);
    r.refused = false;
    r.owner.advance(r);
  }
}
