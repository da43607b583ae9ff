/** Plays a scenario: its steps at their times, its expectations when their time has come. All checkers watch. */
import { assert } from '../base/assert.js';
import type { DigestSource } from '../base/ports.js';
import { carryOut } from './actions.js';
import { History } from './history.js';
import { execute, type Prepare, type RunResult, settle } from './run.js';
import type { Scenario, ScenarioLine, What } from './scenario.js';
import type { World } from './world.js';

/** How often is looked whether it is so by now. */
const POLL_MS = 20;

/** An expectation that was not met is a violation of `expect`, with file and line. */
export function runScenario(
  scenario: Scenario,
  digests: DigestSource,
  sink: ((line: string) => void) | null,
  prepare: Prepare = () => {},
): RunResult {
  return execute(scenario.seed, scenario.config, digests, sink, prepare, (world) => {
    const player = new Player(world, scenario.file);
    for (const line of scenario.lines) {
      const { when } = line;
      world.runUntil('atMs' in when ? when.atMs : world.nowMs + when.afterMs);
      if (world.violations.length === 0) player.line(line);
      if (world.violations.length > 0) return;
    }
  });
}

class Player {
  readonly #world: World;
  readonly #file: string;
  readonly #history: History;
  #lastStepMs = 0;

  constructor(world: World, file: string) {
    this.#world = world;
    this.#file = file;
    const [first] = world.devices;
    assert(first, 'every cluster has a replicated device');
    this.#history = new History(first);
    first.watch(this.#history);
  }

  line(line: ScenarioLine): void {
    const { what } = line;
    if (what.type === 'expect') {
      this.#expect(line, what);
      return;
    }
    this.#lastStepMs = this.#world.nowMs;
    if (what.type === 'settle') settle(this.#world);
    else carryOut(this.#world, what.text);
  }

  #expect(line: ScenarioLine, what: What & { type: 'expect' }): void {
    const world = this.#world;
    const { expectation, values, withinMs, forMs } = what;
    const sinceMs = what.sinceMs ?? this.#lastStepMs;
    const look = { world, history: this.#history, values, sinceMs };
    const endMs = world.nowMs + (withinMs ?? forMs ?? 0);
    world.trace.line(world.nowMs, '', 'scenario', line.text);
    for (;;) {
      const wrong = expectation.look(look);
      world.count('scenario');
      if (wrong === null && forMs === null) return;
      if (wrong !== null && (forMs !== null || world.nowMs >= endMs)) {
        world.violate('expect', 'scenario', `${this.#file}:${line.line}: ${line.text}: ${wrong}`);
        return;
      }
      if (world.nowMs >= endMs) return;
      // What must be so all the time is looked at after every event.
      const nextMs = forMs === null ? world.nowMs + POLL_MS : world.clock.nextMs;
      world.runUntil(Math.min(endMs, Math.max(nextMs, world.nowMs)));
      if (world.violations.length > 0) return;
    }
  }
}
