/**
 * A real pair grows under a mounted ext4: both disks, `drbdadm resize`, `resize2fs`, with files in use; the engine is killed when a disk has
 * grown and nobody has asked for it yet, and when everything has. Then the size in drbd.conf changes, and both nodes are down meanwhile.
 */
import { truncateSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import type { Cluster } from '../../src/cli/pair-cluster.js';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import { kill, must } from '../../src/cli/pair-run.js';
import { engineOf } from '../soak/soak-support.js';
import { deviceBytes, diskPair, sameDisks, until, WANTS } from '../support/disk-pair.js';
import { need } from '../support/need.js';

const MIB = 1 << 20;
let pair: Promise<Cluster> | null = null;
const shared = (): Promise<Cluster> => {
  pair ??= diskPair({ diskMiB: 64 });
  return pair;
};

test.after.always(async () => {
  await (await pair)?.destroy();
});

/** The lower disk of a node is made larger; its users keep it open. */
async function grow(cluster: Cluster, index: 0 | 1, mib: number): Promise<void> {
  const { dir, lowerDevice } = cluster.node(index);
  truncateSync(`${dir}/disk.img`, mib * MIB);
  await must(['losetup', '-c', lowerDevice]);
}

async function inSync(t: ExecutionContext, cluster: Cluster, active: 0 | 1): Promise<void> {
  await until(cluster, 'in sync', async () => {
    const { oosKiB, cs } = await cluster.status(active);
    return oosKiB === 0 && cs === 'Connected';
  });
  await cluster.waitInSync(active);
  const bytes = await deviceBytes(cluster, active);
  t.regex(await sameDisks(cluster, active, bytes), /^[0-9a-f]{64}$/);
}

/** SIGKILL; the angel starts a successor, and it has its disk again. */
async function killEngine(cluster: Cluster, index: 0 | 1): Promise<void> {
  const node = cluster.node(index);
  const before = engineOf(node);
  kill(before);
  await until(cluster, 'a successor', async () => {
    const answers = (await cluster.ask(index, 'drbdsetup', 'status')).status === 0;
    return answers && engineOf(node) !== before;
  });
}

const SUM = 'cd /drbd && cat $(ls | grep keep | sort) | sha256sum';

test.serial('disks grow, drbdadm resize, resize2fs: under a mounted file system', async (t) => {
  if (!need(t, ...WANTS, 'mkfs.ext4', 'resize2fs', 'e2fsck', 'mount')) return;
  const cluster = await shared();
  const node = cluster.node(0);
  await node.must(['mkfs.ext4', '-q', DEVICE]);
  await node.must(['mkdir', '-p', '/drbd']);
  await node.must(['mount', DEVICE, '/drbd']);
  await node.must(['sh', '-c', 'head -c 20M /dev/urandom >/drbd/keep1; sync -f /drbd']);
  const sum = await node.must(['sh', '-c', SUM]);
  const before = await deviceBytes(cluster, 0);
  for (const index of [0, 1] as const) await grow(cluster, index, 128);

  await cluster.type(1, 'drbdadm', 'resize', RESOURCE); // either node may be asked
  const after = await until128(cluster, before);
  t.true(after > 127 * MIB);
  await growFileSystem(t, cluster);
  await node.must(['sh', '-c', 'head -c 40M /dev/urandom >/drbd/keep2; sync -f /drbd']);
  await inSync(t, cluster, 0);
  t.not(await node.must(['sh', '-c', SUM]), sum);
  await node.must(['umount', '/drbd']);
  const checked = await node.exec(['e2fsck', '-f', '-n', DEVICE], { timeoutMs: 60_000 });
  t.is(checked.status, 0, `${checked.stdout}${checked.stderr}`);
  await inSync(t, cluster, 0);
});

/** resize2fs; online it wants CAP_SYS_RESOURCE, which not every container gives. */
async function growFileSystem(t: ExecutionContext, cluster: Cluster): Promise<void> {
  const node = cluster.node(0);
  const online = await node.exec(['resize2fs', DEVICE], { timeoutMs: 60_000 });
  if (online.status === 0) return;
  if (!/Permission denied/.test(online.stderr)) throw new Error(online.stderr);
  t.log('no CAP_SYS_RESOURCE: resize2fs while it is not mounted');
  await node.must(['umount', '/drbd']);
  await node.must(['e2fsck', '-f', '-p', DEVICE], { timeoutMs: 60_000 });
  await node.must(['resize2fs', DEVICE], { timeoutMs: 60_000 });
  await node.must(['mount', DEVICE, '/drbd']);
}

async function until128(cluster: Cluster, before: number): Promise<number> {
  let now = before;
  await until(cluster, 'the device has grown', async () => {
    now = await deviceBytes(cluster, 0);
    return now > before;
  });
  return now;
}

test.serial(
  'the engine is killed when its disk has grown: meta-data are found where they were',
  async (t) => {
    if (!need(t, ...WANTS, 'mkfs.ext4', 'mount')) return;
    const cluster = await shared();
    const node = cluster.node(0);
    await node.must(['mount', DEVICE, '/drbd']);
    const sum = await node.must(['sh', '-c', SUM]);
    const before = await deviceBytes(cluster, 0);
    for (const index of [0, 1] as const) await grow(cluster, index, 160);
    await killEngine(cluster, 0);
    await until(cluster, 'in sync again', async () => (await cluster.status(0)).cs === 'Connected');
    await cluster.waitInSync(0);
    await node.must(['sh', '-c', 'echo written >/drbd/note; sync -f /drbd']);
    t.is(await node.must(['sh', '-c', SUM]), sum);
    await cluster.type(0, 'drbdadm', 'resize', RESOURCE);
    t.true((await until128(cluster, before)) > 159 * MIB);
    await inSync(t, cluster, 0);
    await killEngine(cluster, 0);
    await until(cluster, 'in sync again', async () => (await cluster.status(0)).cs === 'Connected');
    await cluster.waitInSync(0);
    await node.must(['umount', '/drbd']);
    await inSync(t, cluster, 0);
  },
);

test.serial('both down, both disks grow, both up: in sync, and larger', async (t) => {
  if (!need(t, ...WANTS)) return;
  const cluster = await shared();
  const before = await deviceBytes(cluster, 0);
  await cluster.type(0, 'drbdadm', 'down', RESOURCE);
  await cluster.type(1, 'drbdadm', 'down', RESOURCE);
  for (const index of [0, 1] as const) await grow(cluster, index, 192);
  for (const index of [0, 1] as const) await cluster.type(index, 'drbdadm', 'up', RESOURCE);
  await until(cluster, 'connected', async () => (await cluster.status(0)).cs !== 'WFConnection');
  await cluster.waitInSync(0);
  await cluster.type(0, 'drbdadm', 'primary', RESOURCE);
  t.true((await until128(cluster, before)) > 191 * MIB);
  await inSync(t, cluster, 0);
});
