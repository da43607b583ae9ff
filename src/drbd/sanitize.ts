/**
 * What a wanted state really means: whatever else must change with it (a lost connection makes the peer's role Unknown, a
 * finished handshake makes a Consistent disk UpToDate ...). Pure, first step of every state change; transition.ts judges
 * the result. Source: docs/STATES.md, implicit adjustments; the numbers of the steps are those of that list.
 */
import type { DiskOptions, ResourceOptions } from '../config/drbd-options.js';
import { Conns, Disks, Roles, type State } from './state.js';

/** The disk states that the attach decided on and that wait for the handshake (disk state Negotiating). */
export interface Negotiated {
  readonly disk: number;
  readonly pdsk: number;
}

/** What a change depends on besides the states. Every field is something the engine holds anyway. */
export interface ChangeContext {
  readonly netConfigured: boolean; // a network configuration exists (connect was called)
  readonly twoPrimaries: boolean; // allow-two-primaries
  readonly otherPeerPrimary: boolean; // the peer is Primary on another volume of this resource
  readonly fencing: DiskOptions['fencing']; // counts only while the old disk state is Inconsistent or better
  readonly onNoDataAccessible: ResourceOptions['onNoDataAccessible'];
  readonly verifyAlg: string; // '' : none
  readonly apv: number; // agreed protocol version
  readonly openers: number; // of the device
  readonly stateSent: boolean; // our P_STATE of the handshake is out and the connection not yet established
  /** A copy, here or there, that is to be thrown away (invalidate), and that nothing was copied over yet: it has every write. */
  readonly untouched?: boolean;
  /**
   * The target of our resync has every block, and was told that we are alive: it may call itself UpToDate without our hearing of it. Or it
   * has not heard yet that there is one to come (congestion.ts).
   */
  readonly targetMayBeDone?: boolean;
  /** Without a disk this node still knows that nothing newer exists than what the peer has (Volume.vouches). */
  readonly vouches?: boolean;
  /** Without a disk this node still knows that the peer's data are older than those it had (Volume.knowsNewer). */
  readonly peerBehind?: boolean;
  readonly negotiated: Negotiated | null; // null: unknown, or exposed data UUID differs from our current UUID
}

/** Nothing configured, nobody looking: a base to spread over, `{ ...IDLE_CONTEXT, openers: 1 }`. */
export const IDLE_CONTEXT: ChangeContext = {
  netConfigured: false,
  twoPrimaries: false,
  otherPeerPrimary: false,
  fencing: 'dont-care',
  onNoDataAccessible: 'io-error',
  verifyAlg: '',
  apv: 101,
  openers: 0,
  stateSent: false,
  negotiated: null,
};

/** Limits of both disk states by connection state: [disk min, disk max, pdsk min, pdsk max]. */
type Clamp = readonly [number, number, number, number];
const { Diskless, Inconsistent, Outdated, DUnknown, Consistent, UpToDate } = Disks;
const UNCONNECTED: Clamp = [Diskless, UpToDate, Inconsistent, DUnknown];
const TARGET: Clamp = [Inconsistent, Outdated, UpToDate, UpToDate];
const SOURCE: Clamp = [UpToDate, UpToDate, Inconsistent, Consistent];
const VERIFY: Clamp = [UpToDate, UpToDate, UpToDate, UpToDate];
const CLAMPS: ReadonlyMap<number, Clamp> = new Map<number, Clamp>([
  [Conns.Connected, [Diskless, UpToDate, Diskless, UpToDate]],
  [Conns.StartingSyncS, SOURCE],
  [Conns.StartingSyncT, TARGET],
  [Conns.WFBitMapS, SOURCE],
  [Conns.WFBitMapT, TARGET],
  [Conns.WFSyncUUID, TARGET],
  [Conns.SyncSource, [UpToDate, UpToDate, Inconsistent, Inconsistent]],
  [Conns.SyncTarget, [Inconsistent, Inconsistent, UpToDate, UpToDate]],
  [Conns.VerifyS, VERIFY],
  [Conns.VerifyT, VERIFY],
  [Conns.PausedSyncS, SOURCE],
  [Conns.PausedSyncT, TARGET],
  [Conns.Ahead, SOURCE],
  [Conns.Behind, TARGET],
]);

