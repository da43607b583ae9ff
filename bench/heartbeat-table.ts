/** The table of bench/heartbeat.ts. */

export interface Crash {
  readonly detectionMs: number; // from the crash until the other node says so
  readonly failoverMs: number; // from the crash until it starts the resource
}

/** Of the node that runs nothing, and the one that runs the resource, together. */
export interface Idle {
  readonly seconds: number;
  readonly memoryKiB: number;
  readonly cpuMs: number;
  readonly wakeUps: number;
}

export interface Measured {
  readonly name: string;
  readonly crashes: readonly Crash[];
  readonly idle: Idle | null;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

const seconds = (ms: number): string => (ms / 1000).toFixed(2);

function spread(values: readonly number[]): string {
  return `${seconds(median(values))} | ${seconds(Math.max(...values))}`;
}

/** In Markdown, for docs/PERFORMANCE.md. */
export function heartbeatTable(rows: readonly Measured[]): string {
  const lines = [
    '| | crashes | detection s, median | worst | fail-over s, median | worst | MiB a node | CPU ms a minute | wake-ups a second |',
    '|---|---|---|---|---|---|---|---|---|',
  ];
  for (const { name, crashes, idle } of rows) {
    const times = `${spread(crashes.map((c) => c.detectionMs))} | ${spread(crashes.map((c) => c.failoverMs))}`;
    lines.push(`| ${name} | ${crashes.length} | ${times} | ${idleText(idle)} |`);
  }
  return `${lines.join('\n')}\n`;
}

/** Of one node: the mean of both. */
function idleText(idle: Idle | null): string {
  if (!idle) return '- | - | -';
  const memory = (idle.memoryKiB / 2 / 1024).toFixed(1);
  const cpu = ((idle.cpuMs / 2 / idle.seconds) * 60).toFixed(0);
  const wakeUps = (idle.wakeUps / 2 / idle.seconds).toFixed(1);
  return `${memory} | ${cpu} | ${wakeUps}`;
}
