/**
 * An established connection to the peer: two streams, what is on its way in both directions, pings and timeouts.
 * Receiving is in data-receiver.ts and meta-receiver.ts; what a packet means for states is the resource's.
 *
 * A link ends once (`fail`): both streams are closed, the transfer log is handed back as lost, and what the peer had sent
 * before is still written in order. Only when that is over (`drained`) may a new link be made: a write of the old one
 * must not land after a newer one.
 */

import type { NetOptions } from '../config/drbd-options.js';
import {
  COMMANDS,
  DP,
  FF,
  ID_SYNCER_HI,
  ID_SYNCER_LO,
  maxDataBytes,
  maxDiscardBytes,
} from '../wire/constants.js';
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
import { CONN_FLAGS, type ProtocolParams } from '../wire/params.js';
import { type AppRequest, OP_DISCARD, OP_READ, OP_WRITE, OP_ZEROES } from './app-request.js';
import { type Core, type Flusher, KIND_APP_SENT, KIND_PEER_SENT, type TurnEnd } from './core.js';
import { DataReceiver } from './data-receiver.js';
import { MetaReceiver } from './meta-receiver.js';
import { Outbox } from './outbox.js';
import { Parting } from './parting.js';
import { PeerEpochs, type PeerEpochsOwner, type WriteOrdering } from './peer-epochs.js';
import { PEER_READ, type PeerRequest } from './peer-request.js';
import type { StreamOwner } from './ports.js';
import type { Resource } from './resource.js';
import { TransferLog, type TransferLogOwner } from './transfer-log.js';
import type { Volume } from './volume.js';
import { WaitingReads } from './waiting-reads.js';

/** An epoch that nothing closes is closed after this, so that the transfer log drains when the application rests. */
const IDLE_EPOCH_MS = 100;

/** The digest in front of payloads; of none: '' and 0. Each direction has its own: it changes between two packets. */
export interface Integrity {
  readonly alg: string;
  readonly bytes: number;
}

export type LinkEnd = 'BrokenPipe' | 'NetworkFailure' | 'ProtocolError' | 'Timeout';

export interface Established {
  readonly dataStream: number;
  readonly metaStream: number;
  readonly apv: number;
  readonly features: number;
  readonly resolveConflicts: boolean;
}

export class Link implements TransferLogOwner, PeerEpochsOwner, TurnEnd, Flusher {
  readonly core: Core;
  readonly resource: Resource;
  readonly apv: number;
  readonly features: number;
  readonly resolveConflicts: boolean;
  readonly transferLog: TransferLog;
  readonly epochs: PeerEpochs;
  readonly data: Outbox;
  readonly meta: Outbox;
  /** What the peer reads, and has no buffer here as yet. */
  readonly waitingReads: WaitingReads;
  readonly #dataStream: number;
  readonly #metaStream: number;
  readonly #dataReceiver: DataReceiver;
  readonly #metaReceiver: MetaReceiver;
  /** Of what we send; of what the peer sends, as its P_PROTOCOL or P_PROTOCOL_UPDATE said. */
  sends: Integrity;
  receives: Integrity;
  /** Distinguishes our block ids from those of an earlier link. */
  readonly idHi: number;
  alive = true;
  #full = false; // no room for small packets: fails when the turn ends
  #parting: Parting | null = null; // refused, and the peer may not have found out yet
  readonly #drainedDone: (() => void)[] = [];
  /** Bytes of the peer's requests that hold buffers. */
  window = 0;
  /** The options of our P_PROTOCOL: those that the peer's is compared with. */
  readonly announced: NetOptions;
  /** What the peer said in P_PROTOCOL, or an update of it; null before. */
  peerProtocol: ProtocolParams | null = null;

  // pings
  #pingDueMs: number;
  #pingSentMs = -1; // >= 0: a P_PING_ACK is awaited
  #lastWriteMs = 0;
  #epochMovedMs = 0; // the first barrier was sent, or one was acknowledged
  readonly #pingWaiters: (() => void)[] = [];

