/** IPv6addr between network namespaces: the kernel's duplicate address detection, neighbour advertisements, carrier. */
import test from 'ava';
import { need } from '../support/need.js';
import { LAN_WANTS, lan, mac, mislead, owner, shown } from './lan.js';
import { judged, script, until } from './room.js';

const IP = 'fd93::100';
const SEND_UA = '/usr/libexec/heartbeat/send_ua';
const LINE = 'eth0 inet6 fd93::100/64 scope global';

for (const how of ['send_ua', 'the kernel'] as const) {
  test(`a take-over reaches a client that says nothing itself: ${how}`, async (t) => {
    if (!need(t, ...LAN_WANTS, ...(how === 'send_ua' ? [SEND_UA] : []))) return;
    const { client, a, b } = await lan(t, 'usual');
    if (how !== 'send_ua') {
      for (const node of [a, b]) node.run(['mount', '--bind', '/dev/null', SEND_UA]);
    }
    t.deepEqual(a.script('IPv6addr', IP, 'status'), { status: 3, out: 'stopped\n' });
    t.is(a.script('IPv6addr', IP, 'stop').status, 0, 'stop of what never ran succeeds');
    const begin = Date.now();
    t.is(a.script('IPv6addr', IP, 'start').status, 0);
    t.log(`start: ${Date.now() - begin} ms`);
    t.is(shown(a, IP), LINE, 'no longer tentative');
    t.is(a.script('IPv6addr', IP, 'start').status, 0, 'start again');
    t.deepEqual(a.script('IPv6addr', IP, 'status'), { status: 0, out: 'running\n' });
    client.must('ping', '-c1', '-W2', IP);
    t.is(owner(client, IP), mac(a));

    t.is(a.script('IPv6addr', IP, 'stop').status, 0);
    t.is(a.script('IPv6addr', IP, 'stop').status, 0, 'stop again');
    t.is(judged(a.script('IPv6addr', IP, 'status').out), 'stopped');
    t.is(b.script('IPv6addr', IP, 'start').status, 0);
    t.true(await until(() => owner(client, IP) === mac(b)));
    client.must('ping', '-c1', '-W2', IP);

    // And later, when the client has come to believe in somebody else.
    t.is(a.script('IPv6addr', IP, 'announce').status, 1);
    mislead(client, IP);
    t.is(b.script('IPv6addr', IP, 'announce').status, 0);
    t.true(await until(() => owner(client, IP) === mac(b)));
    t.is(b.must('cat', '/proc/sys/net/ipv6/conf/eth0/ndisc_notify'), '0\n', 'as it was');
  });
}

test('an address that somebody has is not taken', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { client, a, b } = await lan(t);
  t.is(a.script('IPv6addr', IP, 'start').status, 0);
  for (const acceptDad of ['1', '0']) {
    // A kernel that is told not to look is made to, for this address.
    for (const conf of ['all', 'eth0']) {
      b.must('sh', '-c', `echo ${acceptDad} >/proc/sys/net/ipv6/conf/${conf}/accept_dad`);
    }
    const refused = b.script('IPv6addr', IP, 'start');
    t.is(refused.status, 1, refused.out);
    t.regex(refused.out, /fd93::100 is in use: somebody else answers for it on eth0/);
    t.is(shown(b, IP), '', 'and is not left behind');
    t.is(b.must('cat', '/proc/sys/net/ipv6/conf/eth0/accept_dad').trim(), acceptDad);
  }
  t.is(shown(a, IP), LINE);
  client.must('ping', '-c1', '-W2', IP);
  // Whoever insists, and the node that had it being cut off.
  t.is(b.run([script('IPv6addr'), IP, 'start'], { DUPLICATE_CHECK: 'no' }).status, 0);
  t.is(b.script('IPv6addr', IP, 'stop').status, 0);
  a.must('ip', 'link', 'set', 'eth0', 'down');
  t.is(b.script('IPv6addr', IP, 'start').status, 0);
});

test('an address that the kernel found elsewhere is stopped, and goes', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a, b } = await lan(t);
  t.is(a.script('IPv6addr', IP, 'start').status, 0);
  const failed = async (): Promise<void> => {
    b.must('ip', 'addr', 'add', `${IP}/64`, 'dev', 'eth0');
    t.true(await until(() => /dadfailed/.test(shown(b, IP))));
  };
  await failed();
  t.is(b.script('IPv6addr', IP, 'status').status, 3);
  const monitored = b.script('IPv6addr', IP, 'monitor');
  t.is(monitored.status, 3);
  t.regex(monitored.out, /somebody else has fd93::100 on eth0/);
  t.is(b.script('IPv6addr', IP, 'start').status, 1);
  t.is(shown(b, IP), '');
  await failed();
  t.is(b.script('IPv6addr', IP, 'stop').status, 0);
  t.is(shown(b, IP), '');
  await failed();
  t.is(a.script('IPv6addr', IP, 'stop').status, 0);
  t.is(b.script('IPv6addr', IP, 'start').status, 0, 'asked for anew');
  t.is(shown(b, IP), LINE);
});

