/** The resource state machine message by message, against the sequences observed of 3.0.6 (docs/HEARTBEAT.md). */
import test from 'ava';
import { both, minus, parseHold, plus, swapped } from '../../src/resource-manager/hold.js';
import { fieldOf, type HaMessage } from '../../src/wire/hamsg.js';
import { Hand } from '../support/resource-hand.js';

test('holds: union, difference, the other node’s terms', (t) => {
  t.is(plus('local', 'foreign'), 'all');
  t.is(minus('all', 'local'), 'foreign');
  t.is(both('all', 'foreign'), 'foreign');
  t.is(swapped('local'), 'foreign');
  t.is(swapped('all'), 'all');
  t.is(parseHold('everything'), null);
});

// 9.1, both start: "A S(active) starting; A R(none,0); sees stable: R(none,0) R(local,1) ..."
test('both start: claims follow the peer’s stability', (t) => {
  const hand = new Hand({});
  hand.call((s, out) => s.active(0, out));
  hand.hear({ t: 'starting' });
  hand.resource('none', '0');
  t.deepEqual(hand.sent, ['starting', 'R(none,0)']);
  t.is(hand.state.state, 'RSCRCVD');
  hand.resource('local', '1');
  t.deepEqual(hand.sent.slice(2), ['R(none,0)', 'R(local,1,req_our_resources())', 'R(local,1)']);
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take local'],
  );
  t.is(hand.state.rscStatus, 'transition');
  hand.finishJobs();
  t.is(hand.state.rscStatus, 'local');
});

// 8.3: "Without any resource message from the peer the 10 s timer never starts and the node acquires nothing."
test('without a resource message nothing is acquired; with one after 10 s', (t) => {
  const hand = new Hand({});
  hand.call((s, out) => s.active(0, out));
  hand.until(60_000);
  t.deepEqual(hand.jobs, []);
  hand.resource('none', '0');
  hand.until(69_900);
  t.deepEqual(hand.jobs, []);
  hand.until(70_000);
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take local'],
  );
});

// 9.3: node returns, auto_failback off
test('a peer that holds all keeps it', (t) => {
  const hand = new Hand({});
  hand.call((s, out) => s.active(0, out));
  hand.resource('all', '1');
  t.true(hand.logs.includes('Local Resource acquisition completed. (none)'));
  t.deepEqual(hand.jobs, []);
  t.is(hand.state.hold, 'none');
});

// 8.6
test('a peer that dies with its claim is taken over; one that gave up is not fenced', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.peerDied(true, 0, out));
  t.is(hand.sent[0], 'stonith(b,n_stnth)');
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take all'],
  );
  t.is(hand.state.hold, 'all');
  const gone = Hand.stable();
  gone.resource('none', '0', { info: 'shutdown' });
  gone.hear({ t: 'shutdone', st: 'dead' });
  t.true(gone.logs.includes("Received shutdown notice from 'b'."));
  gone.finishJobs();
  gone.clear();
  gone.call((s, out) => s.peerDied(true, 0, out));
  t.deepEqual(gone.sent, ['stonith(b,unneeded)']);
  t.deepEqual(gone.jobs, []);
});

// Section 14: "take other == none in mid-standby for `may still hold`"
test('a peer that dies in the middle of its standby may still hold', (t) => {
  const hand = Hand.stable();
  hand.ask('local', 'me');
  hand.resource('none', '0', { info: 'standby' });
  hand.clear();
  hand.call((s, out) => s.peerDied(true, 0, out));
  t.is(hand.sent[0], 'stonith(b,n_stnth)');
});

// The swarm's first find: the claim drops before the scripts end.
test('a peer that is leaving still holds: the start-up timer takes nothing', (t) => {
  const hand = new Hand({});
  hand.call((s, out) => s.active(0, out));
  hand.resource('all', '0');
  hand.resource('none', '0', { info: 'shutdown' });
  hand.until(10_000);
  t.deepEqual(hand.jobs, []);
  hand.hear({ t: 'shutdone', st: 'dead' });
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take all'],
  );
});

// 8.7
test('shutdown: R(none,0,shutdown), stop everything, shutdone', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.shutdown(0, out));
  t.deepEqual(hand.sent, ['R(none,0,shutdown)']);
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['give all'],
  );
  t.deepEqual(hand.others, []);
  hand.finishJobs();
  t.deepEqual(hand.sent, ['R(none,0,shutdown)', 'shutdone']);
  t.deepEqual(hand.others, ['released']);
});

test('shutdown in the middle of a job waits', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.peerDied(true, 0, out));
  hand.call((s, out) => s.shutdown(0, out));
  t.true(hand.logs.includes('Shutdown delayed until current resource activity finishes.'));
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['take all'],
  );
  hand.finishJobs();
  t.deepEqual(hand.others, ['released']);
});

test('no takeover while we leave', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.shutdown(0, out));
  hand.call((s, out) => s.peerDied(true, 0, out));
  t.true(hand.logs.includes('Resource takeover cancelled - shutdown in progress.'));
  t.deepEqual(
    hand.jobs.map((j) => j.what),
    ['give all'],
  );
});

