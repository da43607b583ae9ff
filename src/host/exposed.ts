/**
 * What a successor of the engine is told of a volume whose users outlive it, as words of hex digits: the generation that they have
 * seen last, maybe the one before it, then marks; at last, maybe, what the peer had beside that generation, when it was about to begin
 * another one for them (Volume.tellExposed).
 */
import type { UuidSet } from '../drbd/generation.js';
import { EXPOSED_MARKS, type Volume } from '../drbd/volume.js';

const MARKS: readonly bigint[] = Object.values(EXPOSED_MARKS);
/** Of these one is the last mark, and so many words follow it. */
const BEGINS: readonly bigint[] = [EXPOSED_MARKS.peerBegins, EXPOSED_MARKS.peerHasBegun];
const IDENTIFIERS = 3;
const WORD = /^[0-9A-F]{1,16}$/;

interface Told {
  readonly current: bigint;
  readonly before: bigint | null;
  readonly marks: readonly bigint[];
  readonly partsFrom: UuidSet | null;
}

function read(words: readonly string[]): Told | null {
  if (!words.every((word) => typeof word === 'string' && WORD.test(word))) return null;
  const [current, ...rest] = words.map((word) => BigInt(`0x${word}`));
  if (current === undefined) return null;
  const [next] = rest;
  const before = next === undefined || MARKS.includes(next) ? null : next;
  const behind = before === null ? rest : rest.slice(1);
  const end = behind.findIndex((mark) => BEGINS.includes(mark)) + 1;
  const marks = end > 0 ? behind.slice(0, end) : behind;
  const right = marks.every((m, i) => MARKS.includes(m) && m > (marks[i - 1] ?? -1n));
  if (!right) return null;
  if (end === 0) return { current, before, marks, partsFrom: null };
  const [bitmap, history1, history2] = behind.slice(end);
  if (behind.length !== end + IDENTIFIERS) return null;
  if (bitmap === undefined || history1 === undefined || history2 === undefined) return null;
  return { current, before, marks, partsFrom: { current, bitmap, history1, history2 } };
}

export function isExposed(words: readonly string[]): boolean {
  return read(words) !== null;
}

/** False: these are no such words. `users`: there are some, who were promised what the marks say. */
export function expose(v: Volume, words: readonly string[], users: boolean): boolean {
  const told = read(words);
  if (!told) return false;
  const { current, before, marks, partsFrom } = told;
  if (before !== null) v.exposedUuid = before;
  if (marks.includes(EXPOSED_MARKS.elsewhere)) v.elsewhere = true;
  if (users) {
    if (marks.includes(EXPOSED_MARKS.ahead)) v.ahead = true;
    if (marks.includes(EXPOSED_MARKS.peerMayLack)) v.app.doubt.lackedByPeer();
    if (marks.includes(EXPOSED_MARKS.promiseBroken)) v.app.doubt.breaks();
  }
  if (before === null) v.exposedUuid = current;
  else v.exposeNext(current);
  if (users && partsFrom) {
    v.partsFrom(partsFrom);
    if (marks.includes(EXPOSED_MARKS.peerHasBegun)) v.peerHasBegun();
  }
  v.resuming = users;
  return true;
}