test('a start finds one that was broken off, and waits for the answer', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a, b } = await lan(t);
  t.is(a.script('IPv6addr', IP, 'start').status, 0);
  b.must('ip', 'addr', 'add', `${IP}/64`, 'dev', 'eth0');
  t.regex(shown(b, IP), /tentative/);
  t.is(b.script('IPv6addr', IP, 'start').status, 1);
  t.is(shown(b, IP), '');
});

test('monitor sees that the cable is out; a start without one says so', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { client, a } = await lan(t);
  t.is(a.script('IPv6addr', IP, 'start').status, 0);
  t.deepEqual(a.script('IPv6addr', IP, 'monitor'), { status: 0, out: 'running\n' });
  client.must('ip', 'link', 'set', 'port1', 'down');
  t.true(await until(() => a.script('IPv6addr', IP, 'monitor').status === 1));
  t.is(a.script('IPv6addr', IP, 'monitor').out, 'no carrier on eth0\n');
  t.is(a.script('IPv6addr', IP, 'status').status, 0);
  t.is(a.script('IPv6addr', IP, 'stop').status, 0);
  const refused = a.run([script('IPv6addr'), IP, 'start'], { NO_CARRIER: 'refuse' });
  t.is(refused.status, 1);
  const taken = a.script('IPv6addr', IP, 'start');
  t.is(taken.status, 0);
  t.regex(taken.out, /no carrier on eth0: nobody could be asked for fd93::100/);
  t.is(a.script('IPv6addr', IP, 'status').status, 0);
});

test('the argument in all its forms', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a } = await lan(t);
  a.must('ip', 'route', 'add', 'default', 'via', 'fd93::3');
  for (const [args, line] of [
    [['fd93:0:0:0:0:0:0:200'], 'eth0 inet6 fd93::200/64 scope global'],
    [['fd93::201/80'], 'eth0 inet6 fd93::201/80 scope global'],
    [['fd95::1/48/eth0'], 'eth0 inet6 fd95::1/48 scope global'],
    [['fd93::202/128/eth0'], 'eth0 inet6 fd93::202/128 scope global'],
    // As haresources hands over IPv6addr::fd93::203/64/eth0.
    [['fd93', '203/64/eth0'], 'eth0 inet6 fd93::203/64 scope global'],
  ] as const) {
    const ip = args.join('::').split('/')[0] ?? '';
    const started = a.script('IPv6addr', ...args, 'start');
    t.is(started.status, 0, started.out);
    t.is(shown(a, ip), line);
    t.is(a.script('IPv6addr', ...args, 'status').out, 'running\n');
    t.is(a.script('IPv6addr', ...args, 'stop').status, 0);
    t.is(shown(a, ip), '');
  }
  t.is(shown(a, 'fd93::1'), 'eth0 inet6 fd93::1/64 scope global');
  for (const [argument, status, words] of [
    ['10.93.0.10', 2, /10\.93\.0\.10 is not an IPv6 address/],
    ['fd93:::1', 2, /not an IPv6 address/],
    ['fd93::12345', 2, /not an IPv6 address/],
    ['fd93::9/129', 1, /129 is not a netmask/],
    ['fd93::9/x', 1, /x is not a netmask/],
    ['fd93::9/64/eth9', 1, /eth9 is missing or down/],
    ['fd96::1', 1, /only the default route leads to fd96::1: name its mask/],
    ['fd93::9/64/eth0:one', 1, /neither label nor broadcast/],
    ['fd93::9/64/eth0/1/2', 2, /Usage/],
  ] as const) {
    const refused = a.script('IPv6addr', argument, 'start');
    t.is(refused.status, status, argument);
    t.regex(refused.out, words);
  }
  t.is(a.script('IPv6addr', IP, 'restart').status, 2);
});

// The program of Debian's resource-agents, where it is installed.
test("the same address as from Debian's IPv6addr", async (t) => {
  const theirs = '/etc/ha.d/resource.d/IPv6addr';
  if (!need(t, ...LAN_WANTS, theirs, '/usr/lib/ocf/resource.d/heartbeat/IPv6addr')) return;
  const { a } = await lan(t);
  a.must('mount', '-t', 'tmpfs', 'tmpfs', '/var/log');
  a.must('mkdir', '-p', '/run/resource-agents');
  for (const argument of ['fd93::130', 'fd93::131/64', 'fd93::132/64/eth0']) {
    const ip = argument.split('/')[0] ?? '';
    const original = a.run([theirs, argument, 'start']);
    t.is(original.status, 0, original.out);
    t.true(await until(() => !/tentative/.test(shown(a, ip))));
    const line = shown(a, ip);
    t.regex(line, new RegExp(ip));
    a.must('ip', 'addr', 'del', `${ip}/${/\/(\d+)/.exec(line)?.[1]}`, 'dev', 'eth0');
    t.is(a.script('IPv6addr', argument, 'start').status, 0);
    t.is(shown(a, ip), line, argument);
  }
});
