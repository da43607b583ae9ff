/** drbdmeta in-process, on plain files: prompts, refusals, exit codes, and what is on disk afterwards. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { main } from '../../src/cli/drbdmeta.js';
import { ActivityLog } from '../../src/drbd/activity-log.js';
import { encodeInitialized } from '../../src/md/activity-log.js';
import { layoutOfSuperblock, type MetaLayout, superblockSector } from '../../src/md/layout.js';
import {
  decodeSuperblock,
  encodeSuperblock,
  MAGIC_UNCLEAN,
  MAGIC_V08,
  MDF,
  type Superblock,
} from '../../src/md/superblock.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';

interface Result {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

class Node {
  readonly root: string;
  constructor(t: ExecutionContext) {
    const root = mkdtempSync(join(tmpdir(), 'tbm-'));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    this.root = root;
  }

  disk(name: string, bytes: number): string {
    const path = join(this.root, name);
    const fd = openSync(path, 'w');
    ftruncateSync(fd, bytes);
    closeSync(fd);
    return path;
  }

  /** Not a terminal unless answers are given. */
  async run(args: readonly string[], answers?: readonly string[]): Promise<Result> {
    const memory = memoryWorld({ root: this.root, input: answers ?? [] });
    const stdin = answers ? { ...memory.stdin, isTTY: true } : memory.stdin;
    const status = await main(args, { ...memory, stdin });
    return { status, out: memory.stdout(), err: memory.stderr() };
  }
}

const MIB = 1 << 20;

function superblock(path: string): Superblock {
  const sectors = statSync(path).size / 512;
  const block = Buffer.alloc(4096);
  const fd = openSync(path, 'r');
  readSync(fd, block, 0, 4096, superblockSector('internal', sectors) * 512);
  closeSync(fd);
  return decodeSuperblock(block);
}

function edit(
  path: string,
  change: (disk: Buffer, layout: MetaLayout, sb: Superblock) => Superblock,
): void {
  const disk = readFileSync(path);
  const at = superblockSector('internal', disk.length / 512);
  const sb = decodeSuperblock(disk, at * 512);
  encodeSuperblock(change(disk, layoutOfSuperblock(sb, 'internal', at), sb), disk, at * 512);
  writeFileSync(path, disk);
}

async function created(node: Node, bytes = 64 * MIB): Promise<string> {
  const path = node.disk('disk', bytes);
  const r = await node.run(['--force', '0', 'v08', path, 'internal', 'create-md']);
  if (r.status !== 0) throw new Error(r.err);
  return path;
}

