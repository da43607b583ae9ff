/** auto_failback on: when a returned node gets its groups, and how often groups may move by themselves. */
import test from 'ava';
import { Moves } from '../../src/resource-manager/moves.js';
import { Hand, type HandOptions } from '../support/resource-hand.js';

const HOUR_MS = 3_600_000;
const BAD = {
  isGood: false,
  why: 'the data of r0 are not up to date on b (Inconsistent)',
} as const;

/** The peer died, was taken over, and is back since `hand.nowMs`. */
function returned(options: HandOptions): Hand {
  const hand = Hand.stable({ autoFailback: true, ...options });
  hand.call((s, out) => s.peerDied(true, 0, out));
  hand.finishJobs();
  hand.clear();
  hand.hear({ t: 'starting' });
  hand.resource('none', '1');
  return hand;
}

const offers = (hand: Hand): number => hand.sent.filter((m) => m === 'ASK(foreign,me)').length;

/** What was asked of the data is answered. */
function answer(hand: Hand, verdict: { isGood: true } | typeof BAD): void {
  hand.call((s, out) => s.peersData(verdict, hand.nowMs, out));
}

function takesItBack(hand: Hand): void {
  hand.ask('foreign', 'other');
  hand.finishJobs();
  hand.ask('foreign', 'done');
}

test('not before the data are good: asked every 5 s, said once', (t) => {
  const hand = returned({ needsData: true });
  t.is(offers(hand), 0);
  t.deepEqual(hand.others, ['data']);
  for (let n = 1; n <= 20; n++) {
    answer(hand, BAD);
    hand.until(n * 5000);
    t.is(hand.others.length, n + 1);
  }
  t.is(offers(hand), 0);
  t.deepEqual(
    hand.logs.filter((l) => l.startsWith('Fail-back waits')),
    [`Fail-back waits: ${BAD.why}.`],
  );
  t.is(hand.state.failbackWaitsFor, BAD.why);
  answer(hand, { isGood: true });
  t.is(offers(hand), 1, 'at once');
  t.is(hand.state.failbackWaitsFor, null);
  takesItBack(hand);
  t.is(hand.state.hold, 'local');
});

test('an offer that was not answered asks for the data again', (t) => {
  const hand = returned({ needsData: true });
  answer(hand, { isGood: true });
  t.is(offers(hand), 1);
  hand.until(10_000);
  hand.until(11_100);
  t.is(offers(hand), 1);
  t.deepEqual(hand.others, ['data', 'data']);
  answer(hand, { isGood: true });
  t.is(offers(hand), 2);
});

test('one question at a time: an answer that never comes stops fail-back, and nothing else', (t) => {
  const hand = returned({ needsData: true });
  hand.until(100_000);
  t.deepEqual(hand.others, ['data']);
  hand.call((s, out) => s.requestStandby('foreign', out)); // an operator's is not asked about
  t.is(offers(hand), 1);
});

test('failback-delay counts from when the peer became stable', (t) => {
  const hand = returned({ delayMs: 30_000 });
  hand.until(29_999);
  t.is(offers(hand), 0);
  t.is(hand.state.deadlineMs, 30_000);
  hand.until(30_000);
  t.is(offers(hand), 1);
});

test('a peer that dies again meanwhile is offered nothing, and the delay begins anew', (t) => {
  const hand = returned({ delayMs: 30_000 });
  hand.until(20_000);
  hand.call((s, out) => s.peerDied(true, hand.nowMs, out));
  hand.finishJobs();
  hand.until(40_000);
  hand.hear({ t: 'starting' });
  hand.resource('none', '1');
  hand.until(69_000);
  t.is(offers(hand), 0);
  hand.until(70_000);
  t.is(offers(hand), 1);
});

test('moves-per-hour: a node that flaps gets its groups back so often, then when the hour allows it', (t) => {
  const hand = returned({ movesPerHour: 2 });
  for (let n = 1; n <= 2; n++) {
    t.is(offers(hand), n);
    takesItBack(hand);
    hand.call((s, out) => s.peerDied(true, hand.nowMs, out)); // a death is not refused
    hand.finishJobs();
    t.is(hand.state.hold, 'all');
    hand.until(n * 60_000);
    hand.hear({ t: 'starting' });
    hand.resource('none', '1');
  }
  hand.until(HOUR_MS - 1);
  t.is(offers(hand), 2);
  t.is(hand.state.failbackWaitsFor, '2 moves in the last hour are enough');
  hand.until(HOUR_MS);
  t.is(offers(hand), 3);
});

test('moves: counted over a sliding hour; 0 is no limit', (t) => {
  const moves = new Moves(2);
  for (const atMs of [0, 1000]) {
    t.true(moves.may(atMs));
    moves.moved(atMs);
  }
  t.false(moves.may(2000));
  t.is(moves.freeMs(2000), HOUR_MS);
  t.true(moves.may(HOUR_MS));
  moves.moved(HOUR_MS);
  t.is(moves.freeMs(HOUR_MS), HOUR_MS + 1000);
  const free = new Moves(0);
  for (let n = 0; n < 100; n++) free.moved(n);
  t.true(free.may(100));
  free.perHour = 2; // by a reload
  t.is(free.freeMs(100), HOUR_MS + 98);
  t.false(free.may(HOUR_MS + 97));
  t.true(free.may(HOUR_MS + 98));
});