/** The state that `wanted` really means, coming from `old`. The numbered steps run in this order. */
export function sanitize(
  old: State,
  wanted: State,
  context: ChangeContext,
): { readonly state: State; readonly warning: string | null } {
  const s = { ...wanted };
  let warning: string | null = null; // of several, the last is told

  // 1: without a connection the peer is not known
  if (s.conn < Conns.Connected) {
    s.peerIsp = 0;
    s.peer = Roles.Unknown;
    if (s.pdsk > DUnknown || s.pdsk < Inconsistent) s.pdsk = DUnknown;
    // The originals believe that it is Inconsistent, fence nobody, and both nodes may go on alone.
    if (s.pdsk === Inconsistent && context.targetMayBeDone === true) s.pdsk = DUnknown;
  }
  // 2: an unconfigured device waits for nobody
  if (s.conn === Conns.StandAlone && s.disk === Diskless && s.role === Roles.Secondary) {
    s.aftrIsp = 0;
  }
  // 3: a disk that is gone ends resync and verify
  if (s.conn > Conns.Connected && (s.disk <= Disks.Failed || s.pdsk <= Disks.Failed)) {
    warning = isVerify(s.conn) ? 'Online-verify aborted.' : 'Resync aborted.';
    // The originals go on to step 5, which calls the old copy UpToDate when the new one is lost during the exchange of
    // bitmaps. It is not: the resync that would have made it so did not happen. (Unless an operator wanted it, who thought
    // that there was a better one.)
    const left = context.untouched === true ? UpToDate : Inconsistent;
    if (isTarget(s.conn) && s.disk > Inconsistent) s.disk = left;
    if (isSource(s.conn) && s.pdsk > Inconsistent) s.pdsk = left;
    s.conn = Conns.Connected;
  }
  // An invalidate that has not begun when the connection breaks does not take the data from their users either. (The originals
  // leave the Primary without any, and call both copies equal when they meet again.)
  // A Secondary's is Outdated then: the source, which has them too, may go on alone.
  const keeps = context.untouched === true && s.role === Roles.Primary;
  if (s.conn < Conns.Connected && s.disk === Outdated && keeps) s.disk = UpToDate;
  // 4: the connection broke before the peer's UUIDs arrived
  if (
    s.conn < Conns.Connected &&
    s.disk === Disks.Negotiating &&
    old.disk >= Disks.Negotiating // metadata are at hand
  ) {
    if (context.negotiated) {
      s.disk = context.negotiated.disk;
      s.pdsk = context.negotiated.pdsk;
    } else {
      warning = 'Connection lost while negotiating, no data!';
      s.disk = Diskless;
      s.pdsk = DUnknown;
    }
  }
  // 5: a handshake that decides "no resync" makes both current
  if (s.conn >= Conns.Connected && s.conn < Conns.Ahead) {
    // The originals do not ask whether the other node has a disk at all. Without one nothing was compared: what is known
    // to be old stays old, and what may be old stays so until somebody vouches for it, or it would be promoted over what
    // the lost disk holds. The node without a disk judges; the one with it hears of that (sync-decision.ts, handshakeState).
    const compared = s.disk > Disks.Failed && s.pdsk > Disks.Failed;
    const uncertain = (disk: number): boolean => disk === Consistent || disk === Outdated;
    if (compared && uncertain(s.disk)) s.disk = UpToDate;
    if (compared && uncertain(s.pdsk)) s.pdsk = UpToDate;
    if (s.pdsk === Consistent && context.vouches === true) s.pdsk = UpToDate;
    // The originals believe what the peer says of its disk, and show its data to whoever comes.
    if (s.disk <= Disks.Failed && s.pdsk === UpToDate && context.peerBehind === true) {
      s.pdsk = Outdated;
      warning = "The peer's data are older than those of the disk that was let go here.";
    }
  }
  // The originals call both disks UpToDate (step 6): a bad one passes for good while a verify runs, and after it.
  const compared = isVerify(old.conn) && old.disk === UpToDate && old.pdsk === UpToDate;
  if (compared && isVerify(s.conn) && (s.disk < UpToDate || s.pdsk < UpToDate)) {
    warning = 'Online-verify aborted.';
    s.conn = Conns.Connected;
  }
  // 6: what the connection state says of the disks
  const [diskMin, diskMax, pdskMin, pdskMax] = CLAMPS.get(s.conn) ?? UNCONNECTED;
  if (s.disk > diskMax) s.disk = diskMax;
  if (s.disk < diskMin) {
    warning = 'Implicitly upgraded disk';
    s.disk = diskMin;
  }
  if (s.pdsk > pdskMax) s.pdsk = pdskMax;
  if (s.pdsk < pdskMin) {
    warning = 'Implicitly upgraded pdsk';
    s.pdsk = pdskMin;
  }
  // 7: freeze until the peer is fenced
  if (fencingOf(old, context) === 'resource-and-stonith' && peerLost(s) && !peerLost(old)) {
    s.suspFen = 1;
  }
  // 8: freeze while no data can be reached
  if (context.onNoDataAccessible === 'suspend-io' && noData(s) && !noData(old)) s.suspNod = 1;
  // 9: pause and continue
  if (s.aftrIsp || s.peerIsp || s.userIsp) {
    if (s.conn === Conns.SyncSource) s.conn = Conns.PausedSyncS;
    if (s.conn === Conns.SyncTarget) s.conn = Conns.PausedSyncT;
  } else {
    // a disk that the resync writes to must not look consistent (the originals see to that when a resync begins)
    if (s.conn === Conns.PausedSyncS) {
      s.conn = Conns.SyncSource;
      s.pdsk = Inconsistent;
    }
    if (s.conn === Conns.PausedSyncT) {
      s.conn = Conns.SyncTarget;
      s.disk = Inconsistent;
    }
  }
  return { state: s, warning };
}

