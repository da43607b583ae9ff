/**
 * The packets of the data path, without an allocation per packet: headers, P_DATA and its replies, requests, acks,
 * barriers, discards. The cold packets are in the other files of this directory; both agree (test/wire/hot.test.ts).
 *
 * `put...` writes at view[at] and returns the bytes written, so that a header and its body are composed contiguously
 * in front of a payload. `read...` fills an object that the caller keeps, and returns the bytes read, or `REFUSED` for
 * a value that cannot be right. They read a fixed number of bytes: whether so many are there, and whether the
 * header's length fits the packet, is the caller's check (packets.ts).
 *
 * A block id is opaque: the sender's own eight bytes, kept as two halves and echoed. A sector is a `number`;
 * above 2^53 it is refused, because it would not be exact (and no device is that large).
 * Source: docs/PROTOCOL.md#headers, #data, #requests, #acks.
 */
import { assert } from '../base/assert.js';
import { MAGIC_H80, MAGIC_H95, MAGIC_H100 } from './constants.js';

export const REFUSED = -1;

const TWO_32 = 0x100000000;
/** First high half of a u64 whose value is not below 2^53. */
const UNSAFE_HIGH = 0x200000;
/** h95 exists for bodies that are longer; up to here h80 is used for all versions below 100. */
const H80_MAX_BODY_BYTES = 32768;

export const DATA_BYTES = 24;
export const TRIM_BYTES = 28; // also P_ZEROES and P_WSAME
export const BLOCK_REQ_BYTES = 24;
export const BLOCK_ACK_BYTES = 24;
export const BLOCK_DESC_BYTES = 16; // P_OUT_OF_SYNC, P_RS_DEALLOCATED
export const BARRIER_BYTES = 8;
export const BARRIER_ACK_BYTES = 8;

export interface MutableHeader {
  command: number;
  volume: number; // 0 below apv 100
  length: number; // bytes after the header
}

/** p_data; p_trim and p_wsame have sizeBytes in addition. */
export interface MutableData {
  sector: number;
  idHi: number;
  idLo: number;
  seq: number;
  flags: number; // DP
}

export interface MutableTrim extends MutableData {
  sizeBytes: number;
}

export interface MutableBlockReq {
  sector: number;
  idHi: number;
  idLo: number;
  sizeBytes: number;
}

export interface MutableBlockAck {
  sector: number;
  idHi: number;
  idLo: number;
  sizeBytes: number;
  seq: number;
}

export interface MutableBlockDesc {
  sector: number;
  sizeBytes: number;
}

export interface MutableBarrier {
  barrier: number; // opaque
}

export interface MutableBarrierAck {
  barrier: number; // the bytes of P_BARRIER, echoed
  setSize: number; // writes received in that epoch
}

export function newHeader(): MutableHeader {
  return { command: 0, volume: 0, length: 0 };
}
export function newData(): MutableData {
  return { sector: 0, idHi: 0, idLo: 0, seq: 0, flags: 0 };
}
export function newTrim(): MutableTrim {
  return { sector: 0, idHi: 0, idLo: 0, seq: 0, flags: 0, sizeBytes: 0 };
}
export function newBlockReq(): MutableBlockReq {
  return { sector: 0, idHi: 0, idLo: 0, sizeBytes: 0 };
}
export function newBlockAck(): MutableBlockAck {
  return { sector: 0, idHi: 0, idLo: 0, sizeBytes: 0, seq: 0 };
}
export function newBlockDesc(): MutableBlockDesc {
  return { sector: 0, sizeBytes: 0 };
}
export function newBarrier(): MutableBarrier {
  return { barrier: 0 };
}
export function newBarrierAck(): MutableBarrierAck {
  return { barrier: 0, setSize: 0 };
}

/** Size of the header in front of a body of `length` bytes: the same for every length of one version. */
export function headerBytes(apv: number, _length: number): number {
  return apv >= 100 ? 16 : 8;
}

