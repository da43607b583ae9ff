/**
 * Below version 91 two nodes of one generation refuse each other where the source of a resync has missed its end (uuid_compare, rules 34
 * to 37 need 91). What the refusal names as the way out has to be one. Real engines in virtual time.
 */
import test from 'ava';
import { setUuids } from '../../src/drbd/changes.js';
import { newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { setSecondary } from '../../src/drbd/roles.js';
import { block, inSync } from '../support/sim-pair.js';

test('version 88, an end that one side has missed: refused, and new-current-uuid on the copy that is kept mends it', (t) => {
  const pair = inSync(1, { dialect: { protocolMax: 88, features: 0 } });
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(7)), 0);
  alpha.ask(setSecondary);
  beta.disconnect();
  alpha.until(/cs:WFConnection/);
  alpha.disconnect();
  // As alpha would be if the last word of the target had been lost.
  alpha.loop.enter(() => setUuids(alpha.volume, { ...alpha.volume.uuids, bitmap: 0x1234_5678n }));
  pair.run(100);
  for (const node of [alpha, beta]) node.connect();
  for (const node of [alpha, beta]) node.until(/cs:StandAlone/);
  t.true(alpha.log.some((line) => /Or keep one copy: `drbdadm new-current-uuid`/.test(line)));
  t.is(alpha.ask((v, done) => newCurrentUuid(v, false, done)).kind, 'ok');
  for (const node of [alpha, beta]) node.connect();
  pair.settled();
  t.is(pair.firstDifference(), -1);
});
