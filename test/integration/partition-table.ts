/** What many partition runs came to, as a table for people. */
import { MODES } from './partition-plan.js';
import type { Result } from './partition-run.js';

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

/** In ms; 0 of none. */
function downMs({ gaps }: Result): number {
  return gaps.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((x, y) => x - y);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

export function resultLine(result: Result): string {
  const { mode, plan, overlapMs, stayed, reasons, resets, failure } = result;
  return [
    `${mode} ${plan.seed}`,
    `${plan.cut}; ${plan.accident}`,
    `two active ${seconds(overlapMs)} s`,
    `down ${seconds(downMs(result))} s`,
    `stayed ${stayed.join(' and ') || 'nobody'}`,
    `${reasons.join(', ') || '-'}`,
    `resets ${resets.map(({ host, by }) => `${host} ${by}`).join(', ') || '-'}`,
    failure === null ? 'ok' : `FAILED: ${failure.split('\n')[0]}`,
  ].join(' | ');
}

/** A row for each mode. */
export function partitionTable(results: readonly Result[]): string {
  const rows = MODES.flatMap((mode) => {
    const of = results.filter((result) => result.mode === mode);
    if (of.length === 0) return [];
    const twice = of.filter(({ overlapMs }) => overlapMs > 0);
    const outages = of.flatMap(({ gaps }) => gaps.map(({ fromMs, toMs }) => toMs - fromMs));
    const total = twice.reduce((sum, { overlapMs }) => sum + overlapMs, 0);
    const worst = Math.max(0, ...twice.map(({ overlapMs }) => overlapMs));
    const nobody = of.filter(
      ({ stayed, plan }) => stayed.length === 0 && plan.mending.type !== 'after',
    );
    const resets = of.flatMap((result) => result.resets.map(({ by }) => by));
    const count = (by: string) => resets.filter((each) => each === by).length;
    return [
      [
        mode,
        `${of.length}`,
        twice.length === 0
          ? '0'
          : `${seconds(total)} in ${twice.length} runs, worst ${seconds(worst)}`,
        `${outages.length}`,
        `${seconds(median(outages))}`,
        `${seconds(Math.max(0, ...outages))}`,
        `${nobody.length}`,
        `${count('fence')} / ${count('watchdog')} / ${count('reboot')}`,
        `${of.filter(({ failure }) => failure !== null).length}`,
      ],
    ];
  });
  const head = [
    ...['', 'seeds', 'seconds with two active', 'outages', 'median s', 'worst s'],
    ...['nobody left, before it was mended', 'resets: fence / watchdog / reboot', 'not settled'],
  ];
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}
