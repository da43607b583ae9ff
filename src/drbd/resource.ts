/**
 * One replicated resource: its volumes and its one connection.
 *
 *     StandAlone --connect--> Unconnected -> WFConnection --two sockets, features, secret--> WFReportParams -> Connected ...
 *         ^                                      ^                                                    |
 *         |  disconnect, refused for good        \---- link lost: transfer log cleared, peer's writes drained ----/
 *
 * A new connection is begun only when every write of the old one is on disk (`Link.drained`).
 */
import {
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type NetOptions,
  type Protocol,
  type ResourceOptions,
} from '../config/drbd-options.js';
import { COMMANDS, commandName, SHARED_SECRET_MAX_BYTES } from '../wire/constants.js';
import { type Codec, isWireError } from '../wire/packet.js';
import {
  protocolCodec,
  sizesBytes,
  sizesCodec,
  syncParamBytes,
  syncParamCodec,
  syncParamOldCodec,
  uuidsCodec,
} from '../wire/params.js';
import { stateChangeCodec, syncUuidCodec } from '../wire/state-packets.js';
import { finishDetach } from './attach.js';
import { force, goOn, partWhileFrozen } from './changes.js';
import { restMs } from './connect.js';
import { Connector } from './connector.js';
import type { Core } from './core.js';
import { disconnect } from './disconnect.js';
import { fenceAfterLoss } from './fencing.js';
import {
  protocolMismatch,
  receiveState,
  receiveStateRequest,
  receiveSyncParam,
  receiveUuids,
} from './handshake.js';
import { type Established, Link, type LinkEnd } from './link.js';
import { receiveProtocolUpdate } from './option-change.js';
import { sendProtocol, sendSizes, sendState, sendSyncParam, sendUuids } from './params.js';
import type { WriteOrdering } from './peer-epochs.js';
import type { Endpoint, StreamOwner } from './ports.js';
import { receiveSizes } from './resize.js';
import { Conns, Disks, Roles } from './state.js';
import type { Volume } from './volume.js';
import { Waits } from './waits.js';

/** A state change that the peer was asked for. */
interface PeerRequestWaiting {
  readonly done: (code: number) => void;
}

/** So long after its handshake a connection counts as one that works. */
const GOOD_MS = 5000;

export class Resource {
  readonly core: Core;
  /** Known on this node only: the peer is met by its addresses. */
  name: string;
  readonly volumes: Volume[] = []; // ascending volume numbers
  resourceOptions: ResourceOptions = DEFAULT_RESOURCE_OPTIONS;
  netOptions: NetOptions = DEFAULT_NET_OPTIONS;
  local: Endpoint | null = null;
  remote: Endpoint | null = null;
  /** A network configuration exists: `connect` was called and has not been undone. */
  configured = false;
  tentative = false;
  /** Our first P_STATE of this connection is out, and not all volumes are through the handshake. */
  stateSent = false;
  link: Link | null = null;
  readonly #connector: Connector;
  readonly #waits: Waits;
  #incarnation = 0;
  /** Where the connection is, also while there is no volume to say so; what has failed counts as what it was. */
  #reached: number = Conns.StandAlone;
  #goodAtMs = Number.POSITIVE_INFINITY; // a connection that lives then was one
  #brief = 0; // connections in a row that were none
  #asked: PeerRequestWaiting | null = null;
  #closeAtMs = Number.POSITIVE_INFINITY; // an agreed disconnect: the peer closes, or we do then
  readonly #leftovers: Link[] = []; // ended, with writes of the peer's under way

  constructor(core: Core, name: string) {
    this.core = core;
    this.name = name;
    this.#connector = new Connector(core, this);
    this.#waits = new Waits(core);
  }

  volume(number: number): Volume | null {
    for (const v of this.volumes) if (v.number === number) return v;
    return null;
  }

  /** connect --discard-my-data, and not all volumes have met the peer since. */
  get discardMyData(): boolean {
    return this.volumes.some((v) => v.discardMyData);
  }

