/**
 * The generation identifiers of one replica: four 64-bit UUIDs that say which data this disk holds and from which
 * generation the bitmap counts. Pure: each operation takes a set and returns a new one; the caller writes it to the
 * meta-data before anything depends on it.
 *
 *     current          the generation of the data here; bit 0 = this node was Primary with it
 *     bitmap           the peer's generation since which the bitmap records changes; 0 = none
 *     history1, 2      what stood in `bitmap` (or was current) before, younger first
 *
 * Bit 0 is no part of the identity: every comparison masks it. Every write of *current* forces bit 0 to the own role;
 * the other slots keep the bit their value came with. Source: docs/STATES.md, generation identifiers.
 */
import type { RandomSource } from '../base/ports.js';
import { uuidText } from '../md/generation-flags.js';
import { MDF, UUID_JUST_CREATED } from '../md/superblock.js';
import { Conns, Disks, isSuspended, Roles, type State } from './state.js';

export { UUID_JUST_CREATED };

/** Added to the bitmap UUID when a resync begins, so that both ends of a broken resync can be told apart. */
export const UUID_NEW_BM_OFFSET = 0x0001000000000000n;

const U64 = (1n << 64n) - 1n;

export interface UuidSet {
  readonly current: bigint;
  readonly bitmap: bigint;
  readonly history1: bigint; // the younger
  readonly history2: bigint;
}

/** What create-md writes. */
export const CREATED_UUIDS: UuidSet = {
  current: UUID_JUST_CREATED,
  bitmap: 0n,
  history1: 0n,
  history2: 0n,
};

/** The identity of a generation: without bit 0. */
export function maskUuid(uuid: bigint): bigint {
  return uuid & ~1n;
}

/** A new generation. Never one of the values with a meaning (0 none, 4 just created, below it marks of Volume). */
export function randomUuid(random: RandomSource): bigint {
  for (;;) {
    const uuid = (BigInt(random.u32()) << 32n) | BigInt(random.u32());
    const id = maskUuid(uuid);
    if (id > UUID_JUST_CREATED) return uuid;
  }
}

function roleBit(uuid: bigint, primary: boolean): bigint {
  return primary ? uuid | 1n : maskUuid(uuid);
}

/**
 * Bit 0 of current follows the role: on promote, on demote, at attach. A promotion that begins a generation does so first
 * (the bitmap UUID then keeps bit 0 as it was before), this last.
 */
export function withRole(set: UuidSet, primary: boolean): UuidSet {
  return { ...set, current: roleBit(set.current, primary) };
}

/** Plain write of current (no history). The engine's exposed data UUID becomes the same value. */
export function setCurrent(set: UuidSet, uuid: bigint, primary: boolean): UuidSet {
  return { ...set, current: roleBit(uuid, primary) };
}

/**
 * A new generation of data begins: what was current becomes the base of the bitmap. A base that is there already (a forced
 * promotion while the peer is away) goes into the history, so that the peer that has it is copied to in full. The originals
 * forget it: to them that peer's data are unrelated, and it cannot connect any more.
 */
export function newCurrent(set: UuidSet, uuid: bigint, primary: boolean): UuidSet {
  const past = set.bitmap === 0n ? set : setBitmapRotating(set, 0n);
  return { ...past, bitmap: set.current, current: roleBit(uuid, primary) };
}

/**
 * A new generation of data begins. When the bitmap counts from a base already (see `mayBegin`), that base stays, and the
 * history keeps what the target of the resync may hold: the generation that ends, and `targetHad`, the one that it began
 * with (0n: not known any more). Whichever it is, the target is then found to be behind, not ahead.
 */
export function nextGeneration(
  set: UuidSet,
  uuid: bigint,
  primary: boolean,
  targetHad = 0n,
): UuidSet {
  if (set.bitmap === 0n) return newCurrent(set, uuid, primary);
  const had = maskUuid(targetHad);
  const found = had === maskUuid(set.current) || had === maskUuid(set.bitmap);
  // history1 is what rule 71 looks for, or else no more than a memory, and the younger one counts for more
  const derived = maskUuid(set.bitmap) === ((maskUuid(set.history1) + UUID_NEW_BM_OFFSET) & U64);
  let { history1 } = set;
  if (had === 0n) {
    if (!derived && set.history2 !== 0n) history1 = set.history2;
  } else if (!found) history1 = targetHad;
  return { ...set, current: roleBit(uuid, primary), history1, history2: set.current };
}

