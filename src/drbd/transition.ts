/**
 * May a volume go from one state to another, and what else must change with it? Pure: nothing happens here. The engine
 * fills a ChangeContext, asks `requestChange`, commits `state` when `code >= Ss.SUCCESS`, then does what follows.
 *
 *     wanted --ASKED--> --sanitize--> state --HARD--> --VALIDITY--> --SOFT--> code      (hard changes: only HARD is asked)
 *
 * - ASKED refuses wishes that sanitizing would turn into something else;
 * - *sanitize* (sanitize.ts) adjusts what is implied;
 * - HARD rules hold even for facts (a broken network, a failed disk); the first matching row wins;
 * - VALIDITY judges the resulting state alone; an old state that was already invalid for the same reason may move on;
 *   the first matching row wins;
 * - SOFT rules judge the transition of administrative requests and of the connect handshake; the *last* matching row wins.
 *
 * Source: docs/STATES.md (states and codes of DRBD 8.4, observed and read there).
 */
import { Ss, type StateCode } from './return-codes.js';
import { type ChangeContext, fencingOf, noData, sameState, sanitize } from './sanitize.js';
import { Conns, Disks, Roles, type State } from './state.js';

export {
  type ChangeContext,
  IDLE_CONTEXT,
  type Negotiated,
  sameState,
  sanitize,
} from './sanitize.js';

const { Diskless, Inconsistent, Outdated, DUnknown, UpToDate } = Disks;

export interface ChangeResult {
  readonly code: StateCode; // < Ss.SUCCESS: refused. NOTHING_TO_DO: the sanitized state is the old one
  readonly state: State; // the sanitized state; to be committed only when the code allows it
  readonly warning: string | null; // log line of the sanitizing, to be logged before the change is committed
  readonly rule: string; // label of the row that refused ('valid 3'), '' when none did
}

/** A fact (only HARD rules can refuse it), a request, or a request that the peer is to be asked about. */
export type ChangeKind = 'hard' | 'soft' | 'cluster-wide';

/**
 * Judge a change from `old` to `wanted` (usually `{ ...old, conn: Conns.Disconnecting }`). `hard`: a fact, or an
 * operator's --force; only the HARD rules can refuse it.
 */
export function requestChange(
  old: State,
  wanted: State,
  context: ChangeContext,
  { hard = false }: { readonly hard?: boolean } = {},
): ChangeResult {
  return judge(old, wanted, context, hard ? 'hard' : 'soft');
}

/**
 * The local check before a cluster-wide change is asked of the peer: as `requestChange`, but an invalid result is refused
 * even when the old state was invalid too. The answer of the peer decides; then `requestChange` commits.
 */
export function precheckClusterWide(
  old: State,
  wanted: State,
  context: ChangeContext,
): ChangeResult {
  return judge(old, wanted, context, 'cluster-wide');
}

function judge(old: State, wanted: State, context: ChangeContext, how: ChangeKind): ChangeResult {
  const { state, warning } = sanitize(old, wanted, context);
  const result = (code: StateCode, rule: string): ChangeResult => ({
    code,
    state,
    warning: code === Ss.SUCCESS ? warning : null,
    rule,
  });
  const wish = how === 'hard' ? undefined : ASKED.find((row) => row.when(old, wanted));
  if (wish) return result(wish.code, wish.label);
  if (sameState(old, state)) return result(Ss.NOTHING_TO_DO, '');
  const law = HARD.find((row) => row.when(old, state));
  if (law) return result(law.code, law.label);
  if (how === 'hard') return result(Ss.SUCCESS, '');

  const invalid = validityRow(state, old, context);
  if (invalid) {
    // a state that is invalid already may move on, unless the peer is to be asked
    const before = how === 'soft' ? validityRow(old, old, context) : undefined;
    if (before?.code !== invalid.code) return result(invalid.code, invalid.label);
  }
  const soft = SOFT.findLast((row) => row.when(old, state, context));
  if (soft) return result(soft.code, soft.label);
  return result(Ss.SUCCESS, '');
}

/** Must the peer agree first (P_STATE_CHG_REQ)? `next` is a sanitized state. */
export function isClusterWide(old: State, next: State): boolean {
  if (old.conn < Conns.Connected) return false;
  if (next.conn === Conns.Disconnecting) return true;
  if (old.conn === Conns.Connected) {
    if (next.conn === Conns.VerifyS || next.conn === Conns.WFReportParams) return true;
  }
  if (next.conn < Conns.Connected) return false;
  return (
    (old.role !== Roles.Primary && next.role === Roles.Primary) ||
    (old.conn !== next.conn &&
      (next.conn === Conns.StartingSyncT || next.conn === Conns.StartingSyncS)) ||
    (old.disk !== Disks.Failed && next.disk === Disks.Failed)
  );
}

