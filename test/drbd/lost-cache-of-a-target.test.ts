/** on-io-error pass_on: the disk of a resync's target fails to flush, once. */
import test from 'ava';
import { block, inSync } from '../support/sim-pair.js';

test('what it had stored and not flushed is copied once more', (t) => {
  const slow = {
    onIoError: 'pass_on',
    cPlanAheadDs: 0,
    cMinRateKiBps: 0,
    resyncRateKiBps: 100,
  } as const;
  const pair = inSync(1, { disk: slow });
  const { alpha, beta } = pair;
  pair.net.cut('replication');
  pair.net.reset('replication');
  alpha.until(/cs:WFConnection/);
  for (let n = 0; n < 100; n++) t.is(alpha.write(n * 8, block(n + 1)), 0);
  pair.net.heal('replication');
  alpha.until(/cs:SyncSource/);
  pair.until(() => beta.volume.bitmap?.isSet(1) === false, 'the second block');
  pair.run(5);
  beta.disk.faults.flushChance = 1;
  t.is(alpha.write(100 * 8, block(77)), 0);
  pair.until(() => beta.log.some((l) => l.includes('local write IO error')), 'the flush fails');
  beta.disk.faults.flushChance = 0;
  beta.disk.corrupt(8); // so much of its cache
  t.regex(beta.shown, /cs:SyncTarget/);
  pair.settled();
  t.is(pair.firstDifference(), -1);
});
