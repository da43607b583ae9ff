/**
 * The activity log on disk: a ring of 4 KiB transactions that says which 4 MiB extents a Primary may be writing to.
 * Source: docs/METADATA.md section 5.
 *
 *     0 magic | 4 tr_number | 8 crc32c | 12 type | 14 n_updates | 16 context_size | 18 context_start_slot | 20 zero
 *     36 u16 x 64 update slots | 164 u32 x 64 update extents | 420 u32 x 919 context           all big-endian
 *
 * Each transaction carries up to 64 new slot contents and a slice of the slot table as it was before it, so that a
 * full ring holds every slot. `replayAl` rebuilds the table; what it yields is out of sync after a crash.
 */
import { crc32cRaw } from '../base/crc32c.js';
import { MAGIC_UNCLEAN, type Superblock } from './superblock.js';

export const AL_BLOCK_BYTES = 4096;
export const AL_MAGIC = 0x69cb65a2;
export const AL_TYPE_UPDATE = 0;
export const AL_TYPE_INITIALIZED = 0xffff;
export const AL_UPDATES = 64;
export const AL_CONTEXT = 919;
export const FREE_EXTENT = 0xffffffff;
export const FREE_SLOT = 0xffff;
export const MAX_AL_SLOTS = 65534;
export const MIN_AL_SLOTS = 67;

const OFF_CRC = 8;
const OFF_SLOTS = 36;
const OFF_EXTENTS = 164;
const OFF_CONTEXT = 420;

/** Slots that a ring of so many blocks can carry: all but the newest transaction must hold every slot. */
export function maxAlSlots(ringBlocks: number): number {
  return Math.min(MAX_AL_SLOTS, (ringBlocks - 1) * AL_CONTEXT);
}

/** The block of the ring, in 4 KiB blocks from its start, that holds a transaction. */
export function alBlockOf(trNumber: number, stripes: number, stripeSize4k: number): number {
  const t = trNumber % (stripes * stripeSize4k);
  return (t % stripes) * stripeSize4k + Math.floor(t / stripes);
}

// --- writing; no call allocates ---

function put16(b: Uint8Array, at: number, v: number): void {
  b[at] = v >>> 8;
  b[at + 1] = v;
}

function put32(b: Uint8Array, at: number, v: number): void {
  b[at] = v >>> 24;
  b[at + 1] = v >>> 16;
  b[at + 2] = v >>> 8;
  b[at + 3] = v;
}

/** An update transaction without updates and with a free context; followed by put*, then `sealTransaction`. */
export function beginTransaction(
  b: Uint8Array,
  at: number,
  trNumber: number,
  contextSize: number,
  contextStart: number,
): void {
  b.fill(0, at, at + OFF_SLOTS);
  b.fill(0xff, at + OFF_SLOTS, at + AL_BLOCK_BYTES);
  put32(b, at, AL_MAGIC);
  put32(b, at + 4, trNumber);
  put16(b, at + 12, AL_TYPE_UPDATE);
  put16(b, at + 16, contextSize);
  put16(b, at + 18, contextStart);
}

/** Update number `i`, counted from 0 without gaps. */
export function putUpdate(
  b: Uint8Array,
  at: number,
  i: number,
  slot: number,
  extent: number,
): void {
  put16(b, at + 14, i + 1);
  put16(b, at + OFF_SLOTS + 2 * i, slot);
  put32(b, at + OFF_EXTENTS + 4 * i, extent);
}

/** The extent in slot contextStart + i, as it was before this transaction. */
export function putContext(b: Uint8Array, at: number, i: number, extent: number): void {
  put32(b, at + OFF_CONTEXT + 4 * i, extent);
}

export function sealTransaction(b: Uint8Array, at: number): void {
  put32(b, at + OFF_CRC, 0);
  put32(b, at + OFF_CRC, crc32cRaw(b, at, at + AL_BLOCK_BYTES, 0));
}

/** The block that create-md and apply-al fill the ring with. */
export function encodeInitialized(b: Uint8Array, at: number): void {
  b.fill(0, at, at + AL_BLOCK_BYTES);
  put32(b, at, AL_MAGIC);
  put16(b, at + 12, AL_TYPE_INITIALIZED);
  sealTransaction(b, at);
}

// --- reading ---

export interface AlTransaction {
  readonly trNumber: number;
  readonly type: number;
  readonly updates: number; // n_updates
  readonly contextSize: number;
  readonly contextStart: number;
  readonly updateSlots: readonly number[]; // 64
  readonly updateExtents: readonly number[]; // 64
  readonly context: readonly number[]; // 919
}

