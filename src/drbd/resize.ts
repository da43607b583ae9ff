/**
 * How large the device is: what both disks have room for, or what an operator wants. Told by P_SIZES, in the handshake and
 * whenever something of it changes. What follows from another size is growth.ts, what the lower disk has room for is
 * lower-size.ts. Source: docs/STATES.md, sizes; drbdsetup(8) resize.
 *
 *     resize:  lower disk examined -> own size -> P_UUIDS, P_SIZES (size 0: "and yours?", of a peer that has a disk)
 *     peer:    its size -> its lower disk examined, its size again -> P_SIZES, where the asker's differs
 *     asker:   its size
 */
import { DDS_FLAGS, type Sizes } from '../wire/params.js';
import type { Link } from './link.js';
import type { Done } from './outcome.js';
import { sendSizes, sendUuids } from './params.js';
import { Err } from './return-codes.js';
import { Conns, Disks, Roles } from './state.js';
import type { Volume } from './volume.js';

/** P_SIZES. Null, or what is wrong with it. */
export function receiveSizes(link: Link, v: Volume, p: Sizes): string | null {
  v.peerSizes = p;
  if (v.sizeIsJudged) {
    v.resource.when(
      () => !v.sizeIsJudged,
      () => {
        if (v.link === link && v.peerSizes === p) receiveSizes(link, v, p);
      },
    );
    return null;
  }
  const isNew = (p.ddsFlags & DDS_FLAGS.NO_RESYNC) === 0;
  const attached = isAttached(v);
  if (attached && isStarting(v) && changesSize(v, p)) {
    // Nothing is compared any more. As soon as it has begun; a Primary without a good disk would lose its data with the connection.
    v.resource.when(
      () => !isStarting(v),
      () => {
        if (v.link === link && v.peerSizes === p) receiveSizes(link, v, p);
      },
    );
    return null;
  }
  if (attached && isComparing(v) && changesSize(v, p)) {
    link.fail('NetworkFailure', 'the size changes while bitmaps are exchanged: once more');
    return null;
  }
  const before = v.sizeSectors;
  const refused = attached ? followWithDisk(v, p, isNew) : followWithout(v, p);
  if (refused) return null;
  if (v.state.conn <= Conns.WFReportParams) return null;
  // Asked for its size, it says what it can be, once it knows. A size that has changed is told before anything is written there.
  const asked = p.currentSectors === 0 && attached && v.sizeSectors === before;
  if (!asked && p.currentSectors !== v.sizeSectors) answer(link, v, p, v.sizeSectors !== before);
  if (!attached) return null;
  v.lowerSize.examine((hasChanged) => {
    if (!hasChanged && !asked) return;
    v.resource.when(
      () => !isComparing(v),
      () => followLater(link, v, p.ddsFlags),
    );
  });
  return null;
}

/** There may be more room than the peer was told. */
function followLater(link: Link, v: Volume, ddsFlags: number): void {
  if (v.link !== link || !isAttached(v) || v.state.conn < Conns.Connected) return;
  const size = agreedSize(v, v.peerSizes?.diskSectors ?? 0, v.diskOptions.sizeSectors);
  if (size > v.sizeSectors) v.growth.resize(size, (ddsFlags & DDS_FLAGS.NO_RESYNC) === 0);
  sendSizes(link, v, ddsFlags);
}

/** A bitmap of another size would be another one. */
const isComparing = (v: Volume): boolean =>
  v.state.conn >= Conns.StartingSyncS && v.state.conn <= Conns.WFSyncUUID;

/** On the way to a resync, without an exchange of bitmaps, or behind it. */
const isStarting = ({ state }: Volume): boolean =>
  state.conn === Conns.StartingSyncS ||
  state.conn === Conns.StartingSyncT ||
  state.conn === Conns.WFSyncUUID;

const isAttached = (v: Volume): boolean =>
  v.dataDisk >= 0 && v.state.disk >= Disks.Negotiating && !v.detaching;

/** What both disks have room for (without a peer's: what was agreed last), or less where somebody wants less. */
function agreedSize(v: Volume, peerSectors: number, wanted: number): number {
  const mine = v.usableSectors;
  let size = mine;
  if (peerSectors > 0) size = Math.min(peerSectors, mine);
  else if (v.sizeSectors > 0) size = Math.min(v.sizeSectors, mine);
  return wanted > 0 && wanted <= size ? wanted : size;
}

