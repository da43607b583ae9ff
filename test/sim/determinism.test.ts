/**
 * Same seed, same run, byte for byte: whatever ran before in the process, in a worker thread or not, with any number of them, in
 * another place of the world and another language.
 */
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import test from 'ava';
import { runSeeds } from '../../src/cli/sim-pool.js';
import { runSeed } from '../../src/cli/sim-seed.js';
import { twinbeat } from '../../src/cli/twinbeat.js';
import type { RunResult } from '../../src/sim/run.js';
import { SWARM_VERSION } from '../../src/sim/swarm.js';
import { memoryWorld } from '../support/memory-world.js';

const DRAWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((seed) => ({
  seed,
  version: SWARM_VERSION,
}));
const PROGRAM = new URL('../../src/bin/twinbeat.js', import.meta.url).pathname;

const hashes = (results: readonly RunResult[]): string[] =>
  results.map((r) => `${r.seed} ${r.traceHash} ${r.lines} ${r.writes} ${r.violation?.text}`);

async function inWorkers(workers: number): Promise<string[]> {
  const results: RunResult[] = [];
  await runSeeds({
    workers,
    profile: 'swarm',
    draws: DRAWS.values(),
    result: (r) => results.push(r) > 0,
  });
  return hashes(results);
}

test('a dozen seeds: forwards, backwards, in one and in two worker threads', async (t) => {
  const forwards = hashes(DRAWS.map((draw) => runSeed(draw, 'swarm')));
  t.is(new Set(forwards.map((line) => line.split(' ')[1])).size, DRAWS.length);
  const backwards = hashes([...DRAWS].reverse().map((draw) => runSeed(draw, 'swarm')));
  t.deepEqual(backwards.reverse(), forwards);
  t.deepEqual(await inWorkers(1), forwards);
  t.deepEqual(await inWorkers(2), forwards);
});

/** The program as somebody on the other side of the world runs it. */
function elsewhere(...argv: readonly string[]): string {
  const ran = spawnSync(process.execPath, [PROGRAM, 'sim', ...argv], {
    cwd: tmpdir(),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: {
      PATH: process.env['PATH'],
      TZ: 'Pacific/Kiritimati',
      LANG: 'tr_TR.UTF-8',
      LC_ALL: 'ar_EG',
    },
  });
  return ran.stdout;
}

async function here(...argv: readonly string[]): Promise<string> {
  const world = memoryWorld({ root: '' });
  await twinbeat(['sim', ...argv], world);
  return world.stdout();
}

test('everything on standard output, with any number of workers, in another time zone and language', async (t) => {
  const argv = ['--seeds', '6', '--from', '20', '--workers'];
  const text = await here(...argv, '1');
  t.regex(text, /^swarm \d+, profile swarm, seeds 20 to 25\n/);
  t.regex(text, /\n6 runs, \d+ violated; .* trace [0-9a-f]{8}\n/);
  t.is(await here(...argv, '3'), text);
  t.is(elsewhere(...argv, '2'), text);
});

test('the whole trace of a run', async (t) => {
  const argv = ['--seed', `3@${SWARM_VERSION}`, '--trace'];
  const text = await here(...argv);
  t.true(text.split('\n').length > 100);
  t.is(elsewhere(...argv), text);
});