  get connector(): Connector {
    return this.#connector;
  }

  /** State of the connection object: volumes beyond WFReportParams are its own business. */
  get conn(): number {
    let conn: number = Conns.StandAlone;
    for (const v of this.volumes) conn = Math.max(conn, v.state.conn);
    return Math.min(conn, Conns.WFReportParams);
  }

  /** The weakest protocol by which something unfinished may have been answered. */
  get protocolInForce(): Protocol {
    let letter = this.netOptions.protocol;
    for (const v of this.volumes) letter = v.app.promises.inForce(letter);
    return letter;
  }

  /** Options have become those that the peer told, or the role is another: a successor of this engine must know. */
  toBeSaved(): void {
    this.core.host.toBeSaved?.(this.name);
  }

  /** A state change is being negotiated with the peer. */
  get changing(): boolean {
    return this.#asked !== null;
  }

  /** Changes with each connection that was made. */
  get incarnation(): number {
    return this.#incarnation;
  }

  setConn(conn: number): void {
    this.#reached = conn;
    for (const v of this.volumes) force(v, { conn });
  }

  // ---- connecting

  connect(
    local: Endpoint,
    remote: Endpoint,
    options: NetOptions,
    discardMyData: boolean,
    tentative: boolean,
  ): void {
    this.local = local;
    this.remote = remote;
    this.netOptions = options;
    this.tentative = tentative;
    this.configured = true;
    for (const v of this.volumes) {
      v.discardMyData = discardMyData;
      v.sendSectors = 0;
      v.receiveSectors = 0;
      if (v.resumedWithDisk) {
        if (options.protocol === 'C') v.app.doubt.lackedByPeer();
        else v.ahead = true;
      }
      // Under B the peer has received all that was answered, and users hear with their next flush that it may have lost that.
      if (v.resumedDiskLost && options.protocol === 'A') v.ahead = true;
      v.resumedWithDisk = false;
      v.resumedDiskLost = false;
    }
    this.#brief = 0;
    this.setConn(Conns.Unconnected);
    this.#startConnecting();
  }

  /**
   * A volume that is made when `connect` has been asked for already goes with the others, or is the one that the connection has waited
   * for: nothing else would take it out of StandAlone. One that others are connected over is not broken for it.
   */
  volumeAdded(v: Volume): void {
    const { link } = this;
    if (!this.configured || (link && this.volumes.length > 1)) return;
    force(v, { conn: Conns.Unconnected });
    // The peer has told of its volumes when this one was not there, and tells it again to a new connection only.
    if (link) link.fail('BrokenPipe', `volume ${v.number} is new: connecting again`);
    else if (this.#reached === Conns.WFConnection) force(v, { conn: Conns.WFConnection });
  }

  /** At once; but after connections that came to nothing, later and later. */
  #startConnecting(): void {
    if (!this.configured) return;
    if (this.#mustNotMeet) {
      this.core.host.log(
        'warn',
        this.name,
        'Not connecting: the data in use are not those of the peer',
      );
      this.#waitToConnect();
      return;
    }
    this.setConn(Conns.WFConnection);
    this.#connector.start(this.#brief > 1 ? restMs(this.#brief - 1) : 0);
  }

  #waitToConnect(): void {
    this.retryLater(() => {
      if (this.conn !== Conns.Unconnected) return;
      if (this.#mustNotMeet) this.#waitToConnect();
      else this.#startConnecting();
    });
  }