/** The configured sizes of both nodes, 0 being none: while connecting, or attaching, the smaller one counts. */
function wantedSize(v: Volume, p: Sizes): number {
  const own = v.diskOptions.sizeSectors;
  const { conn, pdsk } = v.state;
  const isResize = conn >= Conns.Connected && pdsk >= Disks.Inconsistent;
  if (isResize || own === 0) return p.userSectors;
  return p.userSectors === 0 ? own : Math.min(own, p.userSectors);
}

/** The peer's size is another one (or it asks for ours), or ours would become another one by it. */
function changesSize(v: Volume, p: Sizes): boolean {
  if (p.currentSectors !== v.sizeSectors) return true;
  return agreedSize(v, p.diskSectors, wantedSize(v, p)) !== v.sizeSectors;
}

/** True: refused, and the connection is over. */
function followWithDisk(v: Volume, p: Sizes, isNew: boolean): boolean {
  const wanted = wantedSize(v, p);
  const size = agreedSize(v, p.diskSectors, wanted);
  // A device in use is made smaller by an operator only, not by a smaller disk that the peer takes.
  const both = v.state.conn >= Conns.Connected && v.state.pdsk >= Disks.Inconsistent;
  const isAsked = both && (p.diskSectors !== size || wanted === size);
  if (size < v.sizeSectors && !isAsked && v.state.disk >= Disks.Outdated) {
    v.resource.standAlone(
      `The peer's disk size is too small! (${size} < ${v.sizeSectors} sectors)`,
    );
    return true;
  }
  const own = v.diskOptions.sizeSectors;
  if (wanted !== own) {
    const text = `Peer sets u_size to ${wanted} sectors (old: ${own})`;
    v.core.host.log('info', v.name, text);
    v.diskOptions = { ...v.diskOptions, sizeSectors: wanted };
    v.resource.toBeSaved();
  }
  if (size !== v.sizeSectors) v.growth.resize(size, isNew);
  else v.growth.look(); // the peer has followed
  return false;
}

function followWithout(v: Volume, p: Sizes): boolean {
  // Asked for its size: what the peer's disk has room for is not what the device is (the originals take it).
  const room = v.sizeSectors > 0 ? 0 : p.userSectors || p.diskSectors;
  const size = p.currentSectors || room;
  if (size === 0 || size === v.sizeSectors) return false;
  if (v.sizeSectors > 0 && p.diskSectors === 0) return false;
  if (v.state.role === Roles.Primary && size < v.sizeSectors) {
    v.resource.standAlone(`The peer's device is smaller (${size} < ${v.sizeSectors} sectors)`);
    return true;
  }
  v.growth.resize(size, true);
  return false;
}

/** Its size is another one, or it asks. What it has been told already is not said again: two nodes that disagree would go on for ever. */
function answer(link: Link, v: Volume, p: Sizes, isNew: boolean): void {
  const disk = isAttached(v);
  const now = [disk ? v.usableSectors : 0, disk ? v.diskOptions.sizeSectors : 0, v.sizeSectors];
  const isNews = now.some((sectors, i) => sectors !== v.sizesSent[i]);
  // A size that is back to what it was: the peer has not heard of what was between.
  if (isNew || isNews || p.currentSectors === 0) sendSizes(link, v, p.ddsFlags);
}

export interface ResizeRequest {
  readonly sizeSectors: number; // 0: all that both disks have room for
  readonly assumePeerHasSpace: boolean;
  readonly assumeClean: boolean;
  readonly alStripes: number | null; // null: as they are
  readonly alStripeSizeKib: number | null;
}

/** So long the command waits for the peer, which may have meta-data to move. */
const PEER_ANSWERS_MS = 5000;

const MAX_LOG_KIB = 16 << 20;
const MIN_LOG_KIB = 32;

/** drbdadm resize. */
export function resize(v: Volume, request: ResizeRequest, done: Done): void {
  const refusal = refused(v, request);
  if (refusal) {
    done(refusal);
    return;
  }
  v.lowerSize.examine((_hasChanged, trouble) => {
    const now = trouble === '' ? refused(v, request) : failed(Err.MD_LAYOUT_NO_FIT, trouble);
    if (now) done(now);
    else resizeNow(v, request, done);
  });
}

