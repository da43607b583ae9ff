/**
 * Online verify between ours and a kernel's DRBD 8.4, asked for on either side, with differences planted past both: both mark exactly
 * these, in the same words, and the Primary's copy repairs them.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import test from 'ava';
import type { Outcome } from '../../src/drbd/outcome.js';
import { verify } from '../../src/drbd/verify-start.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';
import { KernelPair, pattern, removeMachine } from './kernel-pair.js';
import { KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

/** As the kernel's: beside a load that ends when the verify does it would take its time. */
const OURS = { net: { verifyAlg: 'sha1' }, disk: { cMinRateKiBps: 0 } };
const KERNELS = { net: 'verify-alg sha1;' };

/** Our disk changes by itself. */
function spoilOurs(p: KernelPair, sector: number): void {
  const fd = openSync(p.us.disk, 'r+');
  writeSync(fd, new Uint8Array(512).fill(0x5a), 0, 512, sector * 512);
  fsyncSync(fd);
  closeSync(fd);
}

async function spoilKernels(p: KernelPair, sector: number): Promise<void> {
  await p.vm.sh(
    `yes spoilt | dd of=/dev/vda bs=4096 seek=${sector / 8} count=1 oflag=direct iflag=fullblock conv=notrunc 2>&1`,
  );
}

const begin = (p: KernelPair, start: number | null, stop: number | null): Promise<Outcome> =>
  p.us.ask((v, done) => verify(v, start, stop, done));

/** So often ours has said that one is over. */
const ended = (p: KernelPair): number =>
  p.us.log.filter((line) => line.includes('Online verify done')).length;

async function kernelSaid(p: KernelPair, text: string): Promise<number> {
  return Number((await p.vm.sh(`dmesg | grep -c -F '${text}' || true`)).trim());
}

function ourBits(p: KernelPair): number[] {
  const { bitmap } = p.us.volume;
  return Array.from({ length: bitmap?.bits ?? 0 }, (_, i) => i).filter((i) => bitmap?.isSet(i));
}

for (const seat of ['ours', "the kernel's"] as const) {
  test.serial(`what differs is marked on both: asked for on ${seat} side`, async (t) => {
    if (!need(t, ...KERNEL_NEEDS)) return;
    const p = await KernelPair.create(t, OURS, KERNELS);
    await p.synced('host');
    t.is(await p.us.write(80, pattern(90, 65536)), 0);
    spoilOurs(p, 4001);
    await spoilKernels(p, 240);
    const lines = await kernelSaid(p, 'Out of sync: start=240, size=8 (sectors)');
    if (seat === 'ours') t.is((await begin(p, null, null)).kind, 'ok');
    else await p.vm.sh('drbdadm verify r0');
    await until(() => ended(p) === 1, 'verify done here');
    await p.both(/cs:Connected .*ds:UpToDate\/UpToDate/, 'cs:Connected .*ds:UpToDate/UpToDate');
    t.deepEqual(ourBits(p), [30, 500]);
    await p.vm.until('oos:8$');
    t.is(await kernelSaid(p, 'Out of sync: start=240, size=8 (sectors)'), lines + 1);
    for (const text of [
      'Out of sync: start=240, size=8 (sectors)',
      'found 2 4k block out of sync!',
    ]) {
      t.true(
        p.us.log.some((line) => line.includes(text)),
        text,
      );
    }
    await p.us.disconnect();
    p.dial();
    await p.settled();
    await p.same(t);
  });

  test.serial(
    `under load nothing else is marked, whoever is Primary: asked for on ${seat} side`,
    async (t) => {
      if (!need(t, ...KERNEL_NEEDS)) return;
      const p = await KernelPair.create(t, OURS, KERNELS);
      await p.synced('host');
      const start = async (): Promise<void> => {
        if (seat === 'ours') t.is((await begin(p, null, null)).kind, 'ok');
        else await p.vm.sh('drbdadm verify r0');
      };
      const load = p.load(91);
      await start();
      await until(() => ended(p) === 1, 'verify done here');
      await load.stop();
      t.is(load.failed, 0);
      await p.settled();
      await p.same(t);
      await p.demoteUs();
      await p.promoteKernel();
      await p.vm.sh(
        'rm -f /tmp/written; (for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/dev/drbd0 bs=64k count=60 oflag=direct; done; touch /tmp/written) >/dev/null 2>&1 &',
      );
      await start();
      await until(() => ended(p) === 2, 'verify done here');
      await p.vm.sh('until [ -e /tmp/written ]; do sleep 0.1; done');
      await p.settled();
      await p.same(t);
    },
  );
}

test.serial('--start and --stop, of either', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, OURS, KERNELS);
  await p.synced('host');
  for (const sector of [0, 800, 1600]) spoilOurs(p, sector);
  await p.vm.sh('drbdsetup verify 0 --start=800s --stop=1600s');
  await until(() => ended(p) === 1, 'verify done here');
  await p.settled();
  t.deepEqual(ourBits(p), [100]);
  await p.vm.until('oos:4$');
  t.is((await begin(p, 1600, 2400)).kind, 'ok');
  await until(() => ended(p) === 2, 'verify done here');
  await p.settled();
  t.deepEqual(ourBits(p), [100, 200]);
  await p.vm.until('oos:8$');
});

test.serial('cut in the middle, and a peer without its disk', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const slow = { disk: { cPlanAheadDs: 0, resyncRateKiBps: 400 } };
  const p = await KernelPair.create(t, { ...OURS, ...slow }, KERNELS);
  await p.synced('kernel');
  spoilOurs(p, 0);
  // The peer's rate is adopted when it connects; the one who asks needs a slow one.
  const slowly = (): void => {
    p.us.volume.diskOptions = { ...p.us.volume.diskOptions, ...slow.disk };
  };
  slowly();
  t.is((await begin(p, null, null)).kind, 'ok');
  await until(() => p.us.log.some((line) => line.includes('Out of sync')), 'found');
  await p.vm.sh('drbdadm disconnect r0; drbdadm connect r0');
  await p.settled();
  await p.same(t);
  slowly();
  t.is((await begin(p, 0, null)).kind, 'ok');
  await p.vm.until('cs:VerifyT');
  await p.demoteKernel();
  await p.vm.sh('drbdadm detach r0');
  await p.us.until(/cs:Connected .*ds:UpToDate\/Diskless/);
  await p.vm.sh('drbdadm attach r0');
  await p.settled();
  await p.vm.sh('drbdadm verify r0');
  await p.both(/cs:VerifyT/, 'cs:VerifyS');
  await p.us.disconnect();
  p.dial();
  await p.settled();
  await p.same(t);
});
