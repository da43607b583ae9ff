/**
 * The checker of equal disks (I3), and what it lets pass: a new part of the device that is marked, until its resync has begun. The
 * machines are held in the moment before that.
 */
import test, { type ExecutionContext } from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';
import { carryOut } from '../../src/sim/actions.js';
import { execute } from '../../src/sim/run.js';
import { parseScenario } from '../../src/sim/scenario.js';
import type { SimNode } from '../../src/sim/sim-node.js';
import type { World } from '../../src/sim/world.js';

const NEW_FROM = 4096; // the sector at which the new part begins
const DIFFERENT = new Uint8Array(512).fill(7);

/** A quiet pair in sync, whose device ends at NEW_FROM as far as anybody knows; then `play`. What is violated first, and when after. */
function violation(play: (world: World) => void): { checker: string; afterMs: number } | null {
  const parsed = parseScenario('set heartbeat none\nat 0s boot alpha', 'equal');
  if (!parsed.ok) throw new Error(parsed.text);
  let beginsMs = 0;
  const result = execute(
    1,
    parsed.scenario.config,
    nodeDigests,
    null,
    () => {},
    (world) => {
      for (const name of ['alpha', 'beta']) carryOut(world, `boot ${name}`);
      world.runUntil(2000);
      carryOut(world, 'drbdadm new-current-uuid --clear-bitmap on alpha');
      world.runUntil(3000);
      const sizes = world.bothNodes.map((n) => volume(n).sizeSectors);
      for (const n of world.bothNodes) volume(n).sizeSectors = NEW_FROM;
      world.runUntil(5000);
      world.bothNodes.forEach((n, i) => {
        volume(n).sizeSectors = sizes[i] as number;
      });
      beginsMs = world.nowMs;
      play(world);
      world.runUntil(beginsMs + 30_000);
    },
  );
  const { violation: found } = result;
  return found && { checker: found.checker, afterMs: found.timeMs - beginsMs };
}

function volume(n: SimNode) {
  const v = n.drbdd?.volume;
  if (!v) throw new Error(`${n.name} has no volume`);
  return v;
}

/** The resync of all behind NEW_FROM is due, and does not begin. */
const due = (n: SimNode): void => volume(n).growth.attached(NEW_FROM, volume(n).sizeSectors);

const mark = (n: SimNode, sector: number): void => {
  volume(n).bitmap?.setSectors(sector, 1);
};

const differ = (n: SimNode, sector: number): void => {
  n.disk.write(sector * 512, DIFFERENT, true);
};

const soon = (
  t: ExecutionContext,
  found: ReturnType<typeof violation>,
  checkers = ['equal'],
): void => {
  t.true(checkers.includes(found?.checker ?? ''), found?.checker ?? 'nothing');
  t.true((found?.afterMs ?? 0) < 2000, `${found?.afterMs} ms`);
};

test('a pair that is the same: nothing', (t) => {
  t.is(
    violation(() => {}),
    null,
  );
});

test('a new part that is marked may differ until its resync has begun, which has to be soon', (t) => {
  const found = violation(({ nodes: { alpha, beta } }) => {
    due(alpha);
    mark(beta, NEW_FROM + 8);
    differ(alpha, NEW_FROM + 8);
  });
  t.is(found?.checker, 'equal');
  t.true((found?.afterMs ?? 0) >= 15_000 && (found?.afterMs ?? 0) < 18_000, `${found?.afterMs} ms`);
});

test('the handler that the beginning of a resync waits for takes its time', (t) => {
  const found = violation(({ nodes: { alpha, beta } }) => {
    due(alpha);
    mark(beta, NEW_FROM + 8);
    differ(alpha, NEW_FROM + 8);
    alpha.handlerFaults.set('before-resync-source', { kind: 'takes', ms: 8000 });
    const works = (answer: (exit: number) => void): void => answer(0);
    alpha.handlerFaults.run(
      'before-resync-source',
      works,
      () => {},
      () => {},
    );
  });
  t.is(found?.checker, 'equal');
  t.true((found?.afterMs ?? 0) >= 23_000 && (found?.afterMs ?? 0) < 26_000, `${found?.afterMs} ms`);
});

test('a difference in a new part that nobody has marked', (t) => {
  const found = violation(({ nodes: { alpha, beta } }) => {
    due(alpha);
    due(beta);
    mark(beta, NEW_FROM + 8);
    differ(alpha, NEW_FROM + 8);
    differ(alpha, NEW_FROM + 16);
  });
  soon(t, found, ['equal', 'bits']);
});

test('a difference in the part that was there before, marked or not', (t) => {
  const found = violation(({ nodes: { alpha, beta } }) => {
    due(alpha);
    due(beta);
    mark(beta, NEW_FROM - 8);
    differ(alpha, NEW_FROM - 8);
  });
  soon(t, found);
});

test('marked, and no resync is due: "No resync, but 1 bits in bitmap!" is no excuse', (t) => {
  const found = violation(({ nodes: { alpha } }) => {
    mark(alpha, NEW_FROM + 8);
    differ(alpha, NEW_FROM + 8);
  });
  soon(t, found);
});
