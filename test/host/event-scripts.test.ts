/** Which messages have an event script, and when it runs. */
import test from 'ava';
import { EventQueue, eventEnvironment, isForeignType } from '../../src/host/event-scripts.js';
import { type HaMessage, haFields } from '../../src/wire/hamsg.js';

const say = (t: string, n = '1') => haFields({ t, n });

function queue(...types: string[]): EventQueue {
  const events = new EventQueue();
  events.setTypes(types);
  return events;
}

test('what takes groups over in the original is never run here', (t) => {
  for (const type of ['status', 'ip-request', 'ip-request-resp', 'hb_takeover', 'ask_resources']) {
    const events = queue(type);
    events.add(say(type));
    t.is(events.next(false), null, type);
  }
});

test('a name that leads out of the directory is no script', (t) => {
  for (const type of ['..', '../x', 'a/b', '.hidden', '', 'NS_x', 'a\0b', '-x', 'x'.repeat(65)]) {
    t.false(isForeignType(type), type);
  }
  t.true(isForeignType('my-type.2'));
});

test('only what has a script, one at a time, in order, and none beside a resource script', (t) => {
  const events = queue('one', 'two');
  events.add(say('other'));
  t.is(events.next(false), null);
  events.add(say('two', '1'));
  events.add(say('one', '2'));
  t.is(events.next(true), null, 'a resource script runs');
  t.is(events.next(false)?.type, 'two');
  t.is(events.next(false), null, 'it runs');
  events.done();
  t.is(events.next(false)?.type, 'one');
  events.done();
  t.true(events.isEmpty);
});

test('fifty wait at most; that others are dropped is said once', (t) => {
  const events = queue('one');
  for (let n = 0; n < 50; n++) t.true(events.add(say('one', String(n))));
  t.false(events.add(say('one')));
  t.true(events.add(say('one')));
  let ran = 0;
  for (; events.next(false); events.done()) ran++;
  t.is(ran, 50);
});

test('a life that is over runs no more', (t) => {
  const events = queue('one');
  events.add(say('one'));
  events.clear();
  t.is(events.next(false), null);
});

test('fields become HA_*, but for those that cannot', (t) => {
  const message: HaMessage = [
    ...haFields({
      t: 'x',
      src: 'node-b',
      'a b': '1',
      'x=y': '2',
      '1a': '3',
      DEBUGLOG: '/etc/passwd',
      z: 'a\0b',
    }),
    { name: 'srcuuid', kind: 1, value: new Uint8Array(16) },
  ];
  t.deepEqual(eventEnvironment(message), { HA_t: 'x', HA_src: 'node-b' });
});
