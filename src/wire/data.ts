/**
 * Packets that carry or ask for blocks, in their decoded form: for tools, tests and rare paths. The data path
 * itself reads and writes them by hot.ts; layouts are there and only there.
 *
 * Pads that the kernel leaves undefined are kept, so that what was decoded is encoded to the same bytes.
 * Source: docs/PROTOCOL.md#data, #requests, #epochs.
 */
import * as hot from './hot.js';
import { badValue, type Codec, payloadOf, putBytes, type WireError } from './packet.js';

/** P_DATA, P_DATA_REPLY, P_RS_DATA_REPLY: struct p_data, then [digest] and data. */
export interface Data {
  readonly sector: number; // 0, u64
  readonly blockId: bigint; // 8, opaque: echoed in the acknowledgement
  readonly seq: number; // 16, orders data against acknowledgements; 0 in replies
  readonly flags: number; // 20, DP bits; 0 in replies
  readonly payload: Uint8Array; // 24, the digest first where data-integrity-alg is set
}

/** P_TRIM, P_ZEROES: a range instead of data. */
export interface Trim extends Omit<Data, 'payload'> {
  readonly sizeBytes: number; // 24
}

/** P_WSAME: one logical block that fills a range. Never sent: kernels announce it and cannot receive it. */
export interface WriteSame extends Trim {
  readonly payload: Uint8Array; // 28
}

/** P_DATA_REQUEST, P_RS_DATA_REQUEST, P_RS_THIN_REQ, P_OV_REQUEST: struct p_block_req. */
export interface BlockRequest {
  readonly sector: number; // 0
  readonly blockId: bigint; // 8, opaque, or ID_SYNCER
  readonly sizeBytes: number; // 16
  readonly pad: number; // 20, undefined contents
}

/** P_CSUM_RS_REQUEST, P_OV_REPLY: the digest of sizeBytes bytes of the sender's disk follows. */
export interface DigestRequest extends BlockRequest {
  readonly digest: Uint8Array; // 24
}

/** P_OUT_OF_SYNC, P_RS_DEALLOCATED: struct p_block_desc. */
export interface BlockRange {
  readonly sector: number; // 0
  readonly sizeBytes: number; // 8
  readonly pad: number; // 12, undefined contents
}

export interface Barrier {
  readonly barrier: number; // 0, opaque: any number the sender recognises
  readonly pad: number; // 4
}

const TOO_FAR = 'sector above 2^53';

export function joinId(idHi: number, idLo: number): bigint {
  return (BigInt(idHi) << 32n) | BigInt(idLo);
}
export function idHi(blockId: bigint): number {
  return Number((blockId >> 32n) & 0xffffffffn);
}
export function idLo(blockId: bigint): number {
  return Number(blockId & 0xffffffffn);
}

function decodeHead(view: DataView, at: number): Omit<Data, 'payload'> | WireError {
  const d = hot.newData();
  if (hot.readData(view, at, d) === hot.REFUSED) return badValue(TOO_FAR, at);
  return { sector: d.sector, blockId: joinId(d.idHi, d.idLo), seq: d.seq, flags: d.flags };
}

function encodeHead(d: Omit<Data, 'payload'>, view: DataView, at: number): void {
  hot.putData(view, at, d.sector, idHi(d.blockId), idLo(d.blockId), d.seq, d.flags);
}

export const dataCodec: Codec<Data> = {
  decode(view, at, length) {
    const head = decodeHead(view, at);
    if ('error' in head) return head;
    return { ...head, payload: payloadOf(view, at + hot.DATA_BYTES, length - hot.DATA_BYTES) };
  },
  encode(d, view, at) {
    encodeHead(d, view, at);
    putBytes(view, at + hot.DATA_BYTES, d.payload);
  },
  payloadBytes: (d) => d.payload.length,
};

export const trimCodec: Codec<Trim> = {
  decode(view, at) {
    const head = decodeHead(view, at);
    return 'error' in head ? head : { ...head, sizeBytes: view.getUint32(at + 24) };
  },
  encode(d, view, at) {
    encodeHead(d, view, at);
    view.setUint32(at + 24, d.sizeBytes);
  },
};

export const writeSameCodec: Codec<WriteSame> = {
  decode(view, at, length, link) {
    const trim = trimCodec.decode(view, at, length, link);
    if ('error' in trim) return trim;
    return { ...trim, payload: payloadOf(view, at + hot.TRIM_BYTES, length - hot.TRIM_BYTES) };
  },
  encode(d, view, at, link) {
    trimCodec.encode(d, view, at, link);
    putBytes(view, at + hot.TRIM_BYTES, d.payload);
  },
  payloadBytes: (d) => d.payload.length,
};

export const blockRequestCodec: Codec<BlockRequest> = {
  decode(view, at) {
    const r = hot.newBlockReq();
    if (hot.readBlockReq(view, at, r) === hot.REFUSED) return badValue(TOO_FAR, at);
    return {
      sector: r.sector,
      blockId: joinId(r.idHi, r.idLo),
      sizeBytes: r.sizeBytes,
      pad: view.getUint32(at + 20),
    };
  },
  encode(r, view, at) {
    hot.putBlockReq(view, at, r.sector, idHi(r.blockId), idLo(r.blockId), r.sizeBytes);
    view.setUint32(at + 20, r.pad);
  },
};

export const digestRequestCodec: Codec<DigestRequest> = {
  decode(view, at, length, link) {
    const r = blockRequestCodec.decode(view, at, length, link);
    if ('error' in r) return r;
    const digestAt = at + hot.BLOCK_REQ_BYTES;
    return { ...r, digest: payloadOf(view, digestAt, length - hot.BLOCK_REQ_BYTES) };
  },
  encode(r, view, at, link) {
    blockRequestCodec.encode(r, view, at, link);
    putBytes(view, at + hot.BLOCK_REQ_BYTES, r.digest);
  },
  payloadBytes: (r) => r.digest.length,
};

export const blockRangeCodec: Codec<BlockRange> = {
  decode(view, at) {
    const r = hot.newBlockDesc();
    if (hot.readBlockDesc(view, at, r) === hot.REFUSED) return badValue(TOO_FAR, at);
    return { sector: r.sector, sizeBytes: r.sizeBytes, pad: view.getUint32(at + 12) };
  },
  encode(r, view, at) {
    hot.putBlockDesc(view, at, r.sector, r.sizeBytes);
    view.setUint32(at + 12, r.pad);
  },
};

export const barrierCodec: Codec<Barrier> = {
  decode: (view, at) => ({ barrier: view.getUint32(at), pad: view.getUint32(at + 4) }),
  encode(b, view, at) {
    hot.putBarrier(view, at, b.barrier);
    view.setUint32(at + 4, b.pad);
  },
};
