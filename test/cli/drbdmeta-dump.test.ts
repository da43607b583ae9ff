/** dump-md, restore-md and apply-al: what a dump says and brings back, and what an activity log is worth. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import { encodeInitialized } from '../../src/md/activity-log.js';
import { MAGIC_UNCLEAN, MAGIC_V08, MDF } from '../../src/md/superblock.js';
import { created, edit, MetaNode, MIB, type Result, superblock } from '../support/drbdmeta-node.js';

test('the images of the kernel nodes: show-gi, then apply-al and dump-md', async (t) => {
  const node = new MetaNode(t);
  const names = [
    '1-created',
    '2-synced-alice',
    '2-synced-bob',
    '3-degraded-alice',
    '3-degraded-bob',
    '4-crashed-primary-alice',
    '4-survivor-bob',
    '5-crashed-primary-alice-apply-al',
    '6-crashed-degraded-alice',
  ];
  for (const name of names) {
    const golden = (kind: string): string =>
      readFileSync(`test/golden/metadata/${name}.${kind}.txt`, 'utf8');
    const path = join(node.root, name);
    writeFileSync(path, gunzipSync(readFileSync(`test/golden/metadata/${name}.img.gz`)));
    const run = (command: string): Promise<Result> =>
      node.run(['0', 'v08', path, 'internal', command]);
    const shown = await run('show-gi');
    t.is(`${shown.out}(exit status ${shown.status})\n`, golden('show-gi'), name);
    const unclean = await run('dump-md');
    if (golden('dump-md').startsWith('Found')) {
      t.is(`${unclean.err}(exit status ${unclean.status})\n`, golden('dump-md'));
    }
    const applied = await run('apply-al');
    const dump = await run('dump-md');
    // Left out: the line of date, host and call. 9.22 prints the flags of v08 as 0.
    const plain = (text: string): string =>
      text.replace(/^# .*\n# .*> drbdmeta .*\n/m, '').replace(/flags 0x[0-9A-F]{8}/, 'flags -');
    const ours = `${applied.err}(apply-al: exit status ${applied.status})\n${dump.out}(exit status ${dump.status})\n`;
    t.is(plain(ours), plain(golden('applied.dump-md')), name);
    t.is((await run('apply-al')).err, '', 'a second time there is nothing to do');
    t.like(superblock(path), { magic: MAGIC_V08 });
  }
});

test('a dump restores the device, placement aside', async (t) => {
  const node = new MetaNode(t);
  const path = join(node.root, 'kernel');
  writeFileSync(
    path,
    gunzipSync(readFileSync('test/golden/metadata/4-crashed-primary-alice.img.gz')),
  );
  await node.run(['0', 'v08', path, 'internal', 'apply-al']);
  const dump = await node.run(['0', 'v08', path, 'internal', 'dump-md']);
  const file = join(node.root, 'dump.txt');
  writeFileSync(file, dump.out);
  t.like(await node.run(['0', 'v08', path, 'internal', 'verify-dump', file]), {
    status: 0,
    out: 'input file parsed ok\n',
  });

  const other = node.disk('other', 80 * MIB);
  t.like(await node.run(['1', 'v08', other, 'internal', 'restore-md', file]), {
    status: 0,
    out: 'Successfully restored meta data\n',
    err: 'reinitializing\n',
  });
  const plain = (text: string): string => text.replace(/^#.*\n/gm, '');
  t.is(plain((await node.run(['1', 'v08', other, 'internal', 'dump-md'])).out), plain(dump.out));
  t.is(superblock(other).flags, superblock(path).flags);
  t.is((await node.run(['1', 'v08', other, 'internal', 'restore-md', file])).status, 1, 'asked');

  // Nothing is written when the dump is bad at its very end.
  writeFileSync(file, `${dump.out}garbage`);
  const before = readFileSync(other);
  t.is((await node.run(['--force', '1', 'v08', other, 'internal', 'restore-md', file])).status, 10);
  t.is(Buffer.compare(readFileSync(other), before), 0);

  // Too small a device cuts the size off.
  writeFileSync(file, dump.out);
  const small = node.disk('small', 32 * MIB);
  const cut = await node.run(['2', 'v08', small, 'internal', 'restore-md', file]);
  t.regex(cut.out, /# la-size-sect was too big \(130992\), truncated \(65456\)!/);
  t.is(cut.status, 0);
});

test('an unclean dump only with force, and then not to be restored', async (t) => {
  const node = new MetaNode(t);
  const path = join(node.root, 'kernel');
  writeFileSync(path, gunzipSync(readFileSync('test/golden/metadata/2-synced-alice.img.gz')));
  const dump = await node.run(['--force', '0', 'v08', path, 'internal', 'dump-md']);
  t.is(dump.status, 0);
  const file = join(node.root, 'dump.txt');
  writeFileSync(file, dump.out);
  const verify = await node.run(['0', 'v08', path, 'internal', 'verify-dump', file]);
  t.is(verify.status, 10);
  t.regex(
    verify.err,
    /^Parse error in line 8: keyword 'uuid' expected, not 'This_is_an_unclean_meta_data_dump'/,
  );
});

test('apply-al fails, and changes nothing, when it needs a log that cannot be read', async (t) => {
  const node = new MetaNode(t);
  const path = await created(node);
  const damage = (flags: number): void =>
    edit(path, (disk, l, sb) => {
      disk.fill(0, l.alSector * 512, l.superblockSector * 512);
      return { ...sb, magic: MAGIC_UNCLEAN, flags };
    });
  damage(MDF.PRIMARY_IND | MDF.CONSISTENT);
  const before = readFileSync(path);
  const r = await node.run(['0', 'v08', path, 'internal', 'apply-al']);
  t.like(r, { status: 1, err: 'No usable activity log found. Do you need to create-md?\n' });
  t.is(Buffer.compare(before, readFileSync(path)), 0);
  damage(MDF.CONSISTENT);
  const ignored = await node.run(['0', 'v08', path, 'internal', 'apply-al']);
  t.is(ignored.status, 0);
  t.regex(ignored.err, /Error ignored, no need to apply the AL\n$/);
  const disk = readFileSync(path);
  const block = Buffer.alloc(4096);
  encodeInitialized(block, 0);
  t.is(Buffer.compare(disk.subarray(disk.length - 8192, disk.length - 4096), block), 0);
});
