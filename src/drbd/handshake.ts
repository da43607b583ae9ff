/**
 * What the peer says of itself, and what follows: parameters, sizes, generations, states; state changes that it asks
 * for. Decisions are tables elsewhere (sync-decision.ts, transition.ts); this is their order (docs/STATES.md, handshake).
 *
 * Every function returns null, or a sentence that says what is wrong with the packet: the connection then ends.
 */
import type { DiskOptions } from '../config/drbd-options.js';
import { COMMANDS, FF } from '../wire/constants.js';
import {
  AFTER_SB,
  CONN_FLAGS,
  type ProtocolParams,
  type SyncParam,
  UUID_FLAGS,
  type Uuids,
} from '../wire/params.js';
import { stateReplyCodec } from '../wire/state-packets.js';
import {
  change,
  force,
  markAll,
  partWhileFrozen,
  peerConnected,
  setUuids,
  usesPeers,
  wouldChange,
} from './changes.js';
import { maskUuid, skipInitialSync, UUID_JUST_CREATED, withRole } from './generation.js';
import type { Link } from './link.js';
import { adoptAlgorithms, mirrored } from './option-change.js';
import { sendState, sendUuids, uuidsOf } from './params.js';
import type { Resource } from './resource.js';
import { Ss } from './return-codes.js';
import { Conns, Disks, decodeState, Roles, type State } from './state.js';
import { applyMask, translateMask } from './state-mask.js';
import {
  type HandshakeInput,
  type HandshakePolicies,
  handshakeState,
  type Refusal,
  realPeerDisk,
  refusal,
  startsHandshake,
  syncDecision,
} from './sync-decision.js';
import type { Volume } from './volume.js';

/** P_PROTOCOL: settings that must be the same. The result is why the connection is refused, for good. */
export function protocolMismatch(r: Resource, link: Link, p: ProtocolParams): string | null {
  const o = link.announced;
  const mine = (policy: string): number => Math.max(0, AFTER_SB.indexOf(policy));
  if (p.protocol !== { A: 1, B: 2, C: 3 }[o.protocol]) return 'incompatible protocol settings';
  if (mirrored(p.afterSb0p) !== mine(o.afterSb0pri)) return 'incompatible after-sb-0pri settings';
  if (mirrored(p.afterSb1p) !== mine(o.afterSb1pri)) return 'incompatible after-sb-1pri settings';
  if (mirrored(p.afterSb2p) !== mine(o.afterSb2pri)) return 'incompatible after-sb-2pri settings';
  if ((p.connFlags & CONN_FLAGS.DISCARD_MY_DATA) !== 0 && r.discardMyData) {
    return 'incompatible discard-my-data settings';
  }
  if (p.twoPrimaries !== 0) return 'incompatible allow-two-primaries settings';
  if (link.apv >= 87 && p.integrityAlg !== o.dataIntegrityAlg) {
    return 'incompatible data-integrity-alg settings';
  }
  return null;
}

/** P_SYNC_PARAM: the peer's resync rate is ours too; algorithms that its version tells of must agree while connecting, and are taken over later. */
export function receiveSyncParam(link: Link, v: Volume, p: SyncParam): string | null {
  const net = link.announced;
  // The first one; what it says comes before its P_SIZES.
  const first = v.state.conn === Conns.WFReportParams && v.peerSizes === null;
  if (first) {
    if (link.apv >= 88 && p.verifyAlg !== net.verifyAlg) {
      v.resource.standAlone(
        `different verify-alg settings. me="${net.verifyAlg}" peer="${p.verifyAlg}"`,
        'part',
      );
      return null;
    }
    if (link.apv >= 89 && p.csumsAlg !== net.csumsAlg) {
      v.resource.standAlone(
        `different csums-alg settings. me="${net.csumsAlg}" peer="${p.csumsAlg}"`,
        'part',
      );
      return null;
    }
  }
  if (!first && !adoptAlgorithms(link, v.resource, p)) return null;
  if (v.dataDisk < 0) return null;
  const before = v.diskOptions;
  v.diskOptions = { ...v.diskOptions, resyncRateKiBps: p.resyncRateKiBps };
  if (p.controller) {
    v.diskOptions = {
      ...v.diskOptions,
      cPlanAheadDs: p.controller.planAheadDs,
      cDelayTargetDs: p.controller.delayTargetDs,
      cFillTargetSectors: p.controller.fillTargetSectors,
      cMaxRateKiBps: p.controller.maxRateKiBps,
    };
  }
  if (v.state.conn >= Conns.Connected && !sameRates(before, v.diskOptions)) {
    v.resource.toBeSaved();
  }
  return null;
}