// ---- what is forbidden ---------------------------------------------------------------------------------------------

interface HardRow {
  readonly label: string;
  readonly code: StateCode;
  readonly when: (o: State, n: State) => boolean;
}

/** Enforced always, also for facts. The first matching row wins. */
export const HARD: readonly HardRow[] = [
  {
    label: 'hard disk: detached, cannot fail',
    code: Ss.IS_DISKLESS,
    when: (o, n) => n.disk === Disks.Failed && o.disk === Diskless,
  },
  {
    label: 'hard 1: StandAlone has nothing to disconnect',
    code: Ss.ALREADY_STANDALONE,
    when: (o, n) => o.conn === Conns.StandAlone && n.conn === Conns.Disconnecting,
  },
  {
    label: 'hard 2: from StandAlone only to Unconnected',
    code: Ss.NEED_CONNECTION,
    when: (o, n) => o.conn === Conns.StandAlone && n.conn > Conns.Unconnected,
  },
  {
    label: 'hard 3: a connection begins with WFReportParams',
    code: Ss.NEED_CONNECTION,
    when: (o, n) => o.conn < Conns.WFReportParams && n.conn >= Conns.Connected,
  },
  {
    label: 'hard 4: after a network error only Unconnected or Disconnecting',
    code: Ss.IN_TRANSIENT_STATE,
    when: (o, n) =>
      o.conn >= Conns.Timeout &&
      o.conn <= Conns.TearDown &&
      n.conn !== o.conn &&
      n.conn !== Conns.Unconnected &&
      n.conn !== Conns.Disconnecting,
  },
  {
    label: 'hard 5: after Disconnecting only StandAlone',
    code: Ss.IN_TRANSIENT_STATE,
    when: (o, n) =>
      o.conn === Conns.Disconnecting &&
      n.conn !== Conns.Disconnecting &&
      n.conn !== Conns.StandAlone,
  },
];

/**
 * Wishes that sanitizing would turn into something else without a word, judged as they came. The originals have none of
 * these rows. The first matching row wins.
 */
export const ASKED: readonly HardRow[] = [
  {
    // Sanitizing makes the disk UpToDate again, and a kernel (8.4.11, observed) answers "nothing to do", exit status 0:
    // whoever fences by it (drbd-peer-outdater) then believes in an Outdated disk that is none.
    label: 'asked 1: Outdated while connected',
    code: Ss.CONNECTED_OUTDATES,
    when: (o, n) =>
      n.disk === Outdated && o.disk > Outdated && n.conn >= Conns.Connected && n.conn < Conns.Ahead,
  },
  {
    // Likewise: an Inconsistent disk would come out of it UpToDate. One that is being attached is not known yet.
    label: 'asked 1b: Outdated, and it is less',
    code: Ss.LOWER_THAN_OUTDATED,
    when: (o, n) =>
      n.disk === Outdated &&
      o.disk < Outdated &&
      ((n.conn >= Conns.Connected && n.conn < Conns.Ahead) || o.disk === Disks.Attaching),
  },
  {
    // "Nothing to do" in the originals.
    label: 'asked 2: invalidate needs the local disk',
    code: Ss.NO_LOCAL_DISK,
    when: (o, n) => starting(n) && o.conn === Conns.Connected && n.disk <= Disks.Failed,
  },
  {
    label: "asked 3: invalidate needs the peer's disk",
    code: Ss.NO_REMOTE_DISK,
    when: (o, n) => starting(n) && o.conn === Conns.Connected && n.pdsk <= Disks.Failed,
  },
  {
    // The originals call the disk that is to be copied UpToDate, whatever it was, and copy it ("Implicitly upgraded
    // disk"): invalidate on the only good node destroys the data. `primary --force` is the way to choose between two bad.
    label: 'asked 4: a bad disk is not copied',
    code: Ss.NO_UP_TO_DATE_DISK,
    when: (o, n) =>
      o.conn === Conns.Connected &&
      ((n.conn === Conns.StartingSyncS && n.disk < UpToDate) ||
        (n.conn === Conns.StartingSyncT && n.pdsk < UpToDate)),
  },
  {
    // Likewise: a bad disk would come out of it UpToDate.
    label: 'asked 5: verify compares two UpToDate disks',
    code: Ss.NO_UP_TO_DATE_DISK,
    when: (o, n) =>
      verifying(n) && o.conn === Conns.Connected && (n.disk < UpToDate || n.pdsk < UpToDate),
  },
];

