/** `twinbeat restart drbdd` on a node of a real pair whose users wait: it does not wait for them. */
import test from 'ava';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import { waitUntil } from '../../src/cli/pair-run.js';
import { deviceBytes, diskPair, LIMIT_MS, sameDisks, WANTS } from '../support/disk-pair.js';
import { need } from '../support/need.js';

test('I/O is suspended, with a write on its way: the successor has it, and goes on with resume-io', async (t) => {
  if (!need(t, ...WANTS)) return;
  const cluster = await diskPair();
  t.teardown(() => cluster.destroy());
  const node = cluster.node(0);
  await node.must(['drbdadm', 'suspend-io', RESOURCE]);
  const copy = ['dd', 'if=/dev/urandom', `of=${DEVICE}`, 'bs=4k', 'count=8', 'oflag=direct'];
  // In a write that the device has and does not answer.
  const waits = async (): Promise<boolean> => {
    const { stdout } = await node.exec(['ps', '-C', 'dd', '-o', 'stat=,args=']);
    return stdout.split('\n').some((line) => line.startsWith('D') && line.endsWith(copy.join(' ')));
  };
  const write = node.exec(copy, { timeoutMs: 110_000 });
  t.true(await waitUntil(waits, LIMIT_MS), 'the write is held');
  const restart = await node.exec(['twinbeat', 'restart', 'drbdd'], { timeoutMs: 70_000 });
  t.is(restart.status, 0, restart.stderr);
  t.true(await waits(), 'it is held by the successor, too');
  await node.must(['drbdadm', 'resume-io', RESOURCE]);
  const ran = await write;
  t.is(ran.status, 0, ran.stderr);
  await sameDisks(cluster, 0, await deviceBytes(cluster, 0));
});
