/** IPaddr between network namespaces: two nodes and a client on one virtual cable (a bridge). */
import test, { type ExecutionContext } from 'ava';
import { need } from '../support/need.js';
import { judged, Room, until } from './room.js';

const IP = '10.93.0.10';
const WANTS = ['root', 'netns', 'ip', 'ping'];

async function lan(t: ExecutionContext) {
  const client = await Room.open(t);
  client.must('ip', 'link', 'add', 'br0', 'type', 'bridge');
  client.must('ip', 'addr', 'add', '10.93.0.3/24', 'dev', 'br0');
  client.must('ip', 'link', 'set', 'br0', 'up');
  const nodes: Room[] = [];
  for (const n of [1, 2]) {
    const node = await Room.open(t);
    client.wire(`port${n}`, node, 'eth0');
    client.must('ip', 'link', 'set', `port${n}`, 'master', 'br0', 'up');
    node.must('ip', 'addr', 'add', `10.93.0.${n}/24`, 'dev', 'eth0');
    node.must('ip', 'link', 'set', 'eth0', 'up');
    nodes.push(node);
  }
  const [a, b] = nodes;
  if (!a || !b) throw new Error('two nodes');
  for (const [n, node] of nodes.entries()) {
    // A bridge port forwards a moment after it came up.
    t.true(await until(() => node.run(['ping', '-c1', '-W1', '10.93.0.3']).status === 0), `${n}`);
  }
  return { client, a, b };
}

function mac(room: Room): string {
  return /link\/ether (\S+)/.exec(room.must('ip', '-o', 'link', 'show', 'eth0'))?.[1] ?? '?';
}
/** Whom the client takes for the owner of the service address. */
function owner(client: Room): string {
  return /lladdr (\S+)/.exec(client.must('ip', 'neigh', 'show', 'to', IP))?.[1] ?? '';
}

test('a take-over reaches a client that says nothing itself', async (t) => {
  if (!need(t, ...WANTS, 'arping')) return;
  const { client, a, b } = await lan(t);
  t.is(judged(a.script('IPaddr', IP, 'status').out), 'stopped');
  t.is(a.script('IPaddr', IP, 'status').status, 3);
  t.is(a.script('IPaddr', IP, 'stop').status, 0, 'stop of what never ran succeeds');
  const begin = Date.now();
  t.is(a.script('IPaddr', IP, 'start').status, 0);
  t.log(`start: ${Date.now() - begin} ms`);
  t.is(a.script('IPaddr', IP, 'start').status, 0);
  t.is(judged(a.script('IPaddr', IP, 'status').out), 'running');
  // Interface and mask come from the route; the label is the one ifconfig shows.
  t.regex(
    a.must('ip', '-o', 'addr', 'show', 'to', IP),
    /eth0 +inet 10\.93\.0\.10\/24 brd 10\.93\.0\.255 scope global secondary eth0:0/,
  );
  client.must('ping', '-c1', '-W2', IP);
  t.is(owner(client), mac(a));

  t.is(a.script('IPaddr', IP, 'stop').status, 0);
  t.is(judged(a.script('IPaddr', IP, 'status').out), 'stopped');
  t.is(b.script('IPaddr', IP, 'start').status, 0);
  t.true(await until(() => owner(client) === mac(b)));
  client.must('ping', '-c1', '-W2', IP);
});

test('an address that somebody answers for is not taken', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { a, b } = await lan(t);
  t.is(a.script('IPaddr', IP, 'start').status, 0);
  const refused = b.script('IPaddr', IP, 'start');
  t.is(refused.status, 1);
  t.true(refused.out.includes(`${IP} is in use: ${mac(a)} answers for it on eth0`), refused.out);
  t.is(judged(b.script('IPaddr', IP, 'status').out), 'stopped');
  // The node that had it is cut off: now it is free.
  a.must('ip', 'link', 'set', 'eth0', 'down');
  t.is(b.script('IPaddr', IP, 'start').status, 0);
});

test('without arping the kernel announces', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { client, a, b } = await lan(t);
  for (const node of [a, b]) {
    node.run([
      'sh',
      '-c',
      'for p in $(command -v -p arping); do mount --bind /dev/null "$p"; done',
    ]);
    t.not(node.run(['sh', '-c', 'command -v arping']).status, 0);
  }
  t.is(a.script('IPaddr', IP, 'start').status, 0);
  client.must('ping', '-c1', '-W2', IP);
  a.script('IPaddr', IP, 'stop');
  t.is(b.script('IPaddr', IP, 'start').status, 0);
  t.true(await until(() => owner(client) === mac(b)));
});

test('the argument in all its forms', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { a } = await lan(t);
  for (const [argument, shown] of [
    ['10.93.0.20/24', /10\.93\.0\.20\/24 brd 10\.93\.0\.255 .*eth0:0\\/],
    ['10.93.0.21/255.255.255.0/eth0', /10\.93\.0\.21\/24 brd 10\.93\.0\.255/],
    ['10.93.0.22/24/eth0/10.93.0.254', /10\.93\.0\.22\/24 brd 10\.93\.0\.254/],
    ['10.93.0.23/24/10.93.0.253', /10\.93\.0\.23\/24 brd 10\.93\.0\.253/],
    ['10.93.0.24/32/eth0:db', /10\.93\.0\.24\/32 .*eth0:db\\/],
    ['10.94.0.1/16/eth0', /10\.94\.0\.1\/16 brd 10\.94\.255\.255/],
  ] as const) {
    const started = a.script('IPaddr', argument, 'start');
    t.is(started.status, 0, started.out);
    const ip = argument.split('/')[0] ?? '';
    t.regex(a.must('ip', '-o', 'addr', 'show', 'to', ip), shown, argument);
    t.is(judged(a.script('IPaddr', argument, 'status').out), 'running');
    t.is(a.script('IPaddr', argument, 'stop').status, 0);
    t.is(a.must('ip', '-o', 'addr', 'show', 'to', ip), '', argument);
  }
  // The node's own address is still there.
  t.regex(a.must('ip', '-o', 'addr', 'show'), /10\.93\.0\.1\/24/);
  for (const [argument, status, words] of [
    ['10.93.0.300', 2, /not an IPv4 address/],
    ['10.93.0.25/33', 1, /not a netmask/],
    ['10.93.0.25/255.0.255.0', 1, /not a netmask/],
    ['10.93.0.25/24/eth9', 1, /eth9 is missing or down/],
    ['192.0.2.1', 1, /no interface has a route/],
  ] as const) {
    const refused = a.script('IPaddr', argument, 'start');
    t.is(refused.status, status, argument);
    t.regex(refused.out, words);
  }
});

test('stop of the first address of a network leaves the others', async (t) => {
  if (!need(t, ...WANTS)) return;
  const { a } = await lan(t);
  a.must('ip', 'addr', 'flush', 'dev', 'eth0');
  a.must('ip', 'addr', 'add', `${IP}/24`, 'dev', 'eth0');
  a.must('ip', 'addr', 'add', '10.93.0.1/24', 'dev', 'eth0');
  t.is(a.script('IPaddr', IP, 'stop').status, 0);
  t.regex(a.must('ip', '-o', 'addr', 'show', 'dev', 'eth0'), /10\.93\.0\.1\/24/);
});
