/**
 * One replicated volume: what is known of it, and the small questions that the parts ask. Application I/O is app-io.ts,
 * the peer's peer-io.ts, resync resync.ts; states change in changes.ts; attaching is attach.ts.
 */

import { DEFAULT_DISK_OPTIONS, type DiskOptions } from '../config/drbd-options.js';
import type { Bitmap } from '../md/bitmap.js';
import type { MetaLayout } from '../md/layout.js';
import { MAGIC_UNCLEAN, MDF, type Superblock } from '../md/superblock.js';
import { AL_EXTENT_SECTORS } from '../md/units.js';
import { type Sizes, UUID_FLAGS, type Uuids } from '../wire/params.js';
import { AppIo } from './app-io.js';
import { EMEDIUMTYPE, EROFS } from './app-request.js';
import { AttachAnswer } from './attach-answer.js';
import { Congestion } from './congestion.js';
import type { Core, FrontEnd } from './core.js';
import { diskFailed, diskHangs, metaFailed, type Untold } from './disk-failure.js';
import {
  CREATED_UUIDS,
  maskUuid,
  metaFlags,
  UUID_JUST_CREATED,
  type UuidSet,
} from './generation.js';
import { Growth } from './growth.js';
import { DiskWatch } from './hung-disk.js';
import { Intake } from './intake.js';
import { IntervalSet } from './intervals.js';
import type { Link } from './link.js';
import { LogGate } from './log-gate.js';
import { LowerSize } from './lower-size.js';
import type { MetaStore } from './meta-store.js';
import { PeerIo } from './peer-io.js';
import type { DiskInfo } from './ports.js';
import type { Resource } from './resource.js';
import { Resync } from './resync.js';
import { Conns, Disks, INITIAL_STATE, Roles, type State } from './state.js';
import type { Negotiated } from './transition.js';
import { Verify } from './verify.js';

/**
 * Behind the generations that users have seen: none of them is one (generation.ts, randomUuid; 4 and 5 are "just created"). The last
 * two are followed by the identifiers that the peer had beside the last generation: bitmap, history.
 */
export const EXPOSED_MARKS = {
  ahead: 0n,
  elsewhere: 1n,
  peerMayLack: 2n,
  promiseBroken: 3n,
  peerBegins: 6n,
  peerHasBegun: 7n,
} as const;

export class Volume {
  readonly core: Core;
  readonly resource: Resource;
  readonly number: number;
  readonly minor: number;
  readonly device: string;
  readonly intervals = new IntervalSet();
  readonly intake: Intake;
  readonly app: AppIo;
  readonly peerIo: PeerIo;
  readonly resync: Resync;
  readonly diskWatch: DiskWatch;
  readonly verify: Verify;
  readonly log: LogGate;
  readonly growth: Growth;
  readonly lowerSize: LowerSize;
  readonly congestion: Congestion;
  state: State = INITIAL_STATE;
  diskOptions: DiskOptions = DEFAULT_DISK_OPTIONS;

