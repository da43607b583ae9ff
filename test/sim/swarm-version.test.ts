/** A seed is worth keeping only while it means the same run. */
import { createHash } from 'node:crypto';
import test from 'ava';
import { PROFILES, plan, SWARM_VERSION } from '../../src/sim/swarm.js';

/** Of the plans below. When it differs: raise SWARM_VERSION in src/sim/swarm.ts, then write both here. */
const KNOWN = { version: 2, plans: 'c8b626bc0b78d7b0' };

test('what seeds draw changes only with SWARM_VERSION', (t) => {
  const hash = createHash('sha256');
  for (const profile of PROFILES) {
    for (const seed of [0, 1, 2, 3, 1000, 123_456_789, 0xffffffff]) {
      hash.update(JSON.stringify(plan(seed, profile)));
    }
  }
  const plans = hash.digest('hex').slice(0, 16);
  t.deepEqual(
    { version: SWARM_VERSION, plans },
    KNOWN,
    'the swarm draws something else: raise SWARM_VERSION and write it and the new hash here',
  );
});
