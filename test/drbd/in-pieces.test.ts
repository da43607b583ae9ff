/**
 * Requests that are done in pieces (src/drbd/in-pieces.ts), and what happens between two pieces: the peer loses its power, another
 * peer comes, the local disk hangs. Two engines in virtual time.
 */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { COMMANDS } from '../../src/wire/constants.js';
import { packetsSent } from '../support/packets-sent.js';
import { SimPair, type SimPairOptions } from '../support/sim-pair.js';

const ALPHA = '10.1.0.1';
const OLD = { protocolMax: 94, features: 0 };
const WHOLE_BYTES = 1 << 19;
const PIECES = WHOLE_BYTES / 32768;

const [OLD_DATA, NEW_DATA] = [1, 2].map((seed) =>
  Uint8Array.from({ length: WHOLE_BYTES }, (_, i) => Math.imul(i + seed, 2654435761) >>> 24),
) as [Uint8Array, Uint8Array];

function inSync(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = new SimPair(seed, { sizeBytes: 4 << 20, dialect: OLD, ...options });
  pair.upToDate();
  return pair;
}

test('the only copy loses its power behind the first pieces, and what was in its cache: the whole is written again', (t) => {
  let lost = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const pair = inSync(seed, { resource: { onNoDataAccessible: 'suspend-io' } });
    const { alpha, beta } = pair;
    t.is(alpha.write(0, OLD_DATA), 0);
    t.is(alpha.flush(), 0);
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    const sent = packetsSent(pair);
    const pieces = (): number =>
      sent.filter((p) => p.from === ALPHA && p.command === COMMANDS.P_DATA).length;
    const write = alpha.beginWrite(0, NEW_DATA);
    const until = 2 + (seed % (PIECES - 2));
    pair.until(() => pieces() === until, `${until} pieces`);
    beta.crash(true);
    alpha.until(/cs:WFConnection .*ds:Diskless/);
    t.is(alpha.peek(write), undefined);
    if (Buffer.compare(beta.disk.content(0, 32768), NEW_DATA.subarray(0, 32768)) !== 0) lost++;
    beta.attach();
    beta.connect();
    alpha.until(/cs:Connected/);
    t.is(alpha.answer(write), 0);
    t.deepEqual(beta.disk.content(0, WHOLE_BYTES), NEW_DATA, `seed ${seed}`);
    t.is(alpha.flush(), 0, 'nothing that was answered is lost');
  }
  t.true(lost > 5, `${lost}`);
});

test('a newer peer is met between two pieces, or an older one: what is left is done in its pieces', (t) => {
  for (const [first, then] of [
    [101, 94],
    [94, 101],
  ] as const) {
    const pair = inSync(1, {
      dialect: { protocolMax: first, features: 0 },
      resource: { onNoDataAccessible: 'suspend-io' },
    });
    const { alpha, beta } = pair;
    t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
    let sent = packetsSent(pair, Math.max(first, 99));
    const data = () => sent.filter((p) => p.from === ALPHA && p.command === COMMANDS.P_DATA);
    const write = alpha.beginWrite(0, NEW_DATA);
    pair.until(() => data().length >= 1, 'the first piece');
    pair.net.cut('replication');
    alpha.until(/cs:WFConnection .*ds:Diskless/);
    beta.until(/cs:WFConnection/);
    beta.dialect = { protocolMax: then, features: 0 };
    beta.disconnect();
    beta.connect();
    t.is(alpha.peek(write), undefined);
    sent = packetsSent(pair); // of version 101 it sees nothing: such a connection begins with another header
    pair.net.heal('replication');
    alpha.until(/cs:Connected/);
    t.is(alpha.answer(write), 0);
    t.is(data().length, then === 94 ? PIECES : 0);
    t.deepEqual(beta.disk.content(0, WHOLE_BYTES), NEW_DATA);
  }
});

test('the local disk is given up with a piece: the next ones are sent from another buffer', (t) => {
  for (let seed = 1; seed <= 10; seed++) {
    const pair = inSync(seed, { disk: { diskTimeoutDs: 10 } });
    const { alpha, beta } = pair;
    t.is(alpha.write(0, OLD_DATA), 0);
    pair.run(1000);
    const buffers = alpha.io.buffersInUse;
    const sent = packetsSent(pair);
    const write = alpha.beginWrite(0, NEW_DATA);
    const pieces = (): number => sent.filter((p) => p.command === COMMANDS.P_DATA).length;
    const until = 1 + (seed % (PIECES - 2));
    pair.until(() => pieces() === until, `${until} pieces`);
    alpha.disk.stuck = true;
    alpha.until(/ds:(Failed|Diskless)\/UpToDate/);
    const hung = pieces();
    pair.until(() => pieces() > hung, 'the next piece');
    alpha.disk.stuck = false; // now it writes what it was given: that piece, and no header of the next one
    t.is(alpha.answer(write), 0);
    t.deepEqual(beta.disk.content(0, WHOLE_BYTES), NEW_DATA, `seed ${seed}`);
    pair.run(100);
    const own = alpha.disk.content(0, WHOLE_BYTES);
    for (let at = 0; at < WHOLE_BYTES; at += 512) {
      const [now, before, behind] = [own, OLD_DATA, NEW_DATA].map((x) => x.subarray(at, at + 512));
      const known = [before, behind].some((x) => Buffer.compare(now ?? own, x ?? own) === 0);
      if (!known) t.fail(`seed ${seed}: sector ${at / 512} is neither`);
    }
    alpha.attach();
    pair.settled();
    t.is(pair.firstDifference(), -1);
    pair.run(1000);
    t.is(alpha.io.buffersInUse, buffers);
  }
});

test('no buffer is free for that: the write fails, and says so', (t) => {
  const pair = inSync(1, { disk: { diskTimeoutDs: 10 } });
  const { alpha } = pair;
  pair.run(1000);
  const sent = packetsSent(pair);
  const write = alpha.beginWrite(0, NEW_DATA);
  pair.until(() => sent.some((p) => p.command === COMMANDS.P_DATA), 'a piece');
  alpha.disk.stuck = true;
  const taken: number[] = [];
  const take = (): number => alpha.io.alloc(WHOLE_BYTES, 'spare'); // every last one
  for (let at = take(); at >= 0; at = take()) taken.push(at);
  t.is(alpha.answer(write), 5);
  for (const at of taken) alpha.io.free(at);
  t.regex(alpha.shown, /cs:Connected/);
});

test('nothing of a write that does not fit is done', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  const before = alpha.disk.content(0, alpha.volume.sizeSectors * 512);
  t.is(alpha.write(alpha.volume.sizeSectors - 128, NEW_DATA), 5);
  t.is(alpha.discard(0, alpha.volume.sizeSectors + 1), 5);
  t.deepEqual(alpha.disk.content(0, alpha.volume.sizeSectors * 512), before);
  t.is(alpha.volume.app.pending, 0);
});