/** Writes the header that `apv` wants for this body; returns its size. */
export function putHeader(
  view: DataView,
  at: number,
  apv: number,
  command: number,
  volume: number,
  length: number,
): number {
  if (apv >= 100) {
    view.setUint32(at, MAGIC_H100);
    view.setUint16(at + 4, volume);
    view.setUint16(at + 6, command);
    view.setUint32(at + 8, length);
    view.setUint32(at + 12, 0);
    return 16;
  }
  assert(volume === 0, 'below protocol version 100 there is one volume');
  if (apv >= 95 && length > H80_MAX_BODY_BYTES) {
    view.setUint16(at, MAGIC_H95);
    view.setUint16(at + 2, command);
    view.setUint32(at + 4, length);
    return 8;
  }
  assert(length <= 0xffff, 'h80 has 16 bits of length');
  view.setUint32(at, MAGIC_H80);
  view.setUint16(at + 4, command);
  view.setUint16(at + 6, length);
  return 8;
}

/**
 * Reads the header at view[at, end). Returns its size, 0 when more bytes are needed, REFUSED for a wrong magic or
 * pad. Below 100 both small headers may come, packet by packet.
 */
export function readHeader(
  view: DataView,
  at: number,
  end: number,
  apv: number,
  out: MutableHeader,
): number {
  if (apv >= 100) {
    if (end - at < 16) return 0;
    if (view.getUint32(at) !== MAGIC_H100 || view.getUint32(at + 12) !== 0) return REFUSED;
    out.volume = view.getUint16(at + 4);
    out.command = view.getUint16(at + 6);
    out.length = view.getUint32(at + 8);
    return 16;
  }
  if (end - at < 8) return 0;
  out.volume = 0;
  if (view.getUint32(at) === MAGIC_H80) {
    out.command = view.getUint16(at + 4);
    out.length = view.getUint16(at + 6);
    return 8;
  }
  if (view.getUint16(at) === MAGIC_H95) {
    out.command = view.getUint16(at + 2);
    out.length = view.getUint32(at + 4);
    return 8;
  }
  return REFUSED;
}

/** A u64 that is below 2^53. */
export function putU53(view: DataView, at: number, value: number): void {
  assert(value >= 0 && Number.isSafeInteger(value), 'a sector is a whole number below 2^53');
  view.setUint32(at, Math.floor(value / TWO_32));
  view.setUint32(at + 4, value >>> 0);
}

/** A u64, or REFUSED when it is not below 2^53. */
export function readU53(view: DataView, at: number): number {
  const high = view.getUint32(at);
  return high < UNSAFE_HIGH ? high * TWO_32 + view.getUint32(at + 4) : REFUSED;
}

/** P_DATA, P_DATA_REPLY, P_RS_DATA_REPLY: what stands before [digest] and data. */
export function putData(
  view: DataView,
  at: number,
  sector: number,
  idHi: number,
  idLo: number,
  seq: number,
  flags: number,
): number {
  putU53(view, at, sector);
  view.setUint32(at + 8, idHi);
  view.setUint32(at + 12, idLo);
  view.setUint32(at + 16, seq);
  view.setUint32(at + 20, flags);
  return DATA_BYTES;
}

export function readData(view: DataView, at: number, out: MutableData): number {
  const sector = readU53(view, at);
  if (sector < 0) return REFUSED;
  out.sector = sector;
  out.idHi = view.getUint32(at + 8);
  out.idLo = view.getUint32(at + 12);
  out.seq = view.getUint32(at + 16);
  out.flags = view.getUint32(at + 20);
  return DATA_BYTES;
}

/** P_TRIM, P_ZEROES, P_WSAME. */
export function putTrim(
  view: DataView,
  at: number,
  sector: number,
  idHi: number,
  idLo: number,
  seq: number,
  flags: number,
  sizeBytes: number,
): number {
  putData(view, at, sector, idHi, idLo, seq, flags);
  view.setUint32(at + 24, sizeBytes);
  return TRIM_BYTES;
}

