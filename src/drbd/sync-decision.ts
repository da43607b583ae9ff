/**
 * From the comparison of the UUIDs to what both nodes do next: resync (from whom, all or by bitmap), nothing, or refuse.
 * Pure. The result lists in order what the original would log and which handlers it would run; the engine walks `steps`,
 * then carries the verdict out:
 *
 *     repaired sets to the meta-data -> giveUpPrimary -> fullSync: set and write all bits -> conn    (or refuse)
 *
 * What refusing means depends on the moment (see `refusal`). Source: docs/STATES.md, handshake decision and
 * after-split-brain.ts.
 */
import type { NetOptions } from '../config/drbd-options.js';
import {
  type HandshakeHandler,
  losersGiveUp,
  primaries,
  recoverSplitBrain,
  type SplitBrainInput,
  type Step,
  UNSOLVED,
} from './after-split-brain.js';
import { type UuidSet, uuidsText } from './generation.js';
import { Conns, connName, Disks, Roles, type State } from './state.js';
import { type CompareInput, contradictory, UNRELATED, uuidCompare } from './uuid-compare.js';

export type { HandshakeHandler, Step } from './after-split-brain.js';

export type HandshakePolicies = Pick<
  NetOptions,
  'afterSb0pri' | 'afterSb1pri' | 'afterSb2pri' | 'alwaysAsbp' | 'rrConflict'
>;

export interface HandshakeInput extends CompareInput, SplitBrainInput {
  readonly disk: number; // ours, as in the state (may be Negotiating)
  readonly negotiatedDisk: number; // decided at attach; counts while `disk` is Negotiating
  readonly peerDisk: number; // the peer's real disk (realPeerDisk)
  readonly peerAttaching: boolean; // it is Negotiating
  readonly bitsNow: number; // bits set now
  readonly peerFlags: number; // UUID flags of the peer's P_UUIDS
  readonly discardMyData: boolean; // connect --discard-my-data was given here
  readonly dryRun: boolean; // connect --tentative, here or at the peer
  readonly seenOther?: boolean; // users here have seen another generation last than the peer's
  readonly policies: HandshakePolicies;
}

/** P_UUIDS flags. */
export const UUID_FLAG = {
  DISCARD_MY_DATA: 1,
  CRASHED_PRIMARY: 2,
  INCONSISTENT: 4, // the negotiating disk is Inconsistent
  SKIP_INITIAL_SYNC: 8,
} as const;

export type Refusal =
  | 'unrelated-data'
  | 'contradictory'
  | 'needs-protocol'
  | 'split-brain'
  | 'source-inconsistent'
  | 'newest-data-inconsistent'
  | 'primary-would-be-target'
  | 'other-data-in-use'
  | 'peers-data-in-use'
  | 'dry-run';

export interface SyncDecision {
  readonly rule: number; // of uuid_compare
  readonly compared: number; // its result
  readonly result: number; // after all policies: 2, 1, 0, -1, -2; meaningless when refused
  readonly refused: Refusal | null;
  readonly conn: number; // WFBitMapS, WFBitMapT or Connected; Connected when refused
  readonly fullSync: boolean; // set all bits and write the bitmap first (meta-data flag FULL_SYNC around it)
  readonly giveUpPrimary: boolean; // demote first (after-sb call-pri-lost-after-sb)
  readonly self: UuidSet; // our set, repaired where a rule says so
  readonly peer: UuidSet; // our copy of the peer's
  readonly repairedSelf: boolean;
  readonly steps: readonly Step[];
}

/** A Negotiating peer tells by a UUID flag what its disk really is. */
export function realPeerDisk(peerDisk: number, peerUuidFlags: number): number {
  if (peerDisk !== Disks.Negotiating) return peerDisk;
  return peerUuidFlags & UUID_FLAG.INCONSISTENT ? Disks.Inconsistent : Disks.Consistent;
}

/**
 * Does a P_STATE of the peer start the handshake? `mine` is our state as it is, `theirs` the state word of the peer as it
 * came (their `disk` and `conn` are their own). `considerResync`: see `marksConsiderResync`.
 */
export function startsHandshake(
  mine: State,
  theirs: State,
  havePeerUuids: boolean,
  considerResync: boolean,
): boolean {
  if (!havePeerUuids || theirs.disk < Disks.Negotiating || mine.disk < Disks.Negotiating) {
    return false;
  }
  if (mine.conn < Conns.Connected) return true;
  if (mine.conn !== Conns.Connected) return false;
  return (
    (considerResync && (theirs.role === Roles.Primary || theirs.disk > Disks.Inconsistent)) ||
    theirs.disk === Disks.Negotiating ||
    mine.disk === Disks.Negotiating ||
    (theirs.conn >= Conns.StartingSyncS && theirs.conn <= Conns.WFBitMapT)
  );
}

