/**
 * All packets: which command comes on which socket, how long it may be, how it is decoded and encoded.
 *
 * A receiver looks at the header first (`checkHeader`): a packet that has no business on this socket, or a length that
 * does not fit, is refused before a byte of the body is waited for. Source: docs/PROTOCOL.md#packets.
 */
import { assert } from '../base/assert.js';
import { type BarrierAck, type BlockAck, barrierAckCodec, blockAckCodec } from './ack.js';
import {
  type CompressedBitmap,
  compressedBitmapCodec,
  maxBitmapBytes,
  type PlainBitmap,
  plainBitmapCodec,
  RLE_SINCE,
} from './bitmap.js';
import {
  CHALLENGE_BYTES,
  COMMANDS,
  type CommandName,
  commandName,
  maxDataBytes,
  PROTOCOL_MAX,
  SHARED_SECRET_MAX_BYTES,
} from './constants.js';
import {
  type Barrier,
  type BlockRange,
  type BlockRequest,
  barrierCodec,
  blockRangeCodec,
  blockRequestCodec,
  type Data,
  type DigestRequest,
  dataCodec,
  digestRequestCodec,
  type Trim,
  trimCodec,
  type WriteSame,
  writeSameCodec,
} from './data.js';
import {
  type AuthBytes,
  authCodec,
  type Empty,
  emptyCodec,
  FEATURES_BYTES,
  type Features,
  featuresCodec,
} from './handshake.js';
import * as hot from './hot.js';
import type { Codec, Link, PacketRow, WireError } from './packet.js';
import {
  type ProtocolParams,
  protocolCodec,
  type Sizes,
  type SyncParam,
  type SyncParamOld,
  sizesBytes,
  sizesCodec,
  syncParamBytes,
  syncParamCodec,
  syncParamOldCodec,
  type Uuids,
  uuidsCodec,
} from './params.js';
import {
  type DelayProbe,
  delayProbeCodec,
  type StateChange,
  type StateReply,
  type StateWord,
  type SyncUuid,
  stateChangeCodec,
  stateCodec,
  stateReplyCodec,
  syncUuidCodec,
} from './state-packets.js';

/** The body of each packet. A name of COMMANDS that is missing here or in PACKETS does not compile. */
export interface Bodies {
  P_DATA: Data;
  P_DATA_REPLY: Data;
  P_RS_DATA_REPLY: Data;
  P_BARRIER: Barrier;
  P_BITMAP: PlainBitmap;
  P_UNPLUG_REMOTE: Empty;
  P_DATA_REQUEST: BlockRequest;
  P_RS_DATA_REQUEST: BlockRequest;
  P_SYNC_PARAM: SyncParamOld;
  P_PROTOCOL: ProtocolParams;
  P_UUIDS: Uuids;
  P_SIZES: Sizes;
  P_STATE: StateWord;
  P_SYNC_UUID: SyncUuid;
  P_AUTH_CHALLENGE: AuthBytes;
  P_AUTH_RESPONSE: AuthBytes;
  P_STATE_CHG_REQ: StateChange;
  P_PING: Empty;
  P_PING_ACK: Empty;
  P_RECV_ACK: BlockAck;
  P_WRITE_ACK: BlockAck;
  P_RS_WRITE_ACK: BlockAck;
  P_SUPERSEDED: BlockAck;
  P_NEG_ACK: BlockAck;
  P_NEG_DREPLY: BlockAck;
  P_NEG_RS_DREPLY: BlockAck;
  P_BARRIER_ACK: BarrierAck;
  P_STATE_CHG_REPLY: StateReply;
  P_OV_REQUEST: BlockRequest;
  P_OV_REPLY: DigestRequest;
  P_OV_RESULT: BlockAck;
  P_CSUM_RS_REQUEST: DigestRequest;
  P_RS_IS_IN_SYNC: BlockAck;
  P_SYNC_PARAM89: SyncParam;
  P_COMPRESSED_BITMAP: CompressedBitmap;
  P_DELAY_PROBE: DelayProbe;
  P_OUT_OF_SYNC: BlockRange;
  P_RS_CANCEL: BlockAck;
  P_CONN_ST_CHG_REQ: StateChange;
  P_CONN_ST_CHG_REPLY: StateReply;
  P_RETRY_WRITE: BlockAck;
  P_PROTOCOL_UPDATE: ProtocolParams;
  P_TRIM: Trim;
  P_RS_THIN_REQ: BlockRequest;
  P_RS_DEALLOCATED: BlockRange;
  P_WSAME: WriteSame;
  P_ZEROES: Trim;
  P_INITIAL_META: Empty;
  P_INITIAL_DATA: Empty;
  P_CONNECTION_FEATURES: Features;
}

