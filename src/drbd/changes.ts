/**
 * State changes of a volume: asked (transition.ts), committed, and what follows from them, in DRBD's order
 * (docs/STATES.md, what is sent after a change). Nothing else assigns `volume.state`.
 */
import { MDF } from '../md/superblock.js';
import { COMMANDS, knowsStopSector } from '../wire/constants.js';
import { syncUuidCodec } from '../wire/state-packets.js';
import { negotiatedStates } from './attach-decision.js';
import {
  beginsGeneration,
  clearsCrashedPrimary,
  maskUuid,
  mayBegin,
  newCurrent,
  nextGeneration,
  randomUuid,
  startAsSource,
  type UuidSet,
} from './generation.js';
import { sendSizes, sendState, sendUuids } from './params.js';
import { Ss, stateText } from './return-codes.js';
import { Conns, Disks, isSuspended, Roles, type State } from './state.js';
import { changeText, stateLine } from './state-text.js';
import { marksConsiderResync } from './sync-decision.js';
import {
  type ChangeContext,
  type ChangeKind,
  type ChangeResult,
  precheckClusterWide,
  requestChange,
  sameState,
} from './transition.js';
import type { Volume } from './volume.js';

/** What a change of this volume depends on besides its states. */
export function contextOf(v: Volume): ChangeContext {
  const r = v.resource;
  return {
    netConfigured: r.configured,
    twoPrimaries: false, // allow-two-primaries is refused
    otherPeerPrimary: r.volumes.some((o) => o !== v && o.state.peer === Roles.Primary),
    fencing: v.diskOptions.fencing,
    onNoDataAccessible: r.resourceOptions.onNoDataAccessible,
    verifyAlg: r.netOptions.verifyAlg,
    apv: r.link?.apv ?? 101,
    openers: v.openers,
    stateSent: r.stateSent,
    untouched: v.untouched,
    targetMayBeDone: v.peerMayBeGood,
    vouches: v.vouches,
    peerBehind: v.knowsNewer,
    negotiated:
      v.negotiated && !v.elsewhere ? negotiatedStates(v.negotiated, v.exposedUuid, v.uuids) : null,
  };
}

/** Would this change be allowed? Nothing is changed. */
export function wouldChange(
  v: Volume,
  wanted: State,
  how: 'soft' | 'cluster-wide' = 'soft',
): ChangeResult {
  return judge(v, wanted, how, false);
}

function judge(v: Volume, wanted: State, how: ChangeKind, commit: boolean): ChangeResult {
  const old = v.state;
  const context = contextOf(v);
  const result =
    how === 'cluster-wide'
      ? precheckClusterWide(old, wanted, context)
      : requestChange(old, wanted, context, { hard: how === 'hard' });
  const { minor } = v;
  v.core.host.decision?.({ type: 'change', minor, old, wanted, how, commit, context, result });
  return result;
}

/** Ask for a state; when it is allowed, it is committed and what follows is begun. */
export function change(v: Volume, wanted: State, how: { hard?: boolean } = {}): ChangeResult {
  const result = judge(v, wanted, how.hard === true ? 'hard' : 'soft', true);
  if (result.code < Ss.SUCCESS) {
    v.core.host.log('warn', v.name, `State change failed: ${stateText(result.code)}`);
    v.core.host.log('debug', v.name, stateLine(' state', v.state));
    v.core.host.log('debug', v.name, stateLine('wanted', wanted));
    return result;
  }
  if (result.warning !== null) v.core.host.log('warn', v.name, result.warning);
  commit(v, result.state);
  return result;
}

/** A fact: only the hard rules can refuse it. */
export function force(v: Volume, fields: Partial<State>): ChangeResult {
  return change(v, { ...v.state, ...fields }, { hard: true });
}