const failed = (code: number, ...info: string[]) => ({ kind: 'failure', code, info }) as const;

function refused(v: Volume, request: ResizeRequest) {
  const { conn, role, peer } = v.state;
  if (!isAttached(v)) return failed(Err.NO_DISK);
  if (conn > Conns.Connected) return failed(Err.RESIZE_RESYNC);
  if (role === Roles.Secondary && peer === Roles.Secondary) return failed(Err.NO_PRIMARY);
  const apv = v.link?.apv ?? 101;
  if (request.assumeClean && apv < 93) {
    return failed(Err.NEED_APV_93, `the peer speaks protocol version ${apv}`);
  }
  return refusedLog(v, request);
}

/** Another layout of the activity log: made by create-md only. */
function refusedLog(v: Volume, request: ResizeRequest) {
  const layout = v.store?.layout;
  if (!layout) return null;
  const { alStripes: stripesNow, alStripeSize4k } = layout;
  const stripes = request.alStripes ?? stripesNow;
  const stripeSizeKib = request.alStripeSizeKib ?? alStripeSize4k * 4;
  if (stripes === stripesNow && stripeSizeKib === alStripeSize4k * 4) return null;
  const kib = stripes * stripeSizeKib;
  const now = `the activity log has ${stripesNow} stripes of ${alStripeSize4k * 4} KiB`;
  if (kib > MAX_LOG_KIB) return failed(Err.MD_LAYOUT_TOO_BIG, now);
  if (kib < MIN_LOG_KIB) return failed(Err.MD_LAYOUT_TOO_SMALL, now);
  if (v.state.conn !== Conns.Connected && !request.assumePeerHasSpace) {
    return failed(Err.MD_LAYOUT_CONNECTED, now);
  }
  const remedy =
    'another one is made by `drbdadm create-md --al-stripes`, while the volume is down';
  return failed(Err.MD_LAYOUT_NO_FIT, now, remedy);
}

function resizeNow(v: Volume, request: ResizeRequest, done: Done): void {
  const { sizeSectors: wanted, assumeClean, assumePeerHasSpace } = request;
  const link = v.state.conn === Conns.Connected ? v.link : null;
  const forced = link === null && assumePeerHasSpace;
  const peer = v.peerSizes?.diskSectors ?? 0;
  if (wanted > v.usableSectors) {
    done(failed(Err.DISK_TOO_SMALL, `${wanted} sectors, the disk has room for ${v.usableSectors}`));
    return;
  }
  const size = agreedSize(v, forced ? v.usableSectors : peer, wanted);
  if (size < v.sizeSectors && size !== wanted) {
    const text = `Implicit shrink not allowed. Use --size=${size}s for explicit shrink.`;
    v.core.host.log('warn', v.name, text);
    done(failed(Err.IMPLICIT_SHRINK, text));
    return;
  }
  if (forced) v.core.host.log('warn', v.name, 'Resize while not connected was forced by the user!');
  v.diskOptions = { ...v.diskOptions, sizeSectors: wanted };
  const flags =
    (assumePeerHasSpace ? DDS_FLAGS.FORCED : 0) | (assumeClean ? DDS_FLAGS.NO_RESYNC : 0);
  const over = (result: number): void => {
    if (result < 0) done(failed(Err.IO_MD_DISK));
    else afterPeer(v, asks ? link : null, asked, () => done({ kind: 'ok', code: 1, info: [] }));
  };
  const asked = v.peerSizes;
  // A peer without a disk (a kernel, too) would take what this one has room for, whatever the device is.
  const asks = v.state.pdsk >= Disks.Inconsistent;
  const isOther = size !== v.sizeSectors;
  if (isOther) v.growth.resize(size, !assumeClean, over);
  if (link) {
    // Before anything that is written behind the old end.
    sendUuids(link, v);
    sendSizes(link, v, flags, asks);
  }
  if (!isOther) over(0);
}

/** What comes next is resize2fs: when the peer has answered, the device has its size. */
function afterPeer(v: Volume, link: Link | null, asked: Sizes | null, done: () => void): void {
  let late = false;
  const isOver = (): boolean =>
    late || v.link !== link || (v.peerSizes !== asked && v.growth.isDone);
  if (!link) {
    done();
    return;
  }
  v.resource.after(PEER_ANSWERS_MS, () => {
    late = true;
  });
  v.resource.when(isOver, done);
}
