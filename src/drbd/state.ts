/**
 * The state of one replicated volume, in DRBD's words, and its 32-bit form (P_STATE, linux/drbd.h `union
 * drbd_state`). Numbers are the kernel's: their order is used ("conn < Connected").
 */

export const ROLES = ['Unknown', 'Primary', 'Secondary'] as const;
export type Role = (typeof ROLES)[number];

export const CONNS = [
  'StandAlone',
  'Disconnecting',
  'Unconnected',
  'Timeout',
  'BrokenPipe',
  'NetworkFailure',
  'ProtocolError',
  'TearDown',
  'WFConnection',
  'WFReportParams',
  'Connected',
  'StartingSyncS',
  'StartingSyncT',
  'WFBitMapS',
  'WFBitMapT',
  'WFSyncUUID',
  'SyncSource',
  'SyncTarget',
  'VerifyS',
  'VerifyT',
  'PausedSyncS',
  'PausedSyncT',
  'Ahead',
  'Behind',
] as const;
export type Conn = (typeof CONNS)[number];

export const DISKS = [
  'Diskless',
  'Attaching',
  'Failed',
  'Negotiating',
  'Inconsistent',
  'Outdated',
  'DUnknown',
  'Consistent',
  'UpToDate',
] as const;
export type Disk = (typeof DISKS)[number];

/** Numbers of the states, for comparisons: `conn >= Conns.Connected`. */
export const Conns = Object.fromEntries(CONNS.map((name, n) => [name, n])) as Readonly<
  Record<Conn, number>
>;
export const Disks = Object.fromEntries(DISKS.map((name, n) => [name, n])) as Readonly<
  Record<Disk, number>
>;
export const Roles = Object.fromEntries(ROLES.map((name, n) => [name, n])) as Readonly<
  Record<Role, number>
>;

/** All fields are numbers of the tables above, or 0/1 flags; immutable, replaced as a whole. */
export interface State {
  readonly role: number; // ours
  readonly peer: number; // role of the peer
  readonly conn: number;
  readonly disk: number; // ours
  readonly pdsk: number; // the peer's disk
  readonly susp: number; // I/O suspended by the user
  readonly aftrIsp: number; // resync paused: resync-after dependency
  readonly peerIsp: number; // resync paused by the peer
  readonly userIsp: number; // resync paused by the user here
  readonly suspNod: number; // I/O suspended: no data accessible
  readonly suspFen: number; // I/O suspended while fence-peer runs
}

/** A new, unconfigured device. */
export const INITIAL_STATE: State = {
  role: Roles.Secondary,
  peer: Roles.Unknown,
  conn: Conns.StandAlone,
  disk: Disks.Diskless,
  pdsk: Disks.DUnknown,
  susp: 0,
  aftrIsp: 0,
  peerIsp: 0,
  userIsp: 0,
  suspNod: 0,
  suspFen: 0,
};

export function encodeState(s: State): number {
  return (
    (s.role |
      (s.peer << 2) |
      (s.conn << 4) |
      (s.disk << 9) |
      (s.pdsk << 13) |
      (s.susp << 17) |
      (s.aftrIsp << 18) |
      (s.peerIsp << 19) |
      (s.userIsp << 20) |
      (s.suspNod << 21) |
      (s.suspFen << 22)) >>>
    0
  );
}

export function decodeState(word: number): State {
  return {
    role: word & 3,
    peer: (word >>> 2) & 3,
    conn: (word >>> 4) & 31,
    disk: (word >>> 9) & 15,
    pdsk: (word >>> 13) & 15,
    susp: (word >>> 17) & 1,
    aftrIsp: (word >>> 18) & 1,
    peerIsp: (word >>> 19) & 1,
    userIsp: (word >>> 20) & 1,
    suspNod: (word >>> 21) & 1,
    suspFen: (word >>> 22) & 1,
  };
}

export function roleName(n: number): string {
  return ROLES[n] ?? `role(${n})`;
}
export function connName(n: number): string {
  return CONNS[n] ?? `conn(${n})`;
}
export function diskName(n: number): string {
  return DISKS[n] ?? `disk(${n})`;
}
/** Blocks are copied, or will be once it is not paused any more. */
export function isResyncing({ conn }: State): boolean {
  return (
    conn === Conns.SyncSource ||
    conn === Conns.SyncTarget ||
    conn === Conns.PausedSyncS ||
    conn === Conns.PausedSyncT
  );
}
/** Application I/O is suspended, for any reason. */
export function isSuspended(s: State): boolean {
  return (s.susp | s.suspNod | s.suspFen) !== 0;
}
/** Nobody is in the middle of deciding where data are read from and written to: application I/O may begin. */
export function isStable(s: State, apv: number): boolean {
  if (s.conn === Conns.WFBitMapT || s.conn === Conns.WFSyncUUID) return false;
  if (s.conn === Conns.WFBitMapS && apv < 96) return false;
  return s.disk !== Disks.Attaching && s.disk !== Disks.Negotiating && s.disk !== Disks.DUnknown;
}
