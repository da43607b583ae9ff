/** A simulated cluster that is taken to a moment by a scenario's text, and from there by a test. */
import { nodeDigests } from '../../src/real/node-ports.js';
import { carryOut } from '../../src/sim/actions.js';
import type { Replica } from '../../src/sim/replica.js';
import { execute, type RunResult } from '../../src/sim/run.js';
import { parseScenario } from '../../src/sim/scenario.js';
import type { World } from '../../src/sim/world.js';

/** Both nodes are there, their copies are declared the same, and alpha serves. */
export const SERVING = `
at 0s boot alpha
at 0s boot beta
at 2s drbdadm new-current-uuid --clear-bitmap on alpha
at 3s serve on alpha
`;

export function parsed(text: string) {
  const result = parseScenario(text, 'a test');
  if (!result.ok) throw new Error(result.text);
  return result.scenario;
}

/** The steps of `text`, then on until `untilMs`; then `play`. */
export function playedFrom(text: string, untilMs: number, play: (world: World) => void): RunResult {
  const { config, lines } = parsed(text);
  return execute(
    1,
    config,
    nodeDigests,
    null,
    () => {},
    (world) => {
      for (const { when, what } of lines) {
        if (what.type !== 'step' || !('atMs' in when)) continue;
        world.runUntil(when.atMs);
        carryOut(world, what.text);
      }
      world.runUntil(untilMs);
      play(world);
    },
  );
}

/** Of a device, on both nodes. */
export function copies(world: World, minor: number): Replica[] {
  return world.bothNodes.map((n) => n.replica(minor));
}
