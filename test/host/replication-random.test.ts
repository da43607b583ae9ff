/**
 * Random load and random trouble (link cuts, breaks in the middle of a packet, crashes of either node, detach and attach, role
 * changes) from seeds; then the pair is healed, and both disks and the model agree. More: SEEDS=100..400 npx ava <this>.
 */
import test from 'ava';
import { ReplicationRun } from '../support/replication-run.js';
import { options } from '../support/replication-seeds.js';

const [first, last] = (process.env['SEEDS'] ?? '1..30').split('..').map(Number) as [number, number];
const AT_ONCE = 6;

async function oneSeed(
  t: { teardown(done: () => void | Promise<void>): void },
  seed: number,
): Promise<void> {
  const run = await ReplicationRun.begin(t, seed, options(seed));
  try {
    for (let i = 0; i < 6; i++) await run.step();
    await run.heal();
    await run.check();
    await run.quiet();
  } catch (error) {
    throw new Error(`seed ${seed}: ${(error as Error).message}\n${run.report}`);
  }
}

for (let lane = 0; lane < AT_ONCE; lane++) {
  test(`seeds ${first + lane}, ${first + lane + AT_ONCE} ... ${last}`, async (t) => {
    t.timeout(600_000);
    t.true(first <= last);
    for (let seed = first + lane; seed <= last; seed += AT_ONCE) {
      const ends: (() => void | Promise<void>)[] = [];
      const scope = { teardown: (done: () => void | Promise<void>) => void ends.push(done) };
      try {
        await oneSeed(scope, seed);
        t.log(`seed ${seed} holds`);
      } catch (error) {
        t.fail((error as Error).message);
      } finally {
        for (const end of ends.reverse()) await end();
      }
    }
  });
}
