/**
 * Our resource scripts under Debian's heartbeat 3.0.6: ext4, MariaDB and the service address as one group, moved by hb_standby
 * and by a power cut. Without drbd: each node has a database of its own, only the service moves.
 */
import test from 'ava';
import { Pair } from '../../src/cli/pair.js';
import { SERVICE_ADDRESS } from '../../src/cli/pair-cable.js';
import { DEMO_TIMING, pairFiles } from '../../src/cli/pair-config.js';
import type { PairNode } from '../../src/cli/pair-node.js';
import { waitUntil } from '../../src/cli/pair-run.js';
import { need } from '../support/need.js';

const DAEMON = '/usr/libexec/heartbeat/heartbeat';
const STANDBY = '/usr/share/heartbeat/hb_standby';
const STATUS = '/usr/bin/cl_status';
const GROUP = `alpha Filesystem::/dev/sdb1::/drbd::ext4 mysql::/drbd/mysql IPaddr::${SERVICE_ADDRESS}/24/eth0 MailTo::root`;
const LIMIT_MS = 60_000;

test('a group of our scripts moves under the original heartbeat', async (t) => {
  const wants = ['root', 'loop', 'netns', 'ip', 'mkfs.ext4', 'mariadbd', 'mariadb-install-db'];
  if (!need(t, ...wants, DAEMON, STANDBY, STATUS)) return;
  const names = ['alpha', 'beta'] as const;
  const files = pairFiles(names, DEMO_TIMING, '');
  files['/etc/ha.d/haresources'] = { text: `${GROUP}\n`, mode: 0o644 };
  const pair = await Pair.create({ names, files, diskMiB: 512 });
  t.teardown(() => pair.destroy());
  const [alpha, beta] = pair.nodes;
  const prepare = [
    `for f in ${process.cwd()}/resource.d/*; do ln -sf "$f" /etc/ha.d/resource.d/; done`,
    'mkdir -p /run/heartbeat/ccm /run/heartbeat/dopd /run/heartbeat/crm /drbd',
    'chown hacluster:haclient /run/heartbeat/*',
    'mkfs.ext4 -q /dev/sdb1 && mount /dev/sdb1 /drbd',
    'mariadb-install-db --user=mysql --datadir=/drbd/mysql --skip-test-db --innodb-log-file-size=16M',
    'umount /drbd',
  ];
  for (const node of pair.nodes) await node.must(['sh', '-ec', prepare.join('\n')]);
  for (const node of pair.nodes) await node.must([DAEMON]);

  const serves = async (node: PairNode): Promise<boolean> =>
    (await node.must(['ip', '-o', 'addr', 'show', 'to', SERVICE_ADDRESS])) !== '' &&
    (await node.exec(['mariadb-admin', '-S', '/run/mysqld/mysqld.sock', 'ping'])).status === 0;
  const atRest = async (node: PairNode, holds: RegExp): Promise<boolean> =>
    holds.test((await node.exec([STATUS, 'rscstatus'])).stdout.trim());
  const clean = async (node: PairNode): Promise<void> => {
    t.is((await node.exec(['pidof', 'mariadbd'])).status, 1, node.name);
    t.not((await node.exec(['mountpoint', '-q', '/drbd'])).status, 0, node.name);
    t.is(await node.must(['ip', '-o', 'addr', 'show', 'to', SERVICE_ADDRESS]), '', node.name);
  };

  t.true(await waitUntil(() => serves(alpha), LIMIT_MS), 'start');
  await clean(beta);
  t.true(await waitUntil(() => atRest(alpha, /^(local|all)$/), LIMIT_MS));
  t.true(await waitUntil(() => atRest(beta, /^(local|foreign|none)$/), LIMIT_MS));

  await alpha.must([STANDBY]);
  let startMs = performance.now();
  t.true(await waitUntil(() => serves(beta), LIMIT_MS), 'switch-over');
  t.log(`switch-over: ${Math.round(performance.now() - startMs)} ms`);
  await clean(alpha);
  t.true(await waitUntil(() => atRest(beta, /^all$/), LIMIT_MS));

  startMs = performance.now();
  await beta.powerCut();
  t.true(await waitUntil(() => serves(alpha), LIMIT_MS), 'take-over');
  t.log(
    `take-over: ${Math.round(performance.now() - startMs)} ms, deadtime ${DEMO_TIMING.deadtimeS} s`,
  );
  const log = await alpha.must(['cat', '/var/log/ha-log']);
  t.regex(log, /node beta: is dead/);
  t.notRegex(log, /CRIT|Giving up/);
});
