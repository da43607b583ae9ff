/**
 * What the target of a resync has asked for: which application writes have to wait for it, and which answers belong to it.
 *
 *     a write of ours is on its way there --> not now: later writes to it wait until it is asked for
 *     asked for --answer--> dealt with        asked for --broken off--> old: its answer is thrown away (old-requests.ts)
 */
import { AL_EXTENT_SECTORS } from '../md/units.js';
import type { Checksums } from './checksums.js';
import { type LruCounts, ResyncCounts } from './extent-counts.js';
import type { Link } from './link.js';
import { OldRequests } from './old-requests.js';
import type { ResyncController } from './rate.js';
import { Roles } from './state.js';
import type { UnsavedBits } from './unsaved-bits.js';
import type { Volume } from './volume.js';

export class ResyncRequests {
  readonly #volume: Volume;
  readonly #checksums: Checksums;
  readonly #unsaved: UnsavedBits;
  readonly #rate: ResyncController;
  readonly #requests = new Map<number, number>(); // sector -> bytes asked for
  readonly #old = new OldRequests();
  // What could not be asked for because of writes on their way to it: further ones wait. Sectors; empty if equal.
  #wantedFrom = 0;
  #wantedTo = 0;
  /** Of requests, on either side. */
  readonly counts = new ResyncCounts();

  constructor(volume: Volume, checksums: Checksums, unsaved: UnsavedBits, rate: ResyncController) {
    this.#volume = volume;
    this.#checksums = checksums;
    this.#unsaved = unsaved;
    this.#rate = rate;
  }

  /** A resync begins, at whichever end. */
  start(): void {
    this.#requests.clear();
    this.counts.reset();
  }

  /** It is over, finished or not: answers to what is open are of the past. */
  breakOff(): void {
    for (const [sector, bytes] of this.#requests) {
      if (!this.#checksums.isReading(sector)) this.#old.add(this.#volume.link, sector, bytes);
    }
    this.#requests.clear();
    this.wantNothing();
  }

  /** Not answered: part of `pe`. */
  get pending(): number {
    return this.#requests.size;
  }

  get extents(): LruCounts {
    return this.counts.shown(this.#requests.keys());
  }

  /** Just this is asked for. */
  isAsked(sector: number, bytes: number): boolean {
    return this.#requests.get(sector) === bytes;
  }

  /**
   * Ask for these blocks; false: not now. With the digest of what is here, if that can be trusted when it is found equal: not where a bit may be set in memory only, nor
   * where the answer could be taken for that to an old request, or the other way round.
   */
  ask(link: Link, sector: number, bytes: number, thin: boolean): boolean {
    if (!this.#mayFetch(sector, sector + bytes / 512)) return false;
    const trusted = !this.#unsaved.some && this.#old.answers(link, sector, bytes) === 'no';
    this.#requests.set(sector, bytes);
    if (trusted && this.#checksums.inUse) {
      const asked = this.#checksums.ask(link, sector, bytes);
      if (asked === 'asked') {
        this.counts.asked(sector);
        return true;
      }
      if (asked === 'not-now') {
        this.#requests.delete(sector);
        return false;
      }
    }
    this.#old.askedAgain(sector, bytes);
    this.counts.asked(sector);
    link.out.resyncRequest(this.#volume, sector, bytes, thin);
    return true;
  }

  /**
   * No application write of ours is on its way to these blocks: the answer could be from before it. Where one is, new ones
   * have to wait, so that a busy place is fetched too.
   */
  #mayFetch(sector: number, endSector: number): boolean {
    const v = this.#volume;
    if (v.state.role !== Roles.Primary) return true;
    let from = sector;
    let to = endSector;
    let busy = v.intervals.overlaps(from, to);
    if (v.app.promises.inForce(v.resource.netOptions.protocol) !== 'C') {
      // An answered write may still be on its way to the peer's disk; the activity log knows until the peer has it.
      from -= from % AL_EXTENT_SECTORS;
      to = Math.ceil(to / AL_EXTENT_SECTORS) * AL_EXTENT_SECTORS;
      busy ||= v.log.inUse(from, to);
    }
    if (busy) {
      this.#wantedFrom = from;
      this.#wantedTo = to;
    }
    return !busy;
  }

  /** Writes need not wait for a fetch that was not begun. True: some had to. */
  wantNothing(): boolean {
    const wanted = this.#wantedTo > 0;
    this.#wantedFrom = 0;
    this.#wantedTo = 0;
    return wanted;
  }

  /** Some of these sectors have been asked for, and are not there yet. */
  has(sector: number, endSector: number): boolean {
    for (const [at, bytes] of this.#requests) {
      if (at < endSector && sector < at + bytes / 512) return true;
    }
    return false;
  }

  /** These sectors have been asked for and are not there yet, or are about to be: an application write must wait. */
  fetching(sector: number, endSector: number): boolean {
    if (sector < this.#wantedTo && this.#wantedFrom < endSector) return true;
    return this.#requests.size > 0 && this.has(sector, endSector);
  }

  /**
   * An answer arrives: to a request of this resync ('asked'), or maybe to one of a resync that was broken off ('late', nobody
   * wants it any more).
   */
  answers(sector: number, bytes: number): 'asked' | 'late' | 'unknown' {
    const old = this.#old.answers(this.#volume.link, sector, bytes);
    if (!this.isAsked(sector, bytes)) return old === 'no' ? 'unknown' : 'late';
    return old === 'maybe' ? 'late' : 'asked';
  }

  /** It is dealt with, or about to be; false if it is not to be believed. */
  replied(sector: number, bytes: number): boolean {
    const asked = this.isAsked(sector, bytes);
    const old = this.#old.replied(this.#volume.link, sector, bytes, asked);
    if (!asked) return false;
    this.#requests.delete(sector);
    this.#checksums.answered(sector);
    this.#rate.arrived(bytes / 512);
    return !old;
  }
}
