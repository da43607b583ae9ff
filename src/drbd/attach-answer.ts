/**
 * The peer's answer to a disk that is attached on a connection that stands: P_UUIDS, P_STATE, and where it is the source its
 * bitmap. One that was announced is answered, also if it has been let go since. The answer says what the peer had then; what
 * it was written in between it has marked for the next exchange alone. So a disk is not announced before the one before is
 * answered, or a copy without those writes would be taken for a good one. (The originals answer a second one by the first
 * one's words.)
 *
 *     attach:  P_SIZES, P_UUIDS, P_STATE Negotiating -->        | a peer that is behind may answer seconds later
 *     detach:  P_STATE Failed, Diskless              -->        |
 *     attach:  waits                                 <-- P_UUIDS, P_STATE
 *              P_SIZES, P_UUIDS, P_STATE Negotiating -->
 */
import type { Link } from './link.js';
import { Disks, type State } from './state.js';

export class AttachAnswer {
  #link: Link | null = null; // that it is due on
  #hasUuids = false;

  announced(link: Link): void {
    this.#link = link;
    this.#hasUuids = false;
  }

  /** P_UUIDS have come. */
  uuids(link: Link | null): void {
    if (this.#link === link) this.#hasUuids = true;
  }

  /** P_STATE has come. Without a disk the peer has no P_UUIDS to tell. */
  state(link: Link, theirs: State): void {
    if (this.#link !== link) return;
    if (this.#hasUuids || theirs.disk < Disks.Negotiating) this.#link = null;
  }

  isDue(link: Link | null): boolean {
    return link !== null && this.#link === link;
  }
}
