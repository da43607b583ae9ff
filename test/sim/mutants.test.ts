/**
 * Planted bugs: each can be planted in the machines of now, and the loader plants it. That each is caught by a checker is in
 * mutants-caught.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { run } from '../../src/cli/pair-run.js';
import { listMutants, mutantOrUsage } from '../../src/cli/sim-mutant.js';
import { MUTANTS, type Mutant, mutantTable, nearNames, plant } from '../../src/sim/mutants.js';

const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));
const compiled = (file: string): string => readFileSync(join(SOURCES, file), 'utf8');

/** Modules that are loaded with these. */
function loadedWith(roots: readonly string[]): Set<string> {
  const seen = new Set<string>();
  const left = [...roots];
  for (let file = left.pop(); file !== undefined; file = left.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const [, target = ''] of compiled(file).matchAll(/from '(\.[^']+)'/g)) {
      left.push(normalize(join(dirname(file), target)));
    }
  }
  return seen;
}

function planted(mutant: Mutant): string {
  const result = plant(mutant, compiled(mutant.file));
  if ('error' in result) throw new Error(result.error);
  return result.text;
}

test('names are unique and in words of small letters', (t) => {
  t.is(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
  for (const { name } of MUTANTS) t.regex(name, /^[a-z]+(-[a-z]+)+$/);
  t.is(listMutants().split('\n').length, MUTANTS.length + 1);
  t.true(MUTANTS.length >= 25);
});

test('each text that a mutant replaces occurs exactly once, in a module that the simulator loads', (t) => {
  const loaded = loadedWith([
    'host/drbd-loop.js',
    'host/drbd-control.js',
    'host/drbdd-resume.js',
    'host/heartbeat-lives.js',
  ]);
  for (const mutant of MUTANTS) {
    t.true(loaded.has(mutant.file), `${mutant.name}: ${mutant.file}`);
    const result = plant(mutant, compiled(mutant.file));
    t.false('error' in result, 'error' in result ? result.error : '');
    t.not('text' in result && result.text, compiled(mutant.file));
  }
});

test('what comes out is JavaScript', (t) => {
  const parse = `
    const { readFileSync } = require('node:fs');
    const { SourceTextModule } = require('node:vm');
    for (const { name, text } of JSON.parse(readFileSync(0, 'utf8'))) {
      try { new SourceTextModule(text); } catch (e) { console.log(name + ': ' + e.message); }
    }`;
  const broken = { name: 'broken-on-purpose', text: 'export const = 1;' };
  const all = [...MUTANTS.map((m) => ({ name: m.name, text: planted(m) })), broken];
  const ran = spawnSync(
    process.execPath,
    ['--no-warnings', '--experimental-vm-modules', '-e', parse],
    { input: JSON.stringify(all), encoding: 'utf8' },
  );
  t.is(ran.status, 0, ran.stderr);
  t.regex(ran.stdout, /^broken-on-purpose: [^\n]*\n$/);
});

test('a text that is gone, or is there twice, is said with file and mutant', (t) => {
  const mutant = mutantOrUsage('ack-before-peer');
  for (const [text, found] of [
    ['', 'does not occur'],
    [mutant.find + mutant.find, 'occurs 2 times'],
  ]) {
    t.deepEqual(plant(mutant, text ?? ''), {
      error: `the mutant no longer applies: ack-before-peer: its text ${found} in drbd/answer.js`,
    });
  }
});

test('an unknown name: the near ones are named', (t) => {
  t.deepEqual(nearNames('ack-befor-peer', 1), ['ack-before-peer']);
  t.deepEqual(nearNames('flush-peer', 1), ['flush-ignores-peer']);
  const error = t.throws(() => mutantOrUsage('log-skiped'));
  t.regex(
    error?.message ?? '',
    /^twinbeat sim: there is no mutant 'log-skiped'; near: log-skipped, /,
  );
});

const PROBE = fileURLToPath(new URL('../support/mutant-probe.js', import.meta.url));
const RUN = fileURLToPath(new URL('../support/run-mutant.js', import.meta.url));

test('the loader plants it in the process and in its worker threads; the exit status comes back', async (t) => {
  const plain = await run([process.execPath, PROBE, '0'], { timeoutMs: 60_000 });
  t.is(plain.stdout, 'main later\nworker later\n', plain.stderr);
  const mutant = await run([process.execPath, RUN, 'generation-before-fenced', PROBE, '7'], {
    timeoutMs: 60_000,
  });
  t.is(mutant.stdout, 'main now\nworker now\n', mutant.stderr);
  t.is(mutant.status, 7);
});

test('a name that is none does not run anything', async (t) => {
  const ran = await run([process.execPath, RUN, 'no-such-bug', PROBE], { timeoutMs: 60_000 });
  t.is(ran.status, 2);
  t.is(ran.stdout, '');
  t.regex(ran.stderr, /there is no mutant 'no-such-bug'; near: /);
});

test('the table for the manual has a line for each', (t) => {
  const lines = mutantTable().trimEnd().split('\n');
  t.is(lines.length, MUTANTS.length + 2);
  t.true(lines.every((line) => line.startsWith('|') && line.endsWith('|')));
  t.true(lines.every((line) => line.split('|').length === 6));
});

test('docs/MUTANTS.md shows what was measured', (t) => {
  const page = readFileSync(new URL('../../../docs/MUTANTS.md', import.meta.url), 'utf8');
  const shown = /<!-- mutants -->\n(.*)<!-- end of mutants -->/s.exec(page)?.[1];
  t.is(shown, mutantTable(), 'node build/bench/mutants.js --write writes both');
});
