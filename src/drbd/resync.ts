/**
 * The resync of one volume: when it has begun (ResyncBeginning), the target fetches every block whose bit is set.
 *
 * A bit is cleared only when the block is stored here (target), or the target says that it is stored there (source), or the two
 * are found to be equal (checksums.ts). The target ends the resync when no bit is left: it makes sure that the peer is alive, adopts its generation, and tells it
 * by P_STATE; only then does the source end it too. Source: docs/STATES.md, resync sequence.
 */
import { AL_EXTENT_SECTORS } from '../md/units.js';
import { OP_READ } from './app-request.js';
import { Behind } from './behind.js';
import { beginGeneration, force, setUuids } from './changes.js';
import { Checksums } from './checksums.js';
import type { Core } from './core.js';
import { type LruCounts, ResyncCounts } from './extent-counts.js';
import { FailedBlocks } from './failed-blocks.js';
import { clearBitmapUuid, finishAsTarget, maskUuid } from './generation.js';
import type { Link } from './link.js';
import { OldRequests } from './old-requests.js';
import { sendUuids } from './params.js';
import { SyncMeter } from './progress.js';
import { RESYNC_TURN_MS, ResyncController, type ResyncSink, ResyncWalker } from './rate.js';
import { ResyncBeginning } from './resync-beginning.js';
import { ResyncReplies } from './resync-replies.js';
import { Conns, Disks, Roles, type State } from './state.js';
import type { SyncProgress } from './status.js';
import { thinRequestBytes } from './thin-resync.js';
import type { Volume } from './volume.js';

/** Requests are queued up to this many bytes at a time: well below the 512 KiB that an outbox can hold. */
const REQUEST_BACKLOG_BYTES = 320 << 10;

const isSyncing = (conn: number): boolean =>
  conn >= Conns.SyncSource &&
  conn <= Conns.PausedSyncT &&
  conn !== Conns.VerifyS &&
  conn !== Conns.VerifyT;
const isTarget = (conn: number): boolean => conn === Conns.SyncTarget || conn === Conns.PausedSyncT;
/** Or about to be one. */
const becomesTarget = (conn: number): boolean =>
  isTarget(conn) || conn === Conns.WFBitMapT || conn === Conns.WFSyncUUID || conn === Conns.Behind;

export class Resync {
  readonly #core: Core;
  readonly #volume: Volume;
  /** Until the first block is asked for. */
  readonly beginning: ResyncBeginning;
  /** Equal blocks are not sent. */
  readonly checksums: Checksums;
  readonly replies = new ResyncReplies();
  readonly behind: Behind;
  /** Bits that our last P_UUIDS announced. */
  announcedBits = 0;

  // the run under way
  #running = false;
  #runs = 0;
  #brokenOffOn: Link | null = null; // a run on this connection is over, finished or not
  readonly #meter = new SyncMeter();
  readonly #failed = new FailedBlocks();
  #finishing = false;
  #peerSaysDone = false; // source: the target's P_STATE has come
  #silentEndMs = Number.POSITIVE_INFINITY; // source: so long that of an old target is waited for
  #peerAsked = false;
  #peerGaveUp = false; // some blocks could not be written there
  #diskIsBad = false; // something failed on this disk, since the last block has come
  #failedHere = false; // the target may have blocks whose bits stay set here
  #targetMayBeDone = false;
  #targetUnaware = false; // it was UpToDate, connected, and has not asked for a block yet
  #doneWith = 0n; // the generation that the target then has; 0n: none

