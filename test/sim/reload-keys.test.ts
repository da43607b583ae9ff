/** New keys while a reload waits for a change to end, or while its new life is being opened. Whole daemons, simulated. */
import test, { type ExecutionContext } from 'ava';
import { fileDigests } from '../../src/host/file-digests.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { EVERYTHING, HeartbeatPair } from './heartbeat-pair.js';

const OLD = 'auth 1\n1 sha1 a-word\n';
const BOTH = 'auth 1\n1 sha1 a-word\n2 sha1 another\n';
const TURNED = 'auth 2\n1 sha1 a-word\n2 sha1 another\n';

function started(authkeys = OLD): HeartbeatPair {
  const pair = new HeartbeatPair({ authkeys });
  for (const { answers } of [pair.alpha, pair.beta]) {
    answers.digests = (config, _ask, answered) => answered(fileDigests(config, null, nodeDigests));
  }
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  return pair;
}

/** alpha is in the middle of a standby: its service does not end yet. */
function busy(authkeys = OLD): HeartbeatPair {
  const pair = started(authkeys);
  pair.alpha.stubborn = true;
  pair.alpha.heartbeat.standby('all');
  pair.runFor(5000);
  return pair;
}

const count = (pair: HeartbeatPair, what: RegExp) => pair.log.filter((l) => what.test(l)).length;

function isSettled(t: ExecutionContext, pair: HeartbeatPair, refused = 0): void {
  t.is(count(pair, /stays in force/), refused, pair.tail(400));
  t.is(count(pair, /is dead/), 0, pair.tail(400));
  t.deepEqual(pair.twice, []);
}

test('a reload that waits does not hold up keys that come after it', (t) => {
  const pair = busy();
  const { alpha, beta } = pair;
  const texts = {
    ...pair.texts(),
    scriptTimeoutS: 77,
    haCf: `${pair.texts().haCf}debug 1\nbaud 9600\n`,
  };
  const generation = alpha.heartbeat.report?.generation;
  alpha.heartbeat.configure(texts);
  alpha.heartbeat.reload();
  pair.runFor(1000);
  for (const authkeys of [BOTH, TURNED]) {
    for (const { heartbeat } of [alpha, beta]) {
      heartbeat.configure({ ...(heartbeat === alpha.heartbeat ? texts : pair.texts()), authkeys });
      heartbeat.reload();
      pair.runFor(500);
    }
  }
  pair.runFor(60_000);
  t.is(alpha.heartbeat.report?.generation, generation, 'the standby is not over: no new life yet');
  isSettled(t, pair);
  // The service ends at last: the standby goes on, and the new life comes.
  alpha.stubborn = false;
  alpha.scripts.serviceEnded('service');
  pair.runFor(120_000);
  isSettled(t, pair);
});

test('both files are edited at once: the keys do not wait for the rest', (t) => {
  const pair = busy(BOTH);
  const { alpha, beta } = pair;
  beta.heartbeat.configure({ ...pair.texts(), authkeys: TURNED });
  alpha.heartbeat.configure({
    ...pair.texts(),
    authkeys: TURNED,
    haCf: `${pair.texts().haCf}baud 9600\n`,
  });
  alpha.heartbeat.reload();
  beta.heartbeat.reload();
  pair.runFor(2000);
  t.is(count(pair, /alpha info: Rereading authentication file/), 1, pair.tail());
  beta.heartbeat.configure({ ...pair.texts(), authkeys: 'auth 2\n2 sha1 another\n' });
  beta.heartbeat.reload();
  pair.runFor(60_000);
  isSettled(t, pair);
});

test('keys that the other node has not: the reload that waits is refused at once, and the old keys go on', (t) => {
  const pair = busy();
  const { alpha } = pair;
  alpha.heartbeat.configure({
    ...pair.texts(),
    authkeys: 'auth 2\n2 sha1 another\n',
    haCf: `${pair.texts().haCf}baud 9600\n`,
  });
  alpha.heartbeat.reload();
  pair.runFor(1000);
  t.is(count(pair, /alpha ERROR: the other node has no key 2.* stays in force/), 1, pair.tail());
  pair.runFor(60_000);
  isSettled(t, pair, 2);
});

