import test from 'ava';
import {
  isRefused,
  layoutOfDevice,
  layoutOfSuperblock,
  type MetaIndex,
  type MetaLayout,
  type Striping,
  superblockSector,
  usableSectors,
} from '../../src/md/layout.js';
import { checkSuperblock, freshSuperblock } from '../../src/md/superblock.js';

function layout(index: MetaIndex, sectors: number, striping?: Striping): MetaLayout {
  const l = layoutOfDevice(index, sectors, striping);
  if (isRefused(l)) throw new Error(l.text);
  return l;
}

// docs/METADATA.md section 2: places that drbdmeta 9.22 printed for devices of these sizes.
const SEEN: readonly (readonly [number, Striping | undefined, number, number, number, number])[] = [
  [67108864, undefined, 80, 67104768, 67072000, 67067904],
  [1073741824, undefined, 136, 1073737728, 1073704960, 1073672192],
  [1000000000, undefined, 136, 999993344, 999960576, 999927808],
  [10737418240, undefined, 712, 10737414144, 10737381376, 10737053696],
  [107374184448, undefined, 6480, 107374178304, 107374145536, 107370864640],
  [67108864, { stripes: 2, stripeSize4k: 16 }, 272, 67104768, 66973696, 66969600],
];

for (const [bytes, striping, mdSize, mdAt, alAt, bmAt] of SEEN) {
  test(`internal on ${bytes} bytes${striping ? ', striped' : ''}`, (t) => {
    const sectors = Math.floor(bytes / 512);
    const l = layout('internal', sectors, striping);
    t.is(l.mdSizeSectors, mdSize);
    t.is(l.superblockSector * 512, mdAt);
    t.is(l.alSector * 512, alAt);
    t.is(l.bitmapSector * 512, bmAt);
    t.is(usableSectors(l, sectors) * 512, bmAt);
  });
}

test('flexible: the whole device, bitmap to its end; data as far as whole pages of the bitmap reach', (t) => {
  const l = layout('flexible', 16389);
  t.is(l.superblockSector, 0);
  t.is(l.mdSizeSectors, 16389);
  t.deepEqual([l.alSector, l.bitmapSector, l.bitmapSectors], [8, 72, 16317]);
  t.is(usableSectors(l, 1000), 1000);
  t.is(usableSectors(l, 2 ** 40), 16312 * 32768);
});

test('indexed: slots of 128 MiB', (t) => {
  const l = layout(3, 4 * 262144);
  t.is(l.superblockSector, 3 * 262144);
  t.is(l.mdSizeSectors, 262144);
  t.is(usableSectors(l, 2 ** 41), (262144 - 72) * 32768);
  t.is(superblockSector(4, 4 * 262144 + 262143), -1);
  const none = layoutOfDevice(4, 4 * 262144);
  t.is(isRefused(none) && none.refused, 'device-too-small');
});

test('what cannot be laid out is refused with a reason', (t) => {
  const why = (index: MetaIndex, sectors: number, striping?: Striping): string => {
    const l = layoutOfDevice(index, sectors, striping);
    return isRefused(l) ? l.refused : 'ok';
  };
  t.is(why('internal', 135), 'device-too-small');
  t.is(why('internal', 136), 'ok');
  t.is(why('internal', 200, { stripes: 4, stripeSize4k: 8 }), 'device-too-small');
  t.is(why('internal', 2 ** 41 + 8), 'device-too-large');
  t.is(why('internal', 131072, { stripes: 1, stripeSize4k: 7 }), 'bad-striping');
  t.is(why('internal', 2 ** 40, { stripes: 4, stripeSize4k: 1048577 }), 'bad-striping');
  t.is(why('internal', 131072, { stripes: 0, stripeSize4k: 0 }), 'bad-striping');
  t.is(why(0, 262144, { stripes: 2, stripeSize4k: 8 }), 'bad-striping');
  t.is(why(-1, 262144), 'bad-index');
  t.is(why('flexible', 200, { stripes: 8, stripeSize4k: 8 }), 'device-too-small');
});

// Any layout that create-md makes passes the checks of an attach, and is read back from its superblock.
test('fresh superblocks pass the checks and give their layout back', (t) => {
  const sizes = [
    136,
    137,
    143,
    144,
    2048,
    131072,
    262143,
    262144,
    262152,
    2 ** 31,
    2 ** 33 + 5,
    2 ** 41,
  ];
  for (const sectors of sizes) {
    for (const index of ['internal', 'flexible', 0] as const) {
      const l = layoutOfDevice(index, sectors);
      if (isRefused(l)) continue;
      const sb = freshSuperblock(l);
      t.is(checkSuperblock(sb, index, l.superblockSector, sectors), null, `${index} ${sectors}`);
      t.deepEqual(layoutOfSuperblock(sb, index, l.superblockSector), l);
      t.true(l.alSector >= 0 && l.bitmapSector >= 0);
      // Everything lies on the device, nothing overlaps, and usable data ends before internal meta-data.
      const parts = [
        [l.superblockSector, 8],
        [l.alSector, l.alBlocks * 8],
        [l.bitmapSector, l.bitmapSectors],
        ...(index === 'internal' ? [[0, usableSectors(l, sectors)]] : []),
      ].sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
      let end = 0;
      for (const [at = 0, length = 0] of parts) {
        t.true(at >= end, `${index} ${sectors}`);
        end = at + length;
      }
      t.true(end <= sectors);
    }
  }
});