/**
 * Both were Inconsistent and the peer is forced Primary: its next P_STATE as a Primary, or with a disk that is good since, starts the
 * handshake. (It may be Secondary again when it can tell of it. The originals take any P_STATE for that: one from before, when its change
 * was agreed on and not made, finds two copies of one generation, and the copy here stays Inconsistent without a resync.)
 */
export function marksConsiderResync(old: State, next: State): boolean {
  return (
    old.disk === Disks.Inconsistent &&
    old.pdsk === Disks.Inconsistent &&
    old.peer === Roles.Secondary &&
    next.peer === Roles.Primary
  );
}

/**
 * The Inconsistent copy is of a newer generation than the good one (on-io-error pass_on made it so, alone): a resync from the
 * good one takes acknowledged writes back. The originals do that. Refused where nobody can mean it: under the feet of the
 * users of a Primary, and from a disk that does not claim to be current. `good`: 1 when the good disk is ours.
 *
 * Both nodes come to the same answer: of a disk that is being attached the other one hears no more than that it is
 * Consistent, so neither believes more. Rules 40 and 41 prefer a crashed Primary of the same generation: then the good copy has
 * all that was acknowledged, since a Primary with a bad disk answers what its peer has.
 */
function wouldLoseNewest(
  input: HandshakeInput,
  rule: number,
  myDisk: number,
  good: number,
): boolean {
  const mine = good > 0;
  const given = mine ? (input.peerFlags & UUID_FLAG.DISCARD_MY_DATA) !== 0 : input.discardMyData;
  if (given || rule === 40 || rule === 41) return false;
  const attaching = mine ? input.disk === Disks.Negotiating : input.peerAttaching;
  const goodDisk = mine ? myDisk : input.peerDisk;
  const badRole = mine ? input.peerRole : input.role;
  return badRole === Roles.Primary || attaching || goodDisk < Disks.UpToDate;
}

/**
 * What a refused handshake ends: our attach (disk -> Failed, hard), the peer's (it counts as Diskless), or the connection
 * (Disconnecting, hard, then StandAlone). The connection survives the first two.
 */
export function refusal(
  myDisk: number,
  theirDisk: number,
): 'my-attach' | 'peer-attach' | 'connection' {
  if (myDisk === Disks.Negotiating) return 'my-attach';
  return theirDisk === Disks.Negotiating ? 'peer-attach' : 'connection';
}

