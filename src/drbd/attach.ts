/**
 * Attaching a disk and letting it go.
 *
 * Attach: open, read the superblock, replay the activity log of a crash into the bitmap, decide what the data here are
 * worth (docs/STATES.md, attach), and only then offer the disk. Nothing is written before all checks have passed.
 *
 * Detach: the disk fails first (so that nothing new is sent there), what is under way ends, the bitmap is written,
 * and then it is Diskless.
 */
import type { DiskOptions } from '../config/drbd-options.js';
import { AL_BLOCK_BYTES, maxAlSlots } from '../md/activity-log.js';
import { applyAl, planApplyAl } from '../md/apply-al.js';
import { Bitmap } from '../md/bitmap.js';
import {
  layoutOfSuperblock,
  type MetaIndex,
  superblockSector,
  usableSectors,
} from '../md/layout.js';
import {
  checkSuperblock,
  isUnclean,
  MAGIC_UNCLEAN,
  MAGIC_V08,
  MDF,
  type MetaFailure,
  metaFailure,
  type Superblock,
  wrongLayout,
} from '../md/superblock.js';
import { bitsOfSectors } from '../md/units.js';
import { ActivityLog } from './activity-log.js';
import { type AttachDecision, attachDecision, suspendsAlUpdates } from './attach-decision.js';
import { force } from './changes.js';
import type { Core } from './core.js';
import { maskUuid } from './generation.js';
import { stillOwed } from './hung-disk.js';
import { MetaStore } from './meta-store.js';
import { Err } from './return-codes.js';
import { Conns, Disks, Roles } from './state.js';
import { fittingOptions } from './thin-resync.js';
import type { Volume } from './volume.js';

export interface AttachRequest {
  readonly disk: string;
  readonly metaDisk: string;
  readonly metaIndex: MetaIndex;
  readonly options: DiskOptions;
  /** So large it was when internal meta-data were last known at its end: they may still be there (lower-size.ts). */
  readonly lowerSectors?: number;
}

/** Why not: DRBD's failure code, and the evidence. */
export interface AttachFailure {
  readonly code: number;
  readonly info: readonly string[];
}

type Done = (failure: AttachFailure | null) => void;

const EBUSY = 16;
/** So long an attach waits for the peer's word on the volume: nothing else is done for the resource meanwhile. Many times what it takes. */
const MEETS_MS = 10_000;
/** And for buffers: data never have the spare ones, so they come back. */
const BUFFERS_MS = 10_000;
/** The kernel's smallest meta-data device, internal or flexible. */
const MIN_DEVICE_SECTORS = 2048;

export function attach(v: Volume, request: AttachRequest, done: Done): void {
  if (v.state.disk !== Disks.Diskless || v.dataDisk >= 0) {
    done({ code: Err.DISK_CONFIGURED, info: [`${v.lowerDisk} is attached`] });
    return;
  }
  for (const path of [request.disk, request.metaDisk]) {
    const owed = stillOwed(v.core, path);
    if (owed === null) continue;
    done({ code: Err.OPEN_DISK, info: [owed] });
    return;
  }
  const after = request.options.resyncAfterMinor;
  const wrong = v.core.resyncOrder.refusal(v.minor, after);
  if (wrong !== null) {
    done({ code: wrong, info: [`${v.name} resync-after ${after}`] });
    return;
  }
  new Attach(v, request, done).begin();
}

const isMagic = (sb: Superblock): boolean => sb.magic === MAGIC_V08 || sb.magic === MAGIC_UNCLEAN;

class Attach {
  readonly #v: Volume;
  readonly #core: Core;
  readonly #request: AttachRequest;
  readonly #done: Done;
  #data = -1;
  #meta = -1;
  #store: MetaStore | null = null;
  #lowerSectors = 0; // of the meta-data device, by which its superblock was found

  constructor(v: Volume, request: AttachRequest, done: Done) {
    this.#v = v;
    this.#core = v.core;
    this.#request = request;
    this.#done = done;
  }

