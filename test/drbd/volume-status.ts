/** A volume's status for tests: from nothing, or read back from the text of /proc/drbd. */
import {
  CONNS,
  Conns,
  DISKS,
  Disks,
  INITIAL_STATE,
  ROLES,
  Roles,
  type State,
} from '../../src/drbd/state.js';
import type {
  NodeStatus,
  ResourceStatus,
  SyncProgress,
  VolumeStatus,
} from '../../src/drbd/status.js';

export function volume(change: Partial<VolumeStatus> = {}): VolumeStatus {
  return {
    resource: 'r0',
    volume: 0,
    minor: 0,
    device: '/dev/drbd0',
    lowerDisk: '/dev/vda',
    state: INITIAL_STATE,
    sizeSectors: 130992,
    protocol: 'C',
    alSuspended: false,
    writeOrdering: 'f',
    congested: false,
    counters: {
      sendSectors: 0,
      receiveSectors: 0,
      writeSectors: 0,
      readSectors: 0,
      alTransactions: 8,
      bitmapWrites: 0,
      localPending: 0,
      peerPending: 0,
      unacked: 0,
      applicationPending: 0,
      epochs: 1,
      outOfSyncBits: 0,
    },
    progress: null,
    uuids: ['0000000000000004', '0000000000000000', '0000000000000000', '0000000000000000'],
    ...change,
  };
}

/** One resource; its connection object is up while a volume is. */
export function resource(name: string, ...volumes: readonly VolumeStatus[]): ResourceStatus {
  const conns = volumes.filter((v) => v.protocol !== null).map((v) => v.state.conn);
  const connection = conns.length === 0 ? null : Math.min(Conns.WFReportParams, Math.min(...conns));
  return { name, connection, volumes };
}

export function node(nowMs: number, ...resources: readonly ResourceStatus[]): NodeStatus {
  return { version: '0.1.0', nowMs, resources };
}

/** A state in words: `Connected Primary/Secondary UpToDate/UpToDate`. */
export function stateOf(text: string, flags: Partial<State> = {}): State {
  const [conn = '', roles = '', disks = ''] = text.split(' ');
  const [role = '', peer = ''] = roles.split('/');
  const [disk = '', pdsk = ''] = disks.split('/');
  const number = (table: Readonly<Record<string, number>>, name: string): number => {
    const n = table[name];
    if (n === undefined) throw new Error(`${text}: ${name}`);
    return n;
  };
  return {
    ...INITIAL_STATE,
    conn: number(Conns, conn),
    role: number(Roles, role),
    peer: number(Roles, peer),
    disk: number(Disks, disk),
    pdsk: number(Disks, pdsk),
    ...flags,
  };
}

export const NOW_MS = 1_000_000;

/** The volumes that a text of /proc/drbd speaks of, by a reading that shares nothing with its writing. */
export function readProc(text: string): VolumeStatus[] {
  const found: VolumeStatus[] = [];
  for (const part of text.split(/^(?= *\d+: cs:)/m).slice(1)) {
    const head =
      /^ *(\d+): cs:(\w+) ro:(\w+)\/(\w+) ds:(\w+)\/(\w+) ([ABC ]) ([rs])([a-])([p-])([u-])(.)([s-])$/m.exec(
        part,
      );
    if (!head) throw new Error(part);
    const word = (n: number) => head[n] ?? '';
    const state: State = {
      ...INITIAL_STATE,
      conn: CONNS.indexOf(word(2) as (typeof CONNS)[number]),
      role: ROLES.indexOf(word(3) as (typeof ROLES)[number]),
      peer: ROLES.indexOf(word(4) as (typeof ROLES)[number]),
      disk: DISKS.indexOf(word(5) as (typeof DISKS)[number]),
      pdsk: DISKS.indexOf(word(6) as (typeof DISKS)[number]),
      susp: Number(word(8) === 's'),
      aftrIsp: Number(word(9) === 'a'),
      peerIsp: Number(word(10) === 'p'),
      userIsp: Number(word(11) === 'u'),
    };
    const count = (name: string): number => Number(new RegExp(` ${name}:(\\d+)`).exec(part)?.[1]);
    found.push(
      volume({
        minor: Number(word(1)),
        state,
        protocol: word(7) === ' ' ? null : (word(7) as 'A' | 'B' | 'C'),
        alSuspended: word(13) === 's',
        progress: readProgress(part),
        counters: {
          sendSectors: count('ns') * 2,
          receiveSectors: count('nr') * 2 + 1, // an odd sector does not show
          writeSectors: count('dw') * 2,
          readSectors: count('dr') * 2,
          alTransactions: count('al'),
          bitmapWrites: count('bm'),
          localPending: count('lo'),
          peerPending: count('pe'),
          unacked: count('ua'),
          applicationPending: count('ap'),
          epochs: count('ep'),
          outOfSyncBits: count('oos') / 4,
        },
      }),
    );
  }
  return found;
}

/** A resync or verify of constant speed with just this progress and speed. */
function readProgress(part: string): SyncProgress | null {
  const amount = /\((\d+)\/(\d+)\)K$/m.exec(part);
  const rate = /speed: ([\d,]+) /.exec(part);
  if (!amount || !rate) return null;
  const leftBits = Number(amount[1]) / 4;
  const totalBits = Number(amount[2]) / 4;
  const speed = Number(rate[1]?.replaceAll(',', '')) / 4;
  const seconds = Math.floor((totalBits - leftBits) / speed);
  const startMs = NOW_MS - seconds * 1000 - 300;
  return {
    totalBits,
    leftBits,
    failedBits: 0,
    startMs,
    pausedMs: 0,
    marks: Array.from({ length: 8 }, () => ({ timeMs: startMs, leftBits: totalBits })),
    lastMark: 0,
    wantKiBps: Number(/want: ([\d,]+)/.exec(part)?.[1]?.replaceAll(',', '') ?? 0),
  };
}