// 8.8
test('auto_failback on: the returned peer is offered its groups, again until it takes them', (t) => {
  const hand = Hand.stable({ autoFailback: true });
  hand.call((s, out) => s.peerDied(true, 0, out));
  hand.finishJobs();
  hand.clear();
  hand.hear({ t: 'starting' });
  hand.resource('none', '1');
  t.deepEqual(
    hand.sent.filter((m) => m.startsWith('ASK')),
    ['ASK(foreign,me)'],
  );
  hand.until(10_000); // no answer: cancelled, then asked again
  hand.until(11_100);
  t.deepEqual(hand.sent.filter((m) => m.startsWith('ASK')).length, 2);
  hand.ask('foreign', 'other');
  hand.finishJobs();
  hand.ask('foreign', 'done');
  hand.until(30_000);
  t.is(hand.sent.filter((m) => m === 'ASK(foreign,me)').length, 2);
  t.is(hand.state.hold, 'local');
});

test('a living peer that took our groups over is yielded to', (t) => {
  const hand = Hand.stable();
  hand.hear({ t: 'resource', rsc_hold: 'foreign', info: 'mach_down' });
  t.deepEqual(hand.others, ['yield']);
});

test('a peer that starts while we stop is told that we still hold', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.requestStandby('local', out));
  hand.ask('local', 'other');
  hand.clear();
  hand.call((s, out) => s.peerRestarted(out));
  hand.hear({ t: 'starting', clean: '1' });
  t.deepEqual(hand.sent, ['R(local,1)']);
});

// Both nodes' daemons start at one time, one of them with services that run on.
test('what is resumed is said with the first word, and not taken by a peer that starts too', (t) => {
  const resumed = new Hand({ resume: 'all' });
  const said: HaMessage[] = [];
  resumed.call((s, out) => {
    s.active(0, out);
    for (const e of out) if (e.type === 'send') said.push(e.message);
  });
  t.deepEqual(
    said.map((m) => [fieldOf(m, 't'), fieldOf(m, 'rsc_hold'), fieldOf(m, 'isstable')]),
    [
      ['starting', 'all', null],
      ['resource', 'all', '0'],
    ],
  );
  t.is(resumed.state.state, 'STARTING', 'our own claim is no answer');
  for (const heard of [said, said.slice(0, 1)]) {
    const hand = new Hand({});
    hand.call((s, out) => s.active(0, out));
    for (const message of heard) hand.say(message);
    hand.until(10_000);
    t.deepEqual(hand.jobs, [], hand.logs.join(' '));
    t.is(hand.state.hold, 'none');
  }
  // A node that kept running does not give way to the claim: the one that resumes does, when it hears the answer.
  const stable = Hand.stable();
  for (const message of said) stable.say(message);
  t.deepEqual(stable.jobs, []);
  t.is(stable.state.hold, 'local');
});

test('while we stop what we no longer claim we are not stable', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.requestStandby('local', out));
  hand.ask('local', 'other');
  hand.call((s, out) => s.peerRestarted(out));
  hand.hear({ t: 'starting', clean: '1' });
  hand.clear();
  hand.resource('none', '1');
  t.deepEqual(hand.sent, ['R(none,0)']);
  t.is(hand.state.claims(), 'local');
  hand.finishJobs();
  t.is(hand.sent[1], 'R(none,1)', 'now the peer may take them');
});

test('told to leave before communication is up: it does not begin to work when that comes', (t) => {
  const hand = new Hand({ resume: 'local' });
  hand.call((s, out) => s.shutdown(0, out));
  hand.call((s, out) => s.peerDied(false, 1, out));
  hand.call((s, out) => s.active(2, out));
  t.is(hand.state.state, 'SHUTDOWN');
  t.deepEqual(
    hand.jobs.map((job) => job.what),
    ['give all'],
  );
});

test('a release claims what was held, not all that it stops', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.release(out));
  t.deepEqual(
    hand.jobs.map((job) => job.what),
    ['give all'],
  );
  t.is(hand.state.claims(), 'local');
});

test('groups that nobody has are looked for again when a standby has come to nothing', (t) => {
  const hand = Hand.stable();
  hand.call((s, out) => s.requestStandby('local', out));
  hand.ask('local', 'other');
  hand.call((s, out) => s.peerRestarted(out));
  hand.hear({ t: 'starting', clean: '1' });
  hand.resource('none', '1');
  hand.call((s, out) => s.requestStandby('local', out));
  hand.finishJobs();
  t.is(hand.state.hold, 'none');
  hand.until(10_000);
  t.deepEqual(
    hand.jobs.map((job) => job.what),
    ['take local'],
  );
});

test('all that is resumed is looked at, the other node’s groups, too', (t) => {
  for (const [resume, wanted] of [
    ['foreign', 'take all'],
    ['local', 'take local'],
    ['all', 'take all'],
  ] as const) {
    const hand = new Hand({ resume });
    hand.call((s, out) => s.active(0, out));
    hand.resource('none', '0');
    hand.until(10_000);
    t.deepEqual(
      hand.jobs.map((job) => job.what),
      [wanted],
    );
  }
});
