/**
 * What front ends ask of a volume is taken in: a record for each request, which goes on in admission.ts. What is longer than one
 * packet to the peer of now may be, or an erase of more extents than the activity log should hold, is done in pieces (in-pieces.ts).
 */
import { assert } from '../base/assert.js';
import {
  type AppRequest,
  OP_DISCARD,
  OP_FLUSH,
  OP_READ,
  OP_WRITE,
  OP_ZEROES,
} from './app-request.js';
import type { Core, FrontEnd } from './core.js';
import { InPieces, type PieceTaker } from './in-pieces.js';
import type { Volume } from './volume.js';

/** A discard is done in pieces, so that it never needs more activity-log extents than there are. */
const DISCARD_PIECE_SECTORS = 65536; // 32 MiB, 8 extents
const DISCARD_PIECE_OLD_SECTORS = 8192; // 4 MiB: peers without large discards

export class Intake implements PieceTaker {
  readonly #core: Core;
  readonly #volume: Volume;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  // ---- asked by a front end

  /** Into the buffer at `at`, which stays the front end's. */
  read(front: FrontEnd, tag: number, sector: number, at: number, lengthBytes: number): void {
    const r = this.#take(front, tag, OP_READ, sector, lengthBytes);
    r.at = at;
    r.bufferAt = at;
    this.#volume.app.admission.admit(r);
  }

  /** What is in the buffer at `at`, which is given away. `fua`: durable when it is answered. */
  write(
    front: FrontEnd,
    tag: number,
    sector: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
  ): void {
    const r = this.#take(front, tag, OP_WRITE, sector, lengthBytes);
    r.at = at;
    r.bufferAt = at;
    r.ownsBuffer = true;
    r.fua = fua;
    this.#begin(r);
  }

  /** What was answered before is durable when this is. */
  flush(front: FrontEnd, tag: number): void {
    this.#volume.app.admission.admit(this.#take(front, tag, OP_FLUSH, 0, 0));
  }

  /** The blocks are not needed any more. */
  discard(front: FrontEnd, tag: number, sector: number, lengthSectors: number): void {
    this.#erase(front, tag, OP_DISCARD, sector, lengthSectors, true);
  }

  /** Zeroes are read there afterwards. `mayUnmap`: as a discard, where that reads as zeroes. */
  writeZeroes(
    front: FrontEnd,
    tag: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    this.#erase(front, tag, OP_ZEROES, sector, lengthSectors, mayUnmap);
  }

  #erase(
    front: FrontEnd,
    tag: number,
    op: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    const r = this.#take(front, tag, op, sector, lengthSectors * 512);
    r.mayUnmap = mayUnmap;
    this.#begin(r);
  }

  #begin(r: AppRequest): void {
    if (r.endSector - r.sector > this.mostSectors(r.op)) this.doInPieces(r);
    else this.#volume.app.admission.admit(r);
  }

  #take(front: FrontEnd, tag: number, op: number, sector: number, lengthBytes: number): AppRequest {
    const r = this.#core.app.take();
    assert(r !== null, 'front ends and max-epoch-size bound the requests');
    r.begin(this.#volume.app, front, tag, op);
    r.sector = sector;
    r.endSector = sector + lengthBytes / 512;
    r.lengthBytes = lengthBytes;
    this.#volume.app.pending++;
    return r;
  }

  // ---- in pieces

  /** Sectors that one request may have now: a packet's, or of an erase the activity log's. */
  mostSectors(op: number): number {
    const v = this.#volume;
    const { link } = v;
    const packet = link !== null && v.replicates() ? link.mostSectors(v, op) : 0;
    if (op === OP_WRITE || op === OP_READ) return packet || Number.POSITIVE_INFINITY;
    const most = link && !link.largeDiscards ? DISCARD_PIECE_OLD_SECTORS : DISCARD_PIECE_SECTORS;
    return packet > 0 ? Math.min(packet, most) : most;
  }

  /** The next piece of what is too long. */
  beginPiece(whole: InPieces, sector: number, endSector: number): void {
    const r = this.#take(whole, 0, whole.op, sector, (endSector - sector) * 512);
    r.whole = whole;
    r.fua = whole.fua;
    r.mayUnmap = whole.mayUnmap;
    if (whole.bufferAt >= 0) {
      r.bufferAt = whole.bufferAt;
      r.at = whole.bufferAt + (sector - whole.sector) * 512;
    }
    this.#volume.app.admission.admit(r);
  }

  /** All of its pieces are over, and it is answered. */
  wholeOver(): void {
    this.#volume.app.pending--;
  }

  /** It is too long as it is, begun or not. */
  doInPieces(r: AppRequest): void {
    const v = this.#volume;
    if (r.entered) {
      v.log.leave(r);
      v.intervals.leave(r);
      v.app.writesActive--;
    }
    const whole = r.whole ?? new InPieces(this.#core, this, r);
    if (r.whole) {
      whole.backTo(r);
      this.#volume.app.pending--;
    }
    v.app.promises.end(r);
    r.front = null;
    this.#core.app.release(r.index);
    whole.go();
  }
}