  begin(): void {
    const { disk, metaDisk, metaIndex } = this.#request;
    this.#v.attachAsked = true;
    this.#v.attaching = this;
    force(this.#v, { disk: Disks.Attaching });
    this.#open(disk, true, Err.OPEN_DISK, Err.BDCLAIM_DISK, (data) => {
      this.#data = data;
      if (metaDisk === disk) {
        this.#meta = data;
        this.#readSuperblock();
        return;
      }
      const exclusive = typeof metaIndex !== 'number'; // the slots of one device are shared
      this.#open(metaDisk, exclusive, Err.OPEN_MD_DISK, Err.BDCLAIM_MD_DISK, (meta) => {
        this.#meta = meta;
        this.#readSuperblock();
      });
    });
  }

  #open(
    path: string,
    exclusive: boolean,
    openCode: number,
    busyCode: number,
    next: (handle: number) => void,
  ): void {
    const tag = this.#core.cold((result) => {
      if (result >= 0) next(result);
      else if (result === -EBUSY) this.#fail(busyCode, [`${path}: in use`]);
      else this.#fail(openCode, [`${path}: errno ${-result}`]);
    });
    this.#core.port.openDisk(path, { write: true, exclusive }, tag);
  }

  /** By `detach --force`: the state, and what the volume has of this disk, are not this attach's any more. */
  get #isCalledOff(): boolean {
    return this.#v.attaching !== this;
  }

  #answerCalledOff(): void {
    this.#done({ code: Err.NO_DISK, info: ['the disk was let go meanwhile'] });
  }

  #fail(code: number, info: readonly string[]): void {
    const { port } = this.#core;
    const v = this.#v;
    // One of another generation was let go before, and its users went on with the peer's.
    if (v.resuming && !v.elsewhere && code !== Err.DATA_NOT_CURRENT) v.resumedDiskLost = true;
    this.#store?.close();
    if (this.#meta >= 0 && this.#meta !== this.#data) port.close(this.#meta);
    if (this.#data >= 0) port.close(this.#data);
    if (this.#isCalledOff) {
      this.#answerCalledOff();
      return;
    }
    v.attaching = null;
    v.sizeIsJudged = false;
    force(v, { disk: Disks.Diskless });
    this.#done({ code, info });
  }

  #failMeta(failure: MetaFailure): void {
    this.#fail(failure.code, [failure.detail]);
  }

  #readSuperblock(): void {
    const { port } = this.#core;
    const capacity = Math.floor(port.diskInfo(this.#meta).sizeBytes / 512);
    if (capacity < MIN_DEVICE_SECTORS) {
      this.#fail(Err.MD_DISK_TOO_SMALL, [`${capacity} sectors; at least ${MIN_DEVICE_SECTORS}`]);
      return;
    }
    this.#takeBuffers(port.nowMs() + BUFFERS_MS, (store) => {
      this.#store = store;
      this.#readSuperblockOf(store, capacity);
    });
  }

  #takeBuffers(untilMs: number, taken: (store: MetaStore) => void): void {
    if (this.#isCalledOff) {
      this.#fail(Err.NO_DISK, []);
      return;
    }
    const store = MetaStore.create(this.#core, this.#meta, () => this.#v.superblock());
    if (store) taken(store);
    else if (this.#core.port.nowMs() < untilMs) {
      this.#v.resource.retryLater(() => this.#takeBuffers(untilMs, taken));
    } else this.#fail(Err.NOMEM, ['no I/O buffers are free']);
  }

  #readSuperblockOf(store: MetaStore, capacity: number): void {
    const { metaIndex } = this.#request;
    const unread = (): void =>
      this.#failMeta(metaFailure(118, `${this.#request.metaDisk}: can not be read`));
    store.readSuperblock(metaIndex, capacity, (sb) => {
      const { lowerSectors = 0 } = this.#request;
      const mayBeElsewhere = metaIndex === 'internal' && lowerSectors < capacity;
      if (!sb) unread();
      else if (isMagic(sb) || !mayBeElsewhere || lowerSectors < MIN_DEVICE_SECTORS) {
        this.#checkSuperblock(sb, capacity);
      } else {
        // It has grown, and nobody has moved them: they count where they are.
        store.readSuperblock(metaIndex, lowerSectors, (old) => {
          if (!old) unread();
          else this.#checkSuperblock(old, lowerSectors);
        });
      }
    });
  }

  #checkSuperblock(sb: Superblock, capacity: number): void {
    const { metaIndex } = this.#request;
    const at = superblockSector(metaIndex, capacity);
    // An unclean one is cleaned below, as `drbdadm apply-al` would; everything else must be right first.
    const cleaned: Superblock = isUnclean(sb)
      ? { ...sb, magic: MAGIC_V08, flags: sb.flags | MDF.AL_CLEAN }
      : sb;
    const wrong = checkSuperblock(cleaned, metaIndex, at, capacity);
    if (wrong) {
      this.#failMeta(wrong);
      return;
    }
    const layoutWrong = wrongLayout(sb, metaIndex, at, capacity);
    if (layoutWrong !== null) {
      this.#failMeta(metaFailure(119, layoutWrong));
      return;
    }
    const store = this.#store as MetaStore;
    store.layout = layoutOfSuperblock(sb, metaIndex, at);
    this.#lowerSectors = capacity;
    const dataSectors = Math.floor(this.#core.port.diskInfo(this.#data).sizeBytes / 512);
    const usable = usableSectors(store.layout, dataSectors);
    const { sizeSectors } = this.#request.options;
    if (sizeSectors > usable) {
      this.#fail(Err.DISK_TOO_SMALL, [`size ${sizeSectors} sectors, the disk has ${usable}`]);
      return;
    }
    if (sb.laSizeSectors > usable) {
      this.#fail(Err.DISK_TOO_SMALL, [
        `the device has had ${sb.laSizeSectors} sectors, the disk has room for ${usable}`,
      ]);
      return;
    }
    const meant = this.#withoutUnheard(sb);
    if (!this.#decide(meant)) return;
    this.#readLog(meant, usable);
  }

  /** A generation that is none (Volume.unheard) may have reached the disk, as it was let go. */
  #withoutUnheard(sb: Superblock): Superblock {
    const { unheard } = this.#v;
    if (!unheard || maskUuid(sb.current) !== maskUuid(unheard.current)) return sb;
    const flags = (sb.flags & ~MDF.PEER_OUT_DATED) | unheard.peerOutdated;
    return { ...sb, ...unheard.before, flags };
  }

  /** What these data are worth in the state of now; null: refused, and told. */
  #decide(sb: Superblock): AttachDecision | null {
    const v = this.#v;
    const { current, bitmap, history1, history2 } = sb;
    const decided = attachDecision({
      state: v.state,
      flags: sb.flags,
      uuids: { current, bitmap, history1, history2 },
      resuming: v.resuming,
      hasExposed: v.hasSeenOfOwn(current),
      fencing: this.#request.options.fencing,
      alUpdates: this.#request.options.alUpdates,
      outdated: v.outdateAtAttach || !v.hasSeenOfOwn(current),
      lostUnmarked: v.lostUnmarked,
    });
    if (typeof decided !== 'number') return decided;
    this.#fail(decided, ['the disk holds another generation than the one in use']);
    return null;
  }

  #readLog(sb: Superblock, usable: number): void {
    const store = this.#store as MetaStore;
    const layout = store.layout as NonNullable<MetaStore['layout']>;
    const ring = new Uint8Array(layout.alBlocks * AL_BLOCK_BYTES);
    store.readInto(layout.alSector, ring, (result) => {
      if (result < 0) {
        this.#failMeta(metaFailure(118, 'the activity log can not be read'));
        return;
      }
      const plan = planApplyAl(sb, ring);
      if (plan.failed) {
        this.#failMeta(metaFailure(119, plan.replay.messages.join(' ')));
        return;
      }
      this.#readBitmap(sb, usable, plan.mark, plan.initializeRing);
    });
  }

  #readBitmap(
    sb: Superblock,
    usable: number,
    hotExtents: readonly number[],
    initializeRing: boolean,
  ): void {
    const v = this.#v;
    if (this.#isCalledOff) {
      this.#fail(Err.NO_DISK, []);
      return;
    }
    const store = this.#store as MetaStore;
    const layout = store.layout as NonNullable<MetaStore['layout']>;
    const size = this.#deviceSize(sb.laSizeSectors, usable);
    const { role, peer } = v.state;
    const inUse = role === Roles.Primary || peer === Roles.Primary;
    if (size > usable || (inUse && size < v.sizeSectors)) {
      // The peer would follow, and cut off the end of what its users see.
      const room = Math.min(size, usable);
      this.#fail(Err.DISK_TOO_SMALL, [`room for ${room} sectors, the device has ${v.sizeSectors}`]);
      return;
    }
    const decided = this.#decide(sb);
    if (!decided) return;
    v.sizeIsJudged = true;
    const bitmap = new Bitmap(bitsOfSectors(size));
    const full = sb.laSizeSectors === 0 || decided.fullSync;
    const finish = (): void => {
      let marked = 0;
      if (full) bitmap.setAll();
      else {
        marked = applyAl(bitmap.bytes, hotExtents);
        bitmap.loaded();
        if (hotExtents.length > 0) bitmap.markAllPagesDirty();
        if (size > sb.laSizeSectors) {
          bitmap.setRange(bitsOfSectors(sb.laSizeSectors), bitmap.bits - 1);
        }
      }
      v.markRefused(bitmap);
      const kb = bitmap.count * 4;
      this.#core.host.log(
        'info',
        v.name,
        `${kb} KB (${bitmap.count} bits) marked out-of-sync by on disk bit-map.`,
      );
      if (hotExtents.length > 0) {
        this.#core.host.log(
          'info',
          v.name,
          `Marked additional ${marked * 4} KB as out-of-sync based on AL (${hotExtents.length} extents).`,
        );
      }
      this.#offer(sb, usable, size, bitmap, initializeRing);
    };
    if (full) {
      finish();
      return;
    }
    const stored = Math.min(bitmap.bytes.length, layout.bitmapSectors * 512);
    store.readInto(layout.bitmapSector, bitmap.bytes.subarray(0, stored), (result) => {
      if (result < 0) this.#failMeta(metaFailure(118, 'the bitmap can not be read'));
      else finish();
    });
  }

  /** The size of the device, as far as this node can know it. */
  #deviceSize(laSize: number, usable: number): number {
    const v = this.#v;
    const user = this.#request.options.sizeSectors;
    let size = laSize > 0 ? laSize : usable;
    const peer = v.peerSizes?.diskSectors ?? 0;
    if (peer > 0) size = Math.min(usable, peer);
    if (v.sizeSectors > 0 && v.state.conn >= Conns.Connected) size = v.sizeSectors;
    if (user > 0 && user <= size) size = user;
    return size;
  }

  /** All is read and right: the disk becomes part of the volume. */
  #offer(
    sb: Superblock,
    usable: number,
    size: number,
    bitmap: Bitmap,
    initializeRing: boolean,
  ): void {
    const v = this.#v;
    const store = this.#store as MetaStore;
    const layout = store.layout as NonNullable<MetaStore['layout']>;
    const { options } = this.#request;
    if (this.#isCalledOff) {
      this.#fail(Err.NO_DISK, []);
      return;
    }
    // Another device may have come to wait for this one since that was asked for.
    const after = options.resyncAfterMinor;
    const wrong = v.core.resyncOrder.refusal(v.minor, after);
    if (wrong !== null) {
      this.#fail(wrong, [`${v.name} resync-after ${after}`]);
      return;
    }
    const decided = this.#decide(sb);
    if (!decided) return;
    v.lowerDisk = this.#request.disk;
    v.metaDisk = this.#request.metaDisk;
    v.metaIndex = this.#request.metaIndex;
    v.attaches++;
    v.dataDisk = this.#data;
    v.metaHandle = this.#meta;
    v.diskInfo = this.#core.port.diskInfo(this.#data);
    v.diskOptions = fittingOptions(this.#core, v, options);
    v.store = store;
    store.setDataDisk(this.#data);
    v.bitmap = bitmap;
    v.usableSectors = usable;
    v.lowerSectors = this.#lowerSectors;
    v.deviceUuid = sb.deviceUuid;
    v.flags = decided.flags & ~(MDF.AL_CLEAN | MDF.FULL_SYNC);
    v.crashedPrimary = decided.crashedPrimary;
    v.degraded = decided.degraded;
    v.uuids = decided.uuids;
    v.unheard = null;
    v.resumedDiskLost = false;
    v.negotiated = decided.negotiated;
    v.generationShared = v.uuids.bitmap !== 0n; // what was before, nobody knows any more
    v.targetHad = 0n;
    v.detaching = false;
    v.onlyCopy = false;
    const sizeChanged = v.sizeSectors !== size;
    v.sizeSectors = size;
    v.growth.attached(sb.laSizeSectors, size);
    v.sendSectors = 0;
    v.receiveSectors = 0;
    v.writeSectors = 0;
    v.readSectors = 0;
    v.resyncSectors = 0;
    const log = new ActivityLog(
      Math.min(options.alExtents, maxAlSlots(layout.alBlocks)),
      layout.alStripes,
      layout.alStripeSize4k,
    );
    const first = sb.laSizeSectors !== size;
    this.#writeStart(store, bitmap, log, initializeRing, first, (result) => {
      if (this.#isCalledOff) {
        this.#answerCalledOff(); // what was opened is closed by whoever lets it go
        return;
      }
      if (result < 0) {
        v.dataDisk = -1;
        v.metaHandle = -1;
        v.store = null;
        v.bitmap = null;
        this.#failMeta(
          metaFailure(
            118,
            `it can not be flushed, or its meta-data not be written (errno ${-result})`,
          ),
        );
        return;
      }
      v.log.attach(log, store);
      store.onFailure((errno) => {
        if (v.store === store) v.metaFailed(errno);
      });
      v.alSuspended = suspendsAlUpdates(v.state, bitmap.count, bitmap.bits);
      if (v.alSuspended) this.#core.host.log('info', v.name, 'Suspended AL updates');
      this.#become(sb, this.#core.port.nowMs() + MEETS_MS);
      if (sizeChanged) this.#core.host.sizeChanged(v.minor);
    });
  }

  /** All of it is in place already. */
  #letGo(code: number, why: string): void {
    force(this.#v, { disk: Disks.Failed });
    this.#done({ code, info: [why] });
  }

  /** The disk state that the data are worth: now, or after the handshake with a peer that is there. */
  #become(sb: Superblock, untilMs: number): void {
    const v = this.#v;
    if (this.#isCalledOff) {
      this.#answerCalledOff();
      return;
    }
    // The peer has been told that there is no disk, or of one that was let go since: its answer to that comes first.
    const meets = v.state.conn === Conns.WFReportParams;
    if (meets || v.attachAnswer.isDue(v.link)) {
      if (this.#core.port.nowMs() < untilMs) {
        v.resource.retryLater(() => this.#become(sb, untilMs));
        return;
      }
      const what = meets
        ? 'for this volume: has it got one?'
        : 'for the disk that was let go before';
      this.#letGo(Err.INVALID_REQUEST, `the peer does not answer ${what}`);
      return;
    }
    const { flags, uuids } = v;
    const { current, bitmap, history1, history2 } = uuids;
    const decided = attachDecision({
      state: v.state,
      flags: sb.flags,
      uuids: { current, bitmap, history1, history2 },
      resuming: v.resuming,
      hasExposed: v.hasSeenOfOwn(current),
      fencing: v.diskOptions.fencing,
      alUpdates: (flags & MDF.AL_DISABLED) === 0,
      outdated: v.outdateAtAttach || !v.hasSeenOfOwn(current),
      lostUnmarked: v.lostUnmarked,
    });
    if (typeof decided === 'number') {
      this.#letGo(decided, 'the disk holds another generation than the one in use');
      return;
    }
    v.attaching = null;
    v.negotiated = decided.negotiated;
    v.sizeIsJudged = false;
    const { disk, pdsk } = decided.wanted;
    force(v, { disk, pdsk });
    this.#done(null);
  }

  /**
   * What must be on disk before the first write: the data, as an engine before this one may have left them in the disk's cache
   * (a peer without a disk sees them when it is made Primary, and has nothing of its own to flush); the bitmap with the marks of
   * the old log; then a ring without them; then the superblock that says "in use". A crash in between repeats the replay.
   */
  #writeStart(
    store: MetaStore,
    bitmap: Bitmap,
    log: ActivityLog,
    initializeRing: boolean,
    first: boolean,
    done: (result: number) => void,
  ): void {
    if (first) bitmap.markAllPagesDirty();
    const marked = (bitmapResult: number): void => {
      if (bitmapResult < 0) {
        done(bitmapResult);
        return;
      }
      const superblock = (result: number): void => {
        if (result < 0) done(result);
        else store.writeSuperblock(done);
      };
      if (first) this.#emptyTransactions(store, log, superblock);
      else if (initializeRing) store.initializeRing(superblock);
      else superblock(0);
    };
    store.writeBitmap(bitmap, null, marked, true);
  }

  /** A new size: the ring is written through once with empty transactions, as the kernel does. */
  #emptyTransactions(store: MetaStore, log: ActivityLog, done: (result: number) => void): void {
    const blocks = store.layout?.alBlocks ?? 0;
    let written = 0;
    const next = (result: number): void => {
      if (result < 0 || written === blocks) {
        done(Math.min(result, 0));
        return;
      }
      written++;
      const block = log.fillEmpty(this.#core.port.pool, store.logBlockAt);
      store.writeLogBlock(block, next);
    };
    next(0);
  }
}

