/**
 * Which requests of the application may begin, which are held, and which are refused at once. What is held keeps its order: nothing
 * that is asked later overtakes it.
 *
 *     asked --the state forbids I/O, or too much is under way--> held --letIn--> begun
 *     write --its blocks are fetched from the peer, or compared--> behind these --resyncAdvanced--> as if asked anew
 */
import { assert } from '../base/assert.js';
import {
  type AppRequest,
  EIO,
  EMEDIUMTYPE,
  EROFS,
  OP_DISCARD,
  OP_READ,
  OP_ZEROES,
} from './app-request.js';
import type { Core } from './core.js';
import { peerCannotBeTold } from './enough.js';
import { Conns, Disks, isSuspended, Roles } from './state.js';
import type { Volume } from './volume.js';

const MAX_REQUEST_BYTES = 1 << 20;
/** Requests of all volumes above which writes wait: half of the slots, so that what was accepted has room. */
const MANY_REQUESTS = 32768;

export class Admission {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #begin: (r: AppRequest) => void;
  readonly #held: AppRequest[] = []; // asked while the state forbade I/O
  readonly #behindBlocks: AppRequest[] = []; // writes into blocks that are being fetched from the peer, or compared
  #writesHeld = 0; // > 0: a new generation is being written to disk

  constructor(core: Core, volume: Volume, begin: (r: AppRequest) => void) {
    this.#core = core;
    this.#volume = volume;
    this.#begin = begin;
  }

  /** Why application I/O has to wait now, or null. */
  blocked(): string | null {
    const s = this.#volume.state;
    if (isSuspended(s)) return 'suspended';
    if (s.conn === Conns.WFBitMapT || s.conn === Conns.WFSyncUUID) return 'bitmap exchange';
    if (s.conn === Conns.Behind) return 'resync to come'; // promoted meanwhile: which blocks it lacks is not known yet
    if (peerCannotBeTold(this.#volume)) return 'bitmap exchange';
    if (s.disk === Disks.Attaching || s.disk === Disks.Negotiating) return 'attaching';
    // Without a disk the first write says to the peer that its data are taken (beginWaiting): for all volumes, or for none.
    if (s.disk < Disks.Inconsistent && s.conn >= Conns.Connected && this.#volume.resource.meeting) {
      return 'connecting';
    }
    return null;
  }

  /** It is asked: begun at once, or held. */
  admit(r: AppRequest): void {
    if (this.#held.length > 0 || this.#mustHold(r)) this.#held.push(r);
    else this.#begin(r);
  }

  /** It was begun, and the state has changed: it is asked again behind the others. */
  hold(r: AppRequest): void {
    this.#held.push(r);
  }

  /** Requests are held: the end of another one may let them in. */
  get someWait(): boolean {
    return this.#held.length > 0;
  }

  #mustHold(r: AppRequest): boolean {
    if (this.blocked() !== null) return true;
    if (r.op === OP_READ) return false;
    if (this.#writesHeld > 0 || this.#core.app.used >= MANY_REQUESTS) return true;
    const { app, link, resource } = this.#volume;
    // Under protocol A what was sent is answered; the socket's own buffer is the bound there.
    if (link?.answersWhenSent) return false;
    return app.remote >= resource.netOptions.maxBuffers;
  }

  /** The state or a counter changed: those begin that may. */
  letIn(): void {
    // Out of the list before it is begun: what is over at once lets others in from within.
    for (let r = this.#held[0]; r && !this.#mustHold(r); r = this.#held[0]) {
      this.#held.shift();
      this.#begin(r);
    }
  }

  /** A new generation is being written: writes wait, and those that only this node has are not answered. */
  holdWrites(): void {
    this.#writesHeld++;
  }

  /** It is on disk. */
  releaseWrites(): void {
    assert(this.#writesHeld > 0, 'held writes are released once');
    this.#writesHeld--;
    if (this.#writesHeld === 0) this.#volume.app.resume();
  }

  /** What only this node has must not be answered. */
  get isFrozen(): boolean {
    return this.#writesHeld > 0 || isSuspended(this.#volume.state);
  }

  /** Nor may a write that was begun go on to the disks. */
  get isGated(): boolean {
    return this.isFrozen || peerCannotBeTold(this.#volume);
  }

  /** Blocks that it writes are being fetched, or compared: it is begun behind these. */
  waitsForBlocks(r: AppRequest): boolean {
    const { resync, verify } = this.#volume;
    const busy =
      resync.requests.fetching(r.sector, r.endSector) ||
      verify.questions.holds(r.sector, r.endSector);
    if (busy) this.#behindBlocks.push(r);
    return busy;
  }

  /** Blocks that were being fetched, or compared, are not any more. */
  resyncAdvanced(): void {
    if (this.#behindBlocks.length === 0) return;
    for (const r of this.#behindBlocks.splice(0)) this.admit(r);
  }
}

/** What a read, write or erase that is about to begin has to fail with; 0: nothing is wrong with it. */
export function refusalOf(v: Volume, r: AppRequest): number {
  if (v.state.role !== Roles.Primary) return r.op === OP_READ ? EMEDIUMTYPE : EROFS;
  const { sector, endSector } = r.whole ?? r; // nothing of what does not fit
  const fits =
    sector >= 0 &&
    endSector <= v.sizeSectors &&
    sector < endSector &&
    Number.isInteger(endSector) &&
    (r.op === OP_DISCARD || r.op === OP_ZEROES || (endSector - sector) * 512 <= MAX_REQUEST_BYTES);
  return fits ? 0 : EIO;
}