export type Packet = {
  [N in CommandName]: { readonly type: N; readonly volume: number; readonly body: Bodies[N] };
}[CommandName];

/** The longest digest of the kernel's algorithms (sha512). */
const MAX_DIGEST_BYTES = 64;
/** The longest logical block of a P_WSAME. */
const MAX_LOGICAL_BLOCK_BYTES = 4096;

type Bounds = readonly [number, number];
const NONE: Bounds = [0, 0];
const DIGEST: Bounds = [0, MAX_DIGEST_BYTES];

interface RowOptions {
  readonly socket?: 'data' | 'meta' | 'both';
  readonly phase?: 'connecting' | 'running';
  readonly since?: number;
  readonly until?: number;
  readonly payload?: (link: Link) => Bounds;
}

function row<B>(
  command: number,
  size: number | ((link: Link) => number),
  codec: Codec<B>,
  options: RowOptions = {},
): PacketRow<B> {
  return {
    ...codec,
    command,
    socket: options.socket ?? 'data',
    phase: options.phase ?? 'running',
    since: options.since ?? 0,
    until: options.until ?? Number.MAX_SAFE_INTEGER,
    size: typeof size === 'number' ? () => size : size,
    payload: options.payload ?? (() => NONE),
  };
}

/** For all versions what the newest allows, as the kernel does; the engine knows what it asked for. */
const DATA: Bounds = [0, MAX_DIGEST_BYTES + maxDataBytes(PROTOCOL_MAX)];

/** An algorithm name with its NUL, in versions that have it. */
function name(present: boolean): Bounds {
  return present ? [1, SHARED_SECRET_MAX_BYTES] : NONE;
}

const ack = (command: number, options: RowOptions = {}) =>
  row(command, hot.BLOCK_ACK_BYTES, blockAckCodec, { ...options, socket: 'meta' });
const data = (command: number) => row(command, hot.DATA_BYTES, dataCodec, { payload: () => DATA });
const request = (command: number) => row(command, hot.BLOCK_REQ_BYTES, blockRequestCodec);
const withDigest = (command: number) =>
  row(command, hot.BLOCK_REQ_BYTES, digestRequestCodec, { payload: () => DIGEST });

const C = COMMANDS;