function sameRates(a: DiskOptions, b: DiskOptions): boolean {
  return (
    a.resyncRateKiBps === b.resyncRateKiBps &&
    a.cPlanAheadDs === b.cPlanAheadDs &&
    a.cDelayTargetDs === b.cDelayTargetDs &&
    a.cFillTargetSectors === b.cFillTargetSectors &&
    a.cMaxRateKiBps === b.cMaxRateKiBps
  );
}

/** P_UUIDS. */
export function receiveUuids(v: Volume, u: Uuids): string | null {
  v.peerUuids = u;
  v.attachAnswer.uuids(v.link);
  const { state } = v;
  const diskless = state.disk < Disks.Inconsistent;
  // Its disk is new here: also one that was on its way when they met. (The originals forget those.)
  const { Diskless, Attaching, Negotiating } = Disks;
  const attaches = [Diskless, Attaching, Negotiating].some((disk) => disk === state.pdsk);
  if (
    (state.conn < Conns.Connected || attaches) &&
    diskless &&
    state.role === Roles.Primary &&
    (v.ahead || !v.areInUse(u))
  ) {
    v.resource.standAlone(
      v.ahead
        ? 'Answered writes are only on the disk that was let go'
        : `Can only connect to data with current UUID=${v.exposedUuid.toString(16).toUpperCase()}`,
    );
    return null;
  }
  // It keeps the mark of the only copy until everything is durable (Volume.onlyCopy): without it, it has lost nothing.
  v.app.doubt.peerSpoke(
    (u.flags & UUID_FLAGS.CRASHED_PRIMARY) === 0 && state.conn < Conns.Connected,
  );
  // A new generation of the data in use. (Those of a peer that comes, or attaches, are in use when its disk is found to be good.)
  if (usesPeers(state)) {
    v.exposedUuid = u.current;
    v.partsFrom(null);
    v.app.resume();
  }
  const skip =
    (u.flags & UUID_FLAGS.SKIP_INITIAL_SYNC) !== 0 &&
    state.conn === Conns.Connected &&
    (v.link?.apv ?? 0) >= 90 &&
    maskUuid(v.uuids.current) === UUID_JUST_CREATED;
  if (skip && v.bitmap && v.store) {
    v.core.host.log('info', v.name, 'Accepted new current UUID, preparing to skip initial sync');
    v.bitmap.clearAll();
    v.store.writeBitmap(v.bitmap, null);
    v.peerUuids = { ...u, bitmap: 0n }; // as soon as it has told us
    setUuids(v, skipInitialSync(v.uuids, u.current, state.role === Roles.Primary));
    force(v, { disk: Disks.UpToDate, pdsk: Disks.UpToDate });
    if (v.link) {
      // A kernel believes until the next handshake that we are what we were. As a target of ours it would take over that generation,
      // "just created", at the end, and the two would have parted without a word.
      sendUuids(v.link, v);
      // A P_STATE of the handshake, still Inconsistent, may have crossed the peer's packet: this one is the last word.
      sendState(v.link, v);
    }
  }
  return null;
}