export function syncDecision(input: HandshakeInput): SyncDecision {
  const steps: Step[] = [];
  const info = (text: string) => steps.push({ type: 'log', level: 'info', text });
  const warn = (text: string) => steps.push({ type: 'log', level: 'warn', text });
  const error = (text: string) => steps.push({ type: 'log', level: 'error', text });
  const handler = (name: HandshakeHandler) => steps.push({ type: 'handler', name });
  const dump = (who: 'self' | 'peer', set: UuidSet, bits: number, flags: number) =>
    info(`${who} ${uuidsText(set)} bits:${bits} flags:${flags.toString(16).toUpperCase()}`);

  info('drbd_sync_handshake:');
  dump('self', input.self, input.selfBits, 0);
  dump('peer', input.peer, input.peerBits, input.peerFlags);
  const compared = uuidCompare(input);
  if (compared.note) (compared.warn ? warn : info)(compared.note);
  if (compared.repaired === 'self') dump('self', compared.self, input.bitsNow, 0);
  if (compared.repaired === 'peer') dump('peer', compared.peer, input.peerBits, input.peerFlags);
  info(`uuid_compare()=${compared.result} by rule ${compared.rule}`);

  let hg = compared.result;
  let giveUpPrimary = false;
  const decided = (refused: Refusal | null): SyncDecision => ({
    rule: compared.rule,
    compared: compared.result,
    result: hg,
    refused,
    conn: refused || hg === 0 ? Conns.Connected : hg > 0 ? Conns.WFBitMapS : Conns.WFBitMapT,
    fullSync: refused === null && Math.abs(hg) >= 2,
    giveUpPrimary: refused === null && giveUpPrimary,
    self: compared.self,
    peer: compared.peer,
    repairedSelf: compared.repaired === 'self',
    steps,
  });

  // 1
  if (hg === UNRELATED) {
    error('Unrelated data, aborting!');
    return decided('unrelated-data');
  }
  if (compared.needs) {
    const { protocol, features } = compared.needs;
    error(
      `To resolve this both sides have to support at least protocol ${protocol}${
        features ? ` and feature flags 0x${features.toString(16)}` : ''
      }`,
    );
    // With a generation of its own: the other copy is its past.
    if (!features)
      error('Or keep one copy: `drbdadm new-current-uuid` on its node, then `connect` on both.');
    return decided('needs-protocol');
  }
  // The originals go on, both as targets that wait for each other.
  if (contradictory(input.self, input.peer)) {
    error("The generations contradict each other: each node's data would be the other's past.");
    error('Meta-data were restored, copied or edited. Keep one copy: create-md on the other node.');
    return decided('contradictory');
  }

  // 2: a disk that is known to be bad never becomes the source
  const myDisk = input.disk === Disks.Negotiating ? input.negotiatedDisk : input.disk;
  const { Inconsistent } = Disks;
  if (
    (myDisk === Inconsistent && input.peerDisk > Inconsistent) ||
    (input.peerDisk === Inconsistent && myDisk > Inconsistent)
  ) {
    const full = hg === -100 || Math.abs(hg) === 2;
    const good = myDisk > Inconsistent ? 1 : -1;
    if (
      Math.abs(hg) < 100 &&
      hg * good < 0 &&
      wouldLoseNewest(input, compared.rule, myDisk, good)
    ) {
      error(
        'The newest data are on an Inconsistent disk, and the other copy is older. Not synchronised.',
      );
      error(
        'To keep it: `primary --force` on its node. To give it up: `connect --discard-my-data` there.',
      );
      return decided('newest-data-inconsistent');
    }
    hg = good * (full ? 2 : 1);
    info(`Becoming sync ${hg > 0 ? 'source' : 'target'} due to disk states.`);
  }

  // 3
  if (Math.abs(hg) === 100) handler('initial-split-brain');

  // 4
  const peerDiscards = (input.peerFlags & UUID_FLAG.DISCARD_MY_DATA) !== 0;
  const byHand = Number(peerDiscards) - Number(input.discardMyData);
  let peerGivesUp = false; // being Primary, it demotes itself to become the target
  let disputed = false; // the peer comes to a decision of its own that step 5 here would not match
  if (hg === 100 || (hg === -100 && input.policies.alwaysAsbp)) {
    const ambiguous = hg === -100;
    const recovered = recoverSplitBrain(input);
    // Each node has its own always-asbp: a peer without it follows --discard-my-data.
    const against = ambiguous && byHand !== 0 && recovered.result === -byHand;
    disputed = recovered.staysPrimary || against;
    if (against) warn('always-asbp would discard what --discard-my-data keeps: not solved.');
    else steps.push(...recovered.steps);
    hg = against ? UNSOLVED : recovered.result;
    peerGivesUp = hg > 0 && losersGiveUp(input);
    giveUpPrimary = recovered.giveUpPrimary && !against;
    if (Math.abs(hg) < 100) {
      warn(
        `Split-Brain detected, ${primaries(input)} primaries, automatically solved. Sync from ${from(hg)} node`,
      );
      if (ambiguous) {
        warn('Doing a full sync, since UUIDs where ambiguous.');
        hg *= 2;
      }
    }
  }

  // 5
  if (hg === -100 && byHand !== 0 && !disputed) {
    hg = byHand;
    warn(`Split-Brain detected, manually solved. Sync from ${from(hg)} node`);
  }

  // 6
  if (hg === -100) {
    error('Split-Brain detected but unresolved, dropping connection!');
    handler('split-brain');
    return decided('split-brain');
  }

  // 7
  if (hg > 0 && myDisk <= Inconsistent) {
    error('I shall become SyncSource, but I am inconsistent!');
    return decided('source-inconsistent');
  }

  // 8: the disk of the state, not the one decided at attach: a Primary that re-attaches becomes target
  if (hg < 0 && !giveUpPrimary && input.role === Roles.Primary && input.disk >= Disks.Consistent) {
    if (input.policies.rrConflict !== 'violently') {
      if (input.policies.rrConflict === 'call-pri-lost') handler('pri-lost');
      error('I shall become SyncTarget, but I am primary!');
      return decided('primary-would-be-target');
    }
    warn('Becoming SyncTarget, violating the stable-data assumption');
  }

  // A Primary without good data of its own has shown its users the peer's, and stands still. The peer went on without it: what
  // waits here was asked of older data, and must not be written into these.
  if (hg < 0 && input.role === Roles.Primary && input.seenOther && !giveUpPrimary) {
    error(
      "Users of this node have seen older data than the peer's. End its service (`resume-io` if it is frozen), " +
        'then `secondary` and `connect`.',
    );
    return decided('other-data-in-use');
  }

  // A Primary that had no disk has worked with the peer's data: they are not overwritten from an older disk.
  const attaching = input.disk === Disks.Negotiating;
  const returns = attaching && input.role === Roles.Primary;
  const peerReturns = input.peerAttaching && input.peerRole === Roles.Primary;
  if (
    (hg > 0 && returns && input.peerDisk === Disks.UpToDate) ||
    (hg < 0 && peerReturns && input.disk === Disks.UpToDate)
  ) {
    const [who, whose] = returns ? ['I', "the peer's"] : ['The peer', 'mine'];
    error(`${who} shall become SyncSource, but the data in use are ${whose}!`);
    return decided('peers-data-in-use');
  }

  // A refused attach leaves the connection, so the node that attaches foresees what the peer refuses (7 and 8 there).
  if (attaching && hg < 0 && input.peerDisk <= Inconsistent) {
    error('The peer shall become SyncSource, but it is inconsistent!');
    return decided('source-inconsistent');
  }
  if (
    attaching &&
    hg > 0 &&
    !peerGivesUp &&
    !input.peerAttaching && // then it has no data to protect
    input.peerRole === Roles.Primary &&
    input.peerDisk >= Disks.Consistent &&
    input.policies.rrConflict !== 'violently'
  ) {
    error('The peer shall become SyncTarget, but it is primary!');
    return decided('primary-would-be-target');
  }

  // 9
  if (input.dryRun) {
    info(
      hg === 0
        ? 'dry-run connect: No resync, would become Connected immediately.'
        : `dry-run connect: Would become ${connName(hg > 0 ? Conns.SyncSource : Conns.SyncTarget)}, doing a ${
            Math.abs(hg) >= 2 ? 'full' : 'bit-map based'
          } resync.`,
    );
    return decided('dry-run');
  }

  // 10, 11
  if (Math.abs(hg) >= 2) {
    info('Writing the whole bitmap, full sync required after drbd_sync_handshake.');
  } else if (hg === 0 && input.bitsNow > 0) {
    info(`No resync, but ${input.bitsNow} bits in bitmap!`);
  }
  return decided(null);
}

