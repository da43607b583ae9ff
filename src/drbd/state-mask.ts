/**
 * State change requests between nodes: P_STATE_CHG_REQ and P_CONN_ST_CHG_REQ carry (mask, val), two state words, as the
 * requester sees them. Here they become a wanted state as seen from our side. docs/PROTOCOL.md, state change requests.
 */
import { Conns, decodeState, encodeState, type State } from './state.js';

/** Which bits of the state word are meant, and their values. Both are words as `encodeState` makes them. */
export interface StateMask {
  readonly mask: number;
  readonly val: number;
}

/** Masks of single fields, to be combined with `|`. */
export const FIELD_MASK = {
  role: 0x3,
  peer: 0xc,
  conn: 0x1f0,
  disk: 0x1e00,
  pdsk: 0x1e000,
} as const;
export type MaskField = keyof typeof FIELD_MASK;

/** A request for the fields given: `stateMask({ role: Roles.Primary })` is mask 00000003 val 00000001. */
export function stateMask(fields: Readonly<Partial<Record<MaskField, number>>>): StateMask {
  let mask = 0;
  let val = 0;
  for (const [name, value] of Object.entries(fields) as [MaskField, number][]) {
    const field = FIELD_MASK[name];
    mask |= field;
    val |= (value * (field & -field)) & field;
  }
  return { mask, val };
}

/** The state wanted: `old` with the masked fields replaced. */
export function applyMask(old: State, { mask, val }: StateMask): State {
  return decodeState((encodeState(old) & ~mask) | (val & mask));
}

/** The connection states that a request can name, as the requester and as the receiver sees them. */
const CONN_FROM_PEER: ReadonlyMap<number, number> = new Map<number, number>([
  [Conns.Disconnecting, Conns.TearDown],
  [Conns.WFReportParams, Conns.WFReportParams],
  [Conns.Connected, Conns.Connected],
  [Conns.StartingSyncS, Conns.StartingSyncT],
  [Conns.StartingSyncT, Conns.StartingSyncS],
  [Conns.VerifyS, Conns.VerifyT],
]);

/**
 * The peer's (mask, val) seen from here: role and peer, disk and pdsk change places, its aftr_isp and user_isp are our
 * peer_isp. null: it names a connection state that no request may name. (A kernel reads such a one as StandAlone and
 * would drop the connection without a word; refuse it instead, with Ss.NOT_SUPPORTED.)
 */
export function translateMask(request: StateMask): StateMask | null {
  const mask = decodeState(request.mask);
  const val = decodeState(request.val & request.mask);
  let conn = 0;
  if (mask.conn !== 0) {
    const mine = CONN_FROM_PEER.get(val.conn);
    if (mask.conn !== 31 || mine === undefined) return null;
    conn = mine;
  }
  return {
    mask: encodeState(fromPeerSide(mask, mask.conn)),
    val: encodeState(fromPeerSide(val, conn)),
  };
}

/** Only what one node may ask of another: suspended I/O and the reasons for a pause stay each node's own. */
function fromPeerSide(s: State, conn: number): State {
  return {
    role: s.peer,
    peer: s.role,
    conn,
    disk: s.pdsk,
    pdsk: s.disk,
    susp: 0,
    aftrIsp: 0,
    peerIsp: s.aftrIsp | s.userIsp,
    userIsp: 0,
    suspNod: 0,
    suspFen: 0,
  };
}
