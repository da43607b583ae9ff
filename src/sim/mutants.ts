/**
 * Planted bugs, to prove the checkers: `twinbeat sim --mutant NAME` runs the simulator on machines of which one does
 * something wrong. Each is a bug that DRBD or Heartbeat has had, or that a change here could easily bring.
 *
 * Production code holds none of them: a mutant is a replacement of text in one compiled file, made while a process loads it
 * (cli/sim-mutant-register.ts). `find` must occur exactly once in that file; test/sim/mutants.test.ts holds that, so that a
 * change of the machines does not leave mutants behind that do nothing.
 */
import { DRBD_MUTANTS } from './mutants-drbd.js';
import { HEARTBEAT_MUTANTS } from './mutants-heartbeat.js';
import { RESYNC_MUTANTS } from './mutants-resync.js';

export interface Mutant {
  readonly name: string;
  /** What it does wrong. */
  readonly what: string;
  /** Compiled file below build/src. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Invariants of which one should show it: I1 to I9 of docs/SIMULATION.md, A/B/C, reads, progress, fencing. */
  readonly expected: readonly string[];
  /** The first that did, at which seed of the swarm; null: not measured. */
  readonly caughtBy: Caught | null;
}

export interface Caught {
  readonly checker: string;
  readonly seed: number;
}

export const MUTANTS: readonly Mutant[] = [
  ...DRBD_MUTANTS,
  ...RESYNC_MUTANTS,
  ...HEARTBEAT_MUTANTS,
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

/** The table of docs/SIMULATION.md. */
export function mutantTable(mutants: readonly Mutant[] = MUTANTS): string {
  const lines = ['| mutant | what it does wrong | noticed by | seed |', '|---|---|---|---|'];
  for (const { name, what, caughtBy } of mutants) {
    lines.push(`| ${name} | ${what} | ${caughtBy?.checker ?? '-'} | ${caughtBy?.seed ?? '-'} |`);
  }
  return `${lines.join('\n')}\n`;
}
