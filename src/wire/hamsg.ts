/**
 * Heartbeat's messages: an ordered list of named fields, in the two forms the wire knows.
 *
 *     netstring   ###\n  LEN:(T)name=value,  ...  %%%\n  LEN:N HEX,      what 3.0.6 sends on UDP, whatever msgfmt says
 *     classic     >>>\n  name=value\n  (1)name=BASE64\n  ...  <<<\n      older peers, the FIFO, the client API
 *
 * LEN counts from "(" to the end of the value. In the classic form a newline inside a value travels as 0x13, the
 * signature is a field (`auth`); in the netstring form it stands behind the message (hamsg-auth.ts).
 *
 * Values of strings are kept byte for byte: a string here holds one char per byte (latin1), so that decoding and
 * encoding are inverses for any bytes. Decoders never throw: they say what is wrong and where.
 * Source: docs/HEARTBEAT.md, 676 datagrams of heartbeat 3.0.6 in test/golden/heartbeat.
 */

/** A string field, or bytes: kind 1 binary, 2 struct, 3 list, 4 and 5 compressed; 2 to 5 are carried, not opened. */
export type HaField =
  | { readonly name: string; readonly value: string }
  | { readonly name: string; readonly kind: 1 | 2 | 3 | 4 | 5; readonly value: Uint8Array };

export type HaMessage = readonly HaField[];

export type HaDecoded =
  | {
      readonly ok: true;
      readonly message: HaMessage;
      readonly form: 'netstring' | 'classic';
      /** Netstring: 'N HEX' behind the message, null when there is none, and the bytes it covers. */
      readonly signature: string | null;
      readonly signedBytes: Uint8Array;
    }
  | { readonly ok: false; readonly offset: number; readonly text: string };

/** The limit inside the original daemon; a UDP datagram holds 65,507 bytes anyway. */
export const MAX_MESSAGE_BYTES = 256 * 1024;
/** A message of version 1 style has about a dozen fields. */
const MAX_FIELDS = 1000;

const NETSTRING_START = '###\n';
const NETSTRING_END = '%%%\n';
const CLASSIC_START = '>>>\n';
const CLASSIC_END = '<<<\n';
const NEWLINE_IN_VALUE = '\x13';

/** The string field of that name, or null. */
export function fieldOf(message: HaMessage, name: string): string | null {
  for (const field of message) {
    if (field.name === name && typeof field.value === 'string') return field.value;
  }
  return null;
}

/** The binary field of that name, or null. */
export function bytesOf(message: HaMessage, name: string): Uint8Array | null {
  for (const field of message) {
    if (field.name === name && typeof field.value !== 'string') return field.value;
  }
  return null;
}

/** A number as almost all travel: hexadecimal without 0x. Null when absent or malformed. */
export function hexOf(message: HaMessage, name: string): number | null {
  const text = fieldOf(message, name);
  return text !== null && /^[0-9a-fA-F]{1,13}$/.test(text) ? Number.parseInt(text, 16) : null;
}

/** firstseq and lastseq of NS_rexmit are the exception: decimal. */
export function decimalOf(message: HaMessage, name: string): number | null {
  const text = fieldOf(message, name);
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/** Fields from a plain record, in its order. */
export function haFields(record: Readonly<Record<string, string>>): HaField[] {
  return Object.entries(record).map(([name, value]) => ({ name, value }));
}

export function latin1Bytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i) & 255;
  return bytes;
}

export function latin1Text(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = '';
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i] as number);
  return text;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

export function base64Text(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const [a = 0, b = 0, c = 0] = bytes.subarray(i, i + 3);
    const word = (a << 16) | (b << 8) | c;
    const left = bytes.length - i;
    text += BASE64[word >>> 18];
    text += BASE64[(word >>> 12) & 63];
    text += left > 1 ? BASE64[(word >>> 6) & 63] : '=';
    text += left > 2 ? BASE64[word & 63] : '=';
  }
  return text;
}

/** Null when it is not base64 with its padding. */
export function base64Bytes(text: string): Uint8Array | null {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  const pad = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - pad);
  for (let i = 0, at = 0; i < text.length; i += 4) {
    let word = 0;
    for (let k = 0; k < 4; k++) word = (word << 6) | Math.max(0, BASE64.indexOf(text[i + k] ?? ''));
    for (let k = 16; k >= 0 && at < bytes.length; k -= 8) bytes[at++] = (word >>> k) & 255;
  }
  return bytes;
}

/** The text of a message up to and including "%%%\n": also the bytes that the outer signature covers. */
export function netstringBody(message: HaMessage): Uint8Array {
  let text = NETSTRING_START;
  for (const field of message) {
    const content =
      'kind' in field
        ? `(${field.kind})${field.name}=${latin1Text(field.value)}`
        : `(0)${field.name}=${field.value}`;
    text += `${content.length}:${content},`;
  }
  return latin1Bytes(text + NETSTRING_END);
}

