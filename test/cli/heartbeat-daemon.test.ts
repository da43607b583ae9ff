/** The daemon of one node below a directory, at its edges: signals, what it leaves to its scripts, the terminal it was started from. */

import test, { type ExecutionContext } from 'ava';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { until } from '../support/until.js';

const HEARTBEAT = `${BUILT}/heartbeat`;

function logged(root: HeartbeatRoot, words: string): number {
  return root.read('/var/log/ha-log').split(words).length - 1;
}

async function signalled(root: HeartbeatRoot, signal: NodeJS.Signals, words: string) {
  const before = logged(root, words);
  process.kill(root.running(), signal);
  await until(
    () => logged(root, words) > before,
    () => `${words}\n${root.read('/var/log/ha-log')}`,
  );
}

async function started(t: ExecutionContext): Promise<HeartbeatRoot> {
  const root = await HeartbeatRoot.create(t);
  t.is((await root.run(HEARTBEAT)).code, 0);
  return root;
}

test('refused keys are not forgotten: the next SIGHUP reads them again', async (t) => {
  const root = await started(t);
  await root.write('/etc/ha.d/authkeys', 'auth 1\n1 sha1\n', 0o600);
  const refused = 'ERROR: Auth method [sha1] requires a key';
  await signalled(root, 'SIGHUP', refused);
  await signalled(root, 'SIGHUP', refused);
  await root.write('/etc/ha.d/authkeys', 'auth 2\n1 sha1 of-the-tests\n2 sha1 next\n', 0o600);
  await signalled(root, 'SIGHUP', 'Rereading authentication file.');
  await signalled(root, 'SIGHUP', 'Configuration unchanged.');
});

test('who reads its stderr may go: the daemon stays, and serves', async (t) => {
  const root = await HeartbeatRoot.create(t);
  const { child } = root.launch(HEARTBEAT, '-f');
  t.teardown(() => child.kill('SIGTERM'));
  const service = await root.untilServing();
  child.stderr?.destroy();
  for (let n = 0; n < 3; n++) await signalled(root, 'SIGHUP', 'Configuration unchanged.');
  t.is(root.running(), child.pid ?? 0);
  t.is(root.service(), service);
});
