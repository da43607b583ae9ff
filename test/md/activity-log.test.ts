import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import {
  AL_BLOCK_BYTES,
  alBlockOf,
  beginTransaction,
  decodeTransaction,
  encodeInitialized,
  FREE_EXTENT,
  maxAlSlots,
  putContext,
  putUpdate,
  replayAl,
  sealTransaction,
} from '../../src/md/activity-log.js';
import { applyAl, encodeRing, planApplyAl } from '../../src/md/apply-al.js';
import {
  isRefused,
  layoutOfDevice,
  layoutOfSuperblock,
  superblockSector,
} from '../../src/md/layout.js';
import {
  decodeSuperblock,
  freshSuperblock,
  MAGIC_UNCLEAN,
  MAGIC_V08,
  MDF,
  type Superblock,
} from '../../src/md/superblock.js';

function fresh(flags: number, magic = MAGIC_UNCLEAN): Superblock {
  const l = layoutOfDevice('internal', 131072);
  if (isRefused(l)) throw new Error(l.text);
  return { ...freshSuperblock(l), flags, magic };
}

interface Tr {
  tr: number;
  size?: number;
  start?: number;
  updates?: [slot: number, extent: number][];
  context?: [slot: number, extent: number][];
}
function write(ring: Uint8Array, block: number, tr: Tr): void {
  const at = block * AL_BLOCK_BYTES;
  beginTransaction(ring, at, tr.tr, tr.size ?? 61, tr.start ?? 0);
  (tr.updates ?? []).forEach(([slot, extent], i) => {
    putUpdate(ring, at, i, slot, extent);
  });
  for (const [slot, extent] of tr.context ?? []) {
    putContext(ring, at, slot - (tr.start ?? 0), extent);
  }
  sealTransaction(ring, at);
}

// docs/METADATA.md section 5: checksums that drbdmeta accepts.
test('checksums', (t) => {
  const b = Buffer.alloc(4096, 1);
  encodeInitialized(b, 0);
  t.is(b.readUInt32BE(8), 0x709cc651);
  write(b, 0, { tr: 100, updates: [[0, 3]] });
  t.is(b.readUInt32BE(8), 0xcc3a580c);
  const tr = decodeTransaction(b, 0);
  t.is(tr?.trNumber, 100);
  t.is(tr?.updateExtents[0], 3);
  t.is(tr?.updateSlots[1], 0xffff);
  for (let i = 0; i < 4096; i += 97) {
    b[i] = (b[i] ?? 0) ^ 1;
    t.is(decodeTransaction(b, 0), null, `a flipped bit at ${i}`);
    b[i] = (b[i] ?? 0) ^ 1;
  }
});

test('ring position, striped and not', (t) => {
  t.deepEqual(
    [0, 1, 7, 8, 0xffffffff].map((tr) => alBlockOf(tr, 1, 8)),
    [0, 1, 7, 0, 7],
  );
  t.deepEqual(
    [0, 1, 2, 3, 31, 32].map((tr) => alBlockOf(tr, 2, 16)),
    [0, 16, 1, 17, 31, 0],
  );
  t.is(maxAlSlots(8), 6433);
  t.is(maxAlSlots(4194304), 65534);
});

test('replay: newest content of each slot wins, in ring order across the wrap', (t) => {
  const ring = encodeRing(8);
  const table = new Map<number, number>();
  for (let tr = 5; tr < 13; tr++) {
    write(ring, tr % 8, { tr, context: [...table], updates: [[tr % 3, tr * 10]] });
    table.set(tr % 3, tr * 10);
  }
  // Slots 0, 1, 2 were last written by transactions 12, 10, 11.
  t.deepEqual(replayAl(ring, fresh(2)).hotExtents, [100, 110, 120]);
  // The context is the table before the transaction: it brings back what overwritten blocks said.
  table.set(5, 55);
  write(ring, 13 % 8, { tr: 13, updates: [[0, 7]], context: [...table] });
  t.deepEqual(replayAl(ring, fresh(2)).hotExtents, [7, 55, 100, 110]);
  table.set(0, 7);
  // A freed slot.
  write(ring, 14 % 8, { tr: 14, context: [...table], updates: [[5, FREE_EXTENT]] });
  t.deepEqual(replayAl(ring, fresh(2)).hotExtents, [7, 100, 110]);
});

test('replay: transaction numbers wrap at 2^32', (t) => {
  const ring = encodeRing(8);
  for (let n = 0; n < 8; n++) {
    const tr = (0xfffffffd + n) >>> 0;
    write(ring, tr % 8, { tr, updates: [[0, n]] });
  }
  t.deepEqual(replayAl(ring, fresh(2)).hotExtents, [7]);
});

test('replay: striped rings are read in logical order', (t) => {
  const ring = encodeRing(32);
  const sb = { ...fresh(2), alStripes: 2, alStripeSize4k: 16 };
  for (let tr = 20; tr < 40; tr++) write(ring, alBlockOf(tr, 2, 16), { tr, updates: [[0, tr]] });
  t.deepEqual(replayAl(ring, sb).hotExtents, [39]);
});

