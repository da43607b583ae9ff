/** The mysql script with the machine's real MariaDB, its data on ext4 on a loop device. */
import test from 'ava';
import { need } from '../support/need.js';
import { server, WANTS } from './mysql-server.js';
import { judged, until } from './room.js';

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
  t.is(sql('select count(*) from d.t'), '3'); // it answers as soon as start returns
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
  const refused = call('stop', { MYSQL_STOP_WAIT_S: '0' });
  t.is(refused.status, 1);
  t.regex(refused.out, /still runs after 0 s/);
  t.is(call('stop').status, 0);

  t.is(call('start').status, 0);
  room.must('kill', '-STOP', String(pid())); // it stands still, and ends all the same
  t.is(call('stop').status, 0);
  t.not(room.run(['pidof', 'mariadbd']).status, 0);
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
