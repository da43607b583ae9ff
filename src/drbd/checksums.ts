/**
 * Checksum-based resync (csums-alg) of one volume: blocks of the bitmap that are the same on both disks are not sent.
 *
 *     SyncTarget                                      SyncSource
 *     asked for -> waits for earlier writes -> read
 *     P_CSUM_RS_REQUEST with the digest      ->       waits for earlier writes, reads, compares, before any later write:
 *     bits cleared                           <-         equal: bits cleared, P_RS_IS_IN_SYNC
 *     written, bits cleared, P_RS_WRITE_ACK  <-         else P_RS_DATA_REPLY
 *
 * An equal block is equal, whatever is written between the two reads: writes of the target's users are held from before its read until
 * the answer (Resync.fetching); each write of the source's users is sent, and comes behind the content that was compared. But for
 * a write that one of the disks does not take: its bit must stay, and the digest is from before it. So
 *
 * - the target does not believe an answer where a bit was set since it has read the block, and asks again;
 * - the source compares nothing any more in a run in which it has set a bit: it sends the data.
 *
 * A digest says what the disk holds, and its cache may lose that with the power. The bit on disk then brings the block back into
 * the next resync: it is cleared there behind a flush only (meta-store.ts). Where it may not be set there as yet, plain data are
 * asked for (Resync). Source: docs/PROTOCOL.md, checksums.
 */
import { COMMANDS, ID_SYNCER_HI, ID_SYNCER_LO } from '../wire/constants.js';
import { BLOCK_REQ_BYTES, putBlockReq } from '../wire/hot.js';
import { hasExpected } from './block-digest.js';
import type { Core } from './core.js';
import type { Interval } from './intervals.js';
import type { Link } from './link.js';
import type { PeerRequest } from './peer-request.js';
import type { Volume } from './volume.js';

/** Before this version nobody has it. */
const SINCE_VERSION = 89;
/** Under way at the disk of the target: the application needs buffers, too. The rest is asked for in the next turn. */
const MOST_READS = 64;
const MOST_READING_BYTES = 4 << 20;
const BLOCK_BYTES = 4096;

/** A request of the target, from before its block is read until it is answered. */
class ChecksumRequest implements Interval {
  readonly sector: number;
  readonly endSector: number;
  order = 0;
  active = false;
  entered = false;

  readonly #owner: Checksums;
  readonly link: Link;
  readonly bytes: number;
  at: number; // buffer, until it is read
  onDisk = false;
  diskSinceMs = 0; // seen at the disk (hung-disk.ts); 0: not yet
  doubtful = false; // a bit of it was set since

  constructor(owner: Checksums, link: Link, sector: number, bytes: number, at: number) {
    this.#owner = owner;
    this.link = link;
    this.sector = sector;
    this.endSector = sector + bytes / 512;
    this.bytes = bytes;
    this.at = at;
  }

  started(): void {
    this.#owner.requestReady(this);
  }
}

export class Checksums {
  readonly #core: Core;
  readonly #volume: Volume;
  #algorithm = ''; // of the run under way; '': none, or not the target
  #used = false;
  #equalBlocks = 0;
  #marked = false;
  readonly #requests = new Map<number, ChecksumRequest>(); // by sector, of the run under way
  readonly #reading = new Set<ChecksumRequest>(); // with a buffer; of a run that is over, too
  #readingBytes = 0;

  constructor(core: Core, volume: Volume) {
    this.#core = core;
    this.#volume = volume;
  }

  // ---- the run

  start(asTarget: boolean): void {
    const v = this.#volume;
    const net = v.resource.netOptions;
    const wanted =
      asTarget &&
      (v.link?.apv ?? 0) >= SINCE_VERSION &&
      (!net.csumsAfterCrashOnly || v.crashedPrimary) &&
      this.#core.host.digests.digestBytes(net.csumsAlg) > 0;
    this.#algorithm = wanted ? net.csumsAlg : '';
    this.#used = wanted;
    this.#equalBlocks = 0;
    this.#marked = false;
    this.#requests.clear();
  }

