/**
 * Thin resync: blocks that read as zeroes at the source are not sent, and not written where the target's disk can give them back.
 *
 *     SyncTarget, rs-discard-granularity set          SyncSource
 *     P_RS_THIN_REQ, of that size and aligned  ->     reads the block
 *     discarded or zeroed, bits cleared,       <-       all zeroes: P_RS_DEALLOCATED
 *     P_RS_WRITE_ACK                           <-       else P_RS_DATA_REPLY
 *
 * Only on a connection that has agreed on THIN_RESYNC, and not with checksums (csums-alg). To both nodes it is a block of the resync like
 * any other: its place in the order of writes, its answer and its bits are the same. What is discarded must read as zeroes afterwards, or
 * the copies differ in silence. So a disk that does not promise that is not discarded at all: what reads as zeroes there is left as
 * it is (unallocated, on a thin volume), the rest is written. The original trusts such a disk, by `discard-zeroes-if-aligned`.
 *
 * Source: docs/PROTOCOL.md, thin resync; drbd.conf(5), rs-discard-granularity.
 */
import type { DiskOptions } from '../config/drbd-options.js';
import { COMMANDS, FF } from '../wire/constants.js';
import { BLOCK_DESC_BYTES, putBlockDesc } from '../wire/hot.js';
import { type Core, KIND_PEER_DISK } from './core.js';
import type { Link } from './link.js';
import type { PeerRequest } from './peer-request.js';
import type { DataPort, DiskInfo } from './ports.js';
import type { Volume } from './volume.js';

const EIO = 5;

/** The size of thin requests on this connection; 0: there are none. */
export function thinRequestBytes(v: Volume, link: Link): number {
  return agreedOn(link) ? v.diskOptions.rsDiscardGranularityBytes : 0;
}

export function agreedOn(link: Link): boolean {
  return (link.features & FF.THIN_RESYNC) !== 0;
}

/**
 * What rs-discard-granularity comes to on this disk, as the original decides it: off where nothing is gained (or, by
 * `discard-zeroes-if-aligned no`, nothing is promised), else in whole units of what the disk discards.
 */
export function fittingOptions(core: Core, v: Volume, wanted: DiskOptions): DiskOptions {
  const asked = wanted.rsDiscardGranularityBytes;
  const bytes = fittingGranularity(asked, wanted.discardZeroesIfAligned, v.diskInfo);
  if (bytes === asked) return wanted;
  const text =
    bytes === 0
      ? 'rs_discard_granularity feature disabled'
      : `rs_discard_granularity changed to ${bytes}`;
  core.host.log('info', v.name, text);
  return { ...wanted, rsDiscardGranularityBytes: bytes };
}

export function fittingGranularity(
  asked: number,
  zeroesIfAligned: boolean,
  info: DiskInfo | null,
): number {
  if (asked === 0 || !info?.canDiscard) return 0;
  if (!info.discardZeroes && !zeroesIfAligned) return 0;
  const unit = info.discardGranularityBytes || 1;
  const whole = Math.ceil(asked / unit) * unit;
  const most = info.maxDiscardBytes || Number.POSITIVE_INFINITY;
  return Math.min(whole, most);
}

/** The disk has to be looked at before it is written: then the request needs a buffer for that. */
export function looksFirst(v: Volume): boolean {
  const info = v.diskInfo;
  return !(info?.canDiscard && info.discardZeroes);
}

// ---- source

/** P_RS_THIN_REQ, and the block is read: can it be answered without its data? */
export function isDeallocated(core: Core, link: Link, p: PeerRequest): boolean {
  return p.thin && link.alive && agreedOn(link) && readsAsZeroes(core, p);
}

function readsAsZeroes(core: Core, p: PeerRequest): boolean {
  return core.host.digests.isZero(core.port.pool, p.at, p.at + p.lengthBytes);
}

/** On the data socket, as any answer: no later write overtakes it. */
export function sendDeallocated(port: DataPort, link: Link, v: Volume, p: PeerRequest): void {
  const at = link.out.packetAt('data', COMMANDS.P_RS_DEALLOCATED, v, BLOCK_DESC_BYTES);
  if (at >= 0) putBlockDesc(port.poolView, at, p.sector, p.lengthBytes);
}

// ---- target

/**
 * Zeroes in place of the block, however this disk gets there; the request's own tag tells the end. `durable`: when that says so, no
 * power cut brings the old block back.
 */
export function storeZeroes(core: Core, v: Volume, p: PeerRequest, durable: boolean): void {
  const { port } = core;
  const done = core.tag(KIND_PEER_DISK, p.index);
  const flush = (): void => port.flushDisk(v.dataDisk, done);
  const erase = (): void => {
    let tag = done;
    if (durable) {
      tag = core.cold((result) => {
        if (result < 0) p.owner.diskDone(p, result);
        else flush();
      });
    }
    v.eraseDisk(p.sector * 512, p.lengthBytes, true, tag);
  };
  if (p.at < 0) {
    erase();
    return;
  }
  const tag = core.cold((result) => {
    // A sector that can not be read is written, as any block of a resync would be without a look at what was there.
    if (!v.diskUsable()) p.owner.diskDone(p, -EIO);
    else if (result < 0 || !readsAsZeroes(core, p)) erase();
    else if (durable) flush();
    else p.owner.diskDone(p, p.lengthBytes);
  });
  port.readDisk(v.dataDisk, p.sector * 512, p.at, p.lengthBytes, tag);
}
