/**
 * One request of the peer: a write to apply, a resync block to store, or a read to answer. A reusable record of
 * numbers; what happens to it is decided in peer-io.ts.
 */
import type { ActivityLog } from './activity-log.js';
import type { Interval } from './intervals.js';
import type { Integrity, Link } from './link.js';
import type { PeerEpoch } from './peer-epochs.js';
import type { PeerIo } from './peer-io.js';

export const PEER_WRITE = 0; // P_DATA
export const PEER_DISCARD = 1; // P_TRIM
export const PEER_ZEROES = 2; // P_ZEROES
export const PEER_RESYNC_WRITE = 3; // P_RS_DATA_REPLY, P_RS_DEALLOCATED
export const PEER_READ = 4; // P_DATA_REQUEST
export const PEER_RESYNC_READ = 5; // P_RS_DATA_REQUEST, P_RS_THIN_REQ, P_CSUM_RS_REQUEST

export class PeerRequest implements Interval {
  readonly index: number;
  sector = 0;
  endSector = 0;
  order = 0;
  active = false;
  entered = false;

  #owner: PeerIo | null = null;
  kind = PEER_WRITE;
  at = -1; // buffer of the payload; -1: none
  lengthBytes = 0;
  idHi = 0; // the peer's own block id, echoed
  idLo = 0;
  flags = 0; // DP_*
  epoch: PeerEpoch | null = null; // of writes
  epochOpen = false; // all earlier epochs are on disk
  receiving = false; // the payload is still arriving
  onDisk = false; // handed to the disk
  diskSinceMs = -1; // seen at the disk (hung-disk.ts); 0: not yet, -1: the disk has nothing of it
  run = 0; // of the resync that it came in; 0: none
  digestBytes = 0; // of the target's block (P_CSUM_RS_REQUEST), kept in the head of the buffer; 0: none
  thin = false; // P_RS_THIN_REQ; P_RS_DEALLOCATED: zeroes, and none of them came
  integrity: Integrity | null = null; // what its payload is checked with; null: it brings none
  overtaken = false; // a write, and the peer has said since that its block is out of sync
  alone = false; // a write, and the peer had no disk for it when it sent it
  attaches = 0; // of the volume, when it came
  logFirst = 0; // activity-log extents held (only while the peer has no disk)
  logNext = 0;
  logOf: ActivityLog | null = null;
  link: Link | null = null; // where it came from, and where the answer goes while that is up

  constructor(index: number) {
    this.index = index;
  }

  get owner(): PeerIo {
    return this.#owner as PeerIo;
  }

  begin(owner: PeerIo, kind: number, sector: number, lengthBytes: number): void {
    this.#owner = owner;
    this.kind = kind;
    this.sector = sector;
    this.endSector = sector + Math.ceil(lengthBytes / 512);
    this.lengthBytes = lengthBytes;
    this.at = -1;
    this.idHi = 0;
    this.idLo = 0;
    this.flags = 0;
    this.epoch = null;
    this.epochOpen = true;
    this.receiving = false;
    this.onDisk = false;
    this.diskSinceMs = -1;
    this.run = 0;
    this.digestBytes = 0;
    this.thin = false;
    this.integrity = null;
    this.overtaken = false;
    this.alone = false;
    this.attaches = 0;
    this.logFirst = 0;
    this.logNext = 0;
    this.logOf = null;
    this.link = null;
  }

  started(): void {
    this.owner.intervalReady(this);
  }

  logReady(): void {
    this.owner.logReady(this);
  }
}
