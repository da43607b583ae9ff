/** What the monitors of the service scripts tell apart beyond running and stopped, with the real services. */
import { writeFileSync } from 'node:fs';
import test from 'ava';
import { need } from '../support/need.js';
import { type Ran, Room, script, until } from './room.js';
import {
  APACHE_MODULES,
  AS_POSTGRES,
  apacheConf,
  haproxyConf,
  initdb,
  PG_BIN,
  PG_SOCKETS,
  PORT,
  proxysqlStandIn,
} from './service-files.js';

/** Connections of clients that say nothing, to the room's port. */
function connect(room: Room, count: number): void {
  const hold = 'push @s, IO::Socket::IP->new(PeerHost => "127.0.0.1", PeerPort => $ARGV[0])';
  const program = `$SIG{TERM} = "DEFAULT"; ${hold} for 1..$ARGV[1]; sleep 1000`;
  room.must(
    ...['sh', '-c', 'setsid perl -MIO::Socket::IP -e "$0" "$@" >/dev/null 2>&1 &'],
    ...[program, String(PORT), String(count)],
  );
}
const letGo = (room: Room): string => room.must('pkill', '-f', 'IO::Socket::IP');

test.serial('memcached: too many connections', async (t) => {
  if (!need(t, 'root', 'netns', 'memcached', 'perl', 'pkill')) return;
  const room = await Room.open(t);
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script('memcached'), String(PORT), action], {
      MEMCACHED_OPTIONS: '-c 16 -t 1',
      ...more,
    });
  t.is(call('start').status, 0);
  t.is(call('monitor').status, 0);
  connect(room, 16);
  t.true(await until(() => call('monitor').status === 10));
  t.deepEqual(call('monitor'), { status: 10, out: 'too many connections\n' });
  t.is(call('monitor', { MEMCACHED_TOO_MANY: 'fail' }).status, 1);
  letGo(room);
  t.true(await until(() => call('monitor').status === 0));
});

test.serial('haproxy: too many connections; one without our socket is only seen', async (t) => {
  if (!need(t, 'root', 'netns', 'haproxy', 'perl', 'pkill')) return;
  const room = await Room.open(t);
  const conf = haproxyConf(room, '  maxconn 4');
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script('haproxy'), conf, action], more);
  t.is(call('start').status, 0);
  connect(room, 4);
  t.true(await until(() => call('monitor').status === 10));
  t.deepEqual(call('monitor'), { status: 10, out: 'too many connections: 4 of 4\n' });
  t.is(call('monitor', { HAPROXY_TOO_MANY: 'fail' }).status, 1);
  letGo(room);
  t.true(await until(() => call('monitor').status === 0));
  t.is(call('stop').status, 0);

  room.must('haproxy', '-D', '-f', conf);
  t.regex(call('monitor').out, /^running \(not asked: started outside/);
  room.must('sh', '-c', 'kill -STOP $(pidof haproxy)');
  t.deepEqual(call('monitor'), { status: 1, out: 'does not answer\n' });
  // One with another configuration is another service.
  t.is(room.script('haproxy', `${room.dir}/other.cfg`, 'status').out, 'stopped\n');
});

test.serial('apache: a page that is not served, workers without their parent', async (t) => {
  if (!need(t, 'root', 'netns', 'apache2', `${APACHE_MODULES}/mod_mpm_event.so`, 'perl')) return;
  const room = await Room.open(t);
  const conf = apacheConf(room);
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script('apache'), conf, action], more);
  t.is(call('start').status, 0);
  const page = { APACHE_CHECK_URL: `http://127.0.0.1:${PORT}/page` };
  const missing = call('monitor', page);
  t.is(missing.status, 1);
  t.regex(missing.out, /^failed: http:.*\/page: HTTP\/1\.1 404/);
  writeFileSync(`${room.dir}/page`, 'here\n');
  t.deepEqual(call('monitor', page), { status: 0, out: 'running\n' });

  room.must('kill', '-KILL', room.must('cat', `${room.dir}/web.pid`).trim());
  t.true(await until(() => call('monitor').status === 1));
  t.deepEqual(call('monitor'), {
    status: 1,
    out: 'failed: workers without their parent process\n',
  });
  t.is(call('status').status, 0, 'they serve: no second one beside them');
  t.is(call('stop', { APACHE_STOP_WAIT_S: '1' }).status, 0);
  t.is(room.run(['pidof', 'apache2']).out, '');
  t.is(call('start').status, 0);

  // Another one on the port is not ours.
  t.is(room.script('apache', `${room.dir}/other.conf`, 'status').out, 'stopped\n');
  writeFileSync(`${room.dir}/other.conf`, room.must('cat', conf).replace('web.pid', 'other.pid'));
  const second = room.script('apache', `${room.dir}/other.conf`, 'start');
  t.is(second.status, 1);
  t.regex(second.out, /Address already in use/);
});

