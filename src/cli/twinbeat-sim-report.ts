/** What `twinbeat sim` prints: a violation with what led to it, the sums at the end, the same as JSON. */
import { addCoverage, type CoverageReport } from '../sim/coverage.js';
import { countTable, coverageTable, unreached } from '../sim/coverage-table.js';
import { ofClass, total } from '../sim/fault-kinds.js';
import type { RunResult } from '../sim/run.js';
import { REPORT_COLUMNS, sideBySide } from '../sim/side-by-side.js';
import { type Draw, versionsOf } from '../sim/swarm.js';
import type { Violation } from '../sim/world.js';
import { replayOf, type SimOptions, seedText } from './twinbeat-sim-options.js';

/** Newest lines of the trace that a report shows. */
const TAIL_LINES = 70;
const MOST_TAILS = 10;
const SHORT_TEXT = 160;
/** Of one kind of violation; all of them were named when they came. */
const MOST_SEEDS_NAMED = 10;

export interface Found {
  readonly draw: Draw | null; // null: a scenario
  readonly violation: Violation;
  readonly tail: readonly string[];
}

/** Sums over runs. */
export class Sums {
  runs = 0;
  virtualMs = 0;
  writes = 0;
  reads = 0;
  rows = 0;
  steps = 0;
  /** Over the traces of all runs, in their order. */
  hash = 0x811c9dc5;
  looked: Record<string, number> = {};
  coverage: CoverageReport | null = null;
  readonly found: Found[] = [];

  add(r: RunResult, draw: Draw | null): void {
    this.runs++;
    this.virtualMs += r.virtualMs;
    this.writes += r.writes;
    this.reads += r.reads;
    this.rows += r.rows;
    this.steps += r.steps;
    this.hash = Math.imul(this.hash ^ r.traceHash, 0x01000193) >>> 0;
    for (const [checker, n] of Object.entries(r.looked)) {
      this.looked[checker] = (this.looked[checker] ?? 0) + n;
    }
    this.coverage = addCoverage(this.coverage, r.coverage);
    if (!r.violation) return;
    const tail = this.found.length < MOST_TAILS ? r.tail : [];
    this.found.push({ draw, violation: r.violation, tail });
  }

  get faults(): number {
    return this.coverage ? total(ofClass(this.coverage.step, 'fault')) : 0;
  }
}

const hex = (n: number): string => n.toString(16).padStart(8, '0');
const seconds = (ms: number): string => (ms / 1000).toFixed(1);

export function shortViolation(v: Violation): string {
  const [line = ''] = v.text.split('\n');
  const text = line.length > SHORT_TEXT ? `${line.slice(0, SHORT_TEXT)}...` : line;
  return `${v.invariant} ${v.checker} at ${seconds(v.timeMs)} s: ${text}`;
}

/** Everything about one violation. `where`: the seed or the scenario; `replay`: what to type. */
export function violationReport(where: string, f: Omit<Found, 'draw'>, replay: string): string {
  const { violation: v } = f;
  const lines = [
    '',
    `VIOLATION of ${v.invariant}, found by the checker ${v.checker} at ${seconds(v.timeMs)} s of ${where}:`,
    ...v.text.split('\n').map((line) => `  ${line}`),
    '',
    ...sideBySide(f.tail.slice(-TAIL_LINES), REPORT_COLUMNS),
    '',
    `replay: ${replay}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** Without anything that depends on the machine or on the number of workers. */
export function summary(s: Sums, o: SimOptions): string {
  const single = o.what.kind === 'one' || o.what.kind === 'scenario';
  const c = s.coverage;
  const lines: string[] = [''];
  if (c) {
    lines.push(...countTable('faults injected', ofClass(c.step, 'fault'), REPORT_COLUMNS));
    lines.push(...countTable("operator's steps", ofClass(c.step, 'operator'), REPORT_COLUMNS));
    lines.push(...countTable('repairs', ofClass(c.step, 'repair'), REPORT_COLUMNS));
    const isDrbd = o.profile !== 'cluster';
    if (!single && isDrbd) lines.push('', 'reached:', ...coverageTable(c, REPORT_COLUMNS));
  }
  lines.push('', ...countTable('checks made', s.looked, REPORT_COLUMNS));
  lines.push(
    '',
    `${s.runs} ${s.runs === 1 ? 'run' : 'runs'}, ${s.found.length} violated; ${Math.round(s.virtualMs / 1000)} virtual seconds, ` +
      `${s.faults} faults, ${s.writes} writes (${s.rows} rows), ${s.reads} reads checked; trace ${hex(s.hash)}`,
  );
  if (!single) {
    const kinds = new Map<string, string[]>();
    for (const { draw, violation: v } of s.found) {
      const kind = `${v.invariant} ${v.checker}`;
      if (draw) kinds.set(kind, [...(kinds.get(kind) ?? []), seedText(draw)]);
    }
    for (const [kind, seeds] of kinds) {
      lines.push(`  ${kind}, ${seeds.length} times: ${seeds.slice(0, MOST_SEEDS_NAMED).join(' ')}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** How fast it was: depends on the machine. */
export function speed(s: Sums, wallMs: number, workers: number): string {
  const wallS = Math.max(wallMs, 1) / 1000;
  const perS = s.virtualMs / 1000 / wallS;
  const perMinute = ((s.faults / wallS) * 60).toFixed(0);
  const on = `${workers} ${workers === 1 ? 'thread' : 'threads'}`;
  return `${wallS.toFixed(1)} s on ${on}: ${perS.toFixed(0)} virtual seconds per wall second, ${perMinute} faults a minute`;
}

export function progressLine(s: Sums, of: string, wallMs: number): string {
  const perS = s.virtualMs / Math.max(wallMs, 1);
  return `${s.runs}${of} seeds, ${s.found.length} violations, ${perS.toFixed(0)} virtual s per wall s, ${s.faults} faults`;
}

export interface JsonParts {
  readonly sums: Sums;
  readonly options: SimOptions;
  readonly wallMs: number;
  /** A scenario file. */
  readonly shrunk: string | null;
}

export function json({ sums: s, options: o, wallMs, shrunk }: JsonParts): string {
  const step = s.coverage?.step ?? {};
  const object = {
    swarm: versionsOf(o.profile).newest,
    ...(o.what.kind === 'scenario' ? { scenario: o.what.file } : { profile: o.profile }),
    mutant: o.mutant,
    runs: s.runs,
    violations: s.found.map((f) => ({
      seed: f.draw === null ? null : seedText(f.draw),
      ...f.violation,
      replay: replayOf(f.draw, o),
      tail: f.tail,
    })),
    shrunk,
    virtualMs: s.virtualMs,
    writes: s.writes,
    rows: s.rows,
    reads: s.reads,
    trace: hex(s.hash),
    faults: ofClass(step, 'fault'),
    operator: ofClass(step, 'operator'),
    repairs: ofClass(step, 'repair'),
    checks: s.looked,
    coverage: s.coverage,
    unreached: s.coverage ? unreached(s.coverage) : [],
    wall: { ms: Math.round(wallMs), workers: o.workers },
  };
  return `${JSON.stringify(object)}\n`;
}
