/**
 * on-congestion between ours and a kernel's DRBD 8.4, in both seats: who writes pulls Ahead again and again, out of the resync too, the other
 * one is Behind; when the writes cease both are the same. Also at protocol 96, the oldest that knows it.
 */
import test from 'ava';
import { FULL_DIALECT } from '../../src/drbd/connect.js';
import { need } from '../support/need.js';
import { until } from '../support/until.js';
import { KernelPair, removeMachine } from './kernel-pair.js';
import { KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

const FIO =
  'fio --name=x --filename=/dev/drbd0 --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k --time_based --runtime=';

/** So often ours has said so. */
const said = (p: KernelPair, text: string): number =>
  p.us.log.filter((line) => line.includes(text)).length;

async function kernelSaid(p: KernelPair, text: string): Promise<number> {
  return Number((await p.vm.sh(`dmesg | grep -c -F -e '${text}' || true`)).trim());
}

for (const protocolMax of [101, 96]) {
  const dialect = protocolMax === 101 ? FULL_DIALECT : { protocolMax, features: 0 };

  test.serial(`ours is Ahead, the kernel Behind, at protocol ${protocolMax}`, async (t) => {
    if (!need(t, ...KERNEL_NEEDS)) return;
    const net = { protocol: 'A', onCongestion: 'pull-ahead', congestionFillSectors: 48 } as const;
    const p = await KernelPair.create(t, { net, dialect }, { net: 'protocol A;' });
    await p.synced('host');
    const { link } = p.us.resource;
    t.is(link?.apv, protocolMax);
    const load = p.load(51);
    await until(() => said(p, '-> Ahead )') >= 5, 'ours was Ahead five times');
    await load.more(50);
    await load.stop();
    t.is(load.failed, 0);
    await p.settled();
    t.true(said(p, 'SyncSource -> Ahead )') > 0);
    t.true((await kernelSaid(p, 'Connected -> Behind )')) > 0);
    t.true((await kernelSaid(p, 'Behind -> SyncTarget )')) >= 3);
    t.is(p.us.resource.link, link, 'one connection');
    await p.same(t);
    p.holds(t, load);
  });

  test.serial(`the kernel is Ahead, ours Behind, at protocol ${protocolMax}`, async (t) => {
    if (!need(t, ...KERNEL_NEEDS)) return;
    const p = await KernelPair.create(
      t,
      { net: { protocol: 'A' }, dialect },
      { net: 'protocol A; on-congestion pull-ahead; congestion-fill 48s;' },
    );
    await p.synced('kernel');
    const { link } = p.us.resource;
    t.is(link?.apv, protocolMax);
    const out = await p.vm.sh(`${FIO}8 2>&1`);
    t.regex(out, /err= 0/);
    await p.settled();
    t.true(said(p, 'Connected -> Behind )') > 0);
    t.true(said(p, 'Behind -> SyncTarget )') > 0);
    t.true((await kernelSaid(p, '-> Ahead )')) > 0);
    t.is(p.us.resource.link, link, 'one connection');
    await p.demoteKernel();
    await p.same(t);
  });
}

test.serial(
  'lost in Ahead, in either seat: what is marked is copied when they meet again',
  async (t) => {
    if (!need(t, ...KERNEL_NEEDS)) return;
    const net = { protocol: 'A', onCongestion: 'pull-ahead', congestionFillSectors: 48 } as const;
    const p = await KernelPair.create(
      t,
      { net },
      { net: 'protocol A; on-congestion pull-ahead; congestion-fill 48s;' },
    );
    await p.synced('host');
    const load = p.load(52);
    await p.us.until(/cs:Ahead/);
    await p.vm.sh('drbdadm disconnect r0 || drbdadm disconnect --force r0');
    await p.us.until(/cs:WFConnection/);
    await load.more(50);
    await p.kernelDials();
    await load.more(100);
    await load.stop();
    t.is(load.failed, 0);
    await p.settled();
    await p.same(t);
    p.holds(t, load);

    await p.demoteUs();
    await p.promoteKernel();
    await p.vm.sh(`(${FIO}6; touch /tmp/written) >/dev/null 2>&1 &`);
    await p.us.until(/cs:Behind/);
    await p.us.disconnect();
    p.dial();
    await p.vm.sh('until [ -e /tmp/written ]; do sleep 0.1; done');
    await p.settled();
    await p.demoteKernel();
    await p.same(t);
  },
);

test.serial('disconnect: ours is StandAlone, the kernel waits for it', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const net = { protocol: 'A', onCongestion: 'disconnect', congestionFillSectors: 48 } as const;
  const p = await KernelPair.create(t, { net }, { net: 'protocol A;' });
  await p.synced('host');
  const load = p.load(53);
  await p.both(/cs:StandAlone/, 'cs:WFConnection');
  await load.more(20);
  await load.stop();
  p.dial();
  await p.settled();
  await p.same(t);
  p.holds(t, load);
});
