/**
 * How a resync begins, from the handshake to the first block: the exchange of bitmaps, and the word that it has begun.
 *
 *     WFBitMapS: send our bitmap, merge the peer's answer ------------------> SyncSource
 *     WFBitMapT: merge the peer's bitmap, send the result -> WFSyncUUID -(P_SYNC_UUID)-> SyncTarget
 *     StartingSyncS, StartingSyncT: every block, without an exchange
 *     Ahead, Behind: what is marked, without an exchange (congestion.ts)
 *
 * What is begun in one exchange is not gone on with in the next: whatever waits for a disk, a handler or the peer looks first whether
 * it still belongs to this one. Source: docs/STATES.md, resync sequence.
 */
import { BitmapReceiver, BitmapSender } from '../wire/bitmap.js';
import { SOCKET_BUFFER_BYTES } from '../wire/constants.js';
import { isWireError } from '../wire/packet.js';
import { force, setUuids } from './changes.js';
import type { Core } from './core.js';
import { startAsTarget } from './generation.js';
import type { Link } from './link.js';
import { sendState } from './params.js';
import type { Resync } from './resync.js';
import { Conns, Disks, Roles, type State } from './state.js';
import type { Volume } from './volume.js';

/** Bitmap packets are queued up to this many bytes at a time: well below the 512 KiB that an outbox can hold. */
const BITMAP_BACKLOG_BYTES = 192 << 10;
const SEND_AGAIN_MS = 2;

/** On the way to a resync. */
const isExchanging = (conn: number): boolean =>
  (conn >= Conns.StartingSyncS && conn <= Conns.WFSyncUUID) ||
  conn === Conns.Ahead ||
  conn === Conns.Behind;
const isTarget = (conn: number): boolean => conn === Conns.SyncTarget || conn === Conns.PausedSyncT;
/** Whence a source begins. */
const FROM: ReadonlySet<number> = new Set([Conns.WFBitMapS, Conns.StartingSyncS, Conns.Ahead]);

export class ResyncBeginning {
  readonly #core: Core;
  readonly #volume: Volume;
  readonly #resync: Resync;
  #exchange = 0; // counts how often one began, ended, or lost a disk: what was begun in one is not gone on with in the next
  #peerMustHear = false; // that one begins
  #brokenOffOn: Link | null = null; // packets of an exchange may be on their way
  #sender: BitmapSender | null = null;
  #sent: (() => void) | null = null;
  #sendAgainMs = Number.POSITIVE_INFINITY;
  #receiver: BitmapReceiver | null = null;
  #pulledAhead = false; // the peer, since its last P_SYNC_UUID
  readonly #beginnings = new Set<() => void>(); // that wait for before-resync-target: each calls itself off
  readonly #packet = new Uint8Array(SOCKET_BUFFER_BYTES);

  constructor(core: Core, volume: Volume, resync: Resync) {
    this.#core = core;
    this.#volume = volume;
    this.#resync = resync;
  }

