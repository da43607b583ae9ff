/** What the model of the promises takes for lost, and what not: the cases that it judged wrongly. */
import test from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';
import { Ledger, stamp } from '../../src/sim/ledger.js';
import type { RunResult } from '../../src/sim/run.js';
import { parseScenario } from '../../src/sim/scenario.js';
import { runScenario } from '../../src/sim/scenario-run.js';
import { Truth } from '../../src/sim/truth.js';

function play(text: string): RunResult {
  const parsed = parseScenario(text, 'lost-writes');
  if (!parsed.ok) throw new Error(parsed.text);
  return runScenario(parsed.scenario, nodeDigests, null);
}

const PAIR = `
set heartbeat none
set connect-int 1
set after-sb-0pri discard-zero-changes
at 0s boot alpha
at 0s boot beta
at 2s drbdadm new-current-uuid --clear-bitmap on alpha
at 3s serve on alpha
`;

// Swarm seed 1117982626. The last writes at several moments: which of them a cache keeps is up to the dice.
test('unflushed writes that a Primary loses with its power may be missing to a node that reads through it', (t) => {
  for (const killMs of [5000, 5100, 5300, 5500]) {
    const result = play(`${PAIR}
at ${killMs}ms kill alpha
at 9s drbdadm detach --force on beta
at 10s boot alpha
at 12s expect beta Diskless/UpToDate within 5s
at 20s serve on beta
at 21s expect beta Primary/Secondary within 5s
at 27s drbdadm attach on beta
at 28s settle
expect same data
`);
    t.is(result.violation?.text ?? null, null);
    t.true((result.looked['promotion'] ?? 0) >= 2);
  }
});

test('they may not when somebody has been Primary since, or both copies were the same', (t) => {
  const truth = new Truth(new Ledger(), 1 << 20);
  truth.powerCut('beta', false);
  t.false(truth.crashedPrimary.beta, 'a Secondary has promised everything to the Primary');
  truth.powerCut('alpha', true);
  t.true(truth.crashedPrimary.alpha);
  truth.powerCut('alpha', false);
  t.true(truth.crashedPrimary.alpha);
  truth.promoted();
  t.false(truth.crashedPrimary.alpha);
  truth.powerCut('alpha', true);
  truth.resyncBegins('beta');
  t.true(truth.crashedPrimary.alpha, 'it is the source');
  truth.resyncBegins('alpha');
  t.false(truth.crashedPrimary.alpha);
  truth.powerCut('alpha', true);
  truth.inSync(null);
  t.false(truth.crashedPrimary.alpha);
});

// Swarm seed 1117991793.
test('a write that the peer took before the connection broke, answered later, is no change of this node alone', (t) => {
  const result = play(`${PAIR}
set think 50ms
at 5s disk alpha stuck
at 5.5s cut replication
at 6s expect alpha WFConnection within 20s
at 27s unserve on alpha
at 28s disk alpha works
expect alpha Secondary within 5s
expect rows all
at 35s serve on beta
at 38s unserve on beta
at 40s heal replication
expect beta log "Split-Brain detected, 0 primaries, automatically solved. Sync from this node" within 60s
expect alpha UpToDate/UpToDate within 60s
`);
  t.is(result.violation?.text ?? null, null);
  t.true((result.looked['decision'] ?? 0) >= 1);
});

// Swarm seed 2823510302: protocol B has answered it, and it waits for its turn on the disk of the copy that was chosen.
test('a decision for a copy counts what its disk is about to get', (t) => {
  const ledger = new Ledger();
  const lineage = ledger.lineage(16);
  const id = ledger.begin(lineage, 8, 4, false);
  ledger.acknowledged(id, false);
  const asked = ledger.readBegin();
  ledger.rebase(lineage, new Uint8Array(16 * 512), [{ sector: 8, endSector: 12 }]);
  t.is(ledger.read(lineage, asked, 8, stamp(id, 8, 4)), null);
  t.is(ledger.read(lineage, asked, 4, new Uint8Array(4 * 512)), null);
  const later = ledger.begin(lineage, 0, 4, false);
  ledger.acknowledged(later, false);
  ledger.rebase(lineage, new Uint8Array(16 * 512));
  t.is(ledger.read(lineage, ledger.readBegin(), 0, stamp(later, 0, 4))?.judgement, 'stale');
});

// Swarm 1520000611@7.
test('a write that was answered too early may be gone; others, and what a flush has made durable, may not', (t) => {
  const ledger = new Ledger();
  const data = ledger.lineage(16);
  const write = (sector: number): number => {
    const id = ledger.begin(data, sector, 4, false);
    ledger.acknowledged(id, false);
    return id;
  };
  const judged = (id: number, sector: number): string =>
    ledger.firstBadAt(data, sector, stamp(id, sector, 4))?.judgement ?? 'legal';
  const durable = [write(0), write(8)];
  ledger.flushed(data, ledger.flushBegin());
  const first = write(0);
  const second = write(8);
  ledger.missed(data, { sector: 2, endSector: 3 });
  t.is(judged(durable[0] as number, 0), 'legal');
  t.is(judged(first, 0), 'legal', 'or it is there');
  t.is(judged(durable[1] as number, 8), 'stale');
  t.is(judged(second, 8), 'legal');
  const zeroes = new Uint8Array(4 * 512);
  t.is(ledger.firstBadAt(data, 0, zeroes)?.judgement, 'stale', 'older than what is durable');
});
