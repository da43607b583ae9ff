import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import {
  isRefused,
  layoutOfDevice,
  type MetaIndex,
  superblockSector,
} from '../../src/md/layout.js';
import {
  checkSuperblock,
  decodeSuperblock,
  encodeSuperblock,
  freshSuperblock,
  MAGIC_UNCLEAN,
  MAGIC_V07,
  MAGIC_V08,
  MAGIC_V09,
  MDF,
  type Superblock,
} from '../../src/md/superblock.js';

const CAP = 131072; // 64 MiB
const AT = superblockSector('internal', CAP);

function fresh(index: MetaIndex = 'internal', capacity = CAP): Superblock {
  const l = layoutOfDevice(index, capacity);
  if (isRefused(l)) throw new Error(l.text);
  return freshSuperblock(l);
}

// docs/METADATA.md section 2: the words of a fresh 64 MiB superblock, as drbdmeta wrote them.
test('a fresh superblock, byte for byte', (t) => {
  const b = Buffer.alloc(4096, 0xee);
  encodeSuperblock(fresh(), b);
  const expected = Buffer.alloc(4096);
  expected.write('0000000000000004', 8, 'hex');
  expected.write('000000808374026b', 56, 'hex');
  expected.write('00000050ffffffc000000101ffffffb80000100000000000', 64, 'hex');
  expected.write('0000000100000008', 88, 'hex');
  t.is(b.toString('hex'), expected.toString('hex'));
});

test('decode and encode are inverses', (t) => {
  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  const s32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
  const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const striping = fc.integer({ min: 1, max: 0xffffffff });
  fc.assert(
    fc.property(
      fc.record({
        laSizeSectors: fc.maxSafeNat(),
        current: u64,
        bitmap: u64,
        history1: u64,
        history2: u64,
        deviceUuid: u64,
        flags: u32,
        magic: u32,
        mdSizeSectors: u32,
        alOffsetSectors: s32,
        alExtents: u32,
        bmOffsetSectors: s32,
        bytesPerBit: u32,
        laPeerMaxBioBytes: u32,
        alStripes: striping,
        alStripeSize4k: striping,
      }),
      (sb) => {
        const b = new Uint8Array(3 * 4096).fill(7);
        encodeSuperblock(sb, b, 4096);
        t.deepEqual(decodeSuperblock(b, 4096), sb);
        t.true(b.subarray(0, 4096).every((x) => x === 7) && b.subarray(8192).every((x) => x === 7));
      },
    ),
  );
});

test('any bytes decode, and the checks do not throw', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 96, maxLength: 96 }), (head) => {
      const b = new Uint8Array(4096);
      b.set(head);
      new DataView(b.buffer).setUint32(60, MAGIC_V08);
      b[59] = (b[59] ?? 0) | MDF.AL_CLEAN;
      const failure = checkSuperblock(decodeSuperblock(b), 'internal', AT, CAP);
      t.is(failure?.code, 119);
    }),
  );
});

test('the striping of 8.3, 0 and 0, reads as 1 and 8', (t) => {
  const b = new Uint8Array(4096);
  encodeSuperblock({ ...fresh(), alStripes: 0, alStripeSize4k: 0 }, b);
  const sb = decodeSuperblock(b);
  t.deepEqual([sb.alStripes, sb.alStripeSize4k], [1, 8]);
  t.is(checkSuperblock(sb, 'internal', AT, CAP), null);
});

// docs/METADATA.md section 1, "Kernel checks on read, in order".
const BAD: readonly (readonly [string, Partial<Superblock>, number, MetaIndex?])[] = [
  ['magic of an attached device', { magic: MAGIC_UNCLEAN }, 165],
  ['clean magic without AL_CLEAN', { flags: MDF.CONSISTENT }, 165],
  ['unclean comes before a wrong layout', { magic: MAGIC_UNCLEAN, bytesPerBit: 1 }, 165],
  ['v07', { magic: MAGIC_V07 }, 119],
  ['v09', { magic: MAGIC_V09 }, 119],
  ['no magic', { magic: 0 }, 119],
  ['another bit size', { bytesPerBit: 65536 }, 119],
  ['one striping field 0', { alStripes: 0 }, 119],
  ['the other striping field 0', { alStripeSize4k: 0 }, 119],
  ['a log of 7 blocks', { alStripeSize4k: 7, alOffsetSectors: -56 }, 119],
  ['a log above 16 GiB', { alStripes: 65536, alStripeSize4k: 65 }, 119],
  ['bitmap behind the log', { bmOffsetSectors: -56 }, 119],
  ['an external log not at 8', { alOffsetSectors: 16, bmOffsetSectors: 80 }, 119, 'flexible'],
  ['an external bitmap in the log', { alOffsetSectors: 8, bmOffsetSectors: 64 }, 119, 'flexible'],
  [
    'a slot of another size',
    { mdSizeSectors: 131072, alOffsetSectors: 8, bmOffsetSectors: 72 },
    119,
    0,
  ],
  ['more meta-data than device', { mdSizeSectors: CAP + 8 }, 119],
  ['meta-data that ends behind the device', { mdSizeSectors: 88 }, 119],
  ['a log that is not what the striping says', { alOffsetSectors: -56 }, 119],
  ['a bitmap off the 4 KiB grid', { bmOffsetSectors: -71 }, 119],
  ['a bitmap too short for the last size', { laSizeSectors: 9 * 32768 }, 119],
];
for (const [what, change, code, index = 'internal'] of BAD) {
  test(`refused: ${what}`, (t) => {
    const at = index === 'internal' ? AT : 0;
    const capacity = typeof index === 'number' ? 262144 : CAP;
    const base = fresh(index, capacity);
    t.is(checkSuperblock(base, index, at, capacity), null);
    const failure = checkSuperblock({ ...base, ...change }, index, at, capacity);
    t.is(failure?.code, code as 119);
    t.truthy(failure?.detail);
  });
}

test('superblocks that the kernel wrote', (t) => {
  const image = (name: string): Superblock => {
    const disk = gunzipSync(readFileSync(`test/golden/metadata/${name}.img.gz`));
    const at = superblockSector('internal', disk.length / 512);
    const sb = decodeSuperblock(disk, at * 512);
    const again = new Uint8Array(4096);
    encodeSuperblock(sb, again);
    t.deepEqual(again, new Uint8Array(disk.subarray(at * 512, at * 512 + 4096)), name);
    const failure = checkSuperblock(sb, 'internal', at, disk.length / 512);
    t.is(failure?.code, sb.magic === MAGIC_UNCLEAN ? 165 : undefined);
    return sb;
  };
  t.is(image('1-created').flags, MDF.AL_CLEAN);
  const down = image('2-synced-alice'); // after a clean `down`
  t.is(down.magic, MAGIC_UNCLEAN);
  t.is(down.flags, MDF.CONSISTENT | MDF.WAS_UP_TO_DATE);
  t.is(down.alExtents, 1237);
  t.is(down.laSizeSectors, 130992);
  t.is(image('4-crashed-primary-alice').flags, 0x17);
  t.is(image('6-crashed-degraded-alice').flags & MDF.PRIMARY_IND, MDF.PRIMARY_IND);
  t.is(image('other-al-stripes').alStripeSize4k, 16);
});
