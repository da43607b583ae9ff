/**
 * The meta socket, packet by packet: acknowledgements, pings and answers to state changes. Every packet is small and
 * complete in the peek region. An unknown command here means a peer that this node does not understand: the connection is
 * given up for good (StandAlone), as the kernel does.
 */
import {
  COMMANDS,
  commandName,
  ID_OUT_OF_SYNC,
  ID_SYNCER_HI,
  ID_SYNCER_LO,
} from '../wire/constants.js';
import {
  BARRIER_ACK_BYTES,
  BLOCK_ACK_BYTES,
  newBarrierAck,
  newBlockAck,
  newHeader,
  readBarrierAck,
  readBlockAck,
  readHeader,
} from '../wire/hot.js';
import { type AppRequest, LEG_FAILED, LEG_PENDING } from './app-request.js';
import type { Core } from './core.js';
import type { Link } from './link.js';
import type { StreamOwner } from './ports.js';
import { Disks } from './state.js';
import type { Volume } from './volume.js';

export class MetaReceiver implements StreamOwner {
  readonly #core: Core;
  readonly #link: Link;
  readonly #header = newHeader();
  readonly #ack = newBlockAck();
  readonly #barrierAck = newBarrierAck();
  #ended = false;

  constructor(core: Core, link: Link) {
    this.#core = core;
    this.#link = link;
  }

  /** The peer has ended this stream. */
  get ended(): boolean {
    return this.#ended;
  }

  streamEnd(_stream: number, error: number): void {
    const link = this.#link;
    this.#ended = true;
    if (!link.alive) {
      link.parted();
      return;
    }
    const end = (): void =>
      link.fail(
        'NetworkFailure',
        error === 0 ? 'meta connection shut down by peer.' : `meta socket: errno ${error}`,
      );
    // A peer that refuses the handshake closes both; what it said before on the data socket tells us why.
    if (error === 0 && link.resource.stateSent) link.resource.after(link.pingTimeoutMs, end);
    else end();
  }

  streamData(stream: number, start: number, end: number): void {
    const { port } = this.#core;
    const link = this.#link;
    const header = this.#header;
    let at = start;
    while (link.alive) {
      const headerBytes = readHeader(port.poolView, at, end, link.apv, header);
      if (headerBytes === 0) break;
      if (headerBytes < 0) {
        link.fail('ProtocolError', 'Wrong magic value on the meta socket');
        return;
      }
      const wanted = bodyBytes(header.command);
      if (wanted < 0) {
        link.resource.standAlone(
          `unknown packet on the meta socket: ${commandName(header.command)}`,
        );
        return;
      }
      if (header.length !== wanted) {
        const name = commandName(header.command);
        link.fail('NetworkFailure', `${name}: length ${header.length}, expected ${wanted}`);
        return;
      }
      if (end - at < headerBytes + wanted) break;
      this.#packet(header.command, at + headerBytes);
      at += headerBytes + wanted;
    }
    if (link.alive && at > start) port.consume(stream, at - start);
  }