  stop(): void {
    this.#requests.clear();
    for (const r of this.#reading) if (!r.onDisk) this.#over(r); // else its buffer is the disk's as yet
  }

  /** For the closing line, as the original says it; null: they were not used. */
  summary(totalBits: number): string | null {
    if (!this.#used || totalBits === 0) return null;
    const equal = this.#equalBlocks;
    const percent =
      totalBits < 100_000 ? (equal * 100) / totalBits : equal / Math.floor(totalBits / 100);
    const kib = (bits: number): string => `${bits * 4}K`;
    return (
      `${Math.floor(percent)} % had equal checksums, eliminated: ${kib(equal)}; ` +
      `transferred ${kib(totalBits - equal)} total ${kib(totalBits)}`
    );
  }

  /** The original counts whole blocks. */
  #count(bytes: number): void {
    this.#equalBlocks += Math.floor(bytes / BLOCK_BYTES);
  }

  /** Bits are set: what was read before, here or at the target, may not be what is there now. */
  marked(sector: number, endSector: number): void {
    this.#marked = true;
    for (const r of this.#requests.values()) {
      if (sector < r.endSector && r.sector < endSector) r.doubtful = true;
    }
  }

  // ---- target

  /** This run asks with checksums. */
  get inUse(): boolean {
    return this.#algorithm !== '';
  }

  /**
   * Reads the block, then asks. 'not-now': too much is being read. 'no-buffer': writes have all of them, and may have them for ever
   * (protocol A, and this disk is the slower one): the data are asked for, for which the connection waits.
   */
  ask(link: Link, sector: number, bytes: number): 'asked' | 'not-now' | 'no-buffer' {
    const { size } = this.#reading;
    if (size >= MOST_READS) return 'not-now';
    if (size > 0 && this.#readingBytes + bytes > MOST_READING_BYTES) return 'not-now';
    const at = this.#core.port.alloc(bytes);
    if (at < 0) return size > 0 ? 'not-now' : 'no-buffer';
    const r = new ChecksumRequest(this, link, sector, bytes, at);
    this.#requests.set(sector, r);
    this.#reading.add(r);
    this.#readingBytes += bytes;
    if (this.#volume.intervals.enter(r)) this.requestReady(r);
    return 'asked';
  }

  /** It was not sent as yet: nobody will answer. */
  isReading(sector: number): boolean {
    const r = this.#requests.get(sector);
    return r !== undefined && this.#reading.has(r);
  }

  /** What the local disk has of it. */
  eachReading(look: (request: { diskSinceMs: number }) => void): void {
    for (const r of this.#reading) if (r.onDisk) look(r);
  }

  /** Nothing earlier touches its sectors any more. */
  requestReady(r: ChecksumRequest): void {
    const v = this.#volume;
    if (!v.diskUsable()) {
      this.#requests.delete(r.sector); // the run is over, too, in a moment
      this.#over(r);
      return;
    }
    r.onDisk = true;
    v.peerIo.local++;
    v.readSectors += r.endSector - r.sector;
    v.resyncSectors += r.endSector - r.sector;
    const tag = this.#core.cold((result) => this.#read(r, result));
    this.#core.port.readDisk(v.dataDisk, r.sector * 512, r.at, r.bytes, tag);
  }

  #read(r: ChecksumRequest, result: number): void {
    const v = this.#volume;
    v.peerIo.local--;
    if (result < 0) v.diskFailed('read', -result, r.sector);
    if (this.#requests.get(r.sector) === r) {
      if (result >= 0) this.#send(r);
      else {
        // The run goes on (pass_on): it is written without having been read.
        this.#requests.delete(r.sector);
        r.link.out.resyncRequest(v, r.sector, r.bytes);
      }
    }
    this.#over(r);
  }

  #send(r: ChecksumRequest): void {
    const { digests } = this.#core.host;
    const { pool, poolView } = this.#core.port;
    const size = BLOCK_REQ_BYTES + digests.digestBytes(this.#algorithm);
    const to = r.link.out.packetAt('data', COMMANDS.P_CSUM_RS_REQUEST, this.#volume, size);
    if (to < 0) return;
    putBlockReq(poolView, to, r.sector, ID_SYNCER_HI, ID_SYNCER_LO, r.bytes);
    digests.digest(this.#algorithm, pool, r.at, r.at + r.bytes, pool, to + BLOCK_REQ_BYTES);
  }

  /** It is read, or will not be. */
  #over(r: ChecksumRequest): void {
    this.#reading.delete(r);
    this.#readingBytes -= r.bytes;
    this.#core.port.free(r.at);
    r.at = -1;
    if (r.entered) this.#volume.intervals.leave(r);
  }

  /** The request for this block is answered. True: by equality, if the answer says so, the bits are proved to be wrong. */
  answered(sector: number): boolean {
    const r = this.#requests.get(sector);
    this.#requests.delete(sector);
    return r !== undefined && !r.doubtful && !this.#reading.has(r);
  }

  /** P_RS_IS_IN_SYNC, and it is believed. */
  equalAtSource(sector: number, bytes: number): void {
    this.#volume.setInSync(sector, sector + bytes / 512);
    this.#count(bytes);
  }

  // ---- source

  /** P_CSUM_RS_REQUEST has come. */
  arrived(): void {
    this.#used = true;
  }

  /** Its block is read, and nothing later has been written: is it equal, and the target told so? False: it gets the data. */
  tellsEqual(p: PeerRequest): boolean {
    const v = this.#volume;
    const link = p.link as Link;
    if (!link.alive || p.run === 0 || p.run !== v.resync.run || this.#marked) return false;
    const { csumsAlg } = v.resource.netOptions;
    if (this.#core.host.digests.digestBytes(csumsAlg) !== p.digestBytes) return false;
    if (!hasExpected(this.#core, csumsAlg, p.at, p.lengthBytes)) return false;
    v.setInSync(p.sector, p.endSector);
    this.#count(p.lengthBytes);
    link.out.ack(COMMANDS.P_RS_IS_IN_SYNC, v, p.sector, p.idHi, p.idLo, p.lengthBytes);
    v.resync.source.peerStored();
    return true;
  }
}
