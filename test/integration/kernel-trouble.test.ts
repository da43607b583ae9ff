/**
 * A node of ours and a kernel's DRBD 8.4 under load, and when one of them or the cable dies: afterwards they meet again
 * and hold the same data, and what was answered is there.
 */
import test from 'ava';
import { detach } from '../../src/drbd/disk-verbs.js';
import { need } from '../support/need.js';
import { KernelPair, pattern, removeMachine } from './kernel-pair.js';
import { KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

const FIO =
  'fio --name=load --filename=/dev/drbd0 --ioengine=libaio --direct=1 --rw=randwrite --bsrange=4k-256k --iodepth=16' +
  ' --verify=crc32c --fsync=50 --size=15m --loops=4 --time_based --randrepeat=0';

test.serial('fio in the kernel: every block it verifies is on our disk', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('kernel');
  const start = Date.now();
  const out = await p.vm.sh(`${FIO} --runtime=3 2>&1`);
  t.regex(out, /err= 0/);
  t.log(
    `${Date.now() - start} ms`,
    out
      .split('\n')
      .filter((l) => /write:|WRITE:/.test(l))
      .join(' '),
  );
  await p.vm.sh(
    'modprobe ext4 && mke2fs -q -t ext4 /dev/drbd0 2>&1 && mount -t ext4 /dev/drbd0 /mnt -o discard && dd if=/dev/urandom of=/mnt/x bs=1M count=4 && cp /mnt/x /mnt/y && rm /mnt/x && sync && umount /mnt && e2fsck -fn /dev/drbd0 2>&1',
  );
  await p.same(t);
  t.regex(p.us.cs, /Connected/);
});

test.serial('our load while the kernel is synchronized', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, { disk: { resyncRateKiBps: 4096 } });
  p.fillOurs(5);
  await p.kernelDials();
  p.dial();
  await p.connected();
  await p.promoteUs(true);
  const load = p.load(7);
  await p.settled();
  await load.stop();
  t.log(`${load.written} writes`);
  t.is(load.failed, 0);
  await p.same(t);
  p.holds(t, load);
});

test.serial('our load while we are synchronized from the kernel', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, { disk: { resyncRateKiBps: 4096 } });
  await p.vm.sh('dd if=/dev/urandom of=/tmp/r bs=1M count=14');
  await p.synced('kernel');
  await p.disconnected();
  await p.vm.sh('dd if=/tmp/r of=/dev/drbd0 bs=1M count=14 oflag=direct');
  await p.demoteKernel();
  await p.kernelDials();
  await p.us.until(/cs:SyncTarget/);
  await p.promoteUs();
  const load = p.load(8);
  const read = await p.us.read(16384, 65536);
  t.true(read instanceof Uint8Array);
  await p.settled();
  await load.stop();
  t.log(`${load.written} writes`);
  t.is(load.failed, 0);
  await p.same(t);
  p.holds(t, load);
});

test.serial('fio in the kernel while we are synchronized', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, { disk: { resyncRateKiBps: 2048 } });
  await p.kernelDials();
  p.dial();
  await p.connected();
  await p.promoteKernel(true);
  const fio = p.vm.sh(`${FIO} --runtime=4 2>&1`);
  await p.settled();
  t.regex(await fio, /err= 0/);
  await p.same(t);
});

test.serial('the kernel loses power as Primary and comes back', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('kernel');
  void p.vm.sh(`${FIO} --runtime=30 2>&1`).catch(() => '');
  await p.received(4096);
  await p.vm.cut();
  await p.us.until(/cs:WFConnection/);
  await p.vm.boot();
  await p.vm.configure();
  await p.vm.sh('drbdadm up r0');
  await p.settled();
  await p.same(t);
  t.regex(await p.vm.proc(), / ns:[1-9]/, 'what its activity log names');

  // And once more, with us in charge meanwhile: what it had not told us is undone.
  await p.promoteKernel();
  void p.vm.sh(`${FIO} --runtime=30 2>&1`).catch(() => '');
  await p.received(4096);
  await p.vm.cut();
  await p.us.until(/cs:WFConnection/);
  await p.promoteUs();
  t.is(await p.us.write(1000, pattern(40, 16384)), 0);
  await p.vm.boot();
  await p.vm.configure();
  await p.vm.sh('drbdadm up r0');
  await p.settled();
  await p.same(t);
  t.deepEqual(p.vm.onDisk(1000, 16384), pattern(40, 16384));
});

