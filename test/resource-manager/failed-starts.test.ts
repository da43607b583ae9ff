/** Groups that do not start: the peer is asked to take them, together, as they belong, once. */
import test from 'ava';
import { FailedStarts } from '../../src/resource-manager/failed-starts.js';
import type { ResourceEffect } from '../../src/resource-manager/resource-machine.js';
import { Hand } from '../support/resource-hand.js';

test('30 s after the first one failed, all that failed are asked for together', (t) => {
  const starts = new FailedStarts();
  const out: ResourceEffect[] = [];
  starts.failed('one', 'local', 1000, out);
  starts.failed('two', 'foreign', 20_000, out);
  t.is(starts.deadlineMs, 31_000);
  t.is(starts.handOver(30_999, true), null);
  t.is(starts.handOver(31_000, true), 'all');
  t.is(starts.handOver(99_000, true), null);
  t.is(starts.deadlineMs, Number.POSITIVE_INFINITY);
  t.deepEqual(out, []);
});

test('while nobody could take it, it is tried again later', (t) => {
  const starts = new FailedStarts();
  starts.failed('one', 'local', 1000, []);
  t.is(starts.handOver(31_000, false), null);
  t.is(starts.deadlineMs, 61_000);
  t.is(starts.handOver(61_000, true), 'local');
});

test('one that fails again after it was handed over stays stopped, and that is said', (t) => {
  const starts = new FailedStarts();
  const out: ResourceEffect[] = [];
  starts.failed('one', 'foreign', 1000, out);
  t.is(starts.handOver(31_000, true), 'foreign');
  starts.failed('one', 'foreign', 50_000, out);
  t.like(out[0], { type: 'log', level: 'CRIT' });
  t.is(out.length, 1);
  t.is(starts.handOver(99_000, true), null);
});

test('one that starts after all is not handed over; one that ran in between is handed over again', (t) => {
  const starts = new FailedStarts();
  const out: ResourceEffect[] = [];
  starts.failed('one', 'local', 1000, out);
  starts.started('one');
  t.is(starts.deadlineMs, Number.POSITIVE_INFINITY);
  t.is(starts.handOver(31_000, true), null);
  starts.failed('one', 'local', 40_000, out);
  t.is(starts.handOver(70_000, true), 'local');
  starts.started('one');
  starts.failed('one', 'local', 80_000, out);
  t.is(starts.handOver(110_000, true), 'local');
  t.deepEqual(out, []);
});

test('a node asks to go standby with what did not start there, and not with what it does not claim', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.startFailed('one', 'local', 0, out));
  hand.until(29_999);
  t.deepEqual(hand.sent, []);
  hand.until(30_000);
  t.deepEqual(hand.sent, ['ASK(local,me)']);

  const other = Hand.stable();
  other.call((s, out) => s.startFailed('three', 'foreign', 0, out));
  other.until(30_000);
  t.deepEqual(other.sent, []);
});

// A group that stays stopped is the third worst thing: it is said, with what an operator can do.
test('moves-per-hour is reached: said at once, for each further group and every hour, and handed over when the hour allows it', (t) => {
  const hand = Hand.stable({ movesPerHour: 1 });
  const fail = (key: string) => hand.call((s, out) => s.startFailed(key, 'local', hand.nowMs, out));
  const said = () => hand.logs.filter((line) => line.includes('moves-per-hour'));
  const givesUp = () => {
    hand.ask('local', 'other');
    hand.finishJobs();
    hand.ask('local', 'done');
  };
  fail('one');
  hand.until(30_000);
  t.deepEqual(hand.sent, ['ASK(local,me)'], 'the move of this hour');
  t.deepEqual(said(), []);
  givesUp();
  hand.ask('foreign', 'me'); // in the terms of the giver: home again
  hand.finishJobs();
  hand.ask('foreign', 'done');
  hand.finishJobs();
  t.is(hand.state.hold, 'local');
  hand.clear();
  hand.logs.length = 0;

  hand.until(600_000);
  fail('two');
  t.is(hand.state.handOverWaitsFor, null);
  hand.until(630_000);
  t.deepEqual(hand.sent, []);
  const why =
    'moves-per-hour = 1 is reached (1 in the last hour), so [two] stays stopped for another 50 min; hb_standby local hands it over now';
  t.deepEqual(said(), [`What did not start here is not handed over: ${why}.`]);
  t.is(hand.state.handOverWaitsFor, why);
  fail('three');
  hand.until(690_000);
  t.is(said().length, 2);
  t.regex(said()[1] ?? '', /\[two three\]/);
  hand.until(3_600_000);
  t.is(said().length, 2);
  hand.until(3_661_000);
  t.deepEqual(hand.sent, ['ASK(local,me)']);
  t.is(hand.state.handOverWaitsFor, null);
});

test('moves-per-hour is reached, and an operator hands it over: nothing waits any more', (t) => {
  const hand = Hand.stable({ movesPerHour: 1 });
  const fail = (key: string) => hand.call((s, out) => s.startFailed(key, 'local', hand.nowMs, out));
  fail('one');
  hand.until(30_000);
  hand.until(60_000); // nobody answered: it goes on here
  hand.call((s) => s.started('one'));
  fail('one');
  hand.until(120_000);
  t.not(hand.state.handOverWaitsFor, null);
  hand.call((s, out) => s.requestStandby('local', out));
  hand.ask('local', 'other');
  hand.finishJobs();
  hand.ask('local', 'done');
  hand.until(180_000);
  t.is(hand.state.hold, 'none');
  t.is(hand.state.handOverWaitsFor, null);
});

test('moves-per-hour is reached for hours, by a fail-back each time: said every hour', (t) => {
  const starts = new FailedStarts();
  const out: ResourceEffect[] = [];
  const moves = { perHour: 1, count: () => 1, freeMs: (nowMs: number) => nowMs + 1_800_000 };
  starts.failed('one', 'local', 0, out);
  for (let nowMs = 0; nowMs <= 10_800_000; nowMs += 10_000) {
    starts.holdBack(moves, 'local', nowMs, out);
  }
  t.is(out.length, 3);
  for (const e of out) t.like(e, { type: 'log', level: 'CRIT' });
});
