/**
 * What a machine does, as numbers for a running hash: the recorder and the replay fold the same ones, so that a turn that did
 * something else is found without writing down each effect.
 */
import { KIND_COLD, KIND_OUTBOX } from '../drbd/core.js';

const KIND_SHIFT = 20;
const INDEX_MASK = 0xffffff;
const SMALL_BYTES = 4096; // of a write that is hashed

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
} as const;

export interface Folder {
  fold(value: number): void;
}

export function foldOffset(f: Folder, offsetBytes: number): void {
  f.fold(offsetBytes >>> 0);
  f.fold(Math.floor(offsetBytes / 0x100000000));
}

export function foldText(f: Folder, text: string): void {
  for (let i = 0; i < text.length; i++) f.fold(text.charCodeAt(i));
}

function foldBytes(f: Folder, view: DataView, at: number, length: number): void {
  const end = at + length;
  let i = at;
  for (; i + 4 <= end; i += 4) f.fold(view.getUint32(i));
  for (; i < end; i++) f.fold(view.getUint8(i));
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
  const content = kind === E.send ? by === KIND_OUTBOX : by === KIND_COLD;
  if (content) foldBytes(f, view, at, Math.min(length, SMALL_BYTES));
}
