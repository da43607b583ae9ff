/** A handshake that is refused: both nodes find out by themselves, however slowly one of them reads (parting.ts). */
import test from 'ava';
import { setPrimary, setSecondary } from '../../src/drbd/roles.js';
import { Roles } from '../../src/drbd/state.js';
import { block, inSync, type SimPair, type SimPairNode } from '../support/sim-pair.js';

/** Each was Primary alone; StandAlone. */
function parted(seed: number): SimPair {
  const pair = inSync(seed);
  const { alpha, beta } = pair;
  alpha.disconnect();
  beta.until(/cs:WFConnection/);
  beta.disconnect();
  alpha.write(8, block(1));
  const ok = (node: SimPairNode, change: typeof setSecondary): void => {
    const outcome = node.ask(change);
    if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
  };
  ok(alpha, setSecondary);
  ok(beta, (v, done) => setPrimary(v, false, done));
  beta.write(16, block(2));
  ok(beta, setSecondary);
  return pair;
}

const nodesOf = (pair: SimPair): readonly SimPairNode[] => [pair.alpha, pair.beta];
/** It has taken the end of a refused connection for a lost one. */
const LOST = /conn\( WFReportParams -> (NetworkFailure|BrokenPipe)/;

/** One of two nodes has refused, and the other one stands still before it has read that far; it does not come to that with every seed. */
function oneIsSlow(slow: 'alpha' | 'beta', seed: number): SimPair | null {
  const pair = parted(seed);
  pair.net.faults('replication', { delayMs: [1, 20] });
  for (const node of nodesOf(pair)) node.connect();
  const inHandshake = (line: string): boolean => line.includes('-> WFReportParams');
  const before = pair[slow].log.filter(inHandshake).length;
  pair.until(() => pair[slow].log.filter(inHandshake).length > before, 'a handshake');
  if (!/WFReportParams/.test(pair[slow].shown)) return null;
  pair[slow].pauseFor(100);
  return pair;
}

test('split brain: both find out in one connection and call the handler, in whatever order the bytes arrive', (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const pair = parted(seed);
    pair.net.faults('replication', { delayMs: [0, 900] });
    for (const node of nodesOf(pair)) node.connect();
    const refused = (node: SimPairNode) => node.handlers.includes('split-brain');
    pair.until(() => nodesOf(pair).some(refused), 'a refusal');
    // (What broke before was not refused: with delays like these a first attempt may come to nothing.)
    for (const node of nodesOf(pair)) node.log.length = 0;
    for (const node of nodesOf(pair)) {
      node.until(/cs:StandAlone/);
      t.deepEqual(node.handlers.slice(-2), ['initial-split-brain', 'split-brain'], `seed ${seed}`);
      t.false(
        node.log.some((line) => LOST.test(line)),
        `seed ${seed}`,
      );
    }
  }
});

test('nobody waits for the time when both have found out', (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    const pair = parted(seed);
    for (const node of nodesOf(pair)) node.connect();
    pair.until(() => nodesOf(pair).some((node) => /Disconnecting|StandAlone/.test(node.shown)), '');
    pair.run(200);
    for (const node of nodesOf(pair)) t.regex(node.shown, /cs:StandAlone/, `seed ${seed}`);
  }
});

for (const slow of ['alpha', 'beta'] as const)
  test(`${slow} reads late: the other one leaves it the time`, (t) => {
    let happened = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const pair = oneIsSlow(slow, seed);
      if (!pair) continue;
      happened++;
      const quick = slow === 'alpha' ? pair.beta : pair.alpha;
      pair[slow].pauseFor(3000);
      t.regex(quick.shown, /cs:Disconnecting/);
      t.false(pair[slow].handlers.includes('split-brain'));
      for (const node of nodesOf(pair)) node.until(/cs:StandAlone/);
      t.true(pair[slow].handlers.includes('split-brain'));
    }
    t.true(happened > 1);
  });

test('a peer that is never heard of again is waited for as long as one may be silent', (t) => {
  let happened = 0;
  for (let seed = 1; seed <= 5; seed++) {
    const pair = oneIsSlow('beta', seed);
    if (!pair) continue;
    happened++;
    pair.net.cut('replication');
    t.regex(pair.alpha.shown, /cs:Disconnecting/);
    pair.run(5500);
    t.regex(pair.alpha.shown, /cs:Disconnecting/);
    pair.run(1000);
    t.regex(pair.alpha.shown, /cs:StandAlone/);
  }
  t.true(happened > 1);
});

test('an operator who disconnects does not wait for the peer', (t) => {
  let happened = 0;
  for (let seed = 1; seed <= 8; seed++) {
    const slow = seed % 2 === 0 ? 'alpha' : 'beta';
    const pair = oneIsSlow(slow, seed);
    if (!pair) continue;
    happened++;
    const quick = slow === 'alpha' ? pair.beta : pair.alpha;
    t.regex(quick.shown, /cs:Disconnecting/);
    const beforeMs = pair.world.nowMs;
    quick.disconnect();
    t.true(pair.world.nowMs - beforeMs < 100);
    t.regex(quick.shown, /cs:StandAlone/);
    // And what comes then is a connection like any other.
    pair.net.faults('replication', {});
    quick.connect(true);
    pair[slow].until(/cs:(StandAlone|WFConnection)/);
    if (/StandAlone/.test(pair[slow].shown)) pair[slow].connect();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
  t.true(happened > 1);
});

test('a dry run over there: this node has said what it would do, and waits for the next connection', (t) => {
  for (let seed = 1; seed <= 5; seed++) {
    const pair = inSync(seed);
    const { alpha, beta } = pair;
    alpha.disconnect();
    beta.until(/cs:WFConnection/);
    t.is(alpha.write(8, block(1)), 0);
    pair.net.faults('replication', { delayMs: [0, 900] });
    alpha.connect(false, true);
    alpha.until(/cs:(Disconnecting|StandAlone)/);
    alpha.until(/cs:StandAlone/);
    beta.until(/cs:(Unconnected|WFConnection)/);
    for (const node of nodesOf(pair))
      t.true(
        node.log.some((line) => /dry-run connect: Would become Sync/.test(line)),
        `seed ${seed}`,
      );
    t.is(alpha.volume.state.role, Roles.Primary);
    pair.net.faults('replication', {});
    alpha.connect();
    pair.settled();
    t.is(pair.firstDifference(), -1);
  }
});
