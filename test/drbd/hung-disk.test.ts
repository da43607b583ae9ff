/**
 * A disk that does not answer (src/drbd/hung-disk.ts): the node lets it go after disk-timeout, or by `detach --force`, and goes on
 * with the peer's; what it still does later harms nobody. Two engines in virtual time.
 */
import test from 'ava';
import { EIO } from '../../src/drbd/app-request.js';
import { detach } from '../../src/drbd/disk-verbs.js';
import { Err } from '../../src/drbd/return-codes.js';
import { block, SimPair, type SimPairOptions } from '../support/sim-pair.js';

function inSync(seed: number, options: SimPairOptions = {}): SimPair {
  const pair = new SimPair(seed, {
    sizeBytes: 2 << 20,
    ...options,
    disk: { diskTimeoutDs: 10, ...options.disk },
  });
  pair.upToDate();
  return pair;
}

test('the Primary: what was under way is done at the peer, reads come from there; attached again when all is back', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const pair = inSync(seed);
    const { alpha, beta } = pair;
    t.is(alpha.write(0, block(1)), 0);
    t.is(alpha.write(64, block(2)), 0);
    pair.run(1000);
    const buffers = alpha.io.buffersInUse;
    alpha.disk.stuck = true;
    const write = alpha.beginWrite(8, block(3)); // its extent is in the activity log
    const at = alpha.io.alloc(4096);
    const read = alpha.begin((tag) => alpha.volume.read(alpha, tag, 64, at, 4096));
    const flush = alpha.begin((tag) => alpha.volume.flush(alpha, tag));
    pair.run(950);
    t.deepEqual(
      [write, read, flush].map((tag) => alpha.peek(tag)),
      [undefined, undefined, undefined],
    );
    t.is(alpha.answer(write), 0);
    t.is(alpha.answer(read), 0);
    t.deepEqual(alpha.taken(read, at, 4096), block(2));
    t.is(alpha.answer(flush), 0, 'the peer vouches for it');
    alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
    t.is(alpha.write(8, block(4)), 0);
    const refused = t.throws(() => alpha.attach())?.message ?? '';
    t.true(refused.includes(`"code":${Err.OPEN_DISK}`), refused);
    t.regex(refused, /did not answer and was let go/);

    alpha.disk.stuck = false; // now it writes what it was given
    pair.run(100);
    alpha.attach();
    pair.settled();
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(4));
    t.is(pair.firstDifference(), -1, `seed ${seed}`);
    pair.run(1000);
    t.is(alpha.io.buffersInUse, buffers);
  }
});

test('the Secondary: the Primary goes on alone when the disk-timeout of the other is over', (t) => {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  t.is(alpha.write(0, block(1)), 0);
  beta.disk.stuck = true;
  t.is(alpha.write(8, block(2)), 0);
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:UpToDate\/Diskless/);
  beta.disk.stuck = false;
  pair.run(100);
  beta.attach();
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('alone: users hear that it failed', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(0, block(1)), 0);
  pair.net.cut('replication');
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:UpToDate/);
  alpha.disk.stuck = true;
  t.is(alpha.answer(alpha.beginWrite(8, block(2))), EIO);
  alpha.until(/cs:WFConnection ro:Primary\/Unknown ds:Diskless/);
});

test('meta-data that are not written: the activity log waits no longer than data', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  alpha.disk.stuck = true;
  t.is(alpha.answer(alpha.beginWrite(0, block(1))), 0, 'the first of its extent');
  alpha.until(/cs:Connected ro:Primary\/Secondary ds:Diskless\/UpToDate/);
  alpha.disk.stuck = false;
  pair.run(100);
  alpha.attach();
  pair.settled();
  t.is(pair.firstDifference(), -1);
});

test('a node that was stopped for longer than disk-timeout listens first', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(0, block(1)), 0);
  alpha.disk.slowMs = 500;
  const write = alpha.beginWrite(8, block(2));
  pair.run(300);
  alpha.pauseFor(5000);
  t.is(alpha.answer(write), 0);
  t.regex(alpha.shown, /ds:UpToDate\/UpToDate/);
});

test('a disk that is slow and answers is waited for', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  alpha.disk.slowMs = 900;
  for (let i = 0; i < 8; i++) t.is(alpha.write(i * 8, block(i)), 0);
  t.regex(alpha.shown, /ds:UpToDate\/UpToDate/);
});

for (const node of ['alpha', 'beta'] as const) {
  test(`detach --force of a disk that hangs, without disk-timeout (${node})`, (t) => {
    const pair = inSync(1, { disk: { diskTimeoutDs: 0 } });
    const { alpha, beta } = pair;
    const hung = pair[node];
    t.is(alpha.write(0, block(1)), 0);
    hung.disk.stuck = true;
    const write = alpha.beginWrite(8, block(2));
    pair.run(10_000);
    if (node === 'alpha')
      t.is(alpha.peek(write), undefined, 'the local disk is waited for without limit');
    t.is(hung.ask((v, done) => detach(v, true, done)).kind, 'ok');
    t.is(alpha.answer(write), 0);
    t.regex(hung.shown, /ds:Diskless/);
    hung.disk.stuck = false;
    pair.run(100);
    hung.attach();
    pair.settled();
    t.deepEqual(beta.disk.content(8 * 512, 4096), block(2));
    t.is(pair.firstDifference(), -1);
  });
}

test('detach --force of a disk that works: its bitmap is written as without --force', (t) => {
  const pair = inSync(1);
  const { alpha } = pair;
  t.is(alpha.write(0, block(1)), 0);
  t.is(alpha.ask((v, done) => detach(v, true, done)).kind, 'ok');
  alpha.attach();
  pair.settled();
  t.notRegex(alpha.log.join('\n'), /given up/);
  t.is(pair.firstDifference(), -1);
});