const isVerify = (conn: number): boolean => conn === Conns.VerifyS || conn === Conns.VerifyT;

function isTarget(conn: number): boolean {
  return CLAMPS.get(conn) === TARGET || conn === Conns.SyncTarget;
}

function isSource(conn: number): boolean {
  return CLAMPS.get(conn) === SOURCE || conn === Conns.SyncSource;
}

/** The fencing policy lies with the disk: without one there is none. */
export function fencingOf(old: State, context: ChangeContext): ChangeContext['fencing'] {
  return old.disk >= Inconsistent ? context.fencing : 'dont-care';
}

/** Primary, without connection, and the peer may still think that its data are current. */
function peerLost(s: State): boolean {
  return s.role === Roles.Primary && s.conn < Conns.Connected && s.pdsk > Outdated;
}

/** Primary without access to current data anywhere. */
export function noData(s: State): boolean {
  return s.role === Roles.Primary && s.disk < UpToDate && s.pdsk < UpToDate;
}

export function sameState(a: State, b: State): boolean {
  return (
    a.role === b.role &&
    a.peer === b.peer &&
    a.conn === b.conn &&
    a.disk === b.disk &&
    a.pdsk === b.pdsk &&
    a.susp === b.susp &&
    a.aftrIsp === b.aftrIsp &&
    a.peerIsp === b.peerIsp &&
    a.userIsp === b.userIsp &&
    a.suspNod === b.suspNod &&
    a.suspFen === b.suspFen
  );
}
