/**
 * The swarm on every run of the tests: all kept seeds and 500 that are drawn from the sources. So each change is tried on seeds of
 * its own, and the same tree has the same verdict on every machine; `make sim` draws new ones each time. What is known and not
 * mended is listed in open-seeds.txt; anything else fails.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { note } from '../support/note.js';
import { drawnFromSources } from '../support/sources.js';

const PROGRAM = new URL('../../src/bin/twinbeat.js', import.meta.url).pathname;
const SEEDS = process.env['TWINBEAT_SIM_SEEDS'] ?? '500';

interface Violation {
  readonly seed: string;
  readonly invariant: string;
  readonly checker: string;
  readonly text: string;
}

interface Summary {
  readonly runs: number;
  readonly violations: readonly Violation[];
}

function openSeeds(): string[] {
  const lines = readFileSync('test/sim/open-seeds.txt', 'utf8').split('\n');
  return lines.flatMap((line) => /^\d+@\d+(:\w+)?/.exec(line)?.[0] ?? []);
}

test('kept seeds and those drawn from the sources: no violation but the open ones', async (t) => {
  t.timeout(900_000);
  const from = String(drawnFromSources());
  const argv = [PROGRAM, 'sim', '--from', from, '--seeds', SEEDS, '--json'];
  const ran = await run([process.execPath, ...argv, '--also', 'test/sim/seeds.txt'], {
    timeoutMs: 900_000,
  });
  const { runs, violations } = JSON.parse(ran.stdout) as Summary;
  const open = openSeeds();
  const known = violations.filter(({ seed }) => open.includes(seed)).map(({ seed }) => seed);
  const unknown = violations
    .filter(({ seed }) => !open.includes(seed))
    .map((v) => `twinbeat sim --seed ${v.seed}    # ${v.invariant} ${v.checker}: ${v.text}`);
  note(
    t,
    `simulator: ${runs} runs, seeds from ${from}, ${unknown.length} violated, open: ${known.join(', ') || 'none'}`,
  );
  t.true(runs > Number(SEEDS));
  t.deepEqual(unknown, []);
});
