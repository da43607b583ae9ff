/** What is written on the Primary, by protocol, size and kind, and what of it is on both disks when it is answered. */
import test from 'ava';
import { newCurrentUuid } from '../../src/drbd/disk-verbs.js';
import { Engines } from '../support/engines.js';
import { BOTH_GOOD, both, pair, pattern, promote } from '../support/pair.js';
import { TcpCable } from '../support/tcp-cable.js';
import { until } from '../support/until.js';

/** A connection that a busy machine loses would answer a write, too, and only this node would have it. */
const PATIENT = { timeoutDs: 600, pingTimeoutDs: 300, pingIntS: 120 } as const;

for (const protocol of ['A', 'B', 'C'] as const) {
  test(`protocol ${protocol}: writes of 512 bytes to 1 MiB arrive`, async (t) => {
    const e = await pair(t, { net: { protocol, ...PATIENT } });
    const sizes = [512, 1024, 4096, 12_288, 65_536, 1 << 20];
    const errors = await Promise.all(
      sizes.map(async (size, i) => e.a.write(i * 2048 + 3 * i, pattern(i, size))),
    );
    t.deepEqual(
      errors,
      sizes.map(() => 0),
    );
    t.is(await e.a.flush(), 0);
    await e.a.untilQuiet();
    for (const [i, size] of sizes.entries()) {
      t.deepEqual(e.a.onDisk(i * 2051, size), pattern(i, size));
      t.deepEqual(e.b.onDisk(i * 2051, size), pattern(i, size));
    }
    t.is(e.firstDifference(), null);
  });
}

test('protocol C: what is answered is on the disk of the peer at that moment', async (t) => {
  const e = await pair(t, { net: { dataIntegrityAlg: 'crc32c', ...PATIENT } });
  for (let i = 0; i < 50; i++) {
    t.is(await e.a.write(i * 8, pattern(i, 4096)), 0);
    t.deepEqual(e.b.onDisk(i * 8, 4096), pattern(i, 4096));
  }
});

// What has not arrived dies with the Primary: an acknowledgement at the header would count it as received.
for (const dataIntegrityAlg of ['', 'crc32c']) {
  test(`protocol B: a write is not answered in the middle of its payload (digest: ${dataIntegrityAlg || 'none'})`, async (t) => {
    const e = Engines.create(t, { net: { protocol: 'B', dataIntegrityAlg, ...PATIENT } });
    const cables = await Promise.all(e.ports.map(async (port) => TcpCable.before(e.host, port)));
    t.teardown(() => {
      for (const cable of cables) cable.close();
    });
    e.dialed = [cables[0]?.port ?? 0, cables[1]?.port ?? 0];
    await e.a.attach();
    await e.b.attach();
    e.connect();
    await both(e, /cs:Connected/);
    await e.a.ask((v, done) => newCurrentUuid(v, true, done));
    await both(e, BOTH_GOOD);
    await promote(e.a);

    for (const cable of cables) cable.holdAfter(300_000);
    let answered = false;
    const write = e.a.write(0, pattern(1, 1 << 20)).then((error) => {
      answered = true;
      return error;
    });
    await until(() => e.b.volume.peerIo.unacked > 0, 'the header of the write', 1);
    // Whatever was acknowledged before it is here before the answer to a ping.
    await new Promise<void>((done) => e.a.loop.enter(() => e.a.volume.link?.watch.ping(done)));
    t.false(answered, [...e.a.log, ...e.b.log].join('\n'));
    for (const cable of cables) cable.goOn();
    t.is(await write, 0);
    await e.a.untilQuiet();
    t.is(e.firstDifference(), null);
  });
}

test('writes that overlap reach both disks in one order', async (t) => {
  const e = await pair(t, { net: PATIENT });
  for (let round = 0; round < 10; round++) {
    const writes = Array.from({ length: 32 }, async (_, i) =>
      e.a.write(1000 + ((i * 5) % 17), pattern(round * 32 + i, 512 * (1 + (i % 16)))),
    );
    t.true((await Promise.all(writes)).every((error) => error === 0));
    t.deepEqual(e.a.onDisk(900, 65_536), e.b.onDisk(900, 65_536));
  }
});

test('discards and zeroes are replicated and read back as zeroes', async (t) => {
  const e = await pair(t, { net: PATIENT });
  for (let i = 0; i < 4; i++) t.is(await e.a.write(i * 2048, pattern(i, 1 << 20)), 0);
  t.is(await e.a.discard(100, 3000), 0);
  t.is(await e.a.zeroes(5000, 17), 0);
  const zero = new Uint8Array(3000 * 512);
  t.deepEqual(e.a.onDisk(100, zero.length), zero);
  t.deepEqual(e.b.onDisk(100, zero.length), zero);
  t.deepEqual(e.b.onDisk(5000, 17 * 512), new Uint8Array(17 * 512));
  t.is(e.firstDifference(), null);
});

test('a request outside the device, and any write on a Secondary, is refused', async (t) => {
  const e = await pair(t, { net: PATIENT });
  const { sizeSectors } = e.a.volume;
  t.is(await e.a.write(sizeSectors - 1, pattern(1, 1024)), 5);
  t.is(await e.a.write(sizeSectors - 2, pattern(1, 1024)), 0);
  t.is(await e.b.write(0, pattern(1, 512)), 30);
  t.is(e.b.volume.open(true), 30);
  t.is(e.b.volume.open(false), 124);
  await both(e, /cs:Connected/);
});

test('the fallback I/O engine carries a pair too', async (t) => {
  const e = await pair(t, { engine: 'fallback', net: PATIENT });
  t.is(await e.a.write(77, pattern(3, 70_000 - (70_000 % 512))), 0);
  t.is(await e.a.flush(), 0);
  t.is(e.firstDifference(), null);
});
