/**
 * What operators ask for on either side of a pair of ours and a kernel's DRBD 8.4: checksums, pauses, invalidate-remote, roles
 * refused, split brain found and settled.
 */
import test from 'ava';
import { invalidateRemote, pauseSync } from '../../src/drbd/disk-verbs.js';
import { setPrimary } from '../../src/drbd/roles.js';
import { need } from '../support/need.js';
import { KernelPair, pattern, removeMachine } from './kernel-pair.js';
import { KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

test.serial('a second Primary is refused, by either', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('host');
  await t.throwsAsync(p.promoteKernel(), { message: /Multiple primaries|State change failed/ });
  await p.demoteUs();
  await p.promoteKernel();
  const refused = await p.us.ask((v, done) => setPrimary(v, false, done));
  t.is(refused.kind, 'state');
  t.is(p.us.ro, 'Secondary/Primary');
  await p.demoteKernel();
  await p.promoteUs();
});

test.serial('split brain is found by both, and settled by discard-my-data', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t);
  await p.synced('host');
  await p.us.disconnect();
  t.is(await p.us.write(800, pattern(60, 4096)), 0);
  await p.demoteUs();
  await p.vm.sh('drbdadm disconnect r0');
  await p.promoteKernel();
  await p.kernelWrites(1600, pattern(61, 4096));
  p.dial();
  await p.kernelDials();
  await p.us.until(/cs:StandAlone/);
  await p.vm.until('cs:StandAlone');
  // It was not cut off before it had found out, and has told its operators.
  const said = await p.vm.sh('dmesg');
  t.regex(said, /Split-Brain detected but unresolved, dropping connection!/);
  t.regex(said, /helper command: \S+ split-brain minor-0/);
  await p.vm.sh('drbdadm connect r0');
  p.dial(true);
  await p.settled();
  await p.same(t);
  t.deepEqual(p.us.onDisk(1600, 4096), pattern(61, 4096));
});

/** What each says at the end of a resync: its last line of this kind. */
async function equalShare(p: KernelPair): Promise<[string, string]> {
  const line = /\d+ % had equal checksums, eliminated: \d+K; transferred \d+K total \d+K/g;
  const last = (text: string): string => text.match(line)?.at(-1) ?? 'none';
  return [last(p.us.log.join('\n')), last(await p.vm.sh('dmesg'))];
}

test.serial('checksums: equal blocks are not copied', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, { net: { csumsAlg: 'sha1' } }, { net: 'csums-alg sha1;' });
  await p.synced('host');
  t.is(await p.us.write(8000, pattern(70, 65536)), 0);

  // The kernel asks: all is equal.
  const sent = p.us.volume.sendSectors;
  await p.vm.sh('drbdadm invalidate r0');
  await p.us.until(/SyncSource/);
  await p.settled();
  await p.same(t);
  const [ours, kernels] = await equalShare(p);
  t.is(ours, kernels);
  t.regex(ours, /^100 % had equal checksums/);
  t.is(p.us.volume.sendSectors, sent, 'no data');

  // We ask, and the kernel answers.
  await p.demoteUs();
  await p.promoteKernel();
  const received = p.us.volume.receiveSectors;
  await p.vm.sh('drbdadm invalidate-remote r0');
  await p.us.until(/SyncTarget/);
  await p.settled();
  await p.same(t);
  const second = await equalShare(p);
  t.is(second[0], second[1]);
  t.is(p.us.volume.receiveSectors, received, 'no data');
});

test.serial('checksums: what differs is copied, in both directions', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, { net: { csumsAlg: 'sha1' } }, { net: 'csums-alg sha1;' });
  await p.synced('host');
  for (const direction of ['to the kernel', 'to us']) {
    await p.us.disconnect();
    // Of two blocks that are written one gets the data that it has.
    const [changed, same] = [pattern(direction.length, 4096), p.us.onDisk(1600, 4096)];
    if (direction === 'to us') {
      await p.kernelWrites(800, changed);
      await p.kernelWrites(1600, same);
    } else {
      t.is(await p.us.write(800, changed), 0);
      t.is(await p.us.write(1600, same), 0);
    }
    p.dial();
    await p.settled();
    await p.same(t);
    const [ours, kernels] = await equalShare(p);
    t.is(ours, kernels, direction);
    t.is(ours, '50 % had equal checksums, eliminated: 4K; transferred 4K total 8K');
    await p.demoteUs();
    await p.promoteKernel();
  }
});

test.serial('invalidate-remote and pauses', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, { disk: { resyncRateKiBps: 2048 } });
  await p.synced('host');
  t.is((await p.us.ask((v, done) => invalidateRemote(v, done))).kind, 'ok');
  await p.both(/cs:SyncSource/, 'cs:SyncTarget');
  await p.us.ask((v, done) => pauseSync(v, true, done));
  await p.both(/cs:PausedSyncS/, 'cs:PausedSyncT');
  await p.us.ask((v, done) => pauseSync(v, false, done));
  await p.both(/cs:(SyncSource|Connected)/, 'cs:(SyncTarget|Connected)');
  await p.vm.sh('drbdadm pause-sync r0');
  await p.both(/cs:PausedSyncS/, 'cs:PausedSyncT');
  await p.vm.sh('drbdadm resume-sync r0');
  await p.settled();
  await p.same(t);
});

// Two kernels part here: the one that is resynchronized takes over the generation that its peer had before the first sync was skipped.
test.serial(
  'a kernel that has skipped the first sync, and is a target then, is of our generation',
  async (t) => {
    if (!need(t, ...KERNEL_NEEDS)) return;
    const p = await KernelPair.create(t);
    await p.kernelDials();
    p.dial();
    await p.connected();
    await p.vm.sh('drbdadm new-current-uuid --clear-bitmap r0 && drbdadm primary r0');
    await p.settled();
    await p.vm.sh('drbdadm invalidate r0');
    await p.us.until(/cs:SyncSource/);
    await p.settled();
    await p.same(t);
    const current = p.us.volume.uuids.current & ~1n;
    const theirs = await p.vm.sh('drbdadm down r0; drbdadm get-gi r0');
    t.is(BigInt(`0x${theirs.trim().slice(0, 16)}`) & ~1n, current);
  },
);
