/** What of the files is compared between two nodes, and what is of one node alone. */
import test from 'ava';
import { parseAuthKeys } from '../../src/config/authkeys.js';
import { parseHaCf } from '../../src/config/ha-cf.js';
import { parseHaResources } from '../../src/config/haresources.js';
import { parseTwinbeatIni } from '../../src/config/twinbeat-ini.js';
import { COMPARED, fileDigests } from '../../src/host/file-digests.js';
import type { HeartbeatConfig } from '../../src/host/heartbeat-ports.js';
import { dumpedConf } from '../../src/real/answer-digests.js';
import { nodeDigests } from '../../src/real/node-ports.js';

const FILES = {
  haCf: 'keepalive 1\ndeadtime 10\nlogfile /a\nbcast eth0\nauto_failback off\nnode a b\n',
  haresources: 'a drbddisk::r0 mysql\n',
  authkeys: 'auth 1\n1 sha1 secret-one\n2 md5 secret-two\n',
  ini: '[witness]\naddress = 192.0.2.7:6940\ncluster = shop\nkey = 0123456789abcdef\n',
  drbd: 'resource r0 {\n}\n',
};

function digestsOf(changes: Partial<typeof FILES> = {}, node = 'a') {
  const { haCf, haresources, authkeys, ini, drbd } = { ...FILES, ...changes };
  const config = {
    node,
    haCf: parseHaCf(haCf, 'ha.cf', {
      ownNode: node,
      defaultUdpPort: 694,
      userExists: () => true,
      isExecutable: () => true,
      isStonithType: () => true,
      hasStonithConfig: () => true,
      interfaceError: () => null,
    }).config,
    groups: parseHaResources(haresources, 'haresources', ['a', 'b']).groups,
    authkeys: parseAuthKeys(authkeys, 'authkeys', 0o600).authkeys,
    ini: parseTwinbeatIni(ini, 'twinbeat.ini').config,
  };
  for (const [file, read] of Object.entries(config))
    if (!read) throw new Error(`${file} is refused`);
  return fileDigests(config as HeartbeatConfig, dumpedConf(drbd), nodeDigests);
}

function differing(changes: Partial<typeof FILES>, node = 'a'): readonly string[] {
  const [a, b] = [digestsOf().byKey[1], digestsOf(changes, node).byKey[1]];
  return COMPARED.filter((file) => a?.[file] !== b?.[file]);
}

test('what is for both nodes counts', (t) => {
  for (const [line, by] of [
    ['deadtime 10', 'deadtime 12'],
    ['auto_failback off', 'auto_failback on'],
    ['node a b', 'node b a c'],
    ['bcast eth0', 'mcast eth0 239.0.0.1 694 1 0'],
    ['keepalive 1', 'keepalive 1\nping 10.0.0.1'],
    ['keepalive 1', 'keepalive 1\nudpport 700'],
  ] as const) {
    t.deepEqual(differing({ haCf: FILES.haCf.replace(line, by) }), ['ha.cf'], by);
  }
  t.deepEqual(differing({ haresources: 'b drbddisk::r0 mysql\n' }), ['haresources']);
  t.deepEqual(differing({ haresources: 'a mysql drbddisk::r0\n' }), ['haresources']);
  t.deepEqual(differing({ ini: FILES.ini.replace('shop', 'other') }), ['twinbeat.ini']);
  t.deepEqual(differing({ ini: '' }), ['twinbeat.ini']);
  t.deepEqual(differing({ drbd: 'resource r1 {\n}\n' }), ['drbd.conf']);
  t.deepEqual(differing({ authkeys: FILES.authkeys.replace('two', 'three') }), ['authkeys']);
  t.deepEqual(differing({ authkeys: 'auth 1\n1 sha1 secret-one\n' }), ['authkeys']);
});

test('what is of one node, and how it is written, does not', (t) => {
  for (const [line, by] of [
    ['logfile /a', 'logfile /b\ndebug 1'],
    ['bcast eth0', 'bcast eth1'],
    ['bcast eth0', 'watchdog /dev/watchdog\nbcast eth0'],
    ['bcast eth0', 'stonith_host * external/ipmi x y\nbcast eth0'],
    ['node a b', '# both\nnode b\nnode a'],
    ['deadtime 10', 'deadtime  10000ms'],
  ] as const) {
    t.deepEqual(differing({ haCf: FILES.haCf.replace(line, by) }, 'b'), [], by);
  }
  t.deepEqual(differing({ haresources: '# x\na   drbddisk::r0 \\\n mysql\n' }), []);
  t.deepEqual(differing({ ini: `[drbdd]\npool-mib = 128\n${FILES.ini}` }), []);
  t.deepEqual(differing({ drbd: '# resource r0 on b: not ignored\n\nresource r0 {\n}\n' }), []);
  t.deepEqual(differing({ authkeys: 'auth 2\n2 md5 secret-two\n1 sha1 secret-one\n' }), []);
});

test('without the key nobody can try out what a file says', (t) => {
  const other = digestsOf({ authkeys: 'auth 1\n1 sha1 not-the-key\n' }).byKey[1];
  for (const file of COMPARED) t.not(digestsOf().byKey[1]?.[file], other?.[file], file);
  t.notRegex(JSON.stringify(digestsOf()), /secret|0123456789abcdef/);
});

test('no drbd.conf, or one that drbdadm does not take, is no difference', (t) => {
  t.is(digestsOf({ drbd: '# no resources configured\n' }).byKey[1]?.['drbd.conf'], undefined);
});