interface ValidityRow {
  readonly label: string;
  readonly code: StateCode;
  readonly when: (n: State, c: ChangeContext, fencing: ChangeContext['fencing']) => boolean;
}

const lonePrimary = (n: State): boolean => n.role === Roles.Primary && n.conn < Conns.Connected;
const singlePrimary = (n: State, c: ChangeContext): boolean =>
  c.netConfigured && !c.twoPrimaries && n.role === Roles.Primary;
const verifying = (n: State): boolean => n.conn === Conns.VerifyS || n.conn === Conns.VerifyT;
const starting = (n: State): boolean =>
  n.conn === Conns.StartingSyncS || n.conn === Conns.StartingSyncT;

/** Is the resulting state one that may be asked for? The first matching row wins. */
export const VALIDITY: readonly ValidityRow[] = [
  {
    label: 'valid 1: one Primary',
    code: Ss.TWO_PRIMARIES,
    when: (n, c) => singlePrimary(n, c) && n.peer === Roles.Primary,
  },
  {
    label: 'valid 1b: one Primary over all volumes',
    code: Ss.O_VOL_PEER_PRI,
    when: (n, c) => singlePrimary(n, c) && c.otherPeerPrimary,
  },
  {
    label: 'valid 2: a Secondary is not open',
    code: Ss.DEVICE_IN_USE,
    when: (n, c) => n.role === Roles.Secondary && c.openers > 0,
  },
  {
    label: 'valid 3: a lone Primary is UpToDate',
    code: Ss.NO_UP_TO_DATE_DISK,
    when: (n) => lonePrimary(n) && n.disk < UpToDate,
  },
  {
    label: 'valid 4: the peer of a lone Primary is fenced',
    code: Ss.PRIMARY_NOP,
    when: (n, _c, fencing) => fencing !== 'dont-care' && lonePrimary(n) && n.pdsk >= DUnknown,
  },
  {
    label: 'valid 5: a Primary has consistent data',
    code: Ss.NO_UP_TO_DATE_DISK,
    when: (n) => n.role === Roles.Primary && n.disk <= Inconsistent && n.pdsk <= Inconsistent,
  },
  {
    label: 'valid 6: resync needs the local disk',
    code: Ss.NO_LOCAL_DISK,
    when: (n) => n.conn > Conns.Connected && n.disk < Inconsistent,
  },
  {
    label: "valid 7: resync needs the peer's disk",
    code: Ss.NO_REMOTE_DISK,
    when: (n) => n.conn > Conns.Connected && n.pdsk < Inconsistent,
  },
  {
    label: 'valid 8: resync needs a source',
    code: Ss.NO_UP_TO_DATE_DISK,
    when: (n) => n.conn > Conns.Connected && n.disk < UpToDate && n.pdsk < UpToDate,
  },
  {
    label: 'valid 9: connected is not Outdated',
    code: Ss.CONNECTED_OUTDATES,
    when: (n) =>
      n.disk === Outdated &&
      ((n.conn === Conns.Connected && n.pdsk > Disks.Failed) || // with a diskless peer it stays so (sanitize.ts, 5)
        n.conn === Conns.WFBitMapS ||
        n.conn === Conns.SyncSource ||
        n.conn === Conns.PausedSyncS),
  },
  {
    label: 'valid 10: verify needs an algorithm',
    code: Ss.NO_VERIFY_ALG,
    when: (n, c) => verifying(n) && c.verifyAlg === '',
  },
  {
    label: 'valid 11: verify needs protocol 88',
    code: Ss.NOT_SUPPORTED,
    when: (n, c) => verifying(n) && c.apv < 88,
  },
  { label: 'valid 12: a Primary has UpToDate data', code: Ss.NO_UP_TO_DATE_DISK, when: noData },
  {
    label: "valid 13: starting a resync needs the peer's disk",
    code: Ss.NEED_CONNECTION,
    when: (n) => starting(n) && n.pdsk === DUnknown,
  },
  {
    label: "valid 14: connected, the peer's disk is known",
    code: Ss.CONNECTED_OUTDATES,
    when: (n) => n.conn >= Conns.Connected && n.pdsk === DUnknown,
  },
];

