/**
 * A request of the application that is done in pieces, one after the other; the whole is answered behind the last one.
 *
 *     write, read    longer than one packet to this peer may be (128 KiB, 32 KiB for older ones; what the peer's disk takes at once)
 *     discard        more extents than the activity log should hold for one request; more than an older peer takes at once
 *
 * Whoever the peer is when a piece begins, it is judged anew: one that is too long for the next peer is done in pieces itself.
 *
 * A piece that only the peer had, and lost before the whole was answered, is not what the next flush confesses: nobody was told
 * that it is done. The whole begins again.
 *
 * Data stay in the one buffer. The packet header of a later piece lies over the end of the piece before it: those bytes are kept, and
 * put back. Not while a disk that was given up (hung-disk.ts) may still read them: then the data move to another buffer.
 */
import { type AppRequest, EIO, OP_READ, OP_WRITE } from './app-request.js';
import type { Core, FrontEnd } from './core.js';

/** A packet's header, p_data and the longest digest. */
const HEADER_BYTES = 256;

/** What takes the pieces: Intake. */
export interface PieceTaker {
  /** So many sectors may one request have now. */
  mostSectors(op: number): number;
  beginPiece(whole: InPieces, sector: number, endSector: number): void;
  /** The whole is over. */
  wholeOver(): void;
}

export class InPieces implements FrontEnd {
  readonly op: number;
  readonly sector: number;
  readonly endSector: number;
  readonly fua: boolean;
  readonly mayUnmap: boolean;
  readonly #core: Core;
  readonly #taker: PieceTaker;
  readonly #front: FrontEnd;
  readonly #tag: number;
  #bufferAt: number; // of a write it is this one's; -1: no data
  #next: number; // the sector behind the piece that is under way
  #lost = false; // a piece that was done may be gone with the peer
  #lent: boolean; // a disk that was given up may still read the buffer
  #over = false;
  readonly #covered = new Uint8Array(HEADER_BYTES);
  #coveredAt = 0;
  #coveredBytes = 0;

  /** `r`, begun or not, is to be done in pieces; it is not used any more behind this. */
  constructor(core: Core, taker: PieceTaker, r: AppRequest) {
    this.#core = core;
    this.#taker = taker;
    this.#front = r.front as FrontEnd;
    this.#tag = r.tag;
    this.op = r.op;
    this.sector = r.sector;
    this.endSector = r.endSector;
    this.fua = r.fua;
    this.mayUnmap = r.mayUnmap;
    this.#bufferAt = r.bufferAt;
    this.#lent = r.lent;
    this.#next = r.sector;
  }

  get bufferAt(): number {
    return this.#bufferAt;
  }

  /** The piece that is under way is the last one. */
  get endsHere(): boolean {
    return this.#next === this.endSector;
  }

  /** The first piece, or the next. */
  go(): void {
    const sector = this.#next;
    if (this.op === OP_WRITE && !this.#keepCovered(sector)) {
      this.#end(EIO);
      return;
    }
    const most = this.#taker.mostSectors(this.op);
    const border = (Math.floor(sector / most) + 1) * most;
    this.#next = this.endSector - sector > most ? border : this.endSector;
    this.#taker.beginPiece(this, sector, this.#next);
  }

  /** This piece is too long for the peer of now: from its beginning again. */
  backTo(r: AppRequest): void {
    this.pieceOver(r);
    this.#next = r.sector;
  }

  /** The header of this piece will lie over the end of the one before. */
  #keepCovered(sector: number): boolean {
    const before = (sector - this.sector) * 512;
    if (before > 0 && this.#lent && !this.#move()) return false;
    this.#coveredBytes = Math.min(before, HEADER_BYTES);
    this.#coveredAt = this.#bufferAt + before - this.#coveredBytes;
    const { pool } = this.#core.port;
    const end = this.#coveredAt + this.#coveredBytes;
    this.#covered.set(pool.subarray(this.#coveredAt, end));
    return true;
  }

  #move(): boolean {
    const { port } = this.#core;
    const to = port.alloc(port.capacity(this.#bufferAt), 'spare');
    if (to < 0) return false;
    port.pool.copyWithin(to, this.#bufferAt, this.#bufferAt + (this.endSector - this.sector) * 512);
    port.free(this.#bufferAt);
    this.#bufferAt = to;
    this.#lent = false;
    return true;
  }

  /** Nobody sends or writes this piece any more. */
  pieceOver(r: AppRequest): void {
    if (this.op !== OP_WRITE) return;
    const { pool } = this.#core.port;
    pool.set(this.#covered.subarray(0, this.#coveredBytes), this.#coveredAt);
    this.#coveredBytes = 0;
    if (r.lent) this.#lent = true;
  }

  /** One that was done may be gone with the peer. False: the whole is answered already. */
  pieceLost(): boolean {
    this.#lost = true;
    return !this.#over;
  }

  blockDone(_tag: number, error: number): void {
    if (error !== 0) {
      this.#end(error);
      return;
    }
    if (this.#lost && this.op !== OP_READ) this.#next = this.sector;
    else if (this.endsHere) {
      this.#end(0);
      return;
    }
    this.#lost = false;
    this.go();
  }

  bufferMoved(_tag: number, at: number): void {
    this.#bufferAt = at;
    this.#front.bufferMoved(this.#tag, at);
  }

  #end(error: number): void {
    this.#over = true;
    if (this.op === OP_WRITE) this.#core.port.free(this.#bufferAt);
    this.#core.answer(this.#front, this.#tag, error);
    this.#taker.wholeOver();
  }
}
