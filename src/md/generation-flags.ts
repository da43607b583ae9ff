/**
 * Words for the generation of the data and its flags as they are stored: the line of get-gi, the state words of
 * dstate and show-gi. Source: docs/METADATA.md sections 6 and 9.
 */
import { MDF, type Superblock } from './superblock.js';

/** The flags of get-gi, in its order. */
export const GI_FLAGS = [
  MDF.CONSISTENT,
  MDF.WAS_UP_TO_DATE,
  MDF.PRIMARY_IND,
  MDF.CONNECTED_IND,
  MDF.FULL_SYNC,
  MDF.PEER_OUT_DATED,
  MDF.CRASHED_PRIMARY,
] as const;

export function uuidText(uuid: bigint): string {
  return uuid.toString(16).toUpperCase().padStart(16, '0');
}

export type Generation = Pick<Superblock, 'current' | 'bitmap' | 'history1' | 'history2' | 'flags'>;

export function giLine(g: Generation): string {
  return [
    ...[g.current, g.bitmap, g.history1, g.history2].map(uuidText),
    ...GI_FLAGS.map((bit) => ((g.flags & bit) !== 0 ? '1' : '0')),
  ].join(':');
}

/** What the disk says of itself while nobody serves it. */
export function storedDiskState(
  flags: number,
): 'UpToDate' | 'Consistent' | 'Outdated' | 'Inconsistent' {
  if ((flags & MDF.CONSISTENT) === 0) return 'Inconsistent';
  if ((flags & MDF.WAS_UP_TO_DATE) === 0) return 'Outdated';
  return (flags & MDF.PEER_OUT_DATED) !== 0 ? 'UpToDate' : 'Consistent';
}

/**
 * The line of set-gi: like that of get-gi; parts at the end may be left out, and any part may be empty: both keep what
 * is there. A string says what is wrong with it.
 */
export function parseGi(text: string, old: Generation): Generation | string {
  const parts = text.split(':');
  if (parts.length > 4 + GI_FLAGS.length) return `more than ${4 + GI_FLAGS.length} parts`;
  const uuids = [old.current, old.bitmap, old.history1, old.history2];
  let flags = old.flags;
  for (const [i, part] of parts.entries()) {
    if (part === '') continue;
    if (i < 4) {
      if (!/^(0x)?[0-9A-Fa-f]{1,16}$/.test(part)) return `'${part}' is not a UUID in hex`;
      uuids[i] = BigInt(part.startsWith('0x') ? part : `0x${part}`);
    } else {
      if (part !== '0' && part !== '1') return `'${part}' is neither 0 nor 1`;
      const bit = GI_FLAGS[i - 4] ?? 0;
      flags = part === '1' ? flags | bit : flags & ~bit;
    }
  }
  const [current = 0n, bitmap = 0n, history1 = 0n, history2 = 0n] = uuids;
  return { current, bitmap, history1, history2, flags: flags >>> 0 };
}
