/**
 * Options that change on a connection between an engine of ours and a kernel's DRBD 8.4, from either side and under load: both hold the
 * same afterwards, the connection is the same one all the time, and the kernel says what it has adopted.
 */
import test from 'ava';
import type { NetOptions } from '../../src/config/drbd-options.js';
import { changeDiskOptions, changeNetOptions } from '../../src/drbd/option-change.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';
import { KernelPair, removeMachine } from './kernel-pair.js';
import { KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

/** Ours; null: taken. */
function change(p: KernelPair, options: Partial<NetOptions>): number | null {
  const { loop, resource } = p.us;
  return loop.enter(
    () => changeNetOptions(resource, { ...resource.netOptions, ...options })?.code ?? null,
  );
}

/** The kernel's: what `drbdadm adjust` runs there. */
const kernels = (p: KernelPair, options: string): string =>
  `drbdsetup net-options ipv4:10.0.3.15:7788 ipv4:10.0.3.2:${p.vm.ourPort} ${options}`;

const FIO =
  'fio --name=x --filename=/dev/drbd0 --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --time_based --runtime=';

test.serial('ours changes under our writes: protocol, digest, names and rates', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('host');
  const link = p.us.resource.link;
  const load = p.load(21);
  const digests = ['crc32c', 'sha1', '', 'md5', 'sha1', ''];
  for (const [i, protocol] of (['A', 'B', 'C', 'B', 'A', 'C'] as const).entries()) {
    await load.more(60);
    t.is(change(p, { protocol, dataIntegrityAlg: digests[i] ?? '' }), null);
    await load.more(60);
    await p.vm.until(` ${protocol} r-----`);
  }
  await load.stop();
  t.is(load.failed, 0);
  t.is(change(p, { verifyAlg: 'sha1', csumsAlg: 'md5', afterSb0pri: 'discard-local' }), null);
  const rates = { ...p.us.volume.diskOptions, resyncRateKiBps: 4321 };
  p.us.loop.enter(() => changeDiskOptions(p.us.volume, rates, () => {}));
  await p.vm.sh('n=0; until drbdsetup show r0 | grep -q 4321; do n=$((n+1)); [ $n -lt 100 ]; done');
  const has = await p.vm.sh('drbdsetup show --show-defaults r0');
  t.regex(has, /protocol\s+C;/);
  t.regex(has, /verify-alg\s+"?sha1"?;/);
  t.regex(has, /csums-alg\s+"?md5"?;/);
  t.regex(has, /after-sb-0pri\s+discard-remote;/);
  t.regex(has, /resync-rate\s+4321k;/);
  t.is(p.us.resource.link, link);
  await p.same(t);
  p.holds(t, load);
});

test.serial('the kernel changes under its writes, and we follow', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('kernel');
  const link = p.us.resource.link;
  const steps = [
    '--protocol=A --data-integrity-alg=crc32c',
    '--protocol=B --data-integrity-alg=sha1',
    "--protocol=C --data-integrity-alg=''",
    '--after-sb-0pri=discard-local --verify-alg=md5 --csums-alg=sha1',
  ].map((options) => `${kernels(p, options)} || exit 1; sleep 1;`);
  const out = await p.vm.sh(
    `${FIO}8 >/tmp/fio 2>&1 & sleep 1; ${steps.join(' ')} wait; cat /tmp/fio`,
  );
  t.regex(out, /err= 0/);
  t.like(p.us.resource.netOptions, {
    protocol: 'C',
    verifyAlg: 'md5',
    csumsAlg: 'sha1',
    afterSb0pri: 'discard-remote',
  });
  await p.vm.sh('drbdsetup disk-options 0 --resync-rate=3210k');
  await until(() => p.us.volume.diskOptions.resyncRateKiBps === 3210, 'its rate');
  t.is(p.us.resource.link, link);
  await p.demoteKernel();
  await p.same(t);
});

test.serial('each node has a digest of its own until the other one follows', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(
    t,
    { net: { dataIntegrityAlg: 'crc32c' } },
    { net: 'data-integrity-alg crc32c;' },
  );
  await p.synced('host');
  const load = p.load(22);
  await load.more(50);
  await p.vm.sh(kernels(p, '--data-integrity-alg=sha1'));
  await load.more(50);
  await load.stop();
  t.is(load.failed, 0);
  t.is(p.us.resource.link?.sends.alg, 'crc32c');
  t.is(p.us.resource.link?.receives.alg, 'sha1');
  await p.demoteUs();
  await p.promoteKernel();
  t.regex(await p.vm.sh(`${FIO}2 2>&1`), /err= 0/);
  await p.demoteKernel();
  t.is(change(p, { dataIntegrityAlg: 'sha1' }), null);
  await p.same(t);
  await p.vm.sh('drbdadm disconnect r0');
  await p.us.until(/cs:WFConnection/);
});
