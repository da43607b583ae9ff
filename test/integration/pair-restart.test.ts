/** `twinbeat restart drbdd` on a node of a real pair whose users wait: it does not wait for them. */
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import { deviceBytes, diskPair, sameDisks, WANTS } from '../support/disk-pair.js';
import { need } from '../support/need.js';

test('I/O is suspended, with a write on its way: the successor has it, and goes on with resume-io', async (t) => {
  if (!need(t, ...WANTS)) return;
  const cluster = await diskPair();
  t.teardown(() => cluster.destroy());
  const node = cluster.node(0);
  await node.must(['drbdadm', 'suspend-io', RESOURCE]);
  const copy = ['dd', 'if=/dev/urandom', `of=${DEVICE}`, 'bs=4k', 'count=8', 'oflag=direct'];
  let over = false;
  const write = node.exec(copy, { timeoutMs: 110_000 }).then((ran) => {
    over = true;
    return ran;
  });
  await sleep(500);
  const restart = await node.exec(['twinbeat', 'restart', 'drbdd'], { timeoutMs: 70_000 });
  t.is(restart.status, 0, restart.stderr);
  await sleep(500);
  t.false(over);
  await node.must(['drbdadm', 'resume-io', RESOURCE]);
  const ran = await write;
  t.is(ran.status, 0, ran.stderr);
  await sameDisks(cluster, 0, await deviceBytes(cluster, 0));
});
