/**
 * The exchange of whole bitmaps: P_BITMAP (plain words) and P_COMPRESSED_BITMAP (run lengths), and the position in
 * the bitmap that sender and receiver keep in step without ever naming it.
 *
 *     plain: the next min(510 or 511, words left) words of 64 bits; after the last of them an empty one ends it all
 *     compressed: runs from the bit position on; reaching the last bit ends it all, nothing follows
 *
 * The receiver ORs. After a compressed packet the word position is that of the word which holds the next bit, so a
 * plain packet behind it repeats a few bits. One bit is 4 KiB; bit n is bit n % 8 of byte n / 8.
 * Source: docs/PROTOCOL.md#bitmap, #compressed-bitmap.
 */
import { assert } from '../base/assert.js';
import { COMMANDS, SOCKET_BUFFER_BYTES } from './constants.js';
import { headerBytes, putHeader } from './hot.js';
import { badValue, type Codec, type Link, payloadOf, putBytes, type WireError } from './packet.js';
import { BitReader, BitWriter } from './vli.js';

/** A bitmap in memory: whole 64-bit little-endian words as bytes. Bits at and above `bits` are not looked at. */
export interface BitmapBits {
  readonly words: Uint8Array;
  readonly bits: number;
}

/** P_BITMAP: the words as they are. */
export interface PlainBitmap {
  readonly words: Uint8Array; // 0
}

/** P_COMPRESSED_BITMAP. */
export interface CompressedBitmap {
  readonly code: number; // 0, bits 0-3: RLE_VLI_BITS is the only one
  readonly padBits: number; // 0, bits 4-6: bits of the last byte that are not used
  readonly firstRun: number; // 0, bit 7: 1 when the first run is of set bits
  readonly runs: Uint8Array; // 1
}

export const RLE_VLI_BITS = 2;
/** First version that knows P_COMPRESSED_BITMAP. */
export const RLE_SINCE = 90;

/** Most bytes of body in a bitmap packet. */
export function maxBitmapBytes(apv: number): number {
  return SOCKET_BUFFER_BYTES - headerBytes(apv, SOCKET_BUFFER_BYTES);
}

export const plainBitmapCodec: Codec<PlainBitmap> = {
  decode: (view, at, length) => ({ words: payloadOf(view, at, length) }),
  encode: (b, view, at) => putBytes(view, at, b.words),
  payloadBytes: (b) => b.words.length,
};

export const compressedBitmapCodec: Codec<CompressedBitmap> = {
  decode(view, at, length) {
    const encoding = view.getUint8(at);
    return {
      code: encoding & 15,
      padBits: (encoding >>> 4) & 7,
      firstRun: encoding >>> 7,
      runs: payloadOf(view, at + 1, length - 1),
    };
  },
  encode(b, view, at) {
    view.setUint8(at, (b.firstRun << 7) | (b.padBits << 4) | b.code);
    putBytes(view, at + 1, b.runs);
  },
  payloadBytes: (b) => 1 + b.runs.length,
};

/** Where one direction of an exchange stands, and what it has cost. */
export class BitmapProgress {
  readonly bits: number;
  readonly words: number;
  bit = 0;
  word = 0;
  plainBytes = 0;
  plainPackets = 0;
  rleBytes = 0;
  rlePackets = 0;

  constructor(bits: number) {
    this.bits = bits;
    this.words = Math.ceil(bits / 64);
  }

  plain(words: number, packetBytes: number): void {
    this.word += words;
    this.bit = Math.min(this.word * 64, this.bits);
    this.plainBytes += packetBytes;
    this.plainPackets++;
  }

  compressed(bit: number, packetBytes: number): void {
    this.bit = bit;
    this.word = Math.floor(bit / 64);
    this.rleBytes += packetBytes;
    this.rlePackets++;
  }

  /** The kernel's log line after a bitmap that was worth compressing, or '' when it was not. */
  stats(direction: 'send' | 'receive', apv: number): string {
    const header = headerBytes(apv, 0);
    const perPacket = maxBitmapBytes(apv);
    const plain = header * (Math.ceil(this.words / perPacket) + 1) + this.words * 8;
    const total = this.plainBytes + this.rleBytes;
    if (total === 0 || total >= plain) return '';
    const saved = 1000 - Math.floor((1000 * total) / plain);
    return (
      `${direction} bitmap stats [Bytes(packets)]: plain ${this.plainBytes}(${this.plainPackets}), ` +
      `RLE ${this.rleBytes}(${this.rlePackets}), total ${total}; ` +
      `compression: ${Math.floor(saved / 10)}.${saved % 10}%`
    );
  }
}

