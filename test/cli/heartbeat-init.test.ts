/**
 * etc/init.d/heartbeat with a real daemon and service below a directory: its actions, exit statuses, and the hook startstop. Facts: the
 * script of heartbeat 3.0.6; docs/BOOT.md has what is different.
 */
import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { command } from '../support/command.js';
import { BUILT, HeartbeatRoot } from '../support/heartbeat-root.js';
import { need } from '../support/need.js';
import { ANGEL } from '../support/plain-node.js';
import { until } from '../support/until.js';

const SCRIPT = resolve('etc/init.d/heartbeat');
const LOCK = '/var/lock/subsys/heartbeat';

async function machine(t: ExecutionContext): Promise<HeartbeatRoot> {
  const root = await HeartbeatRoot.create(t);
  const settings = `PATH=${BUILT}:${dirname(process.execPath)}:$PATH\nTAKEOVER=0\n`;
  await root.write('/etc/default/heartbeat', settings);
  await root.write(
    '/etc/ha.d/resource.d/startstop',
    '#!/bin/sh\necho "$*" >>$HA_DIR/hooks\nexit 1\n',
    0o755,
  );
  await mkdir(root.path(dirname(LOCK)), { recursive: true });
  return root;
}

test('start, status, reload, stop: exit statuses, the lock, and the hook before and after', async (t) => {
  if (!need(t, ANGEL)) return;
  const root = await machine(t);
  const call = async (verb: string, status: number, said: RegExp) => {
    const { code, stdout, stderr } = await root.run(SCRIPT, verb);
    t.is(code, status, `${verb}: ${stdout}${stderr}`);
    t.regex(stdout, said, verb);
  };
  await call('status', 3, /^heartbeat is stopped\. No process$/m);
  await call('start', 0, /^Starting High-Availability services: Done\.$/m);
  t.true(existsSync(root.path(LOCK)));
  const daemon = root.running();
  await call('status', 0, /^heartbeat OK \[pid \d+ et al\] is running on /m);
  await call('start', 0, /Done\./);
  t.is(root.running(), daemon, 'it ran already');
  await root.untilServing();
  await call('reload', 0, /^Reloading High-Availability services: Done\.$/m);
  await call('force-reload', 0, /Done\./);
  await call('standby', 1, /Attempting to enter standby mode/); // nobody is there to take it
  t.not(root.service(), null);
  await call('stop', 0, /^Stopping High-Availability services: Done\.$/m);
  t.deepEqual([root.daemon(), root.service(), existsSync(root.path(LOCK))], [null, null, false]);
  await call('stop', 0, /Done\./);
  await call('standby', 1, /^Heartbeat is not currently running\.$/m);
  await call(
    'nonsense',
    1,
    /^Usage: .*\{start\|stop\|status\|standby\|restart\|reload\|force-reload\}$/m,
  );
  t.is(
    root.read('/etc/ha.d/hooks'),
    'pre-start\npost-start 0\npre-start\npost-start 0\npre-stop\npost-stop 0\npre-stop\npost-stop 0\n',
    'and what it returns changes nothing',
  );
});

test('restart leaves the other node its deadtime to take over', async (t) => {
  if (!need(t, ANGEL)) return;
  const root = await machine(t);
  const haCf = root
    .read('/etc/ha.d/ha.cf')
    .replace('deadtime 2', 'deadtime 3 2500ms # the last counts');
  await root.write('/etc/ha.d/ha.cf', haCf.replace('initdead 2', 'initdead 3'));
  t.is((await root.run(SCRIPT, 'start')).code, 0);
  const before = root.running();
  const startMs = performance.now();
  const { code, stdout } = await root.run(SCRIPT, 'restart');
  t.is(code, 0, stdout);
  t.true(performance.now() - startMs >= 2500);
  t.regex(
    stdout,
    /Stopping .*Done\.\nWaiting to allow resource takeover to complete: Done\.\nStarting .*Done\.\n/,
  );
  t.not(root.running(), before);
});

test('a configuration that is refused: its messages, status 6; none at all is no failure of the boot', async (t) => {
  const root = await machine(t);
  const haCf = root.read('/etc/ha.d/ha.cf');
  await root.write('/etc/ha.d/ha.cf', haCf.replace('auto_failback off', 'auto_failback maybe'));
  const refused = await root.run(SCRIPT, 'start');
  t.is(refused.code, 6);
  t.regex(
    refused.stdout,
    /Heartbeat failure \[rc=6\]\. Failed\.\n\n(.*\n)*.*auto_failback: expected on, off or legacy/,
  );
  t.false(existsSync(root.path(LOCK)));
  t.is(root.read('/etc/ha.d/hooks'), 'pre-start\npost-start 6\n');

  const empty = await HeartbeatRoot.create(t);
  await empty.write('/etc/default/heartbeat', root.read('/etc/default/heartbeat'));
  await empty.remove('/etc/ha.d/ha.cf');
  const { code, stdout } = await empty.run(SCRIPT, 'start');
  t.is(code, 0);
  t.is(stdout, `Heartbeat not configured: ${empty.path('/etc/ha.d/ha.cf')} not found.\n`);
});

test('what runs before heartbeat does is told, whichever place it has in its group', async (t) => {
  if (!need(t, ANGEL)) return;
  const root = await machine(t);
  await root.write('/etc/ha.d/resource.d/other', '#!/bin/sh\necho stopped\n', 0o755);
  await root.write('/etc/ha.d/haresources', 'node-a other service\n');
  const idle = () => root.run(`${BUILT}/heartbeat`, '--verify-idle');
  t.deepEqual(await idle(), { code: 0, stdout: '', stderr: '' });
  t.is((await root.run(root.path('/etc/ha.d/resource.d/service'), 'start')).code, 0);
  const told =
    'CRITICAL: Resource service is active, and should not be!\n' +
    'CRITICAL: Non-idle resources can affect data integrity!\n';
  t.deepEqual(await idle(), { code: 1, stdout: '', stderr: told });
  const start = await root.run(SCRIPT, 'start');
  t.is(start.code, 0, 'and the start goes on, as with the original');
  t.is(start.stderr, told);
  t.deepEqual(await idle(), { code: 0, stdout: '', stderr: '' }, 'it is heartbeat’s now');
});

test('what a killed daemon left running is not told: the next one looks after it', async (t) => {
  const root = await machine(t);
  t.is((await root.run(`${BUILT}/heartbeat`)).code, 0);
  await root.untilServing();
  process.kill(root.running(), 'SIGKILL');
  await until(() => root.daemon() === null, 'its death');
  const { code, stderr } = await root.run(`${BUILT}/heartbeat`, '--verify-idle');
  t.is(code, 0);
  t.regex(stderr, /^info: the last heartbeat was killed/);
  t.is((await root.run(`${BUILT}/heartbeat`)).code, 0); // which the teardown ends
});

test('the script is executable and shellcheck has nothing to say', async (t) => {
  t.is(statSync(SCRIPT).mode & 0o111, 0o111);
  if (!need(t, 'shellcheck')) return;
  const { code, stdout } = await command('shellcheck', SCRIPT);
  t.is(code, 0, stdout);
});
