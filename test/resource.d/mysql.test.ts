/** The mysql script with the machine's real MariaDB, its data on ext4 on a loop device. */
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { judged, loopDevice, type Ran, Room, until } from './room.js';

const WANTS = ['root', 'loop', 'netns', 'mkfs.ext4', 'mariadbd', 'mariadb-install-db', 'mariadb'];

async function server(t: ExecutionContext) {
  const room = await Room.open(t);
  const device = loopDevice(t, room.dir, 512);
  room.must('mkfs.ext4', '-q', device);
  const mount = `${room.dir}/drbd`;
  const datadir = `${mount}/mysql`;
  const socket = '/run/mysqld/test.sock';
  room.must('mkdir', '-m', '755', mount);
  room.must('chmod', '755', room.dir);
  room.must('mount', device, mount);
  const env = {
    MYSQL_OPTIONS: '--innodb-log-file-size=8M --innodb-buffer-pool-size=16M --skip-networking',
  };
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([`${process.cwd()}/resource.d/mysql`, datadir, socket, '33061', action], {
      ...env,
      ...more,
    });
  const sql = (text: string): string =>
    room.must('mariadb', '--no-defaults', '-N', '-B', '-u', 'root', '-S', socket, '-e', text);
  const install = (): string => {
    // Its temporary tables are named by pid, which a server of another test may have as well, in its namespace.
    const temporary = `${mount}/tmp`;
    room.must('install', '-d', '-o', 'mysql', temporary);
    return room.must(
      ...['mariadb-install-db', '--no-defaults', '--user=mysql', `--datadir=${datadir}`],
      ...[`--tmpdir=${temporary}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
      '--innodb-log-file-size=8M',
    );
  };
  const pid = (): number => Number(room.run(['pidof', 'mariadbd']).out.trim());
  return { room, call, sql, install, pid, datadir };
}

test('start, crash recovery, stop', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, call, sql, install, pid } = await server(t);
  t.is(judged(call('status').out), 'stopped');
  t.is(call('stop').status, 0, 'stop of what never ran succeeds');
  const empty = call('start');
  t.is(empty.status, 1);
  t.regex(empty.out, /holds no data/);
  install();

  t.is(call('start').status, 0);
  t.is(judged(call('status').out), 'running');
  t.is(call('status').status, 0);
  const first = pid();
  t.is(call('start').status, 0);
  t.is(pid(), first, 'a second start starts nothing');
  sql('create database d; create table d.t (n int primary key) engine=innodb');
  sql('insert into d.t values (1),(2),(3)');

  room.must('kill', '-KILL', String(first));
  t.true(await until(() => room.run(['pidof', 'mariadbd']).status !== 0));
  t.is(judged(call('status').out), 'stopped');
  t.is(call('status').status, 3);
  t.is(call('start').status, 0);
  t.is(sql('select count(*) from d.t').trim(), '3'); // it answers as soon as start returns
  t.regex(
    room.must('cat', '/run/mysqld/mysqld.err'),
    /InnoDB: (Starting crash recovery|Starting final batch)/,
  );

  t.is(call('stop').status, 0);
  t.not(room.run(['pidof', 'mariadbd']).status, 0);
  t.is(call('stop').status, 0);
  t.is(judged(call('status').out), 'stopped');
});

test('a server that does not end is not called stopped', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, call, install, pid } = await server(t);
  install();
  t.is(call('start').status, 0);
  const stuck = String(pid());
  room.must('kill', '-STOP', stuck);
  const refused = call('stop', { MYSQL_STOP_WAIT_S: '1' });
  t.is(refused.status, 1);
  t.regex(refused.out, /still runs after 1 s/);
  room.must('kill', '-CONT', stuck);
  t.is(call('stop').status, 0);
});

test('a failing start is reported with the words of the server', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, call, install, datadir } = await server(t);
  install();
  room.must('sh', '-c', `dd if=/dev/urandom of=${datadir}/ibdata1 bs=64k count=4 conv=notrunc`);
  const failed = call('start');
  t.is(failed.status, 1);
  t.regex(failed.out, /InnoDB/);
  t.is(judged(call('status').out), 'stopped');
});
