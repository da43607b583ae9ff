/** auto_failback legacy, message by message: a group runs at home while its home lives. */
import test from 'ava';
import type { Hold } from '../../src/resource-manager/hold.js';
import { LegacyState } from '../../src/resource-manager/legacy-state.js';
import type { ResourceEffect } from '../../src/resource-manager/resource-machine.js';
import { fieldOf, haFields } from '../../src/wire/hamsg.js';

/** A node with the group `own`; its peer's is `his`. */
function node(resume: Hold) {
  const state = new LegacyState({
    peer: 'b',
    groups: [
      { key: 'own', scope: 'local' },
      { key: 'his', scope: 'foreign' },
    ],
    resume,
  });
  let lastJob = 0;
  let lastAsked = 0;
  const call = (action: (state: LegacyState, out: ResourceEffect[]) => void): string[] => {
    const out: ResourceEffect[] = [];
    action(state, out);
    return out.flatMap((e) => {
      if (e.type === 'job') {
        lastJob = e.id;
        return [`${e.kind} ${e.key ?? e.scope}`];
      }
      if (e.type === 'permission') lastAsked = e.id;
      if (e.type !== 'send') return e.type === 'log' ? [] : [e.type];
      return [`${fieldOf(e.message, 't')} ${fieldOf(e.message, 'ipaddr') ?? ''}`.trim()];
    });
  };
  const hear = (fields: Readonly<Record<string, string>>) =>
    call((s, out) => s.receive(haFields(fields), false, 0, out));
  const finish = () => call((s, out) => s.jobDone(lastJob, 0, out));
  const permit = () => call((s, out) => s.permitted(lastAsked, 0, out));
  return { state, call, hear, finish, permit };
}

test('the home node asks for its group, and starts it when the other has stopped it', (t) => {
  const { call, hear } = node('none');
  t.deepEqual(
    call((s, out) => s.active(0, out)),
    ['ip-request own'],
  );
  t.deepEqual(hear({ t: 'ip-request-resp', ipaddr: 'own', ok: 'OK', weown: 'no' }), ['take own']);
  t.deepEqual(hear({ t: 'ip-request-resp', ipaddr: 'own', ok: 'OK', weown: 'no' }), [], 'once');
});

test('what it is asked for it stops first, and claims until then', (t) => {
  const { state, call, hear, finish, permit } = node('none');
  call((s, out) => s.peerDied(false, 0, out));
  t.deepEqual(
    call((s, out) => s.active(0, out)),
    ['permission'],
  );
  t.deepEqual(permit(), ['take all']);
  finish();
  t.deepEqual(hear({ t: 'ip-request', ipaddr: 'his' }), ['give his']);
  t.deepEqual([state.hold, state.claims()], ['local', 'all']);
  t.deepEqual(finish(), ['ip-request-resp his']);
  t.is(state.claims(), 'local');
  t.deepEqual(hear({ t: 'ip-request', ipaddr: 'his' }), ['give his'], 'also what it does not have');
  t.is(state.claims(), 'local');
});

// The other node may have started either without our hearing of it: a partition during which our daemon was killed.
test('a resumed group of the living other node is given up, an own one is asked for while it runs on', (t) => {
  const { state, call } = node('all');
  t.deepEqual(
    call((s, out) => s.active(0, out)),
    ['give his', 'ip-request own'],
  );
  t.is(state.hold, 'local');
  t.is(state.claims(), 'all', 'until it is stopped');
});

// Killed between two of its requests: the file says `local`, and the other node still runs, or stops, what it was not asked for yet.
test('a resumed group is started by nothing but the answer for it', (t) => {
  const { state, call, hear } = node('local');
  t.deepEqual(
    call((s, out) => s.active(0, out)),
    ['ip-request own'],
  );
  t.is(state.hold, 'local');
  t.deepEqual(hear({ t: 'ip-request-resp', ipaddr: 'own', ok: 'OK', weown: 'yes' }), ['take own']);
});

test('a release stops everything and claims what was held', (t) => {
  const { state, call, finish } = node('local');
  call((s, out) => s.active(0, out));
  finish();
  t.deepEqual(
    call((s, out) => s.release(out)),
    ['give all'],
  );
  t.deepEqual([state.hold, state.claims()], ['none', 'local']);
  t.deepEqual(finish(), ['shutdone', 'released']);
});

test('told to leave before communication is up: it does not begin to work when that comes', (t) => {
  const { state, call } = node('local');
  t.deepEqual(
    call((s, out) => s.shutdown(0, out)),
    ['give all'],
  );
  t.deepEqual(
    call((s, out) => s.active(0, out)),
    [],
  );
  t.is(state.state, 'SHUTDOWN');
});

test('a dead peer that is heard before the door opens is asked for our groups', (t) => {
  const { state, call, hear, permit } = node('none');
  call((s, out) => s.peerDied(false, 0, out));
  t.deepEqual(
    call((s, out) => s.active(0, out)),
    ['permission'],
  );
  t.deepEqual(
    call((s, out) => s.peerHeard(out)),
    ['withdraw'],
  );
  t.deepEqual(permit(), [], 'too late');
  t.is(state.deadlineMs, 0);
  t.deepEqual(
    call((s, out) => s.tick(1, out)),
    ['ip-request own'],
  );
  t.deepEqual(hear({ t: 'ip-request-resp', ipaddr: 'own', ok: 'OK', weown: 'no' }), ['take own']);
});
