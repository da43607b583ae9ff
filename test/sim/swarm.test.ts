/**
 * The swarm on every run of the tests: all kept seeds and 500 that are drawn from the sources. So each change is tried on seeds of
 * its own, and the same tree has the same verdict on every machine; `make sim` draws new ones each time.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { note } from '../support/note.js';

const PROGRAM = new URL('../../src/bin/twinbeat.js', import.meta.url).pathname;
const SEEDS = process.env['TWINBEAT_SIM_SEEDS'] ?? '500';
const SEED_RANGE = 2 ** 31;

/** A number that each change of src/ makes another one. */
function drawnFromSources(): number {
  const hash = createHash('sha256');
  const names = readdirSync('src', { recursive: true, encoding: 'utf8' });
  for (const name of names.filter((n) => n.endsWith('.ts')).sort()) {
    hash.update(`${name}\n`).update(readFileSync(join('src', name)));
  }
  return hash.digest().readUInt32BE(0) % SEED_RANGE;
}

test('kept seeds and those drawn from the sources: no violation', async (t) => {
  t.timeout(900_000);
  const from = String(drawnFromSources());
  const argv = [PROGRAM, 'sim', '--from', from, '--seeds', SEEDS, '--also', 'test/sim/seeds.txt'];
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