/** P_STATE. */
export function receiveState(link: Link, v: Volume, word: number): string | null {
  const theirs = decodeState(word);
  const mine = v.state;
  if (mine.conn <= Conns.TearDown) return null;
  v.peerWaits = theirs.aftrIsp !== 0;
  v.attachAnswer.state(link, theirs);
  const peerFlags = v.peerUuids?.flags ?? 0;
  let pdsk = realPeerDisk(theirs.disk, peerFlags);

  // Both ends of a resync: the target's last word, and words that cross the beginning.
  if (
    mine.conn > Conns.Connected &&
    mine.disk === Disks.UpToDate &&
    (mine.pdsk === Disks.Inconsistent || mine.pdsk === Disks.Consistent) &&
    theirs.disk === Disks.UpToDate
  ) {
    if (theirs.conn > Conns.Connected && theirs.conn < Conns.SyncSource) {
      pdsk = Disks.Inconsistent;
    } else if (mine.conn >= Conns.SyncSource && theirs.conn === Conns.Connected) {
      if (mine.conn !== Conns.Ahead) v.resync.source.peerFinished(); // else of the time before it heard of that
      // The end waits for an answer to our ping: its role may change in between, as that of a target that is demoted.
      force(v, { peer: theirs.role, peerIsp: theirs.aftrIsp | theirs.userIsp });
      return null;
    }
  }
  if (
    mine.conn === Conns.SyncSource &&
    theirs.conn === Conns.Connected &&
    theirs.disk === Disks.Inconsistent
  ) {
    v.resync.source.peerGaveUp();
  }
  if (
    mine.conn === Conns.VerifyT &&
    theirs.conn === Conns.Connected &&
    theirs.disk === Disks.UpToDate
  ) {
    v.verify.peerFinished();
    force(v, { peer: theirs.role, peerIsp: theirs.aftrIsp | theirs.userIsp });
    return null;
  }
  if (
    mine.conn === Conns.Connected &&
    mine.pdsk === Disks.UpToDate &&
    theirs.disk === Disks.Inconsistent &&
    theirs.conn > Conns.SyncSource
  ) {
    pdsk = Disks.UpToDate; // the peer has not noticed yet that the resync is over
  }

  let told: Uuids | null = null;
  let refusedAttach = false;
  let conn = mine.conn === Conns.WFReportParams ? Conns.Connected : mine.conn;
  if (theirs.conn === Conns.Ahead && mine.disk >= Disks.Inconsistent) {
    if (mine.conn === Conns.WFBitMapT) {
      link.fail(
        'NetworkFailure',
        'the peer has pulled ahead in the exchange of bitmaps: once more',
      );
      return null;
    }
    conn = Conns.Behind;
    v.resync.beginning.peerPulledAhead();
  }

  // Its disk was let go and is back, and it took a word of the peer's from before for the answer: that one began a resync, has heard
  // of the disk since, and begins another one.
  if (mine.conn === Conns.Behind && theirs.conn === Conns.WFBitMapS) {
    link.failGently('NetworkFailure', 'the peer begins an exchange of bitmaps anew: once more');
    return null;
  }

  // Both attached at once, and each took the other's last word before that for an answer. (The originals stay like this for ever.)
  const exchanges = mine.conn === Conns.WFBitMapS || mine.conn === Conns.WFBitMapT;
  if (exchanges && theirs.conn === mine.conn) {
    const what = mine.conn === Conns.WFBitMapS ? 'source' : 'target';
    link.failGently('NetworkFailure', `both nodes take themselves for the ${what} of a resync`);
    return null;
  }
  // Attached twice in a moment, and the answer to the first was taken for that to the second, which it has refused. (As above.)
  const awaits = mine.conn === Conns.WFBitMapT || mine.conn === Conns.WFSyncUUID;
  if (awaits && theirs.conn === Conns.Connected && theirs.pdsk < Disks.Inconsistent) {
    link.failGently('NetworkFailure', 'the peer does not begin the resync that it announced');
    return null;
  }
  if (startsHandshake(mine, theirs, v.peerUuids !== null, v.considerResync)) {
    // Its disk only was gone. What it refused meanwhile may not be marked here yet.
    if (mine.conn >= Conns.Connected && theirs.disk === Disks.Negotiating) partWhileFrozen(v);
    if (comparesFirst(mine, theirs)) told = uuidsOf(v);
    const decided = decide(link, v, theirs, pdsk, told?.setBits ?? v.resync.announcedBits);
    v.considerResync = false;
    if (typeof decided === 'string') {
      const what = refusal(mine.disk, theirs.disk);
      if (what === 'my-attach') {
        force(v, { disk: Disks.Failed });
        return null;
      }
      if (what === 'connection') {
        // A dry run is the peer's: it has its answer, and this node waits for the next connection.
        if (link.peerDryRun && !v.resource.tentative)
          link.failGently('ProtocolError', 'dry-run connect of the peer');
        else
          v.resource.standAlone(
            'sync handshake refused',
            FOUND_BY_BOTH.has(decided) ? 'part' : 'close',
          );
        return null;
      }
      v.core.host.log('error', v.name, 'Disk attach process on the peer node was aborted.');
      pdsk = Disks.Diskless;
      refusedAttach = true;
    } else {
      conn = decided;
      if (disagrees(decided, theirs.conn)) {
        link.failGently('NetworkFailure', 'the peer has compared otherwise: once more');
        return null;
      }
      if (decided === Conns.Connected && comeBackAtOnce(v, theirs)) {
        link.failGently('NetworkFailure', 'both disks have come back at once, and may differ');
        return null;
      }
    }
  }
  v.comparedWith = told;
  settle(link, v, theirs.conn, word, conn, pdsk);
  v.comparedWith = null;
  if (theirs.conn >= Conns.Connected && v.state.conn >= Conns.Connected) peerConnected(v);
  if (refusedAttach && v.link === link) {
    // It decides when it hears from us. A kernel stays silent here, and the peer's disk Negotiating for ever.
    sendUuids(link, v);
    sendState(link, v);
  }
  return null;
}

