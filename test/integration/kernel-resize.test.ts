/**
 * The device of a pair of ours and a kernel's DRBD 8.4 grows: asked for on either side, whoever is Primary, and while both are
 * down. The new part is copied, and both disks are the same past both programs.
 */
import { truncateSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import type { Outcome } from '../../src/drbd/outcome.js';
import { resize } from '../../src/drbd/resize.js';
import { findMetaData } from '../support/file-meta.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';
import { KernelPair, pattern, removeMachine } from './kernel-pair.js';
import { DISK_BYTES, KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

const STEP_BYTES = 8 << 20;
let diskBytes = DISK_BYTES; // the machine's disk never shrinks

/** A new pair, of the size that the machine's disk has by now, in sync, its Primary chosen. */
async function pairOf(t: ExecutionContext, primary: 'host' | 'kernel'): Promise<KernelPair> {
  const p = await KernelPair.create(t, {}, {}, diskBytes);
  await p.synced(primary);
  return p;
}

/** Both disks are larger, and what they hold there differs. */
async function grow(p: KernelPair): Promise<void> {
  diskBytes += STEP_BYTES;
  truncateSync(p.us.disk, diskBytes);
  await p.vm.grow(diskBytes);
}

async function ask(p: KernelPair, assumeClean = false): Promise<Outcome> {
  const request = {
    sizeSectors: 0,
    assumePeerHasSpace: false,
    assumeClean,
    alStripes: null,
    alStripeSizeKib: null,
  };
  return p.us.ask((v, done) => resize(v, request, done));
}

async function grown(t: ExecutionContext, p: KernelPair): Promise<void> {
  const least = diskBytes / 512 - 200;
  await until(() => p.us.volume.sizeSectors > least, 'our size');
  await p.settled();
  const kernels = Number(await p.vm.sh('cat /sys/block/drbd0/size'));
  t.is(kernels, p.us.volume.sizeSectors);
  await p.same(t);
}

for (const primary of ['host', 'kernel'] as const) {
  for (const asker of ['host', 'kernel'] as const) {
    test.serial(`${primary} is Primary, ${asker} is asked for a resize`, async (t) => {
      if (!need(t, ...KERNEL_NEEDS)) return;
      const p = await pairOf(t, primary);
      await grow(p);
      const lines = p.us.log.length;
      if (asker === 'host') t.is((await ask(p)).kind, 'ok');
      else await p.vm.sh('drbdsetup resize 0');
      await grown(t, p);
      const began = p.us.log.slice(lines).filter((l) => l.includes('Began resync as'));
      t.is(began.length, 1);
      t.true(began[0]?.includes(primary === 'host' ? 'SyncSource' : 'SyncTarget'), began[0]);
      const sector = p.us.volume.sizeSectors - 64;
      if (primary === 'host') t.is(await p.us.write(sector, pattern(1, 4096)), 0);
      else await p.kernelWrites(sector, pattern(1, 4096));
      await p.same(t);
      t.deepEqual(p.us.onDisk(sector, 4096), pattern(1, 4096));
    });
  }
}

test.serial('--assume-clean of either: nothing is copied', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await pairOf(t, 'host');
  const lines = p.us.log.length;
  for (const asker of ['host', 'kernel']) {
    await grow(p);
    if (asker === 'host') t.is((await ask(p, true)).kind, 'ok');
    else await p.vm.sh('drbdsetup resize 0 --assume-clean');
    await until(() => p.us.volume.sizeSectors > diskBytes / 512 - 200, 'our size');
    await p.settled();
    await p.vm.until('oos:0$');
    t.is(p.us.volume.bitmap?.count, 0);
  }
  t.false(p.us.log.slice(lines).some((l) => l.includes('Began resync')));
});

// The kernel alone would say "No resync, but N bits in bitmap!" and leave it at that.
test.serial('both down, both disks grow, both up: the new part is copied', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await pairOf(t, 'host');
  await p.demoteUs();
  const before = diskBytes;
  await p.us.disconnect();
  await p.us.ask((v, done) => detach(v, false, done));
  await p.vm.sh('drbdadm down r0');
  await grow(p);
  findMetaData(p.us.disk, before);
  await p.us.attach();
  await p.vm.sh('drbdadm up r0');
  p.dial();
  await p.connected();
  // Of equal roles the node that accepted the second socket begins. If that is the kernel, it does not: until there is a Primary.
  if (p.us.volume.link?.resolveConflicts !== true) await p.promoteUs();
  await grown(t, p);
});

test.serial('the same, and the kernel becomes Primary', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await pairOf(t, 'kernel');
  await p.demoteKernel();
  const before = diskBytes;
  await p.us.disconnect();
  await p.us.ask((v, done) => detach(v, false, done));
  await p.vm.sh('drbdadm down r0');
  await grow(p);
  findMetaData(p.us.disk, before);
  await p.us.attach();
  await p.vm.sh('drbdadm up r0');
  p.dial();
  await p.connected();
  await p.promoteKernel();
  await grown(t, p);
});
