/**
 * The device of a real pair under the programs that people use on it: fio with verification, discards, ext4 and XFS. After each the
 * replicas are the same. One pair for all of them, one after the other.
 */
import test, { type ExecutionContext } from 'ava';
import type { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import { run } from '../../src/cli/pair-run.js';
import { allocatedKiB, deviceBytes, diskPair, sameDisks, WANTS } from '../support/disk-pair.js';
import { have, need } from '../support/need.js';

const MIB = 1 << 20;
let pair: Promise<Cluster> | null = null;

/** mkfs.xfs wants 300 MiB at least. The files below are sparse. */
function shared(): Promise<Cluster> {
  pair ??= diskPair({ diskMiB: 336 });
  return pair;
}

test.after.always(async () => {
  await (await pair)?.destroy();
});

async function identical(t: ExecutionContext, cluster: Cluster): Promise<string> {
  const hash = await sameDisks(cluster, 0, await deviceBytes(cluster, 0));
  const { oosKiB } = await cluster.status(0);
  t.is(oosKiB, 0);
  return hash;
}

/** Only zeroes in the first `bytes` of a lower disk. */
async function zeroes(cluster: Cluster, index: 0 | 1, bytes: number): Promise<boolean> {
  const device = cluster.node(index).lowerDevice;
  const read = `dd if=${device} bs=1M count=${bytes} iflag=direct,count_bytes status=none | cmp -n ${bytes} - /dev/zero`;
  return (await run(['sh', '-c', read])).status === 0;
}

test.serial('fio with verification: 512 B to 1 MiB, QD32', async (t) => {
  if (!need(t, ...WANTS, 'fio')) return;
  const cluster = await shared();
  const said = await cluster
    .node(0)
    .must(
      [
        ...['fio', '--name=verify', `--filename=${DEVICE}`, '--direct=1', '--ioengine=libaio'],
        ...[
          '--rw=randwrite',
          '--bssplit=512/20:4k/40:12k/10:64k/15:256k/10:1m/5',
          '--bsrange=512-1m',
        ],
        ...[
          '--iodepth=32',
          '--size=96M',
          '--verify=crc32c',
          '--verify_backlog=256',
          '--verify_fatal=1',
        ],
        ...['--allow_file_create=0', '--aux-path=/tmp', '--randseed=77'],
      ],
      { timeoutMs: 120_000 },
    );
  t.regex(said, /err= 0/);
  t.regex(said, /WRITE: .*io=96\.0MiB/);
  t.regex(said, /READ: .*io=96\.0MiB/);
  await identical(t, cluster);
});

test.serial('a discard reaches both lower disks', async (t) => {
  if (!need(t, ...WANTS, 'blkdiscard')) return;
  const cluster = await shared();
  const node = cluster.node(0);
  const write = `dd if=/dev/urandom of=${DEVICE} bs=1M count=32 oflag=direct status=none`;
  for (const zero of [false, true]) {
    await node.must(['sh', '-c', write]);
    const before = [await allocatedKiB(cluster, 0), await allocatedKiB(cluster, 1)];
    t.false(await zeroes(cluster, 1, 32 * MIB));
    await node.must([
      'blkdiscard',
      ...(zero ? ['-z'] : []),
      '-o',
      '0',
      '-l',
      `${32 * MIB}`,
      DEVICE,
    ]);
    await cluster.waitInSync(0); // a machine that stood still for a moment has lost its connection
    for (const index of [0, 1] as const) {
      t.true(await zeroes(cluster, index, 32 * MIB), `node ${index} reads zeroes`);
      const now = await allocatedKiB(cluster, index);
      // -z only promises zeroes (it may or may not unmap); without it the space is given back.
      if (!zero)
        t.true(
          now <= (before[index] ?? 0) - 31 * 1024,
          `node ${index}: ${before[index]} to ${now} KiB`,
        );
    }
    await identical(t, cluster);
  }
  await node.must(['blkdiscard', DEVICE]);
  await cluster.waitInSync(0);
  for (const index of [0, 1] as const) {
    t.true(await zeroes(cluster, index, await deviceBytes(cluster, 0)));
  }
});

const FILE_SYSTEMS = [
  { name: 'ext4', mkfs: ['mkfs.ext4', '-q'], check: ['e2fsck', '-f', '-n'] },
  { name: 'xfs', mkfs: ['mkfs.xfs', '-q', '-f'], check: ['xfs_repair', '-n'] },
] as const;

for (const { name, mkfs, check } of FILE_SYSTEMS) {
  test.serial(
    `${name}: made, filled, trimmed, clean, and the same on the other node`,
    async (t) => {
      if (!need(t, ...WANTS, mkfs[0], check[0], 'fstrim')) return;
      if (!have('mount')) return;
      const cluster = await shared();
      const node = cluster.node(0);
      await node.must([...mkfs, DEVICE], { timeoutMs: 60_000 });
      await node.must(['mkdir', '-p', '/drbd']);
      await node.must(['mount', DEVICE, '/drbd']);
      await node.must([
        'sh',
        '-c',
        'mkdir /drbd/keep /drbd/drop && head -c 24M /dev/urandom >/drbd/drop/large && ' +
          'for i in $(seq 200); do head -c $((i * 37)) /dev/urandom >/drbd/keep/$i; done; ' +
          'head -c 8M /dev/urandom >/drbd/keep/large; sync -f /drbd',
      ]);
      const before = [await allocatedKiB(cluster, 0), await allocatedKiB(cluster, 1)];
      const sum = 'cd /drbd/keep && cat $(ls | sort) | sha256sum';
      const wrote = await node.must(['sh', '-c', sum]);
      // XFS frees the blocks of removed files in the background; an umount waits for that.
      await node.must(['sh', '-c', `rm -r /drbd/drop && umount /drbd && mount ${DEVICE} /drbd`]);
      await node.must(['fstrim', '/drbd']);
      for (const index of [0, 1] as const) {
        const now = await allocatedKiB(cluster, index);
        t.true(
          now <= (before[index] ?? 0) - 20 * 1024,
          `node ${index}: ${before[index]} to ${now} KiB`,
        );
      }
      await node.must(['umount', '/drbd']);
      const checked = await node.exec([...check, DEVICE], { timeoutMs: 60_000 });
      t.is(checked.status, 0, `${checked.stdout}${checked.stderr}`);
      await identical(t, cluster);

      await cluster.type(0, 'drbdadm', 'secondary', RESOURCE);
      await cluster.type(1, 'drbdadm', 'primary', RESOURCE);
      const other = cluster.node(1);
      const there = await other.exec([...check, DEVICE], { timeoutMs: 60_000 });
      t.is(there.status, 0, `${there.stdout}${there.stderr}`);
      await other.must(['mkdir', '-p', '/drbd']);
      await other.must(['mount', DEVICE, '/drbd']);
      t.is(await other.must(['sh', '-c', sum]), wrote);
      await other.must(['umount', '/drbd']);
      await cluster.type(1, 'drbdadm', 'secondary', RESOURCE);
      await cluster.type(0, 'drbdadm', 'primary', RESOURCE);
      await identical(t, cluster);
    },
  );
}
