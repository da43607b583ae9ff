/**
 * What doctor finds. A check is a row: a name that stays, a level, a rule, and a function that looks at the facts of a node
 * (doctor-facts.ts) and says where they break the rule. docs/DOCTOR.md has the same rows with the reasons.
 *
 *     error      it goes wrong without a fault (at a start, a boot, a switch-over), or at the one for which there is a cluster: a node dies
 *     warning    it takes another fault to go wrong, and then it is worse than it had to be
 */
import type { Facts } from './doctor-facts.js';

export type Level = 'error' | 'warning';

/** Of what a finding is. `line` is null when it is about the whole file, or about what is not in it. */
export interface FoundAt {
  readonly file: string;
  readonly line: number | null;
}

/** One place where the rule of a check is broken. */
export interface Found {
  readonly at: FoundAt | null; // null: it is in no file
  readonly evidence: string;
  /** What to do: sentences, and commands, which begin with `$ `. */
  readonly next: readonly string[];
}

export interface Check {
  readonly name: string;
  readonly level: Level;
  readonly rule: string;
  look(facts: Facts): readonly Found[];
}

export interface Finding {
  readonly name: string;
  readonly level: Level;
  readonly file: string | null;
  readonly line: number | null;
  readonly rule: string;
  readonly evidence: string;
  readonly next: readonly string[];
}

/** Errors first; else in the order of the checks. */
export function findings(checks: readonly Check[], facts: Facts): readonly Finding[] {
  const found = checks.flatMap(({ name, level, rule, look }) =>
    look(facts).map(
      ({ at, evidence, next }): Finding => ({
        name,
        level,
        file: at?.file ?? null,
        line: at?.line ?? null,
        rule,
        evidence,
        next,
      }),
    ),
  );
  const errors = found.filter(({ level }) => level === 'error');
  return [...errors, ...found.filter(({ level }) => level === 'warning')];
}

/** 0 clean, 1 warnings, 2 errors. */
export function exitStatus(found: readonly Finding[]): number {
  if (found.some(({ level }) => level === 'error')) return 2;
  return found.length > 0 ? 1 : 0;
}
