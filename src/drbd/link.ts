/**
 * An established connection to the peer: two streams, what was agreed on with it, what is on its way in both directions, and the end.
 * Sending is in packet-writer.ts, receiving in data-receiver.ts and meta-receiver.ts, pings and timeouts in link-watch.ts; what a packet
 * means for states is the resource's.
 *
 * A link ends once (`fail`): both streams are closed, the transfer log is handed back as lost, and what the peer had sent
 * before is still written in order. Only when that is over (`drained`) may a new link be made: a write of the old one
 * must not land after a newer one.
 */

import type { NetOptions } from '../config/drbd-options.js';
import { COMMANDS, DP, FF, maxDataBytes, maxDiscardBytes } from '../wire/constants.js';
import { CONN_FLAGS, type ProtocolParams } from '../wire/params.js';
import { type AppRequest, OP_READ, OP_WRITE } from './app-request.js';
import type { Core, Flusher, TurnEnd } from './core.js';
import { DataReceiver } from './data-receiver.js';
import { LinkWatch } from './link-watch.js';
import { MetaReceiver } from './meta-receiver.js';
import { PacketWriter } from './packet-writer.js';
import { Parting } from './parting.js';
import { PeerEpochs, type PeerEpochsOwner, type WriteOrdering } from './peer-epochs.js';
import type { PeerRequest } from './peer-request.js';
import type { StreamOwner } from './ports.js';
import type { Resource } from './resource.js';
import { TransferLog, type TransferLogOwner } from './transfer-log.js';
import type { Volume } from './volume.js';
import { WaitingReads } from './waiting-reads.js';

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
  readonly out: PacketWriter;
  readonly watch: LinkWatch;
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
  #parting: Parting | null = null; // refused, and the peer may not have found out yet
  readonly #drainedDone: (() => void)[] = [];
  /** Bytes of the peer's requests that hold buffers. */
  window = 0;
  /** The options of our P_PROTOCOL: those that the peer's is compared with. */
  readonly announced: NetOptions;
  /** What the peer said in P_PROTOCOL, or an update of it; null before. */
  peerProtocol: ProtocolParams | null = null;

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
    this.out = new PacketWriter(core, this, e.dataStream, e.metaStream);
    this.#dataReceiver = new DataReceiver(core, this, e.dataStream);
    this.#metaReceiver = new MetaReceiver(core, this);
    this.watch = new LinkWatch(core, this);
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

  // ---- writes of the application

  /** Put a write on the transfer log and on the data socket. */
  sendWrite(v: Volume, r: AppRequest): void {
    this.transferLog.add(r);
    r.owner.promises.begin(r, this.protocol);
    this.watch.written(r.startMs);
    v.generationShared = true; // this write may fill the last block that a resync lacks
    r.run = v.resync.run;
    const syncing = r.run !== 0;
    let flags: number = DP.RW_SYNC;
    if (syncing) flags |= DP.MAY_SET_IN_SYNC;
    if (this.protocol === 'C' || syncing) flags |= DP.SEND_WRITE_ACK;
    if (this.protocol === 'B' && !syncing) flags |= DP.SEND_RECEIVE_ACK;
    if (r.fua) flags |= DP.FUA;
    flags &= knownFlags(this.apv);
    if (r.op === OP_WRITE) this.out.write(v, r, flags);
    else this.out.erase(v, r, flags);
  }

  sendBarrier(epoch: number): void {
    this.watch.barrierSent();
    this.out.barrier(epoch);
  }

  /** P_BARRIER_ACK: what is wrong with it, or null. */
  barrierAcknowledged(barrier: number, setSize: number): string | null {
    this.watch.epochMoved();
    return this.transferLog.barrierAck(barrier, setSize);
  }

  writeCovered(request: AppRequest): void {
    request.owner.covered(request);
  }

  flushCovered(request: AppRequest): void {
    request.owner.flushes.covered(request);
  }

  barrierAck(barrier: number, size: number): void {
    this.out.barrierAck(barrier, size);
  }

  // ---- receiving

  /** Buffers of the peer's requests are limited: max-buffers pages, at least one request. */
  windowAllows(lengthBytes: number): boolean {
    const limit = this.resource.netOptions.maxBuffers * 4096;
    return this.window === 0 || this.window + lengthBytes <= limit;
  }

  windowFreed(lengthBytes: number): void {
    this.window -= lengthBytes;
    this.core.stalledLinks.freed(this.#dataReceiver);
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
    this.out.ack(COMMANDS.P_NEG_ACK, v, sector, idHi, idLo, bytes);
  }

  /** Behind what a volume has to note first. */
  pingArrived(): void {
    let left = 1;
    const noted = (): void => {
      left--;
      if (left === 0) this.out.pingAck();
    };
    for (const v of this.resource.volumes) {
      if (!v.resync.source.mayEndWithPing) continue;
      left++;
      v.resync.source.noteTargetMayBeDone(noted);
    }
    noted();
  }

  // ---- time

  tick(nowMs: number): void {
    if (!this.alive) return;
    const overdue = this.watch.tick(nowMs);
    if (overdue !== null) this.fail(overdue.how, overdue.why);
  }

  get deadlineMs(): number {
    return this.alive ? this.watch.deadlineMs : Number.POSITIVE_INFINITY;
  }

  turnEnd(): void {
    // Not where it was noticed: whoever sends is in the middle of something that the end of a link changes.
    if (this.out.isFull) this.fail('Timeout', 'the peer does not read: no room for small packets');
    else {
      this.#dataReceiver.retryIfStalled();
      this.waitingReads.serve();
      for (const v of this.resource.volumes) v.verify.answers.serveWaiting();
    }
  }

  flush(): void {
    this.out.flush();
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
    if (this.#dataReceiver.ended || this.#metaReceiver.ended || this.out.isFull) {
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
    this.out.flush();
    this.alive = false;
    this.core.removeTurnEnd(this);
    this.core.removeFlusher(this);
    this.#dataReceiver.stop();
    this.out.close();
    this.watch.stop();
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
