/**
 * VerifyS: which blocks the peer is asked for, in the turns and at the rate of a resync (rate.ts), and which writes of our users wait.
 *
 *     a write is on its way to the block --> not now: later writes to it wait until it is asked for
 *     asked for --P_OV_REPLY--> being compared --> compared        asked for --broken off--> late: its answer counts for nothing
 */
import { BLOCK_SECTORS } from '../md/units.js';
import { COMMANDS, ID_SYNCER_HI, ID_SYNCER_LO } from '../wire/constants.js';
import { BLOCK_REQ_BYTES, putBlockReq } from '../wire/hot.js';
import type { Core } from './core.js';
import type { Link } from './link.js';
import { RESYNC_TURN_MS, ResyncController } from './rate.js';
import { Roles } from './state.js';
import { BACKLOG_BYTES } from './verify-block.js';
import { isOnItsWay } from './verify-reads.js';
import type { Volume } from './volume.js';

/** Blocks under way, whatever max-buffers allows: their answers must fit into what an outbox holds (512 KiB). */
const MOST_BLOCKS = 4096;

interface Asked {
  readonly bytes: number;
  readonly sinceMs: number;
  compares: boolean; // the answer is here
}

export class VerifyQuestions {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #rate = new ResyncController();
  #planStart = 0; // set before the state changes
  #stop = Number.POSITIVE_INFINITY;
  #endSector = 0; // of the device as it began: what is new of one that grows meanwhile is copied, and the peer does not count it
  #position = 0; // sectors before it have been asked for
  #nextTurnMs = Number.POSITIVE_INFINITY;
  readonly #asked = new Map<number, Asked>(); // by sector, until compared
  readonly #late = new Map<number, number>(); // of a run that was broken off: sector -> bytes
  // What could not be asked for because of writes on their way to it: further ones wait. Sectors; empty if equal.
  #wantedFrom = 0;
  #wantedTo = 0;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  /** VerifyS is about to begin: from where, up to where (exclusive). */
  plan(startSector: number, stopSector: number): void {
    this.#planStart = startSector;
    this.#stop = stopSector;
  }

  /** Of the one that runs: it may end earlier, or later. */
  stopAt(sector: number): void {
    this.#stop = sector;
  }