function commit(v: Volume, next: State): void {
  const old = v.state;
  if (sameState(old, next)) return;
  v.state = next;
  v.core.host.log('info', v.name, changeText(old, next).trim());
  if (old.role !== next.role) v.resource.toBeSaved(); // users open a Primary before the promotion is answered (its disk hangs)
  if (clearsCrashedPrimary(old, next)) v.crashedPrimary = false;
  // Frozen until now, so no generation has begun: what was answered just before the peer was lost is known by its bits only.
  if (old.role === Roles.Primary && next.role !== Roles.Primary && v.generationDue) {
    v.generationDue = false;
    if ((v.bitmap?.count ?? 0) > 0) v.crashedPrimary = true;
  }
  if (marksConsiderResync(old, next)) v.considerResync = true;
  else if (next.conn !== Conns.Connected || next.disk !== Disks.Inconsistent)
    v.considerResync = false;
  if (next.role !== Roles.Primary) v.givesWay = false;
  else if (old.role !== Roles.Primary) v.unheard = null; // what is written from now on is in it
  if (next.conn !== Conns.WFBitMapS) v.peerFollows = false;
  if (next.conn < Conns.Connected) {
    v.peerConnected = false;
    v.generationWaits = false;
    v.peerWaits = false;
  }
  const { disk, pdsk, conn } = next;
  const inSync = conn === Conns.Connected && disk === Disks.UpToDate && pdsk === Disks.UpToDate;
  if (inSync) {
    v.lostUnmarked = false;
    v.app.doubt.peerHasAll();
  }
  const hasUsers = next.role === Roles.Primary || v.resuming;
  if (inSync || !hasUsers) v.ahead = false;
  if (next.disk === Disks.UpToDate) v.elsewhere = false;
  if (next.disk === Disks.UpToDate || !hasUsers) v.partsFrom(null);
  if (old.conn === Conns.Connected) {
    if (next.conn === Conns.StartingSyncT) v.untouched = old.disk === Disks.UpToDate;
    if (next.conn === Conns.StartingSyncS) v.untouched = old.pdsk === Disks.UpToDate;
  }
  const waits = next.conn === Conns.StartingSyncT || next.conn === Conns.WFSyncUUID;
  if (next.conn !== Conns.StartingSyncS && !(waits && next.disk === Disks.Outdated)) {
    v.untouched = false;
  }
  if (next.disk === Disks.UpToDate || next.disk === Disks.Consistent) {
    if (v.beginning === 0) v.exposedUuid = v.uuids.current;
  } else if (old.disk >= Disks.Inconsistent && next.disk < Disks.Inconsistent) {
    v.link?.epochs.diskLost(v.number);
    v.takeBackUnheard();
  }
  // The data in use are the peer's from now on, and it has named them already: an older disk of ours must not pass for them.
  if (usesPeers(next) && !usesPeers(old)) {
    // The target of a resync: its source said at the beginning from which generation its bitmap counts, and begins no other one.
    if (v.peerUuids && isTarget(old)) v.peerUuids = { ...v.peerUuids, bitmap: v.uuids.current };
    if (v.peerUuids) v.exposedUuid = v.peerUuids.current;
    v.partsFrom(next.role === Roles.Primary ? v.peerUuids : null);
    if (next.role === Roles.Primary) v.app.doubt.usersFollowPeer();
  } else if (usesPeers(next) && next.role === Roles.Primary && old.role !== Roles.Primary) {
    v.partsFrom(v.peerUuids);
  }
  if (next.disk === Disks.UpToDate || usesPeers(next)) v.outdateAtAttach = false;
  settleLogSuspension(v);
  if (isOnlyCopy(next)) v.onlyCopy = true;
  else if (v.onlyCopy && isOnlyCopy(old)) onlyCopyNoMore(v);
  const parts = isOnlyCopy(old) && next.conn < Conns.Connected;
  const isOver = next.conn >= Conns.Connected || next.disk < Disks.Inconsistent;
  if (parts) v.keepsPeersData = true;
  if (isOver || next.role === Roles.Primary) v.keepsPeersData = false;
  follow(v, old, next);
  if (next.conn >= Conns.Connected && next.peer === Roles.Primary && next.pdsk < Disks.UpToDate) {
    v.generationShared = true; // its users see ours: they must notice when this node goes on without them
  }
  const flags = v.currentFlags();
  if (v.store && flags !== v.flags) {
    v.flags = flags; // whatever the state is when the block's turn comes: a disk that fails until then keeps these
    v.store.writeSuperblock();
  }
  // Nothing comes of the resync, or it has begun.
  if (old.conn === Conns.WFBitMapS && next.conn >= Conns.Connected) v.resource.thawWhenMet();
  v.core.resyncOrder.settle();
  v.app.resume();
  v.core.host.stateChanged(v.resource.name);
}

