/** What the monitor of the mysql script tells apart, and what it does to the server: the machine's real MariaDB. */
import test from 'ava';
import { need } from '../support/need.js';
import { SOCKET, server, WANTS } from './mysql-server.js';
import { judged, until } from './room.js';

const MOST = 10; // the least that MariaDB takes

test('the probe row is written and read again; a read-only server is left alone', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, call, sql, hold, install, pid, datadir, mount } = await server(t, '--read-only');
  install();
  t.deepEqual(call('monitor'), { status: 3, out: 'stopped\n' });
  t.is(call('start').status, 0);

  t.deepEqual(call('monitor'), { status: 1, out: 'read-only\n' });
  t.deepEqual(call('monitor', { MYSQL_READ_ONLY: 'ok' }).out, 'running (read-only)\n');
  t.is(sql("show databases like 'twinbeat'"), '', 'nothing was made');
  sql('set global read_only = 0');
  room.must('sh', '-c', 'cat /dev/zero >"$0/big" || :', mount);
  t.deepEqual(call('monitor'), { status: 10, out: 'the disk is full\n' });
  t.is(call('monitor', { MYSQL_FULL: 'fail' }).status, 1);
  room.must('rm', `${mount}/big`);
  t.deepEqual(call('monitor'), { status: 0, out: 'running\n' });
  const token = sql('select token from twinbeat.probe where id = 1');
  t.not(token, '');
  t.is(sql('select node from twinbeat.probe'), room.must('uname', '-n').trim());
  t.is(call('monitor').status, 0);
  const later = sql('select token from twinbeat.probe');
  t.not(later, token, 'each monitor writes anew');
  sql('set global read_only = 1');
  t.is(call('monitor').out, 'read-only\n');
  t.is(sql('select token from twinbeat.probe'), later, 'not written to');
  sql('set global read_only = 0; drop table twinbeat.probe');
  t.is(call('monitor').status, 0, 'the table is made again');

  // A backup's lock is not a server that hangs.
  const unlock = await hold('flush tables with read lock');
  const locked = call('monitor');
  t.is(locked.status, 10);
  t.regex(locked.out, /^writes are locked/);
  await unlock();
  t.true(await until(() => call('monitor').status === 0));

  // A user who may not come in says nothing about the server.
  const denied = call('monitor', { MYSQL_CHECK_USER: 'nobody-here' });
  t.is(denied.status, 10);
  t.regex(denied.out, /^cannot log in or write as nobody-here \(MYSQL_CHECK_USER\): ERROR 1045/);
  sql("create user probe@localhost identified by 'secret'");
  const probe = { MYSQL_CHECK_USER: 'probe', MYSQL_CHECK_PASSWORD: 'secret' };
  t.regex(call('monitor', probe).out, /^cannot log in or write as probe .*ERROR 1142/);
  sql('grant select, insert, update, delete on twinbeat.* to probe@localhost');
  t.deepEqual(call('monitor', probe), { status: 0, out: 'running\n' });

  // By its other name.
  const other = room.script('mariadb', datadir, SOCKET, 'monitor');
  t.deepEqual(other, { status: 0, out: 'running\n' });
  room.must('kill', '-KILL', String(pid()));
  t.true(await until(() => room.run(['pidof', 'mariadbd']).status !== 0));
  t.deepEqual(call('monitor'), { status: 3, out: 'stopped\n' });

  // By somebody else, on our data.
  room.must(
    ...['sh', '-c', '"$@" </dev/null >/dev/null 2>&1 &', 'sh', 'mariadbd', '--no-defaults'],
    ...['--user=mysql', `--datadir=${datadir}`, `--socket=${SOCKET}`, '--skip-networking'],
  );
  t.true(await until(() => call('monitor').status === 0));
  const stranger = pid();
  const taken = call('start');
  t.is(taken.status, 0);
  t.regex(taken.out, /started outside \(process \d+\): taken for the service/);
  t.is(pid(), stranger, 'no second one beside it');
  const ended = call('stop');
  t.is(ended.status, 0, ended.out);
  t.regex(ended.out, /started outside, ends with the group: process \d+/);
  t.deepEqual(call('status'), { status: 3, out: 'stopped\n' });
});

test('too many connections, a server that hangs, and the socket of another server', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, call, sql, hold, install, pid, datadir, mount } = await server(
    t,
    `--max-connections=${MOST}`,
  );
  install();
  const elsewhere = `${mount}/other`;
  room.must('cp', '-a', datadir, elsewhere);
  t.is(call('start').status, 0);
  sql("create user client@localhost; create user probe@localhost identified by 'secret'");
  sql('create database twinbeat; grant all on twinbeat.* to probe@localhost');
  const probe = { MYSQL_CHECK_USER: 'probe', MYSQL_CHECK_PASSWORD: 'secret' };

  const letGo = await Promise.all(Array.from({ length: MOST - 1 }, () => hold('do 1', 'client')));
  // One is free: for anybody.
  t.deepEqual(call('monitor'), { status: 0, out: 'running\n' });
  t.true(await until(() => call('monitor', probe).status === 0)); // the connection before it ends late
  letGo.push(await hold('do 1', 'client'));
  // None: the administrator comes in still, others do not.
  t.true(await until(() => sql("show status like 'Threads_connected'").endsWith('11')));
  t.deepEqual(call('monitor'), { status: 10, out: `too many connections: ${MOST} of ${MOST}\n` });
  t.deepEqual(call('monitor', probe), { status: 10, out: 'too many connections\n' });
  t.is(call('monitor', { MYSQL_TOO_MANY: 'fail' }).status, 1);
  t.is(call('monitor', { ...probe, MYSQL_TOO_MANY: 'fail' }).status, 1);
  t.deepEqual([call('status').status, judged(call('status').out)], [0, 'running']); // as ever
  for (const go of letGo) await go();
  t.true(await until(() => call('monitor').status === 0));

  room.must('kill', '-STOP', String(pid()));
  const startMs = performance.now();
  t.deepEqual(call('monitor', { MYSQL_CHECK_WAIT_S: '1' }), {
    status: 1,
    out: 'does not answer\n',
  });
  t.true(performance.now() - startMs < 5_000);
  room.must('kill', '-CONT', String(pid()));
  t.true(await until(() => call('monitor').status === 0));

  // Our server stands still, and somebody else's answers at its place.
  const copy = room.run(
    [`${process.cwd()}/resource.d/mysql`, elsewhere, '/run/mysqld/o.sock', 'start'],
    {
      MYSQL_OPTIONS: '--skip-networking --innodb-log-file-size=8M --innodb-buffer-pool-size=16M',
    },
  );
  t.is(copy.status, 0, copy.out);
  room.must('mv', '/run/mysqld/o.sock', SOCKET);
  const strange = call('monitor');
  t.is(strange.status, 1);
  t.regex(strange.out, /^does not answer: .* is served from .*\/other\/?\n$/);
});
