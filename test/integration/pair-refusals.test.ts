/**
 * What a pair refuses, through the programs that an administrator uses: exit status, the number of the refusal, and words that say who
 * or what is in the way. Sources: the manual of drbdadm, SS_* of the state engine (docs: return codes).
 */
import test, { type ExecutionContext } from 'ava';
import type { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import { diskPair, until, WANTS } from '../support/disk-pair.js';
import { need } from '../support/need.js';

async function refused(
  t: ExecutionContext,
  cluster: Cluster,
  index: 0 | 1,
  argv: readonly string[],
  status: number,
  ...words: readonly RegExp[]
): Promise<string> {
  const ran = await cluster.node(index).exec(argv, { timeoutMs: 60_000 });
  const said = `${ran.stdout}${ran.stderr}`;
  t.log(`${argv.join(' ')}: exit ${ran.status}\n${said}`);
  t.is(ran.status, status, said);
  for (const word of words) t.regex(said, word);
  return said;
}

test('what a pair refuses', async (t) => {
  if (!need(t, ...WANTS, 'mkfs.ext4')) return;
  const cluster = await diskPair({ diskMiB: 64 });
  t.teardown(() => cluster.destroy());
  await cluster.type(0, 'mkfs.ext4', '-q', DEVICE);
  for (const index of [0, 1] as const) await cluster.type(index, 'mkdir', '-p', '/drbd');

  // The peer is Primary.
  await refused(t, cluster, 1, ['drbdadm', 'primary', RESOURCE], 11, /\(-1\) Multiple primaries/);
  // A Secondary's device is no block device (docs/DEVICE.md): mount tries a loop device on it and does not get one. It asks every
  // loop device of the machine first, and one whose daemon is away answers later: they are hidden from it here.
  for (const how of ['rw', 'ro']) {
    const mount = `mount -t tmpfs none /sys/block && mount -o ${how} ${DEVICE} /drbd`;
    await refused(
      t,
      cluster,
      1,
      ['unshare', '--mount', 'sh', '-c', mount],
      32,
      /failed to setup loop/,
    );
  }
  const read = ['dd', `if=${DEVICE}`, 'of=/dev/null', 'count=1'];
  await refused(t, cluster, 1, read, 1, /wrong medium type/i);
  const write = ['dd', 'if=/dev/zero', `of=${DEVICE}`, 'count=1', 'conv=notrunc'];
  await refused(t, cluster, 1, write, 1, /read-only file system/i);

  // Mounted here.
  await cluster.type(0, 'mount', DEVICE, '/drbd');
  await refused(
    t,
    cluster,
    0,
    ['drbdadm', 'secondary', RESOURCE],
    11,
    /\(-12\)/,
    /held open/,
    /\/drbd/,
  );
  await refused(t, cluster, 0, ['drbdadm', 'down', RESOURCE], 11, /\(-12\)/, /held open/);
  await cluster.type(0, 'sh', '-c', 'echo kept >/drbd/file && sync -f /drbd');
  t.regex(await cluster.procDrbd(0), /cs:Connected ro:Primary\/Secondary ds:UpToDate\/UpToDate/);

  // The last UpToDate disk of a Primary stays.
  await cluster.type(0, 'drbdadm', 'disconnect', RESOURCE);
  await refused(
    t,
    cluster,
    0,
    ['drbdadm', 'detach', RESOURCE],
    17,
    /\(-2\)|Need access to UpToDate/,
  );
  await cluster.type(0, 'sh', '-c', 'echo kept too >>/drbd/file && sync -f /drbd');
  await cluster.type(0, 'drbdadm', 'connect', RESOURCE);
  await cluster.waitInSync(0);

  // With the peer's disk it may go, and the file system stays readable and writable through the peer.
  await cluster.type(0, 'drbdadm', 'detach', RESOURCE);
  t.regex(await cluster.procDrbd(0), /ds:Diskless\/UpToDate/);
  await cluster.type(0, 'sh', '-c', 'echo diskless >>/drbd/file && sync -f /drbd');
  await refused(t, cluster, 0, ['drbdadm', 'disconnect', RESOURCE], 17, /\(-2\)|UpToDate/);
  // Nor may the node with the only disk leave: its peer says no.
  await refused(t, cluster, 1, ['drbdadm', 'disconnect', RESOURCE], 11, /\(-10\)/);
  await refused(t, cluster, 1, ['drbdadm', 'down', RESOURCE], 11, /\(-10\)/);
  t.regex(await cluster.procDrbd(1), /cs:Connected .*ds:UpToDate\/Diskless/);
  await cluster.type(0, 'sh', '-c', 'echo served >>/drbd/file && sync -f /drbd');
  await cluster.type(0, 'drbdadm', 'attach', RESOURCE);
  await cluster.waitInSync(0);

  await cluster.type(0, 'umount', '/drbd');
  await cluster.type(0, 'drbdadm', 'secondary', RESOURCE);
  await cluster.type(1, 'drbdadm', 'primary', RESOURCE);
  await cluster.type(1, 'mount', DEVICE, '/drbd');
  t.is(await cluster.type(1, 'cat', '/drbd/file'), 'kept\nkept too\ndiskless\nserved\n');
  await cluster.type(1, 'umount', '/drbd');

  // Nobody uses it: it goes, device and all.
  await cluster.type(1, 'drbdadm', 'down', RESOURCE);
  await until(cluster, 'node 0 is alone', async () =>
    /cs:(WFConnection|StandAlone)/.test(await cluster.procDrbd(0)),
  );
  t.notRegex(await cluster.procDrbd(1), /^ *0: cs:(?!Unconfigured)/m);
});
