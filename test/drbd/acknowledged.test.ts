/**
 * What an answer promises: a flush that the data are durable somewhere that counts, a write that later reads see it. Two
 * engines in virtual time; each test is a failure that the simulator found.
 */
import test from 'ava';
import { EIO } from '../../src/drbd/app-io.js';
import { detach, outdate } from '../../src/drbd/roles.js';
import { SimPair, type SimPairOptions } from '../support/sim-pair.js';

const block = (byte: number): Uint8Array => new Uint8Array(4096).fill(byte);

function inSync(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 2 << 20, ...options });
  pair.upToDate();
  return pair;
}

/** alpha stays Primary without a disk of its own. */
function disklessPrimary(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = inSync(seed, options);
  if (pair.alpha.ask((v, done) => detach(v, false, done)).kind !== 'ok') throw new Error('detach');
  pair.alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  return pair;
}

test('a flush: the only disk vouches for it; without any, nobody does', (t) => {
  const pair = disklessPrimary(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  t.is(pair.alpha.flush(), 0);
  t.is(pair.alpha.flush(), 0, 'nothing is outstanding: everything is durable there');
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
  t.is(pair.alpha.flush(), EIO);
});

test('what the only disk had acknowledged and lost with its power, the next flush says; once', (t) => {
  const pair = disklessPrimary(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  pair.beta.crash(true);
  pair.alpha.until(/cs:WFConnection/);
  pair.beta.attach();
  pair.beta.connect();
  pair.alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  t.is(pair.alpha.flush(), EIO);
  t.is(pair.alpha.write(0, block(2)), 0);
  t.is(pair.alpha.flush(), 0);
});

test('with a good disk here, a peer that comes back without its last writes breaks no promise', (t) => {
  const pair = inSync(1);
  t.is(pair.alpha.write(0, block(1)), 0);
  pair.beta.crash(true);
  pair.alpha.until(/cs:WFConnection/);
  t.is(pair.alpha.flush(), 0);
});

for (const protocol of ['A', 'B'] as const) {
  test(`protocol ${protocol}: a flush divides what a Secondary without power may hold`, (t) => {
    for (let seed = 1; seed <= 12; seed++) {
      const pair = inSync(seed, { net: { protocol } });
      t.is(pair.alpha.flush(), 0);
      for (let i = 0; i < 4; i++) t.is(pair.alpha.write(i * 8, block(1)), 0);
      t.is(pair.alpha.flush(), 0);
      for (let i = 4; i < 8; i++) t.is(pair.alpha.write(i * 8, block(2)), 0);
      const there = (sector: number): Uint8Array => pair.beta.disk.content(sector * 512, 4096);
      pair.until(() => [4, 5, 6, 7].some((i) => there(i * 8).includes(2)), 'a later write arrives');
      pair.beta.crash(true);
      if (![4, 5, 6, 7].some((i) => there(i * 8).includes(2))) continue; // all of the later ones are gone
      for (let i = 0; i < 4; i++) t.deepEqual(there(i * 8), block(1), `seed ${seed}`);
    }
  });
}

test('frozen for lack of data: it goes on when the peer has them again', (t) => {
  const pair = disklessPrimary(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  t.is(pair.alpha.write(0, block(1)), 0);
  t.is(pair.alpha.flush(), 0);
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
  const tag = pair.alpha.beginWrite(8, block(2));
  pair.run(5000);
  t.is(pair.alpha.peek(tag), undefined, 'neither done nor failed');
  pair.net.heal('replication');
  t.is(pair.alpha.answer(tag), 0);
  t.is(pair.alpha.volume.state.suspNod, 0);
  t.deepEqual(pair.alpha.read(8, 4096), block(2));
});

test('frozen for lack of data: it goes on when its own disk is there again', (t) => {
  const pair = inSync(1, { resource: { onNoDataAccessible: 'suspend-io' } });
  pair.net.reset('replication');
  pair.net.cut('replication');
  pair.alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  t.is(pair.alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  const tag = pair.alpha.beginWrite(8, block(2));
  pair.run(5000);
  t.is(pair.alpha.peek(tag), undefined, 'neither done nor failed');
  pair.alpha.attach();
  t.is(pair.alpha.answer(tag), 0);
  t.is(pair.alpha.volume.state.suspNod, 0);
  t.deepEqual(pair.alpha.read(8, 4096), block(2));
});

test('outdate is answered when the disk itself says that it is Outdated', (t) => {
  for (let seed = 1; seed <= 4; seed++) {
    const pair = inSync(seed);
    pair.alpha.disconnect();
    pair.beta.until(/cs:WFConnection/);
    t.is(pair.beta.ask(outdate).kind, 'ok');
    pair.beta.crash(true);
    pair.beta.attach();
    t.regex(pair.beta.shown, /ds:Outdated/);
  }
});
