/** A successor of the engine knows of a volume whose users outlive it what its predecessor knew: all of it, whatever comes together. */

import test from 'ava';
import fc from 'fast-check';
import { expose, isExposed } from '../../src/host/exposed.js';
import { SimPair, type SimPairNode } from '../support/sim-pair.js';

const uuid = fc.bigInt(8n, (1n << 64n) - 1n);
const orNone = fc.oneof(fc.constant(0n), uuid);

function known({ volume: v }: SimPairNode) {
  const { peerMayLack, broken } = v.app.doubt;
  return {
    current: v.exposedUuid,
    ahead: v.ahead,
    elsewhere: v.elsewhere,
    peerMayLack,
    broken,
    unheard: v.partsUnheard,
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
      fc.option(fc.record({ bitmap: orNone, history1: orNone, history2: orNone })),
      fc.boolean(),
      (current, before, ahead, elsewhere, lacks, broken, from, hasBegun) => {
        const { alpha, beta } = new SimPair(1);
        const v = alpha.volume;
        v.exposedUuid = before ?? current;
        if (before !== null) v.exposeNext(current);
        v.ahead = ahead;
        v.elsewhere = elsewhere;
        if (lacks) v.app.doubt.lackedByPeer();
        if (broken) v.app.doubt.breaks();
        if (from) v.partsFrom({ ...from, current });
        if (hasBegun) v.peerHasBegun();
        t.true(isExposed(alpha.exposed));
        t.true(expose(beta.volume, alpha.exposed, true));
        t.deepEqual(known(beta), known(alpha));
        t.is(beta.volume.hasExposed(before ?? current), true);
        // The peer's, when it has begun another one for these users, without and with blocks that were written in it.
        const parts = { ...from, current: current ^ 8n, bitmap: from?.bitmap || current };
        const history = {
          history1: from?.history1 ?? 0n,
          history2: from?.bitmap ? current : (from?.history2 ?? 0n),
        };
        for (const setBits of [0, 1]) {
          const said = { ...parts, ...history, setBits, flags: 0 };
          t.is(beta.volume.areInUse(said), v.areInUse(said));
          if (from && (hasBegun || (setBits === 0 && from.bitmap === 0n))) t.true(v.areInUse(said));
        }
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
