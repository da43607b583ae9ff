/**
 * What every service script promises, with the real service (ProxySQL: a stand-in): started and stopped twice, killed, standing still, with a wrong
 * configuration, and started by somebody else.
 */
import { appendFileSync, copyFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { judged, type Ran, Room, script, until } from './room.js';
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

interface Instance {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What makes its start fail, and the service's own words then. */
  readonly wrong: { readonly env: Readonly<Record<string, string>>; readonly words: RegExp };
  readonly outside: string; // a shell line that starts it without the script, and returns
}

interface Service {
  readonly wants: readonly string[];
  readonly comm: string;
  readonly killable: boolean; // may stop end it with KILL?
  prepare(room: Room): Instance;
}

function withLine(path: string, line: string): string {
  const copy = `${path}.wrong`;
  copyFileSync(path, copy);
  appendFileSync(copy, `${line}\n`);
  return copy;
}

const SERVICES: Readonly<Record<string, Service>> = {
  memcached: {
    wants: ['memcached'],
    comm: 'memcached',
    killable: true,
    prepare: () => ({
      args: [String(PORT)],
      env: {},
      wrong: { env: { MEMCACHED_OPTIONS: '--no-such-option' }, words: /no-such-option/ },
      outside: `memcached -d -u nobody -p ${PORT} -U 0 -l 127.0.0.1`,
    }),
  },
  haproxy: {
    wants: ['haproxy'],
    comm: 'haproxy',
    killable: true,
    prepare: (room) => {
      const conf = haproxyConf(room, `  chroot ${room.dir}`); // as Debian's
      return {
        args: [],
        env: { HAPROXY_CONFIG: conf },
        wrong: {
          env: { HAPROXY_CONFIG: withLine(conf, 'nonsense here') },
          words: /unknown keyword 'nonsense'/,
        },
        outside: `haproxy -D -f ${conf}`,
      };
    },
  },
  apache: {
    wants: ['apache2', `${APACHE_MODULES}/mod_mpm_event.so`],
    comm: 'apache2',
    killable: true,
    prepare: (room) => {
      const conf = apacheConf(room);
      return {
        args: [],
        env: { APACHE_CONFIG: conf },
        wrong: {
          env: { APACHE_CONFIG: withLine(conf, 'Nonsense here') },
          words: /Invalid command 'Nonsense'/,
        },
        outside: `apache2 -f ${conf}`,
      };
    },
  },
  // ProxySQL is not in Debian: a program of that name that speaks its protocol.
  proxysql: {
    wants: ['mariadb'],
    comm: 'proxysql',
    killable: true,
    prepare: (room) => {
      const { program, conf } = proxysqlStandIn(room);
      return {
        args: [],
        env: {
          PROXYSQL_CONFIG: conf,
          PROXYSQL_PROGRAM: program,
          PROXYSQL_ADMIN: `127.0.0.1:${PORT}`,
        },
        wrong: {
          env: { PROXYSQL_CONFIG: withLine(conf, 'nonsense here') },
          words: /unknown line: nonsense here/,
        },
        outside: `setsid ${program} -f -c ${conf} </dev/null >/dev/null 2>&1 &`,
      };
    },
  },
  postgresql: {
    wants: [`${PG_BIN}/postgres`, `${PG_BIN}/psql`, 'setpriv'],
    comm: 'postgres',
    killable: false,
    prepare: (room) => {
      const dir = initdb(room);
      return {
        args: [dir, PG_SOCKETS],
        env: { POSTGRESQL_ERRORLOG: `${PG_SOCKETS}/log` },
        wrong: {
          env: { POSTGRESQL_OPTIONS: '-c nonsense=1' },
          words: /unrecognized configuration parameter "nonsense"/,
        },
        outside: `cd / && ${AS_POSTGRES.join(' ')} ${PG_BIN}/pg_ctl -s -w -D ${dir} -l ${dir}/outside -o '-k ${PG_SOCKETS}' start`,
      };
    },
  },
};

for (const [name, service] of Object.entries(SERVICES)) {
  test.serial(`${name}: twice, killed, standing still, wrong, started outside`, async (t) => {
    if (!need(t, 'root', 'netns', 'setpriv', 'perl', 'pgrep', ...service.wants)) return;
    await promises(t, name, service);
  });
}

async function promises(t: ExecutionContext, name: string, service: Service): Promise<void> {
  const room = await Room.open(t);
  const { args, env, wrong, outside } = service.prepare(room);
  const upper = name.toUpperCase();
  const short = { [`${upper}_CHECK_WAIT_S`]: '1', [`${upper}_STOP_WAIT_S`]: '1' };
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script(name), ...args, action], { ...env, ...more });
  // Not pidof, which does not see scripts; nobody in the room fetches the dead.
  const pids = (): readonly string[] =>
    room.run(['pgrep', '-x', '-r', 'R,S,D,T', service.comm]).out.split('\n').filter(Boolean);
  const main = (): string | undefined => pids()[0];
  // Some of its processes may just be ending.
  const signal = (which: string): Ran => room.run(['kill', `-${which}`, ...pids()]);
  const isStopped = (what: string): void => {
    t.deepEqual(call('status'), { status: 3, out: 'stopped\n' }, what);
    t.deepEqual(call('monitor'), { status: 3, out: 'stopped\n' }, what);
    t.deepEqual(pids(), [], what);
  };
  const isRunning = (what: string): void => {
    t.deepEqual(call('status'), { status: 0, out: 'running\n' }, what);
    t.deepEqual(call('monitor'), { status: 0, out: 'running\n' }, what);
  };

  isStopped('at first');
  t.deepEqual(call('stop'), { status: 0, out: '' }, 'stop of what never ran');
  const refused = call('start', wrong.env);
  t.is(refused.status, 1);
  t.regex(refused.out, wrong.words);
  isStopped('after a failed start');

  const started = call('start');
  t.is(started.status, 0, started.out);
  isRunning('started');
  const first = main();
  t.deepEqual(call('start'), { status: 0, out: `${name}: already running\n` });
  t.is(main(), first, 'a second start starts nothing');

  signal('KILL');
  t.true(await until(() => pids().length === 0));
  isStopped('killed');
  t.is(call('start').status, 0);
  isRunning('started after it was killed');

  signal('STOP');
  t.deepEqual(call('monitor', short), { status: 1, out: 'does not answer\n' });
  const hung = call('status', short);
  t.is(hung.status, 1);
  t.is(judged(hung.out), 'running', 'heartbeat must not start a second one');
  const stop = call('stop', service.killable ? short : {});
  if (service.killable) {
    t.is(stop.status, 0, stop.out);
    t.regex(stop.out, /sending KILL/);
  } else {
    t.deepEqual(stop, { status: 0, out: '' }, 'it goes on, and ends');
  }
  isStopped('stopped');
  t.deepEqual(call('stop'), { status: 0, out: '' }, 'stopped twice');

  room.must('sh', '-c', outside);
  t.true(await until(() => call('status').out === 'running (started outside)\n'));
  const before = main();
  const taken = call('start');
  t.is(taken.status, 0);
  t.regex(taken.out, /already running, but started outside \(process \d+/);
  t.is(main(), before, 'no second one beside it');
  const ended = call('stop');
  t.is(ended.status, 0, ended.out);
  t.regex(ended.out, /started outside, ends with the group: process \d+/);
  isStopped('what was started outside is stopped as well');
}

test.serial('a service that somebody starts again at once is not called stopped', async (t) => {
  if (!need(t, 'root', 'netns', 'memcached', 'perl')) return;
  const room = await Room.open(t);
  const call = (action: string): Ran =>
    room.run([script('memcached'), String(PORT), action], { MEMCACHED_STOP_WAIT_S: '1' });
  room.must(
    'sh',
    '-c',
    `while :; do memcached -u nobody -p ${PORT} -U 0 -l 127.0.0.1; done >/dev/null 2>&1 &`,
  );
  t.true(await until(() => call('monitor').status === 0));
  const refused = call('stop');
  t.is(refused.status, 1);
  t.regex(refused.out, /still running|was started again/);
});