test('keys that come while a new life is being opened are those of that life', (t) => {
  const pair = started(BOTH);
  const { alpha, beta } = pair;
  const haCf = `${pair.texts().haCf}baud 9600\n`;
  alpha.heartbeat.configure({ ...pair.texts(), haCf });
  alpha.heartbeat.reload();
  alpha.clock.after(0, () =>
    alpha.heartbeat.configure({ ...pair.texts(), haCf, authkeys: TURNED }),
  );
  alpha.heartbeat.reload(); // all at one time: the old life is being closed when the second one comes
  pair.runFor(20_000);
  beta.heartbeat.configure({ ...pair.texts(), authkeys: 'auth 2\n2 sha1 another\n' });
  beta.heartbeat.reload();
  pair.runFor(60_000);
  isSettled(t, pair);
  t.is(alpha.has, EVERYTHING);
});

// Each node is told within seconds, as with the original: neither cuts itself off, and the way that the line names gets through.
test('another word for the key that signs, on both nodes: refused on both; under a number of its own it gets through', (t) => {
  const pair = started();
  const nodes = [pair.alpha, pair.beta].map(({ heartbeat }) => heartbeat);
  for (const heartbeat of nodes) {
    heartbeat.configure({ ...pair.texts(), authkeys: 'auth 1\n1 sha1 another\n' });
    heartbeat.reload();
    pair.runFor(500);
  }
  t.is(count(pair, /ERROR: key 1, by which this node would sign, .* stays in force/), 2);
  for (const authkeys of [BOTH, TURNED, 'auth 2\n2 sha1 another\n']) {
    for (const heartbeat of nodes) {
      heartbeat.configure({ ...pair.texts(), authkeys });
      heartbeat.reload();
      pair.runFor(500);
    }
  }
  pair.runFor(60_000);
  isSettled(t, pair, 2);
  for (const heartbeat of nodes) t.is(heartbeat.report?.files.authkeys, 'same');
});

// What the table of HEARTBEAT.md promises: whichever node is told first, and whatever begins anew between two steps.
for (const first of ['alpha', 'beta'] as const) {
  for (const how of ['none', 'stopped', 'killed', 'cut'] as const) {
    for (const who of how === 'none' ? (['alpha'] as const) : (['alpha', 'beta'] as const)) {
      test(`the three steps, ${first} first; ${who} begins anew in each of them: ${how}`, (t) => {
        const pair = started();
        const second = first === 'alpha' ? 'beta' : 'alpha';
        const anew = () => {
          const node = pair[who];
          if (how === 'stopped') {
            node.heartbeat.stop();
            pair.runFor(3000);
            node.heartbeat.start();
          } else if (how === 'killed') {
            node.heartbeat.kill();
            pair.runFor(500);
            node.heartbeat.start();
          } else if (how === 'cut') {
            pair.powerCut(who);
            pair.runFor(500);
            pair.boot(who);
          }
          pair.runFor(40_000);
        };
        for (const authkeys of [BOTH, TURNED, 'auth 2\n2 sha1 another\n']) {
          for (const { heartbeat } of [pair[first], pair[second]]) {
            heartbeat.configure({ ...pair.texts(), authkeys });
            heartbeat.reload();
            pair.runFor(500);
            anew();
          }
        }
        t.is(count(pair, /stays in force/), 0, pair.tail(400));
        for (const { heartbeat } of [pair.alpha, pair.beta]) {
          t.deepEqual(
            heartbeat.report?.nodes.map(({ status }) => status),
            ['active', 'active'],
          );
          t.is(heartbeat.report?.files.authkeys, 'same');
        }
        t.deepEqual(pair.twice, []);
      });
    }
  }
}

test('another word at the same number: with the other node stopped it is taken', (t) => {
  const pair = started();
  const { alpha, beta } = pair;
  const texts = { ...pair.texts(), authkeys: 'auth 1\n1 sha1 another\n' };
  beta.heartbeat.stop();
  pair.runFor(10_000);
  for (const { heartbeat } of [alpha, beta]) heartbeat.configure(texts);
  alpha.heartbeat.reload();
  pair.runFor(1000);
  beta.heartbeat.start();
  pair.runFor(60_000);
  t.deepEqual(
    beta.heartbeat.report?.nodes.map(({ status }) => status),
    ['active', 'active'],
  );
  t.is(alpha.has, EVERYTHING);
  t.deepEqual(pair.twice, []);
});
