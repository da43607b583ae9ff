/** The bound of a node that dies, with a device that resets it first. (What simulated outages take: test/sim/bound.test.ts.) */
import test from 'ava';
import { boundText } from '../../src/cli/twinbeat-bound.js';
import type { TwinbeatIni } from '../../src/config/twinbeat-ini.js';
import { boundsOf } from '../../src/host/bound.js';
import { ScriptTimes } from '../../src/host/script-times.js';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { heartbeatTexts, readHeartbeatTexts } from '../../src/sim/heartbeat-config.js';

function ofNode(
  fence: Partial<TwinbeatIni['fence']>,
  witness: Partial<TwinbeatIni['witness']> = {},
) {
  const { config } = readHeartbeatTexts('alpha', heartbeatTexts(DEFAULT_CONFIG));
  if (!config) throw new Error('not taken');
  const ini = { ...config.ini, fence: { ...config.ini.fence, ...fence } };
  const asked = { ...config.ini.witness, ...witness };
  const [bound] = boundsOf({ ...config, ini: { ...ini, witness: asked } }, new ScriptTimes());
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
  t.regex(boundText(bound), /note: a node that was back before its reset was confirmed, .* 10 min/);
  t.false(without.notes.some((note) => note.includes('confirmed')));
});

test('with a witness: a lease, and stop-limit where nothing resets the dead node', (t) => {
  const without = ofNode({});
  const witness = { address: '192.0.2.1:1', leaseS: 30, stopLimitS: 60 };
  const bound = ofNode({}, witness);
  t.is(bound.ms - without.ms, 30_000 + 61_213); // one per cent of drift on each side
  t.true(bound.notes.some((note) => note.startsWith('a witness that does not answer')));
  const fenced = ofNode({ agent: 'fence_dummy', timeoutS: 30 }, witness);
  t.is(fenced.ms - without.ms, 60_000);
});

test('where all groups need disks they are looked at first, and it says so; not with legacy', (t) => {
  const notes = (autoFailback: 'off' | 'legacy', haresources?: string) => {
    const texts = heartbeatTexts({ ...DEFAULT_CONFIG, autoFailback }, haresources);
    const { config } = readHeartbeatTexts('alpha', texts);
    if (!config) throw new Error('not taken');
    const [bound] = boundsOf(config, new ScriptTimes());
    return bound?.notes.filter((note) => /drbdadm dstate/.test(note)).length;
  };
  t.is(notes('off'), 1);
  t.is(notes('legacy'), 0);
  t.is(notes('off', 'alpha service\nbeta other\n'), 0);
});
