/** Lost links, nodes and disks: who has what afterwards, and that the pair becomes one again. */

import { connect } from 'node:net';
import test from 'ava';
import { detach, invalidate, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { resumeRole, setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Engines } from '../support/engines.js';
import { BOTH_GOOD, both, failNext, pair, pattern, promote } from '../support/pair.js';

test('what is written alone is copied when the peer is back, and only that', async (t) => {
  const e = await pair(t);
  await e.b.disconnect();
  await e.a.until(/cs:WFConnection/);
  t.is(await e.a.write(80, pattern(5, 8192)), 0);
  t.is(e.a.volume.bitmap?.count, 2);
  e.connectNode('b');
  await both(e, BOTH_GOOD);
  t.deepEqual(e.b.onDisk(80, 8192), pattern(5, 8192));
  t.is(e.firstDifference(), null);
  t.true(e.b.log.some((line) => line.includes('Began resync as SyncTarget (will sync 8 KB')));
});

test('roles are exchanged, and the other direction works', async (t) => {
  const e = await pair(t);
  t.is(await e.a.write(0, pattern(1, 4096)), 0);
  const down = await e.a.ask((v, done) => setSecondary(v, done));
  t.is(down.kind, 'ok');
  await promote(e.b);
  t.deepEqual(await e.b.read(0, 4096), pattern(1, 4096));
  t.is(await e.b.write(8, pattern(2, 4096)), 0);
  t.deepEqual(e.a.onDisk(8, 4096), pattern(2, 4096));
});

test('a second Primary is refused while the first is there', async (t) => {
  const e = await pair(t);
  const outcome = await e.b.ask((v, done) => setPrimary(v, false, done));
  t.is(outcome.kind, 'state');
  t.is(outcome.code, -1);
  t.regex(e.a.shown, /ro:Primary\/Secondary/);
});

test('the Primary crashes: the peer goes on, and the one that returns gets what it missed', async (t) => {
  const e = await pair(t);
  for (let i = 0; i < 20; i++) t.is(await e.a.write(i * 64, pattern(i, 4096)), 0);
  const lost = e.a.write(5000, pattern(99, 4096)); // whatever becomes of this one
  await e.a.kill();
  t.is(await lost, -1);
  await e.b.until(/cs:WFConnection/);
  await promote(e.b);
  for (let i = 0; i < 20; i++) t.deepEqual(await e.b.read(i * 64, 4096), pattern(i, 4096));
  t.is(await e.b.write(64, pattern(50, 4096)), 0);
  const a = e.revive('a');
  await a.attach();
  t.true(a.log.some((line) => line.includes('out-of-sync based on AL')));
  e.connectNode('a');
  await both(e, BOTH_GOOD);
  t.regex(e.b.shown, /ro:Primary\/Secondary/);
  t.is(e.firstDifference(), null);
  t.deepEqual(a.onDisk(64, 4096), pattern(50, 4096));
});

test('the Secondary crashes under load: nothing fails, and it catches up', async (t) => {
  const e = await pair(t);
  const load = Promise.all(
    Array.from({ length: 60 }, async (_, i) => e.a.write(i * 16, pattern(i, 8192))),
  );
  await e.b.kill();
  t.true((await load).every((error) => error === 0));
  const b = e.revive('b');
  await b.attach();
  e.connectNode('b');
  await both(e, BOTH_GOOD);
  t.is(e.firstDifference(), null);
});

test('split brain is found on both sides, and nothing is overwritten', async (t) => {
  const e = await pair(t);
  await e.b.disconnect();
  await e.a.until(/cs:WFConnection/);
  await promote(e.b);
  t.is(await e.a.write(0, pattern(1, 4096)), 0);
  t.is(await e.b.write(0, pattern(2, 4096)), 0);
  e.connectNode('b');
  await both(e, /cs:StandAlone/);
  t.deepEqual(e.a.onDisk(0, 4096), pattern(1, 4096));
  t.deepEqual(e.b.onDisk(0, 4096), pattern(2, 4096));
  t.true(
    e.a.log.concat(e.b.log).some((line) => line.includes('Split-Brain detected but unresolved')),
  );
});

test('a restarted engine that goes on alone parts the copies: what both wrote since is a split brain', async (t) => {
  const e = await pair(t);
  await e.a.kill();
  await e.b.until(/cs:WFConnection/);
  const a = e.revive('a');
  a.volume.resuming = true;
  a.volume.exposedUuid = e.b.volume.uuids.current;
  await a.attach();
  t.is((await a.ask((v, done) => resumeRole(v, done))).kind, 'ok');
  t.is(await a.write(0, pattern(1, 4096)), 0);
  t.is((await a.ask((v, done) => setSecondary(v, done))).kind, 'ok');
  await promote(e.b);
  t.is(await e.b.write(0, pattern(2, 4096)), 0);
  e.connectNode('a');
  await both(e, /cs:StandAlone/);
  t.deepEqual(a.onDisk(0, 4096), pattern(1, 4096));
  t.deepEqual(e.b.onDisk(0, 4096), pattern(2, 4096));
});

test('a Primary without its disk works on with the peer; its old disk alone is refused afterwards', async (t) => {
  const e = await pair(t);
  t.is(await e.a.write(0, pattern(1, 4096)), 0);
  t.is((await e.a.ask((v, done) => detach(v, false, done))).kind, 'ok');
  t.is(await e.a.write(0, pattern(2, 4096)), 0);
  t.is(await e.a.flush(), 0);
  t.deepEqual(await e.a.read(0, 4096), pattern(2, 4096));
  await e.b.disconnect(true); // politely it is refused
  await e.a.until(/cs:WFConnection/);
  t.is(await e.a.write(0, pattern(3, 4096)), 5);
  const refused = await t.throwsAsync(e.a.attach());
  t.regex(refused?.message ?? '', /150/);
  e.connectNode('b');
  await e.a.until(/cs:Connected/);
  await e.a.attach();
  await both(e, BOTH_GOOD);
  t.deepEqual(await e.a.read(0, 4096), pattern(2, 4096));
  t.is(e.firstDifference(), null);
});

test('a read error of the local disk: the answer comes from the peer, the disk is let go', async (t) => {
  const e = await pair(t);
  t.is(await e.a.write(0, pattern(1, 4096)), 0);
  failNext(e.a, 'readDisk');
  t.deepEqual(await e.a.read(0, 4096), pattern(1, 4096));
  await e.a.until(/ds:Diskless\/UpToDate/);
  await e.b.until(/ds:UpToDate\/Diskless/);
});

test('a write error on the peer: the write is answered, and the peer is known not to have it', async (t) => {
  const e = await pair(t);
  failNext(e.b, 'writeDisk');
  t.is(await e.a.write(0, pattern(1, 4096)), 0);
  await e.a.until(/ds:UpToDate\/Diskless/);
  await e.b.attach();
  await both(e, BOTH_GOOD);
  t.deepEqual(e.b.onDisk(0, 4096), pattern(1, 4096));
  t.is(e.firstDifference(), null);
});

test('the only good copy is not thrown away', async (t) => {
  const e = await pair(t);
  t.is(await e.a.write(0, pattern(1, 4096)), 0);
  t.is((await e.a.ask((v, done) => detach(v, false, done))).kind, 'ok');
  await e.b.until(/ds:UpToDate\/Diskless/);
  // there is nothing to copy from (b), and nothing to copy to it (b's invalidate-remote)
  for (const throwAway of [invalidate, invalidateRemote]) {
    const outcome = await e.b.ask((v, done) => throwAway(v, done));
    t.is(outcome.kind, 'state');
    t.regex(e.b.shown, /cs:Connected .* ds:UpToDate\/Diskless/);
  }
  t.is((await e.a.ask((v, done) => setSecondary(v, done))).kind, 'ok');
  const quiet = await e.b.ask((v, done) => invalidate(v, done));
  t.is<number, number>(quiet.code, Ss.NO_REMOTE_DISK);
  t.regex(e.b.shown, /cs:Connected .* ds:UpToDate\/Diskless/);
  await promote(e.b);
  t.deepEqual(await e.b.read(0, 4096), pattern(1, 4096));
});

test('invalidate copies everything from the peer', async (t) => {
  const e = await pair(t);
  t.is(await e.a.write(0, pattern(1, 1 << 20)), 0);
  t.is((await e.b.ask((v, done) => invalidate(v, done))).kind, 'ok');
  await e.b.until(/ds:Inconsistent\/UpToDate/);
  await both(e, BOTH_GOOD);
  t.is(e.firstDifference(), null);
});

test('settings that differ, another secret and a smaller peer end in StandAlone', async (t) => {
  for (const [a, b] of [
    [{ net: { protocol: 'C' } }, { net: { protocol: 'A' } }],
    [{ net: { dataIntegrityAlg: 'crc32c' } }, { net: { dataIntegrityAlg: '' } }],
    [
      { net: { cramHmacAlg: 'sha1', sharedSecret: 'one' } },
      { net: { cramHmacAlg: 'sha1', sharedSecret: 'two' } },
    ],
  ] as const) {
    const e = Engines.create(t, a, b);
    await e.a.attach();
    await e.b.attach();
    e.connect();
    await both(e, /cs:(StandAlone|WFConnection|Unconnected)/);
    await Promise.race([e.a.until(/cs:StandAlone/), e.b.until(/cs:StandAlone/)]);
    t.true([e.a, e.b].some((node) => node.log.some((line) => line.includes('StandAlone'))));
  }
  const e = await pair(t, { sizeBytes: 8 << 20 });
  await e.b.kill();
  const small = Engines.create(t, { sizeBytes: 4 << 20 });
  await small.b.attach();
  small.b.connect(e.host, e.ports[1], e.ports[0]);
  await e.a.until(/cs:StandAlone/);
  t.true(e.a.log.some((line) => line.includes('too small')));
});

test('rubbish at the listening port disturbs nobody', async (t) => {
  const e = Engines.create(t);
  await e.a.attach();
  e.connectNode('a');
  const port = e.ports[0];
  const closed = (bytes: Uint8Array): Promise<void> =>
    new Promise((done) => {
      const socket = connect({ host: e.host, port }, () => socket.write(bytes));
      socket.on('error', () => done());
      socket.on('close', () => done());
    });
  await closed(pattern(1, 5000));
  await closed(Uint8Array.of(0x83, 0x74, 0x02, 0x67, 0xff, 0xf2, 0x40, 0));
  await e.b.attach();
  e.connectNode('b');
  await both(e, /cs:Connected/);
  t.is(e.firstDifference(), null);
});
