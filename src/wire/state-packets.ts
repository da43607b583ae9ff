/**
 * States, requests to change them and their answers; the new UUID at the start of a resync; the legacy delay probe.
 * A state is the 32-bit word here; drbd/state.ts knows its fields. Source: docs/PROTOCOL.md#states.
 */
import type { Codec } from './packet.js';

/** P_STATE. */
export interface StateWord {
  readonly state: number; // 0, u32
}

/** P_STATE_CHG_REQ, P_CONN_ST_CHG_REQ: as the requester sees it; the receiver turns it round. */
export interface StateChange {
  readonly mask: number; // 0, u32
  readonly value: number; // 4, u32
}

/** P_STATE_CHG_REPLY, P_CONN_ST_CHG_REPLY. */
export interface StateReply {
  readonly code: number; // 0, i32: 1 and above success, negative an SS_ code
}

/** P_SYNC_UUID: the bitmap UUID that the resync runs under. */
export interface SyncUuid {
  readonly uuid: bigint; // 0
}

/** P_DELAY_PROBE: of 8.3.x; read and ignored. */
export interface DelayProbe {
  readonly seq: number; // 0
  readonly offset: number; // 4, microseconds
}

export const stateCodec: Codec<StateWord> = {
  decode: (view, at) => ({ state: view.getUint32(at) }),
  encode: (s, view, at) => view.setUint32(at, s.state),
};

export const stateChangeCodec: Codec<StateChange> = {
  decode: (view, at) => ({ mask: view.getUint32(at), value: view.getUint32(at + 4) }),
  encode(c, view, at) {
    view.setUint32(at, c.mask);
    view.setUint32(at + 4, c.value);
  },
};

export const stateReplyCodec: Codec<StateReply> = {
  decode: (view, at) => ({ code: view.getInt32(at) }),
  encode: (r, view, at) => view.setInt32(at, r.code),
};

export const syncUuidCodec: Codec<SyncUuid> = {
  decode: (view, at) => ({ uuid: view.getBigUint64(at) }),
  encode: (s, view, at) => view.setBigUint64(at, s.uuid),
};

export const delayProbeCodec: Codec<DelayProbe> = {
  decode: (view, at) => ({ seq: view.getUint32(at), offset: view.getUint32(at + 4) }),
  encode(p, view, at) {
    view.setUint32(at, p.seq);
    view.setUint32(at + 4, p.offset);
  },
};
