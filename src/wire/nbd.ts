/**
 * NBD, fixed newstyle: numbers and layouts of the handshake and the transmission phase, in network byte order.
 *
 *     server: NBDMAGIC IHAVEOPT flags16   client: flags32   then options, each IHAVEOPT option32 length32 data
 *     request: magic32 flags16 type16 cookie64 offset64 length32 [data]      reply: magic32 error32 cookie64 [data]
 *
 * Source: the protocol text of the nbd project (doc/proto.md). Structured replies are refused: the simple reply is
 * one header in front of the payload, which is all that a disk needs.
 */

export const REQUEST_BYTES = 28;
export const REPLY_BYTES = 16;
export const OPTION_BYTES = 16;
export const GREETING_BYTES = 18;
export const CLIENT_FLAGS_BYTES = 4;

const REQUEST_MAGIC = 0x25609513;
const REPLY_MAGIC = 0x67446698;
const NBDMAGIC = 0x4e42444d41474943n;
const IHAVEOPT = 0x49484156454f5054n;
const OPTION_REPLY_MAGIC = 0x3e889045565a9n;

export const HANDSHAKE_FIXED_NEWSTYLE = 1;
export const HANDSHAKE_NO_ZEROES = 2;
const KNOWN_CLIENT_FLAGS = 3;

export const Option = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  INFO: 6,
  GO: 7,
} as const;

export const OptionReply = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  ERR_UNSUP: 0x80000001,
  ERR_POLICY: 0x80000002,
  ERR_INVALID: 0x80000003,
  ERR_UNKNOWN: 0x80000006,
  ERR_TOO_BIG: 0x80000009,
} as const;

export const Info = { EXPORT: 0, NAME: 1, BLOCK_SIZE: 3 } as const;

export const ExportFlag = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
  CAN_MULTI_CONN: 256,
} as const;

export const Command = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  WRITE_ZEROES: 6,
} as const;

export const CommandFlag = { FUA: 1, NO_HOLE: 2 } as const;

/** The error numbers that the protocol knows are Linux's. Everything else is EIO. */
const NBD_ERRORS = new Set([1, 5, 12, 22, 28, 75, 95, 108]);

/** NBD has no number for EROFS; EPERM is what it prescribes for a write to what may only be read. */
export function nbdError(errno: number): number {
  if (errno === 30) return 1;
  return NBD_ERRORS.has(errno) ? errno : 5;
}

// Transmission: read in place.

export const isRequest = (v: DataView, at: number): boolean => v.getUint32(at) === REQUEST_MAGIC;
export const requestFlags = (v: DataView, at: number): number => v.getUint16(at + 4);
export const requestType = (v: DataView, at: number): number => v.getUint16(at + 6);
export const cookieHigh = (v: DataView, at: number): number => v.getUint32(at + 8);
export const cookieLow = (v: DataView, at: number): number => v.getUint32(at + 12);
/** Approximate above 2^53, which is beyond every device. */
export const requestOffset = (v: DataView, at: number): number =>
  v.getUint32(at + 16) * 0x100000000 + v.getUint32(at + 20);
export const requestLength = (v: DataView, at: number): number => v.getUint32(at + 24);

export function putReply(
  v: DataView,
  at: number,
  error: number,
  cookieHi: number,
  cookieLo: number,
): number {
  v.setUint32(at, REPLY_MAGIC);
  v.setUint32(at + 4, error);
  v.setUint32(at + 8, cookieHi);
  v.setUint32(at + 12, cookieLo);
  return REPLY_BYTES;
}

/** For clients (tests): the counterpart of the accessors above. */
export function putRequest(
  v: DataView,
  at: number,
  type: number,
  flags: number,
  cookieHi: number,
  cookieLo: number,
  offsetBytes: number,
  lengthBytes: number,
): number {
  v.setUint32(at, REQUEST_MAGIC);
  v.setUint16(at + 4, flags);
  v.setUint16(at + 6, type);
  v.setUint32(at + 8, cookieHi);
  v.setUint32(at + 12, cookieLo);
  v.setUint32(at + 16, Math.floor(offsetBytes / 0x100000000));
  v.setUint32(at + 20, offsetBytes >>> 0);
  v.setUint32(at + 24, lengthBytes);
  return REQUEST_BYTES;
}

// Handshake: rare, so plain functions over small arrays.

export function encodeGreeting(): Uint8Array {
  const bytes = new Uint8Array(GREETING_BYTES);
  const v = new DataView(bytes.buffer);
  v.setBigUint64(0, NBDMAGIC);
  v.setBigUint64(8, IHAVEOPT);
  v.setUint16(16, HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES);
  return bytes;
}