export const PACKETS: { readonly [N in CommandName]: PacketRow<Bodies[N]> } = {
  P_DATA: data(C.P_DATA),
  P_DATA_REPLY: data(C.P_DATA_REPLY),
  P_RS_DATA_REPLY: data(C.P_RS_DATA_REPLY),
  P_BARRIER: row(C.P_BARRIER, hot.BARRIER_BYTES, barrierCodec),
  P_BITMAP: row(C.P_BITMAP, 0, plainBitmapCodec, {
    payload: (link) => [0, maxBitmapBytes(link.apv)],
  }),
  P_UNPLUG_REMOTE: row(C.P_UNPLUG_REMOTE, 0, emptyCodec),
  P_DATA_REQUEST: request(C.P_DATA_REQUEST),
  P_RS_DATA_REQUEST: request(C.P_RS_DATA_REQUEST),
  P_SYNC_PARAM: row(C.P_SYNC_PARAM, 4, syncParamOldCodec, {
    until: 88,
    payload: (link) => name(link.apv === 88),
  }),
  P_PROTOCOL: row(C.P_PROTOCOL, 24, protocolCodec, { payload: (link) => name(link.apv >= 87) }),
  P_UUIDS: row(C.P_UUIDS, 48, uuidsCodec),
  P_SIZES: row(C.P_SIZES, sizesBytes, sizesCodec),
  P_STATE: row(C.P_STATE, 4, stateCodec),
  P_SYNC_UUID: row(C.P_SYNC_UUID, 8, syncUuidCodec),
  P_AUTH_CHALLENGE: row(C.P_AUTH_CHALLENGE, 0, authCodec, {
    phase: 'connecting',
    payload: () => [CHALLENGE_BYTES, 2 * CHALLENGE_BYTES],
  }),
  P_AUTH_RESPONSE: row(C.P_AUTH_RESPONSE, 0, authCodec, {
    phase: 'connecting',
    payload: () => DIGEST,
  }),
  P_STATE_CHG_REQ: row(C.P_STATE_CHG_REQ, 8, stateChangeCodec),
  P_PING: row(C.P_PING, 0, emptyCodec, { socket: 'meta' }),
  P_PING_ACK: row(C.P_PING_ACK, 0, emptyCodec, { socket: 'meta' }),
  P_RECV_ACK: ack(C.P_RECV_ACK),
  P_WRITE_ACK: ack(C.P_WRITE_ACK),
  P_RS_WRITE_ACK: ack(C.P_RS_WRITE_ACK),
  P_SUPERSEDED: ack(C.P_SUPERSEDED),
  P_NEG_ACK: ack(C.P_NEG_ACK),
  P_NEG_DREPLY: ack(C.P_NEG_DREPLY),
  P_NEG_RS_DREPLY: ack(C.P_NEG_RS_DREPLY),
  P_BARRIER_ACK: row(C.P_BARRIER_ACK, hot.BARRIER_ACK_BYTES, barrierAckCodec, { socket: 'meta' }),
  P_STATE_CHG_REPLY: row(C.P_STATE_CHG_REPLY, 4, stateReplyCodec, { socket: 'meta' }),
  P_OV_REQUEST: request(C.P_OV_REQUEST),
  P_OV_REPLY: withDigest(C.P_OV_REPLY),
  P_OV_RESULT: ack(C.P_OV_RESULT),
  P_CSUM_RS_REQUEST: withDigest(C.P_CSUM_RS_REQUEST),
  P_RS_IS_IN_SYNC: ack(C.P_RS_IS_IN_SYNC),
  P_SYNC_PARAM89: row(C.P_SYNC_PARAM89, syncParamBytes, syncParamCodec, { since: 89 }),
  P_COMPRESSED_BITMAP: row(C.P_COMPRESSED_BITMAP, 0, compressedBitmapCodec, {
    since: RLE_SINCE,
    payload: (link) => [2, maxBitmapBytes(link.apv)],
  }),
  P_DELAY_PROBE: row(C.P_DELAY_PROBE, 8, delayProbeCodec, { socket: 'both' }),
  P_OUT_OF_SYNC: row(C.P_OUT_OF_SYNC, hot.BLOCK_DESC_BYTES, blockRangeCodec),
  P_RS_CANCEL: ack(C.P_RS_CANCEL),
  P_CONN_ST_CHG_REQ: row(C.P_CONN_ST_CHG_REQ, 8, stateChangeCodec, { since: 100 }),
  P_CONN_ST_CHG_REPLY: row(C.P_CONN_ST_CHG_REPLY, 4, stateReplyCodec, {
    socket: 'meta',
    since: 100,
  }),
  P_RETRY_WRITE: ack(C.P_RETRY_WRITE, { since: 100 }),
  P_PROTOCOL_UPDATE: row(C.P_PROTOCOL_UPDATE, 24, protocolCodec, {
    since: 100,
    payload: () => name(true),
  }),
  P_TRIM: row(C.P_TRIM, hot.TRIM_BYTES, trimCodec),
  P_RS_THIN_REQ: request(C.P_RS_THIN_REQ),
  P_RS_DEALLOCATED: row(C.P_RS_DEALLOCATED, hot.BLOCK_DESC_BYTES, blockRangeCodec),
  P_WSAME: row(C.P_WSAME, hot.TRIM_BYTES, writeSameCodec, {
    payload: () => [0, MAX_DIGEST_BYTES + MAX_LOGICAL_BLOCK_BYTES],
  }),
  P_ZEROES: row(C.P_ZEROES, hot.TRIM_BYTES, trimCodec),
  P_INITIAL_META: row(C.P_INITIAL_META, 0, emptyCodec, { socket: 'meta', phase: 'connecting' }),
  P_INITIAL_DATA: row(C.P_INITIAL_DATA, 0, emptyCodec, { phase: 'connecting' }),
  P_CONNECTION_FEATURES: row(C.P_CONNECTION_FEATURES, FEATURES_BYTES, featuresCodec, {
    phase: 'connecting',
  }),
};

