/** What many partition runs came to, as the tables of docs/PARTITIONS.md. */
import { CUTS, MODES, type Mode } from './partition-plan.js';
import type { Result } from './partition-run.js';

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

/** Nobody was active, all together. */
function downMs({ gaps }: Result): number {
  return gaps.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((x, y) => x - y);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** Nobody was active when the pair had done what it could. */
function isDown({ stayed, plan }: Result): boolean {
  return stayed.length === 0 && plan.mending.type !== 'after';
}

function why({ works, reasons }: Result): string {
  return works ? reasons.join(', ') : 'no node works';
}

export function resultLine(result: Result): string {
  const { mode, plan, overlapMs, addressGapMs, stayed, resets, failure } = result;
  return [
    `${mode} ${plan.seed}`,
    `${plan.cut}; ${plan.accident}`,
    `two active ${seconds(overlapMs)} s`,
    `down ${seconds(downMs(result))} s, the address ${seconds(addressGapMs)} s`,
    `stayed ${stayed.join(' and ') || 'nobody'}`,
    `${why(result) || '-'}`,
    `resets ${resets.map(({ host, by }) => `${host} ${by}`).join(', ') || '-'}`,
    failure === null ? 'ok' : `FAILED: ${failure.split('\n')[0]}`,
  ].join(' | ');
}

function rows(lines: readonly (readonly string[])[]): string {
  const [head = []] = lines;
  const all = [head, head.map(() => '---'), ...lines.slice(1)];
  return all.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function summary(mode: Mode, of: readonly Result[]): string[] {
  const twice = of.filter(({ overlapMs }) => overlapMs > 0).map(({ overlapMs }) => overlapMs);
  const total = twice.reduce((sum, ms) => sum + ms, 0);
  const outages = of.flatMap(({ gaps }) => gaps.map(({ fromMs, toMs }) => toMs - fromMs));
  const resets = of.flatMap((result) => result.resets.map(({ by }) => by));
  const count = (by: string) => resets.filter((each) => each === by).length;
  const worst = seconds(Math.max(0, ...twice));
  return [
    mode,
    `${of.length}`,
    twice.length === 0 ? '0' : `${seconds(total)} in ${twice.length} runs, worst ${worst}`,
    `${outages.length}`,
    `${seconds(median(outages))} / ${seconds(Math.max(0, ...outages))}`,
    `${count('fence')} / ${count('watchdog')} / ${count('reboot')}`,
    `${of.filter(({ failure }) => failure === null).length}`,
  ];
}

/** How a run went, in a cell: who stayed and how long nobody was active; two active in bold. */
function cell(result: Result): string {
  const two = result.overlapMs > 0 ? `**two ${seconds(result.overlapMs)}** ` : '';
  const names = result.stayed.map((host) => host.slice(-1)).join('+');
  const why0 = isDown(result) ? `- (${why(result)})` : names || '-';
  return `${two}${seconds(downMs(result))} ${why0}${result.failure === null ? '' : ' FAILED'}`;
}

/** A row for each mode, one for each kind of cut, one for each seed. */
export function partitionTable(results: readonly Result[]): string {
  const modes = MODES.filter((mode) => results.some((result) => result.mode === mode));
  const head = [
    ...['', 'runs', 'seconds with two active', 'outages', 'median / worst s'],
    ...['resets: fence / watchdog / reboot', 'once in the end'],
  ];
  const byMode = modes.map((mode) =>
    summary(
      mode,
      results.filter((r) => r.mode === mode),
    ),
  );
  const byCut = CUTS.map((cut) => {
    const of = results.filter(({ plan }) => plan.cut === cut);
    const cells = modes.map((mode) => {
      const runs = of.filter((result) => result.mode === mode);
      const down = runs.map(downMs);
      return `${seconds(median(down))} / ${seconds(Math.max(0, ...down))}`;
    });
    return [cut, `${of.length / modes.length}`, ...cells];
  });
  const seeds = [...new Set(results.map(({ plan }) => plan.seed))].sort((x, y) => x - y);
  const bySeed = seeds.map((seed) => {
    const of = results.filter(({ plan }) => plan.seed === seed);
    const { cut, accident, home, mending } = of[0]?.plan ?? { cut: '', accident: '', home: '' };
    const cells = modes.map((mode) =>
      of
        .filter((r) => r.mode === mode)
        .map(cell)
        .join(' '),
    );
    const what = accident === 'none' ? cut : `${cut}; ${accident}`;
    return [`${seed}`, what, home.slice(-1), mending?.type ?? '', ...cells];
  });
  return [
    rows([head, ...byMode]),
    rows([['cut', 'seeds', ...modes], ...byCut]),
    rows([['', 'what', 'had it', 'mended', ...modes], ...bySeed]),
  ].join('\n\n');
}
