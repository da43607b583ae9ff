/** twinbeat sim: what it refuses and how, what it prints. What the simulator does is in test/sim. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { twinbeat } from '../../src/cli/twinbeat.js';
import { parseSeedFile } from '../../src/cli/twinbeat-sim-options.js';
import { UsageError } from '../../src/cli/world.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { parseScenario } from '../../src/sim/scenario.js';
import { runScenario } from '../../src/sim/scenario-run.js';
import { FIRST_VERSION, SWARM_VERSION } from '../../src/sim/swarm.js';
import { memoryWorld } from '../support/memory-world.js';

const PROGRAM = new URL('../../src/bin/twinbeat.js', import.meta.url).pathname;

interface Said {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function sim(...argv: readonly string[]): Promise<Said> {
  const world = memoryWorld({ root: '' });
  try {
    const status = await twinbeat(['sim', ...argv], world);
    return { status, stdout: world.stdout(), stderr: world.stderr() };
  } catch (e) {
    if (!(e instanceof UsageError)) throw e;
    return { status: e.status, stdout: world.stdout(), stderr: e.message };
  }
}

function directory(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-sim-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const WRONG: readonly (readonly [string, RegExp])[] = [
  ['--seed 1 --seeds 2', /^twinbeat sim: --seed and --seeds exclude each other: give one of them$/],
  ['--minutes 1 --scenario x', /--minutes and --scenario exclude each other/],
  [
    '--seed twelve',
    /^twinbeat sim: --seed "twelve": expected a whole number from 0 to 4294967295, or/,
  ],
  ['--seed 4294967296', /--seed "4294967296": expected a whole number from 0 to 4294967295/],
  ['--seed -1', /--seed "-1": expected/],
  ['--seed 5@', /--seed "5@": expected/],
  ['--seeds 0', /--seeds "0": expected a whole number from 1 to/],
  ['--seeds 1.5', /--seeds "1.5": expected a whole number/],
  ['--minutes soon', /--minutes "soon": expected a number of minutes above 0/],
  ['--minutes 0', /--minutes "0": expected a number of minutes above 0/],
  ['--seed 1 --from 2', /--from belongs to --seeds and --minutes/],
  ['--from x', /--from "x": expected a whole number/],
  [
    '--fault everything',
    /--fault "everything": expected one of swarm, none, network, crash, disk,/,
  ],
  ['--workers 0', /--workers "0": expected a whole number from 1 to/],
  ['--trace', /--trace is for a single run: give it with --seed N or --scenario FILE/],
  ['--seeds 2 --pcap x', /--pcap is for a single run/],
  ['--seed 1 --trace --json', /--trace and --json both write to standard output: give one/],
  ['--seed 1 --also x', /--also is for many runs/],
  ['--also /nonexistent/seeds', /--also: cannot read \/nonexistent\/seeds: ENOENT/],
  [
    '--seed 1 --pcap /nonexistent/a.pcap',
    /--pcap: cannot write \/nonexistent\/a.pcap: ENOENT.*; name a file/,
  ],
  [
    '--scenario /nonexistent/s',
    /--scenario: cannot read \/nonexistent\/s: ENOENT.*; etc\/scenarios has some/,
  ],
  ['--scenario x --fault disk', /a scenario says itself what happens/],
  ['--scenario x --shrink', /--shrink is for runs of the swarm/],
  ['--mutant ack-befor-peer', /there is no mutant 'ack-befor-peer'; near: ack-before-peer/],
  ['--mutant ack-before-peer --seed x', /--seed "x": expected/],
  ['--sead 1', /unknown option '--sead'/],
];

for (const [argv, expected] of WRONG) {
  test(`refused: ${argv}`, async (t) => {
    const said = await sim(...argv.split(' '));
    t.is(said.status, 2);
    t.regex(said.stderr, expected);
    t.is(said.stdout, '');
  });
}

test('a seed of another version: which it is, and how to find the program that it needs', async (t) => {
  for (const [version, word] of [
    [SWARM_VERSION + 1, 'a newer'],
    [FIRST_VERSION - 1, 'an older'],
  ] as const) {
    const said = await sim('--seed', `77@${version}`);
    t.is(said.status, 2);
    t.true(
      said.stderr.startsWith(
        `twinbeat sim: --seed 77@${version}: the seed is of ${word} version of the swarm, ${version}; this one draws ${FIRST_VERSION} to ${SWARM_VERSION}`,
      ),
    );
    t.true(said.stderr.includes(`git log -S'SWARM_VERSION = ${version};'`), said.stderr);
  }
});

test('a file of seeds: comments, versions, what is wrong with place', (t) => {
  const text = '# kept\n\n12@3 I1 a lost write\n  7\n9@1:cluster I7 once: twice\n';
  t.deepEqual(parseSeedFile(text, 'seeds.txt'), [
    { seed: 12, version: 3 },
    { seed: 7, version: null },
    { seed: 9, version: 1, profile: 'cluster' },
  ]);
  const error = t.throws(() => parseSeedFile(`${text}I1: 12\n`, 'seeds.txt'));
  t.is(
    error?.message,
    'twinbeat sim: seeds.txt:6: "I1: 12": expected SEED@VERSION or SEED@VERSION:PROFILE, and what it once found',
  );
  t.throws(() => parseSeedFile('9@1:clutser I7 once: twice\n', 'seeds.txt'));
});

// The profile `cluster` is drawn by itself, and its seeds say so.
test('a seed that names its profile is a run of that, and the same one as with --fault', async (t) => {
  const named = await sim('--seed', '3@1:cluster', '--json');
  const asked = await sim('--seed', '3@1', '--fault', 'cluster', '--json');
  const [a, b] = [named, asked].map(({ stdout }) => JSON.parse(stdout) as Record<string, unknown>);
  t.is(a?.['profile'], 'cluster');
  t.deepEqual([a?.['trace'], a?.['checks']], [b?.['trace'], b?.['checks']]);
  t.is((await sim('--seed', '3@2', '--fault', 'cluster')).status, 2);
  t.is((await sim('--seed', '3', '--fault', 'cluster', '--shrink')).status, 2);
});

test('a scenario that is wrong: file and line', async (t) => {
  const file = join(directory(t), 'wrong.txt');
  writeFileSync(file, 'at 0s boot alpha\nat 1s explode alpha\n');
  const said = await sim('--scenario', file);
  t.is(said.status, 2);
  t.regex(said.stderr, /wrong\.txt:2: "explode" is not a step/);
});

test('a scenario whose expectation is not met: status 1, with both nodes and how to see it again', async (t) => {
  const file = join(directory(t), 'unmet.txt');
  writeFileSync(file, 'at 0s boot alpha\nat 0s boot beta\nat 3s expect beta Primary within 1s\n');
  const said = await sim('--scenario', file);
  t.is(said.status, 1);
  t.true(said.stdout.includes('unmet.txt:3'), said.stdout);
  t.regex(said.stdout, /seconds alpha +\| beta\n/);
  t.true(said.stdout.includes(`\nreplay: twinbeat sim --scenario ${file}\n`));
});

test('one run: what was injected and checked, and nothing about the coverage of one', async (t) => {
  const said = await sim('--seed', '2', '--fault', 'none');
  t.is(said.status, 0, said.stdout);
  t.true(said.stdout.startsWith(`swarm ${SWARM_VERSION}, profile none, seed 2@${SWARM_VERSION}\n`));
  t.regex(said.stdout, /\nfaults injected:\n {4}none\n/);
  t.regex(said.stdout, /\nchecks made:\n {4}acknowledgement +\d+/);
  t.regex(said.stdout, /\n1 run, 0 violated; \d+ virtual seconds, 0 faults, \d+ writes/);
  t.notRegex(said.stdout, /reached/);
  t.regex(
    said.stderr,
    /^\d+\.\d s on 1 thread: \d+ virtual seconds per wall second, 0 faults a minute\n$/,
  );
});

test('many runs: kept seeds first, coverage with what is missing', async (t) => {
  const file = join(directory(t), 'seeds.txt');
  writeFileSync(file, `3@${SWARM_VERSION} something\n4@${SWARM_VERSION + 7} something else\n`);
  const said = await sim('--seeds', '2', '--from', '100', '--fault', 'network', '--also', file);
  t.is(said.status, 0, said.stdout);
  t.true(
    said.stdout.startsWith(
      `swarm ${SWARM_VERSION}, profile network, 2 kept seeds and seeds 100 to 101 (1 kept ones are of another version: drawn anew)\n`,
    ),
  );
  t.regex(said.stdout, /\n {4}.*cut NETWORK \[from NODE\] +\d+/);
  t.regex(said.stdout, /\nconnection: \d+ of 24 reached\n/);
  t.regex(said.stdout, /\n {4}not reached: .*ProtocolError/);
  t.regex(said.stdout, /\n {4}never: DUnknown: only a peer's disk is unknown\n/);
  t.regex(said.stdout, /\n4 runs, 0 violated/);
});

test('--seeds without --from: a fresh random base, printed on the first line', async (t) => {
  const bases = new Set<string>();
  for (let i = 0; i < 2; i++) {
    const said = await sim('--seeds', '1', '--fault', 'none', '--workers', '1');
    const m = /^swarm \d+, profile none, seeds (\d+) to (\d+)\n/.exec(said.stdout);
    t.is(m?.[1], m?.[2]);
    bases.add(m?.[1] ?? '');
  }
  t.is(bases.size, 2);
});

test('--minutes runs until then', async (t) => {
  const said = await sim('--minutes', '0.01', '--from', '1', '--fault', 'none');
  t.is(said.status, 0, said.stdout);
  t.true(Number(/\n(\d+) runs?, 0 violated/.exec(said.stdout)?.[1]) >= 1);
});

test('Ctrl-C: the sums of what was run until then', async (t) => {
  const child = spawn(process.execPath, [PROGRAM, 'sim', '--minutes', '10', '--fault', 'none']);
  t.teardown(() => child.kill('SIGKILL'));
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (stdout === '') child.kill('SIGINT');
    stdout += text;
  });
  const [status] = await once(child, 'close');
  t.is(status, 0, stdout);
  t.regex(stdout, /\n\d+ runs?, 0 violated/);
});

test('--json: one object', async (t) => {
  const said = await sim('--seed', '5', '--json', '--fault', 'crash');
  const object: Record<string, unknown> = JSON.parse(said.stdout);
  t.is(said.stderr, '');
  t.is(object['swarm'], SWARM_VERSION);
  t.is(object['runs'], 1);
  t.is(object['profile'], 'crash');
  t.deepEqual(object['violations'], []);
  t.true(Number(object['virtualMs']) > 10_000);
  t.true(Object.keys(object['checks'] as object).includes('acknowledgement'));
  t.true(Object.keys(object['coverage'] as object).includes('cstate'));
});

/** A planted bug that is found at once. */
const MUTANT = ['--mutant', 'ack-before-peer'];

