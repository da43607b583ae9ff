/** A reload that would cut a node off, or leave it alone by its file, while the other one lives. Whole daemons, simulated. */
import test from 'ava';
import { fileDigests } from '../../src/host/file-digests.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { EVERYTHING, HeartbeatPair, type PairOptions } from './heartbeat-pair.js';

const KEYS = 'auth 1\n1 sha1 a-word\n';

function started(options: Partial<PairOptions> = {}): HeartbeatPair {
  const pair = new HeartbeatPair({ authkeys: KEYS, ...options });
  for (const { answers } of [pair.alpha, pair.beta]) {
    answers.digests = (config, _ask, answered) => answered(fileDigests(config, null, nodeDigests));
  }
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  return pair;
}

type Texts = ReturnType<HeartbeatPair['texts']>;

const rows: readonly [string, (texts: Texts) => Partial<Texts>, RegExp][] = [
  [
    'the other node is not in the file any more',
    ({ haCf }) => ({ haCf: haCf.replace('node alpha\n', '') }),
    /beta ERROR: nodes changed .* stays in force/,
  ],
  [
    'another port',
    ({ haCf }) => ({ haCf: haCf.replace(/^udpport .*/m, 'udpport 7000') }),
    /beta ERROR: no medium is left .* stays in force/,
  ],
  [
    'legacy',
    ({ haCf }) => ({ haCf: haCf.replace(/^auto_failback .*/m, 'auto_failback legacy') }),
    /beta ERROR: auto_failback changed .* stays in force/,
  ],
  [
    'another word for the key that signs',
    () => ({ authkeys: 'auth 1\n1 sha1 another\n' }),
    /beta ERROR: key 1, by which this node would sign, is another word .* stays in force/,
  ],
  [
    'a key that the other node has not',
    () => ({ authkeys: 'auth 2\n2 sha1 another\n' }),
    /beta ERROR: the other node has no key 2.* stays in force/,
  ],
];

for (const [what, change, refusal] of rows) {
  test(`${what}: refused, nothing of it is in force, and nothing runs twice`, (t) => {
    const pair = started();
    const texts = pair.texts();
    const generation = pair.beta.heartbeat.report?.generation;
    // A further change in the same files is not taken either.
    pair.beta.heartbeat.configure({ ...texts, scriptTimeoutS: 77, ...change(texts) });
    pair.beta.heartbeat.reload();
    pair.runFor(120_000);
    t.true(
      pair.log.some((line) => refusal.test(line)),
      pair.tail(3000),
    );
    t.is(pair.beta.heartbeat.report?.generation, generation);
    t.is(pair.alpha.has, EVERYTHING);
    t.is(pair.beta.has, '');
    t.deepEqual(pair.twice, []);
  });
}

test('the other node is dead: other media and keys are taken', (t) => {
  const pair = started();
  pair.powerCut('beta');
  pair.runFor(60_000);
  const texts = pair.texts();
  const haCf = texts.haCf.replace(/^udpport .*/m, 'udpport 7000');
  pair.alpha.heartbeat.configure({ ...texts, haCf, authkeys: 'auth 2\n2 sha1 another\n' });
  pair.alpha.heartbeat.reload();
  pair.runFor(60_000);
  t.true(pair.log.some((line) => line.includes('with a new configuration, keeping all')));
  t.is(pair.alpha.has, EVERYTHING);
});
