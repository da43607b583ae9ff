/**
 * on-congestion, under protocol A: what becomes of writes while the peer does not keep up. Judged before each write is begun, by what is
 * sent and not covered by a barrier ack (congestion-fill), and by the extents in use in the activity log (congestion-extents):
 *
 *     block        it is sent; it waits for the socket, as ever
 *     disconnect   the connection is given up (StandAlone)
 *     pull-ahead   Ahead, the peer Behind: it is marked here, and the peer told so (P_OUT_OF_SYNC); its data are not sent
 *
 *     Connected, SyncSource --congested--> Ahead --all that was sent has arrived, a second passes--> SyncSource, of what is marked
 *
 * No bitmaps are exchanged for that resync. So the peer has to have every bit that is set here:
 *
 * - each write of now is announced, but for one into a block that was announced in this very time;
 * - blocks of a resync that pulling ahead broke off may be stored and their bits cleared over there, and the answer is too old to be
 *   believed here: their bits are announced again. No request of that resync is answered with data any more (P_RS_CANCEL), and the next one
 *   begins when all answers to what it had sent are here.
 *
 * Beyond the originals a generation begins with the first write that the peer lacks, on this disk before that is answered: whatever is lost then,
 * the connection, the power, the role, nobody takes the copies for equal. And until the peer has asked for a block it counts as one
 * that has not heard of all this: its own disk may pass for good. Source: docs/STATES.md, ahead and behind.
 */
import { force } from './changes.js';
import type { Core } from './core.js';
import type { Link } from './link.js';
import { Conns, Disks, type State } from './state.js';
import type { Volume } from './volume.js';

/** Between the last barrier ack and the resync. */
const CALM_MS = 1000;
const LOOK_AGAIN_MS = 100;
/** So often. A peer that let its disk go in between has left something unanswered; what it has cleared too much is found at the end. */
const MOST_LOOKS = 300;

const { Connected, SyncSource, PausedSyncS, Ahead } = Conns;

export class Congestion {
  readonly #core: Core;
  readonly #volume: Volume;
  #times = 0; // how often this node has pulled ahead
  #allTold = false; // no bit was set when it did: whichever is set now the peer has heard of
  #replies = 0; // blocks of a resync that were sent and not answered
  #peerUnaware = false;
  #ends: Link | null = null; // is given up at the end of this turn

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  /** A write is about to be begun. The state may be another one behind this, and writes held. */
  look(): void {
    const v = this.#volume;
    const { link, state } = v;
    const { netOptions } = v.resource;
    if (netOptions.onCongestion === 'block' || !link?.sendsOutOfSync || state.conn < Connected)
      return;
    // Who has no good disk of his own cannot do without the peer's.
    if (state.disk !== Disks.UpToDate || !v.diskUsable()) return;
    const pulls = netOptions.onCongestion === 'pull-ahead';
    if (pulls && !mayPullAhead(state)) return;
    const fillSectors = netOptions.congestionFillSectors;
    const full = fillSectors > 0 && v.app.inFlightSectors >= fillSectors;
    if (!full && v.log.used < netOptions.congestionExtents) return;
    if (this.#ends === link) return;
    const text = `Congestion-${full ? 'fill' : 'extents'} threshold reached`;
    this.#core.host.log('info', v.name, text);
    link.transferLog.close(); // what is not sent is in no epoch
    if (pulls) force(v, { conn: Ahead });
    else this.#giveUp(link);
  }

  /** Not where it was noticed: a request is in the middle of being begun. */
  #giveUp(link: Link): void {
    this.#ends = link;
    const { resource } = this.#volume;
    resource.when(
      () => true,
      () => {
        if (resource.link === link && link.alive) resource.standAlone('on-congestion disconnect');
      },
    );
  }

  /** Does the peer have to hear of a write that was marked? `isNew`: some of its bits were not set before. */
  tells(isNew: boolean): boolean {
    return isNew || !this.#allTold;
  }

  stateChanged(old: State, next: State): void {
    if (next.conn === Ahead && old.conn !== Ahead) this.#pulledAhead(old);
    if (next.conn > Connected) return;
    this.#replies = 0;
    this.#peerUnaware = false;
  }

  #pulledAhead(old: State): void {
    const v = this.#volume;
    this.#times++;
    this.#allTold = v.bitmap?.count === 0;
    const { targetMayBeDone, targetUnaware } = v.resync.source;
    if (old.pdsk === Disks.UpToDate || targetMayBeDone || targetUnaware) this.#peerUnaware = true;
    const nth = this.#times;
    v.resource.when(
      () => this.#isOver(nth) || v.app.inFlightSectors === 0,
      () => {
        if (!this.#isOver(nth)) v.resource.after(CALM_MS, () => this.#catchUp(nth, 0));
      },
    );
  }

  #isOver(nth: number): boolean {
    return this.#times !== nth || this.#volume.state.conn !== Ahead;
  }

  #catchUp(nth: number, looks: number): void {
    const v = this.#volume;
    if (this.#isOver(nth)) return;
    const answers = v.peerIo.resyncReads + this.#replies;
    if (v.beginning === 0 && (answers === 0 || looks >= MOST_LOOKS)) {
      v.resync.beginning.startMarked();
      return;
    }
    if (looks === 0) this.#core.host.log('info', v.name, 'postponing start_resync ...');
    v.resource.after(LOOK_AGAIN_MS, () => this.#catchUp(nth, looks + 1));
  }

  // ---- what the peer knows

  /** A block of a resync goes to the peer. */
  replied(): void {
    this.#replies++;
  }

  /** It is stored there, or failed to be. */
  replyAnswered(): void {
    this.#replies = Math.max(0, this.#replies - 1);
  }

  /**
   * P_RS_WRITE_ACK: the peer has cleared the bits of this block. Of the resync that was broken off it proves nothing: it may be older than
   * what was written and announced since.
   */
  clearedByPeer(sector: number, endSector: number): void {
    const v = this.#volume;
    if (v.state.conn !== Ahead || !v.bitmap?.anySectors(sector, endSector - sector)) return;
    v.link?.out.outOfSync(v, sector, (endSector - sector) * 512);
  }

  /** It asks for a block: it has heard of everything before. */
  peerAsked(): void {
    if (!this.#peerUnaware) return;
    this.#peerUnaware = false;
    this.#volume.store?.writeSuperblock(); // its disk counts as old from now on
  }

  /** What was announced to it may still be on its way: it may take its disk for good, and be promoted if this node is lost. */
  get peerUnaware(): boolean {
    return this.#peerUnaware;
  }
}

/** During an exchange of bitmaps, or a verify, writes wait as with block. (The originals break that off.) */
function mayPullAhead({ conn }: State): boolean {
  return conn === Connected || conn === SyncSource || conn === PausedSyncS;
}
