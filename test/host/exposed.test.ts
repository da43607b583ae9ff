/** A successor of the engine knows of a volume whose users outlive it what its predecessor knew: all of it, whatever comes together. */

import test from 'ava';
import fc from 'fast-check';
import { expose, isExposed } from '../../src/host/exposed.js';
import { SimPair, type SimPairNode } from '../support/sim-pair.js';

const uuid = fc.bigInt(4n, (1n << 64n) - 1n);

function known({ volume: v }: SimPairNode) {
  const { peerMayLack, broken } = v.app.doubt;
  return {
    current: v.exposedUuid,
    ahead: v.ahead,
    elsewhere: v.elsewhere,
    peerMayLack,
    broken,
  };
}

test('what users have seen and were promised is told in full, and heard in full', (t) => {
  fc.assert(
    fc.property(
      uuid,
      fc.option(uuid),
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      (current, before, ahead, elsewhere, lacks, broken) => {
        const { alpha, beta } = new SimPair(1);
        const v = alpha.volume;
        v.exposedUuid = before ?? current;
        if (before !== null) v.exposeNext(current);
        v.ahead = ahead;
        v.elsewhere = elsewhere;
        if (lacks) v.app.doubt.lackedByPeer();
        if (broken) v.app.doubt.breaks();
        t.true(isExposed(alpha.exposed));
        t.true(expose(beta.volume, alpha.exposed, true));
        t.deepEqual(known(beta), known(alpha));
        t.is(beta.volume.hasExposed(before ?? current), true);
        t.deepEqual(beta.exposed, alpha.exposed, 'and its own successor');
      },
    ),
  );
});

test('words of the engine before this one: 0 was ahead of the peer', (t) => {
  const { alpha } = new SimPair(1);
  t.true(expose(alpha.volume, ['ABC', '0'], true));
  t.true(alpha.volume.ahead);
  t.is(alpha.volume.exposedUuid, 0xabcn);
});
