/**
 * The source of a resync: what is known of its target, and the end.
 *
 *     target:  all bits clear -> ping ----------> UpToDate, P_STATE -> Connected
 *     source:  all bits clear --- answers it ---> noted: the target may be done -P_STATE-> ping -> Connected
 *
 * The target ends it, and the source when it hears of that: of one that is lost in between nobody can tell here whether its disk is UpToDate,
 * so it counts as good until it has said more (fencing, generations). Source: docs/STATES.md, resync sequence.
 */
import { beginGeneration, force, setUuids } from './changes.js';
import type { Core } from './core.js';
import { clearBitmapUuid, maskUuid } from './generation.js';
import type { Link } from './link.js';
import { sendUuids } from './params.js';
import type { Resync } from './resync.js';
import { Conns, Disks, isResyncing, Roles, type State } from './state.js';
import type { Volume } from './volume.js';

const isSource = (conn: number): boolean => conn === Conns.SyncSource || conn === Conns.PausedSyncS;
const isTarget = (conn: number): boolean => conn === Conns.SyncTarget || conn === Conns.PausedSyncT;

export class ResyncSource {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #resync: Resync;
  #peerSaysDone = false; // the target's P_STATE has come
  #silentEndMs = Number.POSITIVE_INFINITY; // so long that of an old target is waited for
  #peerAsked = false;
  #peerGaveUp = false; // some blocks could not be written there
  #failedHere = false; // the target may have blocks whose bits stay set here
  #targetMayBeDone = false;
  #targetUnaware = false; // it was UpToDate, connected, and has not asked for a block yet
  #doneWith = 0n; // the generation that the target then has; 0n: none

  constructor(core: Core, volume: Volume, resync: Resync) {
    this.#core = core;
    this.#volume = volume;
    this.#resync = resync;
  }

  /** A resync begins, at whichever end. */
  start(): void {
    this.#peerAsked = false;
    this.#peerGaveUp = false;
    this.#peerSaysDone = false;
    this.#silentEndMs = Number.POSITIVE_INFINITY;
    this.#awaitSilentEnd();
    this.#failedHere = false;
    this.#targetMayBeDone = false;
    this.#doneWith = 0n;
  }

  /** Whether the target has begun, and whether it may be done, is known by its disk and the connection, too. */
  stateChanged(old: State, next: State): void {
    const known = next.pdsk !== Disks.Inconsistent || next.conn < Conns.Connected;
    if (known) this.#targetMayBeDone = false;
    const begins = isSource(next.conn);
    if (begins && old.conn === Conns.Connected && old.pdsk === Disks.UpToDate) {
      this.#targetUnaware = true;
    } else if (known) this.#targetUnaware = false;
  }

  /** When an old target is taken to be done. */
  get deadlineMs(): number {
    return this.#silentEndMs;
  }

  /** Time passed. */
  tick(nowMs: number): void {
    if (nowMs >= this.#silentEndMs) this.#endSilently();
  }

  /** The target has stored a block: its bits are cleared already. */
  peerStored(): void {
    this.#awaitSilentEnd();
    this.#maybeFinish();
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
    if (!this.#resync.running || state.conn !== Conns.SyncSource || (bitmap?.count ?? 0) > 0)
      return;
    this.#peerSaysDone = true;
    this.#maybeFinish();
  }

  /** The target has, or may have, what could not be written here. */
  get hasFailedHere(): boolean {
    return this.#failedHere;
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
    if (!this.#resync.running || isTarget(v.state.conn) || !v.bitmap || !v.store) return false;
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

  /** From its last ping until it has said so, or begins anew. */
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
    this.#maybeFinish();
  }

  /** It has said: Connected, Inconsistent. Before it began that is a word from before the resync. */
  peerGaveUp(): void {
    if (!this.#peerAsked) return;
    this.#peerSaysDone = true;
    this.#peerGaveUp = true;
    this.#maybeFinish();
  }

  #maybeFinish(): void {
    const v = this.#volume;
    const { link, bitmap } = v;
    if (!this.#peerSaysDone || !link || !bitmap || this.#resync.finishing) return;
    this.#peerSaysDone = false;
    this.#resync.finishing = true;
    const run = this.#resync.runs;
    link.watch.pingAfresh(() => {
      if (this.#resync.runs !== run) return;
      this.#resync.finishing = false;
      if (v.link !== link || !isResyncing(v.state)) return;
      this.#resync.logDone();
      if (this.#resync.failed.recount(bitmap) > 0 || this.#peerGaveUp) {
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
    const run = this.#resync.runs;
    const compare = (): void => {
      if (v.link !== link || this.#resync.runs !== run || !isResyncing(v.state)) return;
      this.#resync.finishing = false;
      sendUuids(link, v);
      this.#resync.beginning.compare();
    };
    this.#resync.finishing = true;
    if (link.apv >= 91) compare();
    else beginGeneration(v, false, compare, true);
  }
}
