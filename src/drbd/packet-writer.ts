/**
 * What is sent on a connection. Two ways, each without a copy of a payload:
 *
 *     a payload       P_DATA, replies: header, p_data and digest are written in front of it in its buffer, which is sent
 *     small packets   gathered in the outbox of their stream (outbox.ts) until the end of the turn
 *
 * A payload goes behind the small packets that were written before. A peer that stops reading leaves no room for small packets: `isFull`,
 * and the link fails when the turn ends. Layout: docs/PROTOCOL.md; wire/hot.ts.
 */
import { COMMANDS, DP, ID_SYNCER_HI, ID_SYNCER_LO } from '../wire/constants.js';
import {
  BARRIER_ACK_BYTES,
  BARRIER_BYTES,
  BLOCK_ACK_BYTES,
  BLOCK_DESC_BYTES,
  BLOCK_REQ_BYTES,
  DATA_BYTES,
  headerBytes,
  putBarrier,
  putBarrierAck,
  putBlockAck,
  putBlockDesc,
  putBlockReq,
  putData,
  putHeader,
  putTrim,
  TRIM_BYTES,
} from '../wire/hot.js';
import type { Codec } from '../wire/packet.js';
import { type AppRequest, OP_DISCARD, OP_ZEROES } from './app-request.js';
import { type Core, KIND_APP_SENT, KIND_PEER_SENT } from './core.js';
import type { Link } from './link.js';
import { Outbox } from './outbox.js';
import { PEER_READ, type PeerRequest } from './peer-request.js';
import type { Volume } from './volume.js';

export class PacketWriter {
  readonly #core: Core;
  readonly #link: Link;
  readonly #dataStream: number;
  readonly #data: Outbox;
  readonly #meta: Outbox;
  #full = false;

  constructor(core: Core, link: Link, dataStream: number, metaStream: number) {
    this.#core = core;
    this.#link = link;
    this.#dataStream = dataStream;
    this.#data = new Outbox(core, dataStream);
    this.#meta = new Outbox(core, metaStream);
  }

  /** No room for small packets. */
  get isFull(): boolean {
    return this.#full;
  }

  /** Bytes waiting for the data socket: a sender of many packets pauses above a bound. */
  get backlogBytes(): number {
    return this.#core.port.sendBacklogBytes(this.#dataStream);
  }

  /** The turn ends: small packets leave. */
  flush(): void {
    this.#data.flush();
    this.#meta.flush();
  }

  /** The link is over: nothing is sent any more. */
  close(): void {
    this.#data.close();
    this.#meta.close();
  }

  // ---- requests of the application

