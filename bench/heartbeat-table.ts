/** The tables of bench/heartbeat-failover.ts. */

/** Of one power cut of the active node, from then on. */
export interface Cut {
  readonly detectionMs: number; // the other node's log says so
  readonly scriptMs: number | null; // it runs the script of the address; null: there is none, or its log does not say so
  readonly serviceMs: number; // it has told the last script of the group to start
  readonly addressMs: number; // the address answers
}

export interface Measured {
  readonly name: string;
  readonly cuts: readonly Cut[];
}

export const STEPS = [
  ['detection', (cut: Cut) => cut.detectionMs],
  ['service', (cut: Cut) => cut.serviceMs],
  ['address', (cut: Cut) => cut.addressMs],
] as const;

export const STATISTICS = [
  ['median', median],
  ['p90', (values: readonly number[]) => quantile(values, 0.9)],
  ['worst', (values: readonly number[]) => Math.max(...values)],
] as const;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The smallest value that at least this part of them does not exceed. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}

const seconds = (ms: number): string => (ms / 1000).toFixed(2);

/** In Markdown, for docs/PERFORMANCE.md. */
export function failoverTable(rows: readonly Measured[]): string {
  const heads = STEPS.map(([step]) => `${step}: ${STATISTICS.map(([name]) => name).join(' | ')}`);
  const lines = [`| seconds | cuts | ${heads.join(' | ')} |`, `|---|---|${'---|'.repeat(9)}`];
  for (const { name, cuts } of rows) {
    const cells = STEPS.flatMap(([, of]) =>
      STATISTICS.map(([, statistic]) => seconds(statistic(cuts.map(of)))),
    );
    lines.push(`| ${name} | ${cuts.length} | ${cells.join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}

/** Where the time goes between detection and the address: medians of the differences. */
export function partsTable(rows: readonly Measured[]): string {
  const lines = [
    '| seconds, median | until the script of the address | until the address answers | from detection to the address |',
    '|---|---|---|---|',
  ];
  for (const { name, cuts } of rows) {
    const before = cuts.flatMap((c) => (c.scriptMs === null ? [] : [c.scriptMs - c.detectionMs]));
    const script = cuts.flatMap((c) => (c.scriptMs === null ? [] : [c.addressMs - c.scriptMs]));
    const all = cuts.map((c) => c.addressMs - c.detectionMs);
    const cell = (values: readonly number[]): string =>
      values.length === 0 ? '-' : seconds(median(values));
    lines.push(`| ${name} | ${cell(before)} | ${cell(script)} | ${cell(all)} |`);
  }
  return `${lines.join('\n')}\n`;
}

export interface Verdict {
  readonly step: string;
  readonly statistic: string;
  readonly ratio: number; // ours / the faster one of the others
  readonly laterMs: number; // than that one; less than 0: sooner
  readonly met: boolean;
}

/** The goal: ours is no later than the faster one of the others and one keepalive. */
export function verdicts(
  ours: Measured,
  others: readonly Measured[],
  keepaliveMs: number,
): Verdict[] {
  return STEPS.flatMap(([step, of]) =>
    STATISTICS.map(([statistic, value]) => {
      const mine = value(ours.cuts.map(of));
      const fastest = Math.min(...others.map((other) => value(other.cuts.map(of))));
      const laterMs = mine - fastest;
      return { step, statistic, ratio: mine / fastest, laterMs, met: laterMs <= keepaliveMs };
    }),
  );
}

export function verdictTable(found: readonly Verdict[]): string {
  const lines = [
    '| ours against the faster one | ratio | seconds later | within one keepalive |',
    '|---|---|---|---|',
  ];
  for (const { step, statistic, ratio, laterMs, met } of found) {
    const cells = [`${step}, ${statistic}`, ratio.toFixed(2), seconds(laterMs), met ? 'yes' : 'no'];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}
