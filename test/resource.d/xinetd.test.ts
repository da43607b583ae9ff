/** One service of a real xinetd, which the machine owns: enabled and disabled, and gone when stop says so. */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { need } from '../support/need.js';
import { judged, type Ran, Room, script, until } from './room.js';
import { PORT } from './service-files.js';

const relay = (server: string): string => `# A relay.
service relay
{
	type = UNLISTED
	disable = yes
	port = ${PORT}
	socket_type = stream
	protocol = tcp
	wait = no
	user = root
	server = ${server}
}
`;

test('enabled, disabled, each twice; sessions end; xinetd dead, standing still, missing', async (t) => {
  if (!need(t, 'root', 'netns', 'xinetd', 'bash')) return;
  const room = await Room.open(t);
  const dir = `${room.dir}/xinetd.d`;
  mkdirSync(dir);
  const server = `${room.dir}/relay-server`;
  copyFileSync('/bin/cat', server);
  chmodSync(server, 0o755);
  writeFileSync(`${dir}/relay`, relay(server));
  writeFileSync(`${room.dir}/xinetd.conf`, `defaults\n{\n}\nincludedir ${dir}\n`);
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script('Xinetd'), 'relay', action], { XINETD_DIR: dir, ...more });
  const disabled = (): string =>
    /disable = (\w+)/.exec(readFileSync(`${dir}/relay`, 'utf8'))?.[1] ?? '';
  const xinetd = (signal: string): Ran => room.run(['sh', '-c', `kill -${signal} $(pidof xinetd)`]);

  t.deepEqual(call('status'), { status: 3, out: 'stopped\n' });
  const without = call('start');
  t.is(without.status, 1);
  t.regex(without.out, /xinetd does not run/);
  t.is(call('stop').status, 0);
  room.must('xinetd', '-f', `${room.dir}/xinetd.conf`, '-pidfile', `${room.dir}/pid`, '-stayalive');
  t.true(await until(() => room.run(['pidof', 'xinetd']).status === 0));
  t.is(call('stop').status, 0, 'stop of what never ran');
  t.is(room.run([script('Xinetd'), 'other', 'start'], { XINETD_DIR: dir }).status, 1, 'no file');
  t.is(room.run([script('Xinetd'), 'other', 'stop'], { XINETD_DIR: dir }).status, 0);

  t.is(call('start').status, 0);
  t.deepEqual(call('status'), { status: 0, out: 'running\n' });
  t.deepEqual(call('monitor'), { status: 0, out: 'running\n' });
  t.is(disabled(), 'no');
  t.regex(call('start').out, /already running/);

  // A session that stays.
  const session =
    'exec 3<>"/dev/tcp/127.0.0.1/$0"; echo hello >&3; read -r l <&3; echo "$l"; sleep 1000';
  const echo = room.spawn(['bash', '-c', session, String(PORT)]);
  await new Promise((ready) => echo.stdout?.once('data', ready));
  t.is(room.run(['pidof', 'relay-server']).status, 0);
  t.is(call('stop').status, 0);
  t.not(room.run(['pidof', 'relay-server']).status, 0, 'no session is left');
  t.is(disabled(), 'yes');
  t.is(call('stop').status, 0, 'twice');
  t.deepEqual(call('monitor'), { status: 3, out: 'stopped\n' });

  t.is(call('start').status, 0);
  xinetd('STOP');
  t.deepEqual(call('monitor'), { status: 1, out: 'does not answer\n' });
  t.is(judged(call('status').out), 'running');
  const refused = call('stop', { XINETD_WAIT_S: '1' });
  t.is(refused.status, 1);
  t.regex(refused.out, /still served after 1 s/);
  xinetd('CONT');
  t.is(call('stop').status, 0);

  // Killed, and started again by the machine: the service must not come with it.
  t.is(call('start').status, 0);
  xinetd('KILL');
  t.true(await until(() => room.run(['pidof', 'xinetd']).status !== 0));
  t.deepEqual(call('monitor'), { status: 3, out: 'stopped\n' });
  t.is(call('stop').status, 0);
  t.is(disabled(), 'yes');

  // A file that xinetd cannot use.
  room.must('xinetd', '-f', `${room.dir}/xinetd.conf`, '-pidfile', `${room.dir}/pid`, '-stayalive');
  writeFileSync(`${dir}/relay`, relay('/no/such/program'));
  const wrong = call('start', { XINETD_WAIT_S: '1' });
  t.is(wrong.status, 1);
  t.regex(wrong.out, /does not serve relay within 1 s/);
  t.is(disabled(), 'yes', 'given back');
});
