/** What a restarted heartbeat still knows of the other node: its generation, in the file `peers`. */
import test from 'ava';
import { latin1Bytes, latin1Text } from '../../src/wire/hamsg.js';
import { EVERYTHING, HeartbeatPair, type PairNode } from './heartbeat-pair.js';

const GENERATION = 5; // lower than any that the clock gives

function peersOf(node: PairNode): string {
  return latin1Text(node.heartbeat.files.read('peers') ?? new Uint8Array());
}

/** hb_generation comes back from an old backup. */
function setBack(node: PairNode): void {
  node.heartbeat.files.write('generation', latin1Bytes(`${GENERATION}\n`));
}

test('the generation of the other node is in the file, and follows it', (t) => {
  const pair = HeartbeatPair.started();
  const generation = () => pair.beta.heartbeat.node?.membership.generation ?? 0;
  t.is(peersOf(pair.alpha), `beta ${generation()}\n`);
  const before = generation();
  pair.powerCut('beta');
  pair.runFor(20_000);
  pair.boot('beta');
  pair.runFor(20_000);
  t.is(generation(), before + 1);
  t.is(peersOf(pair.alpha), `beta ${before + 1}\n`);
  pair.powerCut('alpha');
  t.is(peersOf(pair.alpha), `beta ${before + 1}\n`, 'it outlives a power cut');
});

test('a recorded life of a node that is dead is played to the other after its restart: it takes over all the same', (t) => {
  const pair = HeartbeatPair.started();
  const recorded: Uint8Array[] = [];
  pair.net.tap = ({ bytes, from }) => {
    if (from.endsWith('.2')) recorded.push(bytes.slice());
  };
  pair.beta.heartbeat.takeover('all'); // it claims something worth believing
  pair.alpha.heartbeat.standby('all');
  pair.runFor(20_000);
  pair.beta.heartbeat.stop();
  pair.runFor(10_000);
  pair.net.tap = null;
  pair.beta.heartbeat.start();
  pair.runFor(20_000); // heard with a higher generation
  pair.powerCut('alpha');
  pair.powerCut('beta');
  pair.boot('alpha');
  let i = 0;
  const took = pair.until(60_000, () => {
    const bytes = recorded[i++ % recorded.length];
    const { node } = pair.alpha.heartbeat;
    if (bytes && node) node.receive(bytes, 'eth0', pair.alpha.clock.process().nowMs);
    return pair.alpha.has === EVERYTHING;
  });
  t.true(i > 200, 'it was played all the time');
  t.true(took > 0, pair.tail());
  t.true(pair.log.some((line) => line.includes('attempted replay attack [beta]')));
  t.is(pair.alpha.heartbeat.report?.nodes[1]?.status, 'dead');
});

// [never twice] beta runs everything when alpha comes. Not believed, it would be dead to alpha after initdead.
for (const who of ['beta', 'both'] as const) {
  test(`the generation of ${who} was set back while both were down: they meet, and nothing runs twice`, (t) => {
    const pair = HeartbeatPair.started();
    pair.connected = false; // drbd does not help
    const before = peersOf(pair.alpha);
    pair.powerCut('alpha');
    pair.powerCut('beta');
    setBack(pair.beta);
    if (who === 'both') setBack(pair.alpha);
    pair.boot('beta');
    t.true(pair.until(60_000, () => pair.beta.has === EVERYTHING) >= 0, pair.tail());
    pair.boot('alpha');
    pair.runFor(90_000);
    t.deepEqual([pair.alpha.has, pair.beta.has], ['', EVERYTHING], pair.tail());
    t.deepEqual(pair.twice, [], pair.tail());
    t.is(pair.alpha.heartbeat.report?.nodes[1]?.status, 'active');
    t.is(pair.beta.heartbeat.report?.nodes[0]?.status, 'active');
    t.is(peersOf(pair.alpha), before, 'a recording of the higher one is not believed, also later');
    t.true(pair.log.some((line) => line.includes('alpha WARN: node beta lives, with generation')));
  });
}

test('the generation of a node was set back while the other lived: it is let in when it was declared dead', (t) => {
  const pair = HeartbeatPair.started();
  pair.powerCut('beta');
  setBack(pair.beta);
  pair.boot('beta');
  pair.runFor(60_000);
  t.deepEqual([pair.alpha.has, pair.beta.has], [EVERYTHING, ''], pair.tail());
  t.is(pair.alpha.heartbeat.report?.nodes[1]?.status, 'active', pair.tail());
  t.is(pair.beta.heartbeat.report?.nodes[0]?.status, 'active', pair.tail());
});

test('a file that is damaged: said, and the node starts without it', (t) => {
  const pair = new HeartbeatPair();
  pair.alpha.heartbeat.files.write('peers', latin1Bytes('beta \0\n'));
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  t.is(pair.alpha.has, EVERYTHING);
  t.true(pair.log.some((line) => line.includes('alpha WARN: the generations of other nodes')));
  const { generation } = pair.beta.heartbeat.node?.membership ?? {};
  t.is(peersOf(pair.alpha), `beta ${generation}\n`);
});
