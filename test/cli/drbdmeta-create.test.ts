/**
 * create-md and wipe-md: what they find on the device, what they ask and refuse. `drbdmeta` in-process, on plain files, as in the
 * other tests of it; drbdmeta-oracle.test.ts compares with the original.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { MDF } from '../../src/md/superblock.js';
import { created, MetaNode, MIB, superblock } from '../support/drbdmeta-node.js';
import { need } from '../support/need.js';

test('create-md on an empty device asks nothing', async (t) => {
  const node = new MetaNode(t);
  const path = node.disk('disk', 64 * MIB);
  const r = await node.run([
    '0',
    'v08',
    path,
    'internal',
    'create-md',
    '--peer-max-bio-size',
    '64k',
  ]);
  t.deepEqual(r, {
    status: 0,
    out: 'initializing activity log\nWriting meta data...\nNew drbd meta data block successfully created.\n',
    err: 'initializing bitmap (4 KB) to all zero\n',
  });
  t.like(superblock(path), { current: 4n, flags: MDF.AL_CLEAN, laPeerMaxBioBytes: 65536 });
  const known = readFileSync(join(node.root, 'var/lib/drbd/drbd-minor-0.lkbd'), 'utf8');
  t.is(known, `67108864\t${path}\n`);
});

test('existing meta-data is overwritten only after a typed yes', async (t) => {
  const node = new MetaNode(t);
  const path = await created(node);
  await node.run(['0', 'v08', path, 'internal', 'write-dev-uuid', 'ABC']);
  const place =
    'You want me to create a v08 style flexible-size internal meta data block.\n' +
    'There appears to be a v08 flexible-size internal meta data block\n' +
    `already in place on ${path} at byte offset 67104768\n`;
  const question = '\nDo you really want to overwrite the existing meta-data?\n';
  const args = ['0', 'v08', path, 'internal', 'create-md'];
  const notTty = await node.run(args);
  t.is(notTty.status, 1);
  t.is(notTty.out, 'Operation cancelled.\n');
  t.is(notTty.err, `${place}${question}stdin not a TTY, not waiting for confirmation\n`);
  for (const answer of ['no', 'y', 'YES', 'yes ', '']) {
    t.is((await node.run(args, [answer])).status, 1, answer);
  }
  t.is((await node.run(args, [])).status, 1, 'end of input');
  t.is(superblock(path).deviceUuid, 0xabcn);
  const yes = await node.run(args, ['yes']);
  t.is(yes.status, 0);
  t.is(
    yes.err,
    `${place}${question}[need to type 'yes' to confirm] \ninitializing bitmap (4 KB) to all zero\n`,
  );
  t.is(superblock(path).deviceUuid, 0n);
});

test('some data at the start needs a yes', async (t) => {
  const node = new MetaNode(t);
  const path = node.disk('disk', 64 * MIB);
  const fd = openSync(path, 'r+');
  writeSync(fd, 'hello', 5000);
  closeSync(fd);
  const r = await node.run(['0', 'v08', path, 'internal', 'create-md']);
  t.is(r.status, 1);
  t.is(
    r.out,
    'md_offset 67104768\nal_offset 67072000\nbm_offset 67067904\n\nFound some data\n\n' +
      ' ==> This might destroy existing data! <==\nOperation canceled.\n',
  );
  t.is(superblock(path).magic, 0);
  t.is((await node.run(['0', 'v08', path, 'internal', 'create-md'], ['yes'])).status, 0);
});

test('a file system that would be cut off is refused, force or not', async (t) => {
  if (!need(t, 'mkfs.ext4', 'mkfs.xfs')) return;
  const node = new MetaNode(t);
  const whole = node.disk('whole', 64 * MIB);
  execFileSync('mkfs.ext4', ['-q', whole]);
  const r = await node.run(['--force', '0', 'v08', whole, 'internal', 'create-md']);
  t.is(r.status, 40);
  t.regex(
    r.out,
    /\nFound ext3 filesystem\n {7}65536 kB data area apparently used\n {7}65496 kB left/,
  );
  t.regex(
    r.out,
    /\nDevice size would be truncated, which\n[\s\S]*shrink that filesystem first\n[\s\S]*Operation refused\.\n\n$/,
  );
  t.is(superblock(whole).magic, 0);
  execFileSync('fsck.ext4', ['-nf', whole], { stdio: 'ignore' });

  // Shrunk, there is room; but it is asked all the same.
  const small = node.disk('small', 64 * MIB);
  execFileSync('mkfs.ext4', ['-q', small, '60M']);
  const asked = await node.run(['0', 'v08', small, 'internal', 'create-md']);
  t.is(asked.status, 1);
  t.regex(asked.out, /still need to confirm, as this is only a guess/);
  t.is((await node.run(['0', 'v08', small, 'internal', 'create-md'], ['yes'])).status, 0);
  execFileSync('fsck.ext4', ['-nf', small], { stdio: 'ignore' });

  // On a meta-data device of its own, any file system is in the way.
  const external = await node.run(['--force', '0', 'v08', small, 'flex-external', 'create-md']);
  t.is(external.status, 40);
  t.regex(external.out, /This would corrupt existing data\.\nIf you want me to do this/);
  const xfs = node.disk('xfs', 512 * MIB);
  execFileSync('mkfs.xfs', ['-q', xfs]);
  t.regex(
    (await node.run(['--force', '0', 'v08', xfs, 'internal', 'create-md'])).out,
    /xfs filesystem\n {6}524288 kB/,
  );
  const ignored = await node.run([
    '--ignore-sanity-checks',
    '0',
    'v08',
    small,
    'flex-external',
    'create-md',
  ]);
  t.regex(ignored.out, /Ignoring sanity check on user request/);
});

test('swap and LVM are refused', async (t) => {
  if (!need(t, 'mkswap')) return;
  const node = new MetaNode(t);
  const path = node.disk('disk', 64 * MIB);
  execFileSync('mkswap', [path], { stdio: 'ignore' });
  const r = await node.run(['--force', '0', 'v08', path, 'internal', 'create-md']);
  t.is(r.status, 40);
  t.regex(
    r.out,
    /Found swap space signature\n {7}65496 kB left[\s\S]*You should be very sure that you mean it/,
  );
});

test('superblocks of other versions are told, and replaced only after a yes', async (t) => {
  const node = new MetaNode(t);
  const path = node.disk('disk', 256 * MIB);
  const disk = openSync(path, 'r+');
  const magic = Buffer.from('8374026a', 'hex');
  writeSync(disk, magic, 0, 4, 128 * MIB + 28);
  closeSync(disk);
  const r = await node.run(['0', 'v08', path, 'internal', 'create-md']);
  t.is(r.status, 1);
  t.regex(
    r.err,
    /There appears to be a v07 fixed-size internal meta data block\nalready in place on .* at byte offset 134217728\n/,
  );
  t.regex(r.err, /replace the v07 meta-data\nwith newly initialized v08 meta-data\?/);
  t.is((await node.run(['0', 'v08', path, 'internal', 'create-md'], ['yes'])).status, 0);
  const old = Buffer.alloc(4);
  const again = openSync(path, 'r');
  readSync(again, old, 0, 4, 128 * MIB + 28);
  closeSync(again);
  t.is(old.readUInt32BE(), 0, 'the old superblock is wiped');
});

test('wipe-md', async (t) => {
  const node = new MetaNode(t);
  const path = await created(node);
  const args = ['0', 'v08', path, 'internal', 'wipe-md'];
  t.like(await node.run(args), { status: 1, out: 'Operation cancelled.\n' });
  t.like(await node.run(args, ['yes']), {
    status: 0,
    out: 'Wiping meta data...\nDRBD meta data block successfully wiped out.\n',
  });
  t.throws(() => readFileSync(join(node.root, 'var/lib/drbd/drbd-minor-0.lkbd')));
  t.like(await node.run(args), {
    status: 0,
    err: 'There appears to be no drbd meta data to wipe out?\n',
  });
  for (const command of ['show-gi', 'dump-md', 'apply-al', 'dstate', 'outdate']) {
    t.like(await node.run(['0', 'v08', path, 'internal', command]), {
      status: 1,
      err: 'No valid meta data found\n',
    });
  }
});
