/**
 * Messages on a serial line: a stream of bytes in which some may be missing or wrong.
 *
 *     >>>\n ... \n<<<\n                       classic form with its field `auth`: what 3.0.6 writes (msgfmt classic, the default)
 *     ###\n ... %%%\n LEN:N HEX,              netstring form: taken, too; sent where messages have no `auth` (msgfmt netstring;
 *                                             Unverified: a recording of 3.0.6 with that setting would tell)
 *
 * What is not a message is skipped, up to the next beginning of one; that a message is whole its signature says. Source:
 * test/golden/heartbeat/serial.bin, recorded between two daemons of 3.0.6.
 */
import { decodeHaMessage, encodeClassic, fieldOf, latin1Bytes, latin1Text } from './hamsg.js';

const CLASSIC_START = '>>>\n';
const CLASSIC_END = '\n<<<\n';
const NETSTRING_START = '###\n';
const NETSTRING_END = '%%%\n';
const SIGNATURE = /^(\d{1,3}):/;
/** The largest messages have some kilobytes; more without an end is noise. */
const MAX_BYTES = 64 << 10;

/** The bytes for the line of a datagram as it goes out on UDP. */
export function serialForm(datagram: Uint8Array): Uint8Array {
  const decoded = decodeHaMessage(datagram);
  if (!decoded.ok || fieldOf(decoded.message, 'auth') === null) return datagram;
  return encodeClassic(decoded.message);
}

/** Cuts a stream into messages. */
export class SerialFrames {
  #text = '';

  /** What is whole now, in order. */
  push(bytes: Uint8Array): Uint8Array[] {
    this.#text += latin1Text(bytes);
    const found: Uint8Array[] = [];
    for (let frame = this.#next(); frame !== null; frame = this.#next()) {
      found.push(latin1Bytes(frame));
    }
    if (this.#text.length > MAX_BYTES) this.#text = '';
    return found;
  }

  /** Null: nothing is whole yet. */
  #next(): string | null {
    const classic = this.#text.indexOf(CLASSIC_START);
    const netstring = this.#text.indexOf(NETSTRING_START);
    if (classic < 0 && netstring < 0) {
      this.#text = this.#text.slice(-(CLASSIC_START.length - 1)); // half a beginning
      return null;
    }
    const isClassic = classic >= 0 && (netstring < 0 || classic < netstring);
    this.#text = this.#text.slice(isClassic ? classic : netstring);
    return isClassic ? this.#classic() : this.#netstring();
  }

  #classic(): string | null {
    const end = this.#text.indexOf(CLASSIC_END);
    if (end < 0) return null;
    // The end of the message before may be lost: the last beginning counts.
    const start = this.#text.lastIndexOf(CLASSIC_START, end);
    return this.#cut(start, end + CLASSIC_END.length);
  }

  #netstring(): string | null {
    const body = this.#text.indexOf(NETSTRING_END);
    if (body < 0) return null;
    const from = body + NETSTRING_END.length;
    const length = SIGNATURE.exec(this.#text.slice(from, from + 4));
    if (!length) {
      if (this.#text.length < from + 4) return null;
      this.#text = this.#text.slice(from);
      return this.#next();
    }
    const to = from + length[0].length + Number(length[1]) + 1;
    return this.#text.length < to ? null : this.#cut(0, to);
  }

  #cut(start: number, end: number): string {
    const frame = this.#text.slice(start, end);
    this.#text = this.#text.slice(end);
    return frame;
  }
}
