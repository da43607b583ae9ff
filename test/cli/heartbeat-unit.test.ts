/**
 * heartbeat.service does with the daemon what systemd would do, without systemd: its ExecStart is the unit's main process, which stays
 * while the cluster does; its ExecStop is an orderly end. What systemd itself does with the unit is not run here.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import test from 'ava';
import { HeartbeatRoot } from '../support/heartbeat-root.js';
import { need } from '../support/need.js';
import { ANGEL } from '../support/plain-node.js';
import { until } from '../support/until.js';

/** The settings of the unit, the last of each name. */
function unit(): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  for (const line of readFileSync('etc/systemd/heartbeat.service', 'utf8').split('\n')) {
    const [, name, value] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) settings.set(name, value);
  }
  return settings;
}

function words(settings: ReadonlyMap<string, string>, name: string): [string, ...string[]] {
  const [program = '', ...args] = (settings.get(name) ?? '').split(' ');
  return [program, ...args];
}

// systemd.kill(5): of a unit that ends, KillMode=process spares what is not its main process. The services of the cluster are in it.
test('nothing in the unit lets systemd kill a service', (t) => {
  const settings = unit();
  t.is(settings.get('Type'), 'simple');
  t.is(settings.get('KillMode'), 'process');
  t.is(settings.get('SendSIGKILL'), 'no');
  t.deepEqual(words(settings, 'ExecStop'), ['/usr/local/sbin/heartbeat', '-k']);
});

test('ExecStart stays in the foreground while the cluster runs; ExecStop hands over and ends it', async (t) => {
  if (!need(t, ANGEL)) return;
  const root = await HeartbeatRoot.create(t);
  const { child, result } = root.launch(...words(unit(), 'ExecStart'));
  t.teardown(() => child.kill('SIGTERM'));
  let ended = false;
  void result.then(() => {
    ended = true;
  });
  await root.untilServing();
  t.false(ended, 'its end would be the end of the unit');
  t.not(root.daemon(), null);

  t.is((await root.run(...words(unit(), 'ExecStop'))).code, 0);
  t.is((await result).code, 0, 'no failure: it is not started again');
  t.deepEqual([root.daemon(), root.service()], [null, null]);
  t.regex(root.read('/var/log/ha-log'), /All HA resources relinquished/);
});

// systemd.service(5): the stop commands run, too, when the main process ended by itself.
test('a killed main process: the services go on until ExecStop has ended them in good order', async (t) => {
  if (!need(t, ANGEL)) return;
  const root = await HeartbeatRoot.create(t);
  const { child } = root.launch(...words(unit(), 'ExecStart'));
  t.teardown(() => child.kill('SIGTERM'));
  const service = await root.untilServing();
  const killed = once(child, 'exit'); // its pipes are the daemon's, too
  child.kill('SIGKILL');
  await killed;
  t.is(root.service(), service);
  t.not(root.daemon(), null);
  t.is((await root.run(...words(unit(), 'ExecStop'))).code, 0);
  t.deepEqual([root.daemon(), root.service()], [null, null]);
});

test('the daemon dies: its successor finds the service running and goes on with it', async (t) => {
  if (!need(t, ANGEL)) return;
  const root = await HeartbeatRoot.create(t);
  // Long enough for the start of a program on any machine.
  const patient = root.read('/etc/ha.d/ha.cf').replace(/(deadtime|initdead) 2/g, '$1 8');
  await root.write('/etc/ha.d/ha.cf', patient);
  const { child, result } = root.launch(...words(unit(), 'ExecStart'));
  t.teardown(() => child.kill('SIGTERM'));
  const service = await root.untilServing();
  const daemon = root.running();
  process.kill(daemon, 'SIGKILL');
  await until(() => (root.daemon() ?? daemon) !== daemon, 'a successor');
  await until(() => root.read('/var/log/ha-log').includes('resuming'), 'it resumes');
  t.is(root.service(), service, 'never stopped');
  t.is((await root.run(...words(unit(), 'ExecStop'))).code, 0);
  t.is((await result).code, 0);
  t.is(root.service(), null);
});

test('a configuration that is refused ends it with the status of the original, and systemd leaves it so', async (t) => {
  if (!need(t, ANGEL)) return;
  const root = await HeartbeatRoot.create(t);
  await root.write('/etc/ha.d/ha.cf', 'node node-a\n');
  const { code } = await root.run(...words(unit(), 'ExecStart'));
  t.is(code, 6);
  t.true(unit().get('RestartPreventExitStatus')?.split(' ').includes('6'));
});
