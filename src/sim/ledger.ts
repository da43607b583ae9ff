/**
 * What the users of the device were promised: for every sector the writes that were asked of it, in order, and which of
 * them were acknowledged and made durable. From that follows what a sector may hold.
 *
 *     a value x may be there unless a counted write d was begun after x had ended       (x is superseded by d)
 *
 * Which writes count: the acknowledged ones (reads, promotion); the durable ones (after a power cut of the only current copy);
 * those durable before the youngest write that is present (order between two flushes, for a copy that lags behind).
 *
 * A lineage is one history of the data. When two nodes write apart, their histories fork; after a resync the target's is
 * the source's. Every sector that is written carries the number of its write and its own, so that a torn, misplaced or
 * invented sector is recognised.
 */
import { assert } from '../base/assert.js';

export const SECTOR_BYTES = 512;
const NEVER = Number.POSITIVE_INFINITY;
const NONE = -1;

/** One request of a user. Times are positions in the order of everything that happened to the ledger. */
interface Op {
  lineage: number;
  readonly erases: boolean; // leaves zeroes
  readonly beganAt: number;
  endedAt: number; // NEVER while under way
  acked: boolean;
  durableAt: number; // when a flush proved it, NEVER
}

export type Judgement = 'legal' | 'stale' | 'foreign' | 'torn';
/** Which writes must not be missing. A number: those durable before that position. */
export type Counted = 'acknowledged' | 'durable' | number;

export class Lineage {
  readonly id: number;
  head: Int32Array; // per sector the newest entry, NONE
  readonly parent: Lineage | null;
  readonly forkedAt: number;
  /** From here on a flush of the parent's users says nothing of this copy. */
  readonly partedAt: number;
  /** Sectors from here on came with a larger device: nobody has promised what they hold until they are written (old meta-data, mostly). */
  readonly newFrom: number;
  /** How many writes were asked for in it, without those that failed. */
  writes = 0;

  constructor(
    id: number,
    head: Int32Array,
    parent: Lineage | null,
    forkedAt: number,
    partedAt: number,
    newFrom: number,
  ) {
    this.newFrom = newFrom;
    this.id = id;
    this.head = head;
    this.parent = parent;
    this.forkedAt = forkedAt;
    this.partedAt = partedAt;
  }

  /** The device may get so large. */
  extend(sectors: number): void {
    if (sectors <= this.head.length) return;
    const head = new Int32Array(sectors).fill(NONE);
    head.set(this.head);
    this.head = head;
  }

  /** The device ends at `sectors`: what is behind was the other copy's. */
  forget(sectors: number): void {
    this.head.fill(NONE, Math.min(sectors, this.head.length));
  }
}

/** A sector that is not what it may be. */
/** A part of the device; `endSector` is behind it. */
export interface Sectors {
  readonly sector: number;
  readonly endSector: number;
}

export interface BadSector {
  readonly sector: number;
  readonly content: number; // number of the write found there, 0 for zeroes, -1 for rubbish
  readonly judgement: Judgement;
}

export class Ledger {
  readonly #ops: Op[] = [{ ...ZERO }];
  // Entries of all sectors: lists that share their tails between lineages.
  readonly #content: number[] = [];
  readonly #op: number[] = [];
  readonly #before: number[] = [];
  #now = 1;
  readonly #lineages: Lineage[] = [];
  #undurable: number[] = []; // acknowledged and not yet durable
  writesAcked = 0;
  readsChecked = 0;
  readonly #base: number;

  /** Its writes are numbered from `base` on: nobody takes those of one device for another's. */
  constructor(base = 0) {
    this.#base = base;
  }

  /** `sectors` of the disk; from `newFrom` on its meta-data, until it grows. */
  lineage(sectors: number, newFrom = sectors): Lineage {
    return this.#lineage(new Int32Array(sectors).fill(NONE), null, 0, 0, newFrom);
  }

  /** From now on a history of its own. `underWay`: requests of the users who go along. `partedAt`: when the copies parted. */
  fork(from: Lineage, underWay: readonly number[], partedAt: number): Lineage {
    const now = this.#now++;
    const parted = Math.min(partedAt, now);
    const head = from.head.slice();
    const fork = this.#lineage(head, from, now, parted, from.newFrom);
    for (const id of underWay) this.#at(id).lineage = fork.id;
    fork.writes = underWay.length;
    return fork;
  }

  /** How many requests had an answer that says something of the data. */
  get answers(): number {
    return this.writesAcked + this.readsChecked;
  }

