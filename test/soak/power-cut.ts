/**
 * Power cuts at random moments under a block-level writer: of the Primary (the other takes over), of its drbdd, of the Secondary, of
 * both. After each: every acknowledged block is there, none is torn; with both nodes back, identical lower disks.
 *
 *     node build/test/soak/power-cut.js [--cycles 50] [--size 128] [--seed N]
 */
import { Prng } from '../../src/base/prng.js';
import { CUTS, PowerCutRun } from '../support/power-cut-run.js';
import { argument, say } from './soak-support.js';

const cycles = argument('cycles', 50);
const seed = argument('seed', Date.now() % 1_000_000);
const random = new Prng(seed);
say(`power-cut: seed ${seed}`);
const run = await PowerCutRun.create(argument('size', 128));
process.once('SIGINT', () => void run.destroy().finally(() => process.exit(130)));
const startMs = performance.now();
let acknowledged = 0;
try {
  say('   #  what            acked writes   known blocks  unanswered  oos KiB  sent KiB  disks');
  for (let n = 1; n <= cycles; n++) {
    const cut = random.pick(CUTS);
    const result = await run.cycle(cut, random.below(400));
    acknowledged += result.acknowledged;
    say(
      [
        String(n).padStart(4),
        cut.padEnd(14),
        String(result.acknowledged).padStart(13),
        String(result.blocks).padStart(13),
        String(result.unanswered).padStart(10),
        String(result.oosKiB).padStart(7),
        String(result.sentKiB).padStart(8),
        result.hash.slice(0, 12),
      ].join('  '),
    );
  }
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  say(
    `power-cut: ${cycles} cycles in ${seconds} s, ${acknowledged} writes acknowledged before a cut, 0 lost`,
  );
} catch (e) {
  say(
    `power-cut: failed (seed ${seed}): ${e instanceof Error ? (e.stack ?? e.message) : String(e)}`,
  );
  process.exitCode = 1;
} finally {
  await run.destroy();
}
