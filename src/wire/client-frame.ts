/**
 * Frames on the stream of the client API (/run/heartbeat/register): a message in either form behind its length.
 *
 *     0  u32 LE  length of what follows the head, with the NUL
 *     4  u32 LE  0x0000ABCD
 *     8  a classic message (hamsg.ts) and a NUL; the original takes the netstring form, too
 *
 * Source: heartbeat 3.0.6 observed. It waits, busy, for a length that its memory cannot hold; here that is an error.
 */
import { decodeHaMessage, encodeClassic, type HaMessage } from './hamsg.js';

const HEAD_BYTES = 8;
const MAGIC = 0xabcd;
/**
 * What a client sends has to go out in one datagram (65,507 bytes), with fields and a signature that we add and with a length in front
 * of each of up to 1000 fields: one that is too long would be asked for by the other node again and again.
 */
export const MAX_FRAME_BYTES = 32_000;

export function encodeFrame(message: HaMessage): Uint8Array {
  const text = encodeClassic(message);
  const bytes = new Uint8Array(HEAD_BYTES + text.length + 1);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, text.length + 1, true);
  view.setUint32(4, MAGIC, true);
  bytes.set(text, HEAD_BYTES);
  return bytes;
}

export type FrameResult =
  | { readonly ok: true; readonly message: HaMessage }
  | { readonly ok: false; readonly text: string };

/** Cuts a stream into messages. After an error the rest of the stream means nothing. */
export class FrameReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #broken = false;

  push(bytes: Uint8Array): void {
    if (this.#broken) return;
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
  }

  /** The next message, or what is wrong with the stream; null: more bytes are needed. */
  next(): FrameResult | null {
    if (this.#broken || this.#bytes.length < HEAD_BYTES) return null;
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
    const length = view.getUint32(0, true);
    if (view.getUint32(4, true) !== MAGIC) return this.#error('no frame of the client API');
    if (length > MAX_FRAME_BYTES) return this.#error(`a frame of ${length} bytes`);
    const end = HEAD_BYTES + length;
    if (this.#bytes.length < end) return null;
    const decoded = decodeHaMessage(this.#bytes.subarray(HEAD_BYTES, end));
    if (!decoded.ok) return this.#error(`byte ${decoded.offset}: ${decoded.text}`);
    this.#bytes = this.#bytes.subarray(end);
    return { ok: true, message: decoded.message };
  }

  #error(text: string): FrameResult {
    this.#broken = true;
    this.#bytes = new Uint8Array(0);
    return { ok: false, text };
  }
}