  constructor(core: Core, resource: Resource, e: Established, incarnation: number) {
    this.core = core;
    this.resource = resource;
    this.apv = e.apv;
    this.features = e.features;
    this.resolveConflicts = e.resolveConflicts;
    this.idHi = incarnation;
    this.#dataStream = e.dataStream;
    this.#metaStream = e.metaStream;
    const options = resource.netOptions;
    this.announced = options;
    // Older peers send none, and expect none.
    this.sends = this.integrity(e.apv >= 87 ? options.dataIntegrityAlg : '');
    this.receives = this.sends; // or the connection is refused (protocolMismatch)
    this.transferLog = new TransferLog(this, options.maxEpochSize);
    this.epochs = new PeerEpochs(this);
    this.waitingReads = new WaitingReads(core);
    this.data = new Outbox(core, e.dataStream);
    this.meta = new Outbox(core, e.metaStream);
    this.#dataReceiver = new DataReceiver(core, this, e.dataStream);
    this.#metaReceiver = new MetaReceiver(core, this);
    this.#pingDueMs = core.port.nowMs() + options.pingIntS * 1000;
    core.addTurnEnd(this);
    core.addFlusher(this);
  }

  /** Start reading; what the handshake left unread is delivered. */
  start(handOver: (data: StreamOwner, meta: StreamOwner) => void): void {
    handOver(this.#dataReceiver, this.#metaReceiver);
  }

  // ---- what the configuration makes of it

  integrity(alg: string): Integrity {
    return { alg, bytes: alg === '' ? 0 : this.core.host.digests.digestBytes(alg) };
  }

  get protocol(): 'A' | 'B' | 'C' {
    return this.resource.netOptions.protocol;
  }
  get pingTimeoutMs(): number {
    return this.resource.netOptions.pingTimeoutDs * 100;
  }
  /** Protocol A: a write is answered when the socket has it. */
  get answersWhenSent(): boolean {
    return this.resource.netOptions.protocol === 'A';
  }
  /** Protocol C: a flush waits for the peer's disk too. */
  get flushesPeer(): boolean {
    return this.resource.netOptions.protocol === 'C';
  }
  /** connect --tentative over there: what would happen is wanted, and nothing else. */
  get peerDryRun(): boolean {
    return ((this.peerProtocol?.connFlags ?? 0) & CONN_FLAGS.DRY_RUN) !== 0;
  }
  get largeDiscards(): boolean {
    return maxDiscardBytes(this.features) > 4 << 20;
  }
  /** Zeroes and discards can be sent as such; a kernel expects a digest that it does not send itself. */
  get sendsZeroes(): boolean {
    return (this.features & FF.WZEROES) !== 0 && this.sends.bytes === 0;
  }
  get sendsTrim(): boolean {
    return (this.features & FF.TRIM) !== 0;
  }
  /** A write in a resync is answered by P_RS_WRITE_ACK; else, protocols A and B of an old peer, as if there was none. */
  get tellsInSync(): boolean {
    return this.apv >= 100 || this.protocol === 'C';
  }
  /** The flag of a write that has to be durable when it is answered. */
  get sendsFua(): boolean {
    return this.apv >= 95;
  }
  get sendsOutOfSync(): boolean {
    return this.apv >= 96;
  }

  /** Of an application's request: so many sectors go into one packet; 0 for what the peer has no packet for. */
  mostSectors(v: Volume, op: number): number {
    if (op === OP_WRITE || op === OP_READ)
      return dataSectors(this.apv, v.peerSizes?.maxBioBytes ?? 0);
    return this.sendsTrim ? maxDiscardBytes(this.features) / 512 : 0;
  }

  writeOrdering(): WriteOrdering {
    return this.resource.writeOrdering();
  }

  /** It is asked to acknowledge this write of ours when it is written, whatever the protocol. */
  acknowledgesAnyLetter(r: AppRequest): boolean {
    return this.apv >= 100 && r.run !== 0;
  }

  wantsWriteAck(flags: number): boolean {
    if (this.apv < 100) return this.protocol === 'C';
    return (flags & DP.SEND_WRITE_ACK) !== 0;
  }

  wantsReceiveAck(flags: number): boolean {
    if (this.apv < 100) return this.protocol === 'B';
    return (flags & DP.SEND_RECEIVE_ACK) !== 0;
  }

  // ---- sending: application requests

  /** Put a write on the transfer log and on the data socket. */
  sendWrite(v: Volume, r: AppRequest): void {
    this.transferLog.add(r);
    r.owner.promises.begin(r, this.protocol);
    this.#lastWriteMs = r.startMs;
    v.generationShared = true; // this write may fill the last block that a resync lacks
    r.run = v.resync.run;
    const syncing = r.run !== 0;
    let flags: number = DP.RW_SYNC;
    if (syncing) flags |= DP.MAY_SET_IN_SYNC;
    if (this.protocol === 'C' || syncing) flags |= DP.SEND_WRITE_ACK;
    if (this.protocol === 'B' && !syncing) flags |= DP.SEND_RECEIVE_ACK;
    if (r.fua) flags |= DP.FUA;
    flags &= knownFlags(this.apv);
    const seq = v.nextSeq();
    if (r.op === OP_WRITE) {
      this.#sendPayload(
        COMMANDS.P_DATA,
        v,
        r.sector,
        this.idHi,
        r.index,
        seq,
        flags,
        r.at,
        r.lengthBytes,
      );
      r.sending = true;
      v.sendSectors += r.endSector - r.sector;
      const start = this.#payloadStart(r.at);
      const bytes = r.at + r.lengthBytes - start;
      this.core.port.send(this.#dataStream, start, bytes, this.core.tag(KIND_APP_SENT, r.index));
      return;
    }
    const zeroes = r.op === OP_ZEROES && this.sendsZeroes;
    if (r.op === OP_DISCARD || r.mayUnmap || !zeroes) flags |= DP.DISCARD;
    if (zeroes) flags |= DP.ZEROES;
    const command = zeroes ? COMMANDS.P_ZEROES : COMMANDS.P_TRIM;
    const at = this.#packet(this.data, command, v.number, TRIM_BYTES);
    if (at < 0) return;
    putTrim(this.core.port.poolView, at, r.sector, this.idHi, r.index, seq, flags, r.lengthBytes);
  }

  /** Where the packet in front of a payload begins. */
  #payloadStart(at: number): number {
    return at - this.sends.bytes - DATA_BYTES - headerBytes(this.apv, 0);
  }

