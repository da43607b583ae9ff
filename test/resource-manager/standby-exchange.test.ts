/** Standby: the table, and a node in the hand of a test as giver and taker, against the sequences observed of 3.0.6. */
import test from 'ava';
import { STANDBY_PHASES, STANDBY_TABLE, standbyRow } from '../../src/resource-manager/standby.js';
import { Hand } from '../support/resource-hand.js';

test('standby: every phase and message has at most one row', (t) => {
  for (const phase of STANDBY_PHASES) {
    for (const info of ['me', 'other', 'done', 'cancel']) {
      for (const own of [true, false]) {
        const rows = STANDBY_TABLE.filter(
          (r) => r.phase === phase && r.info === info && r.own === own,
        );
        t.true(rows.length <= 1);
        t.is(standbyRow(phase, info, own), rows[0] ?? null);
      }
    }
  }
});

// 9.7: hb_standby all on A
test('giving: ASK me, other, R(none,0,standby), stop, ASK done, R(none,1)', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.requestStandby('all', out));
  t.is(hand.state.standby, 'ME');
  hand.ask('all', 'other');
  t.deepEqual(hand.sent, ['ASK(all,me)', 'R(none,0,standby)']);
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['give all'],
  );
  hand.finishJobs();
  t.is(hand.sent.at(-1), 'ASK(all,done)');
  t.is(hand.state.standby, 'DONE');
  hand.ask('all', 'done');
  t.is(hand.sent.at(-1), 'R(none,1)');
  t.is(hand.state.standby, 'NOT');
});

test('taking: nothing is started before the giver says done', (t) => {
  const hand = Hand.stable();
  hand.ask('all', 'me');
  t.deepEqual(hand.sent, ['ASK(all,other)']);
  hand.resource('none', '0', { info: 'standby' });
  hand.until(hand.nowMs + 3_000_000);
  t.deepEqual(hand.jobs, []);
  hand.ask('all', 'done');
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take all'],
  );
  hand.finishJobs();
  t.deepEqual(hand.sent.slice(-2), ['ASK(all,done)', 'R(all,1)']);
  t.is(hand.state.hold, 'all');
});

test('a request without an answer is cancelled after 10 s, and nothing was given', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.requestStandby('all', out));
  hand.until(hand.nowMs + 10_000);
  t.true(hand.logs.includes('No reply to standby request.  Standby request cancelled.'));
  t.is(hand.state.hold, 'local');
  t.deepEqual(hand.jobs, []);
});

test('a second request while one is under way is ignored', (t) => {
  const hand = Hand.stable();
  hand.ask('all', 'me');
  hand.ask('all', 'me');
  t.true(hand.logs.includes('Standby in progress- new request from b ignored [3600 seconds left]'));
});

test('an unexpected message of the standby is ignored by number of state', (t) => {
  const hand = Hand.stable();
  hand.ask('all', 'done');
  t.true(hand.logs.includes("Ignored standby message 'done' from b in state 0"));
  t.deepEqual(hand.jobs, []);
});

// 9.7: "A hb_takeover(all); B runs hb_standby all", local and foreign exchanged
test('hb_takeover of the peer is our standby with the sides exchanged', (t) => {
  for (const [asked, ours] of [
    ['all', 'all'],
    ['local', 'foreign'],
    ['foreign', 'local'],
    ['failback', 'all'],
  ]) {
    const hand = Hand.stable();
    hand.hear({ t: 'hb_takeover', rsc_hold: asked ?? '' });
    t.is(hand.sent[0], `ASK(${ours},me)`);
  }
});

// The taker of a standby that does not come waits for an hour: no other standby, no shutdown meanwhile.
test('a request that we would not follow ourselves is not made', (t) => {
  const hand = Hand.stable();
  hand.resource('local', '0');
  t.is(hand.state.standbyBlocked, 'Other side is in flux.');
  hand.clear();
  hand.call((s, out) => s.requestStandby('all', out));
  t.deepEqual(hand.sent, []);
  hand.resource('local', '1');
  t.is(hand.state.standbyBlocked, null);
  hand.call((s, out) => s.requestStandby('all', out));
  t.is(hand.state.standbyBlocked, 'Standby in progress.');
});

test('an agreement that comes too late is cancelled, and ends the wait for what was agreed to', (t) => {
  const giver = Hand.stable();
  giver.call((s, out) => s.requestStandby('all', out));
  giver.until(10_000);
  t.is(giver.state.standby, 'NOT');
  giver.clear();
  giver.ask('all', 'other');
  t.deepEqual(giver.sent, ['ASK(all,cancel)']);
  t.deepEqual([giver.state.standby, giver.state.hold], ['NOT', 'local']);

  const taker = Hand.stable();
  taker.ask('all', 'me');
  t.is(taker.state.standby, 'OTHER');
  taker.ask('local', 'cancel');
  t.is(taker.state.standby, 'OTHER', 'another request');
  taker.ask('all', 'cancel');
  t.is(taker.state.standby, 'NOT');
  t.deepEqual(taker.jobs, []);
});

// The taker's claim was lost, or it still starts what it was given: it is no orphan.
test('the taker says nothing for an hour: what it was told to start is not adopted, until it says that it has nothing', (t) => {
  const hand = Hand.stable();
  hand.resource('local', '1', { clean: '1' });
  hand.call((s, out) => s.requestStandby('local', out));
  hand.ask('local', 'other');
  hand.finishJobs();
  t.is(hand.sent.at(-1), 'ASK(local,done)');
  hand.until(hand.nowMs + 3_600_000);
  t.is(hand.state.standby, 'NOT');
  t.deepEqual(hand.jobs, []);
  t.is(hand.state.hold, 'none');
  hand.resource('local', '1', { clean: '1' });
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take local'],
  );
});
