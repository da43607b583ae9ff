/**
 * MariaDB behind HAProxy, through everything that happens to such a pair: nothing that was acknowledged is lost, and never do two servers
 * answer. docs/LOADBALANCER.md has what it cost the client.
 */
import test from 'ava';
import { nodeAddress } from '../../src/cli/pair-cable.js';
import { MOUNT_POINT } from '../../src/cli/pair-config.js';
import { need } from '../support/need.js';
import { HaproxyPair, WANTS } from './haproxy-pair.js';

test('switch-over, killed, stopped, too many connections, disk full, power cut', async (t) => {
  if (!need(t, ...WANTS)) return;
  t.timeout(20 * 60_000, 'longer than any machine should need');
  const pair = await HaproxyPair.create();
  t.teardown(() => pair.destroy());
  const { cluster } = pair;
  const [alpha, beta] = cluster.pair.nodes;
  t.is(await pair.adminState(alpha.name), '0');
  t.is(await pair.adminState(beta.name), '1');

  await pair.outage('switch-over (hb_standby)', async () => {
    await cluster.type(0, 'hb_standby');
    await cluster.waitService(1);
  });
  await cluster.waitAtRest();
  t.is(await pair.adminState(alpha.name), '1');
  t.is(await pair.adminState(beta.name), '0');

  await pair.outage('mysqld is killed', async () => {
    await pair.replaced(1, await pair.signal(1, 'KILL'));
  });
  await pair.outage('mysqld stands still (SIGSTOP)', async () => {
    await pair.replaced(1, await pair.signal(1, 'STOP'));
  });

  const served = await pair.mysqld(1);
  await pair.outage('max_connections is reached, until it is not any more', async () => {
    const holder = await pair.holdConnections(1);
    await pair.status(1, /too many connections/);
    await pair.balancer(`shutdown sessions server db/${beta.name}`);
    await pair.waitSilent(2000);
    holder.kill('SIGKILL');
    await holder.done;
  });
  await pair.outage('the disk is full, until it is not any more', async () => {
    const file = `${MOUNT_POINT}/filler`;
    await cluster.node(1).exec(['sh', '-c', `cat /dev/zero >${file}`]);
    pair.hurry(40_000);
    await pair.waitSilent(2000);
    await pair.status(1, /full/);
    await cluster.node(1).must(['rm', file]);
  });
  t.is(await pair.mysqld(1), served, 'neither is mended by a restart or a move');

  await pair.outage('power cut', async () => {
    await beta.powerCut();
    await cluster.waitService(0);
  });
  t.is(await pair.adminState(alpha.name), '0');

  // It comes back, and is not written to.
  await cluster.boot(1);
  await pair.startAgent(1);
  await cluster.waitAtRest();
  await cluster.waitInSync(0);
  await pair.moreRows();
  t.is(await pair.adminState(beta.name), '1');

  const { acknowledged, lost } = await pair.lost();
  t.deepEqual(lost, []);
  t.deepEqual(
    pair.seen(),
    [0, 1, 0].map((i) => nodeAddress('lan', i as 0 | 1)),
    'one after the other',
  );
  for (const { what, ms } of pair.outages) t.log(`${what}: ${(ms / 1000).toFixed(1)} s`);
  t.log(`${acknowledged} rows acknowledged, 0 lost`);
});
