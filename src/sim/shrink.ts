/**
 * A schedule that violates something, made smaller while the same checker still finds the same invariant violated: steps
 * are taken out (delta debugging: Zeller, Hildebrandt 2002), then times become shorter and rounder, then options become the
 * default ones. The dice of the machines are forked from the seed by name, so a step less does not change all the rest.
 */
import type { DigestSource } from '../base/ports.js';
import type { Step } from './actions.js';
import { type ClusterConfig, DEFAULT_CONFIG } from './config.js';
import { type RunResult, run, type Schedule } from './run.js';
import type { Violation, World } from './world.js';

export interface Shrunk {
  readonly schedule: Schedule;
  readonly result: RunResult;
  readonly runs: number;
}

export interface ShrinkOptions {
  /** No more runs than this. */
  readonly mostRuns: number;
  readonly prepare: (world: World) => void;
  /** After each run: how many, steps left. */
  readonly progress: (runs: number, steps: number) => void;
}

const LEAST_FAULTS_MS = 100;

/** Null when the schedule violates nothing. */
export function shrink(
  schedule: Schedule,
  digests: DigestSource,
  options: ShrinkOptions,
): Shrunk | null {
  const first = run(schedule, digests, null, options.prepare);
  return first.violation ? new Shrinker(schedule, first, digests, options).shrunk() : null;
}

/** An assertion is another one when its words differ. */
export function sameViolation(a: Violation, b: Violation): boolean {
  const head = (v: Violation): string => v.text.split('\n')[0] ?? '';
  return (
    a.invariant === b.invariant &&
    a.checker === b.checker &&
    (a.invariant !== 'assert' || head(a) === head(b))
  );
}

/**
 * The fewest of `items` for which `fails` still holds that are found by leaving out ever smaller parts; `fails` is asked for
 * fewer than all. Ends early when `fails` has nothing to spend any more (it answers null).
 */
export function fewest<T>(items: readonly T[], fails: (some: readonly T[]) => boolean | null): T[] {
  let left = [...items];
  for (let parts = 2; left.length > 0; ) {
    const size = Math.ceil(left.length / parts);
    let smaller = false;
    for (let from = 0; from < left.length; ) {
      const without = [...left.slice(0, from), ...left.slice(from + size)];
      const verdict = fails(without);
      if (verdict === null) return left;
      if (verdict) {
        left = without;
        smaller = true;
      } else {
        from += size;
      }
    }
    if (size <= 1 && !smaller) break;
    parts = smaller ? Math.max(2, Math.min(parts, left.length)) : Math.min(2 * parts, left.length);
  }
  return left;
}

class Shrinker {
  readonly #digests: DigestSource;
  readonly #options: ShrinkOptions;
  readonly #wanted: Violation;
  #best: Schedule;
  #result: RunResult;
  #runs = 1;

  constructor(schedule: Schedule, first: RunResult, digests: DigestSource, options: ShrinkOptions) {
    this.#digests = digests;
    this.#options = options;
    this.#best = schedule;
    this.#result = first;
    this.#wanted = first.violation as Violation; // asked for by `shrink`
  }

