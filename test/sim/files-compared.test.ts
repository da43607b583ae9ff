/** The files of two nodes, compared over the cluster's links by whole daemons, simulated. */
import test from 'ava';
import { fileDigests } from '../../src/host/file-digests.js';
import type { Answers } from '../../src/host/heartbeat-questions.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import type { HeartbeatTexts } from '../../src/sim/heartbeat-config.js';
import { HeartbeatPair, type PairNode, type PairOptions } from './heartbeat-pair.js';

/** Digests of what is in force there, as the real ones. */
function answers(drbdConf: () => string | null): Answers['digests'] {
  return (config, _ask, answered) => answered(fileDigests(config, drbdConf(), nodeDigests));
}

const KEYS = 'auth 1\n1 sha1 a-word\n2 sha1 another\n';

/** `change`: before beta is started. */
function started(
  change: (beta: PairNode, texts: HeartbeatTexts) => void,
  options: Partial<PairOptions> = {},
): HeartbeatPair {
  const pair = new HeartbeatPair({ authkeys: KEYS, ...options });
  for (const node of [pair.alpha, pair.beta]) node.answers.digests = answers(() => 'resource r0');
  change(pair.beta, pair.texts());
  pair.alpha.heartbeat.start();
  pair.beta.heartbeat.start();
  pair.runFor(30_000);
  return pair;
}

const differing = (node: PairNode) =>
  Object.entries(node.heartbeat.report?.files ?? {})
    .filter(([, state]) => state === 'differs')
    .map(([file]) => file);
const states = (node: PairNode) => [...new Set(Object.values(node.heartbeat.report?.files ?? {}))];
const said = (pair: HeartbeatPair) =>
  pair.log.flatMap((line) => /\w+ WARN: .* says something else than here.*/.exec(line) ?? []);

test('files that say the same: nothing is said', (t) => {
  const pair = started(() => {});
  for (const node of [pair.alpha, pair.beta]) t.deepEqual(states(node), ['same']);
  t.deepEqual(said(pair), []);
});

test('files that differ: both nodes say which, once', (t) => {
  const pair = started((beta, texts) => {
    const haCf = texts.haCf.replace(/^deadtime .*/m, 'deadtime 7');
    beta.heartbeat.configure({ ...texts, haCf, authkeys: KEYS.replace('another', 'a-third') });
    beta.answers.digests = answers(() => 'resource r1');
  });
  const files = ['authkeys', 'drbd.conf', 'ha.cf'];
  for (const node of [pair.alpha, pair.beta]) {
    t.deepEqual(differing(node).toSorted(), files, pair.tail());
  }
  pair.runFor(60_000);
  const text = (file: string, here: string, there: string) =>
    `${here} WARN: ${file} of ${there} says something else than here. Make them the same.`;
  t.deepEqual(said(pair).toSorted(), [
    ...files.map((file) => text(file, 'alpha', 'beta')),
    ...files.map((file) => text(file, 'beta', 'alpha')),
  ]);
});

test('[witness] that differs: twinbeat.ini', (t) => {
  const pair = started((beta, texts) => {
    beta.heartbeat.configure({ ...texts, witness: { ...texts.witness, leaseS: 60 } });
  });
  t.deepEqual(differing(pair.alpha), ['twinbeat.ini']);
});

test('made the same and reloaded: no difference any more, on both', (t) => {
  const pair = started((beta, texts) => {
    const haCf = texts.haCf.replace(/^deadtime .*/m, 'deadtime 7');
    beta.heartbeat.configure({ ...texts, haCf });
  });
  t.deepEqual(differing(pair.alpha), ['ha.cf']);
  pair.beta.heartbeat.configure(pair.texts());
  pair.beta.heartbeat.reload();
  pair.runFor(30_000);
  for (const node of [pair.alpha, pair.beta]) t.deepEqual(states(node), ['same'], pair.tail());
});

test('a node that cannot say, and legacy: unknown', (t) => {
  const silent = started((beta) => {
    beta.answers.digests = (_config, _ask, answered) => answered(null);
  });
  t.deepEqual(states(silent.alpha), ['unknown']);
  const legacy = started(() => {}, { autoFailback: 'legacy' });
  t.deepEqual(states(legacy.alpha), ['unknown']);
});
