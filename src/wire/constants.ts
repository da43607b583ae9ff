/**
 * The numbers of DRBD's wire protocol, versions 86 to 101: commands, flags, limits. Names are DRBD's own.
 * Source: docs/PROTOCOL.md#numbers.
 */

/** Lowest and highest protocol version spoken here; the highest common one is agreed. */
export const PROTOCOL_MIN = 86;
export const PROTOCOL_MAX = 101;
/** Before features are exchanged both sides speak the oldest header. */
export const APV_BEFORE_FEATURES = 80;

export const MAGIC_H80 = 0x83740267;
export const MAGIC_H95 = 0x835a; // 16 bits
export const MAGIC_H100 = 0x8620ec20;

/** Command numbers of all packets that a receiver may legally meet. */
export const COMMANDS = {
  P_DATA: 0x00,
  P_DATA_REPLY: 0x01,
  P_RS_DATA_REPLY: 0x02,
  P_BARRIER: 0x03,
  P_BITMAP: 0x04,
  P_UNPLUG_REMOTE: 0x07,
  P_DATA_REQUEST: 0x08,
  P_RS_DATA_REQUEST: 0x09,
  P_SYNC_PARAM: 0x0a,
  P_PROTOCOL: 0x0b,
  P_UUIDS: 0x0c,
  P_SIZES: 0x0d,
  P_STATE: 0x0e,
  P_SYNC_UUID: 0x0f,
  P_AUTH_CHALLENGE: 0x10,
  P_AUTH_RESPONSE: 0x11,
  P_STATE_CHG_REQ: 0x12,
  P_PING: 0x13,
  P_PING_ACK: 0x14,
  P_RECV_ACK: 0x15,
  P_WRITE_ACK: 0x16,
  P_RS_WRITE_ACK: 0x17,
  P_SUPERSEDED: 0x18,
  P_NEG_ACK: 0x19,
  P_NEG_DREPLY: 0x1a,
  P_NEG_RS_DREPLY: 0x1b,
  P_BARRIER_ACK: 0x1c,
  P_STATE_CHG_REPLY: 0x1d,
  P_OV_REQUEST: 0x1e,
  P_OV_REPLY: 0x1f,
  P_OV_RESULT: 0x20,
  P_CSUM_RS_REQUEST: 0x21,
  P_RS_IS_IN_SYNC: 0x22,
  P_SYNC_PARAM89: 0x23,
  P_COMPRESSED_BITMAP: 0x24,
  P_DELAY_PROBE: 0x27,
  P_OUT_OF_SYNC: 0x28,
  P_RS_CANCEL: 0x29,
  P_CONN_ST_CHG_REQ: 0x2a,
  P_CONN_ST_CHG_REPLY: 0x2b,
  P_RETRY_WRITE: 0x2c,
  P_PROTOCOL_UPDATE: 0x2d,
  P_TRIM: 0x31,
  P_RS_THIN_REQ: 0x32,
  P_RS_DEALLOCATED: 0x33,
  P_WSAME: 0x34,
  P_ZEROES: 0x36,
  P_INITIAL_META: 0xfff1,
  P_INITIAL_DATA: 0xfff2,
  P_CONNECTION_FEATURES: 0xfffe,
} as const;

export type CommandName = keyof typeof COMMANDS;

const NAMES = new Map<number, CommandName>(
  (Object.entries(COMMANDS) as [CommandName, number][]).map(([name, command]) => [command, name]),
);

/** For logs: `P_DATA`, or `command 0x25` for one that does not exist. */
export function commandName(command: number): string {
  return NAMES.get(command) ?? `command 0x${command.toString(16)}`;
}

/** dp_flags of P_DATA, P_TRIM, P_ZEROES and P_WSAME. */
export const DP = {
  HARDBARRIER: 1, // obsolete
  RW_SYNC: 2, // a hint
  MAY_SET_IN_SYNC: 4, // the sender is a resync source or verifies: the receiver may clear the bits
  UNPLUG: 8, // obsolete
  FUA: 16,
  FLUSH: 32,
  DISCARD: 64,
  SEND_RECEIVE_ACK: 128, // apv >= 100: answer P_RECV_ACK (protocol B)
  SEND_WRITE_ACK: 256, // apv >= 100: answer P_WRITE_ACK (protocol C, or MAY_SET_IN_SYNC)
  WSAME: 512,
  ZEROES: 1024, // with DISCARD: may unmap; alone: must allocate
} as const;

/** Feature flags of P_CONNECTION_FEATURES; those of both sides are ANDed. */
export const FF = {
  TRIM: 1,
  THIN_RESYNC: 2,
  WSAME: 4,
  WZEROES: 8,
} as const;
export const FEATURES_ALL = 0xf;

/** block_id of resync and verify traffic, as its two halves: all ones. */
export const ID_SYNCER_HI = 0xffffffff;
export const ID_SYNCER_LO = 0xffffffff;
/** Low half of the block_id of P_OV_RESULT (the high half is 0). */
export const ID_IN_SYNC = 4711;
export const ID_OUT_OF_SYNC = 4712;

/** Size of the peer's buffer for control packets: bounds bitmap packets, header included. */
export const SOCKET_BUFFER_BYTES = 4096;
/** Names of algorithms and the secret, final NUL included. */
export const SHARED_SECRET_MAX_BYTES = 64;
export const CHALLENGE_BYTES = 64;

/** Most bytes of data in one P_DATA, reply or request. */
export function maxDataBytes(apv: number): number {
  if (apv >= 100) return 1 << 20;
  return apv >= 95 ? 128 << 10 : 32 << 10;
}

/** Most bytes that one P_TRIM or P_ZEROES may name. */
export function maxDiscardBytes(features: number): number {
  return (features & FF.WSAME) !== 0 ? 128 << 20 : 4 << 20;
}

/** A verify may end before the end of the device: VerifyS says by P_STATE that it has. */
export function knowsStopSector(apv: number): boolean {
  return apv >= 97 && apv !== 100;
}