  // the local disk, while attached
  lowerDisk = '';
  metaDisk = '';
  metaIndex: MetaLayout['index'] = 'internal';
  attaches = 0; // so many disks have been attached
  dataDisk = -1; // handles
  metaHandle = -1;
  diskInfo: DiskInfo | null = null;
  store: MetaStore | null = null;
  bitmap: Bitmap | null = null;
  usableSectors = 0; // room for data on it
  lowerSectors = 0; // of the meta-data device, when its meta-data were last known to be in place
  uuids: UuidSet = CREATED_UUIDS;
  flags = 0; // MDF flags as last written
  deviceUuid = 0n;
  crashedPrimary = false;
  degraded = false; // was a lone Primary before the attach: decides the time to wait for the peer
  negotiated: Negotiated | null = null;
  /** The generation last seen UpToDate: a diskless Primary accepts no other. 0: none. */
  #exposedUuid = 0n;
  /** From, to (exclusive), from, to: few, since the peer stops sending when it hears that the disk is gone. */
  readonly #refused: number[] = [];
  /** How often a generation of this node has begun: the peer's copy was left behind each time. */
  partings = 0;
  /** While a new one is being written: the one before, which counts as well. 0: none. */
  #exposedBefore = 0n;
  /** So many are being written: which one the disk has is not known. */
  beginning = 0;
  /** Writes were lost with a connection while there was no bitmap to mark them in: the log of the disk that was let go has them. */
  lostUnmarked = false;
  /** See `ahead`. */
  #ahead = false;
  /** See `elsewhere`. */
  #elsewhere = false;
  /** See `partsFrom`. */
  #partsFrom: UuidSet | null = null;
  #peerHasBegun = false;
  /** Its users outlived the engine and are to see the same data again: set until the role is Primary again. */
  resuming = false;
  /** connect --discard-my-data, and this volume has not met the peer since. */
  discardMyData = false;
  /** Then, with a good disk, and not connected since: what its predecessor had answered may not have reached the peer. */
  resumedWithDisk = false;
  /** The same, and its predecessor had a disk that can not be had any more. */
  resumedDiskLost = false;
  /**
   * This copy is, or was until just now, the only one of a Primary without a disk, and is not flushed since: it says so in the
   * meta-data (PRIMARY_IND), so that a power cut is found out when they meet again.
   */
  onlyCopy = false;
  /** The peer was lost as a Primary without a disk, and not heard of since: what its users were answered is here, and nowhere else. */
  keepsPeersData = false;
  /** The disk that is being attached gets its bitmap and its meta-data for a size: the device keeps it until that is over. */
  sizeIsJudged = false;
  /** The attach that is under way. null: none, or it was called off (`detach --force`). */
  attaching: object | null = null;
  /** An attach was asked for, since the engine was started. */
  attachAsked = false;
  alSuspended = false;
  detaching = false;
  /** P_SYNC_UUID is to be sent as soon as it is on disk: until then no P_STATE (apv >= 96). */
  syncUuidDue = false;
  stateDue = false;
  /** The disk has failed, its handler runs, and the peer has not been told. */
  untold: Untold | null = null;
  /** The peer has our current generation: its users read ours, or it takes it over at the end of a resync, which we need not hear of. */
  generationShared = false;
  /** And the generation that the target had before it, 0n: not known. */
  targetHad = 0n;
  /** The peer has gone on alone while there was no disk here: the one that is attached is old, whatever it says. */
  outdateAtAttach = false;
  /** An operator wants this copy (StartingSyncT, WFSyncUUID) or the peer's (StartingSyncS) to be thrown away: it has every write as yet. */
  untouched = false;
  /**
   * A generation of ours that is none: nobody has heard of it, and nothing of it is on this disk. When that is let go, what was
   * before counts, whether or not the disk says so; and the peer's disk is no older than this one (flags: PEER_OUT_DATED).
   */
  unheard: {
    readonly current: bigint;
    readonly before: UuidSet;
    readonly peerOutdated: number;
  } | null = null;
  /** A new generation is due once I/O is no longer suspended. */
  generationDue = false;
  /** And this one once the peer, a Primary without a disk, has taken these data for those of its users. */
  generationWaits = false;
  /** WFBitMapS: the peer's bitmap is here. Its disk counts as old by its own meta-data. */
  peerFollows = false;
  /** The peer has said that a resync-after dependency of its own pauses this volume. */
  peerWaits = false;
  /** The peer has said that it is Connected, in this connection. */
  peerConnected = false;
  /** Primary with an old copy, since the peer is Primary: its users are on their way out (fencing.ts). */
  givesWay = false;

  // the peer, as it last said
  peerUuids: Uuids | null = null;
  peerSizes: Sizes | null = null;
  considerResync = false;
  readonly attachAnswer = new AttachAnswer();
  /** Ours, for a peer that compares after us: while what follows from our comparison is done (handshake.ts). */
  comparedWith: Uuids | null = null;

  sizeSectors = 0; // of the device
  /** As the peer was told last: room, configured size, size. */
  sizesSent: readonly number[] = [];
  #seq = 0;

  // counters of /proc/drbd, in sectors
  sendSectors = 0;
  receiveSectors = 0;
  writeSectors = 0;
  readSectors = 0;
  resyncSectors = 0; // part of both: blocks of a resync or verify

  // openers of the device
  #readers = 0;
  #writers = 0;

