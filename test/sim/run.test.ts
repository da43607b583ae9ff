/** One run: what ends it besides a checker. */
import test from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';
import { type RunResult, run } from '../../src/sim/run.js';
import { plan } from '../../src/sim/swarm.js';
import type { World } from '../../src/sim/world.js';

const withHook = (prepare: (world: World) => void): RunResult =>
  run({ seed: 1, ...plan(1, 'none') }, nodeDigests, null, prepare);

test('machines that keep each other busy without time going on are a violation, not a run without end', (t) => {
  const result = withHook((world) => {
    const again = (): void => void world.clock.after(0, again);
    world.clock.after(1234, again);
  });
  t.is(result.violation?.invariant, 'I9');
  t.is(result.violation?.checker, 'livelock');
  t.is(result.violation?.timeMs, 1234);
});

test('a busy second or a long run is no livelock', (t) => {
  let left = 400_000;
  const result = withHook((world) => {
    const again = (): void => {
      if (--left > 0) world.clock.after(0.001, again);
    };
    world.clock.after(1234, again);
  });
  t.is(left, 0);
  t.is(result.violation, null);
});

test('a broken assertion is a violation, in words without a path of this machine', (t) => {
  const result = withHook((world) => {
    world.clock.after(2500, () => {
      world.nodes.alpha.drbdadm = () => {
        throw new RangeError('broken on purpose');
      };
      world.nodes.alpha.serve([], () => {});
    });
  });
  t.is(result.violation?.invariant, 'assert');
  t.is(result.violation?.timeMs, 2500);
  const lines = result.violation?.text.split('\n') ?? [];
  t.is(lines[0], 'RangeError: broken on purpose');
  t.true(lines.length > 2);
  for (const line of lines.slice(1)) t.regex(line, /^ {2}at \S+ [a-z]+\/[a-z-]+$/);
});
