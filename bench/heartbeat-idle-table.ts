/** What the samples of bench/heartbeat-idle.ts come to. */
import type { Use } from './heartbeat-hosts.js';
import { median } from './heartbeat-table.js';

/** Of one node, some time after the first one. */
export interface Sample extends Use {
  readonly atMs: number;
  readonly logBytes: number;
  readonly stateBytes: number;
}

/** Of one node. */
export interface Idle {
  readonly seconds: number;
  readonly processes: number;
  readonly cpuPercent: number; // of one core
  readonly wakeUps: number; // a second
  readonly preempted: number; // a second
  readonly earlyKiB: number; // resident set size when it has settled
  readonly lateKiB: number; // and at the end
  readonly growthKiB: number; // an hour, by the line through all samples between
  readonly ownGrowthKiB: number; // the same of what no file holds
  readonly sharedOutKiB: number; // proportional set size, median: it goes up and down with what else runs
  readonly files: number; // at the end
  readonly filesGrown: number; // since it has settled
  readonly logBytes: number; // an hour
  readonly stateBytes: number; // an hour
}

const HOUR_MS = 3_600_000;

/** `settledMs`: what was taken in the time before is start-up, and not counted as growth. */
export function idleOf(samples: readonly Sample[], settledMs: number): Idle {
  const first = samples[0];
  const last = samples.at(-1);
  if (!first || !last || last.atMs <= first.atMs) throw new Error('two samples are needed');
  const settled = samples.filter((s) => s.atMs - first.atMs >= settledMs);
  const early = settled[0] ?? first;
  const ms = last.atMs - first.atMs;
  const aSecond = (of: (s: Sample) => number): number => ((of(last) - of(first)) / ms) * 1000;
  const anHour = (of: (s: Sample) => number): number => ((of(last) - of(first)) / ms) * HOUR_MS;
  return {
    seconds: ms / 1000,
    processes: last.processes,
    cpuPercent: aSecond((s) => s.cpuMs) / 10,
    wakeUps: aSecond((s) => s.wakeUps),
    preempted: aSecond((s) => s.preempted),
    earlyKiB: early.residentKiB,
    lateKiB: last.residentKiB,
    growthKiB: slope(settled.map((s) => [s.atMs / HOUR_MS, s.residentKiB])),
    ownGrowthKiB: slope(settled.map((s) => [s.atMs / HOUR_MS, s.ownKiB])),
    sharedOutKiB: median(samples.map((s) => s.memoryKiB)),
    files: last.files,
    filesGrown: last.files - early.files,
    logBytes: anHour((s) => s.logBytes),
    stateBytes: anHour((s) => s.stateBytes),
  };
}

/** Of the straight line that is nearest to the points, by least squares; 0 when there is none. */
export function slope(points: readonly (readonly [number, number])[]): number {
  const mean = (of: (point: readonly [number, number]) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const x = mean((p) => p[0]);
  const y = mean((p) => p[1]);
  const spread = mean((p) => (p[0] - x) ** 2);
  return points.length < 2 || spread === 0 ? 0 : mean((p) => (p[0] - x) * (p[1] - y)) / spread;
}

/** In Markdown, for docs/PERFORMANCE.md: a line for each node. */
export function idleTable(rows: readonly (readonly [string, Idle])[]): string {
  const lines = [
    '| | processes | CPU, % of a core | wake-ups a second | resident MiB, settled | at the end | growth, KiB an hour | of that own | shared out, MiB | open files | log, bytes an hour | state, bytes an hour |',
    `|${'---|'.repeat(12)}`,
  ];
  for (const [name, idle] of rows) {
    const cells = [
      name,
      `${idle.processes}`,
      idle.cpuPercent.toFixed(2),
      idle.wakeUps.toFixed(1),
      (idle.earlyKiB / 1024).toFixed(1),
      (idle.lateKiB / 1024).toFixed(1),
      idle.growthKiB.toFixed(0),
      idle.ownGrowthKiB.toFixed(0),
      (idle.sharedOutKiB / 1024).toFixed(1),
      `${idle.files} (${signed(idle.filesGrown)})`,
      idle.logBytes.toFixed(0),
      idle.stateBytes.toFixed(0),
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}

function signed(n: number): string {
  return n < 0 ? `${n}` : `+${n}`;
}

/** Ours / theirs, both nodes together, of one run. */
export function idleRatios(ours: readonly Idle[], theirs: readonly Idle[]): string {
  const ratio = (of: (idle: Idle) => number): string => {
    const sum = (all: readonly Idle[]): number => all.reduce((n, idle) => n + of(idle), 0);
    return (sum(ours) / sum(theirs)).toFixed(2);
  };
  return `CPU ${ratio((i) => i.cpuPercent)}, wake-ups ${ratio((i) => i.wakeUps)}, resident memory ${ratio((i) => i.lateKiB)}, shared out ${ratio((i) => i.sharedOutKiB)}`;
}
