/** Power cuts under a block-level writer. Many more, at random: test/soak/power-cut.ts. */
import test from 'ava';
import { WANTS } from '../support/disk-pair.js';
import { need } from '../support/need.js';
import { replayRecordings } from '../support/pair-recordings.js';
import { PowerCutRun } from '../support/power-cut-run.js';

test('nothing acknowledged is lost in a power cut of the Primary, or of both nodes', async (t) => {
  if (!need(t, ...WANTS)) return;
  const run = await PowerCutRun.create(96);
  t.teardown(() => run.destroy());
  for (const cut of ['primary', 'both'] as const) {
    const result = await run.cycle(cut, Math.random() * 100);
    t.log(`${cut}: ${result.acknowledged} writes acknowledged, ${result.blocks} blocks checked`);
    t.true(result.acknowledged >= 100);
  }
  // What both nodes recorded of it, lives that ended in a power cut among them, replays to the same.
  const recordings = replayRecordings(run.cluster.pair.nodes);
  t.deepEqual(
    recordings.filter((r) => r.wrong !== ''),
    [],
  );
  t.true(recordings.length >= 4);
});
