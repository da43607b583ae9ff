/** IPaddr2, SendArp and IPsrcaddr between network namespaces; and what all address scripts have in common. */
import { copyFileSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { command } from '../support/command.js';
import { need } from '../support/need.js';
import { LAN_WANTS, lan, mac, mislead, owner, shown } from './lan.js';
import { Room, script, until } from './room.js';

const IP = '10.93.0.10';
const SCRIPTS = ['IPaddr', 'IPaddr2', 'IPv6addr', 'IPsrcaddr', 'SendArp', 'portblock', 'Delay'];
const SEND_ARP = '/usr/libexec/heartbeat/send_arp';

test('each is executable, and shellcheck has nothing to say', async (t) => {
  for (const name of SCRIPTS) t.is(statSync(script(name)).mode & 0o111, 0o111, name);
  if (!need(t, 'shellcheck')) return;
  const files = [...SCRIPTS, '.addresses'].map(script);
  const { code, stdout } = await command('shellcheck', '-x', ...files);
  t.is(code, 0, stdout);
});

test('`make install` brings them with their common part', async (t) => {
  if (!need(t, 'root', 'netns')) return;
  const [, copied = ''] =
    /^\tcp -a (.*) \$\(DESTDIR\)/m.exec(readFileSync('Makefile', 'utf8')) ?? [];
  t.true(copied.split(' ').includes('resource.d'), 'the whole directory');
  const room = await Room.open(t);
  room.must('cp', '-a', join(process.cwd(), 'resource.d'), room.dir);
  for (const name of SCRIPTS) {
    t.regex(room.run([join(room.dir, 'resource.d', name)]).out, new RegExp(`^Usage: ${name} `));
  }
});

test('linked from elsewhere they find their common part, copied they say what is wrong', async (t) => {
  if (!need(t, 'root', 'netns')) return;
  const room = await Room.open(t);
  for (const name of SCRIPTS) {
    const link = join(room.dir, `link-${name}`);
    room.must('ln', '-s', script(name), link);
    const usage = room.run([link]);
    t.is(usage.status, 2, name);
    t.regex(usage.out, new RegExp(`^Usage: ${name} `), name);
    copyFileSync(script(name), join(room.dir, name));
    const copied = room.run([join(room.dir, name), '10.93.0.10', 'status']);
    t.is(copied.status, 1, name);
    t.regex(copied.out, /\.addresses is missing: link the script, do not copy it/, name);
  }
});

test('IPaddr2: a take-over, an owner who answers, the carrier', async (t) => {
  if (!need(t, ...LAN_WANTS, 'arping')) return;
  const { client, a, b } = await lan(t);
  t.deepEqual(a.script('IPaddr2', IP, 'status'), { status: 3, out: 'stopped\n' });
  t.is(a.script('IPaddr2', IP, 'stop').status, 0);
  t.is(a.script('IPaddr2', IP, 'start').status, 0);
  t.is(a.script('IPaddr2', IP, 'start').status, 0, 'start again');
  t.deepEqual(a.script('IPaddr2', IP, 'status'), { status: 0, out: 'running\n' });
  client.must('ping', '-c1', '-W2', IP);
  t.is(owner(client, IP), mac(a));
  const refused = b.script('IPaddr2', IP, 'start');
  t.is(refused.status, 1);
  t.true(refused.out.includes(`${IP} is in use: ${mac(a)} answers for it on eth0`), refused.out);
  t.is(shown(b, IP), '');
  t.is(a.script('IPaddr2', IP, 'stop').status, 0);
  t.is(a.script('IPaddr2', IP, 'stop').status, 0, 'stop again');
  t.is(b.script('IPaddr2', IP, 'start').status, 0);
  t.true(await until(() => owner(client, IP) === mac(b)));
  mislead(client, IP);
  t.is(b.script('IPaddr2', IP, 'announce').status, 0);
  t.true(await until(() => owner(client, IP) === mac(b)));
  t.deepEqual(b.script('IPaddr2', IP, 'monitor'), { status: 0, out: 'running\n' });
  client.must('ip', 'link', 'set', 'port2', 'down');
  t.true(await until(() => b.script('IPaddr2', IP, 'monitor').status === 1));
  t.is(b.script('IPaddr2', IP, 'monitor').out, 'no carrier on eth0\n');
});

// The new owner has announced himself by then: a late word of the old one would send the clients back to him.
for (const [name, argument] of [
  ['IPaddr', IP],
  ['IPv6addr', 'fd93::100'],
  ['SendArp', `${IP}/eth0`],
] as const) {
  test(`${name}: nothing is announced after stop`, async (t) => {
    if (!need(t, ...LAN_WANTS, SEND_ARP)) return;
    const ip = argument.split('/')[0] ?? '';
    const { client, a } = await lan(t);
    mislead(client, ip);
    t.is(a.run([script(name), argument, 'start'], { ANNOUNCE_TIMES: '1000' }).status, 0);
    t.true(await until(() => owner(client, ip) === mac(a)));
    // Between two announcements, in the background.
    t.true(await until(() => a.run(['pgrep', '-x', 'sleep']).status === 0));
    t.is(a.script(name, argument, 'stop').status, 0);
    mislead(client, ip);
    t.true(await until(() => a.run(['pgrep', '-f', `/${name} `]).status === 1));
    t.is(owner(client, ip), '02:00:00:00:00:99');
  });
}

test('IPaddr2: IPv6 as IPv6addr', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a, b } = await lan(t);
  t.is(a.script('IPaddr2', 'fd93::100/64/eth0', 'start').status, 0);
  t.is(shown(a, 'fd93::100'), 'eth0 inet6 fd93::100/64 scope global');
  const refused = b.script('IPaddr2', 'fd93', '100', 'start'); // cut by haresources
  t.is(refused.status, 1);
  t.regex(refused.out, /fd93::100 is in use/);
  t.is(a.script('IPaddr2', 'fd93::100', 'stop').status, 0);
  t.is(b.script('IPaddr2', 'fd93', '100', 'start').status, 0);
  t.is(b.script('IPaddr2', 'fd93', '100', 'status').out, 'running\n');
});

