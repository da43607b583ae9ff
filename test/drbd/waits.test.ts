/** Conditions that are looked at when a turn ends: each runs once, also where one of them begins another turn. */
import test from 'ava';
import { SimPair } from '../support/sim-pair.js';

test('what waits runs once, though another one begins a turn in which it runs', (t) => {
  const { loop, resource } = new SimPair(1).alpha;
  const ran: string[] = [];
  loop.enter(() => {
    const now = (): boolean => true;
    resource.when(now, () => {
      ran.push('first');
      loop.enter(() => {});
    });
    resource.when(now, () => ran.push('second'));
  });
  t.deepEqual(ran, ['first', 'second']);
});
