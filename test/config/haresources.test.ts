import { readFileSync } from 'node:fs';
import test from 'ava';
import { parseAuthKeys } from '../../src/config/authkeys.js';
import {
  type HaResource,
  parseHaResource,
  parseHaResources,
} from '../../src/config/haresources.js';

test("the MySQL manual's haresources", (t) => {
  const text = readFileSync('etc/ha.d/haresources', 'utf8');
  const { groups, messages } = parseHaResources(text, 'haresources', ['drbd1', 'drbd2']);
  t.deepEqual(messages, []);
  t.is(groups?.length, 1);
  t.like(groups?.[0], { node: 'drbd1', key: 'drbddisk' });
  t.deepEqual(
    groups?.[0]?.resources.map((r) => [r.script, ...r.args]),
    [
      ['drbddisk'],
      ['Filesystem', '/dev/drbd0', '/drbd', 'ext3'],
      ['mysql'],
      ['IPaddr', '10.0.0.10'],
    ],
  );
});

test('continuations, comments, case and blanks', (t) => {
  const text = [
    '# a comment',
    '  Node-A   drbddisk::r0 \\',
    '     Filesystem::/dev/drbd0::/data::ext4 \\   ',
    '  # only a comment here \\',
    'node-b\t10.0.0.9/24/eth0/10.0.0.255 # its address',
    'node-b 10.0.0.8 \\',
  ].join('\n');
  const { groups, messages } = parseHaResources(text, 'haresources', ['node-a', 'node-b']);
  t.deepEqual(messages, []);
  t.deepEqual(
    groups?.map((g) => [g.node, g.key, g.line, g.resources.map((r) => r.text)]),
    [
      ['node-a', 'drbddisk::r0', 2, ['drbddisk::r0', 'Filesystem::/dev/drbd0::/data::ext4']],
      ['node-b', '10.0.0.9/24/eth0/10.0.0.255', 5, ['10.0.0.9/24/eth0/10.0.0.255']],
      ['node-b', '10.0.0.8', 6, ['10.0.0.8']],
    ],
  );
});

test('an address begins with a digit and has three dots', (t) => {
  t.is(parseHaResource('10.0.0.1/24').script, 'IPaddr');
  t.is(parseHaResource('7up').script, '7up');
  t.is(parseHaResource('a.b.c.d').script, 'a.b.c.d');
  t.deepEqual(parseHaResource('IPaddr2::10.0.0.1/24').args, ['10.0.0.1/24']);
});

test('a group key names one group, and a line has a resource', (t) => {
  const twice = parseHaResources('a 10.0.0.1\nb 10.0.0.1\n', 'f', ['a', 'b']);
  t.is(twice.groups, null);
  t.regex(twice.messages[0]?.text ?? '', /^f:2: expected another first resource/);
  const empty = parseHaResources('a\n', 'f', ['a']);
  t.deepEqual(empty.groups, []);
  t.is(empty.messages[0]?.level, 'WARN');
  t.is(parseHaResources('a ::x\n', 'f', ['a']).groups, null);
  t.deepEqual(parseHaResources('', 'f', ['a']).groups, []);
});

test('kinds: a script, an OCF agent, a unit of systemd', (t) => {
  const kinds: readonly (readonly [string, HaResource['kind'], string, readonly string[]])[] = [
    ['mysql', 'heartbeat', 'mysql', []],
    ['10.0.0.1', 'heartbeat', 'IPaddr', ['10.0.0.1']],
    ['OCF::IPaddr2::web', 'heartbeat', 'OCF', ['IPaddr2', 'web']],
    ['ocf', 'heartbeat', 'ocf', []], // a script of that name
    ['systemd', 'heartbeat', 'systemd', []],
    [
      'ocf::heartbeat:IPaddr2::ip=10.0.0.1::nic=eth0',
      'ocf',
      'heartbeat:IPaddr2',
      ['ip=10.0.0.1', 'nic=eth0'],
    ],
    ['systemd::getty@tty1', 'systemd', 'getty@tty1', []],
  ];
  for (const [text, kind, script, args] of kinds) {
    t.deepEqual(parseHaResource(text), { text, kind, script, args });
  }
});