/**
 * The same generation on both, when neither was there a moment ago: what the users of this Primary wrote last may be here alone,
 * whether frozen or failed. A generation of its own begins when it is left alone (changes.ts), and the peer follows when they meet.
 */
function comeBackAtOnce(v: Volume, theirs: State): boolean {
  const { role, disk } = v.state;
  const both = disk === Disks.Negotiating && theirs.disk === Disks.Negotiating;
  return both && role === Roles.Primary && (v.bitmap?.count ?? 0) > 0;
}

/**
 * Connected, and the peer compares when it hears the result. It is told what this node has compared with: with what is repaired or
 * marked since, or not counted here, both could be targets. (The originals compare with the bits that they told last, and tell what is
 * there afterwards.) Two disks that are attached at once compare with what came with that.
 */
function comparesFirst(mine: State, theirs: State): boolean {
  const bothAttach = mine.disk === Disks.Negotiating && theirs.disk === Disks.Negotiating;
  return mine.conn >= Conns.Connected && theirs.conn <= Conns.Connected && !bothAttach;
}

/** A resync has a source and a target. `theirs`: as the peer says, which has compared if it is one of them. */
function disagrees(mine: number, theirs: number): boolean {
  if (theirs === Conns.WFBitMapS) return mine !== Conns.WFBitMapT;
  return theirs === Conns.WFBitMapT && mine !== Conns.WFBitMapS;
}

/** Of the options what the handshake depends on: the rest, a secret among it, is nobody's business there. */
function policiesOf(o: HandshakePolicies): HandshakePolicies {
  const { afterSb0pri, afterSb1pri, afterSb2pri, alwaysAsbp, rrConflict } = o;
  return { afterSb0pri, afterSb1pri, afterSb2pri, alwaysAsbp, rrConflict };
}

/** Not good enough to be asked before it is overwritten. Outdated it is, too, while rr-conflict violently makes it a target. */
function hasBadDisk(v: Volume): boolean {
  const { disk } = v.state;
  if (disk === Disks.Outdated) return v.resource.netOptions.rrConflict !== 'violently';
  return disk === Disks.Inconsistent;
}

/** The peer compares the same and refuses, too. What else is refused, one node may refuse alone. */
const FOUND_BY_BOTH: ReadonlySet<Refusal> = new Set(['unrelated-data', 'split-brain', 'dry-run']);

/** The connection state that the comparison of generations leads to, or why it is refused. */
function decide(
  link: Link,
  v: Volume,
  theirs: State,
  pdsk: number,
  selfBits: number,
): number | Refusal {
  const u = v.peerUuids as Uuids;
  const r = v.resource;
  const input: HandshakeInput = {
    self: v.uuids,
    peer: u,
    apv: link.apv,
    role: v.state.role,
    peerRole: theirs.role,
    crashedPrimary: v.crashedPrimary,
    peerCrashedPrimary: (u.flags & UUID_FLAGS.CRASHED_PRIMARY) !== 0,
    resolveConflicts: link.resolveConflicts,
    featureWsame: (link.features & FF.WSAME) !== 0,
    selfBits,
    peerBits: u.setBits,
    openers: v.openers,
    policies: policiesOf(r.netOptions),
    disk: v.state.disk,
    negotiatedDisk: v.negotiated?.disk ?? Disks.Diskless,
    peerDisk: pdsk,
    peerAttaching: theirs.disk === Disks.Negotiating,
    bitsNow: v.bitmap?.count ?? 0,
    peerFlags: u.flags,
    discardMyData: v.discardMyData,
    dryRun: r.tentative || link.peerDryRun,
    seenOther: hasBadDisk(v) && (v.ahead || !v.hasExposed(u.current)),
  };
  const decision = syncDecision(input);
  v.core.host.decision?.({ type: 'sync', minor: v.minor, input, result: decision });
  for (const step of decision.steps) {
    if (step.type === 'log') v.core.host.log(step.level, v.name, step.text);
    else v.core.host.handler(step.name, r.name, v.minor, () => {});
  }
  if (decision.refused !== null) return decision.refused;
  // An end that was missed, and bits since: they count from the bitmap's generation until their resync has begun, or a connection that is
  // lost before leaves two sets that are the same, and "No resync, but N bits in bitmap!".
  const isEnd = decision.self.bitmap === 0n && (v.bitmap?.count ?? 0) > 0;
  if (decision.repairedSelf && !isEnd) setUuids(v, decision.self);
  if (decision.giveUpPrimary && v.state.role === Roles.Primary) {
    force(v, { role: Roles.Secondary });
    setUuids(v, withRole(v.uuids, false));
  }
  v.peerUuids = { ...u, ...decision.peer };
  // It may be gone again before the resync begins: what it holds stays known to the history then.
  if (decision.conn === Conns.WFBitMapS) v.targetHad = u.current;
  if (decision.fullSync) markAll(v);
  return decision.conn;
}

