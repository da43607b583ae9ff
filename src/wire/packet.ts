/**
 * What all packet codecs share: what the two ends agreed on, how a refusal looks, one row of the PACKETS table.
 *
 * A codec works on the body: the bytes after the header, whose length has been checked against the row before
 * `decode` is called. It never throws on what a peer sent and allocates nothing by a length it was told; payloads in a
 * decoded body are views of the bytes given in, not copies.
 */
import { assert } from '../base/assert.js';

/** What both ends of a connection agreed on: it decides headers and sizes. */
export interface Link {
  readonly apv: number; // agreed protocol version; 80 before the handshake
  readonly features: number; // FF bits of both
}

/**
 * Why bytes are not a packet, and at which byte, counted from where reading began. The kinds matter: on the meta socket
 * an unknown command ends in StandAlone, a wrong length in a new attempt (docs/PROTOCOL.md#packets).
 */
export interface WireError {
  readonly error: string;
  readonly kind: 'magic' | 'command' | 'length' | 'value';
  readonly offset: number;
}

export function isWireError(value: object): value is WireError {
  return 'error' in value && 'kind' in value;
}

export function badValue(error: string, offset: number): WireError {
  return { error, kind: 'value', offset };
}

export interface Codec<B> {
  /** `length` bytes at `at` are the body; they are there and their number fits the packet's row. */
  decode(view: DataView, at: number, length: number, link: Link): B | WireError;
  /** Writes the body; `bodyBytes` of it are there. */
  encode(body: B, view: DataView, at: number, link: Link): void;
  /** Bytes behind the fixed part; absent for packets that have none. */
  payloadBytes?(body: B, link: Link): number;
}

export interface PacketRow<B> extends Codec<B> {
  readonly command: number;
  /** Where it may come; 'both' is left to a legacy packet that is read and ignored. */
  readonly socket: 'data' | 'meta' | 'both';
  /** While connecting (connect.ts reads these itself), or from P_PROTOCOL on. */
  readonly phase: 'connecting' | 'running';
  /** Protocol versions that know it. */
  readonly since: number;
  readonly until: number;
  /** Bytes of the fixed part. */
  size(link: Link): number;
  /** Least and most bytes behind the fixed part. */
  payload(link: Link): readonly [number, number];
}

/** The payload as a view. */
export function payloadOf(view: DataView, at: number, lengthBytes: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, lengthBytes);
}

export function putBytes(view: DataView, at: number, bytes: Uint8Array): void {
  new Uint8Array(view.buffer, view.byteOffset + at, bytes.length).set(bytes);
}

/** The text before the first NUL of a field, or null when the field has none. */
export function readText(view: DataView, at: number, fieldBytes: number): string | null {
  let text = '';
  for (let i = 0; i < fieldBytes; i++) {
    const c = view.getUint8(at + i);
    if (c === 0) return text;
    text += String.fromCharCode(c);
  }
  return null;
}

/** Writes the text and fills the rest of the field with NUL, of which there is at least one. */
export function putText(view: DataView, at: number, fieldBytes: number, text: string): void {
  assert(text.length < fieldBytes, 'an algorithm name fits its field with its NUL');
  for (let i = 0; i < fieldBytes; i++) {
    const c = i < text.length ? text.charCodeAt(i) : 0;
    assert(c <= 0xff && (i >= text.length || c !== 0), 'an algorithm name is plain text');
    view.setUint8(at + i, c);
  }
}