  /** 0: to the end of the device. */
  get stopSector(): number {
    return Number.isFinite(this.#stop) ? this.#stop : 0;
  }

  /** "want:" of /proc/drbd. */
  get rateKiBps(): number {
    return this.#rate.rateKiBps;
  }

  /** It begins; the sector that it begins at. `bits`: of the device. */
  begin(bits: number): number {
    const v = this.#volume;
    const from = v.link && v.link.apv < 90 ? 0 : this.#planStart;
    const last = Math.max(0, bits - 1) * BLOCK_SECTORS;
    this.#position = Math.min(from - (from % BLOCK_SECTORS), last);
    this.#endSector = v.sizeSectors;
    this.#rate.reset();
    this.#nextTurnMs = this.#core.port.nowMs();
    return this.#position;
  }

  /** It is over, or broken off: what is open is late. */
  end(): void {
    this.#nextTurnMs = Number.POSITIVE_INFINITY;
    this.#wantNothing();
    for (const [sector, { bytes }] of this.#asked) this.#late.set(sector, bytes);
    this.#asked.clear();
  }

  /** The connection is over: nobody answers. */
  forget(): void {
    this.#late.clear();
  }

  /** Not compared yet. */
  get pending(): number {
    return this.#asked.size + this.#late.size;
  }

  /** The first sector that is not compared yet, of this run; +Infinity: all are that were asked for. */
  get firstAsked(): number {
    let sector = Number.POSITIVE_INFINITY;
    for (const at of this.#asked.keys()) sector = Math.min(sector, at);
    return sector;
  }

  /** Everything up to the end has been asked for, and compared. */
  get isDone(): boolean {
    const end = Math.min(this.#stop, this.#volume.sizeSectors, this.#endSector);
    return this.#position >= end && this.#asked.size === 0;
  }

  /** Since when the oldest question waits for its answer; +Infinity: none does. */
  get oldestMs(): number {
    for (const a of this.#asked.values()) if (!a.compares) return a.sinceMs; // in the order of time
    return Number.POSITIVE_INFINITY;
  }

  // ---- asking

  /** The next turn. */
  get deadlineMs(): number {
    return this.#nextTurnMs;
  }

  /** One turn. `nothingCompared`: of this run. */
  turn(link: Link, nowMs: number, nothingCompared: boolean): void {
    const v = this.#volume;
    this.#nextTurnMs = nowMs + RESYNC_TURN_MS;
    const { maxBuffers } = v.resource.netOptions;
    const wanted = this.#wantedTo > 0;
    const most = this.#rate.turn(v.diskOptions, maxBuffers);
    const number = v.peerIo.makeWay.slowsDown() ? 0 : most;
    this.#wantNothing();
    let blocks = 0;
    const limit = Math.min(v.sizeSectors, this.#endSector);
    // As the originals, it asks for one block at least: the peer knows by it that an end is that of this verify.
    const first = this.#asked.size === 0 && nothingCompared;
    while (blocks < number && this.#asked.size < MOST_BLOCKS) {
      const sector = this.#position;
      if (sector >= limit || (sector >= this.#stop && !(first && blocks === 0))) break;
      const end = Math.min(limit, sector + BLOCK_SECTORS);
      if (link.out.backlogBytes > BACKLOG_BYTES || !this.#mayAsk(link, sector, end)) break;
      const bytes = (end - sector) * 512;
      this.#asked.set(sector, { bytes, sinceMs: nowMs, compares: false });
      const at = link.out.packetAt('data', COMMANDS.P_OV_REQUEST, v, BLOCK_REQ_BYTES);
      if (at < 0) break;
      putBlockReq(this.#core.port.poolView, at, sector, ID_SYNCER_HI, ID_SYNCER_LO, bytes);
      this.#position = sector + BLOCK_SECTORS;
      blocks++;
    }
    this.#rate.requested(blocks);
    if (wanted) v.app.admission.resyncAdvanced(); // those that still have to wait wait again
  }

  /** No write of our users is on its way to the block, and no earlier question. Where there is one, new writes have to wait. */
  #mayAsk(link: Link, sector: number, endSector: number): boolean {
    if (this.#late.has(sector)) return false;
    const v = this.#volume;
    const inOrder = v.state.role === Roles.Primary && v.intervals.overlaps(sector, endSector);
    if (inOrder || isOnItsWay(v, link, sector, endSector)) {
      this.#wantedFrom = sector;
      this.#wantedTo = endSector;
      return false;
    }
    return true;
  }

  #wantNothing(): void {
    this.#wantedFrom = 0;
    this.#wantedTo = 0;
  }

  /** An application write to these sectors must wait: they are being compared, or about to be. */
  holds(sector: number, endSector: number): boolean {
    if (sector < this.#wantedTo && this.#wantedFrom < endSector) return true;
    if (this.#asked.size === 0) return false;
    if (endSector - sector > this.#asked.size * BLOCK_SECTORS) {
      for (const at of this.#asked.keys()) {
        if (at < endSector && sector < at + BLOCK_SECTORS) return true;
      }
      return false;
    }
    for (let at = sector - (sector % BLOCK_SECTORS); at < endSector; at += BLOCK_SECTORS) {
      if (this.#asked.has(at)) return true;
    }
    return false;
  }

  // ---- answers

  /** What an answer that has come belongs to. */
  answers(sector: number, bytes: number): 'asked' | 'late' | 'unknown' {
    const asked = this.#asked.get(sector);
    if (asked?.bytes === bytes && !asked.compares) return 'asked';
    return this.#late.get(sector) === bytes ? 'late' : 'unknown';
  }

  /** The answer to one of now is here: it is being compared. */
  answered(sector: number): void {
    const asked = this.#asked.get(sector);
    if (!asked) return;
    asked.compares = true;
    this.#rate.arrived(asked.bytes / 512);
  }

  /** It is compared; false: it is none of this run. */
  compared(sector: number): boolean {
    return this.#asked.delete(sector);
  }

  /** Nothing more comes of one that is late. */
  lateOver(sector: number): void {
    this.#late.delete(sector);
  }
}
