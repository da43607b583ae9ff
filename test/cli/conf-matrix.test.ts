/**
 * A thousand drbd.conf files out of a grammar, half of them broken, against Debian's drbdadm 9.22 in its 8.4 dialect: the same
 * verdict, the same `dump`, `-d dump` and `dump-xml`, and a syntax error in the same line. What we do otherwise is in
 * DIFFERENCES, with the reason; docs/CONFIGURATION.md tells the user.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { drbdadm } from '../../src/cli/drbdadm-core.js';
import { SECTION_OPTIONS } from '../../src/config/drbd-option-table.js';
import { ConfGenerator, type GeneratedConf } from '../support/conf-generator.js';
import { confText, mutate } from '../support/conf-layout.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';

const ORIGINAL = '/lib/drbd/drbdadm-84';
const FILES = 1_000;
const CHUNK = 100;
const CALLS = ['dump', '-d dump', 'dump-xml'];

/** By our first error, or by the original's: a verdict that differs, and why. */
const DIFFERENCES: readonly { readonly of: 'ours' | 'original'; readonly error: RegExp }[] = [
  // Taken by the original, refused here: a third copy and drbd-proxy are not there.
  { of: 'ours', error: /stacked resources \(a third copy\) are not supported/ },
  { of: 'ours', error: /DRBD proxy is not supported/ },
  // drbdadm reads 1K as 1024 and hands 1K to drbdsetup, which takes port 1.
  { of: 'ours', error: /expected a port number without unit/ },
  // A file that was cut off is not a configuration.
  { of: 'ours', error: /got the end of the file$/m },
  // Both volumes would overwrite it.
  { of: 'ours', error: /conflicting use of disk / },
  // `skip resource NAME { }` is in the manual, and 9.22 does not take it.
  {
    of: 'original',
    error: /'\[ some_text \] \{' expected|'\{' expected,\n\tbut got '(anything|r 9)'/,
  },
];

/** The original tells the line of the token behind. */
const LINES_APART = /expected (a device name \(a string\) or minor|a port number without unit)/;

function generate(seed: number): { rng: Prng; conf: GeneratedConf } {
  const rng = new Prng(seed);
  const kind = seed % 5; // 0: as it should be; 1, 2: some wrong choices; 3, 4: with broken tokens
  const conf = new ConfGenerator(rng, [0, 0.003, 0.01, 0, 0.02][kind] ?? 0).conf();
  if (kind >= 3) mutate(rng.pick(conf.files).tokens, rng);
  return { rng, conf };
}

interface Case {
  readonly seed: number;
  readonly dir: string;
  readonly file: string;
  readonly node: string;
}

function write(root: string, seed: number): Case {
  const { rng, conf } = generate(seed);
  const dir = join(root, `${seed}`);
  const layout = rng.pick(['line', 'indented', 'wild'] as const);
  for (const { path, tokens } of conf.files) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), confText(tokens, layout, rng));
  }
  return { seed, dir, file: join(dir, 'drbd.conf'), node: conf.node };
}

interface Result {
  readonly out: string;
  readonly err: string;
  readonly isTaken: boolean;
}

/** All calls for all files in one shell; what each printed is in files of its own. */
async function askOriginal(root: string, cases: readonly Case[]): Promise<void> {
  const lines = cases.flatMap(({ dir, file, node }) =>
    CALLS.map(
      (call, i) =>
        `__DRBD_NODE__=${node} ${ORIGINAL} -c ${file} ${call} >${dir}/out${i} 2>${dir}/err${i} </dev/null; echo $? >${dir}/status${i}`,
    ),
  );
  const script = join(root, 'calls.sh');
  writeFileSync(script, lines.join('\n'));
  const env = { ...process.env, DRBD_DRIVER_VERSION_OVERRIDE: '8.4.11' };
  await promisify(execFile)('sh', [script], { env });
}