  #packet(command: number, body: number): void {
    const link = this.#link;
    const { poolView } = this.#core.port;
    link.watch.heard();
    switch (command) {
      case COMMANDS.P_PING:
        link.pingArrived();
        return;
      case COMMANDS.P_PING_ACK:
        link.watch.pingAckArrived();
        return;
      case COMMANDS.P_BARRIER_ACK: {
        readBarrierAck(poolView, body, this.#barrierAck);
        const { barrier, setSize } = this.#barrierAck;
        const wrong = link.barrierAcknowledged(barrier, setSize);
        if (wrong !== null) link.fail('ProtocolError', wrong);
        return;
      }
      case COMMANDS.P_STATE_CHG_REPLY:
      case COMMANDS.P_CONN_ST_CHG_REPLY:
        link.resource.stateReply(link, this.#header.volume, poolView.getInt32(body), command);
        return;
      default:
        if (readBlockAck(poolView, body, this.#ack) < 0) {
          link.fail('ProtocolError', `${commandName(command)}: sector above 2^53`);
          return;
        }
        this.#acknowledge(command);
    }
  }

  #acknowledge(command: number): void {
    const link = this.#link;
    const a = this.#ack;
    const name = commandName(command);
    const v = link.resource.volume(this.#header.volume);
    if (!v) {
      link.fail('ProtocolError', `${name}: volume ${this.#header.volume} does not exist`);
      return;
    }
    const end = a.sector + a.sizeBytes / 512;
    if (end > v.sizeSectors || a.sizeBytes % 512 !== 0) {
      link.fail('ProtocolError', `${name}: sector ${a.sector} + ${a.sizeBytes} bytes`);
      return;
    }
    const resync = a.idHi === ID_SYNCER_HI && a.idLo === ID_SYNCER_LO;
    switch (command) {
      case COMMANDS.P_RS_WRITE_ACK:
        // Late, of a resync that was broken off: what was written since then only here has set the bit again.
        if (resync) {
          if (v.resync.running) this.#stored(v, a.sector, end);
          v.congestion.replyAnswered();
          v.congestion.clearedByPeer(a.sector, end);
          v.resync.source.peerStored();
          return;
        }
        this.#equal(v, a.sector, end);
        v.congestion.clearedByPeer(a.sector, end);
        this.#written(v, name);
        v.resync.source.peerStored(); // it may have been the last bit
        return;
      case COMMANDS.P_RS_IS_IN_SYNC:
        v.resync.saidEqual(a.sector, a.sizeBytes);
        return;
      case COMMANDS.P_WRITE_ACK:
      case COMMANDS.P_RECV_ACK:
        this.#written(v, name);
        return;
      case COMMANDS.P_NEG_ACK: {
        if (resync) {
          v.resync.replies.answered(a.sector, end);
          if (v.resync.running) v.resync.blockFailed(a.sector, end);
          v.congestion.replyAnswered();
          return;
        }
        const r = this.#request(v);
        if (r) r.owner.refusedByPeer(r);
        else v.setOutOfSync(a.sector, end); // protocols A and B: it may have been answered long ago
        return;
      }
      case COMMANDS.P_NEG_DREPLY: {
        const r = a.idHi === link.idHi ? this.#core.appRequest(a.idLo) : null;
        const isOurs = r?.owner === v.app && r.owner.reads.isAtPeer(r) && r.sector === a.sector;
        // Not while its data arrive: the buffer is the port's then.
        if (r && isOurs && !r.receiving) r.owner.reads.peerDone(r, false);
        else link.fail('ProtocolError', `${name}: sector ${a.sector} was not asked for`);
        return;
      }
      case COMMANDS.P_OV_RESULT: {
        const differs = a.idHi === 0 && a.idLo === ID_OUT_OF_SYNC;
        const wrong = v.verify.result(a.sector, a.sizeBytes, differs);
        if (wrong !== null) link.fail('ProtocolError', `${name}: ${wrong}`);
        return;
      }
      case COMMANDS.P_NEG_RS_DREPLY:
      case COMMANDS.P_RS_CANCEL: {
        if (v.verify.refused(a.sector, a.sizeBytes)) return;
        const asked = v.resync.requests.replied(a.sector, a.sizeBytes); // else of a resync that was broken off
        if (asked && command === COMMANDS.P_NEG_RS_DREPLY) v.resync.blockFailed(a.sector, end);
        v.resync.blockStored();
        return;
      }
      default:
        link.fail('ProtocolError', `${name} makes no sense here`);
    }
  }

  /** Equal: but for what failed here and is at the target, behind this block, where no answer to that write says so in time. */
  #stored(v: Volume, sector: number, endSector: number): void {
    if (v.resync.replies.answered(sector, endSector)) v.setInSync(sector, endSector);
    if (this.#link.tellsInSync || !v.resync.source.hasFailedHere) return;
    for (const r of this.#link.transferLog.failedHere(v.app)) {
      if (r.sector < endSector && sector < r.endSector) v.setOutOfSync(r.sector, r.endSector);
    }
  }

  /**
   * Written by both: equal, if that was in the resync of now, and here as well (a local failure has set the bit, and it stays).
   */
  #equal(v: Volume, sector: number, endSector: number): void {
    const r = this.#request(v);
    if (!r || r.run === 0 || r.run !== v.resync.run || r.local === LEG_FAILED) return;
    if (r.net !== LEG_PENDING) return; // it has said so before, or otherwise
    // Before it is here, too, our copy must not become UpToDate: a crash could leave what was there before the resync.
    if (r.local === LEG_PENDING && v.state.disk < Disks.UpToDate) r.equalWhenHere = true;
    else v.setInSync(sector, endSector);
  }

  /** The write on the transfer log that an acknowledgement names, or null. */
  #request(v: Volume): AppRequest | null {
    const a = this.#ack;
    if (a.idHi !== this.#link.idHi) return null;
    const r = this.#core.appRequest(a.idLo);
    const isNamed = r?.inLog && r.sector === a.sector && r.lengthBytes === a.sizeBytes;
    return isNamed && r.owner === v.app ? r : null;
  }

  #written(v: Volume, name: string): void {
    const r = this.#request(v);
    if (!r) {
      this.#link.fail('ProtocolError', `${name}: no write to sector ${this.#ack.sector} is known`);
      return;
    }
    r.owner.acked(r);
  }
}

/** Length of the body of each packet of the meta socket; -1: no such packet. */
function bodyBytes(command: number): number {
  switch (command) {
    case COMMANDS.P_PING:
    case COMMANDS.P_PING_ACK:
      return 0;
    case COMMANDS.P_RECV_ACK:
    case COMMANDS.P_WRITE_ACK:
    case COMMANDS.P_RS_WRITE_ACK:
    case COMMANDS.P_SUPERSEDED:
    case COMMANDS.P_NEG_ACK:
    case COMMANDS.P_NEG_DREPLY:
    case COMMANDS.P_NEG_RS_DREPLY:
    case COMMANDS.P_OV_RESULT:
    case COMMANDS.P_RS_IS_IN_SYNC:
    case COMMANDS.P_RS_CANCEL:
    case COMMANDS.P_RETRY_WRITE:
      return BLOCK_ACK_BYTES;
    case COMMANDS.P_BARRIER_ACK:
      return BARRIER_ACK_BYTES;
    case COMMANDS.P_STATE_CHG_REPLY:
    case COMMANDS.P_CONN_ST_CHG_REPLY:
      return 4;
    case COMMANDS.P_DELAY_PROBE:
      return 8;
    default:
      return -1;
  }
}
