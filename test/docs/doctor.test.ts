/** docs/DOCTOR.md has the findings of the code, in their order, with their level and rule, and says when each is found. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { CHECKS } from '../../src/cli/doctor-checks.js';
import { SHOWN } from '../../src/cli/doctor-show.js';

const PAGE = readFileSync('docs/DOCTOR.md', 'utf8');

function rows(): readonly (readonly string[])[] {
  const section = PAGE.split('## Findings\n')[1]?.split(/^## /m)[0] ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split(' | ').map((cell) => cell.replace(/^\| | \|$/g, '')));
}

test('the table of findings is that of the code', (t) => {
  const found = rows();
  t.deepEqual(
    found.map((cells) => cells.slice(0, 3)),
    CHECKS.map(({ name, level, rule }) => [`\`${name}\``, level, rule]),
  );
  for (const [name = '', , , when = '', ...more] of found) {
    t.true(when.length > 10 && more.length === 0, name);
  }
});

test('what can be shown is named', (t) => {
  for (const name of Object.keys(SHOWN)) t.true(PAGE.includes(`--show ${name}`), name);
});
