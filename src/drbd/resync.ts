/**
 * The resync of one volume: when it has begun (ResyncBeginning), the target fetches every block whose bit is set.
 *
 * A bit is cleared only when the block is stored here (target), or the target says that it is stored there (source), or the two
 * are found to be equal (checksums.ts). The target ends the resync when no bit is left: it makes sure that the peer is alive, adopts its generation, and tells it
 * by P_STATE; only then does the source end it too (resync-source.ts). Source: docs/STATES.md, resync sequence.
 */
import { OP_READ } from './app-request.js';
import { Behind } from './behind.js';
import { force, setUuids } from './changes.js';
import { Checksums } from './checksums.js';
import type { Core } from './core.js';
import { FailedBlocks } from './failed-blocks.js';
import { finishAsTarget } from './generation.js';
import type { Link } from './link.js';
import { SyncMeter } from './progress.js';
import { RESYNC_TURN_MS, ResyncController, type ResyncSink, ResyncWalker } from './rate.js';
import { ResyncBeginning } from './resync-beginning.js';
import { ResyncReplies } from './resync-replies.js';
import { ResyncRequests } from './resync-requests.js';
import { ResyncSource } from './resync-source.js';
import { Conns, Disks, isResyncing, Roles, type State } from './state.js';
import type { SyncProgress } from './status.js';
import { thinRequestBytes } from './thin-resync.js';
import { UnsavedBits } from './unsaved-bits.js';
import type { Volume } from './volume.js';

/** Requests are queued up to this many bytes at a time: well below the 512 KiB that an outbox can hold. */
const REQUEST_BACKLOG_BYTES = 320 << 10;

const isTarget = (conn: number): boolean => conn === Conns.SyncTarget || conn === Conns.PausedSyncT;

export class Resync {
  readonly #core: Core;
  readonly #volume: Volume;
  /** Until the first block is asked for. */
  readonly beginning: ResyncBeginning;
  /** Equal blocks are not sent. */
  readonly checksums: Checksums;
  readonly replies = new ResyncReplies();
  readonly behind: Behind;
  /** What is particular to the end that has the data. */
  readonly source: ResyncSource;
  /** What the target has asked for. */
  readonly requests: ResyncRequests;
  readonly unsaved: UnsavedBits;
  /** Bits that our last P_UUIDS announced. */
  announcedBits = 0;