function validityRow(n: State, old: State, context: ChangeContext): ValidityRow | undefined {
  const fencing = fencingOf(old, context);
  return VALIDITY.find((row) => row.when(n, context, fencing));
}

/** Ss.SUCCESS, or why `state` is not one that may be asked for (`old` tells whether there is a disk). */
export function checkValidity(state: State, old: State, context: ChangeContext): StateCode {
  return validityRow(state, old, context)?.code ?? Ss.SUCCESS;
}

interface SoftRow {
  readonly label: string;
  readonly code: StateCode;
  readonly when: (o: State, n: State, c: ChangeContext) => boolean;
}

/** Transitions that a request may not make. The last matching row wins. */
export const SOFT: readonly SoftRow[] = [
  {
    label: 'soft 1: a resync runs',
    code: Ss.RESYNC_RUNNING,
    when: (o, n) => starting(n) && o.conn > Conns.Connected,
  },
  {
    label: 'soft 2: StandAlone already',
    code: Ss.ALREADY_STANDALONE,
    when: (o, n) => n.conn === Conns.Disconnecting && o.conn === Conns.StandAlone,
  },
  {
    label: 'soft 3: diskless',
    code: Ss.IS_DISKLESS,
    when: (o, n) => n.disk > Disks.Attaching && o.disk === Diskless,
  },
  {
    label: 'soft 4: no network configuration',
    code: Ss.NO_NET_CONFIG,
    when: (o, n) => n.conn === Conns.WFConnection && o.conn < Conns.Unconnected,
  },
  {
    label: 'soft 5: lower than Outdated',
    code: Ss.LOWER_THAN_OUTDATED,
    when: (o, n) => n.disk === Outdated && o.disk < Outdated && o.disk !== Disks.Attaching,
  },
  {
    label: 'soft 6: on the way to WFConnection',
    code: Ss.IN_TRANSIENT_STATE,
    when: (o, n) => n.conn === Conns.Disconnecting && o.conn === Conns.Unconnected,
  },
  {
    label: 'soft 7: the connection is being established',
    code: Ss.IN_TRANSIENT_STATE,
    when: (o, n, c) =>
      c.stateSent &&
      !(n.conn === Conns.WFReportParams && o.conn === Conns.WFConnection) &&
      !(n.conn >= Conns.Connected && o.conn === Conns.WFReportParams),
  },
  {
    label: 'soft 8: no promotion while a forced peer begins the resync',
    code: Ss.IN_TRANSIENT_STATE,
    when: (o, n) =>
      o.role !== Roles.Primary &&
      n.role === Roles.Primary &&
      n.pdsk === UpToDate &&
      n.disk !== UpToDate &&
      n.disk !== Diskless &&
      (n.conn <= Conns.WFSyncUUID || n.conn !== o.conn),
  },
  {
    label: 'soft 9: verify needs a connection',
    code: Ss.NEED_CONNECTION,
    when: (o, n) => verifying(n) && o.conn < Conns.Connected,
  },
  {
    label: 'soft 10: verify while something else runs',
    code: Ss.RESYNC_RUNNING,
    when: (o, n) => verifying(n) && n.conn !== o.conn && o.conn > Conns.Connected,
  },
  {
    label: 'soft 11: resync needs a connection',
    code: Ss.NEED_CONNECTION,
    when: (o, n) => starting(n) && o.conn < Conns.Connected,
  },
  {
    label: 'soft 12: no resync out of a network failure',
    code: Ss.NEED_CONNECTION,
    when: (o, n) =>
      (n.conn === Conns.SyncTarget || n.conn === Conns.SyncSource) && o.conn < Conns.WFReportParams,
  },
  {
    label: 'soft 13: outdating the peer needs a connection',
    code: Ss.OUTDATE_WO_CONN,
    when: (o, n) =>
      n.conn === Conns.Disconnecting &&
      n.pdsk === Outdated &&
      o.conn < Conns.Connected &&
      o.pdsk > Outdated,
  },
  {
    // The originals agree, and what was written here last is gone. Who wants that disconnects first.
    label:
      'soft 14: the peer is not promoted with data that are older than those of the disk let go here',
    code: Ss.NO_UP_TO_DATE_DISK,
    when: (o, n, c) =>
      o.peer !== Roles.Primary &&
      n.peer === Roles.Primary &&
      n.conn >= Conns.Connected &&
      n.disk <= Disks.Failed &&
      c.peerBehind === true,
  },
];