  /** When the write was asked for. */
  beganAt(id: number): number {
    return this.#at(id).beganAt;
  }

  get now(): number {
    return this.#now;
  }

  /** A write (or erase) is asked for; the result is its number, which its sectors carry. */
  begin(lineage: Lineage, sector: number, sectors: number, erases: boolean): number {
    const id = this.#add({ ...ZERO, lineage: lineage.id, erases, beganAt: this.#now++ });
    lineage.writes++;
    for (let s = sector; s < sector + sectors; s++) this.#enter(lineage, s, erases ? 0 : id, id);
    return id;
  }

  acknowledged(id: number, durable: boolean): void {
    const op = this.#at(id);
    op.endedAt = this.#now++;
    op.acked = true;
    this.writesAcked++;
    if (durable) op.durableAt = op.endedAt;
    else this.#undurable.push(id);
  }

  /** It failed, or nobody will ever know: it may have happened or not. */
  lost(id: number): void {
    const op = this.#at(id);
    if (op.endedAt === NEVER) op.endedAt = this.#now++;
  }

  /** It was answered with an error: it may have happened all the same. */
  failed(id: number): void {
    this.lost(id);
    const lineage = this.#lineages[this.#at(id).lineage];
    if (lineage) lineage.writes--;
  }

  /** A flush is asked for; give the result to `flushed` when it has succeeded. */
  flushBegin(): number {
    return this.#now++;
  }