  /** Header, p_data and digest in front of the payload at `at`; flushes what must go before. */
  #sendPayload(
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
    this.data.flush();
    const view = this.core.port.poolView;
    let to = this.#payloadStart(at);
    const length = DATA_BYTES + this.sends.bytes + lengthBytes;
    to += putHeader(view, to, this.apv, command, v.number, length);
    to += putData(view, to, sector, idHi, idLo, seq, flags);
    if (this.sends.bytes > 0) {
      const { pool } = this.core.port;
      this.core.host.digests.digest(this.sends.alg, pool, at, at + lengthBytes, pool, to);
    }
  }

  /** A peer that does not know the packet finds out in the next resync. */
  sendOutOfSync(v: Volume, sector: number, lengthBytes: number): void {
    if (!this.sendsOutOfSync) return;
    const at = this.#packet(this.data, COMMANDS.P_OUT_OF_SYNC, v.number, BLOCK_DESC_BYTES);
    if (at >= 0) putBlockDesc(this.core.port.poolView, at, sector, lengthBytes);
  }

  sendReadRequest(v: Volume, r: AppRequest): void {
    const at = this.#packet(this.data, COMMANDS.P_DATA_REQUEST, v.number, BLOCK_REQ_BYTES);
    if (at >= 0) {
      putBlockReq(this.core.port.poolView, at, r.sector, this.idHi, r.index, r.lengthBytes);
    }
  }

  sendBarrier(epoch: number): void {
    if (this.transferLog.epochs === 2) this.#epochMovedMs = this.core.port.nowMs();
    const at = this.#packet(this.data, COMMANDS.P_BARRIER, 0, BARRIER_BYTES);
    if (at >= 0) putBarrier(this.core.port.poolView, at, epoch);
  }

  /** P_BARRIER_ACK: what is wrong with it, or null. */
  barrierAcknowledged(barrier: number, setSize: number): string | null {
    this.#epochMovedMs = this.core.port.nowMs();
    return this.transferLog.barrierAck(barrier, setSize);
  }

  writeCovered(request: AppRequest): void {
    request.owner.covered(request);
  }

  flushCovered(request: AppRequest): void {
    request.owner.flushes.covered(request);
  }

  // ---- sending: answers to the peer

  /** Any packet of the 24-byte acknowledgement family, on the meta socket. */
  ack(
    command: number,
    v: Volume,
    sector: number,
    idHi: number,
    idLo: number,
    lengthBytes: number,
  ): void {
    const at = this.#packet(this.meta, command, v.number, BLOCK_ACK_BYTES);
    if (at < 0) return;
    putBlockAck(this.core.port.poolView, at, sector, idHi, idLo, lengthBytes, v.nextSeq());
  }

  barrierAck(barrier: number, size: number): void {
    const at = this.#packet(this.meta, COMMANDS.P_BARRIER_ACK, 0, BARRIER_ACK_BYTES);
    if (at >= 0) putBarrierAck(this.core.port.poolView, at, barrier, size);
  }

  /** Answer a read with the data in its buffer; false when the link is gone. */
  sendReply(v: Volume, p: PeerRequest): boolean {
    if (!this.alive) return false;
    const resync = p.kind !== PEER_READ;
    const command = resync ? COMMANDS.P_RS_DATA_REPLY : COMMANDS.P_DATA_REPLY;
    const hi = resync ? ID_SYNCER_HI : p.idHi;
    const lo = resync ? ID_SYNCER_LO : p.idLo;
    this.#sendPayload(command, v, p.sector, hi, lo, 0, 0, p.at, p.lengthBytes);
    v.sendSectors += p.endSector - p.sector;
    const start = this.#payloadStart(p.at);
    const bytes = p.at + p.lengthBytes - start;
    this.core.port.send(this.#dataStream, start, bytes, this.core.tag(KIND_PEER_SENT, p.index));
    return true;
  }

  /** A resync request of ours. */
  sendResyncRequest(v: Volume, sector: number, lengthBytes: number, thin = false): void {
    const command = thin ? COMMANDS.P_RS_THIN_REQ : COMMANDS.P_RS_DATA_REQUEST;
    const at = this.#packet(this.data, command, v.number, BLOCK_REQ_BYTES);
    if (at >= 0) {
      putBlockReq(this.core.port.poolView, at, sector, ID_SYNCER_HI, ID_SYNCER_LO, lengthBytes);
    }
  }

  /** Where the body of a small packet goes, or -1: there is no room, or no link any more. */
  packetAt(socket: 'data' | 'meta', command: number, v: Volume, bytes: number): number {
    return this.#packet(socket === 'data' ? this.data : this.meta, command, v.number, bytes);
  }

  // ---- sending: rare packets

  /** A packet with its codec, on the data socket. */
  sendData<B>(command: number, volume: number, bytes: number, codec: Codec<B>, body: B): void {
    this.#sendCold(this.data, command, volume, bytes, codec, body);
  }

  /** A packet with its codec, on the meta socket. */
  sendMeta<B>(command: number, volume: number, bytes: number, codec: Codec<B>, body: B): void {
    this.#sendCold(this.meta, command, volume, bytes, codec, body);
  }

  #sendCold<B>(
    box: Outbox,
    command: number,
    volume: number,
    bytes: number,
    codec: Codec<B>,
    body: B,
  ): void {
    const at = this.#packet(box, command, volume, bytes);
    if (at >= 0) codec.encode(body, this.core.port.poolView, at, this);
  }

  /** A whole packet, header and all, on the data socket (bitmap packets). */
  sendRaw(packet: Uint8Array): void {
    if (!this.alive) return;
    const at = this.data.reserve(packet.length);
    if (at < 0) this.#full = true;
    else this.core.port.pool.set(packet, at);
  }

  /** Bytes waiting for the data socket: a sender of many packets pauses above a bound. */
  get backlogBytes(): number {
    return this.core.port.sendBacklogBytes(this.#dataStream);
  }

  /**
   * Header of a small packet; where its body goes, or -1: the link is gone, or fails at the end of this turn; or the volume was made
   * beside one that an old peer is connected to, which knows no other.
   */
  #packet(box: Outbox, command: number, volume: number, bytes: number): number {
    if (!this.alive || this.#full || (volume !== 0 && this.apv < 100)) return -1;
    const header = headerBytes(this.apv, bytes);
    const at = box.reserve(header + bytes);
    if (at < 0) {
      this.#full = true;
      return -1;
    }
    putHeader(this.core.port.poolView, at, this.apv, command, volume, bytes);
    return at + header;
  }

  // ---- receiving

  /** Buffers of the peer's requests are limited: max-buffers pages, at least one request. */
  windowAllows(lengthBytes: number): boolean {
    const limit = this.resource.netOptions.maxBuffers * 4096;
    return this.window === 0 || this.window + lengthBytes <= limit;
  }

  windowFreed(lengthBytes: number): void {
    this.window -= lengthBytes;
    this.#dataReceiver.retry();
  }

  /** The digest that came before a payload, checked once the payload is there. Fails the link when wrong. */
  digestRight(p: PeerRequest): boolean {
    if (p.integrity === null || p.integrity.bytes === 0 || p.at < 0) return true;
    return this.#dataReceiver.digestRight(p.integrity, p.at, p.lengthBytes, p.sector);
  }

  epochOpened(request: PeerRequest): void {
    request.owner.tryWrite(request);
  }

  flushVolumes(done: (failed: readonly number[]) => void): void {
    this.resource.flushVolumes(done);
  }

  refuse(volume: number, sector: number, bytes: number, idHi: number, idLo: number): void {
    const v = this.resource.volumes.find((o) => o.number === volume);
    if (!v) return;
    v.refusedWrite(sector, sector + bytes / 512);
    this.ack(COMMANDS.P_NEG_ACK, v, sector, idHi, idLo, bytes);
  }

  heard(): void {
    this.#pingDueMs = this.core.port.nowMs() + this.resource.netOptions.pingIntS * 1000;
  }

  /** Behind what a volume has to note first. */
  pingArrived(): void {
    let left = 1;
    const noted = (): void => {
      left--;
      if (left === 0) this.#packet(this.meta, COMMANDS.P_PING_ACK, 0, 0);
    };
    for (const v of this.resource.volumes) {
      if (!v.resync.source.mayEndWithPing) continue;
      left++;
      v.resync.source.noteTargetMayBeDone(noted);
    }
    noted();
  }

  pingAckArrived(): void {
    this.#pingSentMs = -1;
    this.heard();
    for (const done of this.#pingWaiters.splice(0)) done();
  }

  /** Ping; `done` runs when the acknowledgement is there. When the link fails first it never runs. */
  ping(done: () => void): void {
    this.#pingWaiters.push(done);
    this.#sendPing();
  }

  /** The same, and everything that the peer had acknowledged by now has arrived before. */
  pingAfresh(done: () => void): void {
    const underWay = this.#pingSentMs >= 0; // that one may be answered already
    this.ping(underWay ? () => this.ping(done) : done);
  }

  #sendPing(): void {
    if (this.#pingSentMs >= 0) return;
    if (this.#packet(this.meta, COMMANDS.P_PING, 0, 0) < 0) return;
    this.#pingSentMs = this.core.port.nowMs();
  }

  // ---- time

  tick(nowMs: number): void {
    if (!this.alive) return;
    const options = this.resource.netOptions;
    if (this.#pingSentMs >= 0) {
      if (nowMs >= this.#pingSentMs + options.pingTimeoutDs * 100) {
        this.fail('NetworkFailure', 'PingAck did not arrive in time.');
        return;
      }
    } else if (nowMs >= this.#pingDueMs) {
      this.#sendPing();
    }
    const late = this.#late(nowMs);
    if (late !== null) {
      const limit = `ko-count (${options.koCount}) * timeout (${options.timeoutDs} * 0.1s)`;
      this.fail('Timeout', `Remote failed to ${late} within ${limit}`);
      return;
    }
    if (this.transferLog.count > 0 && nowMs >= this.#lastWriteMs + IDLE_EPOCH_MS) {
      this.transferLog.close();
    }
  }

  get deadlineMs(): number {
    if (!this.alive) return Number.POSITIVE_INFINITY;
    const options = this.resource.netOptions;
    let at =
      this.#pingSentMs >= 0 ? this.#pingSentMs + options.pingTimeoutDs * 100 : this.#pingDueMs;
    if (this.transferLog.count > 0) {
      const idle = this.#lastWriteMs + IDLE_EPOCH_MS;
      if (this.transferLog.hasOpenWrites) at = Math.min(at, idle);
    }
    return Math.min(at, this.#lateMs);
  }

  /** What the peer has left undone for ko-count times timeout; null: nothing. */
  #late(nowMs: number): string | null {
    if (nowMs < this.#lateMs) return null;
    return this.#awaitedMs <= this.#owesBarrierMs ? 'finish a request' : 'answer a P_BARRIER';
  }

  get #lateMs(): number {
    const { koCount, timeoutDs } = this.resource.netOptions;
    if (koCount === 0) return Number.POSITIVE_INFINITY;
    return Math.min(this.#awaitedMs, this.#owesBarrierMs) + koCount * timeoutDs * 100;
  }

  /** Since when somebody waits for an answer to his own request. */
  get #awaitedMs(): number {
    let sinceMs = this.transferLog.oldestAwaitedMs;
    for (const v of this.resource.volumes) sinceMs = Math.min(sinceMs, this.#readMs(v));
    return sinceMs;
  }

  /** A read may wait behind writes that have piled up over there (protocols A and B), as long as the peer gets on with them. */
  #readMs(v: Volume): number {
    const sinceMs = v.app.reads.oldestAtPeerMs;
    const behind = this.protocol !== 'C' && this.transferLog.hasClosedEpochs;
    return behind ? Math.max(sinceMs, this.#epochMovedMs) : sinceMs;
  }

  /**
   * Since when the peer owes the acknowledgement of a barrier and has finished no epoch. Writes that wait for nothing else are
   * answered, and may pile up there (protocol A, a slower disk): they keep nobody waiting as long as it gets on.
   */
  get #owesBarrierMs(): number {
    return this.transferLog.hasClosedEpochs ? this.#epochMovedMs : Number.POSITIVE_INFINITY;
  }

  turnEnd(): void {
    // Not where it was noticed: whoever sends is in the middle of something that the end of a link changes.
    if (this.#full) this.fail('Timeout', 'the peer does not read: no room for small packets');
    else {
      this.#dataReceiver.retryIfStalled();
      this.waitingReads.serve();
      for (const v of this.resource.volumes) v.verify.serveWaiting();
    }
  }

  flush(): void {
    this.data.flush();
    this.meta.flush();
  }

  // ---- the end

  /** The connection is over. Called for every reason; the first one counts. */
  fail(how: LinkEnd, why: string): void {
    if (!this.alive) return;
    this.core.host.log(how === 'BrokenPipe' ? 'info' : 'warn', this.resource.name, why);
    this.close();
    this.resource.linkFailed(this, how);
  }

  /** The same for a refused handshake from which the peer learns something, which it may not have read to its end. */
  failGently(how: LinkEnd, why: string): void {
    if (!this.alive) return;
    this.core.host.log('warn', this.resource.name, why);
    this.part();
    this.resource.linkFailed(this, how);
  }

  /** Stop, whatever the reason: nothing is sent or received any more. */
  close(): void {
    if (!this.alive) return;
    this.#stop();
    this.core.port.close(this.#dataStream);
    this.core.port.close(this.#metaStream);
  }

  /** Nothing is sent or received any more, but the peer sees no end before it has judged by itself (parting.ts). */
  part(): void {
    if (!this.alive) return;
    if (this.#dataReceiver.ended || this.#metaReceiver.ended || this.#full) {
      this.close();
      return;
    }
    this.#stop();
    const { port } = this.core;
    const parting = new Parting(
      { data: this.#dataStream, meta: this.#metaStream },
      this.resolveConflicts,
      (stream) => port.close(stream),
      () => this.maybeDrained(),
    );
    this.#parting = parting;
    this.resource.after(this.resource.netOptions.timeoutDs * 100, () => parting.end());
  }

  /** The peer has ended one of the sockets of a link that is not alive any more, or nobody waits for that. */
  parted(): void {
    this.#parting?.end();
  }

  #stop(): void {
    this.data.flush();
    this.meta.flush();
    this.alive = false;
    this.core.removeTurnEnd(this);
    this.core.removeFlusher(this);
    this.#dataReceiver.stop();
    this.data.close();
    this.meta.close();
    this.#pingWaiters.length = 0;
  }

  /** `done` once nothing of the peer's is under way any more. */
  drained(done: () => void): void {
    this.#drainedDone.push(done);
    this.maybeDrained();
  }

  maybeDrained(): void {
    if (this.alive || this.#drainedDone.length === 0 || this.resource.peerWorkPending()) return;
    if (this.#parting?.over === false) return;
    for (const done of this.#drainedDone.splice(0)) done();
  }
}

/** Below 95 only the first two mean anything, and below 100 the protocol says what is acknowledged. */
function knownFlags(apv: number): number {
  if (apv >= 100) return ~0;
  const acks = DP.SEND_WRITE_ACK | DP.SEND_RECEIVE_ACK;
  return apv >= 95 ? ~acks : DP.RW_SYNC | DP.MAY_SET_IN_SYNC;
}

/** What every peer takes. */
const LEAST_BIO_BYTES = 4096;

/** Of data in one packet. Below 94 a peer does it with one bio, and has said how long that may be (P_SIZES). */
function dataSectors(apv: number, peersBioBytes: number): number {
  const most = maxDataBytes(apv);
  if (apv >= 94) return most / 512;
  const whole = peersBioBytes - (peersBioBytes % LEAST_BIO_BYTES);
  return Math.max(LEAST_BIO_BYTES, Math.min(most, whole)) / 512;
}
