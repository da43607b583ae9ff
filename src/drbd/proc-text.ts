/**
 * The text of /proc/drbd: for people, and for every tool that reads it by regular expression. 8.4's format, or that of
 * 8.0 (the one of the MySQL manual). Byte for byte as the originals print it; docs/STATES.md, /proc/drbd.
 *
 * Not printed in 8.0's format: the two lines of LRU statistics (resync, act_log). Readers do without them.
 */
import type { LruCounts } from './extent-counts.js';
import { permilleDone, type Speed, SYNC_MARKS, shownLeftBits, speed } from './progress.js';
import {
  Conns,
  connName,
  Disks,
  diskName,
  isSuspended,
  Roles,
  roleName,
  type State,
} from './state.js';
import type { NodeStatus, SyncProgress, VolumeDetails, VolumeStatus } from './status.js';

export type ProcFormat = '8.4' | '8.0';

export type ProcDetails = 0 | 1 | 2;

export interface ProcOptions {
  readonly format?: ProcFormat;
  readonly buildTag?: string; // the second line; the default names twinbeat
  /** 8.4's proc_details. 1: the speed of the last seconds, the position, lines of extents; 2: who waits for the log, too. */
  readonly details?: ProcDetails;
}

export function procText(status: NodeStatus, options: ProcOptions = {}): string {
  const old = options.format === '8.0';
  const lines = [
    old ? 'version: 8.0.16 (api:86/proto:86)' : 'version: 8.4.11 (api:1/proto:86-101)',
    options.buildTag ?? defaultTag(status.version, old),
  ];
  const volumes = status.resources
    .flatMap((resource) => resource.volumes)
    .toSorted((a, b) => a.minor - b.minor);
  let previous = -1;
  for (const volume of volumes) {
    if (volume.minor !== previous + 1) lines.push('');
    previous = volume.minor;
    lines.push(...(old ? volume80(volume, status.nowMs) : volume84(volume, status.nowMs, options)));
  }
  return `${lines.join('\n')}\n`;
}

/** In the columns where the originals have a checksum of their sources. */
function defaultTag(version: string, old: boolean): string {
  const name = `TWINBEAT-${version}`;
  return old ? `GIT-hash: ${name}` : `srcversion: ${name.padEnd(24)}`;
}

const kib = (sectors: number): number => Math.floor(sectors / 2);
const right = (value: number, width: number): string => String(value).padStart(width);

function roles(s: State): string {
  return `${roleName(s.role)}/${roleName(s.peer)}`;
}
function disks(s: State): string {
  return `${diskName(s.disk)}/${diskName(s.pdsk)}`;
}
function isp(s: State): string {
  return (
    (isSuspended(s) ? 's' : 'r') +
    (s.aftrIsp ? 'a' : '-') +
    (s.peerIsp ? 'p' : '-') +
    (s.userIsp ? 'u' : '-')
  );
}

function counters(v: VolumeStatus): string {
  const c = v.counters;
  return (
    `    ns:${kib(c.sendSectors)} nr:${kib(c.receiveSectors)} dw:${kib(c.writeSectors)}` +
    ` dr:${kib(c.readSectors)} al:${c.alTransactions} bm:${c.bitmapWrites} lo:${c.localPending}` +
    ` pe:${c.peerPending} ua:${c.unacked} ap:${c.applicationPending}`
  );
}

// ---- 8.4 -----------------------------------------------------------------------------------------------------------

function volume84(v: VolumeStatus, nowMs: number, options: ProcOptions): string[] {
  const s = v.state;
  const details = options.details ?? 0;
  const lines: string[] = [];
  const unconfigured =
    s.conn === Conns.StandAlone && s.disk === Disks.Diskless && s.role === Roles.Secondary;
  if (unconfigured) {
    lines.push(`${right(v.minor, 2)}: cs:Unconfigured`);
  } else {
    const flags = `${isp(s)}${v.congested ? 'n' : '-'}${v.alSuspended ? 's' : '-'}`;
    lines.push(
      `${right(v.minor, 2)}: cs:${connName(s.conn)} ro:${roles(s)} ds:${disks(s)} ${v.protocol ?? ' '} ${flags}`,
      `${counters(v)} ep:${v.counters.epochs} wo:${v.writeOrdering} oos:${v.counters.outOfSyncBits * 4}`,
    );
  }
  if (v.progress && hasProgress(s.conn)) {
    lines.push(...progress84(v, v.progress, nowMs, details > 0));
  }
  if (v.details && details > 0) {
    lines.push(lru('resync', v.details.resync), lru('act_log', v.details.actLog));
    if (details > 1) lines.push(`\tblocked on activity log: ${v.details.blockedOnLog}`);
  }
  return lines;
}

/** Connection states with progress lines. */
export function hasProgress(conn: number): boolean {
  return (
    conn === Conns.SyncSource ||
    conn === Conns.SyncTarget ||
    conn === Conns.VerifyS ||
    conn === Conns.VerifyT
  );
}