/** Write the bitmap slot; what stood there goes into the history. */
export function setBitmapRotating(set: UuidSet, uuid: bigint): UuidSet {
  return set.bitmap === 0n
    ? { ...set, bitmap: uuid }
    : { ...set, bitmap: uuid, history1: set.bitmap, history2: set.history1 };
}

/** The bitmap counts from nothing any more: its base goes into the history. */
export function clearBitmapUuid(set: UuidSet): UuidSet {
  return setBitmapRotating(set, 0n);
}

/**
 * A resync begins, source side: the UUID that P_SYNC_UUID carries is the new bitmap UUID. The target holds `targetHas` until
 * that packet arrives; known by the end of our history only, it stays there, or a lost packet would look like a split brain
 * (the originals drop it; they seldom have it there, see `nextGeneration`).
 */
export function startAsSource(
  set: UuidSet,
  random: RandomSource,
  targetHas = 0n,
): { readonly set: UuidSet; readonly syncUuid: bigint } {
  const derive = set.bitmap !== 0n && set.bitmap !== UUID_JUST_CREATED;
  const syncUuid = derive ? (set.bitmap + UUID_NEW_BM_OFFSET) & U64 : randomUuid(random);
  const next = setBitmapRotating(set, syncUuid);
  const had = maskUuid(targetHas);
  const keep = had !== 0n && had === maskUuid(set.history2) && had !== maskUuid(set.history1);
  return { set: keep ? { ...next, history2: set.history2 } : next, syncUuid };
}

/** P_SYNC_UUID arrived, target side. */
export function startAsTarget(set: UuidSet, syncUuid: bigint, primary: boolean): UuidSet {
  return { ...setCurrent(set, syncUuid, primary), bitmap: 0n };
}

/** Resync done without failed blocks, source side. */
export function finishAsSource(set: UuidSet): UuidSet {
  return clearBitmapUuid(set);
}

/**
 * Resync done without failed blocks, target side: this replica's past is now the peer's (`peer`: its last P_UUIDS), with
 * the sync UUID, which has been current here meanwhile, as the youngest ancestor.
 */
export function finishAsTarget(set: UuidSet, peer: UuidSet, primary: boolean): UuidSet {
  const past = setBitmapRotating({ ...peer, current: set.current }, set.current);
  return clearBitmapUuid(setCurrent(past, peer.current, primary));
}

/** The command new-current-uuid: the present generation ends here, whatever the bitmap said. */
export function newCurrentByCommand(set: UuidSet, uuid: bigint, primary: boolean): UuidSet {
  return newCurrent(set, uuid, primary);
}

/** Initial sync skipped (P_UUIDS flag 8, or the second half of new-current-uuid --clear-bitmap). */
export function skipInitialSync(set: UuidSet, current: bigint, primary: boolean): UuidSet {
  return { ...setCurrent(set, current, primary), bitmap: 0n };
}

// ---- when a new generation must begin ------------------------------------------------------------------------------

/**
 * While the bitmap has a base, this node's current generation is its own, and going on with it hides nothing. Not so when
 * it is `shared`: the target of a resync takes the source's generation over at the end, and the source need not hear of
 * that. If both then went on, the source would look like the past of the other (rule 50), and what was written here
 * would be lost without a word. The originals do not begin a generation then (test/drbd/uuid-histories.test.ts).
 */
export function mayBegin(set: UuidSet, shared: boolean): boolean {
  return set.bitmap === 0n || shared;
}

/** After a promotion (`state`: as it is now). `forced`: the disk had to be declared UpToDate for it. */
export function promotionBeginsGeneration(
  state: State,
  set: UuidSet,
  forced: boolean,
  shared = false,
): boolean {
  const alone = state.conn < Conns.Connected || state.pdsk <= Disks.Failed;
  return forced || (alone && mayBegin(set, shared));
}

/** The peer's copy stopped following ours between these two states of its disk. */
export function losesPeerData(oldPdsk: number, pdsk: number): boolean {
  const { Inconsistent, DUnknown, Outdated, Diskless, Failed } = Disks;
  const followed = oldPdsk >= Inconsistent && oldPdsk !== DUnknown && oldPdsk !== Outdated;
  const gone = pdsk < Inconsistent || pdsk === DUnknown || pdsk === Outdated;
  if (followed && gone) return true;
  return oldPdsk === DUnknown && (pdsk === Diskless || pdsk === Failed || pdsk === Outdated);
}

