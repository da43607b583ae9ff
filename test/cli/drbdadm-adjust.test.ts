/**
 * `drbdadm adjust` where names, minors and addresses have moved: what is renamed, and what is not begun since it would stop half-way.
 * Where drbdadm-84 is installed it is shown the same running configuration, by our `drbdsetup show`, and has to want the same.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { drbdadm } from '../../src/cli/drbdadm-core.js';
import { showText } from '../../src/cli/drbdsetup-show.js';
import {
  DEFAULT_DISK_OPTIONS,
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
} from '../../src/config/drbd-options.js';
import type { RunningResource } from '../../src/host/control.js';
import { command } from '../support/command.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';
import { scriptedDrbdd } from '../support/scripted-drbdd.js';

const ORIGINAL = '/lib/drbd/drbdadm-84';

interface Volumes {
  /** By volume number: minor and disk. */
  readonly [volume: number]: readonly [minor: number, disk: string | null];
}

function inFile(name: string, port: number, volumes: Volumes): string {
  const text = Object.entries(volumes).map(
    ([vnr, [minor, disk]]) =>
      `volume ${vnr} { device /dev/drbd${minor} minor ${minor}; disk ${disk}; meta-disk internal; }`,
  );
  return `resource ${name} {
  ${text.join('\n  ')}
  on one { address 10.0.0.1:${port}; }
  on two { address 10.0.0.2:${port}; }
}
`;
}
const GLOBAL = 'global { usage-count no; disable-ip-verification; }\n';

function runs(name: string, port: number | null, volumes: Volumes): RunningResource {
  const end = (host: string) => ({ family: 'ipv4' as const, host, port: port ?? 0 });
  return {
    name,
    options: DEFAULT_RESOURCE_OPTIONS,
    net:
      port === null
        ? null
        : { local: end('10.0.0.1'), remote: end('10.0.0.2'), options: DEFAULT_NET_OPTIONS },
    volumes: Object.entries(volumes).map(([vnr, [minor, disk]]) => ({
      volume: Number(vnr),
      minor,
      device: `/dev/drbd${minor}`,
      disk:
        disk === null
          ? null
          : { disk, metaDisk: disk, metaIndex: 'internal', options: DEFAULT_DISK_OPTIONS },
    })),
  };
}

interface Case {
  readonly file: readonly string[];
  readonly running: readonly RunningResource[];
  readonly primaries?: readonly number[];
  readonly line?: string;
}

async function ours(t: ExecutionContext, { file, running, primaries = [], line }: Case) {
  const { root } = await scriptedDrbdd(t, (request) => {
    if (request.verb === 'running') return { ok: true, value: running };
    if (request.verb !== 'status') return undefined;
    const volumes = primaries.map((minor) => ({ minor, state: { role: 1 } }));
    return { ok: true, value: { resources: [{ volumes }] } };
  });
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/drbd.conf'), GLOBAL + file.join(''));
  const calls: string[] = [];
  const program = async (argv: readonly string[]): Promise<number> => {
    calls.push(argv.join(' '));
    return 0;
  };
  const world = memoryWorld({ root, env: { __DRBD_NODE__: 'one' } });
  const words = (line ?? 'adjust all').split(' ');
  const status = await drbdadm(words, world, { drbdsetup: program, drbdmeta: program });
  return { status, calls, err: world.stderr() };
}

const ENDS = 'ipv4:10.0.0.1:7788 ipv4:10.0.0.2:7788';
const up = (name: string, port: number, minor: number, disk: string): string[] => [
  `${minor} v08 ${disk} internal apply-al`,
  `attach ${minor} ${disk} ${disk} internal`,
  `connect ${name} ipv4:10.0.0.1:${port} ipv4:10.0.0.2:${port}`,
];

test('another name: renamed, and nothing else; then what else is different', async (t) => {
  const running = [runs('old', 7788, { 0: [0, '/dev/sdb1'] })];
  const same = await ours(t, { file: [inFile('new', 7788, { 0: [0, '/dev/sdb1'] })], running });
  t.deepEqual(same, { status: 0, calls: ['rename-resource old new'], err: '' });

  const other = await ours(t, {
    file: [inFile('new', 7790, { 0: [0, '/dev/sdb1'], 1: [1, '/dev/sdc1'] })],
    running,
    primaries: [0], // its users do not notice
  });
  t.deepEqual(other.calls, [
    'rename-resource old new',
    'new-minor new 1 1',
    ...up('new', 7790, 1, '/dev/sdc1').slice(0, 2),
    `disconnect ${ENDS}`,
    ...up('new', 7790, 0, '').slice(2),
  ]);
  t.is(other.err, '');

  const detached = await ours(t, {
    file: [inFile('new', 7788, { 0: [0, '/dev/sdb1'] })],
    running: [runs('old', 7788, { 0: [0, null] })],
  });
  t.deepEqual(detached.calls, [
    'rename-resource old new',
    ...up('', 0, 0, '/dev/sdb1').slice(0, 2),
  ]);

  const dry = await ours(t, {
    file: [inFile('new', 7788, { 0: [0, '/dev/sdb1'] })],
    running,
    line: '-d adjust new',
  });
  t.is(dry.status, 0);
});

