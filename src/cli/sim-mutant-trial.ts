/**
 * Runs of one mutant, in a process of its own (`node --import sim-mutant-register.js`, TWINBEAT_MUTANT=NAME): it is told runs
 * one by one on its standard input, a line of JSON each, and answers each with what a checker noticed, or null.
 *
 * A run is a seed of a profile of the swarm, or a scenario. Without a mutant in the environment it is the machines as they
 * are: what they show too proves nothing about a mutant.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { nodeDigests } from '../real/node-ports.js';
import type { Trial } from '../sim/mutants.js';
import type { RunResult } from '../sim/run.js';
import { parseScenario } from '../sim/scenario.js';
import { runScenario } from '../sim/scenario-run.js';
import { versionsOf } from '../sim/swarm.js';
import { runSeed } from './sim-seed.js';

export interface TrialResult {
  readonly invariant: string | null; // null: nobody noticed anything
  readonly checker: string | null;
  readonly text: string;
  readonly traceHash: number;
}

const SCENARIOS = new URL('../../../etc/scenarios/', import.meta.url);

export function runTrial(trial: Trial): TrialResult {
  const { violation, traceHash } =
    'seed' in trial
      ? runSeed(
          { seed: trial.seed, version: trial.version ?? versionsOf(trial.profile).first },
          trial.profile,
        )
      : play(trial);
  return {
    invariant: violation?.invariant ?? null,
    checker: violation?.checker ?? null,
    text: violation?.text ?? '',
    traceHash,
  };
}

function play({ scenario }: { readonly scenario: string }): RunResult {
  const file = `${scenario}.txt`;
  const parsed = parseScenario(readFileSync(new URL(file, SCENARIOS), 'utf8'), file);
  if (!parsed.ok) throw new Error(parsed.text);
  return runScenario(parsed.scenario, nodeDigests, null);
}

if (process.argv[2] === 'trials') {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(runTrial(JSON.parse(line) as Trial))}\n`);
  }
}
