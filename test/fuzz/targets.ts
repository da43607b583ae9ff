/**
 * What is fuzzed: each target takes inputs made from random numbers, and throws where something is wrong that is not an
 * answer of the program (a refusal, an error of its own type). `make fuzz` runs them for long, fuzz.test.ts for a moment.
 */
import { Prng } from '../../src/base/prng.js';
import { heartbeatTargets } from './heartbeat-targets.js';
import { textTargets } from './text-targets.js';
import { wireTargets } from './wire-targets.js';

export interface FuzzTarget {
  readonly name: string;
  /** Makes an input, or a run of them, and tries it. How many it was. */
  readonly input: (rng: Prng) => number;
}

export const allTargets = (): readonly FuzzTarget[] => [
  ...wireTargets(),
  ...textTargets(),
  ...heartbeatTargets(),
];

export interface FuzzResult {
  readonly inputs: number;
  readonly slowestMs: number;
  readonly failures: readonly { readonly seed: number; readonly error: unknown }[];
}

const MOST_FAILURES = 20;

/** At least `inputs` inputs, the first from `seed`; each from a seed of its own, so that it can be repeated alone. */
export function fuzz(target: FuzzTarget, seed: number, inputs: number): FuzzResult {
  const failures: { seed: number; error: unknown }[] = [];
  let done = 0;
  let slowestMs = 0;
  for (let s = seed; done < inputs && failures.length < MOST_FAILURES; s++) {
    const begunMs = performance.now();
    try {
      done += target.input(new Prng(s));
    } catch (error) {
      done++;
      failures.push({ seed: s, error });
    }
    slowestMs = Math.max(slowestMs, performance.now() - begunMs);
  }
  return { inputs: done, slowestMs, failures };
}
