/**
 * What a node tells its peer about a volume: parameters, sizes, generations, state. Layouts are in wire/params.ts.
 */
import { COMMANDS } from '../wire/constants.js';
import {
  AFTER_SB,
  CONN_FLAGS,
  protocolCodec,
  type Sizes,
  sizesBytes,
  sizesCodec,
  syncParamBytes,
  syncParamCodec,
  syncParamOldCodec,
  UUID_FLAGS,
  type Uuids,
  uuidsCodec,
} from '../wire/params.js';
import { stateCodec } from '../wire/state-packets.js';
import type { Link } from './link.js';
import type { Resource } from './resource.js';
import { Disks, encodeState } from './state.js';
import type { Volume } from './volume.js';

/** P_PROTOCOL; or P_PROTOCOL_UPDATE, when something of it has changed. */
export function sendProtocol(link: Link, r: Resource, command: number = COMMANDS.P_PROTOCOL): void {
  const o = r.netOptions;
  const number = (policy: string): number => Math.max(0, AFTER_SB.indexOf(policy));
  const bytes = link.apv >= 87 ? 25 + o.dataIntegrityAlg.length : 24;
  link.out.onData(command, 0, bytes, protocolCodec, {
    protocol: { A: 1, B: 2, C: 3 }[o.protocol],
    afterSb0p: number(o.afterSb0pri),
    afterSb1p: number(o.afterSb1pri),
    afterSb2p: number(o.afterSb2pri),
    connFlags:
      (r.discardMyData ? CONN_FLAGS.DISCARD_MY_DATA : 0) | (r.tentative ? CONN_FLAGS.DRY_RUN : 0),
    twoPrimaries: 0,
    integrityAlg: link.apv >= 87 ? o.dataIntegrityAlg : '',
  });
}

export function sendSyncParam(link: Link, v: Volume): void {
  const d = v.diskOptions;
  const net = v.resource.netOptions;
  if (link.apv < 89) {
    const verify = link.apv === 88 ? net.verifyAlg : '';
    const bytes = 4 + (link.apv === 88 ? verify.length + 1 : 0);
    link.out.onData(COMMANDS.P_SYNC_PARAM, v.number, bytes, syncParamOldCodec, {
      resyncRateKiBps: d.resyncRateKiBps,
      verifyAlg: verify,
    });
    return;
  }
  link.out.onData(COMMANDS.P_SYNC_PARAM89, v.number, syncParamBytes(link), syncParamCodec, {
    resyncRateKiBps: d.resyncRateKiBps,
    verifyAlg: net.verifyAlg,
    csumsAlg: net.csumsAlg,
    controller:
      link.apv >= 95
        ? {
            planAheadDs: d.cPlanAheadDs,
            delayTargetDs: d.cDelayTargetDs,
            fillTargetSectors: d.cFillTargetSectors,
            maxRateKiBps: d.cMaxRateKiBps,
          }
        : null,
  });
}

/** `askBack`: the peer is to say what becomes of it, whatever it holds already (a size of 0). */
export function sendSizes(link: Link, v: Volume, ddsFlags: number, askBack = false): void {
  const info = v.diskInfo;
  const attached = v.dataDisk >= 0 && v.state.disk >= Disks.Negotiating;
  let maxBioBytes = 1 << 20;
  if (link.apv < 95) maxBioBytes = 32 << 10;
  else if (link.apv < 100) maxBioBytes = 128 << 10;
  const body: Sizes = {
    diskSectors: attached ? v.usableSectors : 0,
    userSectors: attached ? v.diskOptions.sizeSectors : 0,
    currentSectors: askBack ? 0 : v.sizeSectors,
    maxBioBytes,
    queueOrderType: 0,
    ddsFlags,
    limits:
      sizesBytes(link) === 56
        ? {
            physicalBlockBytes: info?.physicalBlockBytes ?? 512,
            logicalBlockBytes: info?.logicalBlockBytes ?? 512,
            alignmentOffsetBytes: 0,
            ioMinBytes: info?.physicalBlockBytes ?? 512,
            ioOptBytes: 0,
            discardEnabled: attached ? 1 : 0, // zeroing stands in where the disk has no discard
            discardZeroesData: 1,
            writeSameCapable: 0,
            pad: 0,
          }
        : null,
  };
  v.sizesSent = [body.diskSectors, body.userSectors, v.sizeSectors];
  link.out.onData(COMMANDS.P_SIZES, v.number, sizesBytes(link), sizesCodec, body);
}

/** The generations of now, and what else the peer compares with. */
export function uuidsOf(v: Volume): Uuids {
  let flags = 0;
  if (v.discardMyData) flags |= UUID_FLAGS.DISCARD_MY_DATA;
  if (v.crashedPrimary) flags |= UUID_FLAGS.CRASHED_PRIMARY;
  const { current, bitmap, history1, history2 } = v.uuids;
  return { current, bitmap, history1, history2, setBits: v.bitmap?.count ?? 0, flags };
}

/** P_UUIDS: those of now, or those that this node has compared with, where the peer is to compare with the same. */
export function sendUuids(link: Link, v: Volume, extraFlags = 0): void {
  if (v.state.disk < Disks.Negotiating) return; // without a disk there is no generation to tell
  const told = v.comparedWith ?? uuidsOf(v);
  let flags = told.flags | extraFlags;
  // Of a disk that is being attached the peer knows no more than this. One without a disk compares nothing, and would take an
  // Outdated one for good.
  if (v.state.disk === Disks.Negotiating) {
    const worst = v.state.pdsk < Disks.Inconsistent ? Disks.Outdated : Disks.Inconsistent;
    if ((v.negotiated?.disk ?? Disks.UpToDate) <= worst) flags |= UUID_FLAGS.INCONSISTENT;
  }
  const body: Uuids = { ...told, flags };
  v.resync.announcedBits = body.setBits;
  v.unheard = null;
  link.out.onData(COMMANDS.P_UUIDS, v.number, 48, uuidsCodec, body);
}

export function sendState(link: Link, v: Volume): void {
  if (v.syncUuidDue) {
    v.stateDue = true;
    return;
  }
  if (v.untold?.holdsState(link)) return;
  link.out.onData(COMMANDS.P_STATE, v.number, 4, stateCodec, { state: encodeState(v.state) });
}
