/**
 * A node of ours and a kernel's DRBD 8.4 are a pair: they find each other, synchronize, replicate, part and meet again,
 * and hold the same data. One machine serves all tests of this file, one after the other.
 */
import test from 'ava';
import { invalidate } from '../../src/drbd/disk-verbs.js';
import { need } from '../support/need.js';
import { KernelPair, pattern, removeMachine } from './kernel-pair.js';
import { DISK_BYTES, KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

for (const secret of [null, 'twinbeat-secret']) {
  for (const first of ['kernel', 'host']) {
    const how = `${secret === null ? 'without' : 'with'} CRAM-HMAC, ${first} first`;
    test.serial(`connects ${how}`, async (t) => {
      if (!need(t, ...KERNEL_NEEDS)) return;
      const p = await KernelPair.create(
        t,
        secret === null ? {} : { net: { cramHmacAlg: 'sha1', sharedSecret: secret } },
        { net: secret === null ? '' : `cram-hmac-alg sha1; shared-secret "${secret}";` },
      );
      if (first === 'kernel') {
        await p.kernelDials();
        await p.vm.until('cs:WFConnection');
        p.dial();
      } else {
        p.dial();
        await p.us.until(/cs:WFConnection/);
        await p.kernelDials();
      }
      await p.connected();
      t.regex(p.us.ds, /^Inconsistent\/Inconsistent$/);
    });
  }
}

test.serial('all of our disk goes to the kernel, and later all of its disk to us', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  p.fillOurs(1);
  const start = Date.now();
  await p.synced('host');
  await p.same(t);
  t.log(`${DISK_BYTES >> 20} MiB to the kernel in ${Date.now() - start} ms`);
  t.regex(await p.vm.proc(), /ns:0 nr:16\d{3} dw:16\d{3}/);

  await p.demoteUs();
  await p.promoteKernel();
  await p.kernelWrites(0, pattern(2, 1 << 20));
  p.fillOurs(9);
  const back = Date.now();
  await p.us.ask((v, done) => invalidate(v, done));
  await p.us.until(/cs:Connected .*ds:UpToDate\/UpToDate/);
  await p.same(t);
  t.log(`and back in ${Date.now() - back} ms`);
});

test.serial(
  "all of the kernel's disk goes to us, and later, when it asks, all of ours to it",
  async (t) => {
    if (!need(t, ...KERNEL_NEEDS)) return;
    const p = await KernelPair.create(t);
    p.fillOurs(3);
    await p.synced('kernel');
    await p.same(t);
    await p.demoteKernel();
    await p.promoteUs();
    t.is(await p.us.write(4096, pattern(4, 65536)), 0);
    await p.vm.sh('drbdadm invalidate r0');
    await p.settled();
    await p.same(t);
  },
);

test.serial('what either node writes is on both disks when the write is answered', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('host');
  const sizes = [512, 4096, 32768, 131072, 1 << 20, 4096 + 512];
  let sector = 8;
  for (const [i, size] of sizes.entries()) {
    const bytes = pattern(10 + i, size);
    t.is(await p.us.write(sector, bytes, i % 2 === 1), 0);
    t.deepEqual(p.vm.onDisk(sector, size), bytes, `${size} bytes of ours`);
    sector += size / 512;
  }
  t.is(await p.us.flush(), 0);
  const many = await Promise.all(
    Array.from({ length: 64 }, (_, i) => p.us.write(16384 + i * 8, pattern(i, 4096))),
  );
  t.true(many.every((error) => error === 0));
  t.is(await p.us.discard(8192, 2048), 0);
  t.is(await p.us.zeroes(10240, 1024), 0);
  await p.same(t);

  await p.demoteUs();
  await p.promoteKernel();
  sector = 8;
  for (const [i, size] of [4096, 32768, 131072, 1 << 20].entries()) {
    const bytes = pattern(20 + i, size);
    await p.kernelWrites(sector, bytes);
    t.deepEqual(p.us.onDisk(sector, size), bytes, `${size} bytes of the kernel's`);
    sector += size / 512;
  }
  await p.vm.sh('dd if=/dev/urandom of=/dev/drbd0 bs=64k count=64 seek=32 conv=fsync 2>&1');
  await p.vm.sh(
    'blkdiscard -o 4194304 -l 1048576 /dev/drbd0 && blkdiscard -z -o 6291456 -l 524288 /dev/drbd0',
  );
  await p.same(t);
});

test.serial('after a pause only what changed is copied, in either direction', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('host');
  await p.disconnected();
  t.is(await p.us.write(100, pattern(30, 8192)), 0);
  t.is(await p.us.write(20000, pattern(31, 4096)), 0);
  await p.kernelDials();
  await p.settled();
  await p.same(t);
  t.regex(await p.vm.proc(), / nr:(16|20|24|28) /, 'kibibytes the kernel received');

  await p.demoteUs();
  await p.us.disconnect();
  await p.vm.until('cs:WFConnection');
  await p.promoteKernel();
  await p.kernelWrites(8000, pattern(32, 16384));
  p.dial();
  await p.settled();
  await p.same(t);
  t.regex(await p.vm.proc(), / ns:16 /, 'kibibytes the kernel sent');
});