test.serial('proxysql (stand-in): too many connections, no server, a strange user', async (t) => {
  if (!need(t, 'root', 'netns', 'perl', 'mariadb')) return;
  const room = await Room.open(t);
  const { program, conf, answer } = proxysqlStandIn(room);
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script('proxysql'), conf, action], {
      ...{ PROXYSQL_PROGRAM: program, PROXYSQL_ADMIN: `127.0.0.1:${PORT}`, ...more },
    });
  const started = call('start');
  t.is(started.status, 0, started.out);
  t.deepEqual(call('monitor'), { status: 0, out: 'running\n' });
  answer(2, 100, 100);
  t.deepEqual(call('monitor'), { status: 10, out: 'too many connections: 100 of 100\n' });
  t.is(call('monitor', { PROXYSQL_TOO_MANY: 'fail' }).status, 1);
  answer(0, 1, 100);
  t.deepEqual(call('monitor'), { status: 10, out: 'no server is ONLINE\n' });
  answer(1, 1, 100);
  const strange = call('monitor', { PROXYSQL_ADMIN_USER: 'stranger' });
  t.is(strange.status, 10);
  t.regex(strange.out, /^cannot log in as stranger \(PROXYSQL_ADMIN_USER\): ERROR 1045/);
  writeFileSync(conf, `port ${PORT}\nrow nothing at all\n`);
  t.deepEqual(call('monitor'), { status: 1, out: "failed: it answered 'nothing\tat\tall'\n" });
});

test.serial(
  'postgresql: too many connections, locks, read-only, a strange user, a stale pid',
  async (t) => {
    if (!need(t, 'root', 'netns', 'setpriv', `${PG_BIN}/postgres`, `${PG_BIN}/psql`)) return;
    const room = await Room.open(t);
    const dir = initdb(room);
    const env = {
      POSTGRESQL_ERRORLOG: `${PG_SOCKETS}/log`,
      POSTGRESQL_OPTIONS: '-c max_connections=6 -c superuser_reserved_connections=3',
    };
    const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
      room.run([script('postgresql'), dir, PG_SOCKETS, action], { ...env, ...more });
    const psql = [...AS_POSTGRES, `${PG_BIN}/psql`, '-X', '-q', '-A', '-t', '-h', PG_SOCKETS];
    const sql = (text: string): string => room.must(...psql, '-c', text, 'postgres').trim();
    /** Sessions that sleep, after a statement of their own. */
    const sleepers = (count: number, first: string): void => {
      const line = `for i in $(seq $0); do "$@" -c "begin; ${first}; select pg_sleep(1000)" postgres >/dev/null 2>&1 & done`;
      room.must('sh', '-c', line, String(count), ...psql);
    };
    const sleeping = (): number =>
      Number(sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'"));
    const wake =
      "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event = 'PgSleep'";

    // After a take-over: the process id of the other node is somebody's here.
    writeFileSync(`${dir}/postmaster.pid`, `1\n${dir}\n0\n5432\n${PG_SOCKETS}\n\n\n`);
    room.must('chown', 'postgres', `${dir}/postmaster.pid`);
    const started = call('start');
    t.is(started.status, 0, started.out);
    t.regex(started.out, /postmaster\.pid names process 1, which is no server/);
    t.is(call('monitor').status, 0);
    const token = sql('select token from twinbeat.probe');
    t.is(call('monitor').status, 0);
    t.not(sql('select token from twinbeat.probe'), token, 'each monitor writes anew');

    sleepers(3, 'select 1');
    t.true(await until(() => sleeping() === 3));
    const full = call('monitor');
    t.is(full.status, 10);
    t.regex(full.out, /^too many connections: \d of 3\n$/); // a question of ours may just be ending
    t.is(call('monitor', { POSTGRESQL_TOO_MANY: 'fail' }).status, 1);
    sql(wake);
    t.true(await until(() => call('monitor').status === 0));

    sleepers(1, 'lock table twinbeat.probe in exclusive mode');
    t.true(await until(() => sleeping() === 1));
    const locked = call('monitor');
    t.is(locked.status, 10);
    t.regex(locked.out, /^writes are locked/);
    sql(wake);
    t.true(await until(() => call('monitor').status === 0));

    const strange = call('monitor', { POSTGRESQL_CHECK_USER: 'nobody-here' });
    t.is(strange.status, 10);
    t.regex(strange.out, /^cannot log in as nobody-here \(POSTGRESQL_CHECK_USER\)/);

    sql('alter system set default_transaction_read_only = on');
    sql('select pg_reload_conf()');
    t.true(await until(() => call('monitor').out === 'read-only\n'));
    t.is(call('monitor').status, 1);
    t.is(call('monitor', { POSTGRESQL_READ_ONLY: 'ok' }).out, 'running (read-only)\n');
    t.is(call('stop').status, 0);
  },
);
