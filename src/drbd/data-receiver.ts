/**
 * The data socket, packet by packet, as it lies in the peek region. Payloads go straight to buffers of their own.
 *
 * Reading stops, and the peer is held back by TCP, when a packet needs something that is not there: a buffer for what it brings,
 * a slot, room in the receive window. It goes on when something was freed. Nothing of that waits for the peer to read what this
 * node sends, or both could wait for each other (base/buffer-use.ts). No length is believed before it was checked.
 */
import {
  COMMANDS,
  commandName,
  ID_SYNCER_HI,
  ID_SYNCER_LO,
  maxDataBytes,
  maxDiscardBytes,
} from '../wire/constants.js';
import {
  BLOCK_DESC_BYTES,
  BLOCK_REQ_BYTES,
  DATA_BYTES,
  newBarrier,
  newBlockDesc,
  newBlockReq,
  newData,
  newHeader,
  newTrim,
  readBarrier,
  readBlockDesc,
  readBlockReq,
  readData,
  readHeader,
  readTrim,
  TRIM_BYTES,
} from '../wire/hot.js';
import { type Core, KIND_PEER_RECEIVED } from './core.js';
import type { Integrity, Link } from './link.js';
import { refusalOf } from './peer-io.js';
import {
  PEER_DISCARD,
  PEER_READ,
  PEER_RESYNC_READ,
  PEER_RESYNC_WRITE,
  PEER_WRITE,
  PEER_ZEROES,
  type PeerRequest,
} from './peer-request.js';
import type { StreamOwner } from './ports.js';
import { Conns, Disks } from './state.js';
import { agreedOn, looksFirst } from './thin-resync.js';
import type { Volume } from './volume.js';

/** What a handler made of the packet at hand. */
const DONE = 0; // header and body are consumed
const STALLED = 1; // something is missing: look again later
const STOPPED = 2; // the link failed, or the payload is still arriving

/** The expected digest of a payload is kept in the head of its buffer. */
const DIGEST_AT = -1024;
/** sha512. */
const MAX_DIGEST_BYTES = 64;
/** Bodies longer than this cannot be small packets. */
const MAX_SMALL_BODY = 4096;

export class DataReceiver implements StreamOwner {
  readonly #core: Core;
  readonly #link: Link;
  readonly #stream: number;
  readonly #header = newHeader();
  readonly #data = newData();
  readonly #trim = newTrim();
  readonly #request = newBlockReq();
  readonly #desc = newBlockDesc();
  readonly #barrier = newBarrier();
  #base = 0; // the peeked bytes before this have been consumed
  #at = 0; // where the packet at hand begins
  #body = 0; // and its body
  #end = 0; // end of the peeked bytes
  #skip = 0; // payload bytes that nobody wants
  #arriving = false; // a payload goes past the peeked bytes
  #stalled = false;
  #parsing = false;
  #ended = -1; // >= 0: the stream is over (errno), once what was received is dealt with
  #stopped = false;

  constructor(core: Core, link: Link, stream: number) {
    this.#core = core;
    this.#link = link;
    this.#stream = stream;
  }

  stop(): void {
    this.#stopped = true;
    this.#core.stalledLinks.remove(this);
  }

