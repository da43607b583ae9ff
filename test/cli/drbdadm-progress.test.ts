/**
 * The table of `drbdadm adjust-with-progress` and what is run below it, against drbdadm-84 9.22 with programs that fail on
 * purpose; where that is installed, it is asked again.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { drbdadm } from '../../src/cli/drbdadm-core.js';
import type { World } from '../../src/cli/world.js';
import { command } from '../support/command.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';
import { scriptedDrbdd } from '../support/scripted-drbdd.js';

const ORIGINAL = '/lib/drbd/drbdadm-84';

const host = (name: string, ip: string, minor: number, volumes: number): string => {
  const volume = (i: number): string =>
    `volume ${i} { device /dev/drbd${minor + i} minor ${minor + i}; disk /dev/sdb${minor + i}; meta-disk internal; }`;
  const all = Array.from({ length: volumes }, (_, i) => volume(i)).join(' ');
  return `on ${name} { ${all} address ${ip}:${7788 + minor}; }`;
};
const CONF = `global { usage-count no; disable-ip-verification; }
resource r0 { ${host('one', '10.0.0.1', 0, 2)} ${host('two', '10.0.0.2', 0, 2)} }
resource r1 { ${host('one', '10.0.0.1', 2, 1)} ${host('two', '10.0.0.2', 2, 1)} }
`;

interface Case {
  readonly fails: string; // beginning of the arguments that fail
  readonly code: number;
  readonly table: readonly string[];
}

const GOOD = [
  '     create res: r0 r1',
  '   prepare disk: r0 r1',
  '    adjust disk: r0 r1',
  '     adjust net: r0 r1',
];
const CASES: readonly Case[] = [
  { fails: 'nothing', code: 0, table: GOOD },
  {
    fails: 'new-resource r0',
    code: 10,
    table: [
      '     create res: r0:failed(new-resource:10) r1',
      '   prepare disk: [skipped:r0] r1',
      '    adjust disk: [skipped:r0] r1',
      '     adjust net: [skipped:r0] r1',
    ],
  },
  {
    fails: 'new-minor r0 1',
    code: 11,
    table: [
      '     create res: r0 r1',
      '   prepare disk: r0:failed(new-minor:11) r1',
      '    adjust disk: [skipped:r0] r1',
      '     adjust net: [skipped:r0] r1',
    ],
  },
  {
    fails: '0 v08',
    code: 20,
    table: [...GOOD.slice(0, 2), '    adjust disk: r0:failed(apply-al:20) r1', ...GOOD.slice(3)],
  },
  {
    fails: 'attach',
    code: 10,
    table: [
      ...GOOD.slice(0, 2),
      '    adjust disk: r0:failed(attach:10):failed(attach:10) r1:failed(attach:10)',
      ...GOOD.slice(3),
    ],
  },
  {
    fails: 'connect r0',
    code: 10,
    table: [...GOOD.slice(0, 3), '     adjust net: r0:failed(connect:10) r1'],
  },
];

async function ours(t: ExecutionContext, { fails, code }: Case, line: string) {
  const { root } = await scriptedDrbdd(t, (request) =>
    request.verb === 'running' ? { ok: true, value: [] } : undefined,
  );
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'etc/drbd.conf'), CONF);
  const calls: string[] = [];
  const program = async (argv: readonly string[], world: World): Promise<number> => {
    calls.push(argv.join(' '));
    if (!argv.join(' ').startsWith(fails)) return 0;
    world.err(`no: ${argv[0]}\n`);
    return code;
  };
  const world = memoryWorld({ root, env: { __DRBD_NODE__: 'one' } });
  const status = await drbdadm(line.split(' '), world, { drbdsetup: program, drbdmeta: program });
  return { status, calls, out: world.stdout(), err: world.stderr() };
}

async function theirs(t: ExecutionContext, { fails, code }: Case, line: string) {
  const dir = mkdtempSync(join(tmpdir(), 'progress-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'drbd.conf'), CONF);
  const program = join(dir, 'program');
  writeFileSync(
    program,
    `#!/bin/sh\ncase "$*" in show*) exit 0;; esac\necho "$*" >>${dir}/calls\n` +
      `case "$*" in '${fails}'*) echo "no: $1" >&2; exit ${code};; esac\n`,
  );
  chmodSync(program, 0o755);
  writeFileSync(join(dir, 'calls'), '');
  const words = ['-c', join(dir, 'drbd.conf'), '-s', program, '-m', program, ...line.split(' ')];
  const env = ['__DRBD_NODE__=one', 'DRBD_DRIVER_VERSION_OVERRIDE=8.4.11'];
  const ran = await command('env', ...env, ORIGINAL, ...words);
  const calls = readFileSync(join(dir, 'calls'), 'utf8').trim().split('\n');
  return { status: ran.code, calls, out: ran.stdout };
}

test('the table, what is run below it, the exit status, and what the programs said', async (t) => {
  for (const each of CASES) {
    const { status, out, err } = await ours(t, each, 'adjust-with-progress all');
    t.is(out, `[\n${each.table.join('\n')}\n]\n`, each.fails);
    t.is(status, each.code === 0 ? 0 : 1, each.fails);
    if (each.code === 0) t.is(err, '');
    else t.regex(err, /no: /);
  }
});

test('drbdadm-84 says and does the same', async (t) => {
  if (!need(t, ORIGINAL)) return;
  for (const each of CASES) {
    const line = 'adjust-with-progress all';
    const [mine, original] = [await ours(t, each, line), await theirs(t, each, line)];
    t.is(mine.out, original.out, each.fails);
    t.is<number | null, number | null>(mine.status, original.status, each.fails);
    t.deepEqual(mine.calls, original.calls, each.fails);
  }
});

test('-v shows commands, no table', async (t) => {
  const { out } = await ours(
    t,
    { fails: 'nothing', code: 0, table: GOOD },
    '-v adjust-with-progress r1',
  );
  t.regex(out, /^drbdsetup-84 new-resource r1\n/);
  t.notRegex(out, /\[/);
});