/** A whole datagram; `signature` is 'N HEX' over `netstringBody`. */
export function encodeNetstring(message: HaMessage, signature: string): Uint8Array {
  const body = netstringBody(message);
  const tail = latin1Bytes(`${signature.length}:${signature},`);
  const bytes = new Uint8Array(body.length + tail.length);
  bytes.set(body);
  bytes.set(tail, body.length);
  return bytes;
}

/** The field lines of the classic form: with `auth` left out, the bytes that the inner signature covers. */
export function classicLines(message: HaMessage, withAuth: boolean): string {
  let text = '';
  for (const field of message) {
    if (field.name === 'auth' && !withAuth) continue;
    text +=
      'kind' in field
        ? `(${field.kind})${field.name}=${base64Text(field.value)}\n`
        : `${field.name}=${field.value.replaceAll('\n', NEWLINE_IN_VALUE)}\n`;
  }
  return text;
}

/** A whole classic message without the trailing NUL that older peers and the client API add. */
export function encodeClassic(message: HaMessage): Uint8Array {
  return latin1Bytes(CLASSIC_START + classicLines(message, true) + CLASSIC_END);
}

function wrong(offset: number, text: string): HaDecoded {
  return { ok: false, offset, text };
}

/** Either form; anything else is refused. Signatures are returned, not checked. */
export function decodeHaMessage(bytes: Uint8Array): HaDecoded {
  if (bytes.length > MAX_MESSAGE_BYTES) return wrong(MAX_MESSAGE_BYTES, 'message too long');
  const text = latin1Text(bytes);
  if (text.startsWith(NETSTRING_START)) return decodeNetstring(bytes, text);
  if (text.startsWith(CLASSIC_START)) return decodeClassic(bytes, text);
  return wrong(0, 'neither ### nor >>> at the start');
}

/** `LEN:` at `at`: the length and where the content begins; null when it is none or reaches past the end. */
function netstringLength(text: string, at: number): { start: number; end: number } | null {
  const colon = text.indexOf(':', at);
  if (colon < 0 || colon - at > 6 || colon === at) return null;
  const digits = text.slice(at, colon);
  if (!/^(0|[1-9]\d*)$/.test(digits)) return null;
  const start = colon + 1;
  const end = start + Number(digits);
  return end < text.length && text[end] === ',' ? { start, end } : null;
}

function decodeNetstring(bytes: Uint8Array, text: string): HaDecoded {
  const message: HaField[] = [];
  let at = NETSTRING_START.length;
  while (!text.startsWith(NETSTRING_END, at)) {
    const span = netstringLength(text, at);
    if (!span) return wrong(at, 'no field and no %%% where one should begin');
    if (message.length === MAX_FIELDS) return wrong(at, 'too many fields');
    const head = /^\(([0-5])\)([^=]+)=/.exec(text.slice(span.start, span.start + 300));
    if (!head || span.start + head[0].length > span.end) {
      return wrong(span.start, 'field without (type)name=');
    }
    const name = head[2] ?? '';
    const valueAt = span.start + head[0].length;
    const kind = Number(head[1]);
    message.push(
      kind === 0
        ? { name, value: text.slice(valueAt, span.end) }
        : { name, kind: kind as 1 | 2 | 3 | 4 | 5, value: bytes.slice(valueAt, span.end) },
    );
    at = span.end + 1;
  }
  at += NETSTRING_END.length;
  const signedBytes = bytes.subarray(0, at);
  if (at === text.length) {
    return { ok: true, message, form: 'netstring', signature: null, signedBytes };
  }
  const span = netstringLength(text, at);
  if (!span) return wrong(at, 'something else than a signature behind %%%');
  if (!/^\0?$/.test(text.slice(span.end + 1))) return wrong(span.end + 1, 'bytes behind the end');
  const signature = text.slice(span.start, span.end);
  return { ok: true, message, form: 'netstring', signature, signedBytes };
}

function decodeClassic(bytes: Uint8Array, text: string): HaDecoded {
  const message: HaField[] = [];
  let at = CLASSIC_START.length;
  for (;;) {
    if (at >= text.length || text[at] === '\0') break; // end of text ends the message too
    if (text.startsWith('<<<', at)) {
      if (!/^<<<\n?\0?$/.test(text.slice(at))) return wrong(at, 'bytes behind the end');
      break;
    }
    const newline = text.indexOf('\n', at);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(at, end);
    if (message.length === MAX_FIELDS) return wrong(at, 'too many fields');
    const match = /^(?:\(([0-5])\))?([^=()]+)=(.*)$/s.exec(line);
    if (!match) return wrong(at, 'line without name=value');
    const name = match[2] ?? '';
    const value = match[3] ?? '';
    const kind = Number(match[1] ?? '0');
    if (kind === 0) {
      message.push({ name, value: value.replaceAll(NEWLINE_IN_VALUE, '\n') });
    } else {
      const binary = base64Bytes(value);
      if (!binary) return wrong(at, `${name}: not base64`);
      message.push({ name, kind: kind as 1 | 2 | 3 | 4 | 5, value: binary });
    }
    at = end + 1;
  }
  return { ok: true, message, form: 'classic', signature: null, signedBytes: bytes.subarray(0, 0) };
}