const from = (hg: number): string => (hg < 0 ? 'peer' : 'this');

// ---- the resulting state -------------------------------------------------------------------------------------------

export interface HandshakeState {
  readonly state: State; // to be requested (transition.ts)
  readonly hard: boolean; // while establishing the change is soft: refused, we go StandAlone
  readonly thenSendUuidsAndState: boolean; // the peer does not know yet that we want a resync
}

/**
 * The state that follows the peer's P_STATE. `conn`: SyncDecision.conn, or Connected when no handshake ran. `pdsk`: the
 * peer's real disk (Diskless after a refusal 'peer-attach'). `theirs`: the peer's state word as it came. Ahead at the
 * peer makes us Behind. The special cases of an end of resync are the engine's, before this.
 */
export function handshakeState(
  mine: State,
  theirs: State,
  conn: number,
  pdsk: number,
  negotiatedDisk: number,
): HandshakeState {
  const settled = conn === Conns.Connected || conn === Conns.WFBitMapS;
  const disk = settled && mine.disk === Disks.Negotiating ? negotiatedDisk : mine.disk;
  // It has heard our generation, has no disk itself, and still calls ours good: it vouches for it (sanitize.ts, 5).
  const vouched =
    theirs.disk <= Disks.Failed && theirs.conn >= Conns.Connected && theirs.pdsk === Disks.UpToDate;
  const state: State = {
    ...mine,
    conn,
    peer: theirs.role,
    pdsk,
    peerIsp: theirs.aftrIsp | theirs.userIsp,
    disk: disk === Disks.Consistent && vouched ? Disks.UpToDate : disk,
  };
  const establishing = mine.conn < Conns.Connected && conn >= Conns.Connected;
  return {
    state,
    hard: !establishing,
    thenSendUuidsAndState:
      mine.conn > Conns.WFReportParams &&
      conn > Conns.Connected &&
      theirs.conn <= Conns.Connected &&
      theirs.disk !== Disks.Negotiating,
  };
}
