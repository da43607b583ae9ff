/** Event scripts of a real daemon: what they find, one after the other, never beside a resource script. */
import { existsSync, writeFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';

const HEARTBEAT = `${BUILT}/heartbeat`;
const EVENT = `#!/bin/sh
dir=$TWINBEAT_ROOT
[ -e "$dir/running" ] && echo overlap >>"$dir/events"
touch "$dir/running"
echo "$1 $HA_t $HA_word $HA_src $HA_OSTATUS $HA_CURHOST" >>"$dir/events"
while [ -e "$dir/hold" ]; do sleep 0.1; done
rm "$dir/running"
`;

async function started(t: ExecutionContext, ...types: readonly string[]): Promise<HeartbeatRoot> {
  const root = await HeartbeatRoot.create(t);
  for (const type of types) await root.write(`/etc/ha.d/rc.d/${type}`, EVENT, 0o755);
  t.is((await root.run(HEARTBEAT)).code, 0);
  await root.untilServing();
  return root;
}

function send(root: HeartbeatRoot, type: string, word: string): void {
  writeFileSync(root.path('/var/lib/heartbeat/fifo'), `>>>\nt=${type}\nword=${word}\n<<<\n`);
}

function untilEvents(root: HeartbeatRoot, text: string): Promise<void> {
  return until(
    () => root.read('/events').includes(text),
    () => `${text}\n${root.read('/events')}\n${root.read('/var/log/ha-log')}`,
  );
}

test('a message of a type without a handler runs its script, in turn', async (t) => {
  if (!need(t, 'root')) return;
  const root = await started(t, 'hello', 'status', 'hb_takeover');
  await root.write('/hold', '');
  send(root, 'hello', 'one');
  await untilEvents(root, 'hello hello one node-a active node-a\n');
  send(root, 'hello', 'two');
  send(root, 'nobody', 'x');
  send(root, 'hb_takeover', 'x');
  await root.remove('/hold');
  send(root, 'hello', 'three');
  await untilEvents(root, 'three');
  const words = (root.read('/events').match(/^\w+ \w+ \w+/gm) ?? []).map(
    (line) => line.split(' ')[2],
  );
  t.deepEqual(words, ['one', 'two', 'three'], 'no overlap, and nothing that is built in');
});

test('none begins while a resource script runs', async (t) => {
  if (!need(t, 'root')) return;
  const root = await started(t, 'hello');
  const script = root.read('/etc/ha.d/resource.d/service');
  const slow =
    'stop) touch "$TWINBEAT_ROOT/stopping"; while [ -e "$TWINBEAT_ROOT/slow" ]; do sleep 0.1; done; ';
  await root.write('/etc/ha.d/resource.d/service', script.replace('stop) ', slow), 0o755);
  await root.write('/slow', '');
  const stopped = root.run(HEARTBEAT, '-k');
  await until(() => existsSync(root.path('/stopping')), 'the stop script');
  send(root, 'hello', 'late');
  send(root, 'resource', 'ignored'); // which is said: the one before it was read
  await until(
    () => root.read('/var/log/ha-log').includes('fifo ignored: resource'),
    () => root.read('/var/log/ha-log'),
  );
  t.is(root.read('/events'), '');
  await root.remove('/slow');
  t.is((await stopped).code, 0);
});