/**
 * Does this state change begin a new generation? 'now': newCurrent, then P_UUIDS. 'later': I/O is suspended, so nothing
 * has diverged yet; remember it, and do it when fencing succeeds or on resume-io (and forget it when the connection
 * comes back).
 */
export function beginsGeneration(
  old: State,
  next: State,
  set: UuidSet,
  shared = false,
): 'now' | 'later' | 'no' {
  if (!mayBegin(set, shared) || next.disk < Disks.UpToDate) return 'no';
  const somePrimary = next.role === Roles.Primary || next.peer === Roles.Primary;
  // Consistent until the peer, which has no disk, has vouched for it: from now on it is written without the peer's old disk.
  const nowGood = old.disk < Disks.UpToDate && next.pdsk < Disks.Inconsistent;
  if (somePrimary && (nowGood || losesPeerData(old.pdsk, next.pdsk))) {
    // The originals wait as a Secondary, too. What is frozen is its own users' I/O: the Primary's writes arrive all the same.
    return isSuspended(next) && next.role === Roles.Primary ? 'later' : 'now';
  }
  const disklessPeerPromoted =
    next.pdsk < Disks.Inconsistent && old.peer !== Roles.Primary && next.peer === Roles.Primary;
  return disklessPeerPromoted ? 'now' : 'no';
}

/** Users of the device now see the data of our current UUID: it becomes the exposed data UUID. */
export function exposesCurrent(old: State, next: State): boolean {
  return old.disk < Disks.Consistent && next.disk >= Disks.Consistent;
}

// ---- the flags beside the UUIDs ------------------------------------------------------------------------------------

/** Recomputed at every state change (AL_CLEAN: never set while attached). FULL_SYNC and AL_DISABLED stay as they are. */
const RECOMPUTED_FLAGS =
  MDF.CONSISTENT |
  MDF.WAS_UP_TO_DATE |
  MDF.PRIMARY_IND |
  MDF.CONNECTED_IND |
  MDF.PEER_OUT_DATED |
  MDF.CRASHED_PRIMARY |
  MDF.AL_CLEAN;

/**
 * The meta-data flags while `state` holds: to be written when they differ from `flags`. `diverged`: the peer's copy has
 * stopped following ours (there is a bitmap UUID).
 *
 * Beyond the originals: a peer that has lost its disk while this copy went on holds an old one, and that is remembered while
 * nothing else is known of it. Otherwise a Primary whose disk failed could come back alone after a power failure, fence
 * the node that has its data, and serve the old ones.
 */
export function metaFlags(
  flags: number,
  state: State,
  crashedPrimary: boolean,
  diverged: boolean,
): number {
  const { Inconsistent, Outdated, UpToDate, DUnknown } = Disks;
  const leftBehind =
    diverged &&
    state.disk === UpToDate &&
    (state.pdsk === DUnknown
      ? (flags & MDF.PEER_OUT_DATED) !== 0
      : state.pdsk < Inconsistent && state.conn >= Conns.Connected);
  const primary =
    state.role === Roles.Primary || (state.pdsk < Inconsistent && state.peer === Roles.Primary);
  return (
    (flags & ~RECOMPUTED_FLAGS) |
    (primary ? MDF.PRIMARY_IND : 0) |
    (state.conn > Conns.WFReportParams ? MDF.CONNECTED_IND : 0) |
    (state.disk > Inconsistent ? MDF.CONSISTENT : 0) |
    (state.disk > Outdated ? MDF.WAS_UP_TO_DATE : 0) |
    (leftBehind || (state.pdsk >= Inconsistent && state.pdsk <= Outdated)
      ? MDF.PEER_OUT_DATED
      : 0) |
    (crashedPrimary ? MDF.CRASHED_PRIMARY : 0)
  );
}

/** Both sides hold the same current data again: a crash of a Primary before that no longer matters. */
export function clearsCrashedPrimary(old: State, next: State): boolean {
  const both = (s: State): boolean => s.disk === Disks.UpToDate && s.pdsk === Disks.UpToDate;
  return both(next) && !both(old);
}

// ---- text ----------------------------------------------------------------------------------------------------------

/** `current:bitmap:history1:history2`, as in the log and in get-gi. */
export function uuidsText(set: UuidSet): string {
  return [set.current, set.bitmap, set.history1, set.history2].map(uuidText).join(':');
}