  /**
   * Two Primaries that meet refuse each other for good: connecting waits until the one that gives way is none. One whose users are
   * ahead of the peer's disk waits until its own is back; the peer begins a generation as soon as it hears that it is not.
   */
  get #mustNotMeet(): boolean {
    return this.volumes.some((v) => v.givesWay || v.aheadWithoutDisk);
  }

  /** One of these has just begun. */
  connectLater(): void {
    if (this.conn !== Conns.WFConnection) return; // StandAlone, or what follows comes to #startConnecting
    this.#connector.stop();
    this.setConn(Conns.Unconnected);
    this.#startConnecting();
  }

  /** Both sockets are there and the peer has shown that it knows the secret. */
  connected(e: Established, handOver: (data: StreamOwner, meta: StreamOwner) => void): void {
    const tooOld = this.#tooOld(e.apv);
    if (tooOld !== null) {
      this.core.port.close(e.dataStream);
      this.core.port.close(e.metaStream);
      this.standAlone(tooOld);
      return;
    }
    this.#incarnation = (this.#incarnation + 1) >>> 0;
    const link = new Link(this.core, this, e, this.#incarnation);
    this.link = link;
    this.#goodAtMs = Number.POSITIVE_INFINITY;
    this.#closeAtMs = Number.POSITIVE_INFINITY;
    if (link.sends.alg !== this.netOptions.dataIntegrityAlg) {
      const text = `data-integrity-alg is not used: protocol version ${link.apv} has none`;
      this.core.host.log('warn', this.name, text);
    }
    sendProtocol(link, this);
    for (const v of this.volumes) {
      v.resetSeq();
      v.peerUuids = null;
      v.peerSizes = null;
      sendSyncParam(link, v);
      v.syncUuidDue = false;
      if ((v.bitmap?.count ?? 0) > 0) partWhileFrozen(v);
      sendSizes(link, v, 0);
      sendUuids(link, v);
      sendState(link, v);
    }
    this.stateSent = true;
    this.setConn(Conns.WFReportParams);
    link.start(handOver);
  }

  /** What is configured here that a peer of this version has no words for; null: nothing. */
  #tooOld(apv: number): string | null {
    const numbers = this.volumes.map((v) => v.number);
    if (apv < 100 && numbers.some((n) => n !== 0)) {
      return `The peer speaks protocol version ${apv}, which knows no volume but 0: here are ${numbers.join(', ')}`;
    }
    if (this.tentative && apv < 92) return '--dry-run is not supported by peer';
    return null;
  }

  /** Connected, and not all volumes are through the handshake: each of them may still refuse the peer. */
  get meeting(): boolean {
    return this.volumes.some((v) => v.state.conn === Conns.WFReportParams);
  }

  /** A volume is through the handshake. */
  established(v: Volume): void {
    if (v.state.disk >= Disks.Inconsistent) v.outdateAtAttach = false; // it knows by itself by now
    v.degraded = false;
    if (this.meeting || !this.stateSent) return;
    this.stateSent = false;
    this.#goodAtMs = this.core.port.nowMs() + GOOD_MS;
    this.thawWhenMet();
    for (const o of this.volumes) {
      goOn(o);
      o.app.resume();
    }
  }

  /**
   * Frozen because the peer was lost and not fenced: it is back. One that is to be a target may be lost again before it knows
   * that, with a disk that passes for good: what is written meanwhile has to wait until its bitmap says that it does.
   */
  thawWhenMet(): void {
    const unsure = (v: Volume): boolean => v.state.conn === Conns.WFBitMapS && !v.peerFollows;
    if (this.meeting || this.volumes.some(unsure)) return;
    for (const v of this.volumes) if (v.state.suspFen !== 0) force(v, { suspFen: 0 });
  }

  // ---- rare packets of the data socket

  /** Null, or what is wrong with it (the connection then ends as ProtocolError). */
  packet(link: Link, command: number, number: number, body: number, length: number): string | null {
    const { poolView, pool } = this.core.port;
    const update = command === COMMANDS.P_PROTOCOL_UPDATE && link.apv >= 100;
    if (command === COMMANDS.P_PROTOCOL || update) {
      const p = decode(protocolCodec, poolView, body, length, link, 24, 24 + 64);
      if (typeof p === 'string') return p;
      if (update) {
        if (!link.peerProtocol) return 'before P_PROTOCOL';
        return receiveProtocolUpdate(this, link, p);
      }
      link.peerProtocol = p;
      const wrong = protocolMismatch(this, link, p);
      if (wrong !== null) this.standAlone(wrong, 'part');
      return null;
    }
    if (command === COMMANDS.P_CONN_ST_CHG_REQ) {
      const c = decode(stateChangeCodec, poolView, body, length, link, 8, 8);
      if (typeof c === 'string') return c;
      return receiveStateRequest(link, command, this.volumes, 0, c.mask, c.value);
    }
    if (command === COMMANDS.P_DELAY_PROBE) return null;
    if (!link.peerProtocol) return 'before P_PROTOCOL';
    const v = this.volume(number);
    if (!v) {
      const skipped =
        command === COMMANDS.P_SYNC_PARAM ||
        command === COMMANDS.P_SYNC_PARAM89 ||
        command === COMMANDS.P_SIZES ||
        command === COMMANDS.P_UUIDS ||
        command === COMMANDS.P_STATE;
      if (!skipped) return `volume ${number} does not exist`;
      this.core.host.log(
        'warn',
        this.name,
        `Volume ${number} unknown; ignoring ${commandName(command)} packet`,
      );
      return null;
    }
    switch (command) {
      case COMMANDS.P_SYNC_PARAM:
      case COMMANDS.P_SYNC_PARAM89: {
        // Which of the two forms it has is a matter of the version, not of the command, as for a kernel.
        if (link.apv < 89) {
          const [min, max] = link.apv === 88 ? [5, 4 + SHARED_SECRET_MAX_BYTES] : [4, 4];
          const old = decode(syncParamOldCodec, poolView, body, length, link, min, max);
          if (typeof old === 'string') return old;
          return receiveSyncParam(link, v, { ...old, csumsAlg: '', controller: null });
        }
        const size = syncParamBytes(link);
        const p = decode(syncParamCodec, poolView, body, length, link, size, size);
        return typeof p === 'string' ? p : receiveSyncParam(link, v, p);
      }
      case COMMANDS.P_SIZES: {
        const size = sizesBytes(link);
        const p = decode(sizesCodec, poolView, body, length, link, size, size);
        return typeof p === 'string' ? p : receiveSizes(link, v, p);
      }
      case COMMANDS.P_UUIDS: {
        const p = decode(uuidsCodec, poolView, body, length, link, 48, 48);
        return typeof p === 'string' ? p : receiveUuids(v, p);
      }
      case COMMANDS.P_STATE: {
        if (length !== 4) return `length ${length}, expected 4`;
        const wrong = receiveState(link, v, poolView.getUint32(body));
        this.core.resyncOrder.settle(); // what the peer waits for is no part of a state here
        return wrong;
      }
      case COMMANDS.P_STATE_CHG_REQ: {
        const c = decode(stateChangeCodec, poolView, body, length, link, 8, 8);
        if (typeof c === 'string') return c;
        return receiveStateRequest(link, command, [v], number, c.mask, c.value);
      }
      case COMMANDS.P_SYNC_UUID: {
        const p = decode(syncUuidCodec, poolView, body, length, link, 8, 8);
        return typeof p === 'string' ? p : v.resync.beginning.syncUuid(link, p.uuid);
      }
      case COMMANDS.P_BITMAP:
      case COMMANDS.P_COMPRESSED_BITMAP:
        return v.resync.beginning.bitmapPacket(link, command, pool.subarray(body, body + length));
      default:
        return 'unknown or not supported';
    }
  }

  // ---- changes that the peer must agree to

  /** Ask the peer; `done` gets its code. One at a time: the engine holds back others. */
  askPeer(v: Volume | null, mask: number, value: number, done: (code: number) => void): boolean {
    const { link } = this;
    if (!link?.alive || this.#asked) return false;
    this.#asked = { done };
    // Below 100 there is one volume, and it stands for the connection.
    const whole = v === null && link.apv >= 100;
    const command = whole ? COMMANDS.P_CONN_ST_CHG_REQ : COMMANDS.P_STATE_CHG_REQ;
    link.out.onData(command, v?.number ?? 0, 8, stateChangeCodec, { mask, value });
    return true;
  }

  stateReply(_link: Link, _volume: number, code: number, _command: number): void {
    const asked = this.#asked;
    this.#asked = null;
    asked?.done(code);
  }

  // ---- the end of a connection

  /** The peer has asked to disconnect and been told yes: it closes first. */
  peerDisconnects(_link: Link): void {
    this.#closeAtMs = this.core.port.nowMs() + this.netOptions.pingTimeoutDs * 100;
  }

  /** A link has ended by itself. */
  linkFailed(link: Link, how: LinkEnd): void {
    for (const v of this.volumes) {
      const { conn } = v.state;
      if (conn < Conns.WFReportParams) continue; // TearDown, Disconnecting: the cause is known
      force(v, { conn: Conns[how] });
    }
    this.#brief = this.core.port.nowMs() >= this.#goodAtMs ? 0 : this.#brief + 1;
    this.#afterLink(link, () => {
      if (!this.configured) return;
      this.setConn(Conns.Unconnected);
      this.#startConnecting();
    });
  }

  /** Clear what was on its way, then go on once the peer's last writes are on disk. */
  #afterLink(link: Link, next: () => void): void {
    this.link = null;
    this.stateSent = false;
    this.#closeAtMs = Number.POSITIVE_INFINITY;
    link.transferLog.clear(
      (r) => r.owner.lost(r),
      (r) => r.owner.lost(r),
    );
    for (const v of this.volumes) v.app.reads.peerLost();
    const asked = this.#asked;
    this.#asked = null;
    fenceAfterLoss(this);
    this.core.host.log('info', this.name, 'Connection closed');
    this.#leftovers.push(link);
    link.waitingReads.drop();
    for (const v of this.volumes) v.peerIo.dropReads(link);
    link.drained(() => {
      for (const v of this.volumes) v.forgetRefused();
      this.#leftovers.splice(this.#leftovers.indexOf(link), 1);
      for (const v of this.volumes) v.writeBitmap();
      next();
    });
    asked?.done(0); // last: it may connect anew
  }

  /** Nothing of the peer's is under way. */
  peerWorkPending(): boolean {
    return this.volumes.some((v) => v.peerWork > 0);
  }

  /**
   * Give the connection up for good, until an operator connects again. `part`: for a reason that the peer finds by itself, if it has
   * the time.
   */
  standAlone(why: string, how: 'close' | 'part' = 'close'): void {
    if (why !== '') this.core.host.log('error', this.name, why);
    this.configured = false;
    this.#connector.stop();
    for (const v of this.volumes) {
      if (v.state.conn === Conns.StandAlone) continue;
      if (v.state.conn !== Conns.Disconnecting) force(v, { conn: Conns.Disconnecting });
    }
    const { link } = this;
    const finish = (): void => {
      if (this.configured) return;
      for (const v of this.volumes) {
        if (v.state.conn !== Conns.StandAlone) force(v, { conn: Conns.StandAlone });
      }
      this.core.host.log('info', this.name, 'Discarding network configuration.');
    };
    if (link) {
      if (how === 'part') link.part();
      else link.close();
      this.#afterLink(link, finish);
    } else if (this.#leftovers.length > 0) {
      (this.#leftovers[0] as Link).drained(finish);
      for (const old of [...this.#leftovers]) old.parted(); // an operator does not wait for the peer to find out
    } else {
      finish();
    }
  }

  /** disconnect: the peer is told, so that it knows that this was wanted. `done` gets 1, or why not. */
  disconnect(forceIt: boolean, done: (code: number, rule: string) => void): void {
    disconnect(this, forceIt, done);
  }

  resyncFinished(): void {
    const done = this.volumes.every(
      (v) => v.state.disk === Disks.UpToDate && v.state.pdsk === Disks.UpToDate,
    );
    const fencing = this.volumes.some((v) => v.diskOptions.fencing !== 'dont-care');
    if (done && fencing) this.core.host.handler('unfence-peer', this.name, null, () => {});
  }

  diskIsFailed(v: Volume): void {
    if (v.aheadWithoutDisk) this.connectLater();
    if (v.untold) v.untold.holdsDetach();
    else finishDetach(v, () => this.core.host.stateChanged(this.name));
  }

  // ---- disks

  writeOrdering(): WriteOrdering {
    let drain = false;
    for (const v of this.volumes) {
      if (v.diskOptions.diskFlushes) return 'flush';
      if (v.diskOptions.diskDrain) drain = true;
    }
    return drain ? 'drain' : 'none';
  }

  /** Flush the disks of all volumes; a disk that fails to is let go. `failed`: numbers of the volumes. */
  flushVolumes(done: (failed: readonly number[]) => void): void {
    let left = 1;
    const failed: number[] = [];
    const one = (): void => {
      left--;
      if (left === 0) done(failed);
    };
    for (const v of this.volumes) {
      if (!v.diskUsable()) continue;
      left++;
      v.peerIo.local++;
      const tag = this.core.cold((result) => {
        v.peerIo.local--;
        if (result < 0) {
          failed.push(v.number);
          v.flushFailed(-result);
        }
        one();
      });
      this.core.port.flushDisk(v.dataDisk, tag);
    }
    one();
  }

  get isPrimary(): boolean {
    return this.volumes.some((v) => v.state.role === Roles.Primary);
  }

  // ---- waiting (rare operations)

  after(ms: number, run: () => void): void {
    this.#waits.after(ms, run);
  }

  /** A transient state: look again a little later. */
  retryLater(run: () => void): void {
    this.#waits.after(100, run);
  }

  /** Once `holds` is true; never inside this call. */
  when(holds: () => boolean, run: () => void): void {
    this.#waits.until(holds, run);
  }

  whenLinkEnds(link: Link, run: () => void): void {
    this.#waits.until(() => !link.alive, run);
  }

  /** No application write is between being asked and being answered. */
  whenQuiet(v: Volume, run: () => void): void {
    // Writes that are answered and not known to be on the peer's disk (protocols A and B) are not quiet: without the
    // mark of a Primary in the meta-data nobody would look for them after a crash.
    this.#waits.until(
      () => v.app.pending === 0 && v.app.writesActive === 0 && v.app.logged === 0,
      run,
    );
  }

  whenDiskless(v: Volume, run: () => void): void {
    this.#waits.until(() => v.state.disk === Disks.Diskless && v.dataDisk < 0, run);
  }

  whenStandAlone(run: () => void): void {
    this.#waits.until(
      () => !this.configured && this.volumes.every((v) => v.state.conn === Conns.StandAlone),
      run,
    );
  }

  // ---- time

  tick(nowMs: number): void {
    this.#waits.tick(nowMs);
    this.#connector.tick(nowMs);
    this.link?.tick(nowMs);
    for (const v of this.volumes) {
      v.resync.tick(nowMs);
      v.verify.tick(nowMs);
      v.diskWatch.tick(nowMs);
    }
    if (nowMs >= this.#closeAtMs && this.link) {
      this.#closeAtMs = Number.POSITIVE_INFINITY;
      this.link.fail('BrokenPipe', 'disconnect: the peer did not close in time');
    }
  }

  get deadlineMs(): number {
    let at = Math.min(
      this.#closeAtMs,
      this.#connector.deadlineMs,
      this.#waits.deadlineMs,
      this.link?.deadlineMs ?? Number.POSITIVE_INFINITY,
    );
    for (const v of this.volumes) {
      at = Math.min(at, v.resync.deadlineMs, v.verify.deadlineMs, v.diskWatch.deadlineMs);
    }
    return at;
  }
}

function decode<B extends object>(
  codec: Codec<B>,
  view: DataView,
  at: number,
  length: number,
  link: Link,
  min: number,
  max: number,
): B | string {
  if (length < min || length > max) return `length ${length}, expected ${min}`;
  const body = codec.decode(view, at, length, link);
  return isWireError(body) ? `${body.error} at byte ${body.offset - at}` : body;
}
