/** drbdmeta: the small verbs, wrong calls, and a minor that is in use: prompts, refusals, exit codes. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { MDF } from '../../src/md/superblock.js';
import { created, edit, MetaNode, type Result, superblock } from '../support/drbdmeta-node.js';

test('set-gi keeps what is left out, and asks', async (t) => {
  const node = new MetaNode(t);
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
  const node = new MetaNode(t);
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
  const node = new MetaNode(t);
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
  const node = new MetaNode(t);
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
  const node = new MetaNode(t);
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