function original({ dir }: Case, i: number): Result {
  const read = (name: string) => readFileSync(join(dir, `${name}${i}`), 'utf8');
  const err = read('err').replace(/^\n +found __DRBD_NODE__ .*\n.*\n\n/, '');
  return { out: read('out'), err, isTaken: Number(read('status')) === 0 };
}

async function ours({ file, node }: Case, i: number, root: string): Promise<Result> {
  const world = memoryWorld({ root, env: { __DRBD_NODE__: node } });
  const never = () => Promise.reject(new Error('dump runs nothing'));
  const argv = ['-c', file, ...(CALLS[i] ?? '').split(' ')];
  const status = await drbdadm(argv, world, { drbdsetup: never, drbdmeta: never });
  return { out: world.stdout(), err: world.stderr(), isTaken: status === 0 };
}

/** True when it counts as the same verdict. */
function compare(t: ExecutionContext, what: string, mine: Result, theirs: Result): boolean {
  const words = `${what}\nours: ${mine.err}\noriginal: ${theirs.err}`;
  if (mine.isTaken !== theirs.isTaken) {
    const told = { ours: mine.err, original: theirs.err };
    const isKnown = DIFFERENCES.some(({ of, error }) => error.test(told[of]));
    t.true(isKnown, `${mine.isTaken ? 'taken here' : 'refused here'}: ${words}`);
    return false;
  }
  if (mine.isTaken) t.is(mine.out, theirs.out, words);
  const syntax = /^[^\n]*:(\d+): Parse error/.exec(theirs.err)?.[1];
  const [first = ''] = mine.err.split('\n');
  if (syntax !== undefined && first.includes(': expected') && !LINES_APART.test(first)) {
    t.is(/:(\d+):\d+: expected/.exec(first)?.[1], syntax, words);
  }
  if (!mine.isTaken) t.regex(mine.err, /^[^\n]*:\d+:\d+: |Failed to open/, words);
  return true;
}

for (let first = 1; first <= FILES; first += CHUNK) {
  const last = first + CHUNK - 1;
  test(`files ${first} to ${last}: verdict and dumps are those of drbdadm-84`, async (t) => {
    if (!need(t, ORIGINAL)) return;
    const root = mkdtempSync(join(tmpdir(), 'conf-matrix-'));
    t.teardown(() => rmSync(root, { recursive: true }));
    const cases = Array.from({ length: CHUNK }, (_, i) => write(root, first + i));
    await askOriginal(root, cases);
    let taken = 0;
    let different = 0;
    for (const each of cases) {
      for (const [i, call] of CALLS.entries()) {
        const mine = await ours(each, i, root);
        if (mine.isTaken) taken++;
        const what = `seed ${each.seed}, ${call}`;
        if (!compare(t, what, mine, original(each, i))) different++;
      }
    }
    const all = CHUNK * CALLS.length;
    t.true(taken > all / 4 && taken < (all * 3) / 4, `${taken} of ${all} are taken`);
    t.true(different < all / 20, `${different} of ${all} have another verdict`);
  });
}

test('every option of every section, and every statement, is in the matrix', (t) => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= FILES; seed++) {
    for (const { tokens } of generate(seed).conf.files) for (const token of tokens) seen.add(token);
  }
  const options = [...SECTION_OPTIONS.values()].flatMap((section) => [...section.keys()]);
  const statements = [
    ...['global', 'common', 'resource', 'skip', 'include', 'on', 'floating', 'volume', 'device'],
    ...[
      'disk',
      'meta-disk',
      'flexible-meta-disk',
      'address',
      'net',
      'syncer',
      'startup',
      'options',
    ],
    ...['handlers', 'proxy', 'plugin', 'ignore-on', 'stacked-on-top-of', 'minor', 'ipv6', 'sci'],
    ...['alternate-link-address', 'become-primary-on', 'stacked-timeouts', 'rate', 'after'],
    ...['outdate-peer', 'no-disk-barrier', 'no-md-flushes', 'usage-count', 'cmd-timeout-long'],
  ];
  t.deepEqual(
    [...options, ...statements].filter((word) => !seen.has(word)),
    [],
  );
});
