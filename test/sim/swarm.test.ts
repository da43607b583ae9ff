/** The swarm on every run of the tests: fresh seeds and all kept ones; no invariant may break. */
import test from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { note } from '../support/note.js';

const PROGRAM = new URL('../../src/bin/twinbeat.js', import.meta.url).pathname;
const SEEDS = process.env['TWINBEAT_SIM_SEEDS'] ?? '500';

test('a fresh swarm and the kept seeds: no violation', async (t) => {
  t.timeout(900_000);
  const argv = [PROGRAM, 'sim', '--seeds', SEEDS, '--also', 'test/sim/seeds.txt'];
  const ran = await run([process.execPath, ...argv], { timeoutMs: 900_000 });
  const [seeds = ''] = ran.stdout.split('\n');
  const sums = ran.stdout.split('\n').find((line) => /^\d+ runs, /.test(line)) ?? '';
  note(t, `simulator: ${seeds}\n  ${sums}\n  ${ran.stderr.trim()}`);
  // The report holds the command that replays it.
  if (ran.status !== 0) note(t, ran.stdout);
  t.is(
    ran.status,
    0,
    ran.stdout
      .split('\n')
      .filter((l) => l.includes('twinbeat sim'))
      .join('\n'),
  );
});