const mutant = (...argv: readonly string[]) =>
  run([process.execPath, PROGRAM, 'sim', ...MUTANT, ...argv], { timeoutMs: 120_000 });

test('a violation: status 1, which invariant, both nodes side by side, how to replay it; the same on any number of workers', async (t) => {
  const argv = ['--seeds', '3', '--from', '1', '--fault', 'crash'];
  const ran = await mutant(...argv, '--workers', '2');
  t.is(ran.status, 1, ran.stderr);
  const replay = `twinbeat sim --seed 1@${SWARM_VERSION} --fault crash --mutant ack-before-peer`;
  t.regex(ran.stdout, /^swarm \d+, profile crash, mutant ack-before-peer, seeds 1 to 3\n/);
  t.regex(
    ran.stdout,
    /\nVIOLATION of A\/B\/C, found by the checker acknowledgement at \d+\.\d s of seed 1@/,
  );
  t.regex(ran.stdout, /\n {5}seconds alpha +\| beta\n/);
  t.regex(ran.stdout, /\n +\d+\.\d{6} VIOLATION A\/B\/C acknowledgement: /);
  t.true(ran.stdout.includes(`\nreplay: ${replay}\n`), ran.stdout);
  for (const line of ran.stdout.split('\n')) {
    if (line.includes(' | ')) t.true(line.length <= 160, line);
  }
  t.regex(ran.stdout, /\n {2}A\/B\/C acknowledgement, [23] times: 1@\d+ 2@\d+/);
  t.is((await mutant(...argv, '--workers', '1')).stdout, ran.stdout);

  const again = await run([process.execPath, PROGRAM, ...replay.split(' ').slice(1)], {
    timeoutMs: 120_000,
  });
  const violation = /\nVIOLATION of [\s\S]*?\nreplay: /.exec(ran.stdout)?.[0];
  t.is(again.status, 1);
  t.true(violation !== undefined && again.stdout.includes(violation));
});