// The script of Debian's resource-agents beside ours, as far as it is installed: what it makes of its argument.
test("IPaddr2: the same address as from Debian's", async (t) => {
  const theirs = '/etc/ha.d/resource.d/IPaddr2';
  if (!need(t, ...LAN_WANTS, theirs, '/usr/lib/ocf/resource.d/heartbeat/IPaddr2')) return;
  const { a } = await lan(t);
  a.must('mount', '-t', 'tmpfs', 'tmpfs', '/var/log');
  a.must('mkdir', '-p', '/run/resource-agents');
  for (const [argument, line] of [
    ['10.93.0.110', 'eth0 inet 10.93.0.110/24 brd 10.93.0.255 scope global secondary eth0'],
    ['10.93.0.111/24/eth0', 'eth0 inet 10.93.0.111/24 brd 10.93.0.255 scope global secondary eth0'],
    [
      '10.93.0.112/24/eth0:lbl/10.93.0.255',
      'eth0 inet 10.93.0.112/24 brd 10.93.0.255 scope global secondary eth0:lbl',
    ],
    [
      '10.93.0.113/24/eth0/10.93.0.254',
      'eth0 inet 10.93.0.113/24 brd 10.93.0.254 scope global secondary eth0',
    ],
  ] as const) {
    const ip = argument.split('/')[0] ?? '';
    for (const program of [theirs, script('IPaddr2')]) {
      const started = a.run([program, argument, 'start'], { ARP_BACKGROUND: 'yes' });
      t.is(started.status, 0, started.out);
      t.is(shown(a, ip), line, program);
      // Whoever of the two is asked sees, and takes away, what the other one took.
      t.is(a.run([theirs, argument, 'status']).status, 0, program);
      t.is(a.script('IPaddr2', argument, 'status').status, 0, program);
      t.is(a.run([program === theirs ? script('IPaddr2') : theirs, argument, 'stop']).status, 0);
      t.is(shown(a, ip), '', program);
    }
  }
});

test('IPaddr2: an address on lo gives way and comes back', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a } = await lan(t);
  a.must('ip', 'addr', 'add', `${IP}/32`, 'dev', 'lo');
  t.is(a.script('IPaddr2', `${IP}/24/eth0`, 'status').status, 3);
  t.is(a.script('IPaddr2', `${IP}/24/eth0`, 'start').status, 0);
  t.regex(shown(a, IP), /^eth0 inet 10\.93\.0\.10\/24 .*eth0$/);
  t.is(a.script('IPaddr2', `${IP}/24/eth0`, 'stop').status, 0);
  t.is(shown(a, IP), `lo inet ${IP}/32 scope global lo`);
  t.is(a.script('IPaddr2', `${IP}/24/eth0`, 'stop').status, 0, 'stop again');
  t.is(shown(a, IP), `lo inet ${IP}/32 scope global lo`);
});

