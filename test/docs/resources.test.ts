/** docs/RESOURCES.md names every resource script with a test that exists, and the scripts are sound as texts. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import test from 'ava';
import { command } from '../support/command.js';
import { need } from '../support/need.js';

const DIR = 'resource.d';
/** Files that begin with a dot are read by the others. */
const NAMES = readdirSync(DIR);
const SCRIPTS = NAMES.filter((name) => !name.startsWith('.'));

interface Row {
  readonly names: readonly string[];
  readonly tests: readonly string[];
}

/** The rows with a column "test" of the pages about resource scripts. */
function rows(): readonly Row[] {
  const pages = readdirSync('docs').filter((name) => name.endsWith('.md'));
  return pages.flatMap((page) =>
    readFileSync(`docs/${page}`, 'utf8')
      .split('\n')
      .map((line) => line.split('|').map((cell) => cell.trim()))
      .filter((cells) => /^test\/resource\.d\//.test(cells.at(-2) ?? ''))
      .map((cells) => ({
        names: [...(cells[1] ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ''),
        tests: (cells.at(-2) ?? '').split(', '),
      })),
  );
}

test('each script has its row, and each row its script and its tests', (t) => {
  t.deepEqual(
    rows()
      .flatMap((row) => row.names)
      .sort(),
    [...SCRIPTS].sort(),
  );
  for (const { names, tests } of rows()) {
    for (const path of tests) {
      t.true(existsSync(path), path);
      const text = readFileSync(path, 'utf8');
      for (const name of names) t.true(text.includes(name), `${path} says nothing of ${name}`);
    }
  }
});

test('every script can be run, and shellcheck has nothing to say', async (t) => {
  for (const name of SCRIPTS) t.is(statSync(`${DIR}/${name}`).mode & 0o111, 0o111, name);
  if (!need(t, 'shellcheck')) return;
  const shell = NAMES.filter(
    (name) => !/perl/.test(readFileSync(`${DIR}/${name}`, 'utf8').split('\n')[0] ?? ''),
  );
  t.true(shell.includes('.services'));
  const { code, stdout } = await command(
    'shellcheck',
    '-x',
    ...shell.map((name) => `${DIR}/${name}`),
  );
  t.is(code, 0, stdout);
});
