/**
 * Our drbdmeta against the one of drbd-utils, on loop devices, in both directions: the same bytes on disk, the same
 * words on the terminal. The flags of a v08 dump are left out: 9.22 prints 0 there.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, copyFileSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { main } from '../../src/cli/drbdmeta.js';
import { encodeRing } from '../../src/md/apply-al.js';
import { isRefused, layoutOfDevice, type MetaIndex, usableSectors } from '../../src/md/layout.js';
import { MDF } from '../../src/md/superblock.js';
import { command } from '../support/command.js';
import {
  area,
  Bench,
  bytesAt,
  type Crashed,
  crash,
  GIB,
  ORACLE_NEEDS,
  plain,
  word,
} from '../support/drbdmeta-bench.js';
import { MIB } from '../support/drbdmeta-node.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';

const SIZES: readonly (readonly [MetaIndex, number])[] = [
  ['internal', 128 * 1024],
  ['internal', 1 * MIB],
  ['internal', 1 * MIB + 512],
  ['internal', 1 * MIB + 4096 + 3584],
  ['internal', 64 * MIB],
  ['internal', 128 * MIB],
  ['internal', 128 * MIB + 4096],
  ['internal', 1000000000 - (1000000000 % 512)],
  ['internal', 10 * GIB],
  ['internal', 1024 * GIB],
  ['flexible', 128 * 1024],
  ['flexible', 8 * MIB],
  ['flexible', 8 * MIB + 2048],
  ['flexible', 200 * MIB],
  [0, 128 * MIB],
  [1, 300 * MIB],
];

for (const [n, [index, bytes]] of SIZES.entries()) {
  test.serial(`create-md, ${word(index)}, ${bytes} bytes: the same bytes and words`, async (t) => {
    if (!need(t, ...ORACLE_NEEDS)) return;
    const bench = new Bench(t, 1001);
    const a = bench.file('a', bytes);
    const b = bench.file('b', bytes);
    const [loopA, loopB] = [await bench.loop(a), await bench.loop(b)];
    const layout = layoutOfDevice(index, Math.floor(bytes / 512));
    if (isRefused(layout)) return t.fail(layout.text);
    const options = n % 2 === 0 ? [] : ['--peer-max-bio-size', '1M'];
    const theirs = await bench.theirs(loopA, word(index), 'create-md', ...options);
    const ours = await bench.ours(loopB, word(index), 'create-md', ...options);
    t.deepEqual(ours, theirs);
    t.is(ours.status, 0);
    t.is(Buffer.compare(area(a, layout), area(b, layout)), 0);
    // Nothing outside: the files hold no more than the meta-data (and the file system's own blocks).
    t.true(Math.abs(statSync(a).blocks - statSync(b).blocks) <= 64);
    t.true(statSync(b).blocks <= layout.mdSizeSectors + 64);
    // Each reads the other's, as if it were its own.
    for (const [verb, ...args] of [
      ['show-gi'],
      ['get-gi'],
      ['dstate'],
      ['dump-md'],
      ['read-dev-uuid'],
    ] as const) {
      const x = await bench.theirs(loopB, word(index), verb, ...args);
      const y = await bench.ours(loopA, word(index), verb, ...args);
      t.is(plain(y.out, loopA), plain(x.out, loopB), verb);
      t.is(y.status, x.status);
    }
    const probe = await command('blkid', '-p', '-o', 'value', '-s', 'TYPE', loopB);
    if (bytes === 64 * MIB) t.is(probe.stdout, 'drbd\n'); // blkid misses others, whoever made them
  });
}

test.serial('create-md with striping', async (t) => {
  if (!need(t, ...ORACLE_NEEDS)) return;
  const bench = new Bench(t, 1002);
  const striping = ['--al-stripes', '4', '--al-stripe-size-kB', '64'];
  for (const index of ['internal', 'flexible'] as const) {
    const a = bench.file(`a-${index}`, 64 * MIB);
    const b = bench.file(`b-${index}`, 64 * MIB);
    const theirs = await bench.theirs(await bench.loop(a), word(index), 'create-md', ...striping);
    t.deepEqual(await bench.ours(b, word(index), 'create-md', ...striping), theirs);
    const layout = layoutOfDevice(index, 131072, { stripes: 4, stripeSize4k: 16 });
    if (isRefused(layout)) return t.fail(layout.text);
    t.is(Buffer.compare(area(a, layout), area(b, layout)), 0);
  }
});

test.serial('set-gi, write-dev-uuid, outdate, invalidate: the same superblock', async (t) => {
  if (!need(t, ...ORACLE_NEEDS)) return;
  const bench = new Bench(t, 1003);
  const [a, b] = [bench.file('a', 64 * MIB), bench.file('b', 64 * MIB)];
  const [loopA, loopB] = [await bench.loop(a), await bench.loop(b)];
  const steps: readonly string[][] = [
    ['create-md'],
    ['write-dev-uuid', '77EF6588DC4359F4'],
    ['read-dev-uuid'],
    ['outdate'], // refused: inconsistent
    ['set-gi', 'A1A1A1A1A1A1A1A0:B2B2B2B2B2B2B2B2:C3C3C3C3C3C3C3C3:D4D4D4D4D4D4D4D4:1:1:1:0:0:0:0'],
    ['show-gi'],
    ['dstate'],
    ['set-gi', '::::::0:1:1:1:1'],
    ['show-gi'],
    ['dump-md'],
    ['outdate'],
    ['dstate'],
    ['set-gi', '5'],
    ['invalidate'],
    ['show-gi'],
    ['wipe-md'],
    ['wipe-md'],
    ['create-md'],
  ];
  for (const step of steps) {
    const theirs = await bench.theirs(loopA, 'internal', ...step);
    const ours = await bench.ours(loopB, 'internal', ...step);
    t.is(ours.status, theirs.status, step.join(' '));
    t.is(plain(ours.out, loopB), plain(theirs.out, loopA), step.join(' '));
    t.is(plain(ours.err, loopB), plain(theirs.err, loopA), step.join(' '));
    t.is(Buffer.compare(bytesAt(a, 0, 64 * MIB), bytesAt(b, 0, 64 * MIB)), 0, step.join(' '));
  }
});

const UP = MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;
const MOST: Crashed = {
  index: 'internal',
  bytes: 1 * GIB,
  laSizeSectors: 2097016,
  seed: 1,
  flags: UP | MDF.PRIMARY_IND,
  striping: [1, 8],
  alExtents: 1237,
  transactions: 5,
  tear: false,
};
const CRASHES: readonly (readonly [string, Partial<Crashed>])[] = [
  ['a lone Primary', {}],
  ['with more transactions than the ring is long', { transactions: 29, seed: 2 }],
  ['in the middle of a transaction', { transactions: 13, tear: true, seed: 3 }],
  ['in its first transaction', { transactions: 1, tear: true, seed: 4 }],
  ['before any', { transactions: 0, seed: 5 }],
  ['with few slots', { alExtents: 67, transactions: 40, seed: 6 }],
  ['a Secondary', { flags: UP | MDF.CONNECTED_IND, seed: 7 }],
  ['striped', { striping: [4, 16], laSizeSectors: 2096560, transactions: 100, seed: 8 }],
  ['on a small odd device', { bytes: 20 * MIB + 1536, laSizeSectors: 40840, seed: 9 }],
  ['on 64 GiB', { bytes: 64 * GIB, laSizeSectors: 134000000, transactions: 20, seed: 10 }],
  [
    'flexible',
    { index: 'flexible', bytes: 8 * MIB, laSizeSectors: 20000001, transactions: 9, seed: 11 },
  ],
  ['indexed', { index: 1, bytes: 256 * MIB, laSizeSectors: 20000001, transactions: 9, seed: 12 }],
];

for (const [what, change] of CRASHES) {
  test.serial(`apply-al, dump-md and restore-md after a crash: ${what}`, async (t) => {
    if (!need(t, ...ORACLE_NEEDS)) return;
    const c = { ...MOST, ...change };
    const bench = new Bench(t, 1004);
    const a = bench.file('a', c.bytes);
    const layout = crash(a, c);
    const b = bench.file('b', c.bytes);
    execFileSync('cp', ['--sparse=always', a, b]);
    const [loopA, loopB] = [await bench.loop(a), await bench.loop(b)];
    const index = word(c.index);

    const theirs = await bench.theirs(loopA, index, 'apply-al');
    const ours = await bench.ours(loopB, index, 'apply-al');
    t.deepEqual(ours, theirs);
    if (c.flags === MOST.flags && c.transactions > 1) t.regex(ours.err, /Marked additional/);
    t.is(Buffer.compare(area(a, layout), area(b, layout)), 0);

    const dumpA = await bench.theirs(loopB, index, 'dump-md');
    const dumpB = await bench.ours(loopA, index, 'dump-md');
    t.is(dumpB.status, 0);
    t.is(plain(dumpB.out, loopA), plain(dumpA.out, loopB));

    // A dump of either, restored by the other, is the same device again.
    const dumps = [join(bench.dir, 'theirs.txt'), join(bench.dir, 'ours.txt')] as const;
    // The flags that 9.22 does not write are those it would need.
    const flags = /flags 0x[0-9A-F]{8}/.exec(dumpB.out)?.[0] ?? '';
    writeFileSync(dumps[0], dumpA.out.replace(/flags 0x[0-9A-F]{8}/, flags));
    writeFileSync(dumps[1], dumpB.out);
    const before = area(b, layout);
    for (const [restore, dump] of [
      ['ours', dumps[0]],
      ['theirs', dumps[1]],
    ] as const) {
      const file = bench.file(`restored-${restore}`, c.bytes);
      const loop = await bench.loop(file);
      const r = await (restore === 'ours'
        ? bench.ours(loop, index, 'restore-md', dump)
        : bench.theirs(loop, index, 'restore-md', dump));
      t.is(r.status, 0, r.err);
      t.regex(r.out, /^Successfully restored meta data$/m);
      const again = await bench.ours(file, index, 'dump-md');
      // al-extents is a comment in a dump.
      const same = (text: string): string => text.replace(/^# al-extents .*\n/m, '');
      t.is(same(plain(again.out, file)), same(plain(dumpB.out, loopA)), restore);
      const after = area(file, layout);
      const start = Math.min(layout.superblockSector, layout.bitmapSector);
      const ring = after
        .subarray((layout.alSector - start) * 512)
        .subarray(0, layout.alBlocks * 4096);
      if (restore === 'ours') t.is(Buffer.compare(ring, encodeRing(layout.alBlocks)), 0);
      for (const part of [before, after]) {
        part.writeUInt32BE(0, (layout.superblockSector - start) * 512 + 72);
        const at = (layout.alSector - start) * 512;
        part.fill(0, at, at + layout.alBlocks * 4096); // left alone by 9.22
      }
      t.is(Buffer.compare(after, before), 0, restore);
    }
    t.true(usableSectors(layout, Number.MAX_SAFE_INTEGER) >= c.laSizeSectors);
  });
}

test.serial(
  'logs that cannot be read: the same words and exit status, and nothing written',
  async (t) => {
    if (!need(t, ...ORACLE_NEEDS)) return;
    const bench = new Bench(t, 1005);
    for (const [n, flags] of [UP, UP | MDF.PRIMARY_IND].entries()) {
      for (const damaged of [8, 3]) {
        const c = { ...MOST, bytes: 64 * MIB, laSizeSectors: 130992, flags, transactions: 0 };
        const a = bench.file(`a-${n}-${damaged}`, c.bytes);
        const layout = crash(a, c);
        const loopA = await bench.loop(a);
        const b = join(bench.dir, `b-${n}-${damaged}`);
        const fd = openSync(a, 'r+');
        for (let block = 0; block < damaged; block++) {
          writeSync(fd, Buffer.from('damaged!'), 0, 8, layout.alSector * 512 + block * 4096 + 2000);
        }
        closeSync(fd);
        copyFileSync(a, b);
        const theirs = await bench.theirs(loopA, 'internal', 'apply-al');
        const ours = await bench.ours(b, 'internal', 'apply-al');
        t.deepEqual(ours, theirs);
        t.is(ours.status, n);
        t.is(Buffer.compare(area(a, layout), area(b, layout)), 0);
      }
    }
  },
);

test.serial('refusals: the same words and exit status', async (t) => {
  if (!need(t, ...ORACLE_NEEDS, 'mkfs.ext4', 'mkswap')) return;
  const bench = new Bench(t, 1006);
  const [a, b] = [bench.file('a', 64 * MIB), bench.file('b', 64 * MIB)];
  const [loopA, loopB] = [await bench.loop(a), await bench.loop(b)];
  const same = async (index: string, status: number, ...args: string[]): Promise<void> => {
    const theirs = await bench.theirs(loopA, index, ...args);
    const ours = await bench.ours(loopB, index, ...args);
    t.is(plain(ours.out, loopB), plain(theirs.out, loopA), args.join(' '));
    t.is(plain(ours.err, loopB), plain(theirs.err, loopA), args.join(' '));
    t.is(ours.status, status);
    t.is(theirs.status, status);
  };
  const both = (program: string, ...args: string[]): void => {
    for (const loop of [loopA, loopB]) execFileSync(program, [...args, loop], { stdio: 'ignore' });
  };
  both('mkfs.ext4', '-q', '-F');
  await same('internal', 40, 'create-md');
  await same('flex-external', 40, 'create-md');
  both('mkswap');
  await same('internal', 40, 'create-md');
  await same('1', 10, 'create-md');
  await same('internal', 10, 'create-md', '--al-stripe-size-kB', '16');
  await same('internal', 10, 'dump-md', '--al-stripes', '2');
  await same('internal', 1, 'dump-md');
  await same('internal', 20, 'no-such-command');
  await same('internal', 0, 'wipe-md');
  await same('internal', 1, 'check-resize');
});

test.serial('a device in use is not touched', async (t) => {
  if (!need(t, ...ORACLE_NEEDS, 'mkfs.ext4', 'mount')) return;
  const bench = new Bench(t, 1007);
  const file = bench.file('a', 64 * MIB);
  const loop = await bench.loop(file);
  await bench.ours(loop, 'flex-external', 'create-md');
  execFileSync('mkfs.ext4', ['-q', '-F', loop]);
  const point = join(bench.dir, 'mnt');
  execFileSync('mkdir', [point]);
  execFileSync('mount', [loop, point]);
  t.teardown(() => {
    execFileSync('umount', [point]);
  });
  const world = memoryWorld({ root: bench.dir });
  const status = await main(['1007', 'v08', loop, 'internal', 'create-md'], world);
  const theirs = await command('drbdmeta', '1007', 'v08', loop, 'internal', 'create-md');
  t.is(status, 20);
  t.is(theirs.code, 20);
  t.is(world.stdout(), theirs.stdout);
  t.is(world.stderr(), theirs.stderr);
});

// A second -v of the original lists each pread and pwrite: not here.
test.serial('--verbose: what was looked for and is not there; --node-id: nothing', async (t) => {
  if (!need(t, ...ORACLE_NEEDS)) return;
  const verbs = ['show-gi', 'create-md', 'create-md', 'get-gi', 'dump-md', 'wipe-md', 'show-gi'];
  for (const index of ['internal', 'flexible', 0] as const) {
    const bench = new Bench(t, 1011);
    const [a, b] = [bench.file('a', 160 * MIB), bench.file('b', 160 * MIB)];
    const [loopA, loopB] = [await bench.loop(a), await bench.loop(b)];
    for (const verb of verbs) {
      const flags = ['--force', '--verbose'];
      const theirs = await bench.original(flags, loopA, word(index), verb);
      const ours = await bench.own(flags, loopB, word(index), verb);
      const what = `${word(index)} ${verb}`;
      t.is(plain(ours.out, loopB), plain(theirs.out, loopA), what);
      // The original shows nothing, and does not say why.
      const err = plain(ours.err, loopB).replace('No valid meta data found\n', '');
      t.is(err, plain(theirs.err, loopA), what);
      t.is(ours.status, theirs.status, what);
    }
    for (const verb of verbs) {
      const without = await bench.ours(loopA, word(index), verb);
      const ours = await bench.own(['--force', '--node-id', '3'], loopB, word(index), verb);
      t.is(plain(ours.out, loopB), plain(without.out, loopA), verb);
      t.is(plain(ours.err, loopB), plain(without.err, loopA), verb);
    }
  }
});