  constructor(core: Core, resource: Resource, number: number, minor: number, device: string) {
    this.core = core;
    this.resource = resource;
    this.number = number;
    this.minor = minor;
    this.device = device;
    this.intake = new Intake(core, this);
    this.app = new AppIo(core, this);
    this.peerIo = new PeerIo(core, this);
    this.resync = new Resync(core, this);
    this.diskWatch = new DiskWatch(this);
    this.verify = new Verify(core, this);
    this.log = new LogGate(core, this);
    this.growth = new Growth(core, this);
    this.lowerSize = new LowerSize(core, this);
    this.congestion = new Congestion(core, this);
  }

  get name(): string {
    return `drbd${this.minor}`;
  }

  // ---- for front ends (host/block.ts)

  get logicalBlockBytes(): number {
    return this.diskInfo?.logicalBlockBytes ?? 512;
  }

  read(front: FrontEnd, tag: number, sector: number, at: number, lengthBytes: number): void {
    this.intake.read(front, tag, sector, at, lengthBytes);
  }
  write(
    front: FrontEnd,
    tag: number,
    sector: number,
    at: number,
    lengthBytes: number,
    fua: boolean,
  ): void {
    this.intake.write(front, tag, sector, at, lengthBytes, fua);
  }
  flush(front: FrontEnd, tag: number): void {
    this.intake.flush(front, tag);
  }
  discard(front: FrontEnd, tag: number, sector: number, lengthSectors: number): void {
    this.intake.discard(front, tag, sector, lengthSectors);
  }
  writeZeroes(
    front: FrontEnd,
    tag: number,
    sector: number,
    lengthSectors: number,
    mayUnmap: boolean,
  ): void {
    this.intake.writeZeroes(front, tag, sector, lengthSectors, mayUnmap);
  }

  /** 0, or the errno of an open: a Secondary is not accessible. */
  open(write: boolean): number {
    if (this.state.role !== Roles.Primary) return write ? EROFS : EMEDIUMTYPE;
    if (write) this.#writers++;
    else this.#readers++;
    return 0;
  }

  release(write: boolean): void {
    if (write) this.#writers = Math.max(0, this.#writers - 1);
    else this.#readers = Math.max(0, this.#readers - 1);
  }

  get openers(): number {
    return this.#readers + this.#writers;
  }

  // ---- what users have seen

  get exposedUuid(): bigint {
    return this.#exposedUuid;
  }

  set exposedUuid(current: bigint) {
    this.#expose(current, 0n);
  }

  /** A new generation is on its way to the disk: nothing that belongs to it alone has been answered yet. */
  exposeNext(current: bigint): void {
    this.#expose(current, this.#exposedUuid);
  }

  /** The disk is let go while the peer has not heard of its last generation, and nothing was written in it. */
  takeBackUnheard(): void {
    const { unheard } = this;
    if (!unheard || maskUuid(this.uuids.current) !== maskUuid(unheard.current)) return;
    this.uuids = unheard.before;
    this.flags = (this.flags & ~MDF.PEER_OUT_DATED) | unheard.peerOutdated;
    this.#expose(unheard.before.current, unheard.current);
  }

  #expose(current: bigint, before: bigint): void {
    if (this.#exposedUuid === current && this.#exposedBefore === before) return;
    this.#exposedUuid = current;
    this.#exposedBefore = before;
    this.tellExposed();
  }

