/**
 * lb-switch with a real HAProxy: who starts is the only one that gets connections, those of the others are ended, and nothing starts
 * when the balancer cannot be told.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { judged, type Ran, Room, script, until } from './room.js';

const WANTS = ['root', 'netns', 'haproxy', 'perl', 'socat'];
const BACKEND = 'db';

/** As haresources has it: a name for each node. */
function namesFor(room: Room, server: string): string {
  return `other-node=other,${room.must('uname', '-n').trim().toUpperCase()}=${server}`;
}

async function balanced(t: ExecutionContext) {
  const room = await Room.open(t);
  const socket = join(room.dir, 'admin.sock');
  const conf = join(room.dir, 'haproxy.cfg');
  writeFileSync(
    conf,
    `global
  stats socket ${socket} mode 600 level admin
defaults
  mode tcp
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend front
  bind 127.0.0.1:3306
  default_backend ${BACKEND}
backend ${BACKEND}
  server alpha 127.0.0.1:3307
  server beta 127.0.0.1:3308
`,
  );
  // Each says its name to who comes, and keeps the connection.
  for (const [name, port] of [
    ['alpha', 3307],
    ['beta', 3308],
  ]) {
    room.spawn([
      'socat',
      `TCP-LISTEN:${port},reuseaddr,fork`,
      `SYSTEM:echo ${name}; cat >/dev/null`,
    ]);
  }
  const balancer = (): void => {
    room.must('sh', '-c', `haproxy -D -f ${conf} </dev/null >/dev/null 2>&1`);
  };
  balancer();
  const call = (server: string, action: string, env: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script('lb-switch'), socket, BACKEND, namesFor(room, server), action], env);
  /** Who answers a client of the balancer; '' nobody. */
  const served = (): string =>
    room.run(['sh', '-c', 'timeout 5 socat -u TCP:127.0.0.1:3306 - | head -n 1']).out.trim();
  const stopBalancer = async (): Promise<void> => {
    room.must('pkill', '-x', 'haproxy');
    await until(() => room.run(['pgrep', '-x', 'haproxy']).status !== 0);
  };
  await until(() => served() !== '');
  return { room, socket, call, served, balancer, stopBalancer };
}

test('only who started last is connected to, and old connections are ended', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, call, served } = await balanced(t);
  t.is(judged(call('alpha', 'status').out), 'stopped');
  for (const _ of [1, 2]) t.deepEqual(call('alpha', 'start'), { status: 0, out: '' });
  t.is(judged(call('alpha', 'status').out), 'running');
  for (const _ of [1, 2, 3]) t.is(served(), 'alpha');

  // A client that stays connected to alpha while the other node takes over.
  const client = room.spawn(['socat', '-u', 'TCP:127.0.0.1:3306', '-']);
  const ended = new Promise<void>((done) => client.once('close', () => done()));
  await new Promise((done) => client.stdout?.once('data', done));
  t.deepEqual(call('beta', 'start'), { status: 0, out: '' });
  await ended;
  for (const _ of [1, 2, 3]) t.is(served(), 'beta');
  t.is(judged(call('alpha', 'status').out), 'running', 'started here, and not stopped');
  t.is(call('alpha', 'monitor').status, 10);
  t.regex(call('alpha', 'monitor').out, /alpha is maint, not ready; beta is ready, not maint/);

  for (const _ of [1, 2]) t.deepEqual(call('beta', 'stop'), { status: 0, out: '' });
  t.is(served(), '');
  t.is(call('beta', 'monitor').status, 3);
});

test('a balancer that cannot be told, or does not know the server, holds the start up', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { call, served, balancer, stopBalancer } = await balanced(t);
  const unknown = call('gamma', 'start');
  t.is(unknown.status, 1);
  t.regex(unknown.out, /backend db has no server gamma, but: alpha beta/);
  t.is(call('alpha', 'start').status, 0);
  await stopBalancer();
  // The other node dies: heartbeat asks whether all of it runs here, and what is stopped is started, or the group is given up.
  t.is(judged(call('alpha', 'status').out), 'running');
  t.is(call('alpha', 'monitor').status, 10);

  const refused = call('beta', 'start');
  t.is(refused.status, 1);
  t.regex(
    refused.out,
    /does not answer\. Nothing is started: the other node may still be written to/,
  );
  t.is(judged(call('beta', 'status').out), 'stopped');
  const without = call('beta', 'start', { LB_SWITCH_REQUIRED: 'no' });
  t.is(without.status, 0);
  t.regex(without.out, /Going on without it/);
  const stopped = call('beta', 'stop');
  t.is(stopped.status, 0);
  t.regex(stopped.out, /The service is down here all the same/);

  // One that was started anew knows nothing of it: both are ready, and that is seen.
  balancer();
  t.true(await until(() => served() !== ''));
  t.is(judged(call('alpha', 'status').out), 'running');
  t.is(call('alpha', 'monitor').status, 10);
  t.regex(call('alpha', 'monitor').out, /beta is ready, not maint/);
  t.is(call('alpha', 'start').status, 0);
  t.is(call('alpha', 'monitor').status, 0);
  t.is(served(), 'alpha');
});

test('a backend that is not there, and names that are none', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, socket } = await balanced(t);
  const call = (backend: string): Ran =>
    room.run([script('lb-switch'), socket, backend, namesFor(room, 'alpha'), 'start']);
  t.is(call('web').status, 1);
  t.regex(call('web').out, /Can't find backend/i);
  t.is(call('db; disable server db/alpha').status, 1);
  t.regex(call('db; disable server db/alpha').out, /is no name of a backend or server/);
});

// haresources is the same on both nodes: with one name for both, the balancer would write to that server whichever node serves.
test('a server that is not named for this node alone, and no balancer at all', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { room, socket, served } = await balanced(t);
  const own = room.must('uname', '-n').trim();
  const before = served();
  for (const [args, words] of [
    [[socket, BACKEND, 'beta'], /expected NODE=SERVER,NODE=SERVER, one for each node, got 'beta'/],
    [
      [socket, BACKEND, 'x=alpha,y=beta'],
      new RegExp(`expected ${own}=SERVER among 'x=alpha,y=beta'`),
    ],
    [[socket, BACKEND, `${own}=beta,y=beta`], /has one server for two nodes/],
    [['', BACKEND], /no balancer is named/],
    [[',', BACKEND], /no balancer is named/],
  ] as const) {
    const refused = room.script('lb-switch', ...args, 'start');
    t.is(refused.status, 1, args.join(' '));
    t.regex(refused.out, words);
    t.is(
      room.script('lb-switch', ...args, 'stop').status,
      0,
      'a stop that fails takes the machine down',
    );
  }
  t.is(
    room
      .must('sh', '-c', `echo 'show servers state ${BACKEND}' | socat - UNIX:${socket}`)
      .match(/ (alpha|beta) \S+ 2 0 /g)?.length,
    2,
  );
  t.not(before, '');
});
