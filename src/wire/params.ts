/**
 * What both sides tell each other about their configuration, sizes and generations before the first P_STATE, and again
 * when it changes. Their forms depend on the agreed version and features.
 * Source: docs/PROTOCOL.md#parameters.
 */
import { assert } from '../base/assert.js';
import { FF, SHARED_SECRET_MAX_BYTES } from './constants.js';
import { putU53, readU53 } from './hot.js';
import { badValue, type Codec, type Link, putText, readText } from './packet.js';

/** P_PROTOCOL, P_PROTOCOL_UPDATE: settings that must be the same on both nodes. */
export interface ProtocolParams {
  readonly protocol: number; // 0: 1 = A, 2 = B, 3 = C
  readonly afterSb0p: number; // 4, AFTER_SB number
  readonly afterSb1p: number; // 8
  readonly afterSb2p: number; // 12
  readonly connFlags: number; // 16, CONN_FLAGS
  readonly twoPrimaries: number; // 20: 0 or 1
  readonly integrityAlg: string; // 24, NUL-terminated; '' below version 87, which has no such field
}

export const CONN_FLAGS = { DISCARD_MY_DATA: 1, DRY_RUN: 2 } as const;

/** Wire numbers of the after-sb policies, by their names in drbd.conf. */
export const AFTER_SB: readonly string[] = [
  'disconnect',
  'discard-younger-primary',
  'discard-older-primary',
  'discard-zero-changes',
  'discard-least-changes',
  'discard-local',
  'discard-remote',
  'consensus',
  'discard-secondary',
  'call-pri-lost-after-sb',
  'violently-as0p',
];

const PROTOCOL_BYTES = 24;

export const protocolCodec: Codec<ProtocolParams> = {
  decode(view, at, length, link) {
    const field = length - PROTOCOL_BYTES;
    const integrityAlg = link.apv >= 87 ? readText(view, at + PROTOCOL_BYTES, field) : '';
    if (integrityAlg === null) {
      return badValue('the data-integrity-alg has no final NUL', at + PROTOCOL_BYTES);
    }
    return {
      protocol: view.getUint32(at),
      afterSb0p: view.getUint32(at + 4),
      afterSb1p: view.getUint32(at + 8),
      afterSb2p: view.getUint32(at + 12),
      connFlags: view.getUint32(at + 16),
      twoPrimaries: view.getUint32(at + 20),
      integrityAlg,
    };
  },
  encode(p, view, at, link) {
    view.setUint32(at, p.protocol);
    view.setUint32(at + 4, p.afterSb0p);
    view.setUint32(at + 8, p.afterSb1p);
    view.setUint32(at + 12, p.afterSb2p);
    view.setUint32(at + 16, p.connFlags);
    view.setUint32(at + 20, p.twoPrimaries);
    if (link.apv >= 87) {
      putText(view, at + PROTOCOL_BYTES, p.integrityAlg.length + 1, p.integrityAlg);
    } else {
      assert(p.integrityAlg === '', 'below version 87 there is no data-integrity-alg');
    }
  },
  payloadBytes: (p, link) => (link.apv >= 87 ? p.integrityAlg.length + 1 : 0),
};

/** P_SYNC_PARAM up to version 88: struct p_rs_param. */
export interface SyncParamOld {
  readonly resyncRateKiBps: number; // 0
  readonly verifyAlg: string; // 4, version 88 only
}

export const syncParamOldCodec: Codec<SyncParamOld> = {
  decode(view, at, length, link) {
    const verifyAlg = link.apv === 88 ? readText(view, at + 4, length - 4) : '';
    if (verifyAlg === null) return badValue('the verify-alg has no final NUL', at + 4);
    return { resyncRateKiBps: view.getUint32(at), verifyAlg };
  },
  encode(p, view, at, link) {
    view.setUint32(at, p.resyncRateKiBps);
    if (link.apv === 88) putText(view, at + 4, p.verifyAlg.length + 1, p.verifyAlg);
    else assert(p.verifyAlg === '', 'below version 88 there is no verify-alg');
  },
  payloadBytes: (p, link) => (link.apv === 88 ? p.verifyAlg.length + 1 : 0),
};