function check(bitmap: BitmapBits): void {
  assert(bitmap.words.length >= Math.ceil(bitmap.bits / 64) * 8, 'the bitmap has all its words');
}

/** Bits of the bitmap's last byte that it has, as a mask. */
function lastByteMask(bits: number): number {
  return bits % 8 === 0 ? 0xff : (1 << (bits % 8)) - 1;
}

/** The eight bytes at `at` all have the value `skip`. */
function isSkipped(words: Uint8Array, at: number, skip: number): boolean {
  return (
    words[at] === skip &&
    words[at + 1] === skip &&
    words[at + 2] === skip &&
    words[at + 3] === skip &&
    words[at + 4] === skip &&
    words[at + 5] === skip &&
    words[at + 6] === skip &&
    words[at + 7] === skip
  );
}

/** The first bit at or after `from` that has `value`, or `bits`. */
export function findBit(bitmap: BitmapBits, from: number, value: 0 | 1): number {
  const { words, bits } = bitmap;
  const skip = value === 1 ? 0 : 0xff; // a byte without such a bit
  const end = Math.ceil(bits / 8);
  for (let at = Math.floor(from / 8), bit = from % 8; at < end; at++, bit = 0) {
    const wanted = ((words[at] ?? 0) ^ skip) >>> bit;
    if (wanted === 0) {
      // Most of a bitmap is alike: 16 TiB have 512 MiB of it.
      while (isSkipped(words, at + 1, skip) && at + 8 < end) at += 8;
      continue;
    }
    // The lowest set bit of a byte: 31 - clz32 of it alone.
    return Math.min(at * 8 + bit + 31 - Math.clz32(wanted & -wanted), bits);
  }
  return bits;
}

function testBit(words: Uint8Array, bit: number): boolean {
  return (((words[Math.floor(bit / 8)] ?? 0) >>> (bit % 8)) & 1) === 1;
}

/** Sets bits [from, to). */
export function setBits(words: Uint8Array, from: number, to: number): void {
  for (let bit = from; bit < to; ) {
    const at = Math.floor(bit / 8);
    if (bit % 8 === 0 && to - bit >= 8) {
      const end = Math.floor(to / 8);
      words.fill(0xff, at, end);
      bit = end * 8;
    } else {
      words[at] = (words[at] ?? 0) | (1 << (bit % 8));
      bit++;
    }
  }
}

/**
 * Sends one whole bitmap, a packet per call. Bits that change between calls, behind the position, are not sent any
 * more: whoever sets them tells the peer otherwise (P_OUT_OF_SYNC).
 */
export class BitmapSender {
  readonly progress: BitmapProgress;
  readonly #bitmap: BitmapBits;
  readonly #apv: number;
  readonly #volume: number;
  readonly #useRle: boolean;
  #done = false;

  constructor(bitmap: BitmapBits, link: Link, volume: number, useRle: boolean) {
    check(bitmap);
    this.progress = new BitmapProgress(bitmap.bits);
    this.#bitmap = bitmap;
    this.#apv = link.apv;
    this.#volume = volume;
    this.#useRle = useRle && link.apv >= RLE_SINCE;
  }

  get done(): boolean {
    return this.#done;
  }