/** Null when magic or checksum is wrong: not written, or torn by a crash. */
export function decodeTransaction(b: Uint8Array, at: number): AlTransaction | null {
  const v = new DataView(b.buffer, b.byteOffset + at, AL_BLOCK_BYTES);
  if (v.getUint32(0) !== AL_MAGIC || v.getUint32(OFF_CRC) !== crcOf(b, at)) return null;
  return {
    trNumber: v.getUint32(4),
    type: v.getUint16(12),
    updates: v.getUint16(14),
    contextSize: v.getUint16(16),
    contextStart: v.getUint16(18),
    updateSlots: Array.from({ length: AL_UPDATES }, (_, i) => v.getUint16(OFF_SLOTS + 2 * i)),
    updateExtents: Array.from({ length: AL_UPDATES }, (_, i) => v.getUint32(OFF_EXTENTS + 4 * i)),
    context: Array.from({ length: AL_CONTEXT }, (_, i) => v.getUint32(OFF_CONTEXT + 4 * i)),
  };
}

const NO_CRC = new Uint8Array(4);

function crcOf(b: Uint8Array, at: number): number {
  const head = crc32cRaw(b, at, at + OFF_CRC, 0);
  return crc32cRaw(b, at + OFF_CRC + 4, at + AL_BLOCK_BYTES, crc32cRaw(NO_CRC, 0, 4, head));
}

export interface AlReplay {
  readonly format: '8.4' | '8.3';
  /** Extents of the log at its newest transaction, ascending, each once. Those to mark when PRIMARY_IND is set. */
  readonly hotExtents: readonly number[];
  /** Valid update transactions: 0 means that the log holds nothing. */
  readonly transactions: number;
  /** Blocks that are not valid. */
  readonly corrupt: number;
  /** The log cannot be interpreted; fatal when PRIMARY_IND is set. */
  readonly error: 'no-usable-log' | 'no-valid-update' | null;
  /** What drbdmeta prints, one line each. */
  readonly messages: readonly string[];
}

/** `ring` is the whole log as it lies on disk (4 KiB times stripes times stripe size). */
export function replayAl(ring: Uint8Array, sb: Superblock): AlReplay {
  const v = new DataView(ring.buffer, ring.byteOffset, ring.length);
  const is84 =
    sb.magic === MAGIC_UNCLEAN ||
    v.getUint32(0) === AL_MAGIC ||
    v.getUint32(AL_BLOCK_BYTES) === AL_MAGIC ||
    sb.alStripes !== 1 ||
    sb.alStripeSize4k !== 8;
  return is84 ? replay84(ring, sb.alStripes, sb.alStripeSize4k) : replay83(v, sb.alExtents);
}

/** Of transactions in ring order (null: not valid), the stretch from the oldest to the newest; null without any. */
function stretch(trNumbers: readonly (number | null)[]): { first: number; last: number } | null {
  let oldest = -1;
  let newest = -1;
  const before = (a: number, b: number): boolean =>
    (((trNumbers[a] ?? 0) - (trNumbers[b] ?? 0)) | 0) < 0;
  trNumbers.forEach((tr, b) => {
    if (tr === null) return;
    if (oldest < 0 || before(b, oldest)) oldest = b;
    if (newest < 0 || before(newest, b)) newest = b;
  });
  if (oldest < 0) return null;
  return { first: oldest, last: newest < oldest ? newest + trNumbers.length : newest };
}