test('the minor of another disk, or of two: no new name, and nothing is begun', async (t) => {
  const file = [inFile('new', 7788, { 0: [0, '/dev/sdb1'] })];
  const { status, calls, err } = await ours(t, {
    file,
    running: [runs('old', 7788, { 0: [0, '/dev/sdc1'] })],
  });
  t.is(status, 10);
  t.deepEqual(calls, []);
  t.is(
    err,
    'new: can not be adjusted as a whole, nothing of it was changed\n' +
      "  minor 0 belongs to old/0: it is not in the file; 'drbdsetup down old', then adjust\n" +
      "  its address is used by old (10.0.0.1:7788 to 10.0.0.2:7788): it is not in the file; 'drbdsetup down old', then adjust\n",
  );

  const split = await ours(t, {
    file: [
      inFile('a', 7788, { 0: [0, '/dev/sdb1'] }),
      inFile('b', 7789, { 0: [1, '/dev/sdc1'] }),
      inFile('c', 7790, { 0: [2, '/dev/sdd1'] }),
    ],
    running: [runs('old', 7788, { 0: [0, '/dev/sdb1'], 1: [1, '/dev/sdc1'] })],
  });
  t.is(split.status, 10);
  t.deepEqual(split.calls, ['new-resource c', 'new-minor c 2 0', ...up('c', 7790, 2, '/dev/sdd1')]);
  t.regex(split.err, /^a: can not be adjusted/);
  t.regex(split.err, /^b: can not be adjusted/m);
});

test('another minor: without the connection meanwhile; not while it is in use', async (t) => {
  const file = [inFile('r0', 7788, { 0: [1, '/dev/sdb1'] })];
  const running = [runs('r0', 7788, { 0: [0, '/dev/sdb1'] })];
  const free = await ours(t, { file, running });
  t.is(free.status, 0);
  t.deepEqual(free.calls, [
    `disconnect ${ENDS}`,
    'detach 0',
    'del-minor 0',
    'new-minor r0 1 0',
    ...up('r0', 7788, 1, '/dev/sdb1'),
  ]);
  const used = await ours(t, { file, running, primaries: [0] });
  t.is(used.status, 10);
  t.deepEqual(used.calls, []);
  t.regex(used.err, /minor 0 would have to go, and is Primary here: .*drbdsetup secondary 0/);

  // A volume that is gone, beside one that is served over the same connection.
  const beside: Case = {
    file: [inFile('r0', 7788, { 0: [0, '/dev/sdb1'] })],
    running: [runs('r0', 7788, { 0: [0, '/dev/sdb1'], 1: [1, '/dev/sdc1'] })],
    primaries: [0],
  };
  const refused = await ours(t, beside);
  t.is(refused.status, 10);
  t.deepEqual(refused.calls, []);
  t.regex(refused.err, /minor 0, which is Primary here, has the same one: 'drbdadm disconnect r0'/);
  const apart = runs('r0', null, { 0: [0, '/dev/sdb1'], 1: [1, '/dev/sdc1'] });
  const alone = await ours(t, { ...beside, running: [apart] });
  t.deepEqual(alone.calls, ['detach 1', 'del-minor 1', ...up('r0', 7788, 0, '').slice(2)]);
});

test('minors that change places: both are adjusted, or none', async (t) => {
  const file = [
    inFile('r0', 7788, { 0: [1, '/dev/sdb1'] }),
    inFile('r1', 7789, { 0: [0, '/dev/sdc1'] }),
  ];
  const running = [
    runs('r0', null, { 0: [0, '/dev/sdb1'] }),
    runs('r1', null, { 0: [1, '/dev/sdc1'] }),
  ];
  const both = await ours(t, { file, running });
  t.is(both.status, 0, both.err);
  t.deepEqual(both.calls.slice(0, 6), [
    'detach 0',
    'del-minor 0',
    'detach 1',
    'del-minor 1',
    'new-minor r0 1 0',
    'new-minor r1 0 0',
  ]);
  const one = await ours(t, { file, running, line: 'adjust r0' });
  t.is(one.status, 10);
  t.deepEqual(one.calls, []);
  t.regex(one.err, /minor 1 belongs to r1\/0: 'drbdadm adjust all' adjusts both/);
  // What stops r1 stops r0, which needs its minor.
  const used = await ours(t, { file, running, primaries: [1] });
  t.is(used.status, 10);
  t.deepEqual(used.calls, []);
  t.regex(used.err, /^r0: can not be adjusted[^\n]*\n {2}minor 1 belongs to r1\/0: it keeps that/);
});

