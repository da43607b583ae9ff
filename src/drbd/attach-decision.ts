/**
 * A disk is attached: what its meta-data say of the data, whether this node may use them now, and how long to wait for
 * the peer. Pure; reading and replaying the meta-data (md/) comes before, the state change after:
 *
 *     sizeRefusal, attachDecision -> fullSync ? set all bits : read the bitmap -> request `wanted` -> write meta-data
 *
 * Source: docs/STATES.md, attach and detach; wait-connect of drbdsetup(8).
 */
import type { DiskOptions } from '../config/drbd-options.js';
import { MDF } from '../md/superblock.js';
import { maskUuid, type UuidSet, withRole } from './generation.js';
import { Err, type FailureCode } from './return-codes.js';
import { Conns, Disks, Roles, type State } from './state.js';
import type { Negotiated } from './transition.js';

export interface AttachInput {
  readonly state: State; // as it is, disk Attaching
  readonly flags: number; // MDF flags as read, after apply-al
  readonly uuids: UuidSet; // as read
  readonly resuming: boolean; // its users outlived the engine
  readonly hasExposed: boolean; // users have seen these data last, or none
  readonly fencing: DiskOptions['fencing'];
  readonly alUpdates: boolean;
  /** While there was no disk here, the peer went on alone, or both knew newer data: this one is old, whatever it says. */
  readonly outdated: boolean;
  /** Writes were lost on their way to the peer after the disk had been let go: only its activity log knows where. */
  readonly lostUnmarked?: boolean;
}

export interface AttachDecision {
  readonly crashedPrimary: boolean; // to be tracked: P_UUIDS flag 2, meta-data flag
  readonly degraded: boolean; // degr-wfc-timeout counts, until the next connection
  readonly fullSync: boolean; // the bitmap on disk is not to be believed: set and write all bits
  readonly negotiated: Negotiated; // to be remembered while the disk state is Negotiating
  readonly wanted: State; // soft request; Negotiating when connected: then P_SIZES, P_UUIDS, P_STATE and the handshake
  readonly flags: number; // MDF flags, AL_DISABLED as configured
  readonly uuids: UuidSet; // bit 0 as our role demands
}

/**
 * Refused (Err.DATA_NOT_CURRENT), or decided. A device that users have seen with one generation of data never shows them
 * another one: while it is in use and nobody else has the data, only that generation may be attached.
 */
export function attachDecision(input: AttachInput): AttachDecision | FailureCode {
  const { state, uuids } = input;
  const flags = input.outdated
    ? input.flags & ~(MDF.WAS_UP_TO_DATE | MDF.PEER_OUT_DATED)
    : input.flags;
  const has = (flag: number): boolean => (flags & flag) !== 0;
  const primary = state.role === Roles.Primary;

  const inUse = primary || input.resuming || state.peer === Roles.Primary;
  // An Inconsistent disk is not read without its source, which is judged when it connects.
  const harmless = input.resuming && !has(MDF.CONSISTENT);
  if (inUse && !harmless && state.pdsk !== Disks.UpToDate && !input.hasExposed) {
    return Err.DATA_NOT_CURRENT;
  }

  // a Primary frozen for lack of data that gets its disk back did not crash
  const frozen = primary && state.suspNod !== 0 && input.lostUnmarked !== true;
  const crashedPrimary = has(MDF.CRASHED_PRIMARY) || (has(MDF.PRIMARY_IND) && !frozen);
  const negotiated = storedStates(flags, state.pdsk, input.fencing);
  const wanted: State =
    state.conn === Conns.Connected
      ? { ...state, disk: Disks.Negotiating }
      : { ...state, ...negotiated };
  return {
    crashedPrimary,
    degraded: !primary && has(MDF.PRIMARY_IND) && !has(MDF.CONNECTED_IND),
    fullSync: has(MDF.FULL_SYNC) || (crashedPrimary && has(MDF.AL_DISABLED)),
    negotiated,
    wanted,
    flags: input.alUpdates ? flags & ~MDF.AL_DISABLED : flags | MDF.AL_DISABLED,
    uuids: withRole(uuids, primary),
  };
}

/**
 * What a lost connection leaves of an attach that was still Negotiating (ChangeContext.negotiated): its decision, if these
 * are the data that users of the device saw last; else nothing (null), and the disk is let go.
 */
export function negotiatedStates(
  negotiated: Negotiated,
  exposedUuid: bigint,
  uuids: UuidSet,
): Negotiated | null {
  return maskUuid(exposedUuid) === maskUuid(uuids.current) ? negotiated : null;
}

