/** A take-over from a dead peer looks at our own disks first: nothing is asked, claimed or started for what cannot be promoted. */
import test, { type ExecutionContext } from 'ava';
import type { OwnDataVerdict } from '../../src/resource-manager/answers.js';
import { OwnData } from '../../src/resource-manager/own-data.js';
import type { ResourceEffect } from '../../src/resource-manager/resource-machine.js';
import { Hand, type HandOptions } from '../support/resource-hand.js';

const GOOD: OwnDataVerdict = { isGood: true };
const BAD: OwnDataVerdict = {
  isGood: false,
  why: 'the data here are older than those of b: r0 (Outdated)',
  force: 'drbdadm primary --force r0',
};

/** The peer ran its own and has died. */
function died(options: HandOptions): Hand {
  const hand = Hand.stable({ onDisks: 'all', ...options });
  hand.call((s, out) => s.peerDied(true, hand.nowMs, out));
  return hand;
}

/** What was asked last is answered. */
function answer(hand: Hand, verdict: OwnDataVerdict): void {
  hand.call((s, out) => s.ownData(hand.looks, verdict, hand.nowMs, out));
}

function tookNothing(t: ExecutionContext, hand: Hand): void {
  t.is(hand.state.hold, 'local');
  t.deepEqual([hand.jobs, hand.fences, hand.sent], [[], [], []]);
}

test('good data: the take-over goes on as without', (t) => {
  const hand = died({});
  tookNothing(t, hand);
  answer(hand, GOOD);
  t.is(hand.state.hold, 'all');
  t.deepEqual(
    hand.jobs.map(({ what }) => what),
    ['take all'],
  );
});

test('bad data: nothing is reset, claimed or started; asked every 5 s, said once', (t) => {
  const hand = died({ stonith: true });
  for (let n = 1; n <= 20; n++) {
    answer(hand, BAD);
    tookNothing(t, hand);
    t.is(hand.looks, n);
    hand.until(n * 5000);
  }
  const said = hand.logs.filter((text) => text.startsWith('Nothing is taken over'));
  t.is(said.length, 1);
  t.regex(said[0] ?? '', /r0 \(Outdated\)\. It is tried again .*drbdadm primary --force r0$/);
  t.is(hand.state.takeOverWaitsFor, BAD.why);
});

test('when they have become good: reset first, as ever, then taken over', (t) => {
  const hand = died({ stonith: true });
  answer(hand, BAD);
  hand.until(5000);
  answer(hand, GOOD);
  t.is(hand.fences.length, 1);
  t.is(hand.state.hold, 'local');
  hand.fenced('OK');
  t.is(hand.state.hold, 'all');
  t.is(hand.state.takeOverWaitsFor, null);
});

test('a peer that is heard ends it: an answer that comes later takes nothing', (t) => {
  const hand = died({});
  hand.call((s, out) => s.peerHeard(out));
  hand.clear();
  answer(hand, GOOD);
  tookNothing(t, hand);
  hand.until(60_000);
  t.is(hand.looks, 1);
});

test('an answer to an earlier death counts nothing', (t) => {
  const hand = died({});
  hand.call((s, out) => s.peerHeard(out));
  hand.resource('local', '1');
  hand.call((s, out) => s.peerDied(true, hand.nowMs, out));
  hand.clear();
  t.is(hand.looks, 2);
  hand.call((s, out) => s.ownData(1, GOOD, hand.nowMs, out));
  tookNothing(t, hand);
  answer(hand, GOOD);
  t.is(hand.state.hold, 'all');
});

test('a node that leaves, or may run nothing, does not look on', (t) => {
  for (const end of ['release', 'bar'] as const) {
    const hand = died({});
    answer(hand, BAD);
    hand.call((s, out) => {
      if (end === 'release') s.release(out);
      else s.setBarred('a test', 0, out);
    });
    hand.until(60_000);
    t.is(hand.looks, 1);
    t.is(hand.state.takeOverWaitsFor, null);
    answer(hand, GOOD);
    t.not(hand.state.hold, 'all');
  }
});

test('a start-up that waits for its data does not take its own beside that', (t) => {
  const hand = new Hand({ onDisks: 'all' });
  hand.call((s, out) => s.active(0, out));
  hand.call((s, out) => s.peerDied(false, 0, out));
  answer(hand, BAD);
  hand.until(3_600_000);
  t.is(hand.state.hold, 'none');
  t.deepEqual(hand.jobs, []);
});

test('only what is not held yet is looked at, and only where all of it needs disks', (t) => {
  const row = (onDisks: 'none' | 'local' | 'foreign' | 'all', hold: typeof onDisks) => {
    const out: ResourceEffect[] = [];
    new OwnData(onDisks).ask(hold, out);
    return out.map((effect) => (effect.type === 'own-data' ? effect.scope : effect.type));
  };
  t.deepEqual(row('all', 'none'), ['all']);
  t.deepEqual(row('all', 'local'), ['foreign']);
  t.deepEqual(row('foreign', 'local'), ['foreign']);
  t.deepEqual(row('all', 'all'), []);
  t.deepEqual(row('local', 'local'), []);
  t.deepEqual(row('local', 'none'), []);
  t.deepEqual(row('none', 'none'), []);
});