function replay84(ring: Uint8Array, stripes: number, stripeSize4k: number): AlReplay {
  const blocks = stripes * stripeSize4k;
  const v = new DataView(ring.buffer, ring.byteOffset, ring.length);
  const place = (t: number): number => alBlockOf(t, stripes, stripeSize4k) * AL_BLOCK_BYTES;
  const messages: string[] = [];
  const hot = new Map<number, number>(); // slot -> extent
  let valid = 0;
  let firstIsValid = false;
  const trNumbers: (number | null)[] = []; // in ring order; null: not valid, or no update
  for (let t = 0; t < blocks; t++) {
    const at = place(t);
    const isValid = v.getUint32(at) === AL_MAGIC && v.getUint32(at + OFF_CRC) === crcOf(ring, at);
    if (isValid) valid++;
    if (t === 0) firstIsValid = isValid;
    const isUpdate = isValid && v.getUint16(at + 12) !== AL_TYPE_INITIALIZED;
    trNumbers.push(isUpdate ? v.getUint32(at + 4) : null);
  }
  const result = (transactions: number, error: AlReplay['error']): AlReplay => ({
    format: '8.4',
    hotExtents: sortedExtents(hot),
    transactions,
    corrupt: blocks - valid,
    error,
    messages,
  });

  if (valid === 0) {
    messages.push('No usable activity log found. Do you need to create-md?');
    return result(0, 'no-usable-log');
  }
  if (valid !== blocks) messages.push(`${blocks - valid} corrupt AL transactions found`);
  const span = stretch(trNumbers);
  if (!span) {
    // Only the very first transaction may be torn without any other having been written.
    if (valid === blocks || (valid === blocks - 1 && !firstIsValid)) return result(0, null);
    messages.push('No valid AL update transaction found.');
    return result(0, 'no-valid-update');
  }
  for (let b = span.first; b <= span.last; b++) {
    const t = b % blocks;
    if (trNumbers[t] === null) continue;
    const at = place(t);
    const updates = v.getUint16(at + 14);
    const contextSize = v.getUint16(at + 16);
    const contextStart = v.getUint16(at + 18);
    for (let i = 0; i < AL_CONTEXT; i++) {
      const slot = contextStart + i;
      const extent = v.getUint32(at + OFF_CONTEXT + 4 * i);
      if (extent === FREE_EXTENT && slot >= contextSize) continue;
      if (slot < MAX_AL_SLOTS) hot.set(slot, extent);
      else messages.push(`slot number out of range: tr:${t} slot:${slot}`);
    }
    for (let i = 0; i < AL_UPDATES; i++) {
      const slot = v.getUint16(at + OFF_SLOTS + 2 * i);
      if (i >= updates && slot === FREE_SLOT) continue;
      if (slot < MAX_AL_SLOTS) hot.set(slot, v.getUint32(at + OFF_EXTENTS + 4 * i));
      else messages.push(`update slot number out of range: tr:${t} slot:${slot}`);
    }
  }
  return result(trNumbers.filter((t) => t !== null).length, null);
}

const AL83_MAGIC = 0x83740267;
const AL83_ENTRIES = 62; // entry 0 is the update, 61 are context
const AL83_BYTES = 512;

function replay83(v: DataView, alExtents: number): AlReplay {
  // No more than the area holds, whatever the superblock says.
  const sectors = Math.min(1 + Math.ceil(alExtents / 61), v.byteLength / AL83_BYTES);
  const trNumbers = Array.from({ length: sectors }, (_, b) => tr83(v, b * AL83_BYTES));
  const valid = trNumbers.filter((t) => t !== null).length;
  const messages: string[] = [];
  const hot = new Map<number, number>();
  const span = stretch(trNumbers);
  if (!span) messages.push('No usable activity log found.');
  else {
    if (valid !== sectors) {
      messages.push(
        `${sectors - valid} corrupt or uninitialized AL transactions found`,
        'You can safely ignore this if this node was cleanly stopped (no crash).',
      );
    }
    for (let b = span.first; b <= span.last; b++) {
      const n = b % sectors;
      if (trNumbers[n] === null) continue;
      for (let i = AL83_ENTRIES - 1; i >= 0; i--) {
        const slot = v.getUint32(n * AL83_BYTES + 8 + i * 8);
        const extent = v.getUint32(n * AL83_BYTES + 12 + i * 8);
        if (extent === FREE_EXTENT) continue;
        if (slot >= MAX_AL_SLOTS) {
          messages.push(`slot number out of range: tr:${n} slot:${slot}`);
        } else hot.set(slot, extent);
      }
    }
  }
  return {
    format: '8.3',
    hotExtents: sortedExtents(hot),
    transactions: valid,
    corrupt: sectors - valid,
    error: null,
    messages,
  };
}

function tr83(v: DataView, at: number): number | null {
  if (v.getUint32(at) !== AL83_MAGIC) return null;
  let xor = 0;
  for (let i = 0; i < AL83_ENTRIES; i++) xor ^= v.getUint32(at + 12 + i * 8);
  return xor >>> 0 === v.getUint32(at + 8 + AL83_ENTRIES * 8) ? v.getUint32(at + 4) : null;
}

function sortedExtents(hot: ReadonlyMap<number, number>): number[] {
  return [...new Set(hot.values())].filter((e) => e !== FREE_EXTENT).sort((a, b) => a - b);
}