  stateChanged(old: State, next: State): void {
    const { link } = this.#volume;
    const changes = isExchanging(old.conn) !== isExchanging(next.conn);
    // Without one of the disks nothing comes of what was about to begin.
    const letGo = next.pdsk < Disks.Inconsistent || next.disk < Disks.Inconsistent;
    const alone = next.conn === Conns.Connected && letGo;
    if (changes || alone) this.#exchange++;
    // The peer may have begun one with a disk that is let go before this node has compared.
    const gone = old.disk === Disks.Negotiating && next.disk < Disks.Inconsistent;
    if ((changes || gone) && next.conn === Conns.Connected) this.#brokenOffOn = link;
    if (next.conn !== Conns.WFBitMapS && next.conn !== Conns.WFBitMapT) {
      if (this.#receiver) this.#merged(); // in part
      this.#receiver = null;
      this.#sender = null;
    }
    // Nothing comes of it: writes do not wait for a handler that may take long.
    if (this.#beginnings.size === 0 || !(changes || alone || next.conn < Conns.Connected)) return;
    // To its source, which had begun with new storage, this copy is Inconsistent.
    if (alone && link && next.disk === Disks.UpToDate) sendState(link, this.#volume);
    for (const callOff of this.#beginnings) callOff();
    this.#beginnings.clear();
  }

  /** The rest of a bitmap is to be sent; +Infinity: none. */
  get dueMs(): number {
    return this.#sender ? this.#sendAgainMs : Number.POSITIVE_INFINITY;
  }

  tick(link: Link, nowMs: number): void {
    if (this.#sender && nowMs >= this.#sendAgainMs) this.#sendMore(link);
  }

  /**
   * The bitmaps are compared on a connection that stands, and this node is the source: it has told its generation. The peer hears of
   * the state before the bitmap comes (a kernel leaves one that comes before, and waits for ever).
   */
  compare(): void {
    this.#peerMustHear = true;
    force(this.#volume, { conn: Conns.WFBitMapS });
    this.#peerMustHear = false;
  }

  /** WFBitMapS: our bitmap goes first. */
  sendBitmap(sent: () => void = () => {}): void {
    const v = this.#volume;
    const { link, bitmap, store } = v;
    if (!link || !bitmap || !store) return;
    if (this.#peerMustHear) sendState(link, v);
    const exchange = this.#exchange;
    if (v.syncUuidDue) {
      // Of a resync that was broken off, and the disk is slow: the state of now, which the peer must hear first, waits for that.
      v.resource.when(
        () => !v.syncUuidDue || this.#exchange !== exchange,
        () => {
          if (this.#exchange === exchange) this.sendBitmap(sent);
        },
      );
      return;
    }
    // What is sent must be known after a crash too: the bits are on disk before the peer counts on them.
    v.writeBitmap((result) => {
      if (result < 0) {
        v.metaFailed(-result);
        return;
      }
      if (v.link !== link || v.bitmap !== bitmap || this.#exchange !== exchange) return;
      const words = bitmap.bytes.subarray(0, Math.ceil(bitmap.bits / 64) * 8);
      this.#sender = new BitmapSender(
        { words, bits: bitmap.bits },
        link,
        v.number,
        v.resource.netOptions.useRle,
      );
      this.#sent = sent;
      this.#sendMore(link);
    });
  }

  #sendMore(link: Link): void {
    const sender = this.#sender;
    if (!sender) return;
    const view = new DataView(this.#packet.buffer);
    while (link.out.backlogBytes < BITMAP_BACKLOG_BYTES && link.alive) {
      const bytes = sender.next(view, 0);
      if (bytes > 0) link.out.raw(this.#packet.subarray(0, bytes));
      if (bytes === 0 || sender.done) {
        this.#sender = null;
        const sent = this.#sent;
        this.#sent = null;
        sent?.();
        return;
      }
    }
    this.#sendAgainMs = this.#core.port.nowMs() + SEND_AGAIN_MS;
  }

  /** P_BITMAP or P_COMPRESSED_BITMAP; null, or what is wrong. */
  bitmapPacket(link: Link, command: number, body: Uint8Array): string | null {
    const v = this.#volume;
    const { conn } = v.state;
    const { bitmap } = v;
    if ((conn !== Conns.WFBitMapS && conn !== Conns.WFBitMapT) || !bitmap) {
      // Sent before the peer heard that our disk is gone, and the exchange with it.
      if (this.#brokenOffOn === link) return null;
      return 'a bitmap packet makes no sense in this state';
    }
    if (!this.#receiver) {
      const words = bitmap.bytes.subarray(0, Math.ceil(bitmap.bits / 64) * 8);
      this.#receiver = new BitmapReceiver({ words, bits: bitmap.bits }, link);
    }
    const wrong = this.#receiver.receive(command, body);
    if (wrong !== null && isWireError(wrong)) return wrong.error;
    if (!this.#receiver.done) return null;
    this.#receiver = null;
    this.#merged();
    if (conn === Conns.WFBitMapS) this.#bothMerged(link);
    else {
      // Merged: on disk here, then back to the source, then its P_SYNC_UUID. Blocks of a resync that was broken off are
      // written before: their acknowledgements must not be taken for those of the new one.
      const exchange = this.#exchange;
      v.resource.when(
        () => v.peerIo.resyncWrites === 0 || this.#exchange !== exchange,
        () => {
          if (v.link === link && this.#exchange === exchange) this.#sendMerged(link);
        },
      );
    }
    return null;
  }

  /** Bits of the peer's bitmap are among ours: they are counted, and go to disk. */
  #merged(): void {
    const { bitmap } = this.#volume;
    bitmap?.loaded();
    bitmap?.markAllPagesDirty();
  }

  #sendMerged(link: Link): void {
    const v = this.#volume;
    this.sendBitmap(() => {
      if (v.link === link && v.state.conn === Conns.WFBitMapT) force(v, { conn: Conns.WFSyncUUID });
    });
  }

  #bothMerged(link: Link): void {
    const v = this.#volume;
    const { bitmap, store } = v;
    if (!bitmap || !store) return;
    v.peerFollows = true;
    v.resource.thawWhenMet();
    const exchange = this.#exchange;
    store.writeBitmap(bitmap, null, (result) => {
      if (result < 0) v.metaFailed(-result);
      else if (this.#exchange === exchange) this.#beginSource(link);
    });
  }

  #beginSource(link: Link): void {
    // Acknowledgements of a resync that was broken off on this connection may be on their way, and say nothing of the new one.
    if (!this.#resync.brokenOff(link)) {
      this.#mayBeginSource(link);
      return;
    }
    const exchange = this.#exchange;
    link.watch.pingAfresh(() => {
      if (this.#exchange === exchange) this.#mayBeginSource(link);
    });
  }

  #mayBeginSource(link: Link): void {
    const v = this.#volume;
    const exchange = this.#exchange;
    this.#core.host.handler('before-resync-source', v.resource.name, v.minor, (exit) => {
      if (v.link !== link || this.#exchange !== exchange) return;
      if (exit !== 0 && exit !== 3) {
        v.resource.standAlone(
          `before-resync-source handler returned ${exit}, dropping connection.`,
        );
        return;
      }
      if (FROM.has(v.state.conn)) this.#becomeSourceWhenFree(link, exchange);
      else v.growth.whenFree(link, () => this.#becomeSource());
    });
  }

  /** What is being agreed on with the peer (detach) would take place there, and be refused here. */
  #becomeSourceWhenFree(link: Link, exchange: number): void {
    const v = this.#volume;
    if (v.link !== link || this.#exchange !== exchange || !FROM.has(v.state.conn)) return;
    if (!v.resource.changing) {
      this.#becomeSource();
      return;
    }
    v.resource.when(
      () => !v.resource.changing,
      () => this.#becomeSourceWhenFree(link, exchange),
    );
  }

  #becomeSource(): void {
    force(this.#volume, { conn: Conns.SyncSource, pdsk: Disks.Inconsistent });
  }

  /**
   * P_SYNC_UUID may come before this node is ready for it: the agreement to begin travels on the other socket, and the
   * bitmap is still on its way to the disk. It is read when that is over (the kernel waits likewise); ignored, both nodes
   * would wait for each other for ever.
   */
  get syncUuidEarly(): boolean {
    const v = this.#volume;
    const { conn } = v.state;
    return conn === Conns.StartingSyncT || (conn === Conns.Connected && v.resource.changing);
  }

  /** P_SYNC_UUID: the source has begun. Null, or what is wrong. */
  syncUuid(link: Link, uuid: bigint): string | null {
    const v = this.#volume;
    const { conn } = v.state;
    if (conn === Conns.SyncSource || conn === Conns.PausedSyncS) {
      // A role changed hands while the device grew, and each thought that it was to begin.
      link.fail('NetworkFailure', 'both nodes have begun the resync of new storage: once more');
      return null;
    }
    const verifies = conn === Conns.VerifyS || conn === Conns.VerifyT;
    const grown = (conn === Conns.Connected || verifies) && v.growth.isDue;
    if (!grown && conn !== Conns.WFSyncUUID && conn !== Conns.Behind && conn !== Conns.WFBitMapT) {
      // The kernel ignores it where it does not belong; so do we.
      this.#core.host.log('warn', v.name, 'Ignoring SyncUUID packet!');
      return null;
    }
    // To the source the verify is over; its last results may be on their way, on the other socket.
    if (verifies) v.verify.peerCopies();
    // The peer's writes may follow at once: none touches the disk before it says that it is Inconsistent.
    v.peerIo.hold();
    let isOn = true;
    let isHeld = true;
    const letGo = (go: boolean): void => {
      if (isHeld) v.peerIo.release(go);
      isHeld = false;
    };
    const callOff = (): void => {
      isOn = false;
      v.resource.when(
        () => true,
        () => letGo(false),
      );
    };
    this.#beginnings.add(callOff);
    this.#pulledAhead = false;
    const exchange = this.#exchange;
    this.#core.host.handler('before-resync-target', v.resource.name, v.minor, (exit) => {
      this.#beginnings.delete(callOff);
      const isWanted = isOn && v.link === link && this.#exchange === exchange;
      if (!isWanted || exit !== 0 || !v.store) {
        if (isWanted && exit !== 0) {
          v.resource.standAlone(
            `before-resync-target handler returned ${exit}, dropping connection.`,
          );
        }
        letGo(false);
        return;
      }
      const primary = v.state.role === Roles.Primary;
      v.uuids = startAsTarget(v.uuids, uuid, primary);
      force(v, { conn: Conns.SyncTarget, disk: Disks.Inconsistent });
      const inUse = v.peerUuids?.current ?? v.exposedUuid;
      const run = this.#resync.runs;
      setUuids(v, v.uuids, () => {
        const target = isTarget(v.state.conn) || v.state.conn === Conns.Behind;
        const begun = v.link === link && target && this.#resync.runs === run;
        letGo(begun);
        if (begun && v.state.conn === Conns.SyncTarget) this.#resync.begin();
      });
      v.exposedUuid = inUse; // what a Primary's users see are the source's data, not what is half copied here
      if (this.#pulledAhead) force(v, { conn: Conns.Behind }); // while the handler ran
    });
    return null;
  }

  /** The source is Ahead: this node is Behind, or will be as soon as the resync has begun whose P_SYNC_UUID came before. */
  peerPulledAhead(): void {
    this.#pulledAhead = true;
  }

  /**
   * What is marked here is marked at the peer: no exchange of bitmaps. The new part of a device that has grown while connected (growth.ts),
   * or what was announced while this node was Ahead.
   */
  startMarked(): void {
    const v = this.#volume;
    const { store, link } = v;
    if (!store || !link) return;
    const exchange = this.#exchange;
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
      else if (v.link === link && this.#exchange === exchange) this.#beginSource(link);
    });
  }

  /** invalidate, invalidate-remote: everything is to be copied, without an exchange of bitmaps. */
  startFull(conn: number): void {
    const v = this.#volume;
    const { bitmap, store, link } = v;
    if (!bitmap || !store || !link) return;
    bitmap.setAll();
    const exchange = this.#exchange;
    store.writeBitmap(bitmap, null, (result) => {
      if (result < 0) {
        v.metaFailed(-result);
        return;
      }
      if (v.link !== link || this.#exchange !== exchange) return; // a disk failed meanwhile: aborted
      if (conn === Conns.StartingSyncS) this.#beginSource(link);
      else force(v, { conn: Conns.WFSyncUUID });
    });
  }
}