/** What drbdadm-84 wants; it is shown what runs. */
async function theirs(t: ExecutionContext, { file, running, line }: Case) {
  const dir = mkdtempSync(join(tmpdir(), 'adjust-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'drbd.conf'), GLOBAL + file.join(''));
  for (const r of running) writeFileSync(join(dir, `show-${r.name}`), showText(r, false));
  const program = join(dir, 'program');
  writeFileSync(
    program,
    `#!/bin/sh\ncase "$1" in show) cat ${dir}/show-$2 2>/dev/null; exit 0;; esac\necho "$*" >>${dir}/calls\n`,
  );
  chmodSync(program, 0o755);
  writeFileSync(join(dir, 'calls'), '');
  const words = ['-c', join(dir, 'drbd.conf'), '-s', program, '-m', program];
  const env = ['__DRBD_NODE__=one', 'DRBD_DRIVER_VERSION_OVERRIDE=8.4.11'];
  const ran = await command(
    'env',
    ...env,
    ORIGINAL,
    ...words,
    ...(line ?? 'adjust all').split(' '),
  );
  const calls = readFileSync(join(dir, 'calls'), 'utf8').trim();
  return { status: ran.code, calls: calls === '' ? [] : calls.split('\n') };
}

const ALIKE: Readonly<Record<string, Case>> = {
  'all is right': {
    file: [inFile('r0', 7788, { 0: [0, '/dev/sdb1'] })],
    running: [runs('r0', 7788, { 0: [0, '/dev/sdb1'] })],
  },
  'nothing runs': { file: [inFile('r0', 7788, { 0: [0, '/dev/sdb1'] })], running: [] },
  'another disk': {
    file: [inFile('r0', 7788, { 0: [0, '/dev/sdb1'] })],
    running: [runs('r0', 7788, { 0: [0, '/dev/sdb2'] })],
  },
  'no disk': {
    file: [inFile('r0', 7788, { 0: [0, '/dev/sdb1'] })],
    running: [runs('r0', 7788, { 0: [0, null] })],
  },
  'no connection': {
    file: [inFile('r0', 7788, { 0: [0, '/dev/sdb1'] })],
    running: [runs('r0', null, { 0: [0, '/dev/sdb1'] })],
  },
  'another address': {
    file: [inFile('r0', 7789, { 0: [0, '/dev/sdb1'] })],
    running: [runs('r0', 7788, { 0: [0, '/dev/sdb1'] })],
  },
  'one volume more': {
    file: [inFile('r0', 7788, { 0: [0, '/dev/sdb1'], 1: [1, '/dev/sdc1'] })],
    running: [runs('r0', 7788, { 0: [0, '/dev/sdb1'] })],
  },
  'another minor, and no connection': {
    file: [inFile('r0', 7788, { 0: [1, '/dev/sdb1'] })],
    running: [runs('r0', null, { 0: [0, '/dev/sdb1'] })],
  },
  'minors that change places, and no connection': {
    file: [inFile('r0', 7788, { 0: [1, '/dev/sdb1'], 1: [0, '/dev/sdc1'] })],
    running: [runs('r0', null, { 0: [0, '/dev/sdb1'], 1: [1, '/dev/sdc1'] })],
  },
};

test('drbdadm-84 wants the same', async (t) => {
  if (!need(t, ORIGINAL)) return;
  for (const [name, each] of Object.entries(ALIKE)) {
    const [mine, original] = [await ours(t, each), await theirs(t, each)];
    t.deepEqual(mine.calls, original.calls, name);
    t.is<number | null, number | null>(mine.status, original.status, name);
  }
});

test('drbdadm-84 does not know a new name: it begins, and its first new-minor can not be', async (t) => {
  if (!need(t, ORIGINAL)) return;
  const { calls } = await theirs(t, {
    file: [inFile('new', 7788, { 0: [0, '/dev/sdb1'] })],
    running: [runs('old', 7788, { 0: [0, '/dev/sdb1'] })],
  });
  t.deepEqual(calls.slice(0, 2), ['new-resource new', 'new-minor new 0 0']);
});
