/** The daemon of one node below a directory, at its edges: signals, what it leaves to its scripts, the terminal it was started from. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { need } from '../support/need.js';
import { ANGEL } from '../support/plain-node.js';
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

test('a new twinbeat.ini is a new configuration; one that is gone is not taken for its defaults', async (t) => {
  const root = await started(t);
  const service = await root.untilServing();
  await root.write('/etc/twinbeat.ini', '[health]\ninterval = 60\n');
  await signalled(root, 'SIGHUP', 'and nothing was restarted: [health] interval.');
  rmSync(root.path('/etc/twinbeat.ini'));
  await signalled(root, 'SIGHUP', 'cannot look at twinbeat.ini. The old one stays in force.');
  t.is(root.service(), service);
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

// 1: removed and made anew at each start. What a killed daemon left running may have its state there.
test('rsctmp is for everybody, empty at a start, and kept from a killed daemon for its successor', async (t) => {
  const root = await HeartbeatRoot.create(t);
  const rsctmp = root.path('/run/heartbeat/rsctmp');
  mkdirSync(rsctmp, { recursive: true });
  await root.write('/run/heartbeat/rsctmp/old', '');
  t.is((await root.run(HEARTBEAT)).code, 0);
  t.is(statSync(rsctmp).mode & 0o7777, 0o1777);
  t.throws(() => statSync(`${rsctmp}/old`));
  await root.untilServing();
  await root.write('/run/heartbeat/rsctmp/state', 'of the service');
  process.kill(root.running(), 'SIGKILL');
  await until(() => root.daemon() === null, 'its death');
  t.is((await root.run(HEARTBEAT)).code, 0);
  t.is(root.read('/run/heartbeat/rsctmp/state'), 'of the service');
});

for (const [failback, said] of [
  ['off', 'yes'],
  ['legacy', 'unset'],
] as const) {
  test(`scripts are told of nice failback as the original tells them: auto_failback ${failback}`, async (t) => {
    const root = await HeartbeatRoot.create(t);
    const haCf = root
      .read('/etc/ha.d/ha.cf')
      .replace('auto_failback off', `auto_failback ${failback}`);
    await root.write('/etc/ha.d/ha.cf', haCf);
    const script = readFileSync(root.path('/etc/ha.d/resource.d/service'), 'utf8');
    const tell = `echo "\${HA_NICEFAILBACK-unset}" >$TWINBEAT_ROOT/run/told\n`;
    await root.write('/etc/ha.d/resource.d/service', script.replace('case', `${tell}case`), 0o755);
    t.is((await root.run(HEARTBEAT)).code, 0);
    await root.untilServing();
    t.is(root.read('/run/told'), `${said}\n`);
  });
}

/** A node whose service is being stopped, since `heartbeat -k` was called; `/run/go-on` lets the script end. */
async function stopping(t: ExecutionContext, ...options: readonly string[]) {
  const root = await HeartbeatRoot.create(t);
  const path = '/etc/ha.d/resource.d/service';
  const wait =
    'if [ "$1" = stop ]; then\n' +
    '  touch $TWINBEAT_ROOT/run/stopping\n' +
    '  while [ ! -e $TWINBEAT_ROOT/run/go-on ]; do sleep 0.05; done\n' +
    'fi\n';
  await root.write(path, root.read(path).replace('case', `${wait}case`), 0o755);
  t.is((await root.run(HEARTBEAT, ...options)).code, 0);
  await root.untilServing();
  t.teardown(() => root.write('/run/go-on', ''));
  const { child, result } = root.launch(HEARTBEAT, '-k');
  await until(() => existsSync(root.path('/run/stopping')), 'the service is being stopped');
  return { root, result, isOver: () => child.exitCode !== null };
}

// Else a machine that shuts down goes on to stop drbd, and the successor has the service back.
test('a daemon that dies while it is being stopped: -k waits for the successor to stop everything, too', async (t) => {
  if (!need(t, ANGEL)) return;
  const { root, result, isOver } = await stopping(t, '--keepalive');
  const killed = root.running();
  process.kill(killed, 'SIGKILL');
  await until(() => (root.daemon() ?? killed) !== killed, 'a successor');
  t.false(isOver());
  await root.write('/run/go-on', '');
  t.deepEqual(await result, { code: 0, stdout: '', stderr: '' });
  t.deepEqual([root.daemon(), root.service()], [null, null]);
});

test('the same without an angel: -k does not say that it has stopped', async (t) => {
  const { root, result } = await stopping(t);
  process.kill(root.running(), 'SIGKILL');
  const { code, stderr } = await result;
  t.is(code, 1);
  t.is(stderr, 'heartbeat: it died before it had released everything: start it again\n');
});