/** Line of an LRU list. */
function lru(name: string, c: LruCounts): string {
  return (
    `\t${name}: used:${c.used}/${c.total} hits:${c.hits} misses:${c.misses}` +
    ` starving:${c.starving} locked:${c.locked} changed:${c.changed}`
  );
}

/** How far into the device; of a verify, where it ends. */
function position84(d: VolumeDetails): string {
  const done = Math.floor(d.positionBits / (Math.floor(d.totalBits / 100) + 1));
  const stop = d.stopSector === 0 ? '' : ` stop sector: ${d.stopSector}`;
  return `\t${right(done, 3)}% sector pos: ${d.positionBits * 8}/${d.totalBits * 8}${stop}`;
}

function progress84(v: VolumeStatus, p: SyncProgress, nowMs: number, details: boolean): string[] {
  const { conn } = v.state;
  const permille = permilleDone(p);
  const verify = conn === Conns.VerifyS || conn === Conns.VerifyT;
  const now = speed(p, nowMs);
  const recent = details ? `${grouped(now.recentKiBps)} -- ` : '';
  const want =
    conn === Conns.SyncTarget || conn === Conns.VerifyS ? ` want: ${grouped(p.wantKiBps)}` : '';
  return [
    `\t[${bar(Math.floor(permille / 50))}] ${verify ? 'verified:' : "sync'ed:"}${percent(permille)} ${amount84(p)}`,
    `\tfinish: ${duration(now.finishS)} speed: ${grouped(now.nowKiBps)} (${recent}${grouped(
      now.averageKiBps,
    )})${want} K/sec${now.stalled ? ' (stalled)' : ''}`,
    ...(details && v.details ? [position84(v.details)] : []),
  ];
}

/** 20 characters, 21 while not a single twentieth is done. */
function bar(done: number): string {
  return `${'='.repeat(Math.max(0, done - 1))}>${'.'.repeat(20 - done)}`;
}

function percent(permille: number): string {
  return `${right(Math.floor(permille / 10), 3)}.${permille % 10}%`;
}

function amount84(p: SyncProgress): string {
  const left = shownLeftBits(p);
  if (p.totalBits <= 1 << 20) return `(${left * 4}/${p.totalBits * 4})K`;
  const mib = (bits: number) => Math.floor(bits / 1024) * 4;
  return `(${mib(left)}/${mib(p.totalBits)})M`;
}

function duration(seconds: number): string {
  const two = (n: number) => String(n).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
}

/** 1234567 -> 1,234,567 */
function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

// ---- 8.0 -----------------------------------------------------------------------------------------------------------

function volume80(v: VolumeStatus, nowMs: number): string[] {
  const s = v.state;
  const lines: string[] = [];
  if (s.conn === Conns.StandAlone && s.disk === Disks.Diskless) {
    lines.push(`${right(v.minor, 2)}: cs:Unconfigured`);
  } else {
    lines.push(
      `${right(v.minor, 2)}: cs:${connName(s.conn)} st:${roles(s)} ds:${disks(s)} ${v.protocol ?? ' '} ${isp(s)}`,
      counters(v),
    );
  }
  if (v.progress && (s.conn === Conns.SyncSource || s.conn === Conns.SyncTarget)) {
    lines.push(...progress80(v.progress, nowMs));
  }
  return lines;
}

/** 8.0 rounds what is left, not what is done. */
function progress80(p: SyncProgress, nowMs: number): string[] {
  const total = Math.floor(p.totalBits / 1024) + 1;
  const left =
    p.leftBits > p.totalBits ? 1000 : Math.floor((Math.floor(p.leftBits / 1024) * 1000) / total);
  const first = `\t[${bar(20 - Math.floor(left / 50))}] sync'ed:${percent(1000 - left)} ${amount80(p)}`;
  const newest = p.marks[p.lastMark % SYNC_MARKS];
  if (newest && nowMs - newest.timeMs > 20_000) return [first, '\tstalled'];
  const now: Speed = speed(p, nowMs, p.lastMark + 7); // its single mark is at most ten seconds old
  return [
    first,
    `\tfinish: ${duration(now.finishS)} speed: ${comma80(now.nowKiBps)} (${comma80(now.averageKiBps)}) K/sec`,
  ];
}

function amount80(p: SyncProgress): string {
  const left = shownLeftBits(p);
  if (p.totalBits <= 1 << 20) return `(${left * 4}/${p.totalBits * 4})K`;
  const mib = (bits: number) => Math.floor((bits * 4) / 1024);
  return `(${mib(left)}/${mib(p.totalBits)})M`;
}

/** One comma, and none at exactly 1000. */
function comma80(value: number): string {
  if (value <= 1000) return String(value);
  return `${Math.floor(value / 1000)},${String(value % 1000).padStart(3, '0')}`;
}
