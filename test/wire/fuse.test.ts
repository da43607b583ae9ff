/** FUSE messages against the layout of <linux/fuse.h> 7.45. */
import test from 'ava';
import fc from 'fast-check';
import {
  decodeInit,
  fallocateBytes,
  fallocateMode,
  fallocateOffset,
  ioBytes,
  ioOffset,
  minimumBytes,
  Opcode,
  offersResend,
  openForWrite,
  putAttributes,
  putInit,
  putNotifyInvalInode,
  putNotifyResend,
  putStatus,
  releaseForWrite,
  uniqueHigh,
  uniqueLow,
  writeIsSync,
} from '../../src/wire/fuse.js';
import { holds } from '../support/property.js';

function area(): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(256).fill(0xee);
  return { bytes, view: new DataView(bytes.buffer) };
}

test('INIT: what is offered and wanted, and never a write-back cache, a ring or passthrough', (t) => {
  const { view } = area();
  view.setUint32(0, 104, true);
  view.setUint32(40, 7, true);
  view.setUint32(44, 45, true);
  view.setUint32(48, 131072, true);
  view.setUint32(52, 0xffffffff, true);
  view.setUint32(56, 0xffffffff, true);
  const offer = decodeInit(view, 0);
  t.deepEqual(offer, {
    major: 7,
    minor: 45,
    maxReadahead: 131072,
    flags: 0xffffffff,
    flags2: 0xffffffff,
  });
  t.true(offersResend(offer));
  t.is(putInit(view, 0, offer, 2, 0), 80);
  const flags = view.getUint32(28, true);
  const flags2 = view.getUint32(48, true);
  for (const bit of [0, 5, 15, 22, 30]) t.is((flags >>> bit) & 1, 1, `bit ${bit}`);
  t.is((flags >>> 16) & 1, 0, 'WRITEBACK_CACHE');
  t.is((flags2 >>> (37 - 32)) & 1, 0, 'PASSTHROUGH');
  t.is((flags2 >>> (41 - 32)) & 1, 0, 'OVER_IO_URING');
  t.is(view.getUint16(32, true), 128);
  t.is(view.getUint16(34, true), 96);
  t.is(view.getUint32(36, true), 1 << 20);
  t.is(view.getUint16(44, true), 256, 'max_pages');
});

test('INIT of a kernel without INIT_EXT has no second word of flags', (t) => {
  const { view } = area();
  view.setUint32(0, 56, true);
  view.setUint32(52, 0, true);
  t.is(decodeInit(view, 0).flags2, 0);
  t.false(offersResend(decodeInit(view, 0)));
});

test('attributes: offsets, and 0 seconds of validity', (t) => {
  const { view } = area();
  t.is(putAttributes(view, 8, 2 ** 41, 0o600, 0xfffffffe, 0x80000000), 120);
  t.is(view.getUint32(8, true), 120);
  t.is(view.getBigUint64(16, true), 0x80000000fffffffen);
  t.is(view.getBigUint64(24, true), 0n);
  const attr = 8 + 32;
  t.is(view.getBigUint64(attr, true), 1n);
  t.is(view.getBigUint64(attr + 8, true), 2n ** 41n);
  t.is(view.getUint32(attr + 60, true), 0o100600);
  t.is(view.getUint32(attr + 64, true), 1);
  t.is(view.getUint32(attr + 80, true), 4096);
});

test('notifications have unique 0 and their code where errors are', (t) => {
  const { bytes, view } = area();
  t.is(putNotifyResend(view, 0), 16);
  t.deepEqual([...bytes.subarray(0, 16)], [16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  t.is(putNotifyInvalInode(view, 0), 40);
  t.deepEqual([view.getInt32(4, true), view.getBigUint64(16, true)], [2, 1n]);
});

test('unique comes back bit by bit, errors negative', (t) => {
  holds(
    t,
    fc.property(
      fc.bigInt(0n, 2n ** 64n - 1n),
      fc.integer({ min: 0, max: 4095 }),
      (unique, errno) => {
        const { view } = area();
        view.setBigUint64(8, unique, true);
        putStatus(view, 100, errno, uniqueLow(view, 0), uniqueHigh(view, 0));
        return (
          view.getBigUint64(108, true) === unique &&
          view.getInt32(104, true) + errno === 0 &&
          view.getUint32(100, true) === 16
        );
      },
    ),
  );
});

test('arguments lie where the kernel puts them', (t) => {
  const { view } = area();
  view.setBigUint64(48, 2n ** 40n + 512n, true);
  view.setUint32(56, 65536, true);
  t.is(ioOffset(view, 0), 2 ** 40 + 512);
  t.is(ioBytes(view, 0), 65536);
  view.setUint32(72, 0o4010002, true);
  t.true(writeIsSync(view, 0), 'O_SYNC');
  view.setUint32(72, 0o40002, true);
  t.false(writeIsSync(view, 0), 'O_DIRECT');
  view.setBigUint64(56, 3n << 40n, true);
  view.setUint32(64, 0x11, true);
  t.deepEqual(
    [fallocateOffset(view, 0), fallocateBytes(view, 0), fallocateMode(view, 0)],
    [2 ** 40 + 512, 3 * 2 ** 40, 0x11],
  );
  view.setUint32(40, 0o2, true);
  t.true(openForWrite(view, 0));
  view.setUint32(48, 0o100000, true);
  t.false(releaseForWrite(view, 0), 'O_LARGEFILE, read-only');
  t.is(minimumBytes(Opcode.WRITE), 80);
});
