/** IPaddr between network namespaces: two nodes and a client on one virtual cable (a bridge). */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { need } from '../support/need.js';
import { LAN_WANTS, lan, mac, mislead, owner, shown, without } from './lan.js';
import { judged, script, until } from './room.js';

const IP = '10.93.0.10';

test('a take-over reaches a client that says nothing itself', async (t) => {
  if (!need(t, ...LAN_WANTS, 'arping')) return;
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
  t.is(owner(client, IP), mac(a));

  t.is(a.script('IPaddr', IP, 'stop').status, 0);
  t.is(judged(a.script('IPaddr', IP, 'status').out), 'stopped');
  t.is(b.script('IPaddr', IP, 'start').status, 0);
  t.true(await until(() => owner(client, IP) === mac(b)));
  client.must('ping', '-c1', '-W2', IP);
});

test('an address that somebody answers for is not taken', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
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

// The wait is for the owner's answer. It does not last longer on a machine on which looking for it takes long.
test('the question for an owner takes as long as configured, by the clock', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a } = await lan(t);
  const slow = join(a.dir, 'ip');
  writeFileSync(
    slow,
    `#!/bin/sh\ncase "$1 $2" in "neigh show") echo >>${a.dir}/looks; sleep 0.1 ;; esac\nexec ${a.dir}/real-ip "$@"\n`,
    { mode: 0o755 },
  );
  a.must(
    'sh',
    '-c',
    `ip=$(command -v ip) && cp -L "$ip" ${a.dir}/real-ip && mount --bind ${slow} "$ip"`,
  );
  t.is(a.run([script('IPaddr'), IP, 'start'], { DUPLICATE_WAIT_MS: '250' }).status, 0);
  // The time is over with the second or third: four are looked at however long each takes.
  t.is(readFileSync(join(a.dir, 'looks'), 'utf8').length, 4);
});

test('without arping the kernel announces', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { client, a, b } = await lan(t);
  for (const node of [a, b]) without(t, node, 'arping');
  t.is(a.script('IPaddr', IP, 'start').status, 0);
  client.must('ping', '-c1', '-W2', IP);
  a.script('IPaddr', IP, 'stop');
  t.is(b.script('IPaddr', IP, 'start').status, 0);
  t.true(await until(() => owner(client, IP) === mac(b)));
});

test('the argument in all its forms', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
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
  if (!need(t, ...LAN_WANTS)) return;
  const { a } = await lan(t);
  a.must('ip', 'addr', 'flush', 'dev', 'eth0');
  a.must('ip', 'addr', 'add', `${IP}/24`, 'dev', 'eth0');
  a.must('ip', 'addr', 'add', '10.93.0.1/24', 'dev', 'eth0');
  t.is(a.script('IPaddr', IP, 'stop').status, 0);
  t.regex(a.must('ip', '-o', 'addr', 'show', 'dev', 'eth0'), /10\.93\.0\.1\/24/);
});

// What Debian's IPaddr made of these arguments, recorded.
const RECORDED = [
  ['10.93.0.100', 'eth0 inet 10.93.0.100/24 brd 10.93.0.255 scope global secondary eth0:0'],
  ['10.93.0.101/24', 'eth0 inet 10.93.0.101/24 brd 10.93.0.255 scope global secondary eth0:0'],
  ['10.93.0.102/24/eth0', 'eth0 inet 10.93.0.102/24 brd 10.93.0.255 scope global secondary eth0:0'],
  [
    '10.93.0.103/24/eth0/10.93.0.255',
    'eth0 inet 10.93.0.103/24 brd 10.93.0.255 scope global secondary eth0:0',
  ],
  [
    '10.93.0.104/24/10.93.0.255',
    'eth0 inet 10.93.0.104/24 brd 10.93.0.255 scope global secondary eth0:0',
  ],
  [
    '10.93.0.105/255.255.255.0/eth0',
    'eth0 inet 10.93.0.105/24 brd 10.93.0.255 scope global secondary eth0:0',
  ],
] as const;

test("the same address, mask, broadcast and label as from Debian's script", async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { a } = await lan(t);
  for (const [argument, line] of RECORDED) {
    const ip = argument.split('/')[0] ?? '';
    t.is(a.script('IPaddr', argument, 'start').status, 0, argument);
    t.is(shown(a, ip), line);
    t.is(a.script('IPaddr', argument, 'stop').status, 0);
    t.is(a.script('IPaddr', argument, 'stop').status, 0, 'stop again');
  }
});

for (const arping of ['arping', 'the kernel'] as const) {
  test(`announce tells a client that believes in somebody else: ${arping}`, async (t) => {
    if (!need(t, ...LAN_WANTS, ...(arping === 'arping' ? ['arping'] : []))) return;
    const { client, a } = await lan(t);
    const early = a.script('IPaddr', IP, 'announce');
    t.is(early.status, 1);
    t.regex(early.out, /10\.93\.0\.10 is not here/);
    if (arping !== 'arping') without(t, a, 'arping');
    t.is(a.run(['env', 'ANNOUNCE_TIMES=0', script('IPaddr'), IP, 'start']).status, 0);
    mislead(client, IP);
    t.is(a.script('IPaddr', IP, 'announce').status, 0);
    t.true(await until(() => owner(client, IP) === mac(a)));
  });
}

test('monitor sees that the cable is out, status does not', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { client, a } = await lan(t);
  t.is(a.script('IPaddr', IP, 'monitor').status, 3);
  t.is(a.script('IPaddr', IP, 'start').status, 0);
  t.deepEqual(a.script('IPaddr', IP, 'monitor'), { status: 0, out: 'running\n' });
  client.must('ip', 'link', 'set', 'port1', 'down');
  t.true(await until(() => a.script('IPaddr', IP, 'monitor').status === 1));
  t.deepEqual(a.script('IPaddr', IP, 'monitor'), { status: 1, out: 'no carrier on eth0\n' });
  t.deepEqual(a.script('IPaddr', IP, 'status'), { status: 0, out: 'running\n' });
  client.must('ip', 'link', 'set', 'port1', 'up');
  t.true(await until(() => a.script('IPaddr', IP, 'monitor').status === 0));
});

test('without a carrier nobody can be asked: taken with a word, or refused', async (t) => {
  if (!need(t, ...LAN_WANTS)) return;
  const { client, a } = await lan(t);
  client.must('ip', 'link', 'set', 'port1', 'down');
  t.true(await until(() => /NO-CARRIER/.test(a.must('ip', 'link', 'show', 'eth0'))));
  const refused = a.run([script('IPaddr'), IP, 'start'], { NO_CARRIER: 'refuse' });
  t.is(refused.status, 1);
  t.regex(refused.out, /no carrier on eth0: nobody can be asked for 10\.93\.0\.10/);
  t.is(shown(a, IP), '');
  const taken = a.script('IPaddr', IP, 'start');
  t.is(taken.status, 0);
  t.regex(taken.out, /no carrier on eth0: nobody could be asked/);
  t.regex(shown(a, IP), /10\.93\.0\.10\/24/);
});