export function readTrim(view: DataView, at: number, out: MutableTrim): number {
  if (readData(view, at, out) < 0) return REFUSED;
  out.sizeBytes = view.getUint32(at + 24);
  return TRIM_BYTES;
}

/** P_DATA_REQUEST, P_RS_DATA_REQUEST, P_RS_THIN_REQ, P_CSUM_RS_REQUEST, P_OV_REQUEST, P_OV_REPLY. */
export function putBlockReq(
  view: DataView,
  at: number,
  sector: number,
  idHi: number,
  idLo: number,
  sizeBytes: number,
): number {
  putU53(view, at, sector);
  view.setUint32(at + 8, idHi);
  view.setUint32(at + 12, idLo);
  view.setUint32(at + 16, sizeBytes);
  view.setUint32(at + 20, 0); // pad
  return BLOCK_REQ_BYTES;
}

/** The pad is not looked at: the kernel leaves rubbish in it. */
export function readBlockReq(view: DataView, at: number, out: MutableBlockReq): number {
  const sector = readU53(view, at);
  if (sector < 0) return REFUSED;
  out.sector = sector;
  out.idHi = view.getUint32(at + 8);
  out.idLo = view.getUint32(at + 12);
  out.sizeBytes = view.getUint32(at + 16);
  return BLOCK_REQ_BYTES;
}

/** All acks and negative replies: P_RECV_ACK ... P_NEG_RS_DREPLY, P_OV_RESULT, P_RS_IS_IN_SYNC, P_RS_CANCEL. */
export function putBlockAck(
  view: DataView,
  at: number,
  sector: number,
  idHi: number,
  idLo: number,
  sizeBytes: number,
  seq: number,
): number {
  putU53(view, at, sector);
  view.setUint32(at + 8, idHi);
  view.setUint32(at + 12, idLo);
  view.setUint32(at + 16, sizeBytes);
  view.setUint32(at + 20, seq);
  return BLOCK_ACK_BYTES;
}

export function readBlockAck(view: DataView, at: number, out: MutableBlockAck): number {
  const sector = readU53(view, at);
  if (sector < 0) return REFUSED;
  out.sector = sector;
  out.idHi = view.getUint32(at + 8);
  out.idLo = view.getUint32(at + 12);
  out.sizeBytes = view.getUint32(at + 16);
  out.seq = view.getUint32(at + 20);
  return BLOCK_ACK_BYTES;
}

/** P_OUT_OF_SYNC, P_RS_DEALLOCATED. */
export function putBlockDesc(
  view: DataView,
  at: number,
  sector: number,
  sizeBytes: number,
): number {
  putU53(view, at, sector);
  view.setUint32(at + 8, sizeBytes);
  view.setUint32(at + 12, 0); // pad
  return BLOCK_DESC_BYTES;
}

export function readBlockDesc(view: DataView, at: number, out: MutableBlockDesc): number {
  const sector = readU53(view, at);
  if (sector < 0) return REFUSED;
  out.sector = sector;
  out.sizeBytes = view.getUint32(at + 8);
  return BLOCK_DESC_BYTES;
}

export function putBarrier(view: DataView, at: number, barrier: number): number {
  view.setUint32(at, barrier);
  view.setUint32(at + 4, 0); // pad
  return BARRIER_BYTES;
}

export function readBarrier(view: DataView, at: number, out: MutableBarrier): number {
  out.barrier = view.getUint32(at);
  return BARRIER_BYTES;
}

export function putBarrierAck(
  view: DataView,
  at: number,
  barrier: number,
  setSize: number,
): number {
  view.setUint32(at, barrier);
  view.setUint32(at + 4, setSize);
  return BARRIER_ACK_BYTES;
}

export function readBarrierAck(view: DataView, at: number, out: MutableBarrierAck): number {
  out.barrier = view.getUint32(at);
  out.setSize = view.getUint32(at + 4);
  return BARRIER_ACK_BYTES;
}
