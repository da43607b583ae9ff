/** A resize beside an online verify, which the resync of the new part ends or waits for; and a source that does not begin that resync, as a kernel. */
import test from 'ava';
import type { DiskOptions } from '../../src/config/drbd-options.js';
import { detach } from '../../src/drbd/disk-verbs.js';
import { Ss } from '../../src/drbd/return-codes.js';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Conns } from '../../src/drbd/state.js';
import { verify } from '../../src/drbd/verify-start.js';
import { findMetaData } from '../../src/sim/moved-meta.js';
import {
  askResize,
  both,
  different,
  downAndUp,
  GROWN,
  grown,
  MIB,
  resize,
} from '../support/resize-pair.js';
import { block, type SimPair, type SimPairNode } from '../support/sim-pair.js';
import { begin, verifiable } from '../support/verify-pair.js';

// Swarm seed 1700003457@7: its resync was called off without a word, and began only on the next connection. A kernel would wait for it,
// and this node for the end of the verify.
for (const seat of ['alpha', 'beta'] as const) {
  test(`verify on ${seat} while the resync of the new part is about to begin: refused by the peer, as if that had begun`, (t) => {
    let refused = 0;
    for (let step = 0; step < 30; step++) {
      const pair = verifiable(1 + (step % 3));
      const { alpha, beta } = pair;
      const other = seat === 'alpha' ? beta : alpha;
      different(pair);
      pair.net.faults('replication', { delayMs: [3, 4] });
      beta.loop.enter(() => askResize(beta));
      pair.run(12 + step / 2);
      const outcome = begin(pair[seat]);
      const isRefused = other.log.some((line) => line.includes("refused the peer's verify"));
      if (isRefused) {
        refused++;
        t.like(outcome, { kind: 'state', code: Ss.CW_FAILED_BY_PEER });
      }
      pair.until(() => alpha.volume.sizeSectors > 6000, `step ${step}: the size`);
      pair.run(200);
      grown(t, pair, `step ${step}`);
      const wasVerified = alpha.log.some((line) => line.includes('Online verify done'));
      t.is(wasVerified, outcome.kind === 'ok', `step ${step}`);
    }
    t.true(refused > 0);
  });
}

/** A new connection, without a resync: nothing has to be waited for on the other socket before one begins. */
function meetAnew(pair: SimPair): void {
  pair.alpha.ask(setSecondary);
  for (const node of both(pair)) node.disconnect();
  for (const node of both(pair)) node.connect();
  pair.settled();
  pair.alpha.ask((v, done) => setPrimary(v, false, done));
}

/** The other node knows how much room there is: it need not ask when its own disk has grown. */
function tellRoom(pair: SimPair, node: SimPairNode): void {
  node.disk.resize(GROWN);
  if (!resize(node).ok) throw new Error('resize');
  pair.run(50);
  different(pair);
}

// P_SYNC_UUID was ignored by a node that was still VerifyT: source of a resync that nobody asked a block of, for ever.
test('verify, then resize at once: the resync begins while the last results of the verify are on their way', (t) => {
  let early = 0;
  for (let step = 0; step < 20; step++) {
    const protocolMax = [88, 96, 100, 101][step % 4] as number;
    const pair = verifiable(1 + step, { dialect: { protocolMax, features: 0 } });
    const { alpha, beta } = pair;
    meetAnew(pair);
    tellRoom(pair, beta);
    pair.net.faults('replication', { delayMs: [1, 60] });
    let wasEarly = false;
    alpha.onState = () => {
      const isCopied = alpha.volume.state.conn === Conns.SyncSource;
      if (isCopied && beta.volume.state.conn === Conns.VerifyT) wasEarly = true;
    };
    begin(alpha);
    alpha.until(/cs:Connected/);
    t.true(resize(alpha).ok);
    if (wasEarly) early++;
    pair.until(() => beta.volume.sizeSectors > 6000, `step ${step}: the size`);
    pair.run(100);
    grown(t, pair, `step ${step}`);
  }
  t.true(early > 0);
});

// The target counts all of the device, the source (below version 90) what was there before: it is done first, and copies the rest.
for (const protocolMax of [88, 89, 95, 96, 100, 101]) {
  test(`the target asks for a verify and grows before the answer: the new part is copied, version ${protocolMax}`, (t) => {
    const dialect = { protocolMax, features: 0 };
    const pair = verifiable(1, { dialect, disk: { resyncRateKiBps: 400 } });
    const { alpha, beta } = pair;
    tellRoom(pair, alpha);
    pair.net.faults('replication', { delayMs: [20, 21] });
    const outcomes: string[] = [];
    beta.loop.enter(() => verify(beta.volume, null, null, (o) => outcomes.push(o.kind)));
    beta.loop.enter(() => askResize(beta));
    beta.until(/cs:VerifyS/);
    t.true(beta.volume.sizeSectors > 6000);
    grown(t, pair);
    const isAborted = beta.log.some((line) => line.includes('Online-verify aborted'));
    t.is(isAborted, protocolMax < 90);
  });
}

/** Two Secondaries meet, larger than before; alpha is promoted, and begins no resync of its own accord: as a kernel. */
function beforeKernelSource(disk: Partial<DiskOptions> = {}): SimPair {
  const pair = verifiable(1, { disk });
  const { alpha, beta } = pair;
  const looks = beta.volume.growth.look.bind(beta.volume.growth);
  for (const node of both(pair)) node.volume.growth.look = () => {};
  downAndUp(pair);
  pair.settled();
  alpha.ask((v, done) => setPrimary(v, false, done));
  pair.settled();
  beta.volume.growth.look = looks;
  beta.loop.enter(looks);
  return pair;
}

// Its five seconds ended in the middle of the verify, and there were no others on that connection.
test('a source that does not begin, as a kernel, and a verify: it is waited for when that is over', (t) => {
  const pair = beforeKernelSource({ resyncRateKiBps: 400 });
  const { alpha, beta } = pair;
  const { link } = alpha.volume;
  pair.run(1000);
  const fromMs = pair.world.nowMs;
  t.is(begin(beta).kind, 'ok');
  beta.until(/cs:Connected/);
  t.true(pair.world.nowMs > fromMs + 5000);
  pair.run(4000);
  t.is(alpha.volume.link, link);
  pair.until(() => alpha.volume.link !== link, 'it is dropped');
  grown(t, pair);
});

// Its users have only this node's disk: the connection would have been taken from them.
test('a source that does not begin, as a kernel, lets its disk go: it is not dropped', (t) => {
  const pair = beforeKernelSource();
  const { alpha } = pair;
  const { link } = alpha.volume;
  pair.run(3000);
  t.is(alpha.ask((v, done) => detach(v, false, done)).kind, 'ok');
  pair.run(10_000);
  t.is(alpha.volume.link, link);
  t.is(alpha.write(8, block(1)), 0);
  findMetaData(alpha.disk, 2 * MIB);
  alpha.attach();
  grown(t, pair);
});