  /** P_DATA. */
  write(v: Volume, r: AppRequest, flags: number): void {
    const { port } = this.#core;
    const seq = v.nextSeq();
    const { idHi } = this.#link;
    this.#putPayload(COMMANDS.P_DATA, v, r.sector, idHi, r.index, seq, flags, r.at, r.lengthBytes);
    r.sending = true;
    v.sendSectors += r.endSector - r.sector;
    const start = this.#payloadStart(r.at);
    const bytes = r.at + r.lengthBytes - start;
    port.send(this.#dataStream, start, bytes, this.#core.tag(KIND_APP_SENT, r.index));
  }

  /** P_TRIM, or P_ZEROES where the peer knows it. */
  erase(v: Volume, r: AppRequest, flags: number): void {
    const link = this.#link;
    const seq = v.nextSeq();
    const zeroes = r.op === OP_ZEROES && link.sendsZeroes;
    let bits = flags;
    if (r.op === OP_DISCARD || r.mayUnmap || !zeroes) bits |= DP.DISCARD;
    if (zeroes) bits |= DP.ZEROES;
    const command = zeroes ? COMMANDS.P_ZEROES : COMMANDS.P_TRIM;
    const at = this.#packet(this.#data, command, v.number, TRIM_BYTES);
    if (at < 0) return;
    const view = this.#core.port.poolView;
    putTrim(view, at, r.sector, link.idHi, r.index, seq, bits, r.lengthBytes);
  }

  /** P_OUT_OF_SYNC. A peer that does not know the packet finds out in the next resync. */
  outOfSync(v: Volume, sector: number, lengthBytes: number): void {
    if (!this.#link.sendsOutOfSync) return;
    const at = this.#packet(this.#data, COMMANDS.P_OUT_OF_SYNC, v.number, BLOCK_DESC_BYTES);
    if (at >= 0) putBlockDesc(this.#core.port.poolView, at, sector, lengthBytes);
  }

  /** P_DATA_REQUEST. */
  readRequest(v: Volume, r: AppRequest): void {
    const at = this.#packet(this.#data, COMMANDS.P_DATA_REQUEST, v.number, BLOCK_REQ_BYTES);
    if (at < 0) return;
    const view = this.#core.port.poolView;
    putBlockReq(view, at, r.sector, this.#link.idHi, r.index, r.lengthBytes);
  }

  /** P_BARRIER: the epoch is closed. */
  barrier(epoch: number): void {
    const at = this.#packet(this.#data, COMMANDS.P_BARRIER, 0, BARRIER_BYTES);
    if (at >= 0) putBarrier(this.#core.port.poolView, at, epoch);
  }

  /** P_RS_DATA_REQUEST, or P_RS_THIN_REQ. */
  resyncRequest(v: Volume, sector: number, lengthBytes: number, thin = false): void {
    const command = thin ? COMMANDS.P_RS_THIN_REQ : COMMANDS.P_RS_DATA_REQUEST;
    const at = this.#packet(this.#data, command, v.number, BLOCK_REQ_BYTES);
    if (at < 0) return;
    const view = this.#core.port.poolView;
    putBlockReq(view, at, sector, ID_SYNCER_HI, ID_SYNCER_LO, lengthBytes);
  }

  // ---- answers to the peer

  /** Any packet of the 24-byte acknowledgement family, on the meta socket. */
  ack(
    command: number,
    v: Volume,
    sector: number,
    idHi: number,
    idLo: number,
    lengthBytes: number,
  ): void {
    const at = this.#packet(this.#meta, command, v.number, BLOCK_ACK_BYTES);
    if (at < 0) return;
    putBlockAck(this.#core.port.poolView, at, sector, idHi, idLo, lengthBytes, v.nextSeq());
  }

  /** P_BARRIER_ACK: the peer's epoch is on disk here. */
  barrierAck(barrier: number, size: number): void {
    const at = this.#packet(this.#meta, COMMANDS.P_BARRIER_ACK, 0, BARRIER_ACK_BYTES);
    if (at >= 0) putBarrierAck(this.#core.port.poolView, at, barrier, size);
  }

  /** Answer a read with the data in its buffer; false when the link is gone. */
  reply(v: Volume, p: PeerRequest): boolean {
    if (!this.#link.alive) return false;
    const resync = p.kind !== PEER_READ;
    const command = resync ? COMMANDS.P_RS_DATA_REPLY : COMMANDS.P_DATA_REPLY;
    const hi = resync ? ID_SYNCER_HI : p.idHi;
    const lo = resync ? ID_SYNCER_LO : p.idLo;
    this.#putPayload(command, v, p.sector, hi, lo, 0, 0, p.at, p.lengthBytes);
    v.sendSectors += p.endSector - p.sector;
    const start = this.#payloadStart(p.at);
    const bytes = p.at + p.lengthBytes - start;
    const tag = this.#core.tag(KIND_PEER_SENT, p.index);
    this.#core.port.send(this.#dataStream, start, bytes, tag);
    return true;
  }

  /** P_PING; false: there is no room, or no link any more. */
  ping(): boolean {
    return this.#packet(this.#meta, COMMANDS.P_PING, 0, 0) >= 0;
  }

  /** P_PING_ACK. */
  pingAck(): void {
    this.#packet(this.#meta, COMMANDS.P_PING_ACK, 0, 0);
  }

  // ---- any packet

  /** Where the body of a small packet goes, or -1: there is no room, or no link any more. */
  packetAt(socket: 'data' | 'meta', command: number, v: Volume, bytes: number): number {
    return this.#packet(socket === 'data' ? this.#data : this.#meta, command, v.number, bytes);
  }

  /** A rare packet with its codec, on the data socket. */
  onData<B>(command: number, volume: number, bytes: number, codec: Codec<B>, body: B): void {
    this.#encode(this.#data, command, volume, bytes, codec, body);
  }

  /** A rare packet with its codec, on the meta socket. */
  onMeta<B>(command: number, volume: number, bytes: number, codec: Codec<B>, body: B): void {
    this.#encode(this.#meta, command, volume, bytes, codec, body);
  }

  /** A whole packet, header and all, on the data socket (bitmap packets). */
  raw(packet: Uint8Array): void {
    if (!this.#link.alive) return;
    const at = this.#data.reserve(packet.length);
    if (at < 0) this.#full = true;
    else this.#core.port.pool.set(packet, at);
  }

  #encode<B>(
    box: Outbox,
    command: number,
    volume: number,
    bytes: number,
    codec: Codec<B>,
    body: B,
  ): void {
    const at = this.#packet(box, command, volume, bytes);
    if (at >= 0) codec.encode(body, this.#core.port.poolView, at, this.#link);
  }

  /**
   * Header of a small packet; where its body goes, or -1: the link is gone, or fails at the end of this turn; or the volume was made
   * beside one that an old peer is connected to, which knows no other.
   */
  #packet(box: Outbox, command: number, volume: number, bytes: number): number {
    const { alive, apv } = this.#link;
    if (!alive || this.#full || (volume !== 0 && apv < 100)) return -1;
    const header = headerBytes(apv, bytes);
    const at = box.reserve(header + bytes);
    if (at < 0) {
      this.#full = true;
      return -1;
    }
    putHeader(this.#core.port.poolView, at, apv, command, volume, bytes);
    return at + header;
  }

  /** Where the packet in front of a payload begins. */
  #payloadStart(at: number): number {
    const { sends, apv } = this.#link;
    return at - sends.bytes - DATA_BYTES - headerBytes(apv, 0);
  }

  /** Header, p_data and digest in front of the payload at `at`; flushes what must go before. */
  #putPayload(
    command: number,
    v: Volume,
    sector: number,
    idHi: number,
    idLo: number,
    seq: number,
    flags: number,
    at: number,
    lengthBytes: number,
  ): void {
    this.#data.flush();
    const { sends, apv } = this.#link;
    const { pool, poolView } = this.#core.port;
    let to = this.#payloadStart(at);
    const length = DATA_BYTES + sends.bytes + lengthBytes;
    to += putHeader(poolView, to, apv, command, v.number, length);
    to += putData(poolView, to, sector, idHi, idLo, seq, flags);
    if (sends.bytes > 0) {
      this.#core.host.digests.digest(sends.alg, pool, at, at + lengthBytes, pool, to);
    }
  }
}
