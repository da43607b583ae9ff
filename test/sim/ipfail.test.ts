/**
 * ipfail in a simulated pair: who gives up and who stays when a ping node, a link or a node fails, alone and together. One test
 * for each row of the table in docs/IPFAIL.md; the number is the row's.
 */
import test, { type ExecutionContext } from 'ava';
import { DEFAULT_CONFIG, NODES, type NodeName } from '../../src/sim/config.js';
import { haFields } from '../../src/wire/hamsg.js';
import { EVERYTHING, HeartbeatPair, type PairOptions } from './heartbeat-pair.js';

const DEADTIME_MS = DEFAULT_CONFIG.heartbeat?.deadtimeMs ?? 0;
const PING = '10.2.0.254';
const IPFAIL = [`ping ${PING}`, 'respawn root /usr/libexec/heartbeat/ipfail'];
/** Until a dead ping node is noticed, told, and everything has changed hands. */
const MOVE_MS = DEADTIME_MS + 10_000;

/** Both up and at rest, two links, both reach the ping node; alpha has the group. */
function started(options: Partial<PairOptions> = {}): HeartbeatPair {
  const pair = new HeartbeatPair({ networks: ['eth0', 'eth1'], haCf: IPFAIL, ...options });
  pair.alpha.reaches.add(PING);
  pair.beta.reaches.add(PING);
  pair.alpha.heartbeat.start();
  pair.runFor(300);
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  pair.note('---- at rest');
  return pair;
}

function lose(pair: HeartbeatPair, ...names: readonly NodeName[]): void {
  for (const name of names) pair.nodes[name].reaches.delete(PING);
}

function find(pair: HeartbeatPair, ...names: readonly NodeName[]): void {
  for (const name of names) pair.nodes[name].reaches.add(PING);
}

/** Where the group is, that it was never on both, and how often it was stopped since the pair was at rest. */
function expectAt(t: ExecutionContext, pair: HeartbeatPair, where: NodeName, stops: number): void {
  const has = { alpha: pair.alpha.has, beta: pair.beta.has };
  t.deepEqual(has, { alpha: '', beta: '', [where]: EVERYTHING }, pair.tail());
  t.deepEqual(pair.twice, [], pair.tail());
  t.is(stopsOf(pair), stops, pair.tail(120));
}

function stopsOf(pair: HeartbeatPair): number {
  const rest = pair.log.slice(pair.log.findIndex((line) => line.endsWith('at rest')));
  return rest.filter((line) => / service stop$/.test(line)).length;
}

function says(pair: HeartbeatPair, name: NodeName, text: string): boolean {
  return pair.log.some((line) => line.includes(` ${name} `) && line.includes(text));
}

test('1: the active node loses the ping node: it gives everything up, once', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'beta', 1);
  t.true(says(pair, 'beta', 'ipfail: Telling other node that we have more visible ping nodes.'));
  t.true(says(pair, 'alpha', 'ipfail: giveup() called (timeout worked)'));
});

test('2: both lose it at once: nothing moves', (t) => {
  const pair = started();
  lose(pair, 'alpha', 'beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
});

test('3: the node that has nothing loses it: nothing moves', (t) => {
  const pair = started();
  lose(pair, 'beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
  t.false(says(pair, 'beta', 'wants to go standby'));
});

test('4: one of two links dies: both count, nothing moves', (t) => {
  const pair = started();
  pair.net.cut('eth1');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
  t.true(says(pair, 'alpha', 'Ping node count is balanced.'));
  t.true(says(pair, 'beta', 'Ping node count is balanced.'));
});

test('5: the active node loses a link and the ping node behind it: it gives everything up, once', (t) => {
  const pair = started();
  pair.net.cut('eth0');
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'beta', 1);
});

test('6: a link dies and both lose the ping node behind it: nothing moves', (t) => {
  const pair = started();
  pair.net.cut('eth0');
  lose(pair, 'alpha', 'beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
});

test('7: the active node loses every link and the ping node: it is not told and stays; the other takes over', (t) => {
  const pair = started();
  pair.net.cut('eth0');
  pair.net.cut('eth1');
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS + 30_000);
  t.is(pair.alpha.has, EVERYTHING, pair.tail());
  t.false(says(pair, 'alpha', 'service stop'));
  t.true(says(pair, 'beta', 'Resources being acquired from alpha.'));
  t.true(says(pair, 'alpha', 'Resources being acquired from beta.'));
  t.false(says(pair, 'alpha', 'wants to go standby'));
});

test('8: a link dies, and the node that has nothing: nothing moves', (t) => {
  const pair = started();
  pair.net.cut('eth1');
  pair.powerCut('beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
});

test('9: a link dies, and the active node: the other takes over after deadtime', (t) => {
  const pair = started();
  pair.net.cut('eth1');
  pair.powerCut('alpha');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'beta', 0);
});

test('10: the active node loses the ping node, and the other dies before it can answer: it stays', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  t.true(pair.until(MOVE_MS, () => says(pair, 'alpha', 'Asking other side')) >= 0);
  pair.powerCut('beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
});

test('11: ... and the other dies during the delay: it stays', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  t.true(pair.until(MOVE_MS, () => says(pair, 'alpha', 'Delayed giveup')) >= 0);
  pair.powerCut('beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
});

test('12: ... and the other dies when everything was stopped for it: taken back after deadtime', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  t.true(pair.until(MOVE_MS, () => says(pair, 'alpha', 'service stop')) >= 0);
  pair.powerCut('beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 1);
});

test('13: ... and it dies itself while it stops: the other takes over after deadtime', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  t.true(pair.until(MOVE_MS, () => says(pair, 'alpha', 'service stop')) >= 0);
  pair.powerCut('alpha');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'beta', 1);
});