/**
 * The disk state is Failed: end what is under way, write the bitmap, close, become Diskless. `done` may be called late:
 * a disk that does not answer is waited for, since it could still write.
 */
export function finishDetach(v: Volume, done: () => void): void {
  if (v.detaching) return;
  v.detaching = true;
  v.attaching = null;
  v.sizeIsJudged = false;
  const { core } = v;
  const quiet = {
    turnEnd(): void {
      if (v.app.local > 0 || v.peerIo.local > 0 || !v.log.idle || !(v.store?.idle ?? true)) return;
      if (v.store?.asked) return; // the log of a disk that was being attached
      core.removeTurnEnd(quiet);
      const close = (): void => {
        const data = v.dataDisk;
        const meta = v.metaHandle;
        v.log.detach();
        v.store?.close();
        v.store = null;
        v.bitmap = null;
        v.dataDisk = -1;
        v.metaHandle = -1;
        v.lowerDisk = '';
        v.negotiated = null;
        v.alSuspended = false;
        v.crashedPrimary = false;
        if (meta >= 0 && meta !== data) core.port.close(meta);
        if (data >= 0) core.port.close(data);
        v.detaching = false;
        force(v, { disk: Disks.Diskless });
        done();
      };
      const { store } = v;
      if (!store) {
        close();
        return;
      }
      // Others may have asked for writes meanwhile: nothing may be under way when its buffers are given back.
      const closeWhenIdle = (): void => {
        if (store.idle) close();
        else store.writeSuperblock(closeWhenIdle);
      };
      v.writeBitmap(() => store.writeSuperblock(closeWhenIdle));
    },
  };
  core.addTurnEnd(quiet);
}
