/**
 * What `drbdsetup status`, role, cstate and dstate print: 8.4's numbers in 9's words, as drbd-utils 9 shows an 8.4 kernel.
 * The JSON has the shape of DRBD 9; what 9 has no place for stands in one object "twinbeat". Pure: the terminal's width
 * comes in. Source: docs/CONFIGURATION.md, output formats; test/drbd/status-text.test.ts holds real output.
 */
import { shownLeftBits } from './progress.js';
import {
  Conns,
  connName,
  Disks,
  diskName,
  isStable,
  isSuspended,
  Roles,
  roleName,
  type State,
} from './state.js';
import type { NodeStatus, ResourceStatus, VolumeStatus } from './status.js';

// ---- one line ------------------------------------------------------------------------------------------------------

const UNCONFIGURED = 'Unconfigured';
const unconfigured = (s: State): boolean =>
  s.conn === Conns.StandAlone && s.disk === Disks.Diskless;

/** `Primary/Secondary` */
export function roleText(s: State): string {
  return unconfigured(s) ? UNCONFIGURED : `${roleName(s.role)}/${roleName(s.peer)}`;
}
export function cstateText(s: State): string {
  return unconfigured(s) ? UNCONFIGURED : connName(s.conn);
}
/** `UpToDate/Inconsistent` */
export function dstateText(s: State): string {
  return unconfigured(s) ? UNCONFIGURED : `${diskName(s.disk)}/${diskName(s.pdsk)}`;
}

// ---- facts of a resource -------------------------------------------------------------------------------------------

/** A role belongs to the resource: Primary when any volume is. */
export function resourceRole(r: ResourceStatus): number {
  return highest(r.volumes.map((v) => v.state.role)) || Roles.Secondary;
}
export function peerRole(r: ResourceStatus): number {
  return highest(r.volumes.map((v) => v.state.peer));
}
/** Primary before Secondary before Unknown. */
function highest(roles: readonly number[]): number {
  if (roles.includes(Roles.Primary)) return Roles.Primary;
  return roles.includes(Roles.Secondary) ? Roles.Secondary : Roles.Unknown;
}

export function suspendedText(r: ResourceStatus): string {
  const any = (flag: 'susp' | 'suspNod' | 'suspFen') => r.volumes.some((v) => v.state[flag]);
  return list({ user: any('susp'), 'no-data': any('suspNod'), fencing: any('suspFen') });
}

export function resyncSuspendedText(s: State): string {
  return list({ user: s.userIsp !== 0, peer: s.peerIsp !== 0, dependency: s.aftrIsp !== 0 });
}

/** The names that are true, or 'no'. */
function list(flags: Readonly<Record<string, boolean>>): string {
  const names = Object.keys(flags).filter((name) => flags[name]);
  return names.length > 0 ? names.join(',') : 'no';
}

/** The device takes no application I/O now. */
export function upperBlocked(v: VolumeStatus): boolean {
  return isSuspended(v.state) || !isStable(v.state, 101);
}

/** State of the connection object; beyond WFReportParams it is up. */
export function connectionText(conn: number): string {
  if (conn >= Conns.WFReportParams) return 'Connected';
  return conn === Conns.WFConnection ? 'Connecting' : connName(conn);
}

export function replicationText(s: State): string {
  if (s.conn <= Conns.WFReportParams) return 'Off';
  return s.conn === Conns.Connected ? 'Established' : connName(s.conn);
}

export const WRITE_ORDERING = { b: 'barrier', f: 'flush', d: 'drain', n: 'none' } as const;
export const kib = (sectors: number): number => Math.floor(sectors / 2);
export const yesNo = (flag: boolean): string => (flag ? 'yes' : 'no');

/** Percent of the device that is in sync. */
function inSync(v: VolumeStatus): number {
  if (v.sizeSectors === 0) return 0;
  return 100 * (1 - (v.counters.outOfSyncBits * 8) / v.sizeSectors);
}

function isSyncing(s: State): boolean {
  return s.conn >= Conns.SyncSource && s.conn <= Conns.PausedSyncT;
}

// ---- text ----------------------------------------------------------------------------------------------------------

export interface StatusOptions {
  readonly verbose?: boolean;
  readonly statistics?: boolean;
  readonly columns?: number; // of the terminal; 80 where there is none
}

/** Words that go on to the next line when the width is reached, as the original counts it: without the indentation. */
class Wrapped {
  #text = '';
  #column = 0;
  #lineStart = true;
  readonly #columns: number;

