/**
 * The profile `cluster` on every run of the tests: sixty seeds that are drawn from the sources (its kept ones run with the others', by
 * test/sim/swarm.test.ts). What its seeds draw changes only with a version.
 */
import { createHash } from 'node:crypto';
import test from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { runSeed } from '../../src/cli/sim-seed.js';
import { isProtected } from '../../src/sim/cluster-setup.js';
import { CLUSTER_VERSION, clusterPlan } from '../../src/sim/swarm-cluster.js';
import { note } from '../support/note.js';
import { drawnFromSources } from '../support/sources.js';

const PROGRAM = new URL('../../src/bin/twinbeat.js', import.meta.url).pathname;
const SEEDS = process.env['TWINBEAT_CLUSTER_SEEDS'] ?? '60';

const KNOWN: Readonly<Record<number, string>> = { 1: '8ce0b183a14e741e' };

test('what seeds draw changes only with a version', (t) => {
  const hash = createHash('sha256');
  for (const seed of [0, 1, 2, 3, 1000, 123_456_789, 0xffffffff]) {
    hash.update(JSON.stringify(clusterPlan(seed)));
  }
  const known = { [CLUSTER_VERSION]: hash.digest('hex').slice(0, 16) };
  t.deepEqual(known, KNOWN, 'the profile draws something else: give it the next CLUSTER_VERSION');
});

test('clusters of every kind are drawn', (t) => {
  const setups = Array.from({ length: 200 }, (_, seed) => clusterPlan(seed).setup);
  t.true(setups.some((setup) => !isProtected(setup)));
  t.true(setups.some(({ fence, witness }) => fence !== null && witness === null));
  t.true(setups.some(({ fence, witness }) => fence === null && witness !== null));
  t.true(setups.some(({ fence, witness }) => fence !== null && witness !== null));
  for (const mode of ['on', 'off', 'legacy']) {
    t.true(setups.some(({ autoFailback }) => autoFailback === mode));
  }
  t.true(setups.every(({ witness, watchdog }) => witness === null || watchdog));
  // The parser refuses less beside a watchdog: it would take the machine down between two statuses.
  const fits = setups.every(
    ({ witness, keepaliveMs }) =>
      witness === null || witness.stopLimitS * 500 >= 3 * keepaliveMs + 1000,
  );
  t.true(fits);
});

test('the same seed is the same run, whatever ran before it', (t) => {
  const hashes = (seeds: readonly number[]) =>
    new Map(seeds.map((seed) => [seed, runSeed({ seed, version: 1 }, 'cluster').traceHash]));
  const forwards = hashes([1, 2, 3, 4, 5, 6]);
  t.deepEqual([...hashes([6, 5, 4, 3, 2, 1])].reverse(), [...forwards]);
  t.is(new Set(forwards.values()).size, 6);
});

interface Summary {
  readonly runs: number;
  readonly violations: readonly { readonly replay: string; readonly text: string }[];
  readonly checks: Readonly<Record<string, number>>;
}

test(`${SEEDS} seeds that are drawn from the sources: no violation, and every checker looked`, async (t) => {
  t.timeout(600_000);
  const from = String(drawnFromSources());
  const argv = ['sim', '--fault', 'cluster', '--from', from, '--seeds', SEEDS, '--json'];
  const ran = await run([process.execPath, PROGRAM, ...argv], { timeoutMs: 600_000 });
  const { runs, violations, checks } = JSON.parse(ran.stdout) as Summary;
  note(t, `simulator, cluster: ${runs} runs, seeds from ${from}, ${violations.length} violated`);
  t.is(runs, Number(SEEDS));
  t.deepEqual(
    violations.map(({ replay, text }) => `${replay}    # ${text}`),
    [],
  );
  for (const checker of ['once', 'permission', 'standing', 'order', 'lease', 'announce']) {
    t.true((checks[checker] ?? 0) > 0, checker);
  }
});
