/**
 * Who signed a heartbeat message. `N HEX`: the number of a key of authkeys and a digest, lower case.
 *
 *     sha1, md5        HMAC with the key
 *     sha256, sha512   the same, between two nodes of twinbeat: the original does not know them
 *     crc              CRC-32 of POSIX cksum without the length bytes, printed without leading zeros: finds errors only
 *
 * The outer signature (netstring) covers the bytes up to %%%; the inner one (field `auth`, classic) covers the field
 * lines without `auth`. The original checks the outer one with the key of its own auth line whatever number is named;
 * we take any configured key, so that keys can be changed one node at a time towards us. Source: docs/HEARTBEAT.md.
 */
import type { DigestSource } from '../base/ports.js';
import type { HaDecoded, HaField, HaMessage } from './hamsg.js';
import {
  classicLines,
  encodeClassic,
  encodeNetstring,
  fieldOf,
  latin1Bytes,
  netstringBody,
} from './hamsg.js';

export interface SigningKey {
  readonly number: number;
  readonly method: 'crc' | 'md5' | 'sha1' | 'sha256' | 'sha512';
  readonly key: string;
}

export interface SigningKeys {
  readonly current: SigningKey;
  readonly keys: readonly SigningKey[];
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i << 24;
  for (let k = 0; k < 8; k++) c = c & 0x80000000 ? (c << 1) ^ 0x04c11db7 : c << 1;
  return c >>> 0;
});

/** CRC-32 of POSIX cksum, most significant bit first, from 0, complemented, without the length. */
export function cksumCrc(bytes: Uint8Array): number {
  let c = 0;
  for (const byte of bytes) c = ((c << 8) ^ (CRC_TABLE[((c >>> 24) ^ byte) & 255] as number)) >>> 0;
  return ~c >>> 0;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** 'N HEX' over `bytes`. */
export function haSignature(key: SigningKey, digests: DigestSource, bytes: Uint8Array): string {
  const digest =
    key.method === 'crc'
      ? cksumCrc(bytes).toString(16)
      : hex(digests.hmac(key.method, latin1Bytes(key.key), bytes));
  return `${key.number} ${digest}`;
}

function isSignedBy(
  signature: string,
  keys: SigningKeys,
  digests: DigestSource,
  bytes: Uint8Array,
): boolean {
  const match = /^(\d{1,2}) ([0-9a-f]+)$/.exec(signature);
  if (!match) return false;
  const number = Number(match[1]);
  const key = keys.keys.find((candidate) => candidate.number === number);
  return key !== undefined && haSignature(key, digests, bytes) === signature;
}

/** Whether a decoded message is signed by one of our keys: the outer signature, or `auth` in the classic form. */
export function isAuthentic(
  decoded: HaDecoded & { readonly ok: true },
  keys: SigningKeys,
  digests: DigestSource,
): boolean {
  if (decoded.form === 'netstring') {
    return (
      decoded.signature !== null &&
      isSignedBy(decoded.signature, keys, digests, decoded.signedBytes)
    );
  }
  const auth = fieldOf(decoded.message, 'auth');
  if (auth === null) return false;
  return isSignedBy(auth, keys, digests, latin1Bytes(classicLines(decoded.message, false)));
}

/**
 * The datagram of a message. With `inner` (msgfmt classic, the default) the message also carries the field `auth`,
 * which is what the original sends.
 */
export function signNetstring(
  message: HaMessage,
  keys: SigningKeys,
  digests: DigestSource,
  inner: boolean,
): Uint8Array {
  const signed = inner ? withAuth(message, keys, digests) : message;
  const signature = haSignature(keys.current, digests, netstringBody(signed));
  return encodeNetstring(signed, signature);
}

/** The classic form with its `auth` field, as older peers send and expect it. */
export function signClassic(
  message: HaMessage,
  keys: SigningKeys,
  digests: DigestSource,
): Uint8Array {
  return encodeClassic(withAuth(message, keys, digests));
}

function withAuth(message: HaMessage, keys: SigningKeys, digests: DigestSource): HaMessage {
  const lines = latin1Bytes(classicLines(message, false));
  const auth: HaField = { name: 'auth', value: haSignature(keys.current, digests, lines) };
  return [...message.filter((field) => field.name !== 'auth'), auth];
}
