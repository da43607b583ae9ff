/**
 * What is said before P_PROTOCOL: which socket is which, protocol versions and features, authentication. Also packets
 * without a body. Source: docs/PROTOCOL.md#features, #authentication.
 */
import { type Codec, payloadOf, putBytes } from './packet.js';

/** A packet that says everything by its command: pings, P_INITIAL_*, P_UNPLUG_REMOTE. */
export type Empty = null;

export const emptyCodec: Codec<Empty> = {
  decode: () => null,
  encode() {},
};

export const FEATURES_BYTES = 72;

/** P_CONNECTION_FEATURES; 56 reserved bytes behind are sent as zeroes and not looked at. */
export interface Features {
  readonly protocolMin: number; // 0
  readonly features: number; // 4, FF bits
  readonly protocolMax: number; // 8, 0: the same as protocolMin
  readonly pad: number; // 12
}

export const featuresCodec: Codec<Features> = {
  decode: (view, at) => ({
    protocolMin: view.getUint32(at),
    features: view.getUint32(at + 4),
    protocolMax: view.getUint32(at + 8),
    pad: view.getUint32(at + 12),
  }),
  encode(f, view, at) {
    view.setUint32(at, f.protocolMin);
    view.setUint32(at + 4, f.features);
    view.setUint32(at + 8, f.protocolMax);
    view.setUint32(at + 12, f.pad);
    for (let i = 16; i < FEATURES_BYTES; i++) view.setUint8(at + i, 0);
  },
};

/** The highest common version and the common features, or null when the ranges do not meet. */
export function agree(mine: Features, peers: Features): { apv: number; features: number } | null {
  const peerMax = peers.protocolMax === 0 ? peers.protocolMin : peers.protocolMax;
  if (mine.protocolMax < peers.protocolMin || mine.protocolMin > peerMax) return null;
  return {
    apv: Math.min(mine.protocolMax, peerMax),
    features: (mine.features & peers.features) >>> 0,
  };
}

/** P_AUTH_CHALLENGE and P_AUTH_RESPONSE: nothing but bytes. */
export interface AuthBytes {
  readonly bytes: Uint8Array;
}

export const authCodec: Codec<AuthBytes> = {
  decode: (view, at, length) => ({ bytes: payloadOf(view, at, length) }),
  encode: (a, view, at) => putBytes(view, at, a.bytes),
  payloadBytes: (a) => a.bytes.length,
};
