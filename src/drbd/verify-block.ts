/**
 * One block of an online verify on this node, between the packet that names it and the end of what follows:
 *
 *     VerifyT  'answer':  P_OV_REQUEST -> waits for earlier writes -> read -> P_OV_REPLY -> held until P_OV_RESULT
 *     VerifyS  'compare': P_OV_REPLY   -> waits for earlier writes -> read -> compared   -> P_OV_RESULT
 *
 * It has a place in the order of everything that touches its sectors (intervals.ts): what was asked before is read with it, and
 * what is asked later waits. So a write in flight is on both disks or on neither when the two are compared.
 */
import type { Interval } from './intervals.js';
import type { Link } from './link.js';

/** Small packets wait for the socket up to this many bytes: well below what an outbox holds. */
export const BACKLOG_BYTES = 320 << 10;

export interface VerifyBlockOwner {
  blockReady(block: VerifyBlock): void;
}

export class VerifyBlock implements Interval {
  readonly sector: number;
  readonly endSector: number;
  order = 0;
  active = false;
  entered = false;

  readonly #owner: VerifyBlockOwner;
  readonly kind: 'answer' | 'compare';
  readonly link: Link;
  readonly bytes: number;
  /** Of the verify that it belongs to; another one, or none, may run by the time it is read. */
  readonly run: number;
  at: number; // buffer; -1: none any more
  reading = false;
  diskSinceMs = 0; // seen at the disk (hung-disk.ts); 0: not yet
  sinceMs = 0; // answer: the reply was sent then

  constructor(
    owner: VerifyBlockOwner,
    kind: VerifyBlock['kind'],
    link: Link,
    sector: number,
    bytes: number,
    at: number,
    run: number,
  ) {
    this.#owner = owner;
    this.kind = kind;
    this.link = link;
    this.sector = sector;
    this.endSector = sector + bytes / 512;
    this.bytes = bytes;
    this.at = at;
    this.run = run;
  }

  started(): void {
    this.#owner.blockReady(this);
  }
}
