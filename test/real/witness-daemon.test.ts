/** twinbeat witness as a process: over loopback, its silence, its keys, its end, what it refuses. */
import { writeFileSync } from 'node:fs';
import test from 'ava';
import { parseListen } from '../../src/cli/twinbeat-witness.js';
import { command } from '../support/command.js';
import { until } from '../support/until.js';
import { WITNESS_KEY, WitnessClient, WitnessProcess } from '../support/witness-process.js';

test('silent for a lease, then one holder; the other when it is released', async (t) => {
  const startMs = performance.now();
  const witness = await WitnessProcess.start(t, 1);
  const client = new WitnessClient(t, witness.port);
  t.is((await client.ask('node-a', 'take', 1000)).verb, 'granted');
  t.true(performance.now() - startMs >= 1000, 'not before the silence is over');
  const refused = await client.ask('node-b', 'take', 1000);
  t.deepEqual([refused.verb, refused.holder], ['refused', 'node-a']);
  t.is((await client.ask('node-a', 'release', 0)).verb, 'granted');
  const granted = await client.ask('node-b', 'take', 1000);
  t.deepEqual([granted.verb, granted.released], ['granted', 1]);
  await until(
    () => /shop: node-b has the lease/.test(witness.said),
    () => witness.said,
  );
  witness.signal('SIGTERM');
  await until(() => witness.status !== null, 'its end');
  t.is(witness.status, 0);
});

test('SIGHUP: a new cluster is heard, a file that is refused changes nothing', async (t) => {
  const witness = await WitnessProcess.start(t, 1);
  const client = new WitnessClient(t, witness.port);
  t.is((await client.ask('node-a', 'take', 1000)).verb, 'granted');
  writeFileSync(witness.keyFile, 'shop x\n');
  witness.signal('SIGHUP');
  await until(
    () => /keys:1: expected a key/.test(witness.said),
    () => witness.said,
  );
  t.is((await client.ask('node-a', 'renew', 1000)).verb, 'granted');
  writeFileSync(witness.keyFile, `shop ${WITNESS_KEY}\nmail ${WITNESS_KEY}\n`);
  witness.signal('SIGHUP');
  t.is((await client.ask('node-b', 'take', 1000, 'mail')).verb, 'granted');
  t.false(witness.said.includes(WITNESS_KEY));
});

test('keys that cannot be used, a port that is taken, a wrong call', async (t) => {
  const bad = await WitnessProcess.start(t, 1, 'shop\n');
  t.is(bad.status, 6);
  t.regex(bad.said, /^twinbeat witness: \S+:1: expected CLUSTER KEY, got 'shop' alone$/m);
  const first = await WitnessProcess.start(t, 1);
  const second = await WitnessProcess.start(t, 1, undefined, first.port);
  t.is(second.status, 1);
  t.regex(second.said, /EADDRINUSE/);
  const twinbeat = (...args: string[]) =>
    command(process.execPath, 'build/src/bin/twinbeat.js', 'witness', ...args);
  const missing = await twinbeat('--listen', '127.0.0.1:0', '--key-file', '/nowhere/keys');
  t.is(missing.code, 6);
  t.regex(missing.stderr, /\/nowhere\/keys: ENOENT/);
  t.is((await twinbeat('--listen', 'here:1', '--key-file', 'k')).code, 2);
  t.is((await twinbeat('--listen', '127.0.0.1:1', '--key-file', 'k', '--lease', '0')).code, 2);
  t.is((await twinbeat('--listen', '127.0.0.1:1')).code, 2);
});

test('--listen', (t) => {
  t.deepEqual(parseListen('0.0.0.0:6940'), { address: '0.0.0.0', port: 6940 });
  t.deepEqual(parseListen('[::1]:6940'), { address: '::1', port: 6940 });
  for (const text of ['', '6940', ':6940', '::1:6940', '1.2.3:6940', '1.2.3.4:65536', 'host:1']) {
    t.is(parseListen(text), null, text);
  }
});