/** P_SYNC_PARAM89: struct p_rs_param_89, and p_rs_param_95 with the controller's settings. */
export interface SyncParam {
  readonly resyncRateKiBps: number; // 0
  readonly verifyAlg: string; // 4, 64 bytes
  readonly csumsAlg: string; // 68, 64 bytes
  readonly controller: ResyncController | null; // 132, from version 95 on
}

/** Settings of the sender's resync controller; the receiver takes them over. Units as in drbd.conf. */
export interface ResyncController {
  readonly planAheadDs: number; // 132
  readonly delayTargetDs: number; // 136
  readonly fillTargetSectors: number; // 140
  readonly maxRateKiBps: number; // 144
}

export function syncParamBytes(link: Link): number {
  return link.apv >= 95 ? 148 : 132;
}

export const syncParamCodec: Codec<SyncParam> = {
  decode(view, at, _length, link) {
    const verifyAlg = readText(view, at + 4, SHARED_SECRET_MAX_BYTES);
    if (verifyAlg === null) return badValue('the verify-alg has no final NUL', at + 4);
    const csumsAlg = readText(view, at + 68, SHARED_SECRET_MAX_BYTES);
    if (csumsAlg === null) return badValue('the csums-alg has no final NUL', at + 68);
    const controller =
      link.apv >= 95
        ? {
            planAheadDs: view.getUint32(at + 132),
            delayTargetDs: view.getUint32(at + 136),
            fillTargetSectors: view.getUint32(at + 140),
            maxRateKiBps: view.getUint32(at + 144),
          }
        : null;
    return { resyncRateKiBps: view.getUint32(at), verifyAlg, csumsAlg, controller };
  },
  encode(p, view, at, link) {
    assert((p.controller !== null) === link.apv >= 95, 'the controller goes with version 95');
    view.setUint32(at, p.resyncRateKiBps);
    putText(view, at + 4, SHARED_SECRET_MAX_BYTES, p.verifyAlg);
    putText(view, at + 68, SHARED_SECRET_MAX_BYTES, p.csumsAlg);
    if (p.controller === null) return;
    view.setUint32(at + 132, p.controller.planAheadDs);
    view.setUint32(at + 136, p.controller.delayTargetDs);
    view.setUint32(at + 140, p.controller.fillTargetSectors);
    view.setUint32(at + 144, p.controller.maxRateKiBps);
  },
};

/** P_UUIDS: generation identifiers. Bit 0 of current is the sender's role at that time; opaque otherwise. */
export interface Uuids {
  readonly current: bigint; // 0
  readonly bitmap: bigint; // 8
  readonly history1: bigint; // 16, the younger
  readonly history2: bigint; // 24, the older
  readonly setBits: number; // 32, bits set in the sender's bitmap
  readonly flags: number; // 40, UUID_FLAGS
}

export const UUID_FLAGS = {
  DISCARD_MY_DATA: 1,
  CRASHED_PRIMARY: 2,
  INCONSISTENT: 4, // the negotiating disk of the sender
  SKIP_INITIAL_SYNC: 8,
} as const;

export const uuidsCodec: Codec<Uuids> = {
  decode(view, at) {
    const setBits = readU53(view, at + 32);
    const flags = readU53(view, at + 40);
    if (setBits < 0) return badValue('number of set bits above 2^53', at + 32);
    if (flags < 0) return badValue('unknown flags', at + 40);
    return {
      current: view.getBigUint64(at),
      bitmap: view.getBigUint64(at + 8),
      history1: view.getBigUint64(at + 16),
      history2: view.getBigUint64(at + 24),
      setBits,
      flags,
    };
  },
  encode(u, view, at) {
    view.setBigUint64(at, u.current);
    view.setBigUint64(at + 8, u.bitmap);
    view.setBigUint64(at + 16, u.history1);
    view.setBigUint64(at + 24, u.history2);
    putU53(view, at + 32, u.setBits);
    putU53(view, at + 40, u.flags);
  },
};

