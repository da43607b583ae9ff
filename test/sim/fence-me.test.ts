/** stop-failure = fence: a node that cannot stop a group asks the other one to reset it. Whole daemons, simulated. */
import test from 'ava';
import type { FenceAnswer } from '../../src/resource-manager/answers.js';
import { EVERYTHING, HeartbeatPair, type PairOptions } from './heartbeat-pair.js';

const DEVICE = ['stonith_host * external/test x'];

/** alpha cannot stop its group. beta's device says `answer`, and resets alpha when that is OK and it does not lie. */
function stuck(
  answer: FenceAnswer,
  options: Partial<PairOptions> = {},
  isLie = false,
): HeartbeatPair {
  const pair = HeartbeatPair.started({
    stopFailure: 'fence',
    scriptTimeoutS: 2,
    haCf: DEVICE,
    ...options,
  });
  pair.beta.answers.fence = (_config, { node }, answered) => {
    pair.note(`fence ${node} ${answer}`);
    if (answer === 'OK' && !isLie && pair.alpha.powered) pair.powerCut('alpha');
    pair.beta.clock.after(1000, () => answered(answer));
  };
  pair.alpha.stubborn = true;
  pair.alpha.heartbeat.standby('all');
  pair.runFor(60_000);
  return pair;
}

const at = (pair: HeartbeatPair, what: RegExp) => pair.log.findIndex((line) => what.test(line));
const count = (pair: HeartbeatPair, what: RegExp) => pair.log.filter((l) => what.test(l)).length;

test('the other node resets it, and takes the group over when it is dead and reset', (t) => {
  const pair = stuck('OK');
  t.is(pair.beta.has, EVERYTHING, pair.tail(4000));
  t.deepEqual(pair.twice, []);
  t.true(at(pair, /alpha CRIT: Asking beta to reset this node/) > 0);
  const reset = at(pair, /fence alpha OK/);
  t.true(reset > at(pair, /beta CRIT: Node alpha cannot stop a group, and asks to be reset/));
  t.true(reset < at(pair, /beta drbddisk::r0 start/));
  t.is(count(pair, /alpha reboots/), 0);
});

test('a device that fails: the node reboots, as without', (t) => {
  const pair = stuck('bad');
  t.true(at(pair, /alpha CRIT: This node is not reset: the device says bad/) > 0, pair.tail(4000));
  t.is(count(pair, /alpha reboots/), 1);
  t.deepEqual(pair.twice, []);
});

test('no device on the other node: the node reboots at once', (t) => {
  const pair = stuck('OK', { haCf: [] });
  t.is(count(pair, /fence alpha/), 0);
  t.true(at(pair, /alpha CRIT: This node is not reset: no device is configured there/) > 0);
  t.is(count(pair, /alpha reboots/), 1);
});

test('a device that lies: nothing is started on the other node while this one is heard; it reboots in the end', (t) => {
  const pair = stuck('OK', {}, true);
  t.is(pair.beta.has, '');
  t.is(count(pair, /alpha reboots/), 0);
  pair.runFor(60_000);
  t.true(at(pair, /alpha CRIT: This node is not reset: node beta has not done it in time/) > 0);
  t.is(count(pair, /alpha reboots/), 1);
  t.deepEqual(pair.twice, []);
});

test('the other node is dead, or does not know the question, as Debian: the node reboots', (t) => {
  const pair = HeartbeatPair.started({ stopFailure: 'fence', scriptTimeoutS: 2, haCf: DEVICE });
  pair.powerCut('beta');
  pair.runFor(30_000);
  pair.alpha.stubborn = true;
  pair.alpha.heartbeat.stop();
  pair.runFor(60_000);
  t.true(at(pair, /alpha CRIT: This node is not reset: there is no other node/) > 0, pair.tail());
  t.is(count(pair, /alpha reboots/), 1);
});

test('legacy: the same', (t) => {
  const pair = stuck('OK', { autoFailback: 'legacy' });
  // It has no standby: asked to leave instead.
  pair.alpha.heartbeat.stop();
  pair.runFor(60_000);
  t.is(pair.beta.has, EVERYTHING, pair.tail(4000));
  t.deepEqual(pair.twice, []);
  t.is(count(pair, /alpha reboots/), 0);
});