/** No disk here, and the peer's is good: Primary, or as soon as this node is, its users see the peer's data. */
export function usesPeers(s: State): boolean {
  return s.disk < Disks.Inconsistent && s.conn >= Conns.Connected && s.pdsk === Disks.UpToDate;
}

/** What a Primary without a disk is answered is on this one alone. */
function isOnlyCopy(s: State): boolean {
  const alone = s.pdsk < Disks.Inconsistent && s.peer === Roles.Primary;
  return alone && s.conn >= Conns.Connected && s.disk >= Disks.Inconsistent;
}

/** A resync into this disk was asked for, or is under way. */
export function isTarget({ conn }: State): boolean {
  return (
    conn === Conns.StartingSyncT ||
    conn === Conns.WFBitMapT ||
    conn === Conns.WFSyncUUID ||
    conn === Conns.SyncTarget ||
    conn === Conns.PausedSyncT
  );
}

/** It has to be durable before the meta-data forget that. What has arrived and is not written yet may be answered, too (protocol B). */
function onlyCopyNoMore(v: Volume): void {
  const { store } = v;
  const arrived = (): boolean => v.link !== null || v.peerWork === 0;
  // Without the mark nobody applies the activity log: what the Primary's own disk lacks is in the bitmap on disk before.
  const forget = (): void =>
    v.writeBitmap((result) => {
      if (result < 0) v.metaFailed(-result);
      else if (v.store === store && !isOnlyCopy(v.state)) {
        v.onlyCopy = false;
        store?.writeSuperblock();
      }
    });
  v.resource.when(arrived, () => {
    if (v.store !== store || !v.diskUsable() || isOnlyCopy(v.state)) return;
    v.peerIo.local++; // the disk is not closed meanwhile
    const flushed = v.core.cold((result) => {
      v.peerIo.local--;
      if (result < 0) v.flushFailed(-result);
      else if (!isOnlyCopy(v.state)) forget();
    });
    v.core.port.flushDisk(v.dataDisk, flushed);
  });
}

/** The activity log rests while every bit is set and nobody is connected. */
function settleLogSuspension(v: Volume): void {
  if (v.alSuspended && v.state.conn >= Conns.Connected) {
    v.alSuspended = false;
    v.core.host.log('info', v.name, 'Resumed AL updates');
  }
}

