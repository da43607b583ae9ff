/**
 * Planted bugs, to prove the checkers: `twinbeat sim --mutant NAME` runs the simulator on machines of which one does
 * something wrong. Each is a bug that DRBD or Heartbeat has had, or that a change here could easily bring.
 *
 * Production code holds none of them: a mutant is a replacement of text in one compiled file, made while a process loads it
 * (cli/sim-mutant-register.ts). `find` must occur exactly once in that file; test/sim/mutants.test.ts holds that, so that a
 * change of the machines does not leave mutants behind that do nothing.
 */
import { CAUGHT } from './mutants-caught.js';
import { CLUSTER_MUTANTS } from './mutants-cluster.js';
import { DRBD_MUTANTS } from './mutants-drbd.js';
import { HEARTBEAT_MUTANTS } from './mutants-heartbeat.js';
import { RESYNC_MUTANTS } from './mutants-resync.js';
import { VOLUME_MUTANTS } from './mutants-volumes.js';
import type { AnyProfile } from './swarm.js';

export interface Mutant {
  readonly name: string;
  /** What it does wrong. */
  readonly what: string;
  /** Compiled file below build/src. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** A run in which a mutant is to be noticed: a seed of the swarm or another profile (without `version`: of its first), or a scenario of etc/scenarios. */
export type Trial =
  | { readonly profile: AnyProfile; readonly seed: number; readonly version?: number }
  | { readonly scenario: string };

/** Who noticed it first, and where. Seeds are tried from 1 on: the seed is how many it took. */
export type Caught = Trial & {
  readonly invariant: string;
  readonly checker: string;
};

export const MUTANTS: readonly Mutant[] = [
  ...DRBD_MUTANTS,
  ...RESYNC_MUTANTS,
  ...VOLUME_MUTANTS,
  ...HEARTBEAT_MUTANTS,
  ...CLUSTER_MUTANTS,
];

export function mutantNamed(name: string): Mutant | null {
  return MUTANTS.find((mutant) => mutant.name === name) ?? null;
}

/** The text of the file with the bug in it, or why it cannot be planted. */
export function plant(mutant: Mutant, text: string): { text: string } | { error: string } {
  const times = text.split(mutant.find).length - 1;
  if (times !== 1) {
    const found = times === 0 ? 'does not occur' : `occurs ${times} times`;
    return {
      error: `the mutant no longer applies: ${mutant.name}: its text ${found} in ${mutant.file}`,
    };
  }
  return { text: text.replace(mutant.find, () => mutant.replace) };
}

/** Names that somebody who wrote `name` may have meant, nearest first. */
export function nearNames(name: string, most = 5): string[] {
  const words = name.toLowerCase().split('-');
  const near = MUTANTS.map((mutant) => {
    const own = mutant.name.split('-');
    const common = words.filter((word) => word.length > 2 && own.includes(word)).length;
    return { name: mutant.name, far: distance(name.toLowerCase(), mutant.name) - 4 * common };
  });
  near.sort((a, b) => a.far - b.far || (a.name < b.name ? -1 : 1));
  return near.slice(0, most).map((each) => each.name);
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** Null: not measured (bench/mutants.ts). */
export function caughtBy(name: string): Caught | null {
  return CAUGHT[name] ?? null;
}

/** `3 seeds`, `12 seeds of heartbeat`, `4 seeds of version 7`, `scenario split-brain`. */
export function trialText(trial: Trial): string {
  if ('scenario' in trial) return `scenario ${trial.scenario}`;
  const seeds = trial.seed === 1 ? '1 seed' : `${trial.seed} seeds`;
  const version = trial.version === undefined ? '' : ` of version ${trial.version}`;
  return trial.profile === 'swarm'
    ? `${seeds}${version}`
    : `${seeds} of ${trial.profile}${version}`;
}

/** The table of docs/MUTANTS.md. */
export function mutantTable(
  mutants: readonly Mutant[] = MUTANTS,
  caught: (name: string) => Caught | null = caughtBy,
): string {
  const lines = ['| mutant | what it does wrong | noticed by | after |', '|---|---|---|---|'];
  for (const { name, what } of mutants) {
    const by = caught(name);
    const who = by ? `${by.invariant}: ${by.checker}` : '-';
    lines.push(`| ${name} | ${what} | ${who} | ${by ? trialText(by) : '-'} |`);
  }
  return `${lines.join('\n')}\n`;
}
