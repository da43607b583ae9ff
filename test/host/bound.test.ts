/** The bound of a node that dies, with a device that resets it first. (What simulated outages take: test/sim/bound.test.ts.) */
import test from 'ava';
import { boundText } from '../../src/cli/twinbeat-bound.js';
import type { TwinbeatIni } from '../../src/config/twinbeat-ini.js';
import { boundsOf } from '../../src/host/bound.js';
import { ScriptTimes } from '../../src/host/script-times.js';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { heartbeatTexts, readHeartbeatTexts } from '../../src/sim/heartbeat-config.js';

function ofNode(fence: Partial<TwinbeatIni['fence']>) {
  const { config } = readHeartbeatTexts('alpha', heartbeatTexts(DEFAULT_CONFIG));
  if (!config) throw new Error('not taken');
  const ini = { ...config.ini, fence: { ...config.ini.fence, ...fence } };
  const [bound] = boundsOf({ ...config, ini }, new ScriptTimes());
  if (!bound) throw new Error('no bound');
  return bound;
}

test('without a device nothing is asked before a take-over, and it says so', (t) => {
  const bound = ofNode({});
  t.false(bound.parts.some(({ what }) => what.startsWith('reset')));
  t.true(bound.notes.some((note) => note.startsWith('no fencing')));
});

test('with a device its delay and its time are parts; one that fails has no limit', (t) => {
  const without = ofNode({});
  const bound = ofNode({ agent: 'fence_dummy', delayS: 7, timeoutS: 30 });
  t.is(bound.ms - without.ms, 37_000);
  t.false(bound.notes.some((note) => note.startsWith('no fencing')));
  t.regex(boundText(bound), /30\.0 s {2}reset of the dead node \(fence_dummy, at most\)/);
  t.regex(boundText(bound), /7\.0 s {2}delay of the reset/);
  t.regex(boundText(bound), /note: a reset that fails is tried again for ever/);
});
