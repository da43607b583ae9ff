/** portblock with a client that knocks, by nft and by iptables; Delay. */
import { once } from 'node:events';
import test from 'ava';
import { need } from '../support/need.js';
import { LAN_WANTS, lan } from './lan.js';
import { Room, script, until } from './room.js';

// Not by name: node_modules/.bin has an nft, too, which is something else.
const NFT = '/usr/sbin/nft';
const IPTABLES = ['/usr/sbin/iptables', '/usr/sbin/ip6tables'];

const TABLE = 'twinbeat_portblock_tcp_5998to5999_7000';

type Knock = 'answered' | 'refused' | 'dropped';

/** What becomes of a client's attempt to connect. Silence for a second is a drop: an answer takes less than a millisecond. */
function knock(client: Room, ip: string, port: number): Knock {
  const { status } = client.run(['timeout', '1', 'bash', '-c', `exec 3<>/dev/tcp/${ip}/${port}`]);
  return status === 0 ? 'answered' : status === 124 ? 'dropped' : 'refused';
}

const SERVER = `
  const server = require('node:net').createServer((socket) => socket.destroy());
  server.listen(Number(process.argv[1]), '::', () => console.log('listens'));`;

for (const tool of ['nft', 'iptables'] as const) {
  test(`portblock by ${tool}: clients wait until the service is there`, async (t) => {
    if (!need(t, ...LAN_WANTS, ...(tool === 'nft' ? [NFT] : IPTABLES))) return;
    const { client, a } = await lan(t);
    if (tool === 'iptables') a.run(['mount', '--bind', '/dev/null', NFT]);
    const ports = '5998:5999,7000';
    const knocks = (port: number): Knock[] =>
      ['10.93.0.1', 'fd93::1'].map((ip) => knock(client, ip, port));
    // A machine that is busy may keep an answer for longer than a second, once.
    const becomes = async (port: number, what: Knock, when = ''): Promise<void> => {
      let last: Knock[] = [];
      const same = await until(() => {
        last = knocks(port);
        return last.every((knock) => knock === what);
      });
      t.true(same, `${port} ${when}: ${last}`);
    };
    const verdicts = (): string[] =>
      ['block', 'unblock'].map((what) => {
        const status = a.script('portblock', 'tcp', ports, what, 'status');
        t.deepEqual(a.script('portblock', 'tcp', ports, what, 'monitor'), status, 'monitor');
        return `${status.out.trim()} ${status.status}`;
      });
    const act = (what: string, action: string): void => {
      for (const time of ['once', 'twice']) {
        const ran = a.script('portblock', 'tcp', ports, what, action);
        t.is(ran.status, 0, `${what} ${action} ${time}: ${ran.out}`);
      }
    };
    t.deepEqual(verdicts(), ['stopped 3', 'stopped 3']);
    await becomes(5999, 'refused');
    act('block', 'start');
    t.deepEqual(verdicts(), ['running 0', 'stopped 3']);
    await becomes(5999, 'dropped');
    await becomes(7000, 'dropped');
    await becomes(6000, 'refused', 'another port');
    const server = a.spawn([process.execPath, '-e', SERVER, '5999']);
    await once(server.stdout ?? server, 'data');
    await becomes(5999, 'dropped', 'the service starts');
    act('unblock', 'start');
    await becomes(5999, 'answered');
    t.deepEqual(verdicts(), ['running 0', 'running 0']);
    act('unblock', 'stop');
    await becomes(5999, 'dropped', 'the service stops');
    t.deepEqual(verdicts(), ['running 0', 'stopped 3']);
    act('block', 'stop');
    await becomes(5999, 'answered', 'nothing is left behind');
    t.deepEqual(verdicts(), ['stopped 3', 'stopped 3']);

    // heartbeat stops also what never ran, from right to left.
    act('unblock', 'stop');
    act('block', 'stop');
    await becomes(5999, 'answered');
    // Somebody loads his firewall rules again.
    act('block', 'start');
    a.must('sh', '-c', tool === 'nft' ? `${NFT} flush ruleset` : `${IPTABLES.join(' -F && ')} -F`);
    t.deepEqual(verdicts(), ['stopped 3', 'stopped 3']);
    act('block', 'start');
    t.deepEqual(verdicts(), ['running 0', 'stopped 3']);
    // Half of it is taken away: that shows, too, start makes it whole and stop takes the other half.
    const half = tool === 'nft' ? `${NFT} flush table inet ${TABLE}` : '/usr/sbin/ip6tables -F';
    a.must('sh', '-c', half);
    t.deepEqual(verdicts(), ['stopped 3', 'stopped 3']);
    act('block', 'start');
    await becomes(5999, 'dropped');
    a.must('sh', '-c', half);
    act('block', 'stop');
    await becomes(5999, 'answered');
  });
}

