/**
 * What a machine does, as numbers for a running hash: the recorder and the replay fold the same ones, so that a turn that did
 * something else is found without writing down each effect.
 */
import { KIND_COLD, KIND_OUTBOX } from '../drbd/core.js';

const KIND_SHIFT = 20;
const INDEX_MASK = 0xffffff;
const SMALL_BYTES = 256; // of a write that is hashed: superblock, checksum of a log block, packets of a turn

/** Effects, for the hash. The replay folds the same numbers. */
export const E = {
  openDisk: 1,
  readDisk: 2,
  writeDisk: 3,
  flushDisk: 4,
  discardDisk: 5,
  zeroDisk: 6,
  connect: 7,
  attachStream: 8,
  send: 9,
  consume: 10,
  receive: 11,
  close: 12,
  blockDone: 13,
  timer: 14,
  writeFua: 15,
  zeroUnmap: 16,
  abandonDisk: 17,
} as const;

// V8 reads an imported constant anew at each use (a cell, a check that it is set); one of this module is part of the code. For what is
// in the way of each write.
const SEND = E.send;
const OUTBOX = KIND_OUTBOX;
const COLD = KIND_COLD;

/** One number into a hash. */
export function mix(hash: number, value: number): number {
  const h = Math.imul(hash ^ value, 0x9e3779b1);
  return h ^ (h >>> 15);
}

export function mixEffect(
  hash: number,
  kind: number,
  handle: number,
  offsetBytes: number,
  length: number,
  tag: number,
): number {
  // One round an effect: it is in the way of every write.
  const where = (offsetBytes / 512) | 0; // of huge disks the low bits
  const h = Math.imul(hash ^ where, 0x9e3779b1) ^ (hash >>> 15);
  return (
    (h + Math.imul((length << 5) ^ kind, 0x85ebca6b) + ((tag & INDEX_MASK) ^ (handle << 22))) | 0
  );
}

export interface Folder {
  hash: number;
}

export function foldText(f: Folder, text: string): void {
  for (let i = 0; i < text.length; i++) f.hash = mix(f.hash, text.charCodeAt(i));
}

/** A write of meta-data or a packet without payload: what it says is part of the effect. */
export function foldContent(
  f: Folder,
  view: DataView,
  kind: number,
  tag: number,
  at: number,
  length: number,
): void {
  const by = (tag & INDEX_MASK) >>> KIND_SHIFT;
  // Cold sends are the handshake: they depend on the secret, which no recording has.
  if (by !== (kind === SEND ? OUTBOX : COLD)) return;
  const end = at + Math.min(length, SMALL_BYTES);
  let h = f.hash;
  let i = at;
  for (; i + 4 <= end; i += 4) h = mix(h, view.getUint32(i, true));
  for (; i < end; i++) h = mix(h, view.getUint8(i));
  f.hash = h;
}
