/** The part of doctor that looks at the machine, in a directory that is made up. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { bootUnits, carrierOf, networkOf, realMachine } from '../../src/cli/doctor-machine.js';
import { parseHaResource } from '../../src/config/haresources.js';
import { memoryWorld } from '../support/memory-world.js';

async function directory(
  t: ExecutionContext,
  files: Readonly<Record<string, string>>,
  links: Readonly<Record<string, string>> = {},
): Promise<string> {
  const root = await mkdtemp(`${tmpdir()}/doctor-machine-`);
  t.teardown(() => rm(root, { recursive: true, force: true }));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(root + path), { recursive: true });
    await writeFile(root + path, text, { mode: 0o755 });
  }
  for (const [path, target] of Object.entries(links)) {
    await mkdir(dirname(root + path), { recursive: true });
    await symlink(target, root + path);
  }
  return root;
}

const WANTS = '/etc/systemd/system/multi-user.target.wants';

test('what is started at a boot: links of systemd, and of init scripts without a unit', async (t) => {
  const root = await directory(
    t,
    {
      '/lib/systemd/system/mysql.service': 'ExecStart=/usr/sbin/mysqld\n',
      '/lib/systemd/system/heartbeat.service': 'ExecStart=/usr/lib/heartbeat/heartbeat -f\n',
      '/etc/systemd/system/heartbeat.service': 'ExecStart=/usr/local/sbin/heartbeat -f\n',
      '/lib/systemd/system/apache2.service': '',
      '/etc/init.d/old': '#!/bin/sh\n',
      '/etc/init.d/apache2': '#!/bin/sh\n',
    },
    {
      [`${WANTS}/mysql.service`]: '/lib/systemd/system/mysql.service',
      [`${WANTS}/heartbeat.service`]: '/lib/systemd/system/heartbeat.service',
      [`${WANTS}/masked.service`]: '/lib/systemd/system/masked.service',
      '/etc/systemd/system/masked.service': '/dev/null',
      [`${WANTS}/remote-fs.target`]: '/lib/systemd/system/remote-fs.target',
      '/etc/rc2.d/S01old': '../init.d/old',
      '/etc/rc3.d/S01old': '../init.d/old',
      '/etc/rc0.d/K01gone': '../init.d/gone',
      '/etc/rc2.d/S01apache2': '../init.d/apache2', // it has a unit, which is not enabled
    },
  );
  const units = [...bootUnits(root)].sort((a, b) => (a.name < b.name ? -1 : 1));
  t.deepEqual(units, [
    {
      name: 'heartbeat',
      file: `${WANTS}/heartbeat.service`,
      text: 'ExecStart=/usr/local/sbin/heartbeat -f\n', // the administrator's own file
    },
    { name: 'mysql', file: `${WANTS}/mysql.service`, text: 'ExecStart=/usr/sbin/mysqld\n' },
    { name: 'old', file: '/etc/rc2.d/S01old', text: '#!/bin/sh\n' },
  ]);
});

test('a VLAN is carried by its interface, a bond by itself', async (t) => {
  const root = await directory(t, {
    '/eth0/mtu': '',
    '/eth0.10/lower_eth0/mtu': '',
    '/br0/lower_eth0.10/mtu': '',
    '/bond0/lower_eth1/mtu': '',
    '/bond0/lower_eth2/mtu': '',
  });
  t.deepEqual(
    ['eth0', 'eth0.10', 'br0', 'bond0', 'none'].map((device) => carrierOf(root, device)),
    ['eth0', 'eth0', 'eth0', 'bond0', 'none'],
  );
});

test('networks', (t) => {
  t.is(networkOf('10.1.2.3', '255.255.255.0'), '10.1.2.0/24');
  t.is(networkOf('10.1.2.203', '255.255.255.240'), '10.1.2.192/28');
});

test('programs of resources, addresses of names', async (t) => {
  const root = await directory(t, {
    '/etc/ha.d/resource.d/own': '',
    '/etc/ha.d/nodeinfo': 'Node-A\n',
    '/usr/lib/ocf/resource.d/mine/agent': '',
    '/etc/systemd/system/web@.service': '',
  });
  const machine = realMachine(memoryWorld({ root }));
  t.is(machine.node, 'node-a');
  const texts = ['own', 'drbddisk::r0', '10.0.0.1', 'ocf::mine:agent', 'systemd::web@1'];
  const missing = ['not-own', 'ocf::mine:other', 'systemd::no-such-unit'];
  for (const text of [...texts, ...missing]) {
    t.is(await machine.hasProgram(parseHaResource(text)), texts.includes(text), text);
  }
  t.true(await machine.resolves('10.0.0.1'));
  t.true(await machine.resolves('fe80::1%eth0'));
  t.true(await machine.resolves('localhost'));
  t.false(await machine.resolves('no-such-host.invalid'));
  t.is(await machine.report(), null); // no heartbeat answers there
});