// After a heal heartbeat asks for it while the group runs, and the address, of another group, may have gone to the other node meanwhile.
test('SendArp: what is not here and somebody answers for is not announced again', async (t) => {
  if (!need(t, ...LAN_WANTS, SEND_ARP)) return;
  const { client, a, b } = await lan(t);
  const announce = () =>
    a.run([script('SendArp'), `${IP}/eth0`, 'announce'], { ANNOUNCE_TIMES: '1' });
  const isQuiet = () => a.run(['pgrep', '-f', '/SendArp ']).status === 1;
  t.is(a.run([script('SendArp'), `${IP}/eth0`, 'start'], { ANNOUNCE_TIMES: '1' }).status, 0);
  t.true(await until(isQuiet));
  mislead(client, IP);
  t.is(announce().status, 0);
  t.true(await until(() => owner(client, IP) === mac(a)));
  t.true(await until(isQuiet));

  b.must('ip', 'addr', 'add', `${IP}/24`, 'dev', 'eth0');
  mislead(client, IP);
  const refused = announce();
  t.true(await until(isQuiet));
  t.is(owner(client, IP), '02:00:00:00:00:99');
  t.is(refused.status, 1);
  t.regex(refused.out, new RegExp(`${IP} is in use: ${mac(b)} answers for it on eth0`));
});

test('SendArp announces an address that is served elsewhere on this machine', async (t) => {
  if (!need(t, ...LAN_WANTS, 'arping')) return;
  const { client, a } = await lan(t);
  const argument = `${IP}/eth0`;
  a.must('ip', 'addr', 'add', `${IP}/32`, 'dev', 'lo');
  t.deepEqual(a.script('SendArp', argument, 'status'), { status: 3, out: 'stopped\n' });
  t.is(a.script('SendArp', argument, 'stop').status, 0);
  t.is(a.script('SendArp', argument, 'announce').status, 1);
  mislead(client, IP);
  t.is(a.script('SendArp', argument, 'start').status, 0);
  t.true(await until(() => owner(client, IP) === mac(a)));
  t.is(a.script('SendArp', argument, 'start').status, 0, 'start again');
  t.is(shown(a, IP), `lo inet ${IP}/32 scope global lo`, 'it takes nothing');
  t.deepEqual(a.script('SendArp', argument, 'status'), { status: 0, out: 'running\n' });
  mislead(client, IP);
  t.is(a.script('SendArp', argument, 'announce').status, 0);
  t.true(await until(() => owner(client, IP) === mac(a)));
  client.must('ip', 'link', 'set', 'port1', 'down');
  t.true(await until(() => a.script('SendArp', argument, 'monitor').status === 1));
  t.is(a.script('SendArp', argument, 'monitor').out, 'no carrier on eth0\n');
  t.is(a.script('SendArp', argument, 'stop').status, 0);
  t.is(a.script('SendArp', argument, 'status').status, 3);
  for (const [wrong, words] of [
    [IP, /Usage/],
    ['10.93.0.300/eth0', /not an IPv4 address/],
    [`${IP}/eth0/24`, /Usage/],
  ] as const) {
    const refused = a.script('SendArp', wrong, 'start');
    t.is(refused.status, 2, wrong);
    t.regex(refused.out, words);
  }
  t.regex(a.script('SendArp', `${IP}/eth9`, 'start').out, /eth9 is missing or down/);
});

test('SendArp does not take an address away from its owner', async (t) => {
  if (!need(t, ...LAN_WANTS, SEND_ARP)) return;
  const { client, a, b } = await lan(t);
  t.is(b.script('IPaddr', IP, 'start').status, 0);
  client.must('ping', '-c1', '-W2', IP);
  const refused = a.script('SendArp', `${IP}/eth0`, 'start');
  t.is(refused.status, 1);
  t.true(refused.out.includes(`${IP} is in use: ${mac(b)} answers for it on eth0`), refused.out);
  t.is(a.script('SendArp', `${IP}/eth0`, 'status').status, 3);
  t.is(owner(client, IP), mac(b));
  t.is(b.script('IPaddr', IP, 'stop').status, 0);
  mislead(client, IP);
  t.is(a.script('SendArp', `${IP}/eth0`, 'start').status, 0);
  t.true(await until(() => owner(client, IP) === mac(a)));
  // Without the program that can, it says so.
  t.is(a.script('SendArp', `${IP}/eth0`, 'stop').status, 0);
  a.must('mount', '--bind', '/dev/null', SEND_ARP);
  const unable = a.script('SendArp', `${IP}/eth0`, 'start');
  t.is(unable.status, 1);
  t.regex(unable.out, /not on this machine, and there is no send_arp/);
});