test('create-md on an empty device asks nothing', async (t) => {
  const node = new Node(t);
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
  const node = new Node(t);
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
  const node = new Node(t);
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
  const node = new Node(t);
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
  const node = new Node(t);
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
  const node = new Node(t);
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
  const node = new Node(t);
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

test('set-gi keeps what is left out, and asks', async (t) => {
  const node = new Node(t);
  const path = await created(node);
  const setGi = (gi: string, answers?: string[]): Promise<Result> =>
    node.run(['0', 'v08', path, 'internal', 'set-gi', gi], answers);
  const before =
    '0000000000000004:0000000000000000:0000000000000000:0000000000000000:0:0:0:0:0:0:0';
  const after = '00000000000000A1:0000000000000000:00000000000000C3:0000000000000000:1:1:0:0:0:0:0';
  const no = await setGi('a1::0xC3::1:1');
  t.like(no, {
    status: 0,
    out: `previously ${before}\nset GI to  ${after}\nOperation canceled.\n`,
  });
  t.is((await setGi('a1::0xC3::1:1', ['yes'])).status, 0);
  t.is((await node.run(['0', 'v08', path, 'internal', 'get-gi'])).out, `${after}\n`);
  t.is(superblock(path).flags, MDF.CONSISTENT | MDF.WAS_UP_TO_DATE | MDF.AL_CLEAN);
  t.is((await setGi('zz', ['yes'])).status, 10);
  t.is((await setGi(':::::2', ['yes'])).status, 10);
  t.is((await node.run(['0', 'v08', path, 'internal', 'set-gi'])).status, 10);
});

test('dstate, outdate, invalidate', async (t) => {
  const node = new Node(t);
  const path = await created(node);
  const run = (...command: string[]): Promise<Result> =>
    node.run(['0', 'v08', path, 'internal', ...command]);
  const flags = (value: number): void => edit(path, (_d, _l, sb) => ({ ...sb, flags: value }));
  t.like(await run('outdate'), { status: 5, err: 'Device is inconsistent.\n' });
  const words: [number, string][] = [
    [MDF.CONSISTENT | MDF.WAS_UP_TO_DATE | MDF.PEER_OUT_DATED, 'UpToDate\n'],
    [MDF.CONSISTENT | MDF.WAS_UP_TO_DATE, 'Consistent\n'],
    [MDF.CONSISTENT, 'Outdated\n'],
    [MDF.WAS_UP_TO_DATE, 'Inconsistent\n'],
  ];
  for (const [value, word] of words) {
    flags(value);
    t.is((await run('dstate')).out, word);
  }
  flags(MDF.CONSISTENT | MDF.WAS_UP_TO_DATE | MDF.AL_CLEAN);
  t.is((await run('outdate')).status, 0);
  t.is(superblock(path).flags, MDF.CONSISTENT | MDF.AL_CLEAN);
  t.is((await run('invalidate')).status, 0);
  t.is(superblock(path).flags, MDF.FULL_SYNC | MDF.AL_CLEAN);
});

test('what is wrong on the command line', async (t) => {
  const node = new Node(t);
  const path = await created(node);
  const fails = async (status: number, message: RegExp, ...args: string[]): Promise<void> => {
    const r = await node.run(args);
    t.is(r.status, status, args.join(' '));
    t.regex(r.out + r.err, message, args.join(' '));
  };
  await fails(20, /USAGE/);
  await fails(20, /USAGE/, '0', 'v08', path, 'internal', 'dstate', '--what');
  await fails(20, /Unknown format 'v09'/, '0', 'v09', path, 'internal', 'dstate');
  await fails(20, /Too few arguments/, '0', 'v08', path);
  await fails(20, /'300' is not a valid index number/, '0', 'v08', path, '300', 'dstate');
  await fails(20, /command missing/, '0', 'v08', path, 'internal');
  await fails(20, /Unknown command 'toString'/, '0', 'v08', path, 'internal', 'toString');
  await fails(20, /Cannot determine minor/, '/dev/sdb1', 'v08', path, 'internal', 'dstate');
  await fails(
    20,
    /failed: No such file or directory/,
    '0',
    'v08',
    `${path}-not`,
    'internal',
    'dstate',
  );
  await fails(
    10,
    /That's not enough/,
    '0',
    'v08',
    node.disk('tiny', 69631),
    'internal',
    'create-md',
  );
  await fails(
    10,
    /Device too small: expecting meta data block at\nbyte offset 134217728, but/,
    '0',
    'v08',
    path,
    '1',
    'create-md',
  );
  await fails(
    10,
    /only allowed with create-md/,
    '0',
    'v08',
    path,
    'internal',
    'dstate',
    '--al-stripes',
    '2',
  );
  await fails(
    10,
    /too small/,
    '0',
    'v08',
    path,
    'internal',
    'create-md',
    '--al-stripe-size-kB',
    '16',
  );
  await fails(
    10,
    /too large/,
    '0',
    'v08',
    path,
    'internal',
    'create-md',
    '--al-stripe-size-kB',
    '1G',
  );
  await fails(
    10,
    /out of range/,
    '0',
    'v08',
    path,
    'internal',
    'create-md',
    '--peer-max-bio-size',
    '2M',
  );
  await fails(
    20,
    /not a valid number/,
    '0',
    'v08',
    path,
    'internal',
    'create-md',
    '--al-stripes',
    'x',
  );
  t.is((await node.run(['/dev/drbd7', 'v08', path, 'internal', 'dstate'])).out, 'Inconsistent\n');
  t.is((await node.run(['-', 'v08', path, 'internal', 'dstate'])).out, 'Inconsistent\n');
});

test('while the minor is attached nothing is changed, and reading says so', async (t) => {
  const node = new Node(t);
  const path = await created(node);
  mkdirSync(join(node.root, 'run/twinbeat'), { recursive: true });
  let value: unknown = {
    resources: [
      {
        volumes: [
          { minor: 0, state: { disk: 8 } },
          { minor: 1, state: { disk: 0 } },
        ],
      },
    ],
  };
  const server = createServer((socket) => {
    socket.on('data', (text) => {
      const { id } = JSON.parse(text.toString()) as { id: number };
      socket.write(`${JSON.stringify({ id, reply: { ok: true, value } })}\n`);
    });
    socket.on('error', () => undefined);
  });
  await new Promise<void>((done) =>
    server.listen(join(node.root, 'run/twinbeat/drbdd.sock'), done),
  );
  t.teardown(() => server.close());
  const run = (minor: string, command: string): Promise<Result> =>
    node.run(['--force', minor, 'v08', path, 'internal', command]);
  for (const command of [
    'create-md',
    'wipe-md',
    'apply-al',
    'outdate',
    'invalidate',
    'check-resize',
  ]) {
    t.like(await run('0', command), { status: 20, err: "Device '0' is configured!\n", out: '' });
  }
  t.like(await run('0', 'dstate'), {
    status: 0,
    err: '# Output might be stale, since minor 0 is attached\n',
  });
  t.is((await run('1', 'invalidate')).status, 0, 'diskless');
  t.is((await run('2', 'invalidate')).status, 0, 'not known');
  value = 'nonsense';
  t.like(await run('2', 'wipe-md'), {
    status: 20,
    err: "Device '2' may be configured: drbdd sent no status\n",
  });
});

test('attached to the module of the kernel counts, too', async (t) => {
  const node = new Node(t);
  const path = await created(node);
  mkdirSync(join(node.root, 'proc'));
  writeFileSync(
    join(node.root, 'proc/drbd'),
    'version: 8.4.11 (api:1/proto:86-101)\n 0: cs:Connected ro:Secondary/Primary ds:UpToDate/UpToDate C r-----\n' +
      ' 1: cs:Unconfigured\n 2: cs:Connected ro:Secondary/Primary ds:Diskless/UpToDate C r-----\n',
  );
  const run = (minor: string): Promise<Result> =>
    node.run([minor, 'v08', path, 'internal', 'invalidate']);
  t.deepEqual(
    [(await run('0')).status, (await run('1')).status, (await run('2')).status],
    [20, 0, 0],
  );
});

test('the images of the kernel nodes: show-gi, then apply-al and dump-md', async (t) => {
  const node = new Node(t);
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
  const node = new Node(t);
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
  const node = new Node(t);
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
  const node = new Node(t);
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

// docs/METADATA.md section 6, check-resize; with the areas apart, and overlapping.
for (const grownBytes of [96 * MIB, 64 * MIB + 8192, 64 * MIB + 4096, 160 * MIB]) {
  test(`meta-data is found and moved after the device grew to ${grownBytes}`, async (t) => {
    const node = new Node(t);
    const path = await created(node);
    await node.run(['0', 'v08', path, 'internal', 'write-dev-uuid', '0123456789ABCDEF']);
    const log = new ActivityLog(1237, 1, 8);
    edit(path, (disk, l, sb) => {
      for (let i = 0; i < 512; i++) disk[l.bitmapSector * 512 + i] = (i * 37) & 255;
      for (const extent of [3, 9]) {
        log.enter(extent);
        const tr = log.prepare(disk, l.alSector * 512 + log.trNumber * 4096);
        if (tr) log.commit();
      }
      const flags = MDF.PRIMARY_IND | MDF.CONSISTENT | MDF.WAS_UP_TO_DATE;
      return { ...sb, laSizeSectors: 130992, magic: MAGIC_UNCLEAN, flags };
    });
    const old = readFileSync(path);
    const oldLayout = layoutOfSuperblock(superblock(path), 'internal', old.length / 512 - 8);
    const bitmap = old.subarray(oldLayout.bitmapSector * 512, oldLayout.bitmapSector * 512 + 4096);

    truncateSync(path, grownBytes);
    t.is((await node.run(['0', 'v08', path, 'internal', 'get-gi'])).status, 1);
    const r = await node.run(['0', 'v08', path, 'internal', 'check-resize']);
    t.like(r, {
      status: 0,
      out: 'Internal drbd meta data successfully moved.\n',
      err: 'Moving the internal meta data to its proper location\n',
    });
    const disk = readFileSync(path);
    const sb = superblock(path);
    const l = layoutOfSuperblock(sb, 'internal', superblockSector('internal', disk.length / 512));
    t.like(sb, {
      laSizeSectors: 130992,
      deviceUuid: 0x0123456789abcdefn,
      flags: 0x13,
      magic: MAGIC_UNCLEAN,
    });
    t.is(
      Buffer.compare(disk.subarray(l.bitmapSector * 512, l.bitmapSector * 512 + 4096), bitmap),
      0,
    );
    t.true(disk.subarray(l.bitmapSector * 512 + 4096, l.alSector * 512).every((b) => b === 0));
    const applied = await node.run(['0', 'v08', path, 'internal', 'apply-al']);
    t.regex(applied.err, /^Marked additional \d+ KB as out-of-sync/);
    t.true(
      readFileSync(path)
        .subarray(l.bitmapSector * 512 + 3 * 128, l.bitmapSector * 512 + 512)
        .every((b) => b === 255),
    );
    // The old superblock lies in the data area now, unless it was written over: it must not be found again.
    t.not(decodeSuperblock(disk, oldLayout.superblockSector * 512).magic, MAGIC_UNCLEAN);
    t.is(
      (await node.run(['0', 'v08', path, 'internal', 'check-resize'])).out,
      '',
      'nothing more to do',
    );
  });
}

test('meta-data at the last known place is dumped with a note; create-md offers to move it', async (t) => {
  const node = new Node(t);
  const path = await created(node);
  truncateSync(path, 96 * MIB);
  const dump = await node.run(['0', 'v08', path, 'internal', 'dump-md']);
  t.is(dump.status, 0);
  t.regex(
    dump.out,
    /### Device seems to have been resized!\n[\s\S]*## md_offset 100659200\n[\s\S]*# md_offset 67104768\n/,
  );
  const moved = await node.run(['0', 'v08', path, 'internal', 'create-md'], ['yes']);
  t.regex(moved.out, /successfully moved/);
  // With another identity at that place it is not ours.
  truncateSync(path, 128 * MIB);
  writeFileSync(
    join(node.root, 'var/lib/drbd/drbd-minor-0.lkbd'),
    `${96 * MIB}\t${path}\nuuid:\t00000000000000AA\n`,
  );
  const foreign = await node.run(['0', 'v08', path, 'internal', 'check-resize']);
  t.is(foreign.status, 1);
  t.regex(foreign.err, /Last known and found uuid differ[\s\S]*no suitable meta data found/);
});