test.serial('we are killed as Primary and come back', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('host');
  const load = p.load(9);
  await load.more(300);
  await p.restartUs();
  await load.stop();
  t.is(load.failed, 0);
  p.dial();
  await p.settled();
  await p.same(t);
  p.holds(t, load);

  // And once more, with the kernel in charge meanwhile: what only we have is undone.
  await p.promoteUs();
  const second = p.load(12);
  await second.more(300);
  await p.us.kill();
  await second.stop();
  await p.vm.until('cs:WFConnection');
  await p.promoteKernel();
  await p.kernelWrites(8000, pattern(41, 65536));
  await p.restartUs();
  p.dial();
  await p.settled();
  await p.same(t);
});

test.serial('the cable is pulled: silence ends the connection, and both meet again', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, { net: { pingIntS: 1, pingTimeoutDs: 20 } });
  await p.synced('host');
  await p.vm.cable('down');
  const load = p.load(10);
  await p.us.until(/cs:(NetworkFailure|Timeout|WFConnection)/);
  await load.more(50);
  await load.stop();
  t.is(load.failed, 0);
  await p.vm.cable('up');
  await p.settled();
  await p.same(t);
  p.holds(t, load);
});

for (const protocol of ['A', 'B'] as const) {
  test.serial(`protocol ${protocol}, integrity checked`, async (t) => {
    if (!need(t, ...KERNEL_NEEDS)) return;
    const p = await KernelPair.create(
      t,
      { net: { protocol, dataIntegrityAlg: protocol === 'A' ? 'crc32c' : 'sha1' } },
      { net: `protocol ${protocol}; data-integrity-alg ${protocol === 'A' ? 'crc32c' : 'sha1'};` },
    );
    await p.synced('host');
    const load = p.load(11);
    await load.more(500);
    await load.stop();
    t.is(load.failed, 0);
    t.is(await p.us.discard(8192, 2048), 0);
    t.is(await p.us.zeroes(16384, 2048), 0);
    await p.demoteUs();
    await p.promoteKernel();
    t.regex(await p.vm.sh(`${FIO} --runtime=2 2>&1`), /err= 0/);
    await p.vm.sh('blkdiscard -o 4194304 -l 1048576 /dev/drbd0');
    await p.demoteKernel();
    await p.same(t);
  });
}

test.serial("a Primary without a disk reads and writes the other node's", async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('host');
  t.is((await p.us.ask((v, done) => detach(v, false, done))).kind, 'ok');
  t.is(await p.us.write(800, pattern(50, 65536)), 0);
  t.deepEqual(await p.us.read(800, 65536), pattern(50, 65536));
  t.deepEqual(p.vm.onDisk(800, 65536), pattern(50, 65536));
  await p.us.attach();
  await p.settled();
  await p.same(t);
  await p.demoteUs();

  await p.promoteKernel();
  await p.vm.sh('drbdadm detach r0');
  await p.us.until(/UpToDate\/Diskless/);
  await p.kernelWrites(1600, pattern(51, 65536));
  t.deepEqual(p.us.onDisk(1600, 65536), pattern(51, 65536));
  await p.vm.sh(
    'dd if=/dev/drbd0 of=/tmp/back bs=64k count=1 iflag=direct,skip_bytes skip=819200 && cmp /tmp/back /tmp/data',
  );
  await p.vm.sh('drbdadm attach r0');
  await p.settled();
  await p.same(t);
});