test('IPsrcaddr: what the machine sends has the address, near and far, until stop', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a } = await lan(t);
  const source = (to: string): string =>
    / src (\S+)/.exec(a.must('ip', '-4', 'route', 'get', to))?.[1] ?? '';
  const act = (action: string, status: number): string => {
    const ran = a.script('IPsrcaddr', IP, action);
    t.is(ran.status, status, `${action}: ${ran.out}`);
    return ran.out;
  };
  t.is(act('status', 3), 'stopped\n');
  act('stop', 0);
  t.regex(act('start', 1), /10\.93\.0\.10 is not on this machine: write IPsrcaddr right of/);
  t.is(a.script('IPaddr2', IP, 'start').status, 0);
  t.regex(act('start', 1), /no default route over eth0/);
  const far = ['default', 'via', '10.93.0.3', 'proto', 'dhcp', 'metric', '100'];
  a.must('ip', 'route', 'add', ...far, 'src', '10.93.0.1');
  const before = a.must('ip', '-4', 'route');

  act('start', 0);
  t.is(act('status', 0), 'running\n');
  t.is(act('monitor', 0), 'running\n');
  t.deepEqual([source('192.0.2.1'), source('10.93.0.3')], [IP, IP]);
  t.is(a.must('ip', '-4', 'route'), before.replaceAll('src 10.93.0.1 ', `src ${IP} `));
  act('start', 0);
  act('stop', 0);
  t.is(a.must('ip', '-4', 'route'), before);
  t.is(act('status', 3), 'stopped\n');
  act('stop', 0);

  // The second try of a start; a route to the network that the kernel made anew.
  act('start', 0);
  a.must('ip', 'route', 'change', ...far, 'src', '10.93.0.1');
  t.is(act('status', 3), 'stopped\n');
  act('start', 0);
  a.must(
    ...'ip route change 10.93.0.0/24 dev eth0 proto kernel scope link src 10.93.0.1'.split(' '),
  );
  t.is(act('status', 0), 'running\n');
  t.is(act('monitor', 1), 'the route to 10.93.0.0/24 has another source address\n');
  // A gateway that changed meanwhile stays; without its notes stop takes the machine's own address.
  a.must('ip', 'route', 'del', ...far);
  a.must('ip', 'route', 'add', 'default', 'via', '10.93.0.2', 'src', IP);
  a.must('rm', '-r', '/run/twinbeat/resources');
  act('stop', 0);
  t.deepEqual([source('192.0.2.1'), source('10.93.0.3')], ['10.93.0.1', '10.93.0.1']);
  t.regex(a.must('ip', 'route'), /default via 10\.93\.0\.2 dev eth0 \n/);

  a.must('ip', 'route', 'add', 'default', 'via', '10.93.0.3', 'metric', '7');
  t.regex(act('start', 1), /more than one default route over eth0/);
  for (const wrong of ['10.93.0.300', `${IP}/24`, 'fd93::1']) {
    t.is(a.script('IPsrcaddr', wrong, 'start').status, 2, wrong);
  }
});

test('IPsrcaddr under a cable that is out: stop still works', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { client, a } = await lan(t);
  a.must('ip', 'route', 'add', 'default', 'via', '10.93.0.3');
  t.is(a.script('IPaddr2', IP, 'start').status, 0);
  t.is(a.script('IPsrcaddr', IP, 'start').status, 0);
  client.must('ip', 'link', 'set', 'port1', 'down');
  t.true(await until(() => /linkdown/.test(a.must('ip', 'route'))));
  t.is(a.script('IPsrcaddr', IP, 'stop').status, 0);
  t.notRegex(a.must('ip', 'route'), /src 10\.93\.0\.10\b/);
  t.is(a.script('IPaddr2', IP, 'stop').status, 0);
  t.regex(a.must('ip', 'route'), /^default via 10\.93\.0\.3/, 'the default route is still there');
});