/** What a row says apart from its body's type. */
type AnyRow = Omit<PacketRow<never>, 'decode' | 'encode' | 'payloadBytes'>;

const BY_COMMAND = new Map<number, readonly [CommandName, AnyRow]>(
  (Object.keys(PACKETS) as CommandName[]).map((n) => [PACKETS[n].command, [n, PACKETS[n]]]),
);

/**
 * Null when a packet with this header may come on `socket` now. Where a running connection's own dispatch is
 * quicker, this is what it must agree with.
 */
export function checkHeader(
  header: Readonly<hot.MutableHeader>,
  socket: 'data' | 'meta',
  phase: 'connecting' | 'running',
  link: Link,
): WireError | null {
  const known = BY_COMMAND.get(header.command)?.[1];
  const problem = known === undefined ? 'unknown' : misplaced(known, socket, phase, link);
  if (known === undefined || problem !== '') {
    const error = `${commandName(header.command)} on the ${socket} socket: ${problem}`;
    return { error, kind: 'command', offset: 0 };
  }
  const size = known.size(link);
  const [least, most] = known.payload(link);
  if (header.length >= size + least && header.length <= size + most) return null;
  const due = most === 0 ? `${size}` : `${size + least} to ${size + most}`;
  const error = `${commandName(header.command)} of ${header.length} bytes where ${due} are due`;
  return { error, kind: 'length', offset: 0 };
}

function misplaced(
  known: AnyRow,
  socket: 'data' | 'meta',
  phase: 'connecting' | 'running',
  link: Link,
): string {
  if (known.phase !== phase) return `not while ${phase}`;
  if (known.socket !== 'both' && known.socket !== socket) return 'not on this socket';
  if (link.apv < known.since || link.apv > known.until) return `not in version ${link.apv}`;
  return '';
}

/** A decoded packet and its size with header; null while bytes are missing. Payloads are views of `view`. */
export function readPacket(
  view: DataView,
  at: number,
  end: number,
  socket: 'data' | 'meta',
  phase: 'connecting' | 'running',
  link: Link,
): { readonly packet: Packet; readonly bytes: number } | WireError | null {
  const header = hot.newHeader();
  const size = hot.readHeader(view, at, end, link.apv, header);
  if (size === 0) return null;
  if (size < 0) return { error: 'no DRBD header', kind: 'magic', offset: 0 };
  const problem = checkHeader(header, socket, phase, link);
  if (problem !== null) return problem;
  if (end - at < size + header.length) return null;
  const [type] = BY_COMMAND.get(header.command) ?? [];
  assert(type !== undefined, 'a header that was checked has a row');
  const body = PACKETS[type].decode(view, at + size, header.length, link);
  if (body !== null && 'error' in body) return { ...body, offset: body.offset - at };
  return { packet: { type, volume: header.volume, body } as Packet, bytes: size + header.length };
}

/** Bytes of a packet with its header. */
export function packetBytes(packet: Packet, link: Link): number {
  const length = bodyBytes(packet, link);
  return hot.headerBytes(link.apv, length) + length;
}

function bodyBytes(packet: Packet, link: Link): number {
  const { size, payloadBytes } = rowOf(packet);
  return size(link) + (payloadBytes?.(packet.body, link) ?? 0);
}

/** The row of a packet, seen as one that takes this packet's body: PACKETS is typed so that it does. */
function rowOf(packet: Packet): PacketRow<Packet['body']> {
  return PACKETS[packet.type] as PacketRow<Packet['body']>;
}

/** Writes header and body at view[at]; returns their size. */
export function putPacket(view: DataView, at: number, packet: Packet, link: Link): number {
  const known = rowOf(packet);
  assert(link.apv >= known.since && link.apv <= known.until, 'the peer knows this packet');
  const length = bodyBytes(packet, link);
  const [least, most] = known.payload(link);
  const size = known.size(link);
  assert(length >= size + least && length <= size + most, 'a packet we send fits its row');
  const headerSize = hot.putHeader(view, at, link.apv, known.command, packet.volume, length);
  known.encode(packet.body, view, at + headerSize, link);
  return headerSize + length;
}

export function encodePacket(packet: Packet, link: Link): Uint8Array {
  const bytes = new Uint8Array(packetBytes(packet, link));
  putPacket(new DataView(bytes.buffer), 0, packet, link);
  return bytes;
}
