/** A node that may run nothing (docs/HEALTH.md): whatever it hears, it takes nothing, and what it claims can be handed over. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { LegacyState } from '../../src/resource-manager/legacy-state.js';
import type { ResourceEffect } from '../../src/resource-manager/resource-machine.js';
import type { ResourceState } from '../../src/resource-manager/resource-state.js';
import { fieldOf, haFields } from '../../src/wire/hamsg.js';
import { Hand } from '../support/resource-hand.js';

function barred(hand: Hand, why: string | null): void {
  hand.call((state, out) => state.setBarred(why, hand.nowMs, out));
}

/** What is sent, and its field `offline`. */
function offlineOf(
  hand: Hand,
  action: (state: ResourceState, out: ResourceEffect[]) => void,
): string[] {
  const out: ResourceEffect[] = [];
  action(hand.state, out);
  hand.apply(out);
  const sent = out.flatMap((e) => (e.type === 'send' ? [e.message] : []));
  return sent.map((message) => `${fieldOf(message, 't')} ${fieldOf(message, 'offline')}`);
}

function takes(hand: Hand): string[] {
  return hand.jobs.map(({ what }) => what).filter((what) => what.startsWith('take'));
}

test('its first word says so; a common start: it claims its own, and starts nothing', (t) => {
  const hand = new Hand({});
  barred(hand, 'x');
  t.deepEqual(
    offlineOf(hand, (state, out) => state.active(0, out)),
    ['starting 1'],
  );
  hand.hear({ t: 'starting' });
  hand.resource('none', '0');
  hand.until(10_000);
  t.is(hand.state.state, 'STABLE');
  t.is(hand.state.hold, 'local');
  t.deepEqual(hand.sent.slice(-2), ['R(local,1,req_our_resources())', 'R(local,1)']);
  t.deepEqual(takes(hand), []);
  // The other is stable: what is claimed can be handed over.
  hand.resource('local', '1');
  t.is(hand.state.standbyBlocked, null);
  hand.call((state, out) => state.requestStandby('local', out));
  hand.ask('local', 'other');
  t.deepEqual(
    hand.jobs.map(({ what }) => what),
    ['give local'],
  );
});

test('what it hears while it is barred, and what it does not do', (t) => {
  const table: readonly (readonly [string, (hand: Hand) => void])[] = [
    ['the peer dies', (h) => h.call((s, out) => s.peerDied(true, h.nowMs, out))],
    ['the peer leaves', (h) => h.hear({ t: 'shutdone', st: 'dead' })],
    ['the peer wants to give', (h) => h.ask('all', 'me')],
    ['nobody has what is ours', (h) => h.resource('none', '1', { clean: '1' })],
    ['the peer starts anew', (h) => h.hear({ t: 'starting', clean: '1' })],
  ];
  for (const [what, happens] of table) {
    const hand = new Hand({});
    hand.call((state, out) => state.active(0, out));
    hand.resource('all', '1');
    barred(hand, 'mysql: hangs');
    const sent = hand.sent.length;
    happens(hand);
    hand.until(60_000);
    t.deepEqual(takes(hand), [], what);
    t.deepEqual(
      hand.sent.slice(sent).filter((each) => each.includes('stonith') || each.includes(',other)')),
      [],
      what,
    );
  }
});

test('with a reason no more: what it claims is taken; nothing of the peer’s', (t) => {
  const hand = new Hand({});
  barred(hand, 'x');
  hand.call((state, out) => state.active(0, out));
  hand.resource('local', '1');
  t.is(hand.state.hold, 'local');
  t.deepEqual(
    offlineOf(hand, (state, out) => state.setBarred('y', 0, out)),
    [],
  );
  const said = offlineOf(hand, (state, out) => state.setBarred(null, 0, out));
  t.deepEqual(said, ['resource null']);
  t.deepEqual(takes(hand), ['take local']);
  const other = new Hand({});
  barred(other, 'x');
  other.call((state, out) => state.active(0, out));
  other.resource('all', '1');
  barred(other, null);
  t.deepEqual(takes(other), []);
});

test('told again of a dead peer: it is reset unless it had released everything, or nobody knows', (t) => {
  const table: readonly (readonly [string, number, (hand: Hand) => void])[] = [
    ['it claimed something', 1, (h) => h.resource('local', '1')],
    ['it claimed nothing', 0, (h) => h.resource('none', '1')],
    ['it was starting', 1, (h) => h.hear({ t: 'starting', clean: '1' })],
    [
      'it left',
      0,
      (h) => {
        h.resource('all', '1');
        h.resource('none', '0');
        h.hear({ t: 'shutdone', st: 'dead' });
      },
    ],
    [
      'it left, and was starting again',
      1,
      (h) => {
        h.hear({ t: 'shutdone', st: 'dead' });
        h.call((s, out) => s.peerRestarted(out));
      },
    ],
  ];
  for (const [what, resets, happens] of table) {
    const hand = new Hand({ stonith: true });
    barred(hand, 'x');
    hand.call((state, out) => state.active(0, out));
    hand.resource('none', '0');
    happens(hand);
    hand.call((state, out) => state.peerDied(true, hand.nowMs, out));
    t.deepEqual(takes(hand), [], what);
    barred(hand, null);
    hand.jobs.length = 0;
    hand.call((state, out) => state.peerStillDead(hand.nowMs, out));
    t.is(hand.fences.length, resets, what);
    if (resets > 0) hand.fenced('OK');
    t.deepEqual(takes(hand), ['take all'], what);
  }
});