  // target
  readonly #rate = new ResyncController();
  readonly #walker = new ResyncWalker();
  readonly #sink: ResyncSink;
  #atEnd = false; // every set bit has been asked for
  #mayAsk = false; // the superblock says Inconsistent
  #marks = 0; // how often bits were set
  #savedMarks = 0; // and so many of these are in the bitmap on disk
  #saving = false;
  readonly #requests = new Map<number, number>(); // sector -> bytes asked for
  /** Of its requests, on either side. */
  readonly counts = new ResyncCounts();
  readonly #old = new OldRequests();
  // What could not be asked for because of writes on their way to it: further ones wait. Sectors; empty if equal.
  #wantedFrom = 0;
  #wantedTo = 0;
  #nextTurnMs = Number.POSITIVE_INFINITY;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
    this.beginning = new ResyncBeginning(core, volume, this);
    this.checksums = new Checksums(core, volume);
    this.behind = new Behind(volume);
    this.#sink = {
      sendQueueBusy: () => (volume.link?.backlogBytes ?? 0) > REQUEST_BACKLOG_BYTES,
      lockExtent: (bit) =>
        !volume.peerIo.makeWay.slowsDown() && !this.#isFetched(bit * 8, bit * 8 + 8),
      unlockExtent: () => {},
      request: (sector, bytes, thin) => {
        const { link } = volume;
        if (!link || !this.#mayFetch(sector, sector + bytes / 512)) return false;
        return this.#ask(link, sector, bytes, thin);
      },
    };
  }

  // ---- the run

  /** The disk is Inconsistent and says so: ask for the first blocks. */
  begin(): void {
    this.#mayAsk = true;
    this.#nextTurnMs = this.#core.port.nowMs();
    if ((this.#volume.bitmap?.count ?? 0) === 0) this.#maybeFinish();
  }

  /** A resync begins with the bits that are set now. */
  start(): void {
    const v = this.#volume;
    const now = this.#core.port.nowMs();
    const bits = v.bitmap?.count ?? 0;
    this.#running = true;
    this.#runs++;
    this.#finishing = false;
    this.#failed.clear();
    this.#peerAsked = false;
    this.#peerGaveUp = false;
    this.#peerSaysDone = false;
    this.#silentEndMs = Number.POSITIVE_INFINITY;
    this.#awaitSilentEnd();
    this.#failedHere = false;
    this.#targetMayBeDone = false;
    this.#doneWith = 0n;
    this.#requests.clear();
    this.counts.reset();
    this.#saving = false;
    this.#meter.start(bits, now);
    this.checksums.start(isTarget(v.state.conn));
    this.replies.clear();
    const side = isTarget(v.state.conn) ? 'SyncTarget' : 'SyncSource';
    this.#core.host.log(
      'info',
      v.name,
      `Began resync as ${side} (will sync ${bits * 4} KB [${bits} bits set]).`,
    );
  }

  stateChanged(old: State, next: State): void {
    this.beginning.stateChanged(old, next);
    const known = next.pdsk !== Disks.Inconsistent || next.conn < Conns.Connected;
    if (known) this.#targetMayBeDone = false;
    const begins = next.conn === Conns.SyncSource || next.conn === Conns.PausedSyncS;
    if (begins && old.conn === Conns.Connected && old.pdsk === Disks.UpToDate) {
      this.#targetUnaware = true;
    } else if (known) this.#targetUnaware = false;
    if (isTarget(next.conn) && !isTarget(old.conn)) {
      this.start();
      this.behind.resyncBegins();
      this.#rate.reset();
      this.#walker.reset();
      this.#atEnd = false;
      this.#mayAsk = false;
      this.#nextTurnMs = Number.POSITIVE_INFINITY;
    }
    if (!becomesTarget(next.conn)) this.#savedMarks = this.#marks; // an exchange writes the bitmap
    const paused = (conn: number): boolean =>
      conn === Conns.PausedSyncS || conn === Conns.PausedSyncT;
    if (this.#running && paused(old.conn) !== paused(next.conn)) {
      if (paused(next.conn)) {
        this.#meter.pause(this.#core.port.nowMs());
        this.#wantNothing();
        this.#volume.app.admission.resyncAdvanced();
      } else this.#meter.resume(this.#core.port.nowMs());
      if (isTarget(next.conn) && !paused(next.conn) && isTarget(old.conn)) this.begin();
    }
    if (this.#running && !isSyncing(next.conn)) this.#stop();
    if (isTarget(old.conn) && next.conn === Conns.Behind) this.behind.pulledAhead();
    else if (isTarget(old.conn) && !isTarget(next.conn)) this.behind.resyncIsOver();
  }

  #stop(): void {
    this.#running = false;
    this.#brokenOffOn = this.#volume.link;
    for (const [sector, bytes] of this.#requests) {
      if (!this.checksums.isReading(sector)) this.#old.add(this.#volume.link, sector, bytes);
    }
    this.#requests.clear();
    this.checksums.stop();
    this.#wantNothing();
    this.#nextTurnMs = Number.POSITIVE_INFINITY;
    this.#volume.app.admission.resyncAdvanced();
  }

  /** Where it is: the next block to ask for, at the source the one that was asked for last. In bits. */
  get positionBits(): number {
    const asks = isTarget(this.#volume.state.conn);
    return asks ? this.#walker.position : Math.floor(this.counts.sector / 8);
  }

  get extents(): LruCounts {
    return this.counts.shown(this.#requests.keys());
  }

  get progress(): SyncProgress | null {
    const v = this.#volume;
    if (!this.#running || !v.bitmap) return null;
    return this.#meter.snapshot(
      Math.max(0, v.bitmap.count - this.#failed.count),
      this.#failed.count,
      this.#rate.rateKiBps,
    );
  }

  /**
   * Which one is under way; 0: none. What was begun in one says nothing of the bits of the next: the copies may have parted
   * in between.
   */
  get run(): number {
    return this.#running ? this.#runs : 0;
  }

  /** A run on this connection is over: acknowledgements of it may be on their way. */
  brokenOff(link: Link): boolean {
    return this.#brokenOffOn === link;
  }

  /** So many have begun. */
  get runs(): number {
    return this.#runs;
  }

  /** From its first state on until its last. */
  get running(): boolean {
    return this.#running;
  }

  /** Requests of the resync that are not answered: part of `pe`. */
  get pending(): number {
    return this.#requests.size;
  }

  /** Bits were cleared. */
  advanced(): void {
    const v = this.#volume;
    if (!this.#running || !v.bitmap) return;
    if (v.state.conn === Conns.PausedSyncS || v.state.conn === Conns.PausedSyncT) return;
    this.#meter.advance(v.bitmap.count - this.#failed.count, this.#core.port.nowMs());
  }

  // ---- target

  get deadlineMs(): number {
    const { conn } = this.#volume.state;
    if (conn === Conns.SyncTarget) return this.#nextTurnMs;
    return conn === Conns.SyncSource ? this.#silentEndMs : this.beginning.dueMs;
  }

  tick(nowMs: number): void {
    const { link } = this.#volume;
    if (!link) return;
    this.beginning.tick(link, nowMs);
    if (nowMs >= this.#silentEndMs) this.#endSilently();
    if (this.#volume.state.conn !== Conns.SyncTarget || nowMs < this.#nextTurnMs) return;
    this.#turn(link);
    this.#nextTurnMs = nowMs + RESYNC_TURN_MS;
  }

  #turn(link: Link): void {
    const v = this.#volume;
    const { bitmap } = v;
    if (!bitmap || this.#finishing) return;
    this.#saveMarks();
    const number = this.#rate.turn(v.diskOptions, v.resource.netOptions.maxBuffers);
    if (!this.#atEnd) {
      const limits = {
        bits: bitmap.bits,
        capacitySectors: v.sizeSectors,
        maxRequestBytes: link.mostSectors(v, OP_READ) * 512,
        discardGranularityBytes: thinRequestBytes(v, link),
      };
      const wanted = this.#wantedTo > 0;
      this.#wantNothing();
      const result = this.#walker.makeRequests(number, bitmap, limits, this.#sink);
      if (wanted) v.app.admission.resyncAdvanced(); // those that still have to wait wait again
      this.#atEnd = result.end;
      this.#rate.requested(result.blocks);
    } else if (this.#requests.size === 0) {
      // Everything was asked for and answered; bits that were set behind the walker remain.
      if (bitmap.count > this.#failed.recount(bitmap)) {
        this.#walker.reset();
        this.#atEnd = false;
      } else {
        this.#maybeFinish();
      }
    }
  }

  /** Bits were set here. */
  marked(): void {
    if (becomesTarget(this.#volume.state.conn)) this.#marks++;
  }

  /**
   * Some bits of this resync are not in the bitmap on disk (P_OUT_OF_SYNC came when that had been written). A block that is only
   * in the disk's cache would be lost with the power, and nobody would know: the source clears its bit at the answer.
   */
  get hasUnsavedBits(): boolean {
    return this.#marks > this.#savedMarks;
  }

  #saveMarks(): void {
    const marks = this.#marks;
    if (marks === this.#savedMarks || this.#saving) return;
    this.#saving = true;
    this.#volume.writeBitmap((result) => {
      this.#saving = false;
      if (result < 0) this.#volume.metaFailed(-result);
      else this.#savedMarks = Math.max(this.#savedMarks, marks);
    });
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

  /**
   * With the digest of what is here, if that can be trusted when it is found equal: not where a bit may be set in memory only, nor
   * where the answer could be taken for that to an old request, or the other way round.
   */
  #ask(link: Link, sector: number, bytes: number, thin: boolean): boolean {
    const trusted = !this.hasUnsavedBits && this.#old.answers(link, sector, bytes) === 'no';
    this.#requests.set(sector, bytes);
    if (trusted && this.checksums.inUse) {
      const asked = this.checksums.ask(link, sector, bytes);
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
    link.sendResyncRequest(this.#volume, sector, bytes, thin);
    return true;
  }

  /** Writes need not wait for a fetch that was not begun. */
  #wantNothing(): void {
    this.#wantedFrom = 0;
    this.#wantedTo = 0;
  }

  #isFetched(sector: number, endSector: number): boolean {
    for (const [at, bytes] of this.#requests) {
      if (at < endSector && sector < at + bytes / 512) return true;
    }
    return false;
  }

  /** These sectors have been asked for and are not there yet, or are about to be: an application write must wait. */
  fetching(sector: number, endSector: number): boolean {
    if (sector < this.#wantedTo && this.#wantedFrom < endSector) return true;
    return this.#requests.size > 0 && this.#isFetched(sector, endSector);
  }

  /**
   * An answer arrives: to a request of this resync ('asked'), or maybe to one of a resync that was broken off ('late', nobody
   * wants it any more).
   */
  answers(sector: number, bytes: number): 'asked' | 'late' | 'unknown' {
    const old = this.#old.answers(this.#volume.link, sector, bytes);
    if (this.#requests.get(sector) !== bytes) return old === 'no' ? 'unknown' : 'late';
    return old === 'maybe' ? 'late' : 'asked';
  }

  /** It is dealt with, or about to be; false if it is not to be believed. */
  replied(sector: number, bytes: number): boolean {
    const asked = this.#requests.get(sector) === bytes;
    const old = this.#old.replied(this.#volume.link, sector, bytes, asked);
    if (!asked) return false;
    this.#requests.delete(sector);
    this.checksums.answered(sector);
    this.#rate.arrived(bytes / 512);
    return !old;
  }

  /** P_RS_IS_IN_SYNC. Where that proves nothing, the bit stays, and the walker comes back to it. */
  saidEqual(sector: number, bytes: number): void {
    const proves = this.#requests.get(sector) === bytes && this.checksums.answered(sector);
    if (this.replied(sector, bytes) && proves) this.checksums.equalAtSource(sector, bytes);
    this.blockStored();
  }

  /** The block that arrived is on disk (or failed, see `blockFailed`). */
  blockStored(): void {
    this.#volume.app.admission.resyncAdvanced();
    this.#maybeFinish();
  }

  blockFailed(sector: number, endSector: number): void {
    this.#failed.add(sector, endSector);
  }

  #maybeFinish(): void {
    const v = this.#volume;
    const { link, bitmap } = v;
    if (!link || !bitmap || !this.#running || this.#finishing) return;
    if (v.state.conn !== Conns.SyncTarget || this.#requests.size > 0 || !this.#mayAsk) return;
    // Writes of the peer's application are not waited for: they may never cease, and are what they are when in sync.
    if (bitmap.count > this.#failed.count || v.peerIo.resyncWrites > 0) return;
    if (bitmap.count > this.#failed.recount(bitmap)) return; // the next turn asks for the rest
    this.#finishing = true;
    // The peer must be alive at the end: its generation is taken over as the one that both have. And it must have our
    // acknowledgements before it answers: it knows by them that we may be UpToDate when it does not hear of us again.
    const run = this.#runs;
    link.pingAfresh(() => {
      // Paused meanwhile: there is nothing left to pause.
      if (v.link !== link || !isTarget(v.state.conn) || this.#runs !== run) return;
      if (bitmap.count > this.#failed.recount(bitmap) || this.#requests.size > 0) {
        this.#finishing = false; // a write in between marked something
        return;
      }
      this.#finishTarget(link);
    });
  }

  #finishTarget(link: Link): void {
    const v = this.#volume;
    const peer = v.peerUuids;
    this.#logDone();
    if (this.#failed.count > 0 || !peer) {
      this.#core.host.log('error', v.name, `${this.#failed.count} failed blocks`);
      force(v, { conn: Conns.Connected });
      return;
    }
    const run = this.#runs;
    this.#diskIsBad = false;
    const over = (): boolean => v.link !== link || !isTarget(v.state.conn) || this.#runs !== run;
    this.#flushThen(() => {
      if (over()) return;
      if (v.bitmap && v.bitmap.count > 0) {
        this.#finishing = false; // a write that failed marked something
        return;
      }
      const primary = v.state.role === Roles.Primary;
      const set = finishAsTarget(v.uuids, peer, primary);
      v.peerUuids = { ...peer, ...set }; // the next resync may begin without an exchange of P_UUIDS
      setUuids(v, set, () => {
        if (over()) return;
        const lacking = v.bitmap?.count ?? 0;
        if (lacking > 0 && this.#diskIsBad) {
          // A write has failed since (pass_on): the source has heard that, and must not be the only one.
          this.#core.host.log('error', v.name, `${lacking} failed blocks`);
          force(v, { conn: Conns.Connected });
          return;
        }
        force(v, { conn: Conns.Connected, disk: Disks.UpToDate, pdsk: Disks.UpToDate });
        this.#core.host.handler('after-resync-target', v.resource.name, v.minor, () => {});
      });
    });
  }

  /** What was stored is durable before this disk is called UpToDate; the bitmap follows. */
  #flushThen(done: () => void): void {
    const v = this.#volume;
    v.store?.dataWritten();
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
      else done();
    });
  }

  #logDone(): void {
    const { totalS, pausedS, kiBps } = this.#meter.summary(this.#core.port.nowMs());
    const text = `Resync done (total ${totalS} sec; paused ${pausedS} sec; ${kiBps} K/sec)`;
    this.#core.host.log('info', this.#volume.name, text);
    const checksums = this.checksums.summary(this.#meter.totalBits);
    if (checksums !== null) this.#core.host.log('info', this.#volume.name, checksums);
  }

  // ---- source

  /** The target has stored a block (its bits are cleared already). */
  peerStored(_sector: number, _endSector: number): void {
    this.#awaitSilentEnd();
    this.#maybeFinishSource();
  }

  /**
   * Below version 95 a target does not have to say that it is done: it is when the source has all its acknowledgements. Those that do
   * say so (8.3.9 and newer, and we) have the time of a ping for it, so that they come first.
   */
  #awaitSilentEnd(): void {
    const { link, bitmap, resource } = this.#volume;
    const over = link !== null && link.apv < 95 && bitmap?.count === 0;
    if (!over) this.#silentEndMs = Number.POSITIVE_INFINITY;
    if (!over || this.#silentEndMs < Number.POSITIVE_INFINITY) return; // writes are acknowledged all the time
    const { pingIntS, pingTimeoutDs } = resource.netOptions;
    this.#silentEndMs = this.#core.port.nowMs() + pingIntS * 1000 + pingTimeoutDs * 100;
  }

  #endSilently(): void {
    const { state, bitmap } = this.#volume;
    this.#silentEndMs = Number.POSITIVE_INFINITY;
    if (!this.#running || state.conn !== Conns.SyncSource || (bitmap?.count ?? 0) > 0) return;
    this.#peerSaysDone = true;
    this.#maybeFinishSource();
  }

  peerFailed(sector: number, endSector: number): void {
    this.#failed.add(sector, endSector);
  }

  get hasFailedHere(): boolean {
    return this.#failedHere;
  }

  /** on-io-error pass_on: the state of a target does not tell that something has failed. */
  diskIsBad(): void {
    this.#diskIsBad = true;
  }

  /** A write failed here, and the target has it. */
  failedHere(): void {
    this.#failedHere = true;
  }

  /**
   * The acknowledgements of all blocks came before the target's last ping, and the answer to that ping is what it ends the
   * resync with: it may be UpToDate from then on.
   */
  get mayEndWithPing(): boolean {
    const v = this.#volume;
    if (!this.#running || isTarget(v.state.conn) || !v.bitmap || !v.store) return false;
    return v.bitmap.count === 0 || this.#failedHere;
  }

  /** A crash must not forget it either: without the flag in the meta-data the target is fenced, as any peer whose data may be good. */
  noteTargetMayBeDone(done: () => void): void {
    const v = this.#volume;
    this.#targetMayBeDone = true;
    this.#doneWith = maskUuid(v.uuids.current);
    v.store?.writeSuperblock((result) => {
      if (result < 0) v.metaFailed(-result);
      done();
    });
  }

  /** From then until it has said so, or begins anew. */
  get targetMayBeDone(): boolean {
    return this.#targetMayBeDone;
  }

  /** The beginning may still be on its way to it, or its handler run: it may take its disk for good, and be promoted without this node. */
  get targetUnaware(): boolean {
    return this.#targetUnaware;
  }

  /** And since the connection broke: the peer may have this very generation, and all of it. */
  get endMayBeMissed(): boolean {
    return this.#doneWith !== 0n && this.#doneWith === maskUuid(this.#volume.uuids.current);
  }

  /** The target asks for a block: it has begun. */
  peerAsked(): void {
    this.#peerAsked = true;
    if (!this.#targetUnaware) return;
    this.#targetUnaware = false;
    this.#volume.store?.writeSuperblock(); // its disk counts as old from now on
  }

  /** The target has said that it is done (P_STATE: Connected, UpToDate). Before it began that is a word from before the resync. */
  peerFinished(): void {
    const nothingToAsk = (this.#volume.bitmap?.count ?? 0) === 0 || this.#failedHere;
    if (!this.#peerAsked && !nothingToAsk) return;
    this.#peerSaysDone = true;
    this.#maybeFinishSource();
  }

  /** It has said: Connected, Inconsistent. Before it began that is a word from before the resync. */
  peerGaveUp(): void {
    if (!this.#peerAsked) return;
    this.#peerSaysDone = true;
    this.#peerGaveUp = true;
    this.#maybeFinishSource();
  }

  #maybeFinishSource(): void {
    const v = this.#volume;
    const { link, bitmap } = v;
    if (!this.#peerSaysDone || !link || !bitmap || this.#finishing) return;
    this.#peerSaysDone = false;
    this.#finishing = true;
    const run = this.#runs;
    link.pingAfresh(() => {
      if (this.#runs !== run) return;
      this.#finishing = false;
      if (v.link !== link || !isSyncing(v.state.conn)) return;
      this.#logDone();
      if (this.#failed.recount(bitmap) > 0 || this.#peerGaveUp) {
        this.#core.host.log('error', v.name, `${bitmap.count} failed blocks`);
        force(v, { conn: Conns.Connected });
        return;
      }
      // All acknowledgements have come before that of the ping: what is left failed here and not at the target (pass_on).
      const left = bitmap.count;
      if (left > 0 && v.state.peer !== Roles.Primary) {
        this.#onceMore(link, left);
        return;
      }
      // UUIDs and state change together: a link that is lost with the bitmap UUID cleared and the peer still Inconsistent
      // would begin no generation, and what is written alone from then on would never be copied. A crash before the
      // UUIDs are on disk is what uuid_compare rule 34 is for.
      v.writeBitmap();
      setUuids(v, clearBitmapUuid(v.uuids));
      if (v.peerUuids) v.peerUuids = { ...v.peerUuids, ...v.uuids };
      // A Primary that was the target has answered what failed here: from now on its copy counts. What is new of a device that has
      // grown since the target was done has not failed.
      const lacks = left > 0 && bitmap.nextSet(0) < v.growth.oldBits;
      const disk = lacks ? Disks.Inconsistent : Disks.UpToDate;
      force(v, { conn: Conns.Connected, disk, pdsk: Disks.UpToDate });
      v.resource.resyncFinished();
    });
  }

  /**
   * This disk is the one that counts, and the target got writes that failed here, which their writer was told. It takes itself
   * for equal by now. As if the end of the resync had been missed here (rules 34 and 35), bitmaps are compared again, and it
   * fetches what is here. Below version 91 these rules are not known: there it is behind a new generation.
   */
  #onceMore(link: Link, bits: number): void {
    const v = this.#volume;
    const text = `${bits} blocks could not be written here, only at the peer: resync of these`;
    this.#core.host.log('warn', v.name, text);
    const run = this.#runs;
    const compare = (): void => {
      if (v.link !== link || this.#runs !== run || !isSyncing(v.state.conn)) return;
      this.#finishing = false;
      sendUuids(link, v);
      this.beginning.compare();
    };
    this.#finishing = true;
    if (link.apv >= 91) compare();
    else beginGeneration(v, false, compare, true);
  }
}