/** What follows from a change, in order. */
function follow(v: Volume, old: State, next: State): void {
  const link = v.link;
  if (isLoneWithoutGoodData(next) && !isLoneWithoutGoodData(old)) callPriOnInconDegr(v);
  const connBecame = (conn: number): boolean => old.conn !== conn && next.conn === conn;

  // 1. A resync begins here: its UUID goes out before anything else.
  const source =
    (next.conn === Conns.SyncSource || next.conn === Conns.PausedSyncS) &&
    old.conn !== Conns.SyncSource &&
    old.conn !== Conns.PausedSyncS;
  if (source) beginAsSource(v);

  // A connection that is lost before its transfer log is dealt with elsewhere (resource.ts).
  if (link) {
    // 2. The peer attached. A P_STATE for another reason may have told of its disk while it was still Attaching: that is too
    // early, it compares when it is Negotiating. (The originals answer the first, and a disk then waits for ever.)
    if (old.pdsk <= Disks.Failed && next.pdsk > Disks.Failed && next.pdsk !== Disks.DUnknown) {
      sendUuids(link, v);
      sendState(link, v);
    }
  }

  // 4. A generation ends when the copies part.
  let generation = beginsGeneration(old, next, v.uuids, v.generationShared);
  // Whatever the peer's disk was: a Primary that goes on alone needs a base for its bitmap, or nobody looks at it later. It is
  // left alone, or it was and gets a disk: one that is Consistent only has what was written and is frozen still. (A role or a
  // disk that is forced begins its generation in roles.ts.)
  const good =
    next.disk === Disks.UpToDate || (next.disk === Disks.Consistent && isSuspended(next));
  const goesOn = next.role === Roles.Primary && next.conn < Conns.Connected && good;
  const alone = old.conn >= Conns.Connected || old.disk < Disks.Inconsistent;
  if (generation === 'no' && goesOn && alone && mayBegin(v.uuids, v.generationShared)) {
    if (old.role === Roles.Primary) generation = isSuspended(next) ? 'later' : 'now';
  }
  // A Primary without a disk that connects may still find that these are not the data of its users, and go: then this copy
  // has not parted from its own, and must not look as if it had.
  const meets = old.conn < Conns.Connected && next.conn >= Conns.Connected;
  if (generation === 'now' && meets && next.role !== Roles.Primary && isOnlyCopy(next)) {
    v.generationWaits = true;
    generation = 'no';
  }
  // What is written now the peer lacks. (The originals begin none: two Secondaries that meet again take their copies for equal.)
  if (generation === 'no' && connBecame(Conns.Ahead) && v.uuids.bitmap === 0n) generation = 'now';
  if (generation === 'now') beginGeneration(v, true);
  else if (generation === 'later') v.generationDue = true;
  if (v.generationDue && isSuspended(old) && !isSuspended(next)) {
    v.generationDue = false;
    // Not when the connection is back; but whatever fence-peer said of the peer's disk, Inconsistent among it (exit 3).
    const apart = next.conn < Conns.Connected || next.pdsk === Disks.Outdated;
    // Without a disk there is none to begin: no disk, here or there, would ever have it. One that is attached begins its own.
    const hasDisk = next.disk >= Disks.Inconsistent;
    if (hasDisk && (apart || next.pdsk < Disks.Inconsistent)) beginGeneration(v, true);
  }

  if (link && next.conn >= Conns.Connected) {
    const connecting = old.conn === Conns.WFReportParams;
    const diskGoing =
      next.disk !== old.disk &&
      (next.disk === Disks.Failed || (next.disk === Disks.Diskless && old.disk === Disks.Failed));
    const targetDone =
      old.disk < Disks.UpToDate && old.conn >= Conns.SyncSource && next.conn === Conns.Connected;
    // A resync that was only asked for comes to nothing. The source may have begun it, and holds this copy for Inconsistent.
    const keepsCopy =
      old.disk === Disks.Outdated &&
      (old.conn === Conns.StartingSyncT || old.conn === Conns.WFSyncUUID) &&
      next.conn === Conns.Connected &&
      next.disk === Disks.UpToDate;
    if (old.disk === Disks.Attaching && next.disk === Disks.Negotiating) {
      v.attachAnswer.announced(link);
      sendSizes(link, v, 0);
      sendUuids(link, v);
      sendState(link, v);
      link.watch.ping(() => {}); // users wait for its answer: one that is not there is noticed now, not after ping-int
    } else if (
      connecting ||
      old.aftrIsp !== next.aftrIsp ||
      old.userIsp !== next.userIsp ||
      connBecame(Conns.Ahead) ||
      diskGoing ||
      (old.disk === Disks.UpToDate && next.disk === Disks.Inconsistent) ||
      (old.disk === Disks.Negotiating && next.disk === Disks.Outdated) ||
      // A node without a disk takes it for Consistent, and does not always vouch for it.
      (old.disk === Disks.Negotiating &&
        next.disk === Disks.UpToDate &&
        next.pdsk <= Disks.Failed) ||
      targetDone ||
      keepsCopy ||
      // The peer does not know where it ends.
      (old.conn === Conns.VerifyS && next.conn === Conns.Connected && knowsStopSector(link.apv))
    ) {
      sendState(link, v);
    }
  }

  v.resync.stateChanged(old, next);
  v.verify.stateChanged(old, next);
  v.growth.stateChanged(old, next);
  v.congestion.stateChanged(old, next);

  // 3. Bitmap exchange, our turn first; behind the P_STATE that tells of it.
  if (link && connBecame(Conns.WFBitMapS)) v.resync.beginning.sendBitmap();

  const failed = next.disk === Disks.Failed && old.disk !== Disks.Failed;
  // A connection lost while Negotiating lets the disk go without failing it first.
  const letGo = next.disk === Disks.Diskless && old.disk > Disks.Attaching && v.dataDisk >= 0;
  if ((failed || letGo) && !v.detaching) v.resource.diskIsFailed(v);

  if (v.state === next) goOn(v);
}

