/**
 * What a successor of the engine is told of a volume whose users outlive it, as words of hex digits: the generation that they have
 * seen last, maybe the one before it, then marks (Volume.tellExposed).
 */
import { EXPOSED_MARKS, type Volume } from '../drbd/volume.js';

const MARKS: readonly bigint[] = Object.values(EXPOSED_MARKS);
const WORD = /^[0-9A-F]{1,16}$/;

interface Told {
  readonly current: bigint;
  readonly before: bigint | null;
  readonly marks: readonly bigint[];
}

function read(words: readonly string[]): Told | null {
  if (!words.every((word) => typeof word === 'string' && WORD.test(word))) return null;
  const [current, ...rest] = words.map((word) => BigInt(`0x${word}`));
  if (current === undefined) return null;
  const [next] = rest;
  const before = next === undefined || MARKS.includes(next) ? null : next;
  const marks = before === null ? rest : rest.slice(1);
  const right = marks.every((m, i) => MARKS.includes(m) && m > (marks[i - 1] ?? -1n));
  return right ? { current, before, marks } : null;
}

export function isExposed(words: readonly string[]): boolean {
  return read(words) !== null;
}

/** False: these are no such words. `users`: there are some, who were promised what the marks say. */
export function expose(v: Volume, words: readonly string[], users: boolean): boolean {
  const told = read(words);
  if (!told) return false;
  const { current, before, marks } = told;
  if (before !== null) v.exposedUuid = before;
  if (marks.includes(EXPOSED_MARKS.elsewhere)) v.elsewhere = true;
  if (users) {
    if (marks.includes(EXPOSED_MARKS.ahead)) v.ahead = true;
    if (marks.includes(EXPOSED_MARKS.peerMayLack)) v.app.doubt.lackedByPeer();
    if (marks.includes(EXPOSED_MARKS.promiseBroken)) v.app.doubt.breaks();
  }
  if (before === null) v.exposedUuid = current;
  else v.exposeNext(current);
  v.resuming = users;
  return true;
}