  streamData(_stream: number, start: number, end: number): void {
    if (this.#stopped) return;
    this.#link.watch.heard();
    this.#arriving = false; // what follows a payload is reported once that is complete
    this.#base = start;
    this.#at = start;
    this.#end = end;
    this.#parse();
  }

  /** The peer has ended this stream. */
  get ended(): boolean {
    return this.#ended >= 0;
  }

  streamEnd(_stream: number, error: number): void {
    if (this.#stopped) {
      this.#link.parted();
      return;
    }
    this.#ended = error;
    this.#finishEnd();
  }

  #finishEnd(): void {
    if (this.#ended < 0 || this.#stalled || this.#stopped) return;
    if (this.#ended === 0) this.#link.fail('BrokenPipe', 'sock was shut down by peer');
    else this.#link.fail('BrokenPipe', `data socket: errno ${this.#ended}`);
  }

  get held(): number {
    return this.#link.window;
  }

  /** Something was freed. */
  retry(): void {
    if (this.#stalled && !this.#parsing && !this.#stopped) this.#parse();
  }

  retryIfStalled(): void {
    if (this.#stalled) this.retry();
  }

  #parse(): void {
    const { port } = this.#core;
    const link = this.#link;
    const header = this.#header;
    if (this.#stalled) this.#core.stalledLinks.remove(this);
    this.#stalled = false;
    this.#parsing = true;
    while (!this.#stopped && !this.#arriving) {
      if (this.#skip > 0) {
        // Apart from what was looked at, so that whoever records knows which bytes are data.
        if (this.#at > this.#base) port.consume(this.#stream, this.#at - this.#base);
        const n = Math.min(this.#skip, this.#end - this.#at);
        if (n > 0) port.consume(this.#stream, n, true);
        this.#at += n;
        this.#base = this.#at;
        this.#skip -= n;
        if (this.#skip > 0) break;
      }
      const headerBytes = readHeader(port.poolView, this.#at, this.#end, link.apv, header);
      if (headerBytes === 0) break;
      if (headerBytes < 0) {
        link.fail('ProtocolError', 'Wrong magic value on the data socket');
        break;
      }
      this.#body = this.#at + headerBytes;
      const step = this.#packet(header.command, header.length);
      if (step === STALLED) this.#stall();
      if (step !== DONE) break;
    }
    this.#parsing = false;
    if (this.#stopped) return;
    if (!this.#arriving && this.#at > this.#base) {
      port.consume(this.#stream, this.#at - this.#base);
      this.#base = this.#at;
    }
    this.#finishEnd();
  }

  #stall(): void {
    this.#stalled = true;
    if (!this.#stopped) this.#core.stalledLinks.add(this);
  }

  /** The fixed part of the body is there; false: more must arrive. */
  #have(bytes: number): boolean {
    return this.#end - this.#body >= bytes;
  }

  #bad(why: string): number {
    this.#link.fail('ProtocolError', `${commandName(this.#header.command)}: ${why}`);
    return STOPPED;
  }

  #packet(command: number, length: number): number {
    switch (command) {
      case COMMANDS.P_DATA:
        return this.#write(length);
      case COMMANDS.P_RS_DATA_REPLY:
        return this.#resyncReply(length);
      case COMMANDS.P_DATA_REPLY:
        return this.#readReply(length);
      case COMMANDS.P_TRIM:
        return this.#erase(PEER_DISCARD, length);
      case COMMANDS.P_ZEROES:
        return this.#erase(PEER_ZEROES, length);
      case COMMANDS.P_DATA_REQUEST:
        return this.#readRequest(PEER_READ, length, command);
      case COMMANDS.P_RS_DATA_REQUEST:
      case COMMANDS.P_RS_THIN_REQ:
      case COMMANDS.P_CSUM_RS_REQUEST:
        return this.#readRequest(PEER_RESYNC_READ, length, command);
      case COMMANDS.P_OV_REQUEST:
      case COMMANDS.P_OV_REPLY:
        return this.#verify(command, length);
      case COMMANDS.P_BARRIER:
        if (length !== 8) return this.#bad(`length ${length}, expected 8`);
        if (!this.#have(8)) return STOPPED;
        readBarrier(this.#core.port.poolView, this.#body, this.#barrier);
        this.#link.epochs.barrier(this.#barrier.barrier);
        return this.#consumed(8);
      case COMMANDS.P_RS_DEALLOCATED:
        return this.#deallocated(length);
      case COMMANDS.P_OUT_OF_SYNC:
        return this.#outOfSync(length);
      case COMMANDS.P_UNPLUG_REMOTE:
        return length === 0 ? this.#consumed(0) : this.#bad(`length ${length}, expected 0`);
      default:
        return this.#small(command, length);
    }
  }

  #consumed(bodyBytes: number): number {
    this.#at = this.#body + bodyBytes;
    return DONE;
  }

  #small(command: number, length: number): number {
    if (length > MAX_SMALL_BODY) return this.#bad(`length ${length}`);
    if (!this.#have(length)) return STOPPED;
    if (command === COMMANDS.P_SYNC_UUID && this.#volume()?.resync.beginning.syncUuidEarly)
      return STALLED;
    const wrong = this.#link.resource.packet(
      this.#link,
      command,
      this.#header.volume,
      this.#body,
      length,
    );
    if (wrong !== null) return this.#bad(wrong);
    return this.#link.alive ? this.#consumed(length) : STOPPED;
  }

  #volume(): Volume | null {
    return this.#link.resource.volume(this.#header.volume);
  }

  /** Null when data of this size may be at this place, else what is wrong. */
  #wrongRange(v: Volume, sector: number, bytes: number, maxBytes: number): string | null {
    if (bytes <= 0 || bytes % 512 !== 0 || bytes > maxBytes) return `size ${bytes}`;
    if (sector + bytes / 512 > v.sizeSectors) {
      return `sector ${sector} + ${bytes} bytes is beyond the end (${v.sizeSectors} sectors)`;
    }
    return null;
  }

  /** P_DATA: a write of the peer's application. */
  #write(length: number): number {
    const link = this.#link;
    const digest = link.receives.bytes;
    const bytes = length - DATA_BYTES - digest;
    if (bytes <= 0) return this.#bad(`length ${length}`);
    if (!this.#have(DATA_BYTES + digest)) return STOPPED;
    const d = this.#data;
    if (readData(this.#core.port.poolView, this.#body, d) < 0)
      return this.#bad('sector above 2^53');
    const v = this.#volume();
    if (!v) return this.#bad(`volume ${this.#header.volume} does not exist`);
    const wrong = this.#wrongRange(v, d.sector, bytes, maxDataBytes(link.apv));
    if (wrong !== null) return this.#bad(wrong);
    if (!v.takesWrites()) {
      link.epochs.addDropped();
      v.refusedWrite(d.sector, d.sector + bytes / 512);
      link.out.ack(COMMANDS.P_NEG_ACK, v, d.sector, d.idHi, d.idLo, bytes);
      return this.#discardPayload(DATA_BYTES + digest, bytes);
    }
    const p = this.#take(v, PEER_WRITE, d.sector, bytes);
    if (!p) return STALLED;
    p.idHi = d.idHi;
    p.idLo = d.idLo;
    p.flags = d.flags;
    v.receiveSectors += bytes / 512;
    const more = this.#receive(p, DATA_BYTES, bytes);
    p.owner.beginWrite(p);
    return more;
  }

  /** P_RS_DATA_REPLY: a block that this node asked for. */
  #resyncReply(length: number): number {
    const link = this.#link;
    const digest = link.receives.bytes;
    const bytes = length - DATA_BYTES - digest;
    if (bytes <= 0) return this.#bad(`length ${length}`);
    if (!this.#have(DATA_BYTES + digest)) return STOPPED;
    const d = this.#data;
    if (readData(this.#core.port.poolView, this.#body, d) < 0)
      return this.#bad('sector above 2^53');
    const v = this.#volume();
    if (!v) return this.#bad(`volume ${this.#header.volume} does not exist`);
    const wrong = this.#wrongRange(v, d.sector, bytes, maxDataBytes(link.apv));
    if (wrong !== null) return this.#bad(wrong);
    const answer = v.resync.requests.answers(d.sector, bytes);
    if (answer === 'unknown') return this.#bad(`sector ${d.sector} was not asked for`);
    if (answer === 'late' || !v.diskUsable()) {
      v.resync.requests.replied(d.sector, bytes);
      v.resync.blockStored(); // whoever waits for these blocks waits no more
      this.#tooLate(v, d.sector, bytes);
      return this.#discardPayload(DATA_BYTES + digest, bytes);
    }
    const p = this.#take(v, PEER_RESYNC_WRITE, d.sector, bytes);
    if (!p) return STALLED;
    v.resync.requests.replied(d.sector, bytes);
    p.idHi = d.idHi;
    p.idLo = d.idLo;
    v.receiveSectors += bytes / 512;
    const more = this.#receive(p, DATA_BYTES, bytes);
    p.owner.beginWrite(p);
    return more;
  }

  /** A block that nobody wants any more. A source that has pulled ahead waits for the answers to all that it has sent. */
  #tooLate(v: Volume, sector: number, bytes: number): void {
    if (v.state.conn !== Conns.Behind) return;
    this.#link.out.ack(COMMANDS.P_NEG_ACK, v, sector, ID_SYNCER_HI, ID_SYNCER_LO, bytes);
  }

  /** P_RS_DEALLOCATED: a block that this node asked for reads as zeroes at the peer. */
  #deallocated(length: number): number {
    const link = this.#link;
    if (length !== BLOCK_DESC_BYTES) return this.#bad(`length ${length}, expected 16`);
    if (!this.#have(length)) return STOPPED;
    if (!agreedOn(link)) return this.#bad('thin resync was not agreed on');
    const d = this.#desc;
    if (readBlockDesc(this.#core.port.poolView, this.#body, d) < 0) {
      return this.#bad('sector above 2^53');
    }
    const { sector, sizeBytes: bytes } = d;
    const v = this.#volume();
    if (!v) return this.#bad(`volume ${this.#header.volume} does not exist`);
    const wrong = this.#wrongRange(v, sector, bytes, maxDataBytes(link.apv));
    if (wrong !== null) return this.#bad(wrong);
    const answer = v.resync.requests.answers(sector, bytes);
    if (answer === 'unknown') return this.#bad(`sector ${sector} was not asked for`);
    if (answer === 'late' || !v.diskUsable()) {
      v.resync.requests.replied(sector, bytes);
      v.resync.blockStored();
      this.#tooLate(v, sector, bytes);
      return this.#consumed(length);
    }
    const p = looksFirst(v)
      ? this.#take(v, PEER_RESYNC_WRITE, sector, bytes)
      : v.peerIo.take(link, PEER_RESYNC_WRITE, sector, bytes);
    if (!p) return STALLED;
    if (p.at < 0) link.window += bytes; // given back like any write's
    v.resync.requests.replied(sector, bytes);
    p.thin = true;
    p.owner.beginWrite(p);
    return this.#consumed(length);
  }

  /** P_DATA_REPLY: data of a read that the peer serves for us. */
  #readReply(length: number): number {
    const link = this.#link;
    const digest = link.receives.bytes;
    const bytes = length - DATA_BYTES - digest;
    if (bytes <= 0) return this.#bad(`length ${length}`);
    if (!this.#have(DATA_BYTES + digest)) return STOPPED;
    const d = this.#data;
    const { port } = this.#core;
    if (readData(port.poolView, this.#body, d) < 0) return this.#bad('sector above 2^53');
    const r = d.idHi === link.idHi ? this.#core.appRequest(d.idLo) : null;
    const v = this.#volume();
    const asked = r?.owner === v?.app && r?.owner.reads.isAtPeer(r) && !r.receiving;
    if (!v || !r || !asked || r.sector !== d.sector || r.lengthBytes !== bytes) {
      return this.#bad(`sector ${d.sector} was not asked for`);
    }
    v.receiveSectors += bytes / 512;
    if (digest > 0) {
      const from = this.#body + DATA_BYTES;
      port.pool.copyWithin(r.bufferAt + DIGEST_AT, from, from + digest);
    }
    const sector = d.sector;
    const { receives } = link;
    r.receiving = true;
    const tag = this.#core.cold((result) => {
      r.receiving = false;
      const right =
        result >= 0 &&
        (digest === 0 || this.digestRight(receives, r.at, bytes, sector, r.bufferAt));
      r.owner.reads.peerDone(r, right);
    });
    return this.#into(r.at, DATA_BYTES + digest, bytes, tag);
  }

  #erase(kind: number, length: number): number {
    const link = this.#link;
    if (length !== TRIM_BYTES) return this.#bad(`length ${length}, expected ${TRIM_BYTES}`);
    if (!this.#have(TRIM_BYTES)) return STOPPED;
    const d = this.#trim;
    if (readTrim(this.#core.port.poolView, this.#body, d) < 0)
      return this.#bad('sector above 2^53');
    const v = this.#volume();
    if (!v) return this.#bad(`volume ${this.#header.volume} does not exist`);
    const wrong = this.#wrongRange(v, d.sector, d.sizeBytes, maxDiscardBytes(link.features));
    if (wrong !== null) return this.#bad(wrong);
    if (!v.takesWrites()) {
      link.epochs.addDropped();
      v.refusedWrite(d.sector, d.sector + d.sizeBytes / 512);
      link.out.ack(COMMANDS.P_NEG_ACK, v, d.sector, d.idHi, d.idLo, d.sizeBytes);
      return this.#consumed(TRIM_BYTES);
    }
    const p = v.peerIo.take(link, kind, d.sector, d.sizeBytes);
    if (!p) return STALLED;
    p.idHi = d.idHi;
    p.idLo = d.idLo;
    p.flags = d.flags;
    link.window += d.sizeBytes; // given back like any write's, though it holds no buffer
    p.owner.beginWrite(p);
    return this.#consumed(TRIM_BYTES);
  }

  /** A question for a block, with a digest behind it maybe: the volume, or what to return. */
  #blockRequest(length: number): Volume | number {
    if (length < BLOCK_REQ_BYTES || length > BLOCK_REQ_BYTES + MAX_DIGEST_BYTES) {
      return this.#bad(`length ${length}`);
    }
    if (!this.#have(length)) return STOPPED;
    const q = this.#request;
    if (readBlockReq(this.#core.port.poolView, this.#body, q) < 0) {
      return this.#bad('sector above 2^53');
    }
    const v = this.#volume();
    if (!v) return this.#bad(`volume ${this.#header.volume} does not exist`);
    const wrong = this.#wrongRange(v, q.sector, q.sizeBytes, maxDataBytes(this.#link.apv));
    return wrong === null ? v : this.#bad(wrong);
  }

  /** P_OV_REQUEST, P_OV_REPLY. */
  #verify(command: number, length: number): number {
    const v = this.#blockRequest(length);
    if (typeof v === 'number') return v;
    const { sector, sizeBytes } = this.#request;
    const digestBytes = length - BLOCK_REQ_BYTES;
    const taken =
      command === COMMANDS.P_OV_REQUEST
        ? v.verify.request(this.#link, sector, sizeBytes)
        : v.verify.reply(this.#link, sector, sizeBytes, this.#body + BLOCK_REQ_BYTES, digestBytes);
    if (taken === 'stalled') return STALLED;
    return taken === null ? this.#consumed(length) : this.#bad(taken);
  }

  #readRequest(kind: number, length: number, command: number): number {
    const link = this.#link;
    const v = this.#blockRequest(length);
    if (typeof v === 'number') return v;
    const q = this.#request;
    const cancelled = kind === PEER_RESYNC_READ && v.state.conn === Conns.Ahead;
    const refused =
      v.state.disk !== Disks.UpToDate ||
      (kind === PEER_RESYNC_READ && v.state.conn < Conns.Connected);
    if (refused || cancelled) {
      link.out.ack(refusalOf(kind, cancelled), v, q.sector, q.idHi, q.idLo, q.sizeBytes);
      return this.#consumed(length);
    }
    const p = v.peerIo.take(link, kind, q.sector, q.sizeBytes);
    if (!p) return STALLED;
    p.idHi = q.idHi;
    p.idLo = q.idLo;
    p.thin = command === COMMANDS.P_RS_THIN_REQ;
    if (command === COMMANDS.P_CSUM_RS_REQUEST) {
      p.digestBytes = length - BLOCK_REQ_BYTES;
      v.resync.checksums.arrived();
    }
    link.waitingReads.arrived(p, this.#body + BLOCK_REQ_BYTES);
    return this.#consumed(length);
  }

  #outOfSync(length: number): number {
    if (length !== 16) return this.#bad(`length ${length}, expected 16`);
    if (!this.#have(16)) return STOPPED;
    const d = this.#desc;
    if (readBlockDesc(this.#core.port.poolView, this.#body, d) < 0) {
      return this.#bad('sector above 2^53');
    }
    const v = this.#volume();
    if (!v) return this.#bad(`volume ${this.#header.volume} does not exist`);
    const wrong = this.#wrongRange(v, d.sector, d.sizeBytes, 128 << 20);
    if (wrong !== null) return this.#bad(wrong);
    v.peerIo.outOfSync(d.sector, d.sector + d.sizeBytes / 512);
    return this.#consumed(16);
  }

  // ---- payloads

  /** Slot, buffer and window for a write; null when one is missing. */
  #take(v: Volume, kind: number, sector: number, bytes: number) {
    const link = this.#link;
    if (!link.windowAllows(bytes)) return null;
    const at = this.#core.port.alloc(bytes, 'arrival');
    if (at < 0) return null;
    const p = v.peerIo.take(link, kind, sector, bytes);
    if (!p) {
      this.#core.port.free(at);
      return null;
    }
    p.at = at;
    link.window += bytes;
    return p;
  }

  /** Bring a payload to p.at; the digest in front of it is kept in the buffer's head. */
  #receive(p: PeerRequest, fixed: number, bytes: number): number {
    const { receives } = this.#link;
    const digest = receives.bytes;
    p.integrity = receives;
    const from = this.#body + fixed;
    if (digest > 0) this.#core.port.pool.copyWithin(p.at + DIGEST_AT, from, from + digest);
    const payload = from + digest;
    const whole = this.#end - payload >= bytes;
    if (whole && digest === 0) {
      // Copied in its place in the queue: the disk write queued behind it finds the data (host/io.ts).
      this.#core.port.receive(this.#stream, payload - this.#base, p.at, bytes, 0xffffffff);
      this.#base = payload + bytes;
      this.#at = this.#base;
      return DONE;
    }
    p.receiving = true;
    const tag = this.#core.tag(KIND_PEER_RECEIVED, p.index);
    return this.#into(p.at, fixed + digest, bytes, tag);
  }

  /** The payload behind `skip` bytes of the body goes to pool[at ...]. */
  #into(at: number, skip: number, bytes: number, tag: number): number {
    const payload = this.#body + skip;
    const whole = this.#end - payload >= bytes;
    this.#core.port.receive(this.#stream, payload - this.#base, at, bytes, tag);
    this.#base = payload + bytes;
    this.#at = this.#base;
    if (whole) return DONE;
    this.#arriving = true; // the rest goes there directly; peeking goes on behind it
    return STOPPED;
  }

  /** A payload that is not wanted. */
  #discardPayload(skip: number, bytes: number): number {
    this.#at = this.#body + skip;
    this.#skip = bytes;
    return DONE;
  }

  /** Compare a payload with the digest that came before it; a difference breaks the connection. */
  digestRight(
    integrity: Integrity,
    at: number,
    bytes: number,
    sector: number,
    bufferAt = at,
  ): boolean {
    const { pool } = this.#core.port;
    const n = integrity.bytes;
    const expected = bufferAt + DIGEST_AT;
    const computed = expected + 128;
    this.#core.host.digests.digest(integrity.alg, pool, at, at + bytes, pool, computed);
    for (let i = 0; i < n; i++) {
      if (pool[expected + i] !== pool[computed + i]) {
        this.#link.fail('ProtocolError', `Digest integrity check FAILED: ${sector}s +${bytes}`);
        return false;
      }
    }
    return true;
  }
}