  flushed(lineage: Lineage, begun: number): void {
    const at = this.#now++;
    this.#undurable = this.#undurable.filter((id) => {
      const op = this.#at(id);
      if (op.lineage !== lineage.id || op.endedAt > begun) return true;
      op.durableAt = at;
      return false;
    });
  }

  /** A flush failed, or a disk that a Primary depends on lost its power: what was not durable may be gone. */
  flushFailed(lineage: Lineage): void {
    const at = this.#now++;
    this.#undurable = this.#undurable.filter((id) => {
      const op = this.#at(id);
      if (op.lineage !== lineage.id) return true;
      op.acked = false;
      op.endedAt = at;
      return false;
    });
  }

  /** What was written to these sectors, and is not durable, was answered too early: it may be gone. */
  missed(lineage: Lineage, { sector, endSector }: Sectors): void {
    const at = this.#now++;
    const there = new Set<number>();
    for (let s = sector; s < endSector; s++) {
      for (let e = lineage.head[s] ?? NONE; e >= 0; e = this.#before[e] as number) {
        there.add(this.#op[e] as number);
      }
    }
    this.#undurable = this.#undurable.filter((id) => {
      if (!there.has(id)) return true;
      const op = this.#at(id);
      op.acked = false;
      op.endedAt = at;
      return false;
    });
  }

  /** A position for `read`. */
  readBegin(): number {
    return this.#now++;
  }

  /** A read came back: is it right? What it saw stays. */
  read(lineage: Lineage, begun: number, sector: number, bytes: Uint8Array): BadSector | null {
    const id = this.#add({ ...ZERO, lineage: lineage.id, beganAt: begun });
    const op = this.#at(id);
    op.endedAt = this.#now++;
    op.acked = true;
    this.readsChecked++;
    let confirmed = false;
    for (let i = 0; i < bytes.length / SECTOR_BYTES; i++) {
      const content = foundIn(lineage, bytes, i * SECTOR_BYTES, sector + i);
      const judgement =
        content < 0 ? 'torn' : this.#judge(lineage, sector + i, content, 'acknowledged', begun);
      if (judgement !== 'legal') return { sector: sector + i, content, judgement };
      if (this.#confirm(lineage, sector + i, content, id, op.endedAt)) confirmed = true;
    }
    if (confirmed) this.#undurable.push(id);
    return null;
  }

  /** The first sector of `bytes` (from sector 0) that is not what it may be. */
  firstBad(lineage: Lineage, bytes: Uint8Array, counted: Counted): BadSector | null {
    for (let s = 0; s < bytes.length / SECTOR_BYTES; s++) {
      const content = foundIn(lineage, bytes, s * SECTOR_BYTES, s);
      const judgement = content < 0 ? 'torn' : this.#judge(lineage, s, content, counted, NEVER);
      if (judgement !== 'legal') return { sector: s, content, judgement };
    }
    return null;
  }

  /** The first sector behind the device's end, at `sectors`, that somebody has data in. */
  firstBeyond(lineage: Lineage, sectors: number, counted: Counted): BadSector | null {
    for (let s = sectors; s < lineage.head.length; s++) {
      const judgement = this.#judge(lineage, s, 0, counted, NEVER);
      if (judgement !== 'legal') return { sector: s, content: 0, judgement };
    }
    return null;
  }

  /** The same for a part, beginning at `sector`. */
  firstBadAt(
    lineage: Lineage,
    sector: number,
    bytes: Uint8Array,
    counted: Counted = 'acknowledged',
  ): BadSector | null {
    for (let i = 0; i < bytes.length / SECTOR_BYTES; i++) {
      const s = sector + i;
      const content = foundIn(lineage, bytes, i * SECTOR_BYTES, s);
      const judgement = content < 0 ? 'torn' : this.#judge(lineage, s, content, counted, NEVER);
      if (judgement !== 'legal') return { sector: s, content, judgement };
    }
    return null;
  }

  /** When the youngest write that is present was begun: for `firstBad` of a copy that lags behind. */
  youngest(bytes: Uint8Array, fromSector = 0): number {
    let youngest = 0;
    for (let i = 0; i < bytes.length / SECTOR_BYTES; i++) {
      const content = contentOf(bytes, i * SECTOR_BYTES, fromSector + i);
      if (content > this.#base && content < this.#base + this.#ops.length) {
        youngest = Math.max(youngest, this.#at(content).beganAt);
      }
    }
    return youngest;
  }

  /** Whatever is there now is the data: a decision was made for this copy. `except`: what the disk is about to get, and counts. */
  rebase(lineage: Lineage, bytes: Uint8Array, except: readonly Sectors[] = []): void {
    const id = this.#add({ ...ZERO, lineage: lineage.id, beganAt: this.#now++ });
    const op = this.#at(id);
    op.endedAt = this.#now++;
    op.acked = true;
    for (let s = 0; s < bytes.length / SECTOR_BYTES; s++) {
      if (except.some((e) => s >= e.sector && s < e.endSector)) continue;
      const content = Math.max(0, contentOf(bytes, s * SECTOR_BYTES, s));
      this.#confirm(lineage, s, content, id, op.endedAt);
    }
    this.#undurable.push(id);
  }

  /** What is known of a sector, newest first: for a report. */
  history(lineage: Lineage, sector: number, most: number): string[] {
    const lines: string[] = [];
    for (let e = lineage.head[sector] ?? NONE; e >= 0 && lines.length < most; ) {
      const id = this.#op[e] as number;
      const op = this.#at(id);
      const content = this.#content[e] as number;
      const what = content === id ? 'write' : op.erases ? 'erase' : `seen to hold ${content} by`;
      const end = op.endedAt === NEVER ? 'under way' : op.acked ? 'acknowledged' : 'unanswered';
      const durable = op.durableAt === NEVER ? '' : ', durable';
      lines.push(`${what} ${id}: [${op.beganAt}, ${op.endedAt}] ${end}${durable}`);
      e = this.#before[e] as number;
    }
    return lines;
  }

  // ---- inside

  #lineage(
    head: Int32Array,
    parent: Lineage | null,
    forkedAt: number,
    partedAt: number,
    newFrom: number,
  ): Lineage {
    const lineage = new Lineage(this.#lineages.length, head, parent, forkedAt, partedAt, newFrom);
    this.#lineages.push(lineage);
    return lineage;
  }

  #add(op: Op): number {
    this.#ops.push(op);
    return this.#base + this.#ops.length - 1;
  }

  #at(id: number): Op {
    const op = this.#ops[id - this.#base];
    assert(op, 'a request of the ledger');
    return op;
  }

  #enter(lineage: Lineage, sector: number, content: number, id: number): void {
    this.#content.push(content);
    this.#op.push(id);
    this.#before.push(lineage.head[sector] as number);
    lineage.head[sector] = this.#op.length - 1;
  }

  /** Remembers what was seen, where anything else was possible. True when it was needed. */
  #confirm(
    lineage: Lineage,
    sector: number,
    content: number,
    id: number,
    endedAt: number,
  ): boolean {
    const e = lineage.head[sector] as number;
    if (e < 0) {
      if (content === 0) return false;
    } else {
      const newest = this.#at(this.#op[e] as number);
      if (this.#content[e] === content && this.#endOf(lineage, newest) < NEVER) {
        if (this.#ackedIn(lineage, newest)) return false;
      }
      // A write under way may be seen and still be undone by a crash: nothing is certain yet.
      for (let i = e; i >= 0; i = this.#before[i] as number) {
        const op = this.#at(this.#op[i] as number);
        if (this.#content[i] === content) {
          if (this.#endOf(lineage, op) >= endedAt) return false;
          break;
        }
      }
    }
    this.#enter(lineage, sector, content, id);
    return true;
  }

  /** Until when a lineage shares what happened to a request of another one; NONE: it went along with a fork. */
  #forkOf(lineage: Lineage, op: Op, of: 'forkedAt' | 'partedAt' = 'forkedAt'): number {
    let at = NEVER;
    for (let l: Lineage | null = lineage; l; l = l.parent) {
      if (l.id === op.lineage) return at;
      at = Math.min(at, l[of]);
    }
    return NONE;
  }

  #endOf(lineage: Lineage, op: Op): number {
    if (op.lineage === lineage.id) return op.endedAt;
    const fork = this.#forkOf(lineage, op);
    return fork === NONE ? NEVER : Math.min(op.endedAt, fork); // gone along: here it may be, or not
  }

  #ackedIn(lineage: Lineage, op: Op): boolean {
    return op.acked && (op.lineage === lineage.id || op.endedAt <= this.#forkOf(lineage, op));
  }

  #counts(lineage: Lineage, op: Op, counted: Counted): boolean {
    if (!this.#ackedIn(lineage, op)) return false;
    if (counted === 'acknowledged') return true;
    const durableAt = op.lineage === lineage.id ? op.durableAt : this.#durableIn(lineage, op);
    return counted === 'durable' ? durableAt < NEVER : durableAt < counted;
  }

  #durableIn(lineage: Lineage, op: Op): number {
    return op.durableAt <= this.#forkOf(lineage, op, 'partedAt') ? op.durableAt : NEVER;
  }

  /** `before`: writes acknowledged after this position do not count: the read may have been earlier. */
  #judge(
    lineage: Lineage,
    sector: number,
    content: number,
    counted: Counted,
    before: number,
  ): Judgement {
    let superseded = -1; // when the youngest counted write was begun
    let seen = false;
    for (let e = lineage.head[sector] ?? NONE; e >= 0; e = this.#before[e] as number) {
      const op = this.#at(this.#op[e] as number);
      if (this.#content[e] === content) {
        seen = true;
        if (this.#endOf(lineage, op) >= superseded) return 'legal';
      }
      if (op.endedAt < before && this.#counts(lineage, op, counted)) {
        superseded = Math.max(superseded, op.beganAt);
      }
    }
    if (content === 0 && superseded <= 0) return 'legal';
    return seen || content === 0 ? 'stale' : 'foreign';
  }
}