/** Primary, and neither disk is good. */
function isLoneWithoutGoodData(s: State): boolean {
  return s.role === Roles.Primary && s.disk < Disks.UpToDate && s.pdsk < Disks.UpToDate;
}

/** Handlers for this halt the node. One whose engine was restarted meets its peer first, whose data may be good. */
export function callPriOnInconDegr(v: Volume): void {
  if (v.resuming || !isLoneWithoutGoodData(v.state)) return;
  v.core.host.handler('pri-on-incon-degr', v.resource.name, v.minor, () => {});
}

/**
 * Frozen for lack of data, and they can be reached again. Those of the peer when all volumes have met it: one that finds its own to
 * be old there ends the connection for all.
 */
export function goOn(v: Volume): void {
  const { disk, conn, pdsk, suspNod } = v.state;
  const there = conn >= Conns.Connected && pdsk === Disks.UpToDate && !v.resource.meeting;
  if (suspNod !== 0 && (disk === Disks.UpToDate || there)) force(v, { suspNod: 0 });
}

/**
 * The peer has said that the connection stands, to it too. When it has for all volumes (refusing one, it leaves them all),
 * its users are on these data, and a generation that waited for that begins.
 */
export function peerConnected(v: Volume): void {
  v.peerConnected = true;
  const { volumes } = v.resource;
  if (volumes.some((o) => o.state.conn >= Conns.Connected && !o.peerConnected)) return;
  for (const o of volumes) beginWaiting(o);
}

/** Also with the first write of its users: a kernel may send that before it says so. */
export function beginWaiting(v: Volume): void {
  if (!v.generationWaits) return;
  v.generationWaits = false;
  if (!isOnlyCopy(v.state)) return;
  beginGeneration(v, true);
  v.generationShared = true;
}

/**
 * Frozen I/O that only this node may have, and the peer comes back, with its connection or with its disk alone: it must see
 * that the copies have parted. Not told yet. (The originals wait for the thaw, and both disks are UpToDate by then.)
 */
export function partWhileFrozen(v: Volume): void {
  if (!v.generationDue) return;
  v.generationDue = false;
  beginGeneration(v, false);
}

/**
 * A new current UUID: durable before anything that only this node has is answered. `forced`: the old data are declared
 * current, so the bitmap counts from them and from nothing else.
 */