test('replay: a torn newest transaction is the one before', (t) => {
  const ring = encodeRing(8);
  write(ring, 0, { tr: 0, updates: [[66, 3]] });
  write(ring, 1, { tr: 1, updates: [[65, 4]] });
  ring[AL_BLOCK_BYTES + 500] = 1;
  const r = replayAl(ring, fresh(2));
  t.deepEqual(
    [r.hotExtents, r.corrupt, r.error, r.messages],
    [[3], 1, null, ['1 corrupt AL transactions found']],
  );
});

test('replay: logs without an update', (t) => {
  const ring = encodeRing(8);
  t.like(replayAl(ring, fresh(2)), { error: null, transactions: 0, corrupt: 0 });
  ring[100] = 1; // the very first transaction was torn
  t.like(replayAl(ring, fresh(2)), { error: null, transactions: 0, corrupt: 1 });
  ring[4096] = 1;
  t.like(replayAl(ring, fresh(2)), { error: 'no-valid-update', corrupt: 2 });
  t.like(replayAl(new Uint8Array(32768), fresh(2)), { error: 'no-usable-log', corrupt: 8 });
});

test('apply-al refuses a log it needs and cannot read, and ignores it otherwise', (t) => {
  const nothing = new Uint8Array(32768);
  t.like(planApplyAl(fresh(MDF.PRIMARY_IND), nothing), {
    failed: true,
    superblock: null,
    initializeRing: false,
  });
  const ignored = planApplyAl(fresh(MDF.CONSISTENT), nothing);
  t.like(ignored, { failed: false, errorIgnored: true, applied: false, initializeRing: true });
  t.is(ignored.superblock?.magic, MAGIC_V08);
  t.is(ignored.superblock?.flags, MDF.CONSISTENT | MDF.AL_CLEAN);
  const ring = encodeRing(8);
  const clean = planApplyAl(fresh(MDF.AL_CLEAN, MAGIC_V08), ring);
  t.like(clean, { initializeRing: false, superblock: null, applied: false });
});

function write83(ring: Buffer, sector: number, tr: number, entries: [number, number][]): void {
  const at = sector * 512;
  ring.writeUInt32BE(0x83740267, at);
  ring.writeUInt32BE(tr, at + 4);
  let xor = 0;
  for (let i = 0; i < 62; i++) {
    const [slot, extent] = entries[i] ?? [i, FREE_EXTENT];
    ring.writeUInt32BE(slot, at + 8 + 8 * i);
    ring.writeUInt32BE(extent, at + 12 + 8 * i);
    xor = (xor ^ extent) >>> 0;
  }
  ring.writeUInt32BE(xor, at + 504);
}

test('the log of 8.3: one update before its context, a ring as long as al-extents asks', (t) => {
  const ring = Buffer.alloc(32768);
  const sb = { ...fresh(MDF.PRIMARY_IND, MAGIC_V08), alExtents: 127 }; // 1 + 3 sectors
  for (let tr = 6; tr < 10; tr++) {
    write83(ring, tr % 4, tr, [
      [0, tr], // the update: wins over the context of the same transaction
      [0, 99],
      [tr, 1000 + tr],
    ]);
  }
  write83(ring, 5, 50, [[3, 77]]); // behind the ring: not read
  const r = replayAl(ring, sb);
  t.is(r.format, '8.3');
  t.deepEqual(r.hotExtents, [9, 1006, 1007, 1008, 1009]);
  ring[512 + 12] = 1; // an extent: its sum does not match
  t.is(replayAl(ring, sb).corrupt, 1);
  const plan = planApplyAl(sb, ring);
  t.like(plan, { applied: true, initializeRing: true });
  t.like(planApplyAl(sb, Buffer.alloc(32768)), {
    failed: false,
    applied: false,
    initializeRing: true,
  });
});

test('extents become bits, clipped to the bitmap, from any stretch of it', (t) => {
  const whole = new Uint8Array(4096);
  whole[130] = 0x0f;
  t.is(applyAl(whole, [1, 31, 32, FREE_EXTENT]), 2048 - 4);
  t.true(whole.subarray(128, 256).every((b) => b === 255));
  t.true(whole.subarray(3968).every((b) => b === 255));
  t.is(whole[127], 0);
  const second = new Uint8Array(100);
  t.is(applyAl(second, [31, 32, 33], 4096), 800);
});

// The kernel's own logs: docs/METADATA.md, "Observed on a kernel node".
test('the log of a crashed Primary of the kernel', (t) => {
  const disk = gunzipSync(readFileSync('test/golden/metadata/4-crashed-primary-alice.img.gz'));
  const at = superblockSector('internal', disk.length / 512);
  const sb = decodeSuperblock(disk, at * 512);
  const l = layoutOfSuperblock(sb, 'internal', at);
  const ring = disk.subarray(l.alSector * 512, (l.alSector + l.alBlocks * 8) * 512);
  const plan = planApplyAl(sb, ring);
  t.deepEqual(plan.mark, [0, 1, 2, 4, 8, 15]);
  t.is(plan.replay.corrupt, 0);
  const bitmap = new Uint8Array(disk.subarray(l.bitmapSector * 512, (l.bitmapSector + 8) * 512));
  t.is(applyAl(bitmap, plan.mark) * 4, 24 * 1024); // "Marked additional 24 MB"
});
