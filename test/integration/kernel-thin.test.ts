/**
 * Thin resync between ours and a kernel's DRBD 8.4.11, in either seat: blocks of zeroes are asked for with P_RS_THIN_REQ, answered with
 * P_RS_DEALLOCATED, and punched out of the target's disk; the copies are equal, under load and when the connection breaks.
 */
import { closeSync, fsyncSync, openSync, statSync, writeSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { invalidate, invalidateRemote } from '../../src/drbd/disk-verbs.js';
import { need } from '../support/need.js';
import { KernelPair, pattern, removeMachine } from './kernel-pair.js';
import { KERNEL_NEEDS } from './kernel-vm.js';

test.after.always('the machine goes', removeMachine);

const UNIT = 65536;
const UNIT_SECTORS = UNIT / 512;
const OURS = { disk: { rsDiscardGranularityBytes: UNIT } };
const KERNELS = { disk: `rs-discard-granularity ${UNIT};` };
/** Units of 64 KiB that hold something: all of it, its first block, its last one. */
const WRITTEN = [
  [3, 0, UNIT],
  [40, 0, 4096],
  [41, UNIT - 4096, 4096],
  [200, 8192, 4096],
] as const;

/** Of our disk, everything but the meta-data at its end. */
function ours(p: KernelPair, bytes: (offset: number) => Uint8Array): void {
  const fd = openSync(p.us.disk, 'r+');
  const end = p.us.volume.sizeSectors * 512;
  for (let at = 0; at < end; at += UNIT) {
    const unit = bytes(at);
    writeSync(fd, unit, 0, Math.min(UNIT, end - at), at);
  }
  fsyncSync(fd);
  closeSync(fd);
}

/** The same of the kernel's, before anybody is connected. */
async function kernelsIs(p: KernelPair, what: 'old' | 'zero'): Promise<void> {
  const from = what === 'old' ? '/dev/urandom' : '/dev/zero';
  const kib = p.us.volume.sizeSectors / 2;
  await p.vm.sh(
    `dd if=${from} of=/dev/vda bs=4k count=${Math.floor(kib / 4)} oflag=direct iflag=fullblock conv=notrunc 2>&1`,
  );
}

const allocated = (path: string): number => statSync(path).blocks * 512;

/** So many sectors went over the wire, and few more: a slow machine cuts a unit where its time is over, and sends that as it is. */
function hasCopied(t: ExecutionContext, sectors: number, least: number, what = ''): void {
  const text = `${what} ${sectors} of ${least}`;
  t.true(sectors >= least && sectors <= least + 8 * UNIT_SECTORS, text);
}

test.serial('our zeroes are not sent to the kernel', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, {}, KERNELS);
  await kernelsIs(p, 'old');
  ours(p, (at) => {
    const unit = new Uint8Array(UNIT);
    for (const [n, from, bytes] of WRITTEN) if (n * UNIT === at) unit.set(pattern(n, bytes), from);
    return unit;
  });
  const image = p.vm.images[0] ?? '';
  const before = allocated(image);
  await p.synced('host');
  await p.same(t);
  t.regex(await p.vm.sh('drbdsetup show --show-defaults r0'), /rs-discard-granularity\s+65536/);
  const rest = p.us.volume.sizeSectors % UNIT_SECTORS;
  hasCopied(t, p.us.volume.sendSectors, WRITTEN.length * UNIT_SECTORS + rest);
  t.true(allocated(image) < before - (8 << 20), `${before} -> ${allocated(image)}`);

  // Beside our writes, and broken in the middle.
  const load = p.load(31);
  await load.more(50);
  await p.vm.sh('drbdadm invalidate r0');
  await load.more(50);
  await p.vm.sh('drbdadm disconnect r0; drbdadm connect r0');
  await load.more(200);
  await load.stop();
  t.is(load.failed, 0);
  await p.settled();
  await p.same(t);
  p.holds(t, load);
});

test.serial("the kernel's zeroes are not sent to us", async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, OURS, {});
  await kernelsIs(p, 'zero');
  for (const [n, from, bytes] of WRITTEN) {
    await p.vm.write('/dev/vda', n * UNIT + from, 4096, pattern(n, bytes));
  }
  ours(p, (at) => pattern(at / UNIT + 5, UNIT));
  const before = allocated(p.us.disk);
  await p.synced('kernel');
  await p.same(t);
  const rest = p.us.volume.sizeSectors % UNIT_SECTORS;
  hasCopied(t, p.us.volume.receiveSectors, WRITTEN.length * UNIT_SECTORS + rest);
  t.true(allocated(p.us.disk) < before - (8 << 20), `${before} -> ${allocated(p.us.disk)}`);

  // Beside its writes and discards, and broken in the middle; then as a Primary that is the target.
  await p.vm.sh(
    'rm -f /tmp/done; (for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/dev/drbd0 bs=64k count=60 seek=$((i * 9)) oflag=direct; blkdiscard -o $((i * 1048576)) -l 524288 /dev/drbd0; done; touch /tmp/done) >/dev/null 2>&1 &',
  );
  t.is((await p.us.ask((v, done) => invalidate(v, done))).kind, 'ok');
  await p.us.until(/cs:SyncTarget|ds:UpToDate\/UpToDate/);
  await p.us.disconnect();
  p.dial();
  await p.vm.sh('until [ -e /tmp/done ]; do sleep 0.1; done');
  await p.settled();
  await p.same(t);
  await p.demoteKernel();
  await p.promoteUs();
  const load = p.load(32);
  await load.more(50);
  t.is((await p.us.ask((v, done) => invalidate(v, done))).kind, 'ok');
  await load.more(200);
  await load.stop();
  t.is(load.failed, 0);
  await p.settled();
  await p.same(t);
  p.holds(t, load);
});

test.serial('both are asked to, and each one copies to the other', async (t) => {
  if (!need(t, ...KERNEL_NEEDS)) return;
  const p = await KernelPair.create(t, OURS, KERNELS);
  await p.synced('host');
  t.is(await p.us.write(5 * UNIT_SECTORS, pattern(9, UNIT)), 0);
  for (const way of ['to the kernel', 'to us'] as const) {
    const { sendSectors, receiveSectors, sizeSectors } = p.us.volume;
    const request = way === 'to us' ? invalidate : invalidateRemote;
    t.is((await p.us.ask((v, done) => request(v, done))).kind, 'ok', way);
    await p.us.until(/cs:Sync|ds:UpToDate\/UpToDate/);
    await p.settled();
    await p.same(t);
    const { volume } = p.us;
    const moved = volume.sendSectors - sendSectors + volume.receiveSectors - receiveSectors;
    hasCopied(t, moved, UNIT_SECTORS + (sizeSectors % UNIT_SECTORS), way);
  }
});