test('14: both lose it, the other a second later: aborted during the delay, nothing moves', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  pair.runFor(1000);
  lose(pair, 'beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
  t.true(says(pair, 'alpha', 'Aborted delayed giveup (1)'), pair.tail());
});

test('15: the active node finds it again during the delay: aborted, nothing moves', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  t.true(pair.until(MOVE_MS, () => says(pair, 'alpha', 'Delayed giveup')) >= 0);
  find(pair, 'alpha');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
});

test('16: it moves, both lose it, both find it again: it moved once', (t) => {
  const pair = started();
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS);
  lose(pair, 'beta');
  pair.runFor(MOVE_MS);
  find(pair, 'alpha', 'beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'beta', 1);
});

test('17: auto_failback on: home again when the counts are equal, once', (t) => {
  const pair = started({ autoFailback: 'on' });
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS);
  expectAt(t, pair, 'beta', 1);
  pair.runFor(60_000);
  expectAt(t, pair, 'beta', 1);
  find(pair, 'alpha');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 2);
});

test('18: a node returns that does not reach it: nothing moves', (t) => {
  const pair = started();
  pair.powerCut('beta');
  lose(pair, 'beta');
  pair.runFor(MOVE_MS);
  pair.boot('beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
  t.true(says(pair, 'alpha', 'Got join message from another ipfail client. (beta)'));
});

test('19: a node that lost it while it was alone gives up when the other is back', (t) => {
  const pair = started();
  pair.powerCut('beta');
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS + 30_000);
  expectAt(t, pair, 'alpha', 0);
  pair.boot('beta');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'beta', 1);
});

test('20: auto_failback legacy: ipfail is not run', (t) => {
  const pair = started({ autoFailback: 'legacy' });
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS + 60_000);
  expectAt(t, pair, 'alpha', 0);
  t.true(
    says(pair, 'alpha', 'ERROR: ipfail: auto_failback set to incompatible legacy option.'),
    pair.tail(),
  );
});

test('21: auto_failback on, a node returns that does not reach it: home, and away again', (t) => {
  const pair = started({ autoFailback: 'on' });
  pair.powerCut('alpha');
  lose(pair, 'alpha');
  pair.runFor(MOVE_MS + 30_000);
  expectAt(t, pair, 'beta', 0);
  pair.boot('alpha');
  pair.runFor(MOVE_MS + 90_000);
  expectAt(t, pair, 'beta', 2);
  pair.runFor(300_000);
  expectAt(t, pair, 'beta', 2);
});

// The original's ipfail sends it under its own name (capture of 3.0.6: from_id=ipfail to_id=ipfail).
test('the original’s ipfail on the other node asks to go standby: it is followed', (t) => {
  const pair = HeartbeatPair.started();
  const me = { t: 'ask_resources', rsc_hold: 'all', src: 'alpha', info: 'me' };
  const ids = { from_id: 'ipfail', to_id: 'ipfail', client_gen: '0' };
  const message = haFields({ ...me, ...ids }).filter((f) => f.name !== 'src');
  pair.alpha.heartbeat.node?.send(message, pair.alpha.clock.process().nowMs);
  pair.runFor(10_000);
  t.is(pair.alpha.has, '', pair.tail());
  t.is(pair.beta.has, EVERYTHING, pair.tail());
  t.deepEqual(pair.twice, []);
});

test('query-cstatus is answered: what is built in and runs is online', (t) => {
  for (const haCf of [IPFAIL, []]) {
    const pair = started({ haCf });
    const answers: string[] = [];
    for (const cn of ['ipfail', 'dopd', 'nosuch']) {
      const query = haFields({ t: 'query-cstatus', dest: 'beta', cn, from_id: '195' });
      pair.alpha.heartbeat.node?.send(query, pair.alpha.clock.process().nowMs);
    }
    pair.net.tap = ({ bytes }) => {
      const text = new TextDecoder('latin1').decode(bytes);
      const found = /respond-cstatus.*\)result=(\w+).*\)cn=(\w+).*\)to_id=(\d+).*\)cs=(\w+)/.exec(
        text,
      );
      const answer = found?.slice(1).join(' ') ?? '';
      if (answer !== '' && !answers.includes(answer)) answers.push(answer);
    };
    pair.runFor(3000);
    const ipfail = haCf === IPFAIL ? 'online' : 'offline';
    const expected = ['OK dopd 195 online', `OK ipfail 195 ${ipfail}`, 'OK nosuch 195 offline'];
    t.deepEqual(answers.sort(), expected); // datagrams may overtake each other
  }
});

test('cl_status clientstatus: of this node, of the other, of one that is dead', (t) => {
  const pair = started();
  const said: (string | null)[] = [];
  const ask = (node: string, client: string) =>
    pair.alpha.heartbeat.clientStatus(node, client, 500, (status) => said.push(status));
  for (const node of NODES) {
    for (const client of ['ipfail', 'dopd', 'nosuch']) {
      ask(node, client);
      pair.runFor(1000);
    }
  }
  t.deepEqual(said.splice(0), ['online', 'online', 'offline', 'online', 'online', 'offline']);
  pair.powerCut('beta');
  ask('beta', 'ipfail');
  pair.runFor(400);
  t.deepEqual(said, []);
  pair.runFor(600);
  t.deepEqual(said, [null]);
});