test('with a reason no more beside a dead peer that may run everything: nothing before it is reset', (t) => {
  const table: readonly (readonly [string, (hand: Hand) => void])[] = [
    ['never heard', (h) => h.call((s, out) => s.peerDied(false, h.nowMs, out))],
    [
      'it was starting',
      (h) => {
        h.hear({ t: 'starting', clean: '1' });
        h.call((s, out) => s.peerDied(true, h.nowMs, out));
      },
    ],
  ];
  for (const [what, happens] of table) {
    const hand = new Hand({ stonith: true });
    barred(hand, 'x');
    hand.call((state, out) => state.active(0, out));
    happens(hand);
    hand.until(60_000);
    t.is(hand.state.state, 'STABLE', what);
    barred(hand, null);
    t.deepEqual(takes(hand), [], what);
    hand.call((state, out) => state.peerStillDead(hand.nowMs, out));
    t.deepEqual(takes(hand), [], what);
    hand.fenced('OK');
    t.deepEqual(takes(hand), ['take all'], what);
  }
});

test('with a reason no more, and the peer that was dead comes back with nothing: what is ours is taken', (t) => {
  const hand = new Hand({});
  barred(hand, 'x');
  hand.call((state, out) => state.active(0, out));
  hand.call((state, out) => state.peerDied(false, 0, out));
  hand.until(60_000);
  hand.hear({ t: 'starting', clean: '1' });
  barred(hand, null);
  hand.resource('none', '1', { clean: '1' });
  hand.until(120_000);
  t.is(hand.state.hold, 'local');
  t.deepEqual(takes(hand), ['take local']);
});

test('legacy: one that left and came back before it died is reset, too', (t) => {
  for (const isBack of [false, true]) {
    const state = new LegacyState({ peer: 'b', groups: [], resume: 'none' });
    const out: ResourceEffect[] = [];
    state.active(0, out);
    state.receive(haFields({ t: 'shutdone', st: 'dead', src: 'b' }), false, 0, out);
    if (isBack) state.peerRestarted(out);
    state.peerDied(true, 0, out);
    const asked = out.flatMap((e) => (e.type === 'permission' ? [e.needed] : []));
    t.deepEqual(asked, [isBack]);
  }
});

test('a peer that is offline is asked to take nothing by itself, and is offered its own when it is well', (t) => {
  const hand = new Hand({ autoFailback: true });
  hand.call((state, out) => state.active(0, out));
  hand.call((state, out) => state.peerDied(true, 0, out));
  hand.finishJobs();
  hand.hear({ t: 'starting', clean: '1', offline: '1' });
  hand.resource('none', '1', { offline: '1' });
  hand.until(60_000);
  t.true(hand.state.peerBarred);
  t.is(hand.sent.filter((each) => each.includes(',me)')).length, 0);
  hand.call((state, out) => state.startFailed('r', 'local', 60_000, out));
  hand.until(120_000);
  t.is(hand.sent.filter((each) => each.includes(',me)')).length, 0);
  hand.resource('none', '1');
  hand.until(121_000);
  t.is(hand.sent.filter((each) => each === 'ASK(foreign,me)').length, 1);
});

// The one job that may be left is of a standby agreed to before: the host gives it no groups (host/node-jobs.ts).
test('whatever comes in whatever order, a barred node takes nothing', (t) => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = new Prng(seed);
    const autoFailback = random.below(2) === 0;
    const resume = random.pick(['none', 'local', 'all'] as const);
    const hand = new Hand({ autoFailback, resume });
    const steps = random.below(8);
    barred(hand, steps === 0 ? 'x' : null);
    hand.call((state, out) => state.active(0, out));
    for (let i = 0; i < 30; i++) {
      if (i === steps) {
        barred(hand, 'x');
        hand.finishJobs();
        if (hand.state.standby !== 'NOT') break;
      }
      const rsc = random.pick(['none', 'local', 'foreign', 'all'] as const);
      switch (random.below(9)) {
        case 0:
          hand.hear({ t: 'starting', clean: '1' });
          break;
        case 1:
        case 2:
          hand.resource(rsc, `${random.below(2)}`, random.below(2) === 0 ? { clean: '1' } : {});
          break;
        case 3:
          hand.ask(rsc === 'none' ? 'all' : rsc, random.pick(['me', 'other', 'done', 'cancel']));
          break;
        case 4:
          hand.hear({ t: 'shutdone', st: 'dead' });
          break;
        case 5:
          hand.call((state, out) => state.peerDied(random.below(2) === 0, hand.nowMs, out));
          break;
        case 6:
          hand.call((state, out) => state.peerRestarted(out));
          break;
        case 7:
          hand.until(hand.nowMs + random.below(20_000));
          break;
        case 8:
          if (i % 2 === 0) hand.finishJobs();
          break;
      }
      if (hand.state.barred !== null) t.deepEqual(takes(hand), [], `seed ${seed} step ${i}`);
    }
  }
});

test('legacy: it asks for nothing, takes nothing, and asks as at a start when it may again', (t) => {
  const groups = [
    { key: 'a', scope: 'local' as const },
    { key: 'b', scope: 'foreign' as const },
  ];
  const state = new LegacyState({ peer: 'b', groups, resume: 'none' });
  const out: ResourceEffect[] = [];
  state.setBarred('x', 0, out);
  state.active(0, out);
  state.receive(haFields({ t: 'ip-request-resp', ipaddr: 'a', ok: 'OK' }), false, 0, out);
  state.receive(haFields({ t: 'shutdone' }), false, 0, out);
  state.peerDied(true, 0, out);
  state.tick(60_000, out);
  t.deepEqual(
    out.filter((e) => e.type !== 'log'),
    [],
  );
  state.setBarred(null, 60_000, out);
  const sent = out.flatMap((e) => (e.type === 'send' ? [e.message] : []));
  t.is(sent.length, 1); // ip-request for what is ours
  t.false(out.some((e) => e.type === 'job'));
});