const ZERO: Op = {
  lineage: NONE,
  erases: false,
  beganAt: 0,
  endedAt: NEVER,
  acked: false,
  durableAt: NEVER,
};

/** The data of write `id`: each sector begins with the number of the write and its own, and ends with the first again. */
export function stamp(id: number, sector: number, sectors: number): Uint8Array {
  const bytes = new Uint8Array(sectors * SECTOR_BYTES);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < sectors; i++) {
    const at = i * SECTOR_BYTES;
    view.setUint32(at, id);
    view.setUint32(at + 4, sector + i);
    view.setUint32(at + 256, id ^ 0x5a5a5a5a);
    view.setUint32(at + SECTOR_BYTES - 4, id);
  }
  return bytes;
}

/** As `contentOf`; what a new part of the device held before counts as its zeroes. */
function foundIn(lineage: Lineage, bytes: Uint8Array, at: number, sector: number): number {
  const content = contentOf(bytes, at, sector);
  return content < 0 && sector >= lineage.newFrom ? 0 : content;
}

/** The number of the write that a sector holds, 0 for zeroes, -1 for anything that nobody wrote. */
export function contentOf(bytes: Uint8Array, at: number, sector: number): number {
  const head = u32(bytes, at);
  if (head === 0) {
    const rest = u32(bytes, at + 4) | u32(bytes, at + 256) | u32(bytes, at + SECTOR_BYTES - 4);
    return rest === 0 ? 0 : -1;
  }
  const whole =
    u32(bytes, at + 4) === sector &&
    u32(bytes, at + 256) === (head ^ 0x5a5a5a5a) >>> 0 &&
    u32(bytes, at + SECTOR_BYTES - 4) === head;
  return whole ? head : -1;
}

function u32(b: Uint8Array, i: number): number {
  return (
    (((b[i] as number) << 24) |
      ((b[i + 1] as number) << 16) |
      ((b[i + 2] as number) << 8) |
      (b[i + 3] as number)) >>>
    0
  );
}