test('portblock: two sets of ports, udp, and arguments that are wrong', async (t) => {
  if (!need(t, 'root', 'netns', NFT)) return;
  const room = await Room.open(t);
  const act = (protocol: string, ports: string, action: string): number =>
    room.script('portblock', protocol, ports, 'block', action).status;
  t.deepEqual(
    [act('udp', '53', 'start'), act('tcp', '53', 'start'), act('tcp', '53:54', 'start')],
    [0, 0, 0],
  );
  t.is(act('tcp', '53', 'stop'), 0);
  t.deepEqual(
    [act('udp', '53', 'status'), act('tcp', '53', 'status'), act('tcp', '53:54', 'status')],
    [0, 3, 0],
  );
  t.regex(room.must(NFT, 'list', 'ruleset'), /udp dport (\{ )?53/);
  for (const wrong of [
    ['icmp', '53', 'block'],
    ['tcp', '0', 'block'],
    ['tcp', '65536', 'block'],
    ['tcp', '53,', 'block'],
    ['tcp', '53 drop', 'block'],
    ['tcp', '60:50', 'block'],
    ['tcp', '1:2:3', 'block'],
    ['tcp', '', 'block'],
    ['tcp', '53', 'open'],
    ['tcp', '53'],
  ]) {
    const refused = room.script('portblock', ...wrong, 'start');
    t.is(refused.status, 2, wrong.join(' '));
    t.regex(refused.out, /Usage: portblock/);
  }
});

test('portblock: without nft and iptables a start is refused, a stop goes through', async (t) => {
  if (!need(t, 'root', 'netns')) return;
  const room = await Room.open(t);
  for (const tool of [NFT, ...IPTABLES]) room.run(['mount', '--bind', '/dev/null', tool]);
  const refused = room.script('portblock', 'tcp', '53', 'block', 'start');
  t.is(refused.status, 1);
  t.regex(refused.out, /neither nft nor iptables works here/);
  t.is(room.script('portblock', 'tcp', '53', 'block', 'status').out, 'stopped\n');
  for (const what of ['unblock', 'block']) {
    t.is(room.script('portblock', 'tcp', '53', what, 'stop').status, 0, what);
  }
});

test('Delay waits once, in start and in stop', async (t) => {
  if (!need(t, 'root', 'netns')) return;
  const room = await Room.open(t);
  const timed = (action: string): number => {
    const begin = performance.now();
    t.is(room.script('Delay', '2', '3', action).status, 0, action);
    return performance.now() - begin;
  };
  t.deepEqual(room.script('Delay', '2', '3', 'status'), { status: 3, out: 'stopped\n' });
  t.true(timed('stop') < 2_000, 'what never ran stops at once');
  t.true(timed('start') >= 2_000);
  t.true(timed('start') < 2_000, 'start again');
  t.deepEqual(room.script('Delay', '2', '3', 'status'), { status: 0, out: 'running\n' });
  t.deepEqual(room.script('Delay', '2', '3', 'monitor'), { status: 0, out: 'running\n' });
  t.is(room.script('Delay', '2', '4', 'status').status, 3, 'another one');
  t.true(timed('stop') >= 3_000);
  t.true(timed('stop') < 2_000, 'stop again');
  t.is(room.script('Delay', '2', '3', 'status').status, 3);
  for (const wrong of [['x'], ['1.2.3'], ['.'], ['-1'], ['1', '2', '3']]) {
    t.is(room.script('Delay', ...wrong, 'start').status, 2, wrong.join(' '));
  }
});

test('a start of Delay that is killed has not started', async (t) => {
  if (!need(t, 'root', 'netns')) return;
  const room = await Room.open(t);
  const child = room.spawn([script('Delay'), '1000', 'start']);
  t.true(await until(() => room.run(['pgrep', '-x', 'sleep']).status === 0));
  room.must('pkill', '-KILL', '-f', 'Delay 1000 start');
  await once(child, 'exit');
  t.is(room.script('Delay', '1000', 'status').out, 'stopped\n');
});
