/**
 * A disk is attached, let go and attached again before the peer has answered: the second one does not take the answer to the
 * first for its own. Two engines in virtual time.
 */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { block, inSync, type SimPair } from '../support/sim-pair.js';

/** The Primary is without its disk, and the peer is `delayMs` away. */
function withoutDisk(seed: number, delayMs: number): SimPair {
  const pair = inSync(seed);
  const { alpha } = pair;
  if (alpha.ask((v, done) => detach(v, true, done)).kind !== 'ok') throw new Error('detach');
  pair.run(100);
  pair.net.faults('replication', { delayMs: [delayMs, delayMs + 2] });
  return pair;
}

const WRITTEN = [2, 5, 9, 30, 31, 32, 200];

/** Lets the disk go while it waits for the peer, and attaches it again; what is written in between is on the peer's disk alone. */
function attachTwice(pair: SimPair, answers: unknown[]): void {
  const { alpha } = pair;
  alpha.beginAttach();
  pair.until(() => /ds:Negotiating/.test(alpha.shown), 'announced');
  alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
  alpha.until(/ds:Diskless/);
  alpha.beginAttach((failed) => answers.push(failed));
}

// Simulator, seed 1820000310 before writes under protocol A were answered earlier.
for (const afterMs of [0, 25, 60]) {
  test(`what is written ${afterMs} ms after the second attach is on both disks in the end`, (t) => {
    const pair = withoutDisk(1, 20);
    const { alpha, beta } = pair;
    const answers: unknown[] = [];
    attachTwice(pair, answers);
    pair.run(afterMs);
    const tags = WRITTEN.map((n) => alpha.beginWrite(8 * n, block(n)));
    pair.until(() => tags.every((tag) => alpha.peek(tag) !== undefined), 'answered');
    t.deepEqual(
      tags.map((tag) => alpha.peek(tag)),
      WRITTEN.map(() => 0),
    );
    pair.until(() => answers.length > 0, 'attached');
    t.is(answers[0], null);
    pair.settled();
    t.is(pair.firstDifference(), -1);
    for (const n of WRITTEN) {
      t.deepEqual(alpha.disk.content(8 * n * 512, 4096), block(n), `block ${n}, alpha`);
      t.deepEqual(beta.disk.content(8 * n * 512, 4096), block(n), `block ${n}, beta`);
    }
  });
}

test('written between the two: on both disks in the end', (t) => {
  const pair = withoutDisk(1, 20);
  const { alpha } = pair;
  alpha.beginAttach();
  pair.until(() => /ds:Negotiating/.test(alpha.shown), 'announced');
  const tags = WRITTEN.map((n) => alpha.beginWrite(8 * n, block(n)));
  alpha.loop.enter(() => detach(alpha.volume, true, () => {}));
  alpha.until(/ds:Diskless/);
  const answers: unknown[] = [];
  alpha.beginAttach((failed) => answers.push(failed));
  pair.until(() => answers.length > 0, 'attached');
  t.is(answers[0], null);
  pair.settled();
  t.deepEqual(
    tags.map((tag) => alpha.peek(tag)),
    WRITTEN.map(() => 0),
  );
  t.is(pair.firstDifference(), -1);
});

test('a peer that does not answer for the disk before: refused in the end, and the disk is let go', (t) => {
  const pair = withoutDisk(1, 20);
  const { alpha } = pair;
  const answers: { code: number; info: readonly string[] }[] = [];
  attachTwice(pair, answers as unknown[]);
  pair.net.cut('replication');
  alpha.volume.resource.netOptions = { ...alpha.volume.resource.netOptions, pingTimeoutDs: 300 };
  pair.run(15_000);
  t.is(answers.length, 1);
  t.deepEqual(answers[0]?.info, ['the peer does not answer for the disk that was let go before']);
  t.regex(alpha.shown, /ds:Diskless/);
});