test('--first ends at the first violation; --shrink leaves a scenario that does it too', async (t) => {
  const ran = await mutant('--seeds', '50', '--from', '1', '--first', '--shrink', '--json');
  t.is(ran.status, 1, ran.stderr);
  const object = JSON.parse(ran.stdout) as {
    readonly runs: number;
    readonly violations: readonly { readonly replay: string }[];
    readonly shrunk: string;
  };
  t.is(object.violations.length, 1);
  t.true(object.runs < 50);
  t.regex(object.shrunk, /^# Shrunk from \d+ to \d+ steps in \d+ runs of\n# twinbeat sim --seed /);
  t.notRegex(object.shrunk, /does not violate/);
  const file = join(directory(t), 'shrunk.txt');
  writeFileSync(file, object.shrunk);
  const scenario = await mutant('--scenario', file);
  t.is(scenario.status, 1, scenario.stdout);
  t.regex(scenario.stdout, /VIOLATION of A\/B\/C, found by the checker acknowledgement/);
  // The machines as they are have no fault there.
  const parsed = parseScenario(readFileSync(file, 'utf8'), file);
  if (!parsed.ok) throw new Error(parsed.text);
  t.is(runScenario(parsed.scenario, nodeDigests, null).violation, null);
});

test('--mutant list: names, one a line', async (t) => {
  const said = await sim('--mutant', 'list');
  t.is(said.status, 0);
  t.true(said.stdout.split('\n').includes('ack-before-peer'));
});
