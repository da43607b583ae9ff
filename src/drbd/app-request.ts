/**
 * One request of the application: a reusable record of numbers. What happens to it is decided in app-io.ts.
 *
 * A write has two legs. It is answered when both allow it, and leaves (bits set where a leg failed, activity log
 * released) when both are over:
 *
 *     local:  none | pending -> ok | failed
 *     net:    none | pending -> acked (P_WRITE_ACK; P_RECV_ACK) -> done (P_BARRIER_ACK)
 *                            \-> failed (P_NEG_ACK, connection lost)
 */
import type { Protocol } from '../config/drbd-options.js';
import type { ActivityLog } from './activity-log.js';
import type { AppIo } from './app-io.js';
import type { FrontEnd } from './core.js';
import type { InPieces } from './in-pieces.js';
import type { Interval } from './intervals.js';
import type { MetaStore } from './meta-store.js';
import type { Promised } from './promises.js';

export const OP_READ = 0;
export const OP_WRITE = 1;
export const OP_DISCARD = 2;
export const OP_ZEROES = 3;
export const OP_FLUSH = 4;

export const LEG_NONE = 0;
export const LEG_PENDING = 1;
export const LEG_OK = 2; // local: written; net: acknowledged
export const LEG_DONE = 3; // net only: its epoch is acknowledged
export const LEG_FAILED = 4;

/** Errors that it ends with, as errno. */
export const EIO = 5;
export const EROFS = 30;
export const EMEDIUMTYPE = 124;

export class AppRequest implements Interval, Promised {
  readonly index: number;
  // Interval; only writes enter the set.
  sector = 0;
  endSector = 0;
  order = 0;
  active = false;
  entered = false;

  #owner: AppIo | null = null;
  front: FrontEnd | null = null;
  tag = 0;
  op = OP_READ;
  at = -1; // its data; -1 for operations without any
  bufferAt = -1; // the buffer that these are in: of a later piece they begin behind its start
  lengthBytes = 0;
  fua = false;
  mayUnmap = false;
  local = LEG_NONE;
  net = LEG_NONE;
  goodDisk: MetaStore | null = null; // the local disk, if it was UpToDate when it was begun
  goodPeer = -1; // its disk was UpToDate when it had it, in this of the generations (Volume.partings); -1: it was not
  run = 0; // of the resync that it was sent in; 0: none
  asked: Protocol = 'C'; // see Promises
  promise = -1;
  equalWhenHere = false; // the source has it, and our disk, the target, not yet
  sending = false; // the socket still reads the buffer
  refused = false; // by the peer, whose word on its disk is still to come
  refusals = 0; // of all requests that this record has been
  completed = false; // the front end has been told
  inLog = false; // on the transfer log
  failedHere = false; // a read that the local disk could not serve
  lent = false; // a disk that was given up may still read the data
  receiving = false; // a read from the peer whose data are on their way into the buffer
  ownsBuffer = false; // writes: free `bufferAt` at the end
  epoch = 0;
  startMs = 0;
  diskSinceMs = 0; // seen at the local disk (hung-disk.ts); 0: not yet
  logFirst = 0; // activity-log extents held: [logFirst, logNext)
  logNext = 0;
  logOf: ActivityLog | null = null;
  whole: InPieces | null = null; // what this is a piece of
  previous: AppRequest | null = null; // on the transfer log
  next: AppRequest | null = null;

  constructor(index: number) {
    this.index = index;
  }

  get owner(): AppIo {
    return this.#owner as AppIo;
  }

  /** The whole that it is a piece of goes on behind it. */
  get goesOn(): boolean {
    return this.whole !== null && !this.whole.endsHere;
  }

  /** Fresh for a new request. */
  begin(owner: AppIo, front: FrontEnd, tag: number, op: number): void {
    this.#owner = owner;
    this.front = front;
    this.tag = tag;
    this.op = op;
    this.at = -1;
    this.bufferAt = -1;
    this.lengthBytes = 0;
    this.fua = false;
    this.mayUnmap = false;
    this.local = LEG_NONE;
    this.net = LEG_NONE;
    this.goodDisk = null;
    this.goodPeer = -1;
    this.run = 0;
    this.asked = 'C';
    this.promise = -1;
    this.equalWhenHere = false;
    this.sending = false;
    this.refused = false;
    this.completed = false;
    this.inLog = false;
    this.receiving = false;
    this.logOf = null;
    this.ownsBuffer = false;
    this.epoch = 0;
    this.logFirst = 0;
    this.logNext = 0;
    this.whole = null;
    this.lent = false;
    this.failedHere = false;
  }

  started(): void {
    this.owner.intervalReady(this);
  }

  /** An activity-log transaction that covers this request is on disk. */
  logReady(): void {
    this.owner.logReady(this);
  }
}