test('an agent and a unit that cannot be are refused, not taken and found missing', (t) => {
  const refusals: readonly (readonly [string, RegExp])[] = [
    ['ocf::..:..::a=b', /^f:2: expected ocf::PROVIDER:TYPE/],
    ['ocf::heartbeat:nginx::port=80::port=81', /^f:2: expected each NAME once, got 'ocf::/],
    ['systemd::a/b', /^f:2: expected systemd::UNIT, got 'systemd::a\/b'$/],
    // A value cannot have "::" in it: an IPv6 address is written in full.
    ['ocf::heartbeat:IPv6addr::ipv6addr=fe80::1', /^f:2: expected ocf::PROVIDER:TYPE/],
    ['systemd::', /^f:2: expected systemd::UNIT, got 'systemd::'$/],
    ['systemd::a::b', /^f:2: expected systemd::UNIT, got/],
    ['ocf::nginx', /^f:2: expected ocf::PROVIDER:TYPE\[::NAME=VALUE\.\.\.\], got 'ocf::nginx'$/],
    ['ocf::heartbeat:nginx::port', /^f:2: expected ocf::PROVIDER:TYPE/],
  ];
  for (const [resource, said] of refusals) {
    const { groups, messages } = parseHaResources(`a mysql\na 10.0.0.1 ${resource}\n`, 'f', ['a']);
    t.is(groups, null, resource);
    t.deepEqual(
      messages.map(({ level }) => level),
      ['ERROR'],
    );
    t.regex(messages[0]?.text ?? '', said);
  }
});

test('an agent and a unit are taken', (t) => {
  const text = 'a systemd::nginx ocf::heartbeat:IPaddr2::ip=10.0.0.1::cidr_netmask=24\n';
  const { groups, messages } = parseHaResources(text, 'f', ['a']);
  t.deepEqual(messages, []);
  t.deepEqual(
    groups?.[0]?.resources.map(({ kind }) => kind),
    ['systemd', 'ocf'],
  );
});

// The original takes it; the script OCF fails at its start, and the other groups run.
test('an instance that the script OCF cannot have is a warning with its place', (t) => {
  for (const wrong of ['OCF', 'OCF::IPaddr2', 'OCF::IPaddr2::a::b', 'OCF::::a']) {
    const { groups, messages } = parseHaResources(`a ${wrong}\n`, 'f', ['a']);
    t.is(groups?.length, 1);
    t.deepEqual(messages, [
      { level: 'WARN', text: `f:1: expected OCF::TYPE::INSTANCE, got '${wrong}'` },
    ]);
  }
  t.deepEqual(parseHaResources('a OCF::IPaddr2::web\n', 'f', ['a']).messages, []);
});

test('authkeys: the sample, several keys, and what follows the key is ignored', (t) => {
  const sample = parseAuthKeys(readFileSync('etc/ha.d/authkeys', 'utf8'), 'authkeys', 0o600);
  t.is(sample.authkeys?.current.method, 'sha1');
  const { authkeys } = parseAuthKeys(
    'auth 2\n1 md5 old\n# 2 md5 no\n2 sha1 a b c\n3 crc\n',
    'authkeys',
    0o100600,
  );
  t.deepEqual(authkeys?.current, { number: 2, method: 'sha1', key: 'a' });
  t.is(authkeys?.keys.length, 3);
  t.is(parseAuthKeys('auth 1\n1 sha1 k\n', 'f', 0o644).authkeys, null);
  t.is(parseAuthKeys('auth 1\n1 sha1 k\n', 'f', 0o604).authkeys, null);
  t.not(parseAuthKeys('auth 1\n1 sha1 k\n', 'f', 0o620).authkeys, null); // readable is what counts
});

// 3.0.6 refuses it, which a pair of two of ours need not (test/golden/config/ha.cf-errors.txt, auth-sha256).
test('authkeys: sha256 and sha512 are taken, with what the original makes of the file', (t) => {
  const text = 'auth 2\n1 sha1 old\n2 sha512 new\n3 sha256 newer\n';
  const { authkeys, messages } = parseAuthKeys(text, 'authkeys', 0o600);
  t.deepEqual(authkeys?.current, { number: 2, method: 'sha512', key: 'new' });
  const said = (line: number, method: string) => ({
    level: 'WARN',
    text: `authkeys:${line}: ${method} is known to twinbeat only: heartbeat 3.0.6 refuses this file`,
  });
  t.deepEqual(messages, [said(3, 'sha512'), said(4, 'sha256')]);
  const refused = (line: string) =>
    parseAuthKeys(`auth 1\n1 ${line}\n`, 'f', 0o600).messages[0]?.text;
  t.is(refused('sha256'), 'Auth method [sha256] requires a key');
  t.is(refused('sha384 k'), 'Invalid authtype [sha384]');
  t.is(refused('SHA256 k'), 'Invalid authtype [SHA256]');
});
