/**
 * The ladder of one resource: what its checks said lately, as one of five levels.
 *
 *     OK -- OK_INFO -- OK_WARN -- OK_CRITICAL -- FAIL
 *
 * One step up for each check that failed, one down for each that did not; the levels are spread over `steps`, and FAIL is
 * the last step. So `steps` - 1 checks that fail one after the other are FAIL, whatever was before, and none less.
 *
 * A service that is degraded (exit 10 of `monitor`: too many connections) climbs steps of its own, at most to
 * OK_CRITICAL: moving it would not help. They do not count towards FAIL, or a single check that fails would move it.
 * Source: docs/HEALTH.md; exit statuses of `monitor` in docs/RESOURCES.md.
 */
import type { ScriptOutcome } from './group-operation.js';

export type HealthLevel = 'OK' | 'OK_INFO' | 'OK_WARN' | 'OK_CRITICAL' | 'FAIL';

export type CheckVerdict = 'good' | 'degraded' | 'failed';

export const HEALTH_LEVELS: readonly HealthLevel[] = [
  'OK',
  'OK_INFO',
  'OK_WARN',
  'OK_CRITICAL',
  'FAIL',
];
const HIGHEST_BELOW_FAIL = HEALTH_LEVELS.length - 2;

const DEGRADED = 10;

/** What a check says. Not running (3, 7), killed, and a script that cannot be found are failures like any other. */
export function verdictOf({ exitStatus, failure }: ScriptOutcome): CheckVerdict {
  if (failure !== null) return 'failed';
  return exitStatus === 0 ? 'good' : exitStatus === DEGRADED ? 'degraded' : 'failed';
}

/** In one line, for log and status. */
export function wordsOf({ exitStatus, failure, output }: ScriptOutcome): string {
  const said = output.trim().split('\n')[0]?.slice(0, 200) ?? '';
  if (failure === 'killed') return 'no end in time';
  if (failure === 'missing') return 'no such script';
  return said === '' ? `exit status ${exitStatus}` : said;
}

/** `step` from 0 to `steps` - 1. */
export function levelOf(step: number, steps: number): HealthLevel {
  if (step <= 0) return 'OK';
  if (step >= steps - 1) return 'FAIL';
  const spread = Math.round((step * (HEALTH_LEVELS.length - 1)) / (steps - 1));
  return HEALTH_LEVELS[Math.min(Math.max(spread, 1), HIGHEST_BELOW_FAIL)] ?? 'OK_INFO';
}

export class HealthLadder {
  readonly #steps: number;
  #failed = 0; // 0 to steps - 1
  #degraded = 0; // 0 to steps - 2

  /** `steps`: at least 3. */
  constructor(steps: number) {
    this.#steps = steps;
  }

  get level(): HealthLevel {
    return levelOf(Math.max(this.#failed, this.#degraded), this.#steps);
  }

  checked(verdict: CheckVerdict): void {
    const last = this.#steps - 1;
    this.#failed = clamp(this.#failed + (verdict === 'failed' ? 1 : -1), last);
    if (verdict === 'degraded') this.#degraded = clamp(this.#degraded + 1, last - 1);
    if (verdict === 'good') this.#degraded = clamp(this.#degraded - 1, last - 1);
  }

  /** It was started anew. */
  reset(): void {
    this.#failed = 0;
    this.#degraded = 0;
  }
}

function clamp(value: number, max: number): number {
  return Math.min(Math.max(value, 0), max);
}
