/** drbdadm against Debian's drbdadm 9.22 in its 8.4 dialect: the same standard output and exit status. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { drbdadm } from '../../src/cli/drbdadm-core.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';

const GOLDEN = 'test/golden/config/drbd.conf';
const FILES = readdirSync(GOLDEN).filter((name) => name.endsWith('.conf'));

const DUMPS = ['dump', 'dump-xml', '-v dump', '-d dump', '-d dump-xml', 'dump all', 'sh-nop'];
const VERBS = [
  ...'up down attach detach connect disconnect primary secondary invalidate'.split(' '),
  ...'invalidate-remote outdate resize verify pause-sync resume-sync wait-connect adjust'.split(
    ' ',
  ),
  ...'role cstate dstate create-md show-gi get-gi dump-md wipe-md apply-al status'.split(' '),
  ...'sh-resource sh-dev sh-minor sh-ll-dev sh-md-dev sh-md-idx sh-ip sh-lr-of sh-b-pri'.split(' '),
  ...'new-resource new-minor sh-new-minor suspend-io resume-io check-resize'.split(' '),
  ...'disk-options net-options resource-options'.split(' '),
];
const CALLS = [
  ...VERBS.map((verb) => `-d ${verb} all`),
  '-d sh-resources',
  '-d sh-mod-parms',
  '-d sh-nop',
  '-d sh-status',
  '-d',
  '-d up',
  '-d frobnicate all',
  '-d up nosuch',
  '-d -P two up all',
  '-d -P nosuch connect all',
  '-d primary --force all',
  '-d -- --overwrite-data-of-peer primary all',
  '-d create-md --force all',
  '-d disconnect --force all',
  '-d connect --discard-my-data all',
  '-d detach --force all',
  '-d -W--size=5G attach all',
  '-d attach --al-extents=99 all',
  '-d -n NAME role all',
  '-d dstate minor-0',
  '-d up r0',
  '-d primary r0/0',
  '-d connect r0/0',
  '-d sh-udev minor-0',
  '-d sh-udev multi/3',
  '-d sh-udev multi',
  '-d primary multi/3',
  '-d disconnect multi/3',
  '-d primary multi/9',
  '-d new-current-uuid r0',
  '-d new-current-uuid --clear-bitmap minor-0',
  '-d before-resync-target minor-0',
  '-d split-brain minor-0',
  '-d fence-peer r0',
  '-d dump r0',
  '-d dump-xml r0',
  '-d --peer=two -v up r0',
];

interface Result {
  readonly out: string;
  readonly status: number;
}

const MARK = '=====';

/** All calls of one file in one shell: stdout and exit status of each. */
function original(calls: readonly string[], file: string, node: string): Result[] {
  const script = calls
    .map((call) => `drbdadm -c '${file}' ${call} 2>/dev/null </dev/null; echo "${MARK}$?"`)
    .join('\n');
  const text = execFileSync('sh', ['-c', script], {
    encoding: 'utf8',
    env: { ...process.env, DRBD_DRIVER_VERSION_OVERRIDE: '8.4.11', __DRBD_NODE__: node },
  });
  const results: Result[] = [];
  const parts = text.split(new RegExp(`${MARK}(\\d+)\\n`));
  for (let i = 0; i + 1 < parts.length; i += 2) {
    results.push({ out: parts[i] ?? '', status: Number(parts[i + 1]) });
  }
  return results;
}

async function ours(
  call: string,
  file: string,
  node: string,
  root: string,
): Promise<Result & { err: string }> {
  const world = memoryWorld({ root, env: { __DRBD_NODE__: node } });
  const never = () => Promise.reject(new Error('a dry run runs nothing'));
  const argv = ['-c', file, ...call.split(' ')];
  const status = await drbdadm(argv, world, { drbdsetup: never, drbdmeta: never });
  return { out: world.stdout(), status, err: world.stderr() };
}

/** Usage texts name other programs and versions: their last line and the exit status are compared. */
function comparable({ out, status }: Result): Result {
  if (!out.startsWith('\nUSAGE:')) return { out, status };
  return { out: out.trimEnd().split('\n').at(-1) ?? '', status };
}

async function compare(
  t: ExecutionContext,
  calls: readonly string[],
  file: string,
  node: string,
  root: string,
): Promise<void> {
  const expected = original(calls, file, node);
  t.is(expected.length, calls.length);
  for (const [index, call] of calls.entries()) {
    const result = await ours(call, file, node, root);
    t.deepEqual(
      comparable(result),
      comparable(expected[index] ?? { out: '', status: -1 }),
      `${call}\n${result.err}`,
    );
  }
}

function copies(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'drbdadm-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  cpSync(GOLDEN, dir, { recursive: true });
  return dir;
}

for (const name of FILES) {
  test(`${name}: dump, dump-xml and the calls of every verb are those of drbdadm-84`, async (t) => {
    if (!need(t, 'drbdadm')) return;
    const dir = copies(t);
    const file = join(dir, name);
    const node = { '01-mysql-manual.conf': 'drbd-one', 'old-style.conf': 'alice' }[name] ?? 'one';
    const host = name.startsWith('10') ? '10.0.0.1' : name.startsWith('11') ? 'fd00::1' : node;
    await compare(t, CALLS, file, host, dir);

    // The same without the address check, which would refuse to dump addresses that are not this machine's.
    const flag = 'disable-ip-verification;';
    for (const part of [file, join(dir, 'include.d/global.conf')]) {
      const text = readFileSync(part, 'utf8');
      const unchecked = text.includes('global {')
        ? text.replace('global {', text.includes(flag) ? 'global {' : `global { ${flag}`)
        : `global { ${flag} }\n${text}`;
      if (part === file && name.startsWith('31')) continue;
      writeFileSync(part, unchecked);
    }
    await compare(t, DUMPS, file, host, dir);
    await compare(t, ['dump', '-d up all'], file, 'two', dir);
  });
}

test('--config-to-test: another file beside the one in use, for dump and sh-nop alone', async (t) => {
  if (!need(t, 'drbdadm')) return;
  const dir = copies(t);
  const file = join(dir, '02-minimal.conf');
  const broken = join(dir, 'broken.conf');
  writeFileSync(broken, 'resource r9 { protocl C; }\n');
  const fine = join(dir, FILES.find((name) => name.startsWith('03')) ?? '');
  const calls = [fine, broken, join(dir, 'absent.conf')].flatMap((tested) =>
    ['dump', 'dump-xml', 'sh-nop', '-d up all', 'role all'].map((verb) => `-t ${tested} ${verb}`),
  );
  await compare(t, calls, file, 'one', dir);
});