/** Null: flags that this server does not know, so the connection must end. */
export function decodeClientFlags(v: DataView, at: number): number | null {
  const flags = v.getUint32(at);
  return (flags & ~KNOWN_CLIENT_FLAGS) === 0 ? flags : null;
}

export interface OptionHeader {
  readonly option: number;
  readonly lengthBytes: number; // of the data behind the header
}

/** Null: not an option header. */
export function decodeOptionHeader(v: DataView, at: number): OptionHeader | null {
  if (v.getBigUint64(at) !== IHAVEOPT) return null;
  return { option: v.getUint32(at + 8), lengthBytes: v.getUint32(at + 12) };
}

export function encodeOption(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_BYTES + data.length);
  const v = new DataView(bytes.buffer);
  v.setBigUint64(0, IHAVEOPT);
  v.setUint32(8, option);
  v.setUint32(12, data.length);
  bytes.set(data, OPTION_BYTES);
  return bytes;
}

export interface ExportQuery {
  readonly name: string;
  readonly infos: readonly number[];
}

/** The data of INFO and GO. Null: it does not add up. */
export function decodeExportQuery(data: Uint8Array): ExportQuery | null {
  if (data.length < 6) return null;
  const v = new DataView(data.buffer, data.byteOffset, data.length);
  const nameBytes = v.getUint32(0);
  if (nameBytes > data.length - 6) return null;
  const count = v.getUint16(4 + nameBytes);
  if (data.length !== 6 + nameBytes + count * 2) return null;
  const infos = Array.from({ length: count }, (_, i) => v.getUint16(6 + nameBytes + i * 2));
  return { name: decodeText(data.subarray(4, 4 + nameBytes)), infos };
}

export function encodeExportQuery(query: ExportQuery): Uint8Array {
  const name = new TextEncoder().encode(query.name);
  const bytes = new Uint8Array(6 + name.length + query.infos.length * 2);
  const v = new DataView(bytes.buffer);
  v.setUint32(0, name.length);
  bytes.set(name, 4);
  v.setUint16(4 + name.length, query.infos.length);
  for (const [i, info] of query.infos.entries()) v.setUint16(6 + name.length + i * 2, info);
  return bytes;
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(20 + data.length);
  const v = new DataView(bytes.buffer);
  v.setBigUint64(0, OPTION_REPLY_MAGIC);
  v.setUint32(8, option);
  v.setUint32(12, type);
  v.setUint32(16, data.length);
  bytes.set(data, 20);
  return bytes;
}

/** A refusal with a sentence for the user. */
export function encodeOptionError(option: number, type: number, text: string): Uint8Array {
  return encodeOptionReply(option, type, new TextEncoder().encode(text));
}

/** One line of LIST. */
export function encodeListed(name: string): Uint8Array {
  const text = new TextEncoder().encode(name);
  const data = new Uint8Array(4 + text.length);
  new DataView(data.buffer).setUint32(0, text.length);
  data.set(text, 4);
  return encodeOptionReply(Option.LIST, OptionReply.SERVER, data);
}

export function encodeExportInfo(option: number, sizeBytes: number, flags: number): Uint8Array {
  const data = new Uint8Array(12);
  const v = new DataView(data.buffer);
  v.setUint16(0, Info.EXPORT);
  v.setBigUint64(2, BigInt(sizeBytes));
  v.setUint16(10, flags);
  return encodeOptionReply(option, OptionReply.INFO, data);
}

export function encodeBlockSizeInfo(
  option: number,
  minimumBytes: number,
  preferredBytes: number,
  maximumBytes: number,
): Uint8Array {
  const data = new Uint8Array(14);
  const v = new DataView(data.buffer);
  v.setUint16(0, Info.BLOCK_SIZE);
  v.setUint32(2, minimumBytes);
  v.setUint32(6, preferredBytes);
  v.setUint32(10, maximumBytes);
  return encodeOptionReply(option, OptionReply.INFO, data);
}

/** The answer to EXPORT_NAME, which has no error form: refusing is closing. */
export function encodeExportName(sizeBytes: number, flags: number, zeroes: boolean): Uint8Array {
  const bytes = new Uint8Array(zeroes ? 134 : 10);
  const v = new DataView(bytes.buffer);
  v.setBigUint64(0, BigInt(sizeBytes));
  v.setUint16(8, flags);
  return bytes;
}

export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