  // the run under way
  #running = false;
  #runs = 0;
  #brokenOffOn: Link | null = null; // a run on this connection is over, finished or not
  readonly #meter = new SyncMeter();
  readonly failed = new FailedBlocks();
  /** Its end is being made sure of with the peer. */
  finishing = false;
  #diskIsBad = false; // something failed on this disk, since the last block has come
  // target
  readonly #rate = new ResyncController();
  readonly #walker = new ResyncWalker();
  readonly #sink: ResyncSink;
  #atEnd = false; // every set bit has been asked for
  #usersWait = false; // for the block that is next, since it could not be asked for in the last turn
  #mayAsk = false; // the superblock says Inconsistent
  #nextTurnMs = Number.POSITIVE_INFINITY;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
    this.beginning = new ResyncBeginning(core, volume, this);
    this.checksums = new Checksums(core, volume);
    this.behind = new Behind(volume);
    this.source = new ResyncSource(core, volume, this);
    this.unsaved = new UnsavedBits(volume);
    this.requests = new ResyncRequests(volume, this.checksums, this.unsaved, this.#rate);
    this.#sink = {
      sendQueueBusy: () =>
        !this.#usersWait && (volume.link?.out.backlogBytes ?? 0) > REQUEST_BACKLOG_BYTES,
      lockExtent: (bit) =>
        !volume.peerIo.makeWay.slowsDown() && !this.requests.has(bit * 8, bit * 8 + 8),
      unlockExtent: () => {},
      request: (sector, bytes, thin) => {
        const { link } = volume;
        this.#usersWait = false;
        return link !== null && this.requests.ask(link, sector, bytes, thin);
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
    this.finishing = false;
    this.failed.clear();
    this.source.start();
    this.requests.start();
    this.unsaved.resyncBegins();
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
    this.source.stateChanged(old, next);
    if (isTarget(next.conn) && !isTarget(old.conn)) {
      this.start();
      this.behind.resyncBegins();
      this.#rate.reset();
      this.#walker.reset();
      this.#atEnd = false;
      this.#mayAsk = false;
      this.#nextTurnMs = Number.POSITIVE_INFINITY;
    }
    this.unsaved.stateChanged(next);
    const paused = (conn: number): boolean =>
      conn === Conns.PausedSyncS || conn === Conns.PausedSyncT;
    if (this.#running && paused(old.conn) !== paused(next.conn)) {
      if (paused(next.conn)) {
        this.#meter.pause(this.#core.port.nowMs());
        this.requests.wantNothing();
        this.#volume.app.admission.resyncAdvanced();
      } else this.#meter.resume(this.#core.port.nowMs());
      if (isTarget(next.conn) && !paused(next.conn) && isTarget(old.conn)) this.begin();
    }
    if (this.#running && !isResyncing(next)) this.#stop();
    if (isTarget(old.conn) && next.conn === Conns.Behind) this.behind.pulledAhead();
    else if (isTarget(old.conn) && !isTarget(next.conn)) this.behind.resyncIsOver();
  }

  #stop(): void {
    this.#running = false;
    this.#brokenOffOn = this.#volume.link;
    this.requests.breakOff();
    this.checksums.stop();
    this.#nextTurnMs = Number.POSITIVE_INFINITY;
    this.#volume.app.admission.resyncAdvanced();
  }

  /** Where it is: the next block to ask for, at the source the one that was asked for last. In bits. */
  get positionBits(): number {
    const asks = isTarget(this.#volume.state.conn);
    return asks ? this.#walker.position : Math.floor(this.requests.counts.sector / 8);
  }

  get progress(): SyncProgress | null {
    const v = this.#volume;
    if (!this.#running || !v.bitmap) return null;
    return this.#meter.snapshot(
      Math.max(0, v.bitmap.count - this.failed.count),
      this.failed.count,
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

  /** Its requests that are not answered: part of `pe`. */
  get pending(): number {
    return this.requests.pending;
  }

  /** Bits were cleared. */
  advanced(): void {
    const v = this.#volume;
    if (!this.#running || !v.bitmap) return;
    if (v.state.conn === Conns.PausedSyncS || v.state.conn === Conns.PausedSyncT) return;
    this.#meter.advance(v.bitmap.count - this.failed.count, this.#core.port.nowMs());
  }

  // ---- target

  get deadlineMs(): number {
    const { conn } = this.#volume.state;
    if (conn === Conns.SyncTarget) return this.#nextTurnMs;
    return conn === Conns.SyncSource ? this.source.deadlineMs : this.beginning.dueMs;
  }

  tick(nowMs: number): void {
    const { link } = this.#volume;
    if (!link) return;
    this.beginning.tick(link, nowMs);
    this.source.tick(nowMs);
    if (this.#volume.state.conn !== Conns.SyncTarget || nowMs < this.#nextTurnMs) return;
    this.#turn(link);
    this.#nextTurnMs = nowMs + RESYNC_TURN_MS;
  }

  #turn(link: Link): void {
    const v = this.#volume;
    const { bitmap } = v;
    if (!bitmap || this.finishing) return;
    this.unsaved.save();
    const number = this.#rate.turn(v.diskOptions, v.resource.netOptions.maxBuffers);
    if (!this.#atEnd) {
      const limits = {
        bits: bitmap.bits,
        capacitySectors: v.sizeSectors,
        maxRequestBytes: link.mostSectors(v, OP_READ) * 512,
        discardGranularityBytes: thinRequestBytes(v, link),
      };
      // One block, whatever is on its way: a turn without it would let in the writes that wait, and with a peer that is slower than
      // they come it would never be quiet for as long as it takes.
      const wanted = this.requests.wantNothing();
      this.#usersWait = wanted;
      const most = Math.max(number, wanted ? 1 : 0);
      const result = this.#walker.makeRequests(most, bitmap, limits, this.#sink);
      this.#usersWait = false;
      if (wanted) v.app.admission.resyncAdvanced(); // those that still have to wait wait again
      this.#atEnd = result.end;
      this.#rate.requested(result.blocks);
    } else if (this.requests.pending === 0) {
      // Everything was asked for and answered; bits that were set behind the walker remain.
      if (bitmap.count > this.failed.recount(bitmap)) {
        this.#walker.reset();
        this.#atEnd = false;
      } else {
        this.#maybeFinish();
      }
    }
  }

  /** P_RS_IS_IN_SYNC. Where that proves nothing, the bit stays, and the walker comes back to it. */
  saidEqual(sector: number, bytes: number): void {
    const proves = this.requests.isAsked(sector, bytes) && this.checksums.answered(sector);
    if (this.requests.replied(sector, bytes) && proves) this.checksums.equalAtSource(sector, bytes);
    this.blockStored();
  }

  /** The block that arrived is on disk (or failed, see `blockFailed`). */
  blockStored(): void {
    this.#volume.app.admission.resyncAdvanced();
    this.#maybeFinish();
  }

  /** It could not be read or written, at either end: its bit stays set. */
  blockFailed(sector: number, endSector: number): void {
    this.failed.add(sector, endSector);
  }

  #maybeFinish(): void {
    const v = this.#volume;
    const { link, bitmap } = v;
    if (!link || !bitmap || !this.#running || this.finishing) return;
    if (v.state.conn !== Conns.SyncTarget || this.requests.pending > 0 || !this.#mayAsk) return;
    // Writes of the peer's application are not waited for: they may never cease, and are what they are when in sync.
    if (bitmap.count > this.failed.count || v.peerIo.resyncWrites > 0) return;
    if (bitmap.count > this.failed.recount(bitmap)) return; // the next turn asks for the rest
    this.finishing = true;
    // The peer must be alive at the end: its generation is taken over as the one that both have. And it must have our
    // acknowledgements before it answers: it knows by them that we may be UpToDate when it does not hear of us again.
    const run = this.#runs;
    link.watch.pingAfresh(() => {
      // Paused meanwhile: there is nothing left to pause.
      if (v.link !== link || !isTarget(v.state.conn) || this.#runs !== run) return;
      if (bitmap.count > this.failed.recount(bitmap) || this.requests.pending > 0) {
        this.finishing = false; // a write in between marked something
        return;
      }
      this.#finishTarget(link);
    });
  }

  #finishTarget(link: Link): void {
    const v = this.#volume;
    const peer = v.peerUuids;
    this.logDone();
    if (this.failed.count > 0 || !peer) {
      this.#core.host.log('error', v.name, `${this.failed.count} failed blocks`);
      force(v, { conn: Conns.Connected });
      return;
    }
    const run = this.#runs;
    this.#diskIsBad = false;
    const over = (): boolean => v.link !== link || !isTarget(v.state.conn) || this.#runs !== run;
    this.#flushThen(() => {
      if (over()) return;
      if (v.bitmap && v.bitmap.count > 0) {
        this.finishing = false; // a write that failed marked something
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

  /** on-io-error pass_on: the state of a target does not tell that something has failed. */
  diskIsBad(): void {
    this.#diskIsBad = true;
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

  /** How long it took, and how fast it was. */
  logDone(): void {
    const { totalS, pausedS, kiBps } = this.#meter.summary(this.#core.port.nowMs());
    const text = `Resync done (total ${totalS} sec; paused ${pausedS} sec; ${kiBps} K/sec)`;
    this.#core.host.log('info', this.#volume.name, text);
    const checksums = this.checksums.summary(this.#meter.totalBits);
    if (checksums !== null) this.#core.host.log('info', this.#volume.name, checksums);
  }
}
