/** A disk that is known to be old does not become current by meeting a node that has no disk. */
import test from 'ava';
import { detach, outdate } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { BOTH_GOOD, both, pair, pattern, promote } from '../support/pair.js';

test('an Outdated disk and a diskless peer: nobody is promoted on the old data', async (t) => {
  const e = await pair(t);
  await e.b.disconnect();
  await e.a.until(/cs:WFConnection/);
  t.is((await e.b.ask((v, done) => outdate(v, done))).kind, 'ok');
  t.is(await e.a.write(0, pattern(7, 4096)), 0); // this only a has
  t.is((await e.a.ask((v, done) => setSecondary(v, done))).kind, 'ok');
  t.is((await e.a.ask((v, done) => detach(v, false, done))).kind, 'ok');
  e.connectNode('b');
  await e.a.until(/cs:Connected .*ds:Diskless\/Outdated/);
  await e.b.until(/cs:Connected .*ds:Outdated\/Diskless/);
  for (const node of [e.a, e.b]) {
    const outcome = await node.ask((v, done) => setPrimary(v, false, done));
    t.is<number, number>(outcome.code, Ss.NO_UP_TO_DATE_DISK, node.name);
  }
  // its disk comes back: the handshake decides, and what was written is there
  await e.a.attach();
  await both(e, BOTH_GOOD);
  await promote(e.b);
  t.deepEqual(await e.b.read(0, 4096), pattern(7, 4096));
});

test('... but by force, as ever', async (t) => {
  const e = await pair(t);
  await e.b.disconnect();
  await e.a.until(/cs:WFConnection/);
  t.is((await e.b.ask((v, done) => outdate(v, done))).kind, 'ok');
  t.is((await e.a.ask((v, done) => setSecondary(v, done))).kind, 'ok');
  t.is((await e.a.ask((v, done) => detach(v, false, done))).kind, 'ok');
  e.connectNode('b');
  await e.b.until(/cs:Connected .*ds:Outdated\/Diskless/);
  await promote(e.b, true);
  await e.a.until(/ro:Secondary\/Primary ds:Diskless\/UpToDate/);
  t.is(await e.b.write(0, pattern(8, 4096)), 0);
});