  /** A successor of the engine must know it, too: the generations, then the marks. */
  tellExposed(): void {
    const told = [this.#exposedUuid];
    if (this.#exposedBefore !== 0n) told.push(this.#exposedBefore);
    if (this.#ahead) told.push(EXPOSED_MARKS.ahead);
    if (this.#elsewhere) told.push(EXPOSED_MARKS.elsewhere);
    if (this.app.doubt.peerMayLack) told.push(EXPOSED_MARKS.peerMayLack);
    if (this.app.doubt.broken) told.push(EXPOSED_MARKS.promiseBroken);
    const from = this.#partsFrom;
    if (from && maskUuid(from.current) === maskUuid(this.#exposedUuid)) {
      const mark = this.#peerHasBegun ? EXPOSED_MARKS.peerHasBegun : EXPOSED_MARKS.peerBegins;
      told.push(mark, from.bitmap, from.history1, from.history2);
    }
    this.core.host.exposed(this.minor, told);
  }

  /**
   * Users have seen writes of this very generation that the peer may never have got (protocols A and B answer before it is known):
   * its disk is an older state than theirs, though nothing in the generations says so. Until both are the same again, or
   * nobody uses them any more: another service begins with what the peer has, as after any failure of this node.
   *
   * B is no exception: P_RECV_ACK says that the peer's process has the write in its memory, and a flush is answered by the disk here
   * alone. Of a connection that was lost nobody can tell whether that process, or its power, was lost as well; and then what is
   * missing has been called durable.
   */
  get ahead(): boolean {
    return this.#ahead;
  }

  /** And nothing that they could be shown. */
  get aheadWithoutDisk(): boolean {
    return this.#ahead && this.state.role === Roles.Primary && this.state.disk < Disks.Inconsistent;
  }

  set ahead(ahead: boolean) {
    if (this.#ahead === ahead) return;
    this.#ahead = ahead;
    this.tellExposed();
  }

  /**
   * The disk was let go, and something has been answered since that only the peer's has. Its generation says so, but not yet when the
   * connection is lost just then: the disk of this node would pass for that in use.
   */
  get elsewhere(): boolean {
    return this.#elsewhere;
  }

  set elsewhere(elsewhere: boolean) {
    if (this.#elsewhere === elsewhere) return;
    this.#elsewhere = elsewhere;
    this.tellExposed();
  }

  /**
   * Its users, here, have begun to use the peer's data, of this generation: the peer begins another one for them, and says which.
   * null: it has.
   */
  partsFrom(said: UuidSet | null): void {
    if (this.#partsFrom === null && said === null) return;
    this.#partsFrom = said;
    this.#peerHasBegun = false;
    this.tellExposed();
  }

  /**
   * The peer has not said yet that it has begun a generation for the users here, which are to see its data alone. Until it has, and has
   * it on its disk, nothing tells the disk that was let go here, which lacks what they write, from its copy.
   */
  get partsUnheard(): boolean {
    return this.#partsFrom?.bitmap === 0n;
  }

  /** A write that was sent without a disk here is acknowledged: the peer has begun that generation, whether or not that is heard of. */
  peerHasBegun(): void {
    if (this.#peerHasBegun) return;
    this.#peerHasBegun = true;
    if (this.#partsFrom) this.tellExposed();
  }

  /**
   * These data are those that the users of this Primary, without a disk, have seen last. Also when the connection was lost before the
   * peer had said which generation it had begun for them: it is the only one since, as the rest of its identifiers tells.
   */
  areInUse(u: Uuids): boolean {
    if (this.hasExposed(u.current)) return true;
    const from = this.#partsFrom;
    if (!from || maskUuid(from.current) !== maskUuid(this.#exposedUuid)) return false;
    // Begun for them, or for whom ever: no block has changed in it.
    if (!this.#peerHasBegun && (u.setBits > 0 || from.bitmap !== 0n)) return false;
    const same = (a: bigint, b: bigint): boolean => maskUuid(a) === maskUuid(b);
    return from.bitmap === 0n
      ? same(u.bitmap, from.current) &&
          same(u.history1, from.history1) &&
          same(u.history2, from.history2)
      : same(u.bitmap, from.bitmap) && same(u.history2, from.current);
  }

  /** The disk of this node, of that generation, holds what its users have seen. */
  hasSeenOfOwn(current: bigint): boolean {
    return !this.#elsewhere && this.hasExposed(current);
  }

  /** The users have seen this generation, or none. */
  hasExposed(current: bigint): boolean {
    const seen = [this.#exposedUuid, this.#exposedBefore].filter((uuid) => uuid !== 0n);
    return seen.length === 0 || seen.some((uuid) => maskUuid(uuid) === maskUuid(current));
  }

  /**
   * Without a disk: nothing newer exists than what the peer has. Of two nodes this one knows the generation that its users
   * (or it, without any) saw last, and the peer's data are that one or descend from it. An engine that was started without its
   * disk knows nothing. A Primary accepts no other data (receiveUuids).
   */
  get vouches(): boolean {
    const u = this.peerUuids;
    if (!u || (u.flags & UUID_FLAGS.INCONSISTENT) !== 0) return false;
    if (this.state.role === Roles.Primary) return this.areInUse(u);
    const seen = maskUuid(this.#exposedUuid);
    if (seen === 0n) return false;
    return [u.current, u.bitmap, u.history1, u.history2].some((uuid) => maskUuid(uuid) === seen);
  }

  /**
   * The opposite: without a disk, the generation that was seen here last is that of the disk that was let go, and what the peer
   * has is its past, whatever it calls it. (A peer that has begun a generation since was promoted by somebody: that is followed.)
   */
  get knowsNewer(): boolean {
    const u = this.peerUuids;
    const seen = maskUuid(this.#exposedUuid);
    if (!u || seen === 0n || seen !== maskUuid(this.uuids.current)) return false;
    const theirs = maskUuid(u.current);
    if (theirs === seen || theirs === 0n || theirs === UUID_JUST_CREATED) return false;
    const { bitmap, history1, history2 } = this.uuids;
    return [bitmap, history1, history2].some((uuid) => maskUuid(uuid) === theirs);
  }

  // ---- small questions

  /** The established connection, or null. */
  get link(): Link | null {
    const { link } = this.resource;
    return link?.alive ? link : null;
  }

  /**
   * Writes go to the peer. Also between the order to copy everything and its beginning (StartingSyncS: a kernel pauses then): the
   * copy that is to be thrown away may still be needed, if the source loses its disk in that moment.
   */
  replicates(): boolean {
    const { pdsk, conn } = this.state;
    const follows = conn === Conns.StartingSyncS || (conn >= Conns.WFBitMapT && conn < Conns.Ahead);
    return pdsk === Disks.UpToDate || (pdsk >= Disks.Inconsistent && follows);
  }

  /** The local disk takes reads and writes. */
  diskUsable(): boolean {
    return this.dataDisk >= 0 && this.state.disk >= Disks.Inconsistent && !this.detaching;
  }

  /**
   * Writes of the peer belong on this disk. An Outdated one is a state of the past, whole: nothing newer is mixed into it but by a
   * resync, whose beginning says Inconsistent first. (One that was broken off as it began: the source does not know yet.) Behind: what
   * was on its way when the peer pulled ahead belongs to that past, and comes in its order.
   */
  takesWrites(): boolean {
    const { disk, conn } = this.state;
    const whole = disk === Disks.Outdated || disk === Disks.Consistent;
    const follows = conn === Conns.WFSyncUUID || conn === Conns.Behind;
    return this.diskUsable() && (!whole || this.untouched || follows);
  }

  /** The local copy of these sectors is current. */
  readableHere(sector: number, endSector: number): boolean {
    if (!this.diskUsable()) return false;
    if (this.state.disk === Disks.UpToDate) return true;
    return (
      this.state.disk === Disks.Inconsistent &&
      this.bitmap !== null &&
      this.state.conn >= Conns.SyncSource &&
      !this.bitmap.anySectors(sector, endSector - sector)
    );
  }

  nextSeq(): number {
    this.#seq = (this.#seq + 1) >>> 0;
    return this.#seq;
  }

  /** A new connection counts packets from the start. */
  resetSeq(): void {
    this.#seq = 0;
  }

  /** A write of the peer that no disk took: one that is attached while the connection lasts lacks it, and says so itself. */
  refusedWrite(sector: number, endSector: number): void {
    this.setOutOfSync(sector, endSector);
    this.resync.replies.refused(sector, endSector);
    if (this.state.disk < Disks.Inconsistent) this.#refused.push(sector, endSector);
  }

  /** What a disk that is attached now lacks. */
  markRefused(bitmap: Bitmap): void {
    const refused = this.#refused;
    for (let i = 0; i < refused.length; i += 2) {
      const sector = refused[i] as number;
      const end = Math.min(refused[i + 1] as number, bitmap.bits * 8);
      if (end > sector) bitmap.setSectors(sector, end - sector);
    }
  }

  /** The connection has ended: the peer has marked what was not answered, or answered so. */
  forgetRefused(): void {
    this.#refused.length = 0;
  }

  /** Whatever a write touches may differ from the peer's copy. True: some of its bits were not set. */
  setOutOfSync(sector: number, endSector: number): boolean {
    if (!this.bitmap) return false;
    const end = Math.min(endSector, this.sizeSectors);
    if (end <= sector) return false;
    this.resync.checksums.marked(sector, end);
    this.resync.behind.marked(sector, end);
    const isNew = this.bitmap.setSectors(sector, end - sector) > 0;
    if (isNew) this.resync.unsaved.marked();
    return isNew;
  }

  /** Both copies are known to be equal in what the range covers whole. */
  setInSync(sector: number, endSector: number): void {
    if (!this.bitmap) return;
    const end = Math.min(endSector, this.sizeSectors);
    if (end <= sector) return;
    // At the source, too: what was written while all bits were set is in no activity log.
    this.store?.dataWritten();
    this.bitmap.clearSectors(sector, end - sector, this.sizeSectors);
    this.resync.advanced();
  }

  /** All changed pages of the bitmap to disk, durably, and what the cleared bits stand for before (meta-store.ts). */
  writeBitmap(done: (result: number) => void = () => {}): void {
    const { store, bitmap } = this;
    if (store && bitmap) store.writeBitmap(bitmap, null, done);
    else done(0);
  }

  /** Discard or write zeroes: the range reads back as zeroes, so that both copies stay equal. */
  eraseDisk(offsetBytes: number, lengthBytes: number, mayUnmap: boolean, tag: number): void {
    const { port } = this.core;
    const info = this.diskInfo;
    if (mayUnmap && info?.canDiscard && info.discardZeroes) {
      port.discardDisk(this.dataDisk, offsetBytes, lengthBytes, tag);
    } else {
      port.zeroDisk(this.dataDisk, offsetBytes, lengthBytes, mayUnmap, tag);
    }
  }

  diskFailed(what: 'read' | 'write', errno: number, sector: number): void {
    diskFailed(this, what, errno, sector);
  }

  /**
   * What the disk has taken since it was last flushed may be gone with its cache. One that is gone on with (pass_on) lacks
   * it from now on: the activity log knows where. (One that is let go is marked by its log when it comes back.)
   */
  flushFailed(errno: number): void {
    this.diskFailed('write', errno, 0);
    if (!this.diskUsable() || this.state.disk !== Disks.Inconsistent) return;
    for (const extent of this.log.usedExtents()) {
      const sector = extent * AL_EXTENT_SECTORS;
      this.setOutOfSync(sector, sector + AL_EXTENT_SECTORS);
    }
    const { conn } = this.state;
    if (conn === Conns.SyncTarget || conn === Conns.PausedSyncT) this.resync.behind.cacheLost();
  }

  diskHangs(): void {
    diskHangs(this);
  }

  metaFailed(errno: number): void {
    metaFailed(this, errno);
  }

  /** The meta-data flags of this state. A disk that is failing or not yet offered keeps what it says. */
  currentFlags(): number {
    if (this.state.disk < Disks.Inconsistent) return this.flags;
    const diverged = this.uuids.bitmap !== 0n;
    const flags = metaFlags(this.flags, this.state, this.crashedPrimary, diverged);
    const only = this.onlyCopy ? MDF.PRIMARY_IND : 0;
    return (this.peerMayBeGood ? flags & ~MDF.PEER_OUT_DATED : flags) | only;
  }

  /** Its disk is called Inconsistent here, and may pass for good where it is: the target of a resync that ends, or has not begun. */
  get peerMayBeGood(): boolean {
    const { targetMayBeDone, targetUnaware } = this.resync.source;
    return targetMayBeDone || targetUnaware || this.congestion.peerUnaware;
  }

  /** What the superblock says now. */
  superblock(): Superblock {
    const layout = this.store?.layout as MetaLayout;
    this.flags = this.currentFlags();
    return {
      laSizeSectors: this.growth.laSizeSectors,
      current: this.uuids.current,
      bitmap: this.uuids.bitmap,
      history1: this.uuids.history1,
      history2: this.uuids.history2,
      deviceUuid: this.deviceUuid,
      flags: this.flags,
      magic: MAGIC_UNCLEAN,
      mdSizeSectors: layout.mdSizeSectors,
      alOffsetSectors: layout.alOffsetSectors,
      alExtents: this.diskOptions.alExtents,
      bmOffsetSectors: layout.bmOffsetSectors,
      bytesPerBit: 4096,
      laPeerMaxBioBytes: 1 << 20,
      alStripes: layout.alStripes,
      alStripeSize4k: layout.alStripeSize4k,
    };
  }

  /** Work of the peer's that is not finished. */
  get peerWork(): number {
    return this.peerIo.unacked;
  }
}
