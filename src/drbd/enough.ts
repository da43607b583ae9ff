/**
 * What the state of a volume says of an answer to the application: whether what this disk has done is enough for it, or what the peer
 * has done, and what has to be heard from the peer before. The originals ask less (docs/STATES.md); answer.ts and app-io.ts act on it.
 */
import { type AppRequest, LEG_DONE, LEG_OK, OP_READ } from './app-request.js';
import { isTarget, usesPeers } from './changes.js';
import { Conns, Disks } from './state.js';
import type { Volume } from './volume.js';

/** The disk here is the one that its users see. */
export function holdsData(v: Volume): boolean {
  return v.diskUsable() && v.state.disk === Disks.UpToDate;
}

/**
 * The local copy alone is enough for an answer. That of a resync target is not: when the source is lost before it has
 * the write, the next resync overwrites it. Nor is that of a disk that was let go since: the data in use are the peer's, or
 * nobody's. (The originals answer all the same.)
 */
export function countsHere(v: Volume, r: AppRequest): boolean {
  const { disk } = v.state;
  if (r.op === OP_READ || disk === Disks.UpToDate) return true;
  // Bad since then, the newest all the same (pass_on), until the peer's data are to be copied over it; not Outdated: the peer is Primary.
  const isNewest = disk === Disks.Inconsistent && !isTarget(v.state);
  return r.goodDisk !== null && r.goodDisk === v.store && isNewest;
}

/**
 * And the peer's: not that of a resync's target, which is overwritten when the source gets its disk back. Nor one that the
 * copies have parted from since: it is the older one now. Nor of a peer that is gone: it can not be told that it is the only one, and the
 * disk here, back without the write after a crash, would be copied over it. (The originals answer all the same.)
 */
export function countsThere(v: Volume, r: AppRequest): boolean {
  if (r.net !== LEG_OK && r.net !== LEG_DONE) return false;
  if (r.op === OP_READ) return true;
  if (v.state.conn < Conns.Connected) return false;
  return !v.partsUnheard && (r.goodPeer === v.partings || v.state.pdsk === Disks.UpToDate);
}

/** What only the peer has is answered when its new generation is on its disk. (The originals do not wait for that.) */
export function peerParts(v: Volume): boolean {
  return v.partsUnheard && usesPeers(v.state);
}

/** It has refused a write, and not said yet what has become of its disk. */
export function peerSpeaksOfItsDisk({ link, state }: Volume): boolean {
  return link !== null && state.conn >= Conns.Connected && state.pdsk === Disks.UpToDate;
}

/** Our bitmap is on its way, and a peer of this version knows no P_OUT_OF_SYNC for what is written meanwhile. */
export function peerCannotBeTold({ link, state }: Volume): boolean {
  return link !== null && state.conn === Conns.WFBitMapS && !link.sendsOutOfSync;
}
