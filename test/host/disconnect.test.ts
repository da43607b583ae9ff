/** disconnect: who may leave whom, and whose data count as old afterwards. docs/STATES.md, administrative operations. */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import type { TestNode } from '../support/engines.js';
import { BOTH_GOOD, both, pair, pattern } from '../support/pair.js';

function leave(node: TestNode, forceIt = false): Promise<number> {
  return new Promise((done) =>
    node.loop.enter(() => node.resource.disconnect(forceIt, (code) => done(code))),
  );
}

test('a Primary that needs the disk of its peer stays, and so does the peer; by force it goes', async (t) => {
  const e = await pair(t);
  t.is((await e.a.ask((v, done) => detach(v, false, done))).kind, 'ok');
  t.is(await leave(e.a), Ss.NO_UP_TO_DATE_DISK);
  t.is(await leave(e.b), Ss.CW_FAILED_BY_PEER);
  t.is(await e.a.write(8, pattern(1, 4096)), 0);
  t.deepEqual(await e.a.read(8, 4096), pattern(1, 4096));
  t.is(await leave(e.b, true), Ss.SUCCESS);
  t.regex(e.b.shown, /cs:StandAlone/);
});

for (const leaver of ['a', 'b'] as const) {
  const who = leaver === 'a' ? 'the Primary' : 'the Secondary';
  test(`with fencing, ${who} leaves: the Secondary is Outdated on both nodes, nobody is fenced`, async (t) => {
    const e = await pair(t, { disk: { fencing: 'resource-only' } });
    await both(e, BOTH_GOOD);
    t.is(await leave(e[leaver]), Ss.SUCCESS);
    await e.b.until(/ds:Outdated\/DUnknown/);
    await e.a.until(/cs:(WFConnection|StandAlone) ro:Primary\/Unknown ds:UpToDate\/Outdated/);
    t.is(await e.a.write(8, pattern(1, 4096)), 0);
    for (const node of [e.a, e.b]) t.false(node.log.some((line) => line.includes('fence-peer')));
  });
}