/** P_SIZES. Sizes in sectors. */
export interface Sizes {
  readonly diskSectors: number; // 0, d_size: room for data on the sender's disk; 0 if diskless
  readonly userSectors: number; // 8, u_size: the configured `size`
  readonly currentSectors: number; // 16, c_size: of the device now; 0 asks for an answer
  readonly maxBioBytes: number; // 24
  readonly queueOrderType: number; // 28, u16
  readonly ddsFlags: number; // 30, u16, DDS_FLAGS
  readonly limits: QueueLimits | null; // 32, with FF_WSAME
}

export const DDS_FLAGS = { FORCED: 1, NO_RESYNC: 2 } as const;

/** Limits of the sender's backing device. */
export interface QueueLimits {
  readonly physicalBlockBytes: number; // 32
  readonly logicalBlockBytes: number; // 36
  readonly alignmentOffsetBytes: number; // 40
  readonly ioMinBytes: number; // 44
  readonly ioOptBytes: number; // 48
  readonly discardEnabled: number; // 52, u8
  readonly discardZeroesData: number; // 53, u8
  readonly writeSameCapable: number; // 54, u8
  readonly pad: number; // 55, u8
}

export function sizesBytes(link: Link): number {
  return hasLimits(link) ? 56 : 32;
}

function hasLimits(link: Link): boolean {
  return (link.features & FF.WSAME) !== 0;
}

export const sizesCodec: Codec<Sizes> = {
  decode(view, at, _length, link) {
    const diskSectors = readU53(view, at);
    const userSectors = readU53(view, at + 8);
    const currentSectors = readU53(view, at + 16);
    if (diskSectors < 0) return badValue('d_size above 2^53 sectors', at);
    if (userSectors < 0) return badValue('u_size above 2^53 sectors', at + 8);
    if (currentSectors < 0) return badValue('c_size above 2^53 sectors', at + 16);
    return {
      diskSectors,
      userSectors,
      currentSectors,
      maxBioBytes: view.getUint32(at + 24),
      queueOrderType: view.getUint16(at + 28),
      ddsFlags: view.getUint16(at + 30),
      limits: hasLimits(link) ? decodeLimits(view, at + 32) : null,
    };
  },
  encode(s, view, at, link) {
    assert((s.limits !== null) === hasLimits(link), 'queue limits go with FF_WSAME');
    putU53(view, at, s.diskSectors);
    putU53(view, at + 8, s.userSectors);
    putU53(view, at + 16, s.currentSectors);
    view.setUint32(at + 24, s.maxBioBytes);
    view.setUint16(at + 28, s.queueOrderType);
    view.setUint16(at + 30, s.ddsFlags);
    if (s.limits !== null) encodeLimits(s.limits, view, at + 32);
  },
};

function decodeLimits(view: DataView, at: number): QueueLimits {
  return {
    physicalBlockBytes: view.getUint32(at),
    logicalBlockBytes: view.getUint32(at + 4),
    alignmentOffsetBytes: view.getUint32(at + 8),
    ioMinBytes: view.getUint32(at + 12),
    ioOptBytes: view.getUint32(at + 16),
    discardEnabled: view.getUint8(at + 20),
    discardZeroesData: view.getUint8(at + 21),
    writeSameCapable: view.getUint8(at + 22),
    pad: view.getUint8(at + 23),
  };
}

function encodeLimits(q: QueueLimits, view: DataView, at: number): void {
  view.setUint32(at, q.physicalBlockBytes);
  view.setUint32(at + 4, q.logicalBlockBytes);
  view.setUint32(at + 8, q.alignmentOffsetBytes);
  view.setUint32(at + 12, q.ioMinBytes);
  view.setUint32(at + 16, q.ioOptBytes);
  view.setUint8(at + 20, q.discardEnabled);
  view.setUint8(at + 21, q.discardZeroesData);
  view.setUint8(at + 22, q.writeSameCapable);
  view.setUint8(at + 23, q.pad);
}
