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