  /**
   * Writes the next packet, header and all, at view[at], where SOCKET_BUFFER_BYTES are free. Returns its size, 0 when
   * everything has been sent.
   */
  next(view: DataView, at: number): number {
    if (this.#done) return 0;
    return this.#compressed(view, at) || this.#plain(view, at);
  }

  /** 0 when run lengths would not be shorter than the bits they stand for. */
  #compressed(view: DataView, at: number): number {
    const { bits, bit: begin } = this.progress;
    if (!this.#useRle || begin >= bits) return 0;
    const bodyAt = at + headerBytes(this.#apv, 0);
    const out = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const writer = new BitWriter(out, bodyAt + 1, at + SOCKET_BUFFER_BYTES);
    let bit = begin;
    let value: 0 | 1 = testBit(this.#bitmap.words, bit) ? 1 : 0;
    const firstRun = value;
    while (bit < bits) {
      const next = findBit(this.#bitmap, bit, value === 1 ? 0 : 1);
      if (!writer.putRun(next - bit)) break; // the packet is full
      bit = next;
      value = value === 1 ? 0 : 1;
    }
    if (bit - begin < writer.length * 8) {
      // A plain packet instead, from the word that holds this bit.
      this.progress.bit = this.progress.word * 64;
      return 0;
    }
    view.setUint8(bodyAt, (firstRun << 7) | (writer.padBits << 4) | RLE_VLI_BITS);
    const length = 1 + writer.length;
    putHeader(view, at, this.#apv, COMMANDS.P_COMPRESSED_BITMAP, this.#volume, length);
    const packetBytes = bodyAt - at + length;
    this.progress.compressed(bit, packetBytes);
    this.#done = bit >= bits;
    return packetBytes;
  }

  #plain(view: DataView, at: number): number {
    const { bits, words, word } = this.progress;
    const count = Math.min(Math.floor(maxBitmapBytes(this.#apv) / 8), words - word);
    const length = count * 8;
    const bodyAt = at + putHeader(view, at, this.#apv, COMMANDS.P_BITMAP, this.#volume, length);
    putBytes(view, bodyAt, this.#bitmap.words.subarray(word * 8, word * 8 + length));
    if (count > 0 && word + count === words) {
      // Bits behind the end of the device are sent as clear, whatever memory holds there.
      const usedBytes = Math.ceil(bits / 8) - word * 8;
      const last = bodyAt + usedBytes - 1;
      view.setUint8(last, view.getUint8(last) & lastByteMask(bits));
      for (let i = usedBytes; i < length; i++) view.setUint8(bodyAt + i, 0);
    }
    this.progress.plain(count, bodyAt - at + length);
    this.#done = count === 0;
    return bodyAt - at + length;
  }
}

/**
 * Receives one whole bitmap and ORs it into ours. Nothing of a packet that is refused is applied, except runs
 * before the bad one; the connection ends then, and bits too many only cost a little resync.
 */
export class BitmapReceiver {
  readonly progress: BitmapProgress;
  readonly #bitmap: BitmapBits;
  readonly #apv: number;
  #done = false;

  constructor(bitmap: BitmapBits, link: Link) {
    check(bitmap);
    this.progress = new BitmapProgress(bitmap.bits);
    this.#bitmap = bitmap;
    this.#apv = link.apv;
  }

  /** The peer has sent all of it. */
  get done(): boolean {
    return this.#done;
  }

  /** The body of a P_BITMAP or P_COMPRESSED_BITMAP. Null when it was right; then look at `done`. */
  receive(command: number, body: Uint8Array): WireError | null {
    if (this.#done) return badValue('a bitmap packet after the end of the bitmap', 0);
    return command === COMMANDS.P_BITMAP ? this.#plain(body) : this.#compressed(body);
  }

  #plain(body: Uint8Array): WireError | null {
    const { bits, words, word } = this.progress;
    const count = Math.min(Math.floor(maxBitmapBytes(this.#apv) / 8), words - word);
    if (body.length !== count * 8) {
      const error = `P_BITMAP of ${body.length} bytes where ${count * 8} are due`;
      return { error, kind: 'length', offset: 0 };
    }
    const ours = this.#bitmap.words;
    const fullBytes = Math.min(body.length, Math.floor(bits / 8) - word * 8);
    for (let i = 0, at = word * 8; i < fullBytes; i++, at++) {
      ours[at] = (ours[at] ?? 0) | (body[i] ?? 0);
    }
    if (fullBytes < body.length && bits % 8 !== 0) {
      const at = word * 8 + fullBytes;
      ours[at] = (ours[at] ?? 0) | ((body[fullBytes] ?? 0) & lastByteMask(bits));
    }
    this.progress.plain(count, headerBytes(this.#apv, 0) + body.length);
    this.#done = count === 0;
    return null;
  }

  #compressed(body: Uint8Array): WireError | null {
    if (body.length < 2 || body.length > maxBitmapBytes(this.#apv)) {
      return { error: `P_COMPRESSED_BITMAP of ${body.length} bytes`, kind: 'length', offset: 0 };
    }
    const encoding = body[0] ?? 0;
    if ((encoding & 15) !== RLE_VLI_BITS) {
      return badValue(`unknown bitmap encoding ${encoding & 15}`, 0);
    }
    const { bits } = this.progress;
    const reader = new BitReader(body, 1, body.length, (encoding >>> 4) & 7);
    let bit = this.progress.bit;
    let set = encoding >>> 7 === 1;
    while (!reader.atEnd) {
      const run = reader.getRun();
      if (run === 0) return badValue(`no run length in the code for bit ${bit}`, 1);
      if (bit + run > bits) return badValue(`a run from bit ${bit} ends behind the bitmap`, 1);
      if (set) setBits(this.#bitmap.words, bit, bit + run);
      bit += run;
      set = !set;
    }
    this.progress.compressed(bit, headerBytes(this.#apv, 0) + body.length);
    this.#done = bit === bits;
    return null;
  }
}