  constructor(columns: number) {
    this.#columns = columns;
  }
  word(indent: number, word: string): void {
    if (this.#column > 0 && this.#column + word.length > this.#columns) this.newline();
    let printed = word;
    if (this.#lineStart) {
      printed = word.trimStart();
      this.#text += ' '.repeat(indent);
      this.#column = -1; // the original counts one too few
      this.#lineStart = false;
    }
    this.#text += printed;
    this.#column += printed.length;
  }
  newline(): void {
    this.#text += '\n';
    this.#column = 0;
    this.#lineStart = true;
  }
  get text(): string {
    return this.#text;
  }
}

/** `drbdsetup status` of one resource (`name`) or all. Empty when there is none: `r9: No such resource`, exit 10. */
export function statusText(
  status: NodeStatus,
  name: string | null = null,
  options: StatusOptions = {},
): string {
  const out = new Wrapped(options.columns ?? 80);
  const { verbose = false, statistics = false } = options;
  for (const r of selected(status, name)) {
    resourceLine(out, r, verbose, statistics);
    const volumes = r.volumes.toSorted((a, b) => a.volume - b.volume);
    const [only] = volumes;
    const short = !verbose && volumes.length === 1 && only?.volume === 0;
    for (const v of volumes) deviceLine(out, v, short, verbose, statistics);
    if (r.connection !== null) {
      connectionLine(out, r, r.connection, verbose);
      if (verbose || statistics || r.connection >= Conns.WFReportParams) {
        for (const v of volumes) peerDeviceLine(out, v, short, verbose, statistics);
      }
    }
    out.newline();
  }
  return out.text;
}

function selected(status: NodeStatus, name: string | null): ResourceStatus[] {
  return status.resources
    .filter((r) => name === null || r.name === name)
    .toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

function resourceLine(
  out: Wrapped,
  r: ResourceStatus,
  verbose: boolean,
  statistics: boolean,
): void {
  const suspended = suspendedText(r);
  out.word(0, r.name);
  out.word(4, ` role:${roleName(resourceRole(r))}`);
  if (verbose || suspended !== 'no') out.word(4, ` suspended:${suspended}`);
  const [first] = r.volumes;
  if (verbose && statistics && first) {
    out.newline();
    out.word(4, ` write-ordering:${WRITE_ORDERING[first.writeOrdering]}`);
  }
  out.newline();
}

function deviceLine(
  out: Wrapped,
  v: VolumeStatus,
  short: boolean,
  verbose: boolean,
  statistics: boolean,
): void {
  const c = v.counters;
  if (!short) out.word(2, `volume:${v.volume}`);
  if (verbose) out.word(6, ` minor:${v.minor}`);
  out.word(short ? 2 : 6, ` disk:${diskName(v.state.disk)}`);
  if (statistics) {
    out.newline();
    if (verbose) out.word(6, ` size:${kib(v.sizeSectors)}`);
    out.word(6, ` read:${kib(c.readSectors)}`);
    out.word(6, ` written:${kib(c.writeSectors)}`);
    if (verbose) {
      out.word(6, ` al-writes:${c.alTransactions}`);
      out.word(6, ` bm-writes:${c.bitmapWrites}`);
      out.word(6, ` upper-pending:${c.applicationPending}`);
      out.word(6, ` lower-pending:${c.localPending}`);
      out.word(6, ` al-suspended:${yesNo(v.alSuspended)}`);
    }
  }
  const blocked = upperBlocked(v);
  if (verbose || blocked) out.word(6, ` blocked:${blocked ? 'upper' : 'no'}`);
  out.newline();
}

function connectionLine(out: Wrapped, r: ResourceStatus, conn: number, verbose: boolean): void {
  const congested = r.volumes.some((v) => v.congested);
  const up = conn >= Conns.WFReportParams;
  out.word(2, 'peer');
  if (verbose || !up) out.word(6, ` connection:${connectionText(conn)}`);
  if (verbose || up) out.word(6, ` role:${roleName(peerRole(r))}`);
  if (verbose || congested) out.word(6, ` congested:${yesNo(congested)}`);
  out.newline();
}

function peerDeviceLine(
  out: Wrapped,
  v: VolumeStatus,
  short: boolean,
  verbose: boolean,
  statistics: boolean,
): void {
  const s = v.state;
  const c = v.counters;
  let indent = 4;
  const word = (text: string): void => {
    out.word(indent, text);
    indent = 8;
  };
  const beyondOff = s.conn > Conns.WFReportParams;
  if (!short) word(`volume:${v.volume}`);
  if (verbose || beyondOff) word(` replication:${replicationText(s)}`);
  if (verbose || statistics || beyondOff || s.pdsk !== Disks.DUnknown) {
    word(` peer-disk:${diskName(s.pdsk)}`);
    if (isSyncing(s)) word(` done:${inSync(v).toFixed(2)}`);
    const suspended = resyncSuspendedText(s);
    if (verbose || suspended !== 'no') word(` resync-suspended:${suspended}`);
    if (statistics) {
      out.newline();
      word(` received:${kib(c.receiveSectors)}`);
      word(` sent:${kib(c.sendSectors)}`);
      if (verbose || c.outOfSyncBits > 0) word(` out-of-sync:${c.outOfSyncBits * 4}`);
      if (verbose) {
        word(` pending:${c.peerPending}`);
        word(` unacked:${c.unacked}`);
      }
    }
  }
  out.newline();
}

// ---- JSON ----------------------------------------------------------------------------------------------------------

const hundredths = (value: number): number => Number(value.toFixed(2));

/** `drbdsetup status --json`, as data. 8.4 knows no node ids: the peer is node 0, as in events2. */
export function statusJson(status: NodeStatus, name: string | null = null): unknown[] {
  return selected(status, name).map((r) => {
    const any = (flag: 'susp' | 'suspNod' | 'suspFen') =>
      r.volumes.some((v) => v.state[flag] !== 0);
    const [first] = r.volumes;
    return {
      name: r.name,
      'node-id': -1,
      role: roleName(resourceRole(r)),
      suspended: suspendedText(r) !== 'no',
      'suspended-user': any('susp'),
      'suspended-no-data': any('suspNod'),
      'suspended-fencing': any('suspFen'),
      'suspended-quorum': false,
      'force-io-failures': false,
      'write-ordering': WRITE_ORDERING[first?.writeOrdering ?? 'n'],
      devices: r.volumes.map(deviceJson),
      connections: r.connection === null ? [] : [connectionJson(r, r.connection, status.nowMs)],
      twinbeat: { version: status.version },
    };
  });
}

function deviceJson(v: VolumeStatus): unknown {
  const c = v.counters;
  const [current, bitmap, history1, history2] = v.uuids;
  return {
    volume: v.volume,
    minor: v.minor,
    'disk-state': diskName(v.state.disk),
    client: false,
    open: (v.openers ?? 0) > 0,
    quorum: true,
    size: kib(v.sizeSectors),
    read: kib(c.readSectors),
    written: kib(c.writeSectors),
    'al-writes': c.alTransactions,
    'bm-writes': c.bitmapWrites,
    'upper-pending': c.applicationPending,
    'lower-pending': c.localPending,
    twinbeat: {
      device: v.device,
      'lower-disk': v.lowerDisk === '' ? null : v.lowerDisk,
      protocol: v.protocol,
      'al-suspended': v.alSuspended,
      blocked: upperBlocked(v) ? 'upper' : 'no',
      uuids: { current, bitmap, history1, history2 },
    },
  };
}

function connectionJson(r: ResourceStatus, conn: number, nowMs: number): unknown {
  return {
    'peer-node-id': 0,
    name: 'peer',
    'connection-state': connectionText(conn),
    congested: r.volumes.some((v) => v.congested),
    'peer-role': roleName(peerRole(r)),
    tls: false,
    peer_devices: r.volumes.map((v) => peerDeviceJson(v, nowMs)),
  };
}

function peerDeviceJson(v: VolumeStatus, nowMs: number): unknown {
  const s = v.state;
  const c = v.counters;
  return {
    volume: v.volume,
    'replication-state': replicationText(s),
    'peer-disk-state': diskName(s.pdsk),
    'peer-client': false,
    'resync-suspended': resyncSuspendedText(s),
    received: kib(c.receiveSectors),
    sent: kib(c.sendSectors),
    'out-of-sync': c.outOfSyncBits * 4,
    pending: c.peerPending,
    unacked: c.unacked,
    'has-sync-details': v.progress !== null,
    'has-online-verify-details': v.progress !== null && isVerify(s),
    'percent-in-sync': hundredths(inSync(v)),
    ...(v.progress ? syncJson(v, nowMs) : {}),
  };
}

function isVerify(s: State): boolean {
  return s.conn === Conns.VerifyS || s.conn === Conns.VerifyT;
}

/** Sectors and milliseconds, as DRBD 9 gives them; 0: the last seconds, 1: the last twenty or so. */
function syncJson(v: VolumeStatus, nowMs: number): Record<string, unknown> {
  const p = v.progress;
  if (!p) return {};
  const left = shownLeftBits(p) * 8;
  const total = p.totalBits * 8;
  const since = (index: number) => {
    const mark = p.marks[index % p.marks.length] ?? { timeMs: p.startMs, leftBits: p.totalBits };
    return {
      ms: Math.round(nowMs - mark.timeMs),
      sectors: Math.max(0, mark.leftBits - shownLeftBits(p)) * 8,
    };
  };
  const mibps = ({ ms, sectors }: { ms: number; sectors: number }): number =>
    hundredths(((sectors / (ms || 1)) * 1000) / 2048);
  const recent = since(p.lastMark + 7);
  const present = since(p.lastMark + 2);
  const sinceStart = Math.round(nowMs - p.startMs);
  return {
    'rs-total': total,
    'rs-dt-start-ms': sinceStart,
    'rs-paused-ms': Math.round(p.pausedMs),
    'rs-dt0-ms': recent.ms,
    'rs-db0-sectors': recent.sectors,
    'rs-dt1-ms': present.ms,
    'rs-db1-sectors': present.sectors,
    ...(isVerify(v.state) ? { 'ov-left': left } : { 'rs-failed': p.failedBits * 8 }),
    want: hundredths(p.wantKiBps / 1024),
    'db0/dt0 [MiB/s]': mibps(recent),
    'db1/dt1 [MiB/s]': mibps(present),
    'estimated-seconds-to-finish':
      present.sectors <= 0
        ? 987654321 // the original's "never"
        : Math.round(((present.ms / 1000) * left) / present.sectors),
    'db/dt [MiB/s]': mibps({ ms: sinceStart - Math.round(p.pausedMs), sectors: total - left }),
    'percent-resync-done': total === 0 ? 0 : hundredths((100 * (total - left)) / total),
  };
}