export function beginGeneration(
  v: Volume,
  tell: boolean,
  done: () => void = () => {},
  forced = false,
): void {
  const primary = v.state.role === Roles.Primary;
  const uuid = randomUuid(v.core.host.random);
  const set = forced
    ? newCurrent(v.uuids, uuid, primary)
    : nextGeneration(v.uuids, uuid, primary, v.targetHad);
  v.generationShared = false;
  v.partings++;
  const peerOutdated = v.flags & MDF.PEER_OUT_DATED;
  v.unheard = forced || !v.store ? null : { current: set.current, before: v.uuids, peerOutdated };
  setUuids(v, set, () => {
    if (primary && v.diskUsable()) v.unheard = null;
    if (tell && v.link && v.state.conn >= Conns.Connected) sendUuids(v.link, v);
    done();
  });
}

/**
 * Every block is to be copied: all bits, on disk before anybody relies on them. FULL_SYNC in the meta-data covers a crash in
 * between.
 */
export function markAll(v: Volume, done: (result: number) => void = () => {}): void {
  const { bitmap, store } = v;
  if (!bitmap || !store) return;
  v.flags |= MDF.FULL_SYNC;
  bitmap.setAll();
  store.writeSuperblock();
  store.writeBitmap(bitmap, null, (result) => {
    v.flags &= ~MDF.FULL_SYNC;
    if (result >= 0) {
      store.writeSuperblock(done);
      return;
    }
    v.metaFailed(-result);
    done(result);
  });
}

/** Change the generation; writes wait until it is on disk. */
export function setUuids(v: Volume, set: UuidSet, done: () => void = () => {}): void {
  // Another role is no other generation: without a disk its users have seen that of the peer.
  const begins = maskUuid(set.current) !== maskUuid(v.uuids.current);
  v.uuids = set;
  if (begins) v.exposeNext(set.current);
  if (!v.store) {
    if (begins) v.exposedUuid = set.current;
    done();
    return;
  }
  v.app.admission.holdWrites();
  if (begins) v.beginning++;
  v.store.writeSuperblock((result) => {
    if (begins) v.beginning--;
    if (result < 0) v.metaFailed(-result);
    // Which one the disk has is not known otherwise, and nothing was answered that belongs to the new one alone.
    else if (v.uuids.current === set.current && v.exposedUuid === set.current)
      v.exposedUuid = set.current;
    v.app.admission.releaseWrites();
    done();
  });
}

/**
 * P_SYNC_UUID goes out before any P_STATE and any data of this volume (apv 96), and not before it is on our disk: a target
 * whose current UUID this source does not know after a crash would be "unrelated data". So writes wait (setUuids), and a
 * P_STATE that falls due meanwhile is sent behind it (and a bitmap, where that resync is broken off and the next one compares, behind that).
 */
function beginAsSource(v: Volume): void {
  const { set, syncUuid } = startAsSource(v.uuids, v.core.host.random, v.targetHad);
  const link = v.link;
  // Before the target asks for anything, the resync can not end; unless nothing is to be copied, or it has this generation.
  v.targetHad = v.peerUuids?.current ?? 0n;
  const has = maskUuid(v.targetHad) === maskUuid(v.uuids.current);
  v.generationShared = has || (v.bitmap?.count ?? 0) === 0;
  v.resync.start();
  v.syncUuidDue = true;
  v.stateDue = false;
  v.app.admission.holdWrites(); // until the packet is out, a moment longer than setUuids does
  const run = v.resync.runs;
  setUuids(v, set, () => {
    // Broken off meanwhile, it does not begin. Another one, out of this disk again, has a packet of its own; into it, it has none.
    const isMine = v.resync.runs === run;
    if (isMine || !isSource(v.state)) {
      v.syncUuidDue = false;
      if (link && link === v.link) {
        if (isMine && isSource(v.state)) {
          link.out.onData(COMMANDS.P_SYNC_UUID, v.number, 8, syncUuidCodec, { uuid: syncUuid });
        }
        if (v.stateDue) sendState(link, v);
      }
    }
    v.app.admission.releaseWrites();
  });
}

/** A resync out of this disk is under way, or waits for a peer that does not keep up. */
function isSource({ conn }: State): boolean {
  return conn === Conns.SyncSource || conn === Conns.PausedSyncS || conn === Conns.Ahead;
}