  shrunk(): Shrunk {
    this.#cutEnd();
    this.#fewerSteps();
    this.#shorter();
    this.#rounder();
    this.#plainer();
    this.#cutEnd();
    return { schedule: this.#best, result: this.#result, runs: this.#runs };
  }

  /** Null: there is nothing left to spend. */
  #try(changed: Partial<Schedule>): boolean | null {
    if (this.#runs >= this.#options.mostRuns) return null;
    this.#runs++;
    const schedule = { ...this.#best, ...changed };
    const result = run(schedule, this.#digests, null, this.#options.prepare);
    const same = result.violation !== null && sameViolation(result.violation, this.#wanted);
    if (same) {
      this.#best = schedule;
      this.#result = result;
    }
    this.#options.progress(this.#runs, this.#best.steps.length);
    return same;
  }

  /** What would have come after the violation never did. */
  #cutEnd(): void {
    const { violation } = this.#result;
    if (!violation || violation.timeMs >= this.#best.faultsMs) {
      const last = this.#best.steps.at(-1)?.atMs ?? 0;
      const faultsMs = Math.max(LEAST_FAULTS_MS, last);
      if (faultsMs < this.#best.faultsMs) this.#try({ faultsMs });
      return;
    }
    const steps = this.#best.steps.filter((s) => s.atMs <= violation.timeMs);
    const faultsMs = Math.ceil(violation.timeMs + 1);
    if (steps.length < this.#best.steps.length || faultsMs < this.#best.faultsMs) {
      this.#try({ steps, faultsMs });
    }
  }

  #fewerSteps(): void {
    // First whole kinds: most of what the swarm drew has nothing to do with it.
    const kind = (s: Step): string => s.text.split(' ').slice(0, 2).join(' ');
    const kinds = [...new Set(this.#best.steps.map(kind))];
    const { steps } = this.#best;
    fewest(kinds, (some) => this.#try({ steps: steps.filter((s) => some.includes(kind(s))) }));
    fewest(this.#best.steps, (some) => this.#try({ steps: some }));
  }

  /** Each pause before a step, and the one after the last: gone, or a quarter, or half. */
  #shorter(): void {
    this.#cutEnd();
    for (let i = 0; i <= this.#best.steps.length; i++) {
      for (const part of [0, 0.25, 0.5]) {
        const { steps, faultsMs } = this.#best;
        const before = i === 0 ? 0 : (steps[i - 1]?.atMs ?? 0);
        const gapMs = (steps[i]?.atMs ?? faultsMs) - before;
        const byMs = gapMs - Math.ceil(gapMs * part);
        if (byMs < 50) break;
        const tried = this.#try({
          steps: steps.map((s, n) => (n >= i ? { ...s, atMs: s.atMs - byMs } : s)),
          faultsMs: Math.max(LEAST_FAULTS_MS, faultsMs - byMs),
        });
        if (tried !== false) break;
      }
    }
  }

  #rounder(): void {
    for (const unit of [1000, 100, 10]) {
      const round = (ms: number): number => Math.round(ms / unit) * unit;
      const { steps, faultsMs } = this.#best;
      const last = round(steps.at(-1)?.atMs ?? 0);
      const tried = this.#try({
        steps: steps.map((s) => ({ ...s, atMs: round(s.atMs) })),
        faultsMs: Math.max(LEAST_FAULTS_MS, last, Math.ceil(faultsMs / unit) * unit),
      });
      if (tried !== false) return;
    }
  }

  #plainer(): void {
    const { config } = this.#best;
    fewest(differences(config), (some) => this.#try({ config: withFields(config, some) }));
  }
}

/** Fields of a configuration, those of its parts as `net.protocol`. */
const PARTS = ['net', 'disk', 'resource'] as const;

function isPart(key: string): key is (typeof PARTS)[number] {
  return PARTS.some((p) => p === key);
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

export function differences(config: ClusterConfig): string[] {
  const own = Object.entries(config).flatMap(([key, value]) =>
    !isPart(key) && !same(value, DEFAULT_CONFIG[key as keyof ClusterConfig]) ? [key] : [],
  );
  const inParts = PARTS.flatMap((part) => {
    const defaults = new Map(Object.entries(DEFAULT_CONFIG[part]));
    return Object.entries(config[part]).flatMap(([key, value]) =>
      same(value, defaults.get(key)) ? [] : [`${part}.${key}`],
    );
  });
  return [...own, ...inParts];
}

/** The default configuration with these fields of `config`. */
export function withFields(config: ClusterConfig, fields: readonly string[]): ClusterConfig {
  const kept = (prefix: string, of: object): object =>
    Object.fromEntries(Object.entries(of).filter(([key]) => fields.includes(prefix + key)));
  const parts = PARTS.map((p) => [p, { ...DEFAULT_CONFIG[p], ...kept(`${p}.`, config[p]) }]);
  return { ...DEFAULT_CONFIG, ...kept('', config), ...Object.fromEntries(parts) };
}