function settle(
  link: Link,
  v: Volume,
  theirConn: number,
  word: number,
  conn: number,
  pdsk: number,
): void {
  const theirs = decodeState(word);
  const next = handshakeState(v.state, theirs, conn, pdsk, v.negotiated?.disk ?? Disks.Diskless);
  const result = change(v, next.state, { hard: next.hard });
  if (result.code < Ss.SUCCESS) {
    v.resource.standAlone(`state ${theirConn} of the peer can not be reached: refused`);
    return;
  }
  // What was wanted may have come to nothing: the peer's disk is gone, and the resync with it.
  if (next.thenSendUuidsAndState && v.state.conn > Conns.Connected) {
    sendUuids(link, v);
    sendState(link, v);
  }
  v.discardMyData = false;
  v.resource.established(v);
}

/** P_STATE_CHG_REQ (a volume) or P_CONN_ST_CHG_REQ (all of them): do it, and answer with the code. */
export function receiveStateRequest(
  link: Link,
  command: number,
  named: readonly Volume[],
  number: number,
  mask: number,
  value: number,
): string | null {
  const connection = command === COMMANDS.P_CONN_ST_CHG_REQ;
  // One that was made beside others that were connected is no part of this connection.
  const volumes = connection ? named.filter((v) => v.state.conn !== Conns.StandAlone) : named;
  const answer = (code: number): void => {
    const reply = connection ? COMMANDS.P_CONN_ST_CHG_REPLY : COMMANDS.P_STATE_CHG_REPLY;
    link.out.onMeta(reply, number, 4, stateReplyCodec, { code });
  };
  const mine = translateMask({ mask, val: value });
  if (!mine) {
    answer(Ss.NOT_SUPPORTED);
    return null;
  }
  const r = link.resource;
  if (link.resolveConflicts && r.changing) {
    answer(Ss.CONCURRENT_ST_CHG);
    return null;
  }
  // Asked to count as old, a disk that is less than that already stays as it is (CS_IGN_OUTD_FAIL).
  const wanted = (v: Volume): State => {
    const next = applyMask(v.state, mine);
    const less = next.disk === Disks.Outdated && v.state.disk < Disks.Outdated;
    return connection && less ? { ...next, disk: v.state.disk } : next;
  };
  // primary --force names the disk: an operator over there wants these data, though this node may know newer ones.
  const asked = decodeState(mine.val & mine.mask);
  for (const v of volumes) {
    const forced = asked.peer === Roles.Primary && asked.pdsk === Disks.UpToDate;
    if (forced && v.knowsNewer && v.peerUuids) v.exposedUuid = v.peerUuids.current;
  }
  // All or nothing: judge every volume before the first is changed.
  for (const v of volumes) {
    const judged = wouldChange(v, wanted(v));
    if (judged.code < Ss.SUCCESS) {
      v.core.host.log('info', v.name, `refused the peer's state change: ${judged.rule}`);
      answer(judged.code);
      return null;
    }
    // As if it had begun. A kernel that hears of the growth while it asks waits for that resync afterwards, and not for the verify.
    if (asked.conn === Conns.VerifyT && v.growth.isBeginning) {
      v.core.host.log('info', v.name, "refused the peer's verify: new storage is to be copied");
      answer(Ss.RESYNC_RUNNING);
      return null;
    }
  }
  answer(Ss.SUCCESS);
  for (const v of volumes) {
    const result = change(v, wanted(v));
    if (result.code < Ss.SUCCESS) continue;
    if (v.state.conn === Conns.StartingSyncS || v.state.conn === Conns.StartingSyncT) {
      v.resync.beginning.startFull(v.state.conn);
    }
  }
  if (volumes.some((v) => v.state.conn === Conns.TearDown)) r.peerDisconnects(link);
  return null;
}