/** The disk states that the flags tell. Consistent is good enough when nobody fences, or the peer is known to be old. */
function storedStates(flags: number, pdsk: number, fencing: DiskOptions['fencing']): Negotiated {
  const peer = (flags & MDF.PEER_OUT_DATED) !== 0 ? Disks.Outdated : pdsk;
  if ((flags & MDF.CONSISTENT) === 0) return { disk: Disks.Inconsistent, pdsk: peer };
  if ((flags & MDF.WAS_UP_TO_DATE) === 0) return { disk: Disks.Outdated, pdsk: peer };
  const current = peer === Disks.Outdated || fencing === 'dont-care';
  return { disk: current ? Disks.UpToDate : Disks.Consistent, pdsk: peer };
}

/**
 * Every block is out of sync and there is no peer: the activity log would protect nothing, so it is not written until a
 * connection comes ("Suspended AL updates", "Resumed AL updates").
 */
export function suspendsAlUpdates(state: State, setBits: number, bits: number): boolean {
  return bits > 0 && setBits === bits && state.conn < Conns.Connected;
}

export interface AttachSizes {
  readonly maxSectors: number; // that the lower disk has room for, meta-data and `size` aside
  readonly requestedSectors: number; // option size; 0: all
  readonly newSectors: number; // what the device would have
  readonly deviceSectors: number; // what it has now (a diskless Primary); 0: nothing
  readonly lastAgreedSectors: number; // la_size of the meta-data
  readonly metaSectors: number; // size of the meta-data device
  readonly metaNeededSectors: number; // at least, for this kind of meta-data
  readonly consistent: boolean; // MDF.CONSISTENT
}

/** The disk is too small for what it was, or for what is asked; null: it fits. */
export function sizeRefusal(s: AttachSizes): FailureCode | null {
  if (s.maxSectors < s.requestedSectors) return Err.DISK_TOO_SMALL;
  if (s.metaSectors < s.metaNeededSectors) return Err.MD_DISK_TOO_SMALL;
  if (s.maxSectors < s.deviceSectors) return Err.DISK_TOO_SMALL;
  const shrinks = s.consistent && s.newSectors < s.lastAgreedSectors;
  if (shrinks && s.newSectors !== s.requestedSectors) return Err.IMPLICIT_SHRINK;
  return null;
}

// ---- waiting for the peer at start ---------------------------------------------------------------------------------

export interface WaitTimeouts {
  readonly wfcTimeoutS: number; // 0: for ever, for each
  readonly degrWfcTimeoutS: number;
  readonly outdatedWfcTimeoutS: number;
}

export type WaitTimeoutType = 'wfc-timeout' | 'degr-wfc-timeout' | 'outdated-wfc-timeout';

/** Which of the timeouts counts. `degraded`: AttachDecision.degraded, and no connection since. */
export function waitTimeoutType(state: State, degraded: boolean): WaitTimeoutType {
  if (state.pdsk === Disks.Outdated) return 'outdated-wfc-timeout';
  return degraded ? 'degr-wfc-timeout' : 'wfc-timeout';
}

/** The timeouts as they will be used: one that may not be longer than another is cut down to it, with a message. */
export function adjustTimeouts(t: WaitTimeouts): {
  readonly timeouts: WaitTimeouts;
  readonly messages: readonly string[];
} {
  const messages: string[] = [];
  const wfc = t.wfcTimeoutS;
  let degr = t.degrWfcTimeoutS;
  let outdated = t.outdatedWfcTimeoutS;
  if (wfc > 0 && (wfc < degr || degr === 0)) {
    degr = wfc;
    messages.push(
      'degr-wfc-timeout has to be shorter than wfc-timeout',
      `degr-wfc-timeout implicitly set to wfc-timeout (${degr}s)`,
    );
  }
  if (degr > 0 && (degr < outdated || outdated === 0)) {
    outdated = wfc; // so does the original, whatever its message says
    messages.push(
      'outdated-wfc-timeout has to be shorter than degr-wfc-timeout',
      `outdated-wfc-timeout implicitly set to degr-wfc-timeout (${degr}s)`,
    );
  }
  return {
    timeouts: { wfcTimeoutS: wfc, degrWfcTimeoutS: degr, outdatedWfcTimeoutS: outdated },
    messages,
  };
}

export function waitTimeoutS(timeouts: WaitTimeouts, type: WaitTimeoutType): number {
  switch (type) {
    case 'wfc-timeout':
      return timeouts.wfcTimeoutS;
    case 'degr-wfc-timeout':
      return timeouts.degrWfcTimeoutS;
    case 'outdated-wfc-timeout':
      return timeouts.outdatedWfcTimeoutS;
  }
}

/**
 * Is the wait over? 'connected': yes; 'given-up': nobody tries to connect any more (StandAlone, Disconnecting), so waiting
 * is pointless, unless --wait-after-sb says that an operator will see to it.
 */
export function waitConnect(conn: number, afterSb: boolean): 'connected' | 'given-up' | 'wait' {
  if (conn >= Conns.Connected) return 'connected';
  return conn < Conns.Unconnected && !afterSb ? 'given-up' : 'wait';
}
