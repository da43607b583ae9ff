/** A seed is worth keeping only while it means the same run. */
import { createHash } from 'node:crypto';
import test from 'ava';
import { PROFILES, plan, SWARM_VERSION } from '../../src/sim/swarm.js';

/** Of the plans below, by profile. When one differs: raise SWARM_VERSION in src/sim/swarm.ts, then write both here. */
const KNOWN: { version: number; plans: Record<string, string> } = {
  version: 2,
  plans: {
    swarm: 'e2c240fad51292ea',
    none: 'f5b8789952ebf6a7',
    network: 'eee486bfa5f11e7a',
    crash: 'f4b2f1cf217e35d0',
    disk: 'a4f81ad1cf172b63',
    operator: '5228ed4c9bb41832',
    heartbeat: 'd4dc8123efbb561f',
    large: '299c4cd1b309e118',
  },
};

test('what seeds draw changes only with SWARM_VERSION', (t) => {
  const plans: Record<string, string> = {};
  for (const profile of PROFILES) {
    const hash = createHash('sha256');
    for (const seed of [0, 1, 2, 3, 1000, 123_456_789, 0xffffffff]) {
      hash.update(JSON.stringify(plan(seed, profile)));
    }
    plans[profile] = hash.digest('hex').slice(0, 16);
  }
  t.deepEqual(
    { version: SWARM_VERSION, plans },
    KNOWN,
    'the swarm draws something else: raise SWARM_VERSION and write it and the new hashes here',
  );
});
